import fc from 'fast-check';
import { MAX_STEPS } from '../../domain/campaign';
import { dueAfterMove, type Move, planMove } from '../../domain/move';
import { type Plan, type PlannedStep, positionsOf, type VersionStep, versionAt } from '../../domain/plan';
import { planDue } from '../../domain/planner';
import { matchSteps } from '../../domain/step-matching';
import { definitionForTests } from '../support/campaigns';

type Steps = ReturnType<typeof definitionForTests>['steps'];

/** A version made of mails by name; the first is the information. */
const versionOf = (names: readonly string[]): Steps =>
  names.map((name) => ({ key: name, subject: name, mjml: `<mjml>${name}</mjml>` }));

/** A lead, its version, and what they got, by name. */
interface Walker {
  versions: string[][];
  version: number;
  plan: Plan | null;
  got: string[];
}

const walker = (names: string[]): Walker => ({ versions: [names], version: 1, plan: null, got: [] });
const planned = ({ versions, version, plan }: Walker): PlannedStep[] =>
  positionsOf(plan, { version, steps: versions[version - 1]?.map(() => ({ subject: '', html: '', text: '' })) ?? [] });
const nameOf = ({ versions }: Walker, { version, step }: VersionStep) => versions[version - 1]?.[step] ?? '?';

function receive(lead: Walker, mails: number): void {
  for (let mail = 0; mail < mails; mail++) {
    const next = planned(lead)[lead.got.length];
    if (next === undefined) return;
    lead.got.push(nameOf(lead, next));
  }
}

/** Publishes a version and moves the lead to it. @returns null when it is refused */
function moveTo(lead: Walker, names: string[]): Move | null {
  const fresh = versionOf(names);
  const matched = lead.versions.map((earlier) => matchSteps(versionOf(earlier), fresh).pairs);
  lead.versions.push(names);
  const toVersion = lead.versions.length;
  const move = planMove({
    positions: planned(lead),
    had: lead.got.length,
    toVersion,
    steps: names.length,
    same: ({ version, step }) => (matched[version - 1] ?? []).filter(({ from }) => from === step).map(({ to }) => to),
  });
  if (move !== null) Object.assign(lead, { version: toVersion, plan: move.plan });
  return move;
}

const movedAt = (had: number, from: string, to: string) => {
  const lead = walker(from.split(''));
  receive(lead, had);
  const move = moveTo(lead, to.split(''));
  const letters = (steps: readonly number[] | undefined, of: string) => steps?.map((step) => of[step]).join('');
  return {
    ahead: letters(move?.ahead, to),
    added: letters(move?.added, to),
    dropped: letters(move?.dropped, from),
    passedOver: letters(move?.passedOver, to),
  };
};

test('a mail belongs to the version that it went out under, whatever the lead was moved to since', () => {
  const lead = walker(['i', 'a', 'b']);
  expect([0, 1, 2].map((position) => versionAt(lead.plan, position, lead.version))).toEqual([1, 1, 1]);
  receive(lead, 2);
  moveTo(lead, ['i', 'a', 'x', 'y']);
  receive(lead, 1);
  moveTo(lead, ['i', 'a', 'x', 'z']);
  expect([0, 1, 2, 3].map((position) => versionAt(lead.plan, position, lead.version))).toEqual([1, 1, 2, 3]);
});

