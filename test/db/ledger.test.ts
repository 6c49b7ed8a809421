import { randomUUID } from 'node:crypto';
import type { Db } from '../../db/client';
import {
  advancePast,
  claim,
  loadTouch,
  passGate,
  postpone,
  releaseClaim,
  type Settlement,
  settle,
  settleLeftBehind,
} from '../../db/ledger';
import { pauseEnrollment } from '../../db/pauses';
import { bounce, stopEnrollments } from '../../db/stops';
import { enrollAll, requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { jitter, type Subject, seed, tally, together, tryClaim } from './racing';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

let database: TestDatabase;
let db: Db;

beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
});
afterAll(() => database.drop());

async function one(options: Parameters<typeof seed>[2] = {}): Promise<Subject> {
  const [subject] = await seed(db, 1, options);
  return subject as Subject;
}

const keyOf = ({ enrollmentId }: Subject, step = 0, copy = 0) => ({ enrollmentId, step, copy });

/** Claims, which must go well. */
async function claimed(subject: Subject, step = 0, copy = 0, now = new Date()): Promise<string> {
  const token = await tryClaim(db, keyOf(subject, step, copy), now);
  if (token === null) throw new Error('the claim was refused');
  return token;
}

/** Claims and passes the gate. */
async function handedOver(subject: Subject, step = 0, copy = 0, now = new Date()): Promise<string> {
  const token = await claimed(subject, step, copy, now);
  expect(await passGate(db, keyOf(subject, step, copy), token, now)).toBe(true);
  return token;
}

const EVENTS = {
  accepted: 'message-accepted',
  rejected: 'message-rejected',
  deferred: 'message-deferred',
  unknown: 'message-unknown',
} as const;

async function settled(
  subject: Subject,
  token: string | null,
  state: Settlement['state'],
  change: Partial<Settlement> = {},
): Promise<boolean> {
  const result = await settle(db, {
    ...keyOf(subject),
    leadId: subject.leadId,
    token,
    state,
    event: EVENTS[state],
    code: '250 2.0.0',
    providerId: null,
    move: { kind: 'advance', dueAt: new Date(Date.now() + 60 * DAY) },
    now: new Date(),
    ...change,
  });
  return result.settled;
}

async function message({ enrollmentId }: Subject, step = 0, copy = 0) {
  return await db
    .selectFrom('message')
    .selectAll()
    .where('enrollment_id', '=', enrollmentId)
    .where('step', '=', step)
    .where('copy', '=', copy)
    .executeTakeFirst();
}

async function row({ enrollmentId }: Subject) {
  return await db.selectFrom('enrollment').selectAll().where('id', '=', enrollmentId).executeTakeFirstOrThrow();
}

async function kinds({ enrollmentId }: Subject): Promise<string[]> {
  const events = await db
    .selectFrom('event')
    .select('kind')
    .where('enrollment_id', '=', enrollmentId)
    .orderBy('id')
    .execute();
  return events.map((event) => event.kind);
}

describe('P3 claim', () => {
  test('is refused for a step that is not the current one, is not due, or has gone out', async () => {
    const subject = await one({ step: 2 });
    for (const step of [0, 1, 3]) expect(await tryClaim(db, keyOf(subject, step))).toBeNull();
    const later = await one({ dueAt: new Date(Date.now() + HOUR) });
    expect(await tryClaim(db, keyOf(later))).toBeNull();
    expect(await tryClaim(db, keyOf(later), new Date(Date.now() + 2 * HOUR))).not.toBeNull();
    expect(await tryClaim(db, { enrollmentId: randomUUID(), step: 0, copy: 0 })).toBeNull();
    expect(await message(subject, 2)).toBeUndefined();
  });

  test('P7 a nudge is refused without consent, the information is not', async () => {
    expect(await tryClaim(db, keyOf(await one({ agreed: false, step: 1 }), 1))).toBeNull();
    expect(await tryClaim(db, keyOf(await one({ agreed: false })))).not.toBeNull();
  });

  test.each(['handing_over', 'accepted', 'rejected', 'unknown'] as const)(
    'never takes a message that is %s',
    async (state) => {
      const subject = await one();
      await claimed(subject);
      await db.updateTable('message').set({ state }).where('enrollment_id', '=', subject.enrollmentId).execute();
      expect(await tryClaim(db, keyOf(subject))).toBeNull();
      expect(await message(subject)).toMatchObject({ state, attempts: 1 });
    },
  );

  test('of two at the same time, one passes its gate', async () => {
    const subjects = await seed(db, 200);
    const counts = await tally(subjects, 8, async (subject) => {
      const both = async () => {
        const token = await tryClaim(db, keyOf(subject));
        await jitter();
        return token !== null && (await passGate(db, keyOf(subject), token, new Date()));
      };
      const passed = await together(both, both);
      return `${passed.filter(Boolean).length}` as '0' | '1' | '2';
    });
    expect(counts).toEqual({ 1: 200 });
  });

  test('takes over what a dead attempt has claimed; the old gate and the old record refuse', async () => {
    const subject = await one();
    const old = await claimed(subject);
    const token = await claimed(subject);
    expect(await passGate(db, keyOf(subject), old, new Date())).toBe(false);
    expect(await settled(subject, old, 'accepted')).toBe(false);
    await releaseClaim(db, keyOf(subject), old, new Date());
    expect(await message(subject)).toMatchObject({ state: 'claimed', token, attempts: 1 });
    expect(await row(subject)).toMatchObject({ step: 0 });
    expect(await passGate(db, keyOf(subject), token, new Date())).toBe(true);
    expect(await passGate(db, keyOf(subject), token, new Date())).toBe(false);
  });
});

