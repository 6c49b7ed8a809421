import { type SqlBool, sql } from 'kysely';
import { DateTime } from 'luxon';
import type { AddressKey } from '../domain/address-hash';
import type { RatedKind, SendingFault } from '../domain/breaker';
import type { Classification, InboundKind, MatchedBy } from '../domain/inbound';
import { type Consequence, consequencesOf, REVIEW_DAYS, type Understood } from '../domain/inbound-actions';
import { endPosition } from '../domain/plan';
import { recordFault } from './breaker';
import { versionOf } from './campaigns';
import { type Db, inTransaction, type Tx } from './client';
import { type NewEvent, recordEvents } from './events';
import { type ForwardDeps, forwardToSalespeople } from './forwards';
import { type Match, matchInbound } from './inbound-matching';
import { type MailRow, noteReport, resolveUnknown, wayOf } from './message-reports';
import { signalStamp } from './outbox';
import { keepPrivacyRequest } from './privacy-requests';
import { giveBackSlots, keptSlotDay } from './quota';
import { openingAt } from './reopening';
import { holdForReview } from './reviews';
import type { InboundSummary } from './schema';
import { forgetSoftBounces, softBounceIn } from './soft-bounces';
import { type Stop, type StopResult, stopIn } from './stops';
import { liftSuppressions } from './suppressions';

/** What acting on received mail needs besides the database. */
export interface ActDeps extends ForwardDeps {
  addressKeys: readonly AddressKey[];
  timeFactor: number;
}

/** What the engine should hear of at once; the reconciler would tell it anyway. */
export interface Acted {
  /** Journeys whose rows have changed. */
  tell: string[];
  /** Enrollments whose journeys are to be started. */
  start: string[];
  /** Transactional mails that wait to be sent. */
  mails: string[];
}

/** A mail server's clock may be behind ours by this much (ms): an answer is never older than what it answers. */
const SKEW_MS = 5 * 60_000;
/** Of what was newly written this many characters are kept for people to see. */
const EXCERPT = 2_000;
const SHOWN_RECIPIENTS = 10;
const MAX_SUBJECT = 500;

/**
 * Acts on a received message: everything that follows from it, in one transaction with the note that it is done. So it is
 * done once, whoever tries and whatever dies; a message that is done already changes nothing.
 */
export async function actOnInbound(
  db: Db,
  deps: ActDeps,
  inboundId: string,
  given: Understood,
  now: Date,
): Promise<Acted> {
  // A stranger's words; what Postgres would refuse must not hold them up.
  const understood = JSON.parse(jsonOf(given)) as Understood;
  const { faults, ...acted } = await inTransaction(db, async (tx) => {
    const row = await tx
      .selectFrom('inbound')
      .select(['state', 'received_at', 'event'])
      .where('id', '=', inboundId)
      .forUpdate()
      .executeTakeFirst();
    if (row === undefined || row.state !== 'new') return { ...NOTHING_DONE, start: [] };
    const { classification, messageId } = understood;
    const { kind, subtype } = classification;
    // The same message by two ways at the same time must see each other.
    if (messageId !== null) await sql`select pg_advisory_xact_lock(hashtextextended(${messageId}, 0))`.execute(tx);
    const match = await matchInbound(tx, understood.clues, deps.addressKeys);
    const proven = match.proven || row.event !== null;
    const duplicateOf = await earlierCopy(tx, inboundId, understood, match);
    const subject: Subject = {
      inboundId,
      receivedAt: row.received_at,
      kind,
      match,
      answerTo: understood.answerTo,
      recipients: understood.recipients,
      from: understood.from?.address ?? null,
      title: understood.subject,
      text: understood.newText,
      requests: classification.requests,
    };
    const consequences =
      duplicateOf !== null
        ? []
        : consequencesOf(classification, {
            mail: match.mail,
            known: targetOf(subject) !== null,
            proven,
            fromLead: match.fromLead,
            byUnsubscribeAddress: understood.byUnsubscribeAddress,
            hasText: understood.newText.trim() !== '',
            ticketsBefore: await earlierOnes(tx, match.enrollmentId, 'auto-reply', 'ticket'),
            challengesBefore: await earlierOnes(tx, match.enrollmentId, 'challenge', null),
            judgedBy: 'rules',
          });
    const works = duplicateOf === null && (await showToWork(tx, classification, match, now));
    const outcome = await carryOut(tx, deps, subject, consequences, now);
    if (works) outcome.actions.unshift({ do: 'lifted', reasons: ['undeliverable'] });
    // Nobody can be sure of a report that anyone may have written: it is shown as one about nobody.
    const doubted = !proven && (kind === 'bounce' || kind === 'complaint');
    await tx
      .updateTable('inbound')
      .set({
        state: 'done',
        processed_at: now,
        leased_until: null,
        failure: null,
        message_id: messageId,
        summary: jsonOf(summaryOf(understood)),
        kind,
        subtype,
        classification: jsonOf({ ...classification, matched: doubted ? null : matchedOf(match) }),
        proven: proven && (match.mail !== null || match.gone),
        ...(doubted ? {} : matchColumns(match)),
        needs_review:
          duplicateOf === null && (outcome.needsReview || (match.mail === null && classification.needsReview)),
        review_until: outcome.reviewUntil,
        actions: JSON.stringify(outcome.actions),
        duplicate_of: duplicateOf,
      })
      .where('id', '=', inboundId)
      .execute();
    if (match.leadId !== null && !doubted && worthTelling(classification)) {
      await recordEvents(tx, [receivedEvent(subject, match.leadId, subtype, duplicateOf, now)]);
    }
    return { tell: outcome.tell, start: [], mails: outcome.mails, faults: outcome.faults };
  });
  await recordFaults(db, faults);
  return acted;
}

