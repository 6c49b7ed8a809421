import { setTimeout as sleep } from 'node:timers/promises';

/** What the probe answers, once it is not null. @throws Error when it is still null, or fails, after so many seconds */
export async function eventually<T>(what: string, seconds: number, probe: () => Promise<T | null>): Promise<T> {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const answer = await probe().catch(() => null);
    if (answer !== null) return answer;
    if (Date.now() > deadline) throw new Error(`waited ${seconds} s for ${what}`);
    await sleep(250);
  }
}
