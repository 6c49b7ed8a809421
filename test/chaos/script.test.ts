import { ALL_FAULTS, faultFor, isAtGreeting, isOfMessage, QUICK_FAULTS } from '../../chaos/faults';
import { KILLED, STOP_KINDS, writeScript } from '../../chaos/script';

const OPTIONS = { seed: 7, leads: 1_000, kills: 52, longestGapMs: 5_000, longestDownMs: 4_000 };

test('a seed writes the same script every time, and another seed another one', () => {
  expect(writeScript(OPTIONS)).toEqual(writeScript(OPTIONS));
  expect(writeScript({ ...OPTIONS, seed: 8 })).not.toEqual(writeScript(OPTIONS));
});

test('each kind of process is killed once before any is killed again, at random after that', () => {
  for (const seed of [1, 2, 3]) {
    const kinds = writeScript({ ...OPTIONS, seed, kills: 8 }).kills.map(({ kind }) => kind);
    expect(new Set(kinds.slice(0, 7))).toEqual(new Set(KILLED));
    expect(kinds).toHaveLength(8);
  }
  const orders = [1, 2, 3].map((seed) =>
    writeScript({ ...OPTIONS, seed })
      .kills.map(({ kind }) => kind)
      .join(),
  );
  expect(new Set(orders).size).toBe(3);
});

test('there is something of everything among the leads', () => {
  const { leads } = writeScript(OPTIONS);
  expect(new Set(leads.map(({ email }) => email)).size).toBe(1_000);
  const acts = leads.flatMap(({ act }) => (act === null ? [] : [act]));
  for (const kind of STOP_KINDS) {
    const ofKind = acts.filter((act) => act.kind === kind);
    expect(ofKind.length).toBeGreaterThan(60);
    expect(ofKind.some(({ when }) => 'aroundDueMs' in when && when.aroundDueMs < 0)).toBe(true);
    expect(ofKind.some(({ when }) => 'days' in when)).toBe(true);
  }
  expect(leads.filter(({ agrees }) => !agrees).length).toBeGreaterThan(20);
  expect(leads.filter(({ unknownMailbox }) => unknownMailbox).length).toBeGreaterThan(2);
  expect(leads.filter(({ asksTwice }) => asksTwice).length).toBeGreaterThan(20);
});

test('faults are drawn by seed, recipient and attempt, at the rate that was asked for', () => {
  const draw = (seed: number, attempt: number) =>
    Array.from({ length: 4_000 }, (_, number) =>
      faultFor(QUICK_FAULTS, isOfMessage, { seed, about: `lead${number}@chaos.example`, attempt }),
    );
  expect(draw(1, 0)).toEqual(draw(1, 0));
  expect(draw(1, 1)).not.toEqual(draw(1, 0));
  expect(draw(2, 0)).not.toEqual(draw(1, 0));
  const drops = draw(1, 0).filter((fault) => fault === 'message-drop-kept').length / 4_000;
  expect(drops).toBeGreaterThan(0.01);
  expect(drops).toBeLessThan(0.03);
  expect(draw(1, 0).some((fault) => fault !== null && isAtGreeting(fault))).toBe(false);
  expect(faultFor({}, isOfMessage, { seed: 1, about: 'a', attempt: 0 })).toBeNull();
});

test('a long run has every fault there is but the mailbox that nobody has, which is a lead’s', () => {
  expect(Object.keys(ALL_FAULTS)).toHaveLength(14);
});