/** Who writes from the address that bounced can be reached by it. @returns whether that has lifted something */
async function showToWork(tx: Tx, { kind, subtype }: Classification, match: Match, now: Date): Promise<boolean> {
  const { addressHash, senderHashes } = match;
  const isFromThere = addressHash !== null && senderHashes.includes(addressHash);
  const isAlive = kind === 'reply' || kind === 'unsubscribe' || (kind === 'auto-reply' && subtype !== 'left');
  if (!isFromThere || !isAlive) return false;
  const hashes: [string, ...string[]] = [addressHash, ...senderHashes.filter((hash) => hash !== addressHash)];
  const lifted = await liftSuppressions(tx, {
    hashes,
    by: 'proof-of-life',
    because: null,
    kinds: ['undeliverable'],
    now,
  });
  return lifted.length > 0;
}

/** The breaker judges rates of its own, so it is told once everything is committed. */
export async function recordFaults(db: Db, faults: readonly SendingFault[]): Promise<void> {
  for (const fault of faults) await recordFault(db, fault);
}

const NOTHING_DONE = { tell: [], mails: [], faults: [] };

/** A received message with all that acting on it takes. */
export interface Subject {
  inboundId: string;
  receivedAt: Date;
  kind: InboundKind;
  match: Match;
  answerTo: string | null;
  recipients: readonly string[];
  from: string | null;
  title: string;
  text: string;
  requests: Classification['requests'];
}

/** What was done, for `inbound.actions`: codes and ids. */
type Action = Record<string, unknown>;

export interface CarriedOut {
  actions: Action[];
  tell: string[];
  mails: string[];
  faults: SendingFault[];
  needsReview: boolean;
  reviewUntil: Date | null;
}

/** Does what follows, in its order, which is that of the locks: address, enrollments, messages, the rest. */
export async function carryOut(
  tx: Tx,
  deps: ActDeps,
  subject: Subject,
  consequences: readonly Consequence[],
  now: Date,
): Promise<CarriedOut> {
  const work: Work = {
    tx,
    deps,
    subject,
    now,
    done: { actions: [], tell: [], mails: [], faults: [], needsReview: false, reviewUntil: null },
    ended: [],
    news: true,
  };
  for (const consequence of consequences) await carryOutOne(work, consequence);
  return work.done;
}

interface Work {
  tx: Tx;
  deps: ActDeps;
  subject: Subject;
  now: Date;
  done: CarriedOut;
  /** Enrollments that it has ended. */
  ended: string[];
  /** Whether the report on the mail said anything new; if not, it is no fault either. */
  news: boolean;
}

