import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import { cancelCampaign } from '../../db/cancellations';
import type { Db } from '../../db/client';
import { type EnrollResult, enroll } from '../../db/enrollments';
import { settle } from '../../db/ledger';
import { holdWhilePaused, pauseCampaign, pauseEnrollment, resumeCampaign, resumeEnrollment } from '../../db/pauses';
import { recordPurchase } from '../../db/purchases';
import { recordRefund } from '../../db/refunds';
import { type InFlight, type Stop, stopEnrollments } from '../../db/stops';
import { Problem } from '../../domain/problem';
import { requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { type Attempted, attempt, jitter, names, type Subject, seed, tally, together, tryClaim } from './racing';

// Whether a stop is seen by a send that is under way is a matter of microseconds, so these race the real statements on
// real connections, over and over. A message that has passed its gate stays in `handing_over` here, so the promise
// reads: what passed was named by the stop, and what was named had passed.

/** Of each kind. Set RACE_TRIALS to some thousands after a change to the claim, the gate or a stop. */
const TRIALS = Number(process.env.RACE_TRIALS ?? 400);
const WIDTH = 6;
/** Each way for a race to end must be seen this often, or it was no race. */
const SEEN = 1;

let database: TestDatabase;
let db: Db;

beforeAll(async () => {
  database = await createTestDatabase(2 * WIDTH);
  db = database.db;
});
afterAll(() => database.drop());

/** Races an attempt to send against a stop, and checks what they say of each other. */
async function against(
  subjects: readonly Subject[],
  stop: (subject: Subject) => Promise<readonly InFlight[]>,
  step = 0,
): Promise<Partial<Record<Attempted, number>>> {
  const wrong: string[] = [];
  const counts = await tally(subjects, WIDTH, async (subject) => {
    const { enrollmentId } = subject;
    const [sent, inFlight] = await together(
      () => attempt(db, enrollmentId, step),
      () => stop(subject),
    );
    if ((sent === 'handed over') !== names(inFlight, enrollmentId, step)) {
      wrong.push(`${sent}, named: ${names(inFlight, enrollmentId, step)}`);
    }
    if ((await tryClaim(db, { enrollmentId, step, copy: 0 })) !== null) wrong.push(`${sent}, claimable after the stop`);
    return sent;
  });
  expect(wrong).toEqual([]);
  return counts;
}

/** The race was really one: each order was met, of which several endings can be the sign. */
function expectRaced(counts: Partial<Record<string, number>>, ...orders: string[][]): void {
  const rare = orders.filter((endings) => endings.reduce((sum, ending) => sum + (counts[ending] ?? 0), 0) < SEEN);
  expect({ rare, counts }).toEqual({ rare: [], counts });
}

const ORDERS = [['refused', 'withdrawn'], ['handed over']];
const stopOf =
  (stop: (subject: Subject) => Pick<Stop, 'who' | 'outcome' | 'suppress' | 'campaignId'>) => async (subject: Subject) =>
    (await stopEnrollments(db, { ...stop(subject), now: new Date() })).inFlight;

describe('P2 a message is handed over before the stop, and named by it, or not at all', () => {
  test('stop of the enrollment', async () => {
    const subjects = await seed(db, TRIALS);
    const stop = stopOf(({ enrollmentId }) => ({ who: { enrollmentId }, outcome: 'replied' }));
    expectRaced(await against(subjects, stop), ...ORDERS);
  });

  test('stop of a nudge in a later step', async () => {
    const subjects = await seed(db, TRIALS, { step: 3 });
    const stop = stopOf(({ leadId }) => ({ who: { leadId }, outcome: 'replied' }));
    expectRaced(await against(subjects, stop, 3), ...ORDERS);
  });

  test('purchase by the person', async () => {
    const subjects = await seed(db, TRIALS);
    const stop = async ({ hashes, enrollmentId }: Subject) =>
      (await recordPurchase(db, { who: { hashes }, orderId: enrollmentId, now: new Date() })).inFlight;
    expectRaced(await against(subjects, stop), ...ORDERS);
  });

  test('P6 objection: suppression of the address', async () => {
    const subjects = await seed(db, TRIALS);
    const stop = stopOf(({ hashes }) => ({ who: { hashes }, outcome: 'unsubscribed', suppress: 'objection' }));
    expectRaced(await against(subjects, stop), ...ORDERS);
  });

  test('P6 unsubscribe from one campaign', async () => {
    const subjects = await seed(db, TRIALS);
    const stop = stopOf(({ hashes, campaignId }) => ({
      who: { hashes },
      outcome: 'unsubscribed',
      suppress: 'campaign',
      campaignId,
    }));
    expectRaced(await against(subjects, stop), ...ORDERS);
  });

  test('P6 objection, while the thanks for an order are sent, which objections before it do not keep back', async () => {
    const subjects = await seed(db, TRIALS);
    const hashes = subjects.map((subject) => subject.hashes[0]);
    await sql`update enrollment set journey = 'buyer', order_id = id::text where address_hash = any(${hashes}::text[])`.execute(
      db,
    );
    await sql`update address set suppressed_at = now(), suppressed_reason = 'objection' where hash = any(${hashes}::text[])`.execute(
      db,
    );
    const stop = stopOf(({ hashes }) => ({ who: { hashes }, outcome: 'unsubscribed', suppress: 'objection' }));
    expectRaced(await against(subjects, stop), ...ORDERS);
  });

  test('refund, while a mail to the buyer is sent', async () => {
    const subjects = await seed(db, TRIALS, { step: 1 });
    const hashes = subjects.map((subject) => subject.hashes[0]);
    await sql`
      update enrollment set journey = 'buyer', order_id = id::text, basis = 'soft-opt-in'
      where address_hash = any(${hashes}::text[])`.execute(db);
    const stop = async ({ enrollmentId }: Subject) =>
      (await recordRefund(db, { orderId: enrollmentId, now: new Date() })).inFlight;
    expectRaced(await against(subjects, stop, 1), ...ORDERS);
  });

  test('pause of the enrollment', async () => {
    const subjects = await seed(db, TRIALS);
    expectRaced(await against(subjects, (s) => pauseEnrollment(db, s.enrollmentId, new Date())), ...ORDERS);
  });

  test('pause of the campaign', async () => {
    const subjects = await seed(db, TRIALS, { campaignEach: true });
    expectRaced(await against(subjects, (s) => pauseCampaign(db, s.campaignId, new Date())), ...ORDERS);
  });

  test('cancel of the campaign', async () => {
    const subjects = await seed(db, TRIALS, { campaignEach: true });
    const stop = async ({ campaignId }: Subject) => (await cancelCampaign(db, campaignId, new Date())).inFlight;
    expectRaced(await against(subjects, stop), ...ORDERS);
  });
});

/** Lets the other side begin at once, or only when the enrollment has been written. */
function whileEnrolling(): { begin: Promise<void>; enrolled: () => void } {
  let enrolled = () => {};
  const written = new Promise<void>((resolve) => {
    enrolled = resolve;
  });
  return { begin: Math.random() < 0.4 ? jitter() : written.then(jitter), enrolled };
}

/** Enrolls, as a file of leads does, and sends at once. */
async function importAndSend(
  subject: Subject,
  written: () => void,
): Promise<{ enrolled: EnrollResult; sent: Attempted | 'not enrolled' }> {
  const [enrolled] = await enroll(db, [requestBy(subject.email)], {
    campaignId: subject.campaignId,
    now: new Date(),
    priority: 3,
    via: 'import',
    asksInPerson: false,
    timeFactor: 1,
  });
  written();
  if (enrolled === undefined) throw new Error('one request, one result');
  if (enrolled.kind === 'refused') return { enrolled, sent: 'not enrolled' };
  return { enrolled, sent: await attempt(db, enrolled.enrollmentId) };
}

test('P6 an address is suppressed while it is being imported: refused, ended, or named', async () => {
  const [model] = await seed(db, 1);
  const subjects = Array.from({ length: TRIALS }, (_, index): Subject => {
    const email = `import-${index}@shop.example`;
    return { ...(model as Subject), email, hashes: requestBy(email).hashes };
  });
  // Every other one has been seen before, so that its row is there to be locked and need not be written first.
  const seen = subjects.filter((_, index) => index % 2 === 0).map(({ hashes: [hash] }) => ({ hash }));
  await db.insertInto('address').values(seen).execute();
  const wrong: string[] = [];
  const counts = await tally(subjects, WIDTH, async (subject) => {
    const race = whileEnrolling();
    const [{ enrolled, sent }, stop] = await together(
      () => importAndSend(subject, race.enrolled),
      async () => {
        await race.begin;
        return await stopEnrollments(db, {
          who: { hashes: subject.hashes },
          outcome: 'unsubscribed',
          suppress: 'objection',
          now: new Date(),
        });
      },
    );
    if (enrolled.kind === 'refused') {
      if (stop.stopped.length > 0) wrong.push('refused, and yet something was stopped');
      return sent;
    }
    if (!stop.stopped.some(({ enrollmentId }) => enrollmentId === enrolled.enrollmentId)) {
      wrong.push(`${sent}: enrolled, and not stopped`);
    }
    if ((sent === 'handed over') !== names(stop.inFlight, enrolled.enrollmentId)) wrong.push(`${sent}, badly named`);
    if ((await tryClaim(db, { enrollmentId: enrolled.enrollmentId, step: 0, copy: 0 })) !== null) {
      wrong.push(`${sent}, claimable after the suppression`);
    }
    return sent;
  });
  expect(wrong).toEqual([]);
  expectRaced(counts, ['not enrolled'], ...ORDERS);
});

test('P2 a campaign is cancelled while somebody is being enrolled: refused, ended, or named', async () => {
  const subjects = await seed(db, TRIALS, { campaignEach: true });
  const wrong: string[] = [];
  const counts = await tally(subjects, WIDTH, async ({ campaignId, enrollmentId }) => {
    const newcomer = { campaignId, email: `${enrollmentId}@later.example` } as Subject;
    const race = whileEnrolling();
    const [result, stop] = await together(
      async () =>
        importAndSend(newcomer, race.enrolled).catch((error: unknown) => {
          if (error instanceof Problem && error.code === 'campaign-cancelled') return null;
          throw error;
        }),
      async () => {
        await race.begin;
        return await cancelCampaign(db, campaignId, new Date());
      },
    );
    if (result === null) return 'not enrolled';
    const { enrolled, sent } = result;
    if (enrolled.kind === 'refused') throw new Error('nobody is suppressed here');
    if (stop.stopped !== 2) wrong.push(`${sent}: goes on`);
    if ((sent === 'handed over') !== names(stop.inFlight, enrolled.enrollmentId)) wrong.push(`${sent}, badly named`);
    return sent;
  });
  expect(wrong).toEqual([]);
  expectRaced(counts, ['not enrolled'], ...ORDERS);
});

test('P2 pause and resume: a claim from before the pause never passes its gate after the resume', async () => {
  const subjects = await seed(db, TRIALS);
  const wrong: string[] = [];
  const counts = await tally(subjects, WIDTH, async ({ enrollmentId }) => {
    let resuming = false;
    const [sent, inFlight] = await together(
      async () => {
        for (let look = 0; look < 50; look++) {
          const sent = await attemptBefore(enrollmentId, () => resuming);
          if (sent !== null) return sent;
          await jitter();
        }
        throw new Error('resumed, and yet never claimable');
      },
      async () => {
        const named = await pauseEnrollment(db, enrollmentId, new Date());
        await jitter();
        resuming = true;
        await resumeEnrollment(db, enrollmentId, new Date());
        return named;
      },
    );
    if (sent === 'sent before' && !names(inFlight, enrollmentId)) wrong.push('sent under the pause, and not named');
    if (sent === 'sent after' && names(inFlight, enrollmentId)) wrong.push('named, and claimed once more');
    return sent;
  });
  expect(wrong).toEqual([]);
  expectRaced(counts, ['sent before'], ['sent after']);
});

/** One attempt to send; tells whether its claim was had before the resume was asked for. Null when it was refused. */
async function attemptBefore(
  enrollmentId: string,
  resuming: () => boolean,
): Promise<'sent before' | 'sent after' | null> {
  const key = { enrollmentId, step: 0, copy: 0 };
  const token = await tryClaim(db, key);
  const before = !resuming();
  if (token === null) return null;
  await jitter();
  const passed = await db
    .updateTable('message')
    .set({ state: 'handing_over' })
    .where('enrollment_id', '=', enrollmentId)
    .where('state', '=', 'claimed')
    .where('token', '=', token)
    .executeTakeFirst();
  if (passed.numUpdatedRows !== 1n) return null;
  return before ? 'sent before' : 'sent after';
}

describe('P4 a journey that is told to hold is woken by the resume, whichever comes first', () => {
  test.each(['enrollment', 'campaign'] as const)('of the %s', async (what) => {
    const subjects = await seed(db, TRIALS, { campaignEach: true });
    const now = new Date();
    await (what === 'campaign'
      ? sql`update campaign set paused_at = ${now} where id = any(${subjects.map((s) => s.campaignId)}::uuid[])`
      : sql`update enrollment set paused_at = ${now} where id = any(${subjects.map((s) => s.enrollmentId)}::uuid[])`
    ).execute(db);
    const wrong: string[] = [];
    const counts = await tally(subjects, WIDTH, async ({ enrollmentId, campaignId }) => {
      const [held] = await together(
        () => holdWhilePaused(db, enrollmentId, new Date()),
        () =>
          what === 'campaign'
            ? resumeCampaign(db, campaignId, new Date())
            : resumeEnrollment(db, enrollmentId, new Date()),
      );
      const row = await db
        .selectFrom('enrollment')
        .select(['held_at', 'signal_at'])
        .where('id', '=', enrollmentId)
        .executeTakeFirstOrThrow();
      if (row.held_at !== null) wrong.push('held, and nobody will wake it');
      if (held !== null && row.signal_at === null) wrong.push('told to hold after the resume');
      return held === null ? 'goes on' : 'held and woken';
    });
    expect(wrong).toEqual([]);
    expectRaced(counts, ['goes on'], ['held and woken']);
  });
});

test('P7 consent that arrives while the information is being settled: a nudge is claimed only with it', async () => {
  const subjects = await seed(db, TRIALS, { agreed: false });
  const wrong: string[] = [];
  const counts = await tally(subjects, WIDTH, async ({ enrollmentId, leadId, campaignId, email }) => {
    const key = { enrollmentId, step: 0, copy: 0 };
    const token = await tryClaim(db, key);
    const now = new Date();
    const [sent, [again]] = await together(
      async () => {
        // The other side has several statements to make before it meets this one.
        for (let wait = Math.random() * 6; wait > 0; wait--) await jitter();
        if (Math.random() < 0.1) await sleep(150);
        await settle(db, {
          ...key,
          leadId,
          token,
          state: 'accepted',
          event: 'message-accepted',
          code: '250',
          providerId: null,
          move: { kind: 'advance', dueAt: now },
          now,
        });
        return await attempt(db, enrollmentId, 1);
      },
      async () => {
        return await enroll(db, [requestBy(email)], {
          campaignId,
          now,
          priority: 2,
          via: 'api',
          asksInPerson: true,
          timeFactor: 1,
        });
      },
    );
    const row = await db
      .selectFrom('enrollment')
      .select(['outcome', 'agreed_at', 'step'])
      .where('id', '=', enrollmentId)
      .executeTakeFirstOrThrow();
    if (row.outcome === 'informed') {
      if (sent !== 'refused') wrong.push(`informed, and a nudge was ${sent}`);
      if (again?.kind !== 'created') wrong.push('asked again after the end, and nothing began');
      return 'informed first';
    }
    if (row.agreed_at === null) wrong.push('open without consent, past the information');
    if (again?.kind !== 'existing') wrong.push('a second open enrollment');
    return 'agreed first';
  });
  expect(wrong).toEqual([]);
  expectRaced(counts, ['informed first'], ['agreed first']);
});
