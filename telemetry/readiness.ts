import type { Readiness } from './server';

export type { Readiness } from './server';

/** A check gets no longer than this, ms. */
const CHECK_MS = 2_000;

/** Of a process that is not up yet. */
export const NOT_STARTED: Readiness = { ready: false, checks: { started: 'no' } };

/**
 * Can a process do its work? It can where no check rejects, and none takes too long. What is wrong is told by one word, since
 * an error's text may hold anything.
 *
 * @param checks by name; each is told how long it may take, ms
 */
export async function checkReadiness(checks: Record<string, (ms: number) => Promise<unknown>>): Promise<Readiness> {
  const found = await Promise.all(
    Object.entries(checks).map(async ([name, check]): Promise<[string, string]> => [name, await outcomeOf(check)]),
  );
  return { ready: found.every(([, outcome]) => outcome === 'ok'), checks: Object.fromEntries(found) };
}

async function outcomeOf(check: (ms: number) => Promise<unknown>): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, CHECK_MS, 'no answer');
  });
  const asked = check(CHECK_MS).then(
    () => 'ok',
    (error: unknown) => (error instanceof Error && /^[a-z]+$/.test(error.message) ? error.message : 'down'),
  );
  try {
    return await Promise.race([asked, late]);
  } finally {
    clearTimeout(timer);
  }
}