describe('P3 settle', () => {
  test('accepted moves on and tells the timeline, once', async () => {
    const subject = await one();
    const token = await handedOver(subject);
    const dueAt = new Date(Date.now() + 70 * DAY);
    const fate = { move: { kind: 'advance' as const, dueAt }, providerId: 'ses-1' };
    expect(await settled(subject, token, 'accepted', fate)).toBe(true);
    expect(await settled(subject, token, 'accepted', fate)).toBe(false);
    expect(await message(subject)).toMatchObject({ state: 'accepted', provider_id: 'ses-1', code: '250 2.0.0' });
    expect(await row(subject)).toMatchObject({ step: 1, next_due_at: dueAt, outcome: null });
    expect(await kinds(subject)).toEqual(['message-accepted']);
  });

  test('what another attempt left past the gate becomes unknown, once, and the journey goes on', async () => {
    const subject = await one();
    await handedOver(subject);
    expect(await settled(subject, null, 'unknown', { code: 'crash' })).toBe(true);
    expect(await settled(subject, null, 'unknown', { code: 'crash' })).toBe(false);
    expect(await row(subject)).toMatchObject({ step: 1, outcome: null });
    expect(await message(subject)).toMatchObject({ state: 'unknown' });
    expect(await kinds(subject)).toEqual(['message-unknown']);
  });

  test('what is only claimed can not be called unknown', async () => {
    const subject = await one();
    await claimed(subject);
    expect(await settled(subject, null, 'unknown')).toBe(false);
    expect(await message(subject)).toMatchObject({ state: 'claimed' });
  });

  test('a late accepted corrects an unknown, and does not move on twice', async () => {
    const subject = await one();
    const token = await handedOver(subject);
    const dueAt = new Date(Date.now() + 61 * DAY);
    await settled(subject, null, 'unknown', { move: { kind: 'advance', dueAt } });
    const late = { move: { kind: 'advance' as const, dueAt: new Date(Date.now() + 99 * DAY) } };
    expect(await settled(subject, token, 'accepted', late)).toBe(true);
    expect(await message(subject)).toMatchObject({ state: 'accepted' });
    expect(await row(subject)).toMatchObject({ step: 1, next_due_at: dueAt });
    for (const state of ['rejected', 'deferred', 'unknown'] as const) {
      expect(await settled(subject, token, state)).toBe(false);
    }
  });

  test('no other late answer changes an unknown', async () => {
    const subject = await one();
    const token = await handedOver(subject);
    await settled(subject, null, 'unknown');
    expect(await settled(subject, token, 'rejected')).toBe(false);
    expect(await settled(subject, token, 'deferred')).toBe(false);
    expect(await message(subject)).toMatchObject({ state: 'unknown' });
  });

  test('deferred counts the attempts from the first claim, and waits', async () => {
    const subject = await one();
    const first = new Date(Date.now() - 3 * HOUR);
    let at = first;
    for (const attempts of [1, 2, 3]) {
      const token = randomUUID();
      const request = { ...keyOf(subject), messageId: `<${subject.enrollmentId}>`, token, moves: 0, now: at };
      await db.updateTable('enrollment').set({ next_due_at: at }).where('id', '=', subject.enrollmentId).execute();
      expect(await claim(db, request)).toEqual({ attempts, firstClaimedAt: first });
      // Claimed again after a breakdown of ours: no further attempt as far as the recipient is concerned.
      const retry = randomUUID();
      expect(await claim(db, { ...request, token: retry })).toMatchObject({ attempts });
      const dueAt = new Date(at.getTime() + HOUR);
      expect(await settled(subject, retry, 'deferred', { move: { kind: 'again', dueAt }, now: at })).toBe(true);
      expect(await row(subject)).toMatchObject({ step: 0, next_due_at: dueAt });
      at = dueAt;
    }
  });

  test('who asked again meanwhile has the next try a full interval away', async () => {
    const subject = await one({ step: 2 });
    const token = await claimed(subject, 2);
    await enrollAll(db, subject.campaignId, [requestBy(subject.email)]);
    const { next_due_at } = await row(subject);
    const soon = new Date(Date.now() + HOUR);
    await settled(subject, token, 'deferred', { step: 2, move: { kind: 'again', dueAt: soon } });
    await postpone(db, subject.enrollmentId, 2, soon);
    expect((await row(subject)).next_due_at).toEqual(next_due_at);
    expect(next_due_at.getTime() - Date.now()).toBeGreaterThan(50 * DAY);
  });

  test.each([
    ['accepted', 'informed'],
    ['unknown', 'informed'],
    ['rejected', 'bounced'],
    ['deferred', 'bounced'],
  ] as const)('P7 without consent, the information %s ends the enrollment as %s', async (state, outcome) => {
    const subject = await one({ agreed: false });
    expect(await settled(subject, await handedOver(subject), state)).toBe(true);
    const ended = await row(subject);
    expect(ended).toMatchObject({ step: 1, outcome });
    expect(ended.ended_at).not.toBeNull();
    expect((await kinds(subject)).filter((kind) => kind === 'ended')).toHaveLength(1);
    expect(await tryClaim(db, keyOf(subject, 1))).toBeNull();
  });

  test('after the enrollment has ended, the message is recorded and the outcome kept', async () => {
    const subject = await one();
    const token = await handedOver(subject);
    const stop = { who: { enrollmentId: subject.enrollmentId }, outcome: 'purchased' as const, now: new Date() };
    await stopEnrollments(db, stop);
    expect(await settled(subject, token, 'accepted')).toBe(true);
    expect(await message(subject)).toMatchObject({ state: 'accepted' });
    expect(await row(subject)).toMatchObject({ step: 0, outcome: 'purchased' });
  });

  test('what a stop has withdrawn is not settled any more', async () => {
    const subject = await one();
    const token = await claimed(subject);
    await stopEnrollments(db, { who: { enrollmentId: subject.enrollmentId }, outcome: 'replied', now: new Date() });
    expect(await settled(subject, token, 'rejected')).toBe(false);
    expect(await message(subject)).toMatchObject({ state: 'withdrawn' });
  });

  test('a refusal that is settled while the enrollment is stopped never waits in a circle', async () => {
    const subjects = await seed(db, 400);
    let deadlocks = 0;
    await tally(subjects, 8, async (subject) => {
      const token = await claimed(subject);
      await together(
        () =>
          settled(subject, token, 'rejected').catch((error: { code?: string }) => {
            if (error.code === '40P01') deadlocks++;
            else throw error;
          }),
        () =>
          db.transaction().execute(async (tx) => {
            const { enrollmentId } = subject;
            await tx.updateTable('enrollment').set({ paused_at: new Date() }).where('id', '=', enrollmentId).execute();
            await jitter();
            await tx
              .updateTable('message')
              .set({ state: 'withdrawn' })
              .where('enrollment_id', '=', enrollmentId)
              .where('state', '=', 'claimed')
              .execute();
          }),
      );
      return 'done';
    });
    expect(deadlocks).toBe(0);
  });
});