describe('which mails a moved lead gets, i being the information', () => {
  test.each([
    ['nothing has changed', 3, 'iabcd', 'iabcd', { ahead: 'cd', added: '', dropped: '', passedOver: '' }],
    ['one was put in ahead', 2, 'iabc', 'iabxc', { ahead: 'bxc', added: 'x', dropped: '', passedOver: '' }],
    [
      'one was put in right after the last mail',
      2,
      'iabc',
      'iaxbc',
      { ahead: 'xbc', added: 'x', dropped: '', passedOver: '' },
    ],
    ['one was put in before it', 3, 'iabc', 'iaxbc', { ahead: 'c', added: '', dropped: '', passedOver: 'x' }],
    ['the next was taken out', 2, 'iabc', 'iac', { ahead: 'c', added: '', dropped: 'b', passedOver: '' }],
    ['the last mail was taken out', 3, 'iabc', 'iac', { ahead: 'c', added: '', dropped: '', passedOver: '' }],
    ['and another stands in its place', 3, 'iabc', 'iaxc', { ahead: 'xc', added: 'x', dropped: '', passedOver: '' }],
    ['all that were had are gone', 3, 'iabc', 'ixc', { ahead: 'xc', added: 'x', dropped: '', passedOver: '' }],
    [
      'one from ahead was put before the place',
      2,
      'iabc',
      'icab',
      { ahead: 'cb', added: '', dropped: '', passedOver: '' },
    ],
    ['one from behind was put ahead', 3, 'iabc', 'ibca', { ahead: 'c', added: '', dropped: '', passedOver: '' }],
    ['everything turned round', 2, 'iabc', 'icba', { ahead: 'cb', added: '', dropped: '', passedOver: '' }],
    ['all were had', 4, 'iabc', 'iabcx', { ahead: 'x', added: 'x', dropped: '', passedOver: '' }],
    ['nothing is left', 3, 'iabc', 'iab', { ahead: '', added: '', dropped: 'c', passedOver: '' }],
    ['the information is another one', 2, 'iabc', 'jabc', { ahead: 'bc', added: '', dropped: '', passedOver: '' }],
  ])('%s', (_, had, from, to, expected) => {
    expect(movedAt(had, from, to)).toEqual(expected);
  });

  test('a mail that was passed over once is had when a later version puts it ahead', () => {
    const lead = walker([...'iabc']);
    receive(lead, 3);
    moveTo(lead, [...'iaxbc']);
    moveTo(lead, [...'iabxc']);
    receive(lead, 9);
    expect(lead.got.join('')).toBe('iabxc');
  });

  test('a mail that was had, and was out of the campaign for a version, is not sent when it comes back', () => {
    const lead = walker([...'iabc']);
    receive(lead, 2);
    moveTo(lead, [...'ibc']);
    receive(lead, 1);
    moveTo(lead, [...'ibac']);
    receive(lead, 9);
    expect(lead.got.join('')).toBe('iabc');
  });

  test('what the request said of a step holds in later versions too', () => {
    const move = planMove({
      positions: [
        { version: 1, step: 0 },
        { version: 1, step: 1, as: [{ version: 2, step: 3 }] },
        { version: 2, step: 4 },
      ],
      had: 2,
      toVersion: 3,
      steps: 4,
      same: ({ version, step }) => (version === 2 ? [step - 1] : []),
    });
    // Step 3 of version 2, which is step 2 of version 3, counts as had.
    expect(move).toMatchObject({ ahead: [3], passedOver: [1] });
  });

  test('nobody gets more than eight mails in all: such a lead is not moved', () => {
    const lead = walker([...'iabcdefg']);
    receive(lead, 4);
    expect(moveTo(lead, [...'idvwxyz'])).toBeNull();
    expect(lead.version).toBe(1);
  });
});

const NAMES = [...'abcdefghklm'];
const nudges = fc.uniqueArray(fc.constantFrom(...NAMES), { maxLength: MAX_STEPS - 1 });
/** Another order, some fewer, some new: whatever editing can do. */
const edits = fc.array(fc.record({ nudges, mails: fc.nat(3) }), { minLength: 1, maxLength: 5 });

describe('insert, delete and reorder steps, move and send, as often as you like', () => {
  const walk = (check: (before: Walker & { ahead: string[] }, after: Walker, move: Move, names: string[]) => void) =>
    fc.assert(
      fc.property(nudges, fc.integer({ min: 1, max: 4 }), edits, (first, mails, moves) => {
        const lead = walker(['i', ...first]);
        receive(lead, mails);
        for (const { nudges: next, mails: more } of moves) {
          const before = { ...lead, got: [...lead.got], versions: [...lead.versions] };
          const aheadBefore = planned(lead)
            .slice(lead.got.length)
            .map((one) => nameOf(lead, one));
          const names = ['i', ...next];
          const move = moveTo(lead, names);
          if (move === null) expect(lead).toMatchObject({ version: before.version, plan: before.plan });
          else check({ ...before, ahead: aheadBefore }, lead, move, names);
          receive(lead, more);
        }
        receive(lead, 99);
        expect(new Set(lead.got).size).toBe(lead.got.length);
        expect(lead.got.length).toBeLessThanOrEqual(MAX_STEPS);
        expect(lead.got[0]).toBe('i');
      }),
      { numRuns: 1000 },
    );

  test('P3 nobody gets the same mail twice, what is behind stays as it was, and it ends', () => {
    walk((before, after) => {
      const behind = planned(after)
        .slice(0, before.got.length)
        .map((one) => nameOf(after, one));
      expect(behind).toEqual(before.got);
    });
  });

  test('nothing is skipped: what lies ahead in the new version is sent, and what lay ahead before if it is there', () => {
    walk((before, after, move, names) => {
      const ahead = planned(after)
        .slice(before.got.length)
        .map((one) => nameOf(after, one));
      const lastKept = before.got.findLast((name) => names.includes(name)) ?? 'i';
      const expected = names.filter(
        (name, step) => !before.got.includes(name) && (step > names.indexOf(lastKept) || before.ahead.includes(name)),
      );
      expect(ahead).toEqual(expected);
      const told = [...move.ahead, ...move.passedOver].map((step) => names[step]).sort();
      expect(told).toEqual(names.filter((name) => !before.got.includes(name)).sort());
    });
  });

  test('the order is the new version’s', () => {
    walk((before, after, _, names) => {
      const ahead = planned(after)
        .slice(before.got.length)
        .map((one) => names.indexOf(nameOf(after, one)));
      expect(ahead).toEqual([...ahead].sort((a, b) => a - b));
    });
  });

  test('moving there and back at once gets them what they would have got', () => {
    fc.assert(
      fc.property(nudges, nudges, fc.integer({ min: 1, max: 5 }), (first, second, mails) => {
        const lead = walker(['i', ...first]);
        receive(lead, mails);
        if (moveTo(lead, ['i', ...second]) === null || moveTo(lead, ['i', ...first]) === null) return;
        receive(lead, 99);
        expect(lead.got).toEqual(['i', ...first]);
      }),
    );
  });
});

