import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { demoPeople, EXPECTED } from '../../cli/demo-people';
import { freePort } from '../../stack/ports';
import { runCommand } from './running-command';

test('the same seed gives the same people, each with an address of their own and all fates among them', () => {
  const people = demoPeople(1);
  expect(people).toEqual(demoPeople(1));
  expect(people).not.toEqual(demoPeople(2));
  expect(people).toHaveLength(36);
  expect(new Set(people.map(({ email }) => email)).size).toBe(36);
  expect(new Set(people.map(({ locale }) => locale))).toEqual(new Set(['es', 'en']));
  for (const { email } of people) expect(email).toMatch(/^[a-z]+\.[a-z]+@example\.com$/);
  expect(new Set(people.map(({ fate }) => fate.does))).toEqual(new Set(Object.keys(EXPECTED)));
});

describe('a demo', () => {
  let parent: string;
  let home: string;

  beforeAll(async () => {
    parent = await mkdtemp(join(tmpdir(), 'recuerda-demo-test-'));
    home = join(parent, 'home');
  });

  afterAll(async () => {
    await rm(parent, { recursive: true, force: true });
  });

  // Five times as fast as for a person who watches: any faster, and a busy machine has a mail sent before an answer is read.
  test('two years pass: every lead ends as they should, and nobody gets mail after a stop', async () => {
    const settings = { RECUERDA_HOME: home, RECUERDA_TIME_FACTOR: '1000000', PORT: String(await freePort()) };
    const demo = runCommand(['demo', '--exit'], parent, settings);
    expect(await demo.ends(900_000)).toBe(0);
    const printed = demo.output();
    expect(printed).toContain('Mails handed over after a lead had bought, replied or unsubscribed: 0.');

    const endings: Record<string, string> = {
      exhausted: 'never answered',
      purchased: 'has bought',
      replied: 'has replied',
      unsubscribed: 'has unsubscribed',
      informed: 'had agreed to no more',
    };
    for (const { name, fate } of demoPeople(1)) {
      expect(printed).toContain(`${name} ${endings[EXPECTED[fate.does]]}`);
      const mails = printed.match(new RegExp(`(information|nudge \\d) to ${name} `, 'g')) ?? [];
      if (fate.does === 'nothing') expect(mails).toHaveLength(8);
      if (fate.does === 'never-agreed') expect(mails).toHaveLength(1);
      if ('afterStep' in fate) expect(mails).toHaveLength(fate.afterStep + 1);
    }
    const days = [...printed.matchAll(/^day +(\d+)/gm)].map(([, day]) => Number(day));
    // A day takes less than a tenth of a second, and what happens in one is told in any order.
    expect(days.filter((day, index) => day < (days[index - 1] ?? 0) - 5)).toEqual([]);
    // Eight mails and one more wait, two months apart at the least.
    expect(days.at(-1)).toBeGreaterThan(8 * 59);
    expect(printed).toMatch(/leads +\d+ +\d+ +\d+ +\d+ +\d+ +\d+/);
  }, 1_000_000);
});