describe('P3 withdrawn', () => {
  test('is claimable again only while the enrollment is open', async () => {
    const subject = await one();
    const token = await claimed(subject);
    await pauseEnrollment(db, subject.enrollmentId, new Date());
    expect(await message(subject)).toMatchObject({ state: 'withdrawn' });
    expect(await passGate(db, keyOf(subject), token, new Date())).toBe(false);
    expect(await tryClaim(db, keyOf(subject))).toBeNull();
    const { enrollmentId } = subject;
    await db.updateTable('enrollment').set({ paused_at: null }).where('id', '=', enrollmentId).execute();
    expect(await passGate(db, keyOf(subject), token, new Date())).toBe(false);
    await claimed(subject);
    await stopEnrollments(db, { who: { enrollmentId }, outcome: 'replied', now: new Date() });
    expect(await tryClaim(db, keyOf(subject))).toBeNull();
  });

  test('releasing gives back what was claimed or past the gate, of this attempt only', async () => {
    for (const take of [claimed, handedOver]) {
      const subject = await one();
      const token = await take(subject);
      await releaseClaim(db, keyOf(subject), randomUUID(), new Date());
      expect((await message(subject))?.state).not.toBe('withdrawn');
      await releaseClaim(db, keyOf(subject), token, new Date());
      expect(await message(subject)).toMatchObject({ state: 'withdrawn' });
      expect(await passGate(db, keyOf(subject), token, new Date())).toBe(false);
      const again = await handedOver(subject);
      expect(await message(subject)).toMatchObject({ attempts: 1 });
      expect(await settled(subject, again, 'accepted')).toBe(true);
      await releaseClaim(db, keyOf(subject), again, new Date());
      expect(await message(subject)).toMatchObject({ state: 'accepted' });
    }
  });
});

