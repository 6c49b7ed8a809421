import { type SqlBool, sql } from 'kysely';
import type { PublishedCampaign } from '../domain/campaign';
import { OUTCOMES, type Outcome } from '../domain/outcomes';
import { versionAt } from '../domain/plan';
import { STREAMS } from '../domain/streams';
import { listPauses, pauseAgain, resumeSending } from './breaker';
import { withdrawConsents } from './buyers';
import { contentDigest, versionOf } from './campaigns';
import { cancelCampaign } from './cancellations';
import { type Db, inTransaction } from './client';
import { enterUnknown, type LostMessage, type MailOf } from './drift';
import { recordEvents } from './events';
import { JOURNAL_KINDS, type JournalEntry, type JournalFact } from './journal';
import { signalStamp } from './outbox';
import { pauseCampaign, pauseEnrollment, resumeCampaign, resumeEnrollment } from './pauses';
import { stopIn, withdraw } from './stops';
import { liftSuppressions, type SuppressionKind } from './suppressions';

/** What became of an entry: it was done, it had been done, or it is about nobody that this database knows. */
export type Fate = 'applied' | 'known' | 'unknown';

/** How many entries of each kind met which fate. */
export type ReplayCounts = Record<JournalFact['kind'], Record<Fate, number>>;

export interface ReplayDeps {
  /** Erases a lead because the journal says so. */
  erase: (leadId: string, now: Date) => Promise<void>;
  /** The Message-ID of a mail of a journey: the same that it was sent under. */
  messageIdOf: (mail: MailOf, campaign: PublishedCampaign) => string;
  /** Nudges that are entered count towards a frequency cap. */
  counted: boolean;
}

/**
 * Brings a restored database up to date with the journal: nobody who left after the backup was made is mailed again. Before
 * any worker starts, and any number of times: what the database knows, it leaves alone. What is done counts as done when it
 * was done first, and is not noted for the journal again.
 *
 * @param entries of the journal, in any order; what still waits in this database's own outbox is added
 */
export async function replayJournal(db: Db, entries: readonly JournalEntry[], deps: ReplayDeps): Promise<ReplayCounts> {
  const outbox = await db.selectFrom('journal_outbox').select('entry').orderBy('seq').execute();
  // An outbox that a later release has filled may hold kinds that this one does not know.
  const waiting = outbox.map((row) => row.entry).filter(({ kind }) => JOURNAL_KINDS.includes(kind));
  const byId = new Map([...entries, ...waiting].map((entry) => [entry.id, entry]));
  const inOrder = [...byId.values()].sort(
    (a, b) => Date.parse(a.at) - Date.parse(b.at) || JOURNAL_KINDS.indexOf(a.kind) - JOURNAL_KINDS.indexOf(b.kind),
  );
  const replay: Replay = { db, deps, last: lastWords(inOrder), erasures: erasuresOf(inOrder), lifts: liftsOf(inOrder) };
  const counts = Object.fromEntries(
    JOURNAL_KINDS.map((kind) => [kind, { applied: 0, known: 0, unknown: 0 }]),
  ) as ReplayCounts;
  for (const entry of inOrder) counts[entry.kind][await apply(replay, entry)] += 1;
  return counts;
}

type Of<K extends JournalFact['kind']> = JournalEntry & { kind: K };

interface Replay {
  db: Db;
  deps: ReplayDeps;
  /** The last pause or resume of each enrollment, campaign and way of sending: the ones before are of no account. */
  last: ReadonlyMap<string, string>;
  /** When a person was last erased, by hash. */
  erasures: ReadonlyMap<string, Date>;
  lifts: ReadonlyMap<string, readonly Of<'lift'>[]>;
}

async function apply(replay: Replay, entry: JournalEntry): Promise<Fate> {
  const { db } = replay;
  const at = new Date(entry.at);
  switch (entry.kind) {
    case 'stop':
      return await applyStop(db, entry, at);
    case 'pause':
    case 'resume':
      return await applyPause(replay, entry, at);
    case 'snooze':
      return await applySnooze(db, entry, at);
    case 'move':
      return await applyMove(replay, entry, at);
    case 'consent-withdrawn':
      return await applyOptOut(db, entry, at);
    case 'campaign-cancelled':
    case 'campaign-paused':
    case 'campaign-resumed':
      return await applyToCampaign(replay, entry, at);
    case 'sending-paused':
    case 'sending-resumed':
      return await applyToSending(replay, entry, at);
    case 'suppress':
      return await applySuppression(replay, entry, at);
    case 'lift':
      return await applyLift(db, entry, at);
    case 'erase':
      return await applyErasure(replay, entry, at);
  }
}

// ---- enrollments and campaigns ---------------------------------------------------------------------------------------