async function carryOutOne(work: Work, consequence: Consequence): Promise<void> {
  const { tx, subject, now, done } = work;
  const mail = mailOf(subject.match);
  switch (consequence.do) {
    case 'stop':
      return await stop(work, consequence);
    case 'count-soft-bounce':
      return await softBounce(work, consequence.code);
    case 'hold':
      return await hold(work);
    case 'wait':
      return await waitForReturn(work, consequence.until);
    case 'resolve-unknown':
      if (mail !== null && (await resolveUnknown(tx, mail, now))) done.actions.push({ do: 'resolved-unknown' });
      return;
    case 'report':
      if (mail === null) return;
      work.news = await noteReport(tx, mail, consequence, now);
      if (work.news) done.actions.push({ do: 'report', report: consequence.report, code: consequence.code });
      return;
    case 'forget-soft-bounces':
      return await forgetSoftBounces(tx, subject.match.addressHash === null ? [] : [subject.match.addressHash]);
    case 'request':
      return await keepRequest(work, consequence.request);
    case 'forward':
      return await forward(work, consequence.as);
    case 'fault':
      return await fault(work, consequence.fault, consequence.code);
    case 'show':
      done.needsReview = true;
      done.actions.push({ do: 'show', why: consequence.why });
      return;
  }
}

/** Whom it is about: an enrollment, or an address. Null: nobody that we know. */
export function targetOf({ match, kind }: Pick<Subject, 'match' | 'kind'>): Stop['who'] | null {
  if (match.enrollmentId !== null) return { enrollmentId: match.enrollmentId };
  if (match.addressHash !== null) return { hashes: [match.addressHash] };
  // The mail's own way out works also after its enrollment was erased (promise P13).
  const [newest, ...older] = match.senderHashes;
  return match.gone && kind === 'unsubscribe' && newest !== undefined ? { hashes: [newest, ...older] } : null;
}

async function stop(work: Work, { outcome, suppress }: Consequence & { do: 'stop' }): Promise<void> {
  const { tx, subject, now } = work;
  const target = targetOf(subject);
  if (target === null) return;
  const { inboundId, kind, match } = subject;
  const base = { outcome, detail: { by: 'inbound', inboundId, kind, matchedBy: match.by }, now };
  const result =
    suppress === undefined
      ? await stopIn(tx, { ...base, ...(await answered(tx, subject, target)) })
      : await stopIn(tx, { ...base, who: target, suppress });
  noteStop(work, result, { outcome, suppress: suppress ?? null });
}

/**
 * Which enrollments an answer ends. In a thread, that of the thread; if that has ended and the lead has asked anew before
 * the answer came, the new one. Matched by address alone, it answers everything that we have sent them.
 */
async function answered(
  tx: Tx,
  { match, receivedAt }: Subject,
  target: Stop['who'],
): Promise<Pick<Stop, 'who' | 'happenedAt'>> {
  const happenedAt = new Date(receivedAt.getTime() + SKEW_MS);
  const { leadId, campaignId, enrollmentId } = match;
  if (leadId === null || enrollmentId === null) return { who: target };
  if (match.by === 'address') return { who: { leadId }, happenedAt };
  const open = await tx
    .selectFrom('enrollment')
    .select('id')
    .where('lead_id', '=', leadId)
    .where('campaign_id', '=', campaignId)
    .where('outcome', 'is', null)
    // Who has bought meanwhile answers what they are sent now; a journey of the same kind comes first.
    .orderBy(sql`journey = (select journey from enrollment where id = ${enrollmentId})`, 'desc')
    .executeTakeFirst();
  if (open === undefined || open.id === enrollmentId) return { who: { enrollmentId } };
  return { who: { enrollmentId: open.id }, happenedAt };
}

function noteStop(work: Work, { stopped, inFlight }: StopResult, what: Action): void {
  const ids = stopped.map((one) => one.enrollmentId);
  work.ended.push(...ids);
  work.done.tell.push(...ids);
  const past = inFlight.map(({ enrollmentId, step }) => ({ enrollmentId, step }));
  work.done.actions.push({ do: 'stop', ...what, enrollmentIds: ids, inFlight: past });
}

async function softBounce(work: Work, code: string | null): Promise<void> {
  const { tx, subject, now, done } = work;
  const { enrollmentId, addressHash, step } = subject.match;
  if (enrollmentId === null || addressHash === null || step === null) return;
  const bounce = { addressHash, enrollmentId, step, at: subject.receivedAt, code };
  const result = await softBounceIn(tx, bounce, { by: 'inbound', inboundId: subject.inboundId, kind: 'bounce' }, now);
  done.actions.push({ do: 'counted-soft-bounce', step, code });
  if (result !== null) noteStop(work, result, { outcome: 'bounced', suppress: 'undeliverable' });
}

async function hold(work: Work): Promise<void> {
  const { tx, subject, now, done } = work;
  const { leadId, campaignId, by } = subject.match;
  done.needsReview = true;
  if (leadId === null) return;
  const held = await holdForReview(tx, { leadId, campaignId: by === 'address' ? null : campaignId }, now);
  if (held.length === 0) return;
  done.reviewUntil = new Date(subject.receivedAt.getTime() + REVIEW_DAYS * 86_400_000);
  done.actions.push({ do: 'hold', until: done.reviewUntil, enrollmentIds: held });
}