describe('when the next mail of a moved lead is due', () => {
  const clock = { origin: Date.parse('2027-01-04T10:00:00Z'), factor: 1 };
  const lastMailAt = new Date('2027-01-04T10:00:00Z');
  const now = new Date('2027-02-10T10:00:00Z');
  const definition = (min: string, max: string) => definitionForTests(8, { cadence: { min, max } });
  const enrollmentId = '7a0e6a3c-7c02-4f0e-8a37-0d2a1b1c9a01';
  const dueBy = ({ cadence, sendWindow, timeZone }: ReturnType<typeof definition>) =>
    planDue({ enrollmentId, step: 3, after: lastMailAt, cadence, sendWindow, timeZone, clock });
  const months = definition('P2M', 'P3M');
  const moved = (to: ReturnType<typeof definition>, change: Partial<Parameters<typeof dueAfterMove>[0]> = {}) =>
    dueAfterMove({
      enrollmentId,
      position: 3,
      timeZone: null,
      clock,
      lastMailAt,
      due: dueBy(months),
      from: months,
      to,
      now,
      ...change,
    });

  test('the date stays where cadence and window do, also one that something had moved', () => {
    expect(moved(months)).toEqual(dueBy(months));
    const due = new Date('2027-02-11T10:00:00Z');
    expect(moved(months, { due })).toEqual(due);
  });

  test('P10 it is counted from the last mail by the new cadence, sooner or later', () => {
    const longer = definition('P5M', 'P6M');
    const shorter = definition('P40D', 'P50D');
    expect(moved(longer)).toEqual(dueBy(longer));
    expect(moved(shorter)).toEqual(dueBy(shorter));
    expect(moved(shorter) < dueBy(months)).toBe(true);
  });

  test('a date that something else has moved away is not made sooner, but later where the new cadence says so', () => {
    const due = new Date('2027-09-01T10:00:00Z');
    expect(moved(definition('P40D', 'P50D'), { due })).toEqual(due);
    expect(moved(definition('P1Y', 'P1Y'), { due })).toEqual(dueBy(definition('P1Y', 'P1Y')));
  });

  test('who would be due at once comes due within the next days, spread, and never later than before', () => {
    const short = definition('P7D', 'P8D');
    const days = Array.from({ length: 200 }, (_, lead) => {
      const id = `7a0e6a3c-7c02-4f0e-8a37-0d2a1b1c${String(lead).padStart(4, '0')}`;
      const due = planDue({ enrollmentId: id, step: 3, after: lastMailAt, ...months, clock });
      const at = moved(short, { enrollmentId: id, due });
      return (at.getTime() - now.getTime()) / 86_400_000;
    });
    expect(Math.min(...days)).toBeGreaterThanOrEqual(1);
    expect(Math.max(...days)).toBeLessThanOrEqual(9);
    expect(new Set(days.map(Math.floor)).size).toBeGreaterThan(5);
    const soon = new Date(now.getTime() + 60_000);
    expect(moved(short, { due: soon, from: definition('P1M', 'P1M'), now })).toEqual(soon);
  });

  test('the information, and what is counted from nobody knows when, keep their date', () => {
    const other = definition('P5M', 'P6M');
    expect(moved(other, { position: 0 })).toEqual(dueBy(months));
    expect(moved(other, { lastMailAt: null })).toEqual(dueBy(months));
  });
});
