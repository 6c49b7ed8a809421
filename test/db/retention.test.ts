import { randomUUID } from 'node:crypto';
import { DateTime, Duration } from 'luxon';
import type { Db } from '../../db/client';
import { enforceRetention, erasedAfter, type RetentionSettings, retentionOutlook } from '../../db/retention';
import { stopEnrollments } from '../../db/stops';
import type { CampaignDefinition } from '../../domain/campaign';
import { OUTCOMES } from '../../domain/outcomes';
import { type KeptOutcome, RETENTION_DEFAULTS, type RetentionField } from '../../domain/retention';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { ERASING } from '../support/erasing';
import { classified, receive, stepRef } from '../support/inbound';
import { enrollAll, enrollForTests, requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { together } from './racing';

const SETTINGS: RetentionSettings = { erasure: ERASING, timeFactor: 1 };
const ENDED = new Date('2026-03-10T12:00:00Z');
const KEPT = OUTCOMES.filter((outcome): outcome is KeptOutcome => outcome !== 'erased');

let database: TestDatabase;
let db: Db;
let coffee: string;

beforeEach(async () => {
  database = await createTestDatabase();
  db = database.db;
  coffee = await publishForTests(db);
});
afterEach(() => database.drop());

const past = (duration: string, from = ENDED) =>
  DateTime.fromJSDate(from, { zone: 'UTC' }).plus(Duration.fromISO(duration)).toJSDate();
const withErasure = (erasure: Partial<CampaignDefinition['erasure']>) =>
  publishForTests(db, definitionForTests(3, { erasure: { afterExhausted: 'P30D', ...erasure } }));

const retentionField = (outcome: KeptOutcome) =>
  `after${outcome.charAt(0).toUpperCase()}${outcome.slice(1)}` as RetentionField;

/** Somebody whose journey ended this way. */
async function ended(
  outcome: KeptOutcome,
  { campaignId = coffee, at = ENDED, email = `${randomUUID()}@a.example` } = {},
) {
  const request = requestBy(email, { requestedAt: new Date('2026-01-01T00:00:00Z') });
  const enrollmentId = await enrollForTests(db, campaignId, request);
  await stopEnrollments(db, { who: { enrollmentId }, outcome, now: at });
  const { lead_id: leadId } = await db
    .selectFrom('enrollment')
    .select('lead_id')
    .where('id', '=', enrollmentId)
    .executeTakeFirstOrThrow();
  return { enrollmentId, leadId, request };
}

async function isErased(leadId: string): Promise<boolean> {
  const row = await db.selectFrom('lead').select('erased_at').where('id', '=', leadId).executeTakeFirstOrThrow();
  return row.erased_at !== null;
}

const minute = 60_000;
const just = (at: Date, ms: number) => new Date(at.getTime() + ms);

test.each(KEPT)('after %s a lead is kept for the usual time, and no longer', async (outcome) => {
  const { leadId } = await ended(outcome);
  const due = past(RETENTION_DEFAULTS[retentionField(outcome)]);
  expect(await erasedAfter(db, leadId, 1)).toEqual(due);
  expect(await enforceRetention(db, SETTINGS, just(due, -minute))).toMatchObject({ erased: 0, failed: [] });
  expect(await isErased(leadId)).toBe(false);
  expect(await enforceRetention(db, SETTINGS, just(due, minute))).toMatchObject({ erased: 1, failed: [], stopped: [] });
  expect(await isErased(leadId)).toBe(true);
  expect(await erasedAfter(db, leadId, 1)).toBeNull();
  const events = db.selectFrom('event').select(['kind', 'detail']).where('lead_id', '=', leadId);
  expect(await events.execute()).toEqual([{ kind: 'erased', detail: { by: 'retention', sealed: false } }]);
});

test.each(KEPT)('after %s as long as the campaign says', async (outcome) => {
  const field = retentionField(outcome);
  const campaignId = await withErasure({ [field]: 'P1Y2M3DT4H' });
  const { leadId } = await ended(outcome, { campaignId });
  expect(await erasedAfter(db, leadId, 1)).toEqual(past('P1Y2M3DT4H'));
});

test('nobody is erased while a journey of theirs is open, and of several the longest time counts', async () => {
  const short = await withErasure({ afterCancelled: 'P1D' });
  const { leadId, request } = await ended('replied');
  const open = await enrollForTests(db, short, request);
  const much = past('P20Y');
  expect(await erasedAfter(db, leadId, 1)).toBeNull();
  expect(await enforceRetention(db, SETTINGS, much)).toMatchObject({ erased: 0 });
  await stopEnrollments(db, { who: { enrollmentId: open }, outcome: 'cancelled', now: just(ENDED, minute) });
  expect(await erasedAfter(db, leadId, 1)).toEqual(past('P12M'));
});

test('an answer keeps them from the last thing they wrote on', async () => {
  const { leadId, enrollmentId } = await ended('replied');
  const later = past('P3M');
  await receive(db, classified({ kind: 'reply' }), { proven: stepRef(enrollmentId), receivedAt: later, now: later });
  expect(await erasedAfter(db, leadId, 1)).toEqual(past('P15M'));
  // What a machine writes is no contact.
  const machine = past('P6M');
  await receive(db, classified({ kind: 'auto-reply' }), { proven: stepRef(enrollmentId), receivedAt: machine });
  expect(await erasedAfter(db, leadId, 1)).toEqual(past('P15M'));
});

test('a purchase keeps them from the last mail to the buyer on, whatever ended it', async () => {
  const { leadId, enrollmentId, request } = await ended('purchased');
  const buyer = { id: randomUUID(), journey: 'buyer' as const, order_id: 'A-1', outcome: null, ended_at: null };
  const row = await db.selectFrom('enrollment').selectAll().where('id', '=', enrollmentId).executeTakeFirstOrThrow();
  await db
    .insertInto('enrollment')
    .values({ ...row, ...buyer, source: null, plan: null, address_hash: request.hashes[0] })
    .execute();
  expect(await erasedAfter(db, leadId, 1)).toBeNull();
  await db
    .updateTable('enrollment')
    .set({ outcome: 'exhausted', ended_at: past('P2M') })
    .where('id', '=', buyer.id)
    .execute();
  expect(await erasedAfter(db, leadId, 1)).toEqual(past('P14M'));
});

describe('something that is still to be decided or answered keeps them', () => {
  test('a request about their data', async () => {
    const { leadId } = await ended('exhausted');
    const id = randomUUID();
    const request = { kind: 'access', received_at: ENDED, due_at: past('P1M'), done_at: null } as const;
    await db
      .insertInto('privacy_request')
      .values({ id, inbound_id: null, source: 'page', lead_id: leadId, enrollment_id: null, ...request })
      .execute();
    const now = past('P2M');
    expect(await enforceRetention(db, SETTINGS, now)).toMatchObject({ erased: 0 });
    expect((await retentionOutlook(db, 1, now)).leads).toMatchObject({ held: 1, overdue: 0 });
    await db.updateTable('privacy_request').set({ done_at: now, answer: 'done' }).where('id', '=', id).execute();
    expect(await enforceRetention(db, SETTINGS, now)).toMatchObject({ erased: 1 });
  });

  test('a request by a form that waits to be confirmed', async () => {
    const { request } = await ended('exhausted');
    const id = randomUUID();
    await db
      .insertInto('form_request')
      .values({
        id,
        form_id: null,
        form_version: null,
        campaign_id: coffee,
        address_hash: request.hashes[0],
        content: null,
        purpose: 'opt-in',
        requested_at: ENDED,
        expires_at: past('P7D'),
        remind_at: null,
      })
      .execute();
    const now = past('P2M');
    expect(await enforceRetention(db, SETTINGS, now)).toMatchObject({ erased: 0 });
    await db
      .updateTable('form_request')
      .set({ state: 'expired', ended_at: now, content: null })
      .where('id', '=', id)
      .execute();
    expect(await enforceRetention(db, SETTINGS, now)).toMatchObject({ erased: 1 });
    expect(await db.selectFrom('form_request').select('id').execute()).toEqual([]);
  });

  test('a message that nobody has decided about', async () => {
    const { enrollmentId } = await ended('exhausted');
    const doubtful = classified({ kind: 'other', needsReview: true, confidence: 0.2 });
    const { inboundId } = await receive(db, doubtful, { proven: stepRef(enrollmentId) });
    await db.updateTable('inbound').set({ needs_review: true }).where('id', '=', inboundId).execute();
    expect(await enforceRetention(db, SETTINGS, past('P2Y'))).toMatchObject({ erased: 0 });
    await db.updateTable('inbound').set({ decided_at: ENDED }).where('id', '=', inboundId).execute();
    expect(await enforceRetention(db, SETTINGS, past('P2Y'))).toMatchObject({ erased: 1 });
  });
});

test('where time is compressed, so is the time that they are kept', async () => {
  const { leadId } = await ended('exhausted');
  const due = just(ENDED, (30 * 86_400_000) / 1_000);
  expect(await erasedAfter(db, leadId, 1_000)).toEqual(due);
  expect(await enforceRetention(db, { ...SETTINGS, timeFactor: 1_000 }, just(due, 1_000))).toMatchObject({ erased: 1 });
});

test('several workers at once erase everybody, each once', async () => {
  const leads = await Promise.all(Array.from({ length: 60 }, () => ended('exhausted')));
  const now = past('P31D');
  const rounds = await Promise.all(Array.from({ length: 4 }, () => enforceRetention(db, SETTINGS, now)));
  expect(rounds.reduce((sum, round) => sum + round.erased, 0)).toBe(leads.length);
  expect(rounds.flatMap((round) => round.failed)).toEqual([]);
  for (const { leadId } of leads) expect(await isErased(leadId)).toBe(true);
});

test('P1 who asks again at the very end of their time is not erased', async () => {
  const now = past('P31D');
  for (let trial = 0; trial < 25; trial++) {
    const { leadId, request } = await ended('exhausted');
    const [, [asked]] = await together(
      () => enforceRetention(db, SETTINGS, now),
      () => enrollAll(db, coffee, [{ ...request, requestedAt: now }], { now }),
    );
    if (asked === undefined || !('leadId' in asked)) throw new Error('nobody was refused');
    // Erased before they asked, and a new lead; or still the same, and open.
    expect(await isErased(leadId)).toBe(asked.leadId !== leadId);
    const row = db.selectFrom('enrollment').select('outcome').where('id', '=', asked.enrollmentId);
    expect(await row.executeTakeFirst()).toEqual({ outcome: null });
  }
});

test('one whose erasure fails holds up nobody, and is tried again', async () => {
  const people = [await ended('exhausted'), await ended('exhausted')];
  const now = past('P31D');
  let times = 0;
  const broken: RetentionSettings = {
    ...SETTINGS,
    erasure: {
      ...ERASING,
      // Without a key there is no hash, so the first of them fails.
      get addressKeys() {
        times += 1;
        return times === 1 ? [] : ERASING.addressKeys;
      },
    },
  };
  const round = await enforceRetention(db, broken, now);
  expect(round).toMatchObject({ erased: 1, failed: [{ code: 'Error' }] });
  expect(people.map(({ leadId }) => leadId)).toContain(round.failed[0]?.leadId);
  expect(await enforceRetention(db, broken, now)).toMatchObject({ erased: 1, failed: [] });
});

test('sealed evidence is destroyed when its time is over', async () => {
  const sealed = { sealed: Buffer.from('x'), sealed_at: ENDED };
  const rows = [past('P3Y'), past('P3Y1D')].map((destroy_at) => ({
    id: randomUUID(),
    address_hash: '1.x',
    ...sealed,
    destroy_at,
  }));
  await db.insertInto('sealed_evidence').values(rows).execute();
  const now = past('P3Y');
  expect((await retentionOutlook(db, 1, now)).sealedEvidence).toEqual({ kept: 2, overdue: 1, within30Days: 1 });
  expect(await enforceRetention(db, SETTINGS, now)).toMatchObject({ destroyed: 1 });
  expect((await db.selectFrom('sealed_evidence').select('id').execute()).map((row) => row.id)).toEqual([rows[1]?.id]);
});

test('the outlook counts everybody once', async () => {
  const now = past('P31D');
  await ended('exhausted'); // overdue
  await ended('exhausted', { at: past('P5D') }); // within 7 days
  await ended('exhausted', { at: past('P20D') }); // within 30
  await ended('replied'); // later
  await enrollForTests(db, coffee, requestBy(`${randomUUID()}@a.example`)); // open
  await receive(db, classified({ kind: 'reply' }), { from: 'nadie@b.example', receivedAt: ENDED });
  expect(await retentionOutlook(db, 1, now)).toEqual({
    leads: { open: 1, held: 0, overdue: 1, within7Days: 1, within30Days: 2, later: 1, erased: 0 },
    sealedEvidence: { kept: 0, overdue: 0, within30Days: 0 },
    receivedMail: { kept: 1, oldest: ENDED },
  });
  await enforceRetention(db, SETTINGS, now);
  expect((await retentionOutlook(db, 1, now)).leads).toMatchObject({ overdue: 0, erased: 1 });
});