async function applyStop(db: Db, { enrollmentId, outcome: given }: Of<'stop'>, now: Date): Promise<Fate> {
  const outcome = OUTCOMES.find((one) => one === given);
  const row = await db.selectFrom('enrollment').select('outcome').where('id', '=', enrollmentId).executeTakeFirst();
  if (row === undefined || outcome === undefined) return 'unknown';
  if (row.outcome !== null) return 'known';
  const stop = { who: { enrollmentId }, outcome, detail: BY_JOURNAL, replayed: true, now };
  await inTransaction(db, (tx) => stopIn(tx, stop));
  return 'applied';
}

const BY_JOURNAL = { by: 'journal' };

async function applyPause({ db, last }: Replay, entry: Of<'pause' | 'resume'>, now: Date): Promise<Fate> {
  const { enrollmentId, kind } = entry;
  const row = await db
    .selectFrom('enrollment')
    .select(['outcome', 'paused_at'])
    .where('id', '=', enrollmentId)
    .executeTakeFirst();
  if (row === undefined) return 'unknown';
  if (row.outcome !== null || last.get(enrollmentId) !== entry.id) return 'known';
  if (kind === 'pause') {
    if (row.paused_at !== null) return 'known';
    await pauseEnrollment(db, enrollmentId, now, true);
    return 'applied';
  }
  if (row.paused_at === null || row.paused_at > now) return 'known';
  await resumeEnrollment(db, enrollmentId, now, true);
  return 'applied';
}

async function applySnooze(db: Db, { enrollmentId, nextDueAt }: Of<'snooze'>, now: Date): Promise<Fate> {
  const until = new Date(nextDueAt);
  return await inTransaction(db, async (tx): Promise<Fate> => {
    const row = await tx
      .selectFrom('enrollment')
      .select(['lead_id', 'outcome', 'next_due_at', 'step'])
      .where('id', '=', enrollmentId)
      .forNoKeyUpdate()
      .executeTakeFirst();
    if (row === undefined) return 'unknown';
    if (row.outcome !== null || row.next_due_at >= until) return 'known';
    await tx
      .updateTable('enrollment')
      .set({ next_due_at: until, signal_at: signalStamp(now) })
      .where('id', '=', enrollmentId)
      .execute();
    await withdraw(tx, sql<SqlBool>`e.id = ${enrollmentId}`, now);
    const detail = { via: 'journal', dueAt: until };
    await recordEvents(tx, [{ at: now, leadId: row.lead_id, enrollmentId, kind: 'snoozed', step: row.step, detail }]);
    return 'applied';
  });
}

/**
 * Moved again to the version, and in the way, that it was moved: what was sent since is counted as it was sent. What it had
 * had by then, the move proves: that is entered as `unknown`, as the audit does, which finds what came after.
 */
async function applyMove({ db, deps }: Replay, entry: Of<'move'>, now: Date): Promise<Fate> {
  const { enrollmentId, version, plan, moves, step } = entry;
  const row = await db
    .selectFrom('enrollment as e')
    .select(['e.lead_id', 'e.campaign_id', 'e.journey', 'e.outcome', 'e.moves', 'e.version', 'e.step', 'e.next_due_at'])
    .where('e.id', '=', enrollmentId)
    .executeTakeFirst();
  if (row === undefined) return 'unknown';
  if (row.outcome !== null || row.moves >= moves || (await wasMailedSince(db, enrollmentId, now))) return 'known';
  if (!(await arePublished(db, row.campaign_id, entry))) return 'unknown';
  const dueAt = row.step <= step ? new Date(entry.nextDueAt) : row.next_due_at;

  const lost: LostMessage[] = [];
  for (let position = row.step; position < step; position++) {
    const mail = { enrollmentId, journey: row.journey, step: position, copy: 0 };
    const sentUnder = await versionOf(db, row.campaign_id, versionAt(plan, position, row.version));
    lost.push({ step: position, copy: 0, messageId: deps.messageIdOf(mail, sentUnder) });
  }
  // First: whoever dies in between finds the lead not moved yet, and goes on.
  if (lost.length > 0) {
    const where = { enrollmentId, leadId: row.lead_id, expected: row.step };
    await enterUnknown(db, where, lost, { step, dueAt }, deps.counted, now);
  }
  await inTransaction(db, async (tx) => {
    await tx
      .updateTable('enrollment')
      .set({ version, plan: plan === null ? null : JSON.stringify(plan), moves, next_due_at: dueAt })
      .where('id', '=', enrollmentId)
      .execute();
    const detail = { via: 'journal', from: row.version, to: version, dueAt };
    const moved = { at: now, leadId: row.lead_id, enrollmentId, kind: 'moved', step, detail } as const;
    await recordEvents(tx, [moved]);
  });
  return 'applied';
}