/** Who is away sees a nudge among hundreds of mails when they come back: it waits for that day, in all their campaigns. */
async function waitForReturn(work: Work, until: string): Promise<void> {
  const { tx, deps, subject, now, done } = work;
  const { leadId } = subject.match;
  if (leadId === null) return;
  const rows = await tx
    .selectFrom('enrollment as e')
    .innerJoin('lead as l', 'l.id', 'e.lead_id')
    .select([
      'e.id',
      'e.journey',
      'e.campaign_id',
      'e.version',
      'e.plan',
      'e.step',
      'e.next_due_at',
      'e.enrolled_at',
      'l.time_zone',
    ])
    .where('e.lead_id', '=', leadId)
    .where('e.outcome', 'is', null)
    .where('e.step', '>', 0)
    .orderBy('e.id')
    .forNoKeyUpdate('e')
    .execute();
  for (const row of rows) {
    const published = await versionOf(tx, row.campaign_id, row.version);
    const { definition } = published;
    const zone = row.time_zone ?? definition.timeZone;
    const back = DateTime.fromISO(until, { zone }).startOf('day');
    if (
      !back.isValid ||
      row.step >= endPosition(row.plan, published, row.journey) ||
      row.next_due_at >= back.toJSDate()
    )
      continue;
    const dueAt = openingAt(row, definition, back.toJSDate(), deps.timeFactor);
    await giveBackSlots(tx, sql<SqlBool>`e.id = ${row.id}`, now);
    await tx
      .updateTable('enrollment')
      .set({ next_due_at: dueAt, slot_day: keptSlotDay, signal_at: signalStamp(now) })
      .where('id', '=', row.id)
      .execute();
    await recordEvents(tx, [
      {
        at: now,
        leadId,
        enrollmentId: row.id,
        kind: 'waits-for-return',
        step: row.step,
        detail: { returnDate: until, dueAt },
      },
    ]);
    done.actions.push({ do: 'wait', until, dueAt, enrollmentId: row.id });
    done.tell.push(row.id);
  }
}

async function keepRequest(work: Work, kind: Classification['requests'][number]): Promise<void> {
  const { tx, subject, now, done } = work;
  const { leadId, enrollmentId } = subject.match;
  const { inboundId, receivedAt } = subject;
  const timeZone = await calendarOf(tx, enrollmentId);
  const kept = await keepPrivacyRequest(tx, { inboundId, leadId, enrollmentId, kind, receivedAt, timeZone });
  if (kept === null) return;
  done.actions.push({ do: 'request', request: kind, requestId: kept.id, dueAt: kept.dueAt });
  if (leadId === null) return;
  await recordEvents(tx, [
    {
      at: now,
      leadId,
      enrollmentId,
      kind: 'privacy-request',
      detail: { request: kind, requestId: kept.id, dueAt: kept.dueAt },
    },
  ]);
}

/** The sender's: it is them who must answer in time. */
async function calendarOf(tx: Tx, enrollmentId: string | null): Promise<string> {
  if (enrollmentId === null) return 'UTC';
  const row = await tx
    .selectFrom('enrollment')
    .select(['campaign_id', 'version'])
    .where('id', '=', enrollmentId)
    .executeTakeFirstOrThrow();
  return (await versionOf(tx, row.campaign_id, row.version)).definition.timeZone;
}

async function forward(work: Work, as: 'reply' | 'unsubscribe' | 'unsure'): Promise<void> {
  const { tx, deps, subject, now, done } = work;
  const { match, inboundId, answerTo, from } = subject;
  if (match.enrollmentId === null || from === null) return;
  const forwarded = await forwardToSalespeople(tx, deps, {
    as,
    inboundId,
    enrollmentIds: [...new Set([match.enrollmentId, ...work.ended])],
    answerTo: answerTo ?? from,
    recipients: subject.recipients,
    requests: subject.requests,
    message: { from, subject: subject.title, text: subject.text, receivedAt: subject.receivedAt },
    now,
  });
  done.actions.push(...forwarded.map((one) => ({ ...one, as })));
  done.mails.push(...forwarded.flatMap((one) => (one.do === 'forwarded' ? [one.transactionalId] : [])));
  const { leadId } = match;
  if (leadId === null) return;
  await recordEvents(
    tx,
    forwarded
      .filter((one) => one.do === 'forwarded')
      .map(
        ({ enrollmentId }): NewEvent => ({
          at: now,
          leadId,
          enrollmentId,
          kind: 'forwarded',
          detail: { inboundId, as },
        }),
      ),
  );
}