describe('P1 the information again', () => {
  async function askedAgain(): Promise<Subject> {
    const subject = await one({ step: 2, dueAt: new Date(Date.now() + 5 * DAY) });
    const { enrollmentId } = subject;
    const last_info_at = new Date(Date.now() - 2 * DAY);
    await db.updateTable('enrollment').set({ last_info_at }).where('id', '=', enrollmentId).execute();
    await enrollAll(db, subject.campaignId, [requestBy(subject.email)]);
    return subject;
  }
  const copyOf = (dueAt: Date, kind: 'advance' | 'again' = 'advance') => ({ copy: 1, move: { kind, dueAt } });

  test('goes out as a copy of step 0; the step stays and the next nudge has moved', async () => {
    const subject = await askedAgain();
    const moved = (await row(subject)).next_due_at;
    expect(moved.getTime() - Date.now()).toBeGreaterThan(50 * DAY);
    expect(await tryClaim(db, keyOf(subject, 0, 2))).toBeNull();
    const token = await handedOver(subject, 0, 1);
    const nearer = new Date(moved.getTime() - DAY);
    expect(await settled(subject, token, 'accepted', copyOf(nearer))).toBe(true);
    const after = await row(subject);
    expect(after).toMatchObject({ step: 2, info_copies: 1, info_due_at: null, next_due_at: moved, outcome: null });
    expect(Date.now() - Number(after.last_info_at)).toBeLessThan(DAY);
    expect(await tryClaim(db, keyOf(subject, 0, 1))).toBeNull();
  });

  test('a deferred copy waits without touching the next nudge', async () => {
    const subject = await askedAgain();
    const moved = (await row(subject)).next_due_at;
    const token = await claimed(subject, 0, 1);
    const dueAt = new Date(Date.now() + HOUR);
    expect(await settled(subject, token, 'deferred', copyOf(dueAt, 'again'))).toBe(true);
    expect(await row(subject)).toMatchObject({ info_due_at: dueAt, next_due_at: moved });
    expect(await tryClaim(db, keyOf(subject, 0, 1))).toBeNull();
    expect(await tryClaim(db, keyOf(subject, 0, 1), dueAt)).not.toBeNull();
  });

  test('an unknown copy may have arrived, so it counts for the 24 hours; a late accepted corrects it', async () => {
    const subject = await askedAgain();
    const token = await handedOver(subject, 0, 1);
    expect(await settled(subject, null, 'unknown', copyOf(new Date()))).toBe(true);
    await enrollAll(db, subject.campaignId, [requestBy(subject.email)]);
    expect(await row(subject)).toMatchObject({ info_copies: 1, info_due_at: null, step: 2 });
    expect(await settled(subject, token, 'accepted', copyOf(new Date()))).toBe(true);
    expect(await message(subject, 0, 1)).toMatchObject({ state: 'accepted' });
    expect(await row(subject)).toMatchObject({ info_copies: 1, step: 2, outcome: null });
  });

  test('ends with the enrollment', async () => {
    const subject = await askedAgain();
    await stopEnrollments(db, { who: { enrollmentId: subject.enrollmentId }, outcome: 'replied', now: new Date() });
    expect(await tryClaim(db, keyOf(subject, 0, 1))).toBeNull();
  });
});