/** Has a worker gone on with it in this database, so that it is no longer what was moved then? */
async function wasMailedSince(db: Db, enrollmentId: string, at: Date): Promise<boolean> {
  const message = await db
    .selectFrom('message')
    .select('step')
    .where('enrollment_id', '=', enrollmentId)
    .where('claimed_at', '>', at)
    .where('code', 'is distinct from', 'restored')
    .limit(1)
    .executeTakeFirst();
  return message !== undefined;
}

/** Are all versions there that the move names, and is the one moved to what it was? Published after the backup, they were lost. */
async function arePublished(db: Db, campaignId: string, { version, content, plan }: Of<'move'>): Promise<boolean> {
  const named = [
    version,
    ...(plan ?? []).flatMap((mail) => [mail.version, ...(mail.as ?? []).map((as) => as.version)]),
  ];
  const rows = await db
    .selectFrom('campaign_version as v')
    .select(['v.version', contentDigest.as('content')])
    .where('v.campaign_id', '=', campaignId)
    .where('v.version', '=', sql<number>`any(${named}::int[])`)
    .execute();
  return rows.length === new Set(named).size && rows.some((row) => row.version === version && row.content === content);
}

async function applyOptOut(db: Db, entry: Of<'consent-withdrawn'>, now: Date): Promise<Fate> {
  const { enrollmentId } = entry;
  const optedOutAt = new Date(entry.optedOutAt);
  return await inTransaction(db, async (tx): Promise<Fate> => {
    const row = await tx.selectFrom('enrollment').select('id').where('id', '=', enrollmentId).executeTakeFirst();
    if (row === undefined || Number.isNaN(optedOutAt.getTime())) return 'unknown';
    const those = sql<SqlBool>`e.id = ${enrollmentId}`;
    return (await withdrawConsents(tx, those, optedOutAt, BY_JOURNAL, now)).length > 0 ? 'applied' : 'known';
  });
}

async function applyToCampaign(
  { db, last }: Replay,
  entry: Of<'campaign-cancelled' | 'campaign-paused' | 'campaign-resumed'>,
  now: Date,
): Promise<Fate> {
  const { campaignId, kind } = entry;
  const row = await db
    .selectFrom('campaign')
    .select(['paused_at', 'cancelled_at'])
    .where('id', '=', campaignId)
    .executeTakeFirst();
  if (row === undefined) return 'unknown';
  if (kind === 'campaign-cancelled') {
    if (row.cancelled_at !== null) return 'known';
    await cancelCampaign(db, campaignId, now, true);
    return 'applied';
  }
  if (last.get(campaignId) !== entry.id) return 'known';
  if (kind === 'campaign-paused') {
    if (row.paused_at !== null) return 'known';
    await pauseCampaign(db, campaignId, now, true);
    return 'applied';
  }
  if (row.paused_at === null || row.paused_at > now) return 'known';
  await resumeCampaign(db, campaignId, now, true);
  return 'applied';
}

async function applyToSending(
  { db, last }: Replay,
  entry: Of<'sending-paused' | 'sending-resumed'>,
  now: Date,
): Promise<Fate> {
  const { provider } = entry;
  const stream = STREAMS.find((one) => one === entry.stream);
  if (stream === undefined || typeof provider !== 'string') return 'unknown';
  if (last.get(sendingKey(entry)) !== entry.id) return 'known';
  const pause = (await listPauses(db)).find((one) => one.stream === stream && one.provider === provider);
  const byPerson = pause !== undefined && pause.probeAt === null;
  if (entry.kind === 'sending-paused') {
    if (byPerson) return 'known';
    await pauseAgain(db, { stream, provider, reason: entry.reason, now });
    return 'applied';
  }
  if (!byPerson || pause.pausedAt > now) return 'known';
  await resumeSending(db, { stream, provider, now, replayed: true });
  return 'applied';
}

const sendingKey = ({ stream, provider }: { stream: string; provider: string }) => `${stream}/${provider}`;

/** The id of the last pause or resume, by what was paused or resumed. */
function lastWords(inOrder: readonly JournalEntry[]): Map<string, string> {
  const last = new Map<string, string>();
  for (const entry of inOrder) {
    if (entry.kind === 'pause' || entry.kind === 'resume') last.set(entry.enrollmentId, entry.id);
    if (entry.kind === 'campaign-paused' || entry.kind === 'campaign-resumed') last.set(entry.campaignId, entry.id);
    if (entry.kind === 'sending-paused' || entry.kind === 'sending-resumed') last.set(sendingKey(entry), entry.id);
  }
  return last;
}