async function fault(work: Work, kind: RatedKind, code: string | null): Promise<void> {
  const { tx, subject, now, done } = work;
  const mail = mailOf(subject.match);
  // What speaks of no mail of ours in particular says nothing of our sending; what was told twice counts once.
  if (mail === null || !work.news) return;
  const way = await wayOf(tx, mail);
  if (way === null) return;
  done.faults.push({ ...way, kind, code, now });
  done.actions.push({ do: 'fault', fault: kind, code });
}

function mailOf({ mail, enrollmentId, leadId, step, copy, transactionalId }: Match): MailRow | null {
  if (transactionalId !== null) return { kind: 'transactional', id: transactionalId };
  if (mail !== 'enrollment' || enrollmentId === null || leadId === null || step === null) return null;
  return { kind: 'enrollment', enrollmentId, leadId, step, copy: copy ?? 0 };
}

/** The message that this one repeats: it came by another way, or again with other bytes. It acts once for each kind. */
async function earlierCopy(
  tx: Tx,
  inboundId: string,
  { messageId, classification }: Understood,
  match: Match,
): Promise<string | null> {
  if (messageId === null) return null;
  const row = await tx
    .selectFrom('inbound')
    .select('id')
    .where('message_id', '=', messageId)
    .where('id', '!=', inboundId)
    .where('state', '=', 'done')
    .where('kind', '=', classification.kind)
    .where('enrollment_id', 'is not distinct from', match.enrollmentId)
    .where('transactional_id', 'is not distinct from', match.transactionalId)
    .where('duplicate_of', 'is', null)
    .orderBy('processed_at')
    .executeTakeFirst();
  return row?.id ?? null;
}

export async function earlierOnes(
  tx: Tx,
  enrollmentId: string | null,
  kind: InboundKind,
  subtype: string | null,
): Promise<number> {
  if (enrollmentId === null) return 0;
  const row = await tx
    .selectFrom('inbound')
    .select((eb) => eb.fn.countAll<string>().as('count'))
    .where('enrollment_id', '=', enrollmentId)
    .where('kind', '=', kind)
    .where('duplicate_of', 'is', null)
    .where((eb) => (subtype === null ? eb.lit(true) : eb('subtype', '=', subtype)))
    .executeTakeFirstOrThrow();
  return Number(row.count);
}

export function matchedOf({ enrollmentId, by }: Match): { enrollmentId: string; by: MatchedBy } | null {
  return enrollmentId === null || by === null ? null : { enrollmentId, by };
}

export function matchColumns(match: Match) {
  const mailKind = match.mail === 'enrollment' ? ('enrollment' as const) : ('transactional' as const);
  return {
    mail_kind: match.enrollmentId === null && match.transactionalId === null ? null : mailKind,
    enrollment_id: match.enrollmentId,
    lead_id: match.leadId,
    transactional_id: match.transactionalId,
    step: match.step,
    matched_by: match.by,
  };
}

function summaryOf(understood: Understood): InboundSummary {
  const { from, answerTo, recipients, subject, newText } = understood;
  return {
    from: from?.address ?? null,
    fromName: from?.name ?? null,
    answerTo,
    recipients: recipients.slice(0, SHOWN_RECIPIENTS),
    subject: subject.slice(0, MAX_SUBJECT),
    excerpt: newText.slice(0, EXCERPT),
  };
}

/** JSON that Postgres takes: it keeps no NUL, and no half of a surrogate pair. */
export function jsonOf(value: object): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'string' ? part.replaceAll('\u0000', '').replace(/\p{Cs}/gu, '\ufffd') : part,
  );
}

/** A provider may report the delivery of every single mail; the ledger shows those. */
function worthTelling({ kind, subtype }: Classification): boolean {
  return kind !== 'notice' || (subtype !== 'delivered' && subtype !== 'relayed');
}

function receivedEvent(
  { inboundId, kind, match }: Subject,
  leadId: string,
  subtype: string | null,
  duplicateOf: string | null,
  now: Date,
): NewEvent {
  return {
    at: now,
    leadId,
    enrollmentId: match.enrollmentId,
    kind: 'received',
    ...(match.step === null ? {} : { step: match.step }),
    detail: { inboundId, kind, subtype, matchedBy: match.by, duplicateOf },
  };
}
