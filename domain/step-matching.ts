import type { CampaignDefinition } from './campaign';

type Steps = CampaignDefinition['steps'];

/** How it was told that two steps are one and the same mail. */
export type MatchedBy = 'request' | 'information' | 'key' | 'content' | 'subject' | 'body';

export interface StepPair {
  from: number;
  to: number;
  by: MatchedBy;
}

export interface StepMatching {
  pairs: StepPair[];
  /** Steps of the old version that are none of the new one. */
  deleted: number[];
  /** Steps of the new version that are none of the old one. */
  added: number[];
  /** Whether a deleted and an added step may be the same mail, rewritten: neither keys nor the request tell. */
  unclear: boolean;
}

/**
 * Which steps of two versions of a campaign are the same mail. What the request says comes first, then keys, then what is
 * word for word the same: all of it, or the subject alone, or the body alone, each only where it is the only one. Two keys
 * that differ are two mails, whatever they say. Step 0 is the information in every version.
 *
 * @param given what became of steps of the old version: a step of the new one, or nothing (null)
 */
export function matchSteps(
  from: Steps,
  to: Steps,
  given: ReadonlyMap<number, number | null> = new Map(),
): StepMatching {
  const pairs: StepPair[] = [{ from: 0, to: 0, by: 'information' }];
  const leftFrom = new Set(from.keys());
  const leftTo = new Set(to.keys());
  for (const [old, became] of given) {
    leftFrom.delete(old);
    if (became === null) continue;
    pairs.push({ from: old, to: became, by: 'request' });
    leftTo.delete(became);
  }
  for (const [by, wordsOf] of WORDS) {
    const olds = byWords(from, leftFrom, wordsOf);
    const news = byWords(to, leftTo, wordsOf);
    for (const [words, [old, another]] of olds) {
      const [fresh, oneMore] = news.get(words) ?? [];
      if (old === undefined || fresh === undefined || another !== undefined || oneMore !== undefined) continue;
      const keys = [from[old]?.key, to[fresh]?.key];
      if (by !== 'key' && keys[0] !== undefined && keys[1] !== undefined) continue;
      leftFrom.delete(old);
      leftTo.delete(fresh);
      if (old !== 0 || fresh !== 0) pairs.push({ from: old, to: fresh, by });
    }
  }
  const deleted = [...leftFrom].filter((step) => step > 0);
  const added = [...leftTo].filter((step) => step > 0);
  const unclear = deleted.some((old) =>
    added.some((fresh) => from[old]?.key === undefined || to[fresh]?.key === undefined),
  );
  return { pairs, deleted, added, unclear };
}

const WORDS: [MatchedBy, (step: Steps[number]) => string | undefined][] = [
  ['key', ({ key }) => key],
  ['content', ({ subject, mjml, text }) => JSON.stringify([subject, mjml, text ?? null])],
  ['subject', ({ subject }) => subject],
  ['body', ({ mjml, text }) => JSON.stringify([mjml, text ?? null])],
];

function byWords(
  steps: Steps,
  left: ReadonlySet<number>,
  wordsOf: (step: Steps[number]) => string | undefined,
): Map<string, number[]> {
  const found = new Map<string, number[]>();
  for (const index of left) {
    const step = steps[index];
    const words = step && wordsOf(step);
    if (words !== undefined) found.set(words, [...(found.get(words) ?? []), index]);
  }
  return found;
}