describe('P3 the rest', () => {
  test('advancePast moves on from the step it names only, and ends who agreed to nothing more', async () => {
    const dueAt = new Date(Date.now() + 60 * DAY);
    const agreed = await one();
    await advancePast(db, agreed.enrollmentId, 1, dueAt, new Date());
    expect(await row(agreed)).toMatchObject({ step: 0 });
    await advancePast(db, agreed.enrollmentId, 0, dueAt, new Date());
    await advancePast(db, agreed.enrollmentId, 0, dueAt, new Date());
    expect(await row(agreed)).toMatchObject({ step: 1, outcome: null, next_due_at: dueAt });
    const informed = await one({ agreed: false });
    await advancePast(db, informed.enrollmentId, 0, dueAt, new Date());
    expect(await row(informed)).toMatchObject({ step: 1, outcome: 'informed' });
    await advancePast(db, informed.enrollmentId, 1, dueAt, new Date());
    expect(await row(informed)).toMatchObject({ step: 1 });
  });

  test('a bounce rejects the message, suppresses the address and ends what else it is enrolled in', async () => {
    const subject = await one();
    const [other] = await seed(db, 1);
    const [second] = await enrollAll(db, (other as Subject).campaignId, [requestBy(subject.email)]);
    if (second?.kind !== 'created') throw new Error('not enrolled');
    const waiting = await tryClaim(db, { enrollmentId: second.enrollmentId, step: 0, copy: 0 });
    const token = await claimed(subject);
    await bounce(db, { ...keyOf(subject), token }, '550 5.1.1', new Date());
    expect(await message(subject)).toMatchObject({ state: 'rejected', code: '550 5.1.1' });
    expect(await row(subject)).toMatchObject({ outcome: 'bounced' });
    const elsewhere = { ...subject, enrollmentId: second.enrollmentId };
    expect(await row(elsewhere)).toMatchObject({ outcome: 'bounced' });
    expect(await passGate(db, keyOf(elsewhere), waiting as string, new Date())).toBe(false);
    expect((await loadTouch(db, subject.enrollmentId))?.suppression).toMatchObject({ reason: 'undeliverable' });
    const [refused] = await enrollAll(db, subject.campaignId, [requestBy(subject.email)]);
    expect(refused).toMatchObject({ kind: 'refused', because: { reason: 'undeliverable' } });
  });

  test("a bounce that comes late leaves another attempt's message alone", async () => {
    const subject = await one();
    const old = await claimed(subject);
    const token = await claimed(subject);
    await passGate(db, keyOf(subject), token, new Date());
    await bounce(db, { ...keyOf(subject), token: old }, '550 5.1.1', new Date());
    expect(await message(subject)).toMatchObject({ state: 'handing_over', token });
  });

  test('loadTouch tells why it waits and what stands in the ledger', async () => {
    const subject = await one();
    await claimed(subject);
    await pauseEnrollment(db, subject.enrollmentId, new Date());
    expect(await loadTouch(db, subject.enrollmentId)).toMatchObject({
      paused: 'enrollment',
      message: 'withdrawn',
      step: 0,
      suppression: null,
      lead: { id: subject.leadId, email: subject.email },
    });
    expect(await loadTouch(db, randomUUID())).toBeNull();
  });
});

describe('P12 settleLeftBehind', () => {
  const MINUTE = 60_000;
  const ago = (minutes: number) => new Date(Date.now() - minutes * MINUTE);
  const leftBehind = async () => await settleLeftBehind(db, ago(6), new Date());
  // What the tests before have left.
  beforeAll(leftBehind);

  test('enters unknown for a message past the gate whose attempt died and whose enrollment has ended since, once', async () => {
    const subject = await one({ dueAt: ago(20) });
    const token = await handedOver(subject, 0, 0, ago(10));
    const { inFlight } = await stopEnrollments(db, {
      who: { enrollmentId: subject.enrollmentId },
      outcome: 'purchased',
      now: ago(9),
    });
    expect(inFlight).toHaveLength(1);
    expect(await leftBehind()).toBe(1);
    expect(await message(subject)).toMatchObject({ state: 'unknown', code: 'crash' });
    expect((await kinds(subject)).slice(-1)).toEqual(['message-unknown']);
    expect(await leftBehind()).toBe(0);
    // The attempt was not dead after all.
    expect(await settled(subject, token, 'accepted')).toBe(true);
  });

  test('leaves alone what is still being handed over, and what another attempt will find', async () => {
    const underWay = await one({ dueAt: ago(20) });
    await handedOver(underWay, 0, 0, ago(2));
    await stopEnrollments(db, { who: { enrollmentId: underWay.enrollmentId }, outcome: 'replied', now: ago(1) });
    const open = await one({ dueAt: ago(20) });
    await handedOver(open, 0, 0, ago(10));
    expect(await leftBehind()).toBe(0);
    expect((await message(underWay))?.state).toBe('handing_over');
    expect((await message(open))?.state).toBe('handing_over');
  });
});