// ---- people ----------------------------------------------------------------------------------------------------------

const OUTCOME_OF: Record<SuppressionKind, Outcome> = {
  objection: 'unsubscribed',
  complaint: 'complained',
  undeliverable: 'bounced',
  campaign: 'unsubscribed',
};

async function applySuppression(replay: Replay, entry: Of<'suppress'>, now: Date): Promise<Fate> {
  const { db } = replay;
  const { hashes, reason, campaignId } = entry;
  const [newest, ...older] = hashes;
  if (newest === undefined || !Object.hasOwn(OUTCOME_OF, reason)) return 'unknown';
  if (wentWithErasure(replay, entry, now)) return 'known';
  const known = await db
    .selectFrom('suppression')
    .select('id')
    .where('address_hash', '=', sql<string>`any(${hashes}::text[])`)
    .where('kind', '=', reason)
    .where(sql<SqlBool>`campaign_id is not distinct from ${campaignId}::uuid`)
    // One that was lifted before this is another one.
    .where((eb) => eb.or([eb('lifted_at', 'is', null), eb('lifted_at', '>=', now)]))
    .executeTakeFirst();
  if (known !== undefined) return 'known';
  await inTransaction(db, (tx) =>
    stopIn(tx, {
      who: { hashes: [newest, ...older] },
      outcome: OUTCOME_OF[reason],
      suppress: reason,
      campaignId: campaignId ?? undefined,
      // Who asked anew since then is not left behind by it.
      happenedAt: now,
      detail: BY_JOURNAL,
      replayed: true,
      now,
    }),
  );
  return 'applied';
}

/**
 * Of a person who was erased later, only what they had objected to and not taken back is left; to enter the rest would bring
 * back a trace of them.
 */
function wentWithErasure({ erasures, lifts }: Replay, entry: Of<'suppress'>, at: Date): boolean {
  const erasedAt = entry.hashes.map((hash) => erasures.get(hash)).find((time) => time !== undefined && time >= at);
  if (erasedAt === undefined) return false;
  if (entry.reason === 'undeliverable') return true;
  return entry.hashes
    .flatMap((hash) => lifts.get(hash) ?? [])
    .some(
      (lift) =>
        new Date(lift.at) >= at &&
        new Date(lift.at) <= erasedAt &&
        lift.reasons.includes(entry.reason) &&
        (entry.reason !== 'campaign' || lift.campaignId === null || lift.campaignId === entry.campaignId),
    );
}

async function applyLift(db: Db, entry: Of<'lift'>, now: Date): Promise<Fate> {
  const { reasons, campaignId, by } = entry;
  const [newest, ...older] = entry.hashes;
  const kinds = reasons.filter((reason): reason is SuppressionKind => Object.hasOwn(OUTCOME_OF, reason));
  const lifter = (['person', 'privacy', 'proof-of-life'] as const).find((one) => one === by);
  if (newest === undefined || kinds.length === 0 || lifter === undefined) return 'unknown';
  const lifted = await inTransaction(db, (tx) =>
    liftSuppressions(tx, {
      hashes: [newest, ...older],
      by: lifter,
      because: null,
      kinds,
      campaignId,
      replayed: true,
      now,
    }),
  );
  return lifted.length > 0 ? 'applied' : 'known';
}

async function applyErasure({ db, deps }: Replay, { leadId, hashes }: Of<'erase'>, now: Date): Promise<Fate> {
  const byId = await db.selectFrom('lead').select(['id', 'erased_at']).where('id', '=', leadId).executeTakeFirst();
  const lead =
    byId ??
    // Under another id only where the backup is of another time line; somebody who came back later is somebody else.
    (await db
      .selectFrom('lead')
      .select(['id', 'erased_at'])
      .where('address_hash', '=', sql<string>`any(${hashes}::text[])`)
      .where('created_at', '<=', now)
      .executeTakeFirst());
  if (lead === undefined) return 'unknown';
  if (lead.erased_at !== null) return 'known';
  await deps.erase(lead.id, now);
  return 'applied';
}

function erasuresOf(inOrder: readonly JournalEntry[]): Map<string, Date> {
  const erasures = new Map<string, Date>();
  for (const entry of inOrder) {
    if (entry.kind === 'erase') for (const hash of entry.hashes) erasures.set(hash, new Date(entry.at));
  }
  return erasures;
}

function liftsOf(inOrder: readonly JournalEntry[]): Map<string, Of<'lift'>[]> {
  const lifts = new Map<string, Of<'lift'>[]>();
  for (const entry of inOrder) {
    if (entry.kind !== 'lift') continue;
    for (const hash of entry.hashes) lifts.set(hash, [...(lifts.get(hash) ?? []), entry]);
  }
  return lifts;
}
