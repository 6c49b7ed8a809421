import type { Selectable } from 'kysely';
import type { Classification, InboundKind } from '../domain/inbound';
import { type Consequence, consequencesOf } from '../domain/inbound-actions';
import { Problem } from '../domain/problem';
import { type Db, inTransaction, type Tx } from './client';
import { recordEvents } from './events';
import {
  type ActDeps,
  type Acted,
  carryOut,
  jsonOf,
  matchColumns,
  matchedOf,
  recordFaults,
  type Subject,
  targetOf,
} from './inbound-actions';
import { type Match, ofOurs } from './inbound-matching';
import { reopenIn } from './reopening';
import { releaseReviews } from './reviews';
import type { InboundTable } from './schema';

export interface Decision {
  /** What it is. */
  kind: InboundKind;
  /** Whose it is, where that was not found or found wrongly. */
  enrollmentId?: string | undefined;
  /** A person's word; or the time to decide is over, and it counts as a reply. */
  by: 'person' | 'time';
}

/**
 * A person says what a received message is, and that is acted upon: what did not follow yet follows now; a hold ends; an
 * enrollment that this very message ended as `replied`, and nothing else since, goes on as a new one when it was no reply.
 * Suppressions are not lifted: only the person may do that. Deciding the same again changes nothing.
 *
 * @throws Problem `not-found`; `not-processed` while it was not looked at by the rules
 */
export async function decideInbound(
  db: Db,
  deps: ActDeps,
  inboundId: string,
  decision: Decision,
  now: Date,
): Promise<Acted> {
  const { faults, ...acted } = await inTransaction(db, async (tx) => {
    const row = await tx.selectFrom('inbound').selectAll().where('id', '=', inboundId).forUpdate().executeTakeFirst();
    if (row === undefined) throw new Problem('not-found', `nothing was received as ${inboundId}`);
    if (row.state === 'new') throw new Problem('not-processed', 'it was not processed yet; try again in a moment');
    // Somebody was faster than the end of the time.
    if (decision.by === 'time' && (row.decided_at !== null || row.review_until === null)) {
      return { tell: [], start: [], mails: [], faults: [] };
    }
    const match = await matchOf(tx, row, decision.enrollmentId);
    const classification = decided(row, decision.kind);
    const subject = subjectOf(row, match, classification);
    const consequences = consequencesOf(classification, {
      mail: match.mail,
      known: targetOf(subject) !== null,
      proven: row.proven || decision.by === 'person',
      fromLead: match.fromLead,
      byUnsubscribeAddress: false,
      hasText: (row.summary?.excerpt ?? '') !== '',
      ticketsBefore: 0,
      challengesBefore: 1,
      judgedBy: decision.by,
    });
    // First, since it locks addresses; and so that an absence moves what goes on, too.
    const reopened = await undoReply(tx, deps, row, consequences, now);
    const outcome = await carryOut(tx, deps, subject, missing(consequences, row.actions), now);
    await tx
      .updateTable('inbound')
      .set({
        ...(match.mail === null ? {} : matchColumns(match)),
        decided_at: now,
        decided_kind: decision.kind,
        needs_review: false,
        review_until: null,
        classification: jsonOf({ ...row.classification, ...classification, matched: matchedOf(match) }),
        actions: JSON.stringify([
          ...row.actions,
          { do: 'decided', kind: decision.kind, by: decision.by },
          ...reopened.actions,
          ...outcome.actions,
        ]),
      })
      .where('id', '=', inboundId)
      .execute();
    const released = await release(tx, [row.lead_id, match.leadId], now);
    if (match.leadId !== null) {
      await recordEvents(tx, [
        {
          at: now,
          leadId: match.leadId,
          enrollmentId: match.enrollmentId,
          kind: 'review-decided',
          detail: { inboundId, kind: decision.kind, was: row.kind, by: decision.by },
        },
      ]);
    }
    return {
      tell: [...new Set([...outcome.tell, ...released])],
      start: reopened.start,
      mails: outcome.mails,
      faults: outcome.faults,
    };
  });
  await recordFaults(db, faults);
  return acted;
}

type Row = Selectable<InboundTable>;

/** The classification as it stands after the decision: doubts are over. */
function decided(row: Row, kind: InboundKind): Classification {
  const before = row.classification;
  const same = before?.kind === kind;
  return {
    kind,
    subtype: same ? before.subtype : null,
    bounce: before?.bounce ?? (kind === 'bounce' ? VOUCHED : null),
    returnDate: before?.returnDate ?? null,
    requests: before?.requests ?? [],
    matched: before?.matched ?? null,
    needsReview: false,
    confidence: 1,
    evidence: before?.evidence ?? [],
  };
}

/** A person says that it bounced, and no code does: nobody is suppressed by that. */
const VOUCHED: NonNullable<Classification['bounce']> = {
  severity: 'soft',
  cause: 'mailbox',
  code: null,
  codeFrom: null,
  recipient: null,
};

/** What was done already is not done again; requests that were kept stay. */
function missing(consequences: readonly Consequence[], actions: readonly Record<string, unknown>[]): Consequence[] {
  const was = (name: string) => actions.some((action) => action.do === name);
  return consequences.filter((one) => {
    if (one.do === 'forward') return !was('forwarded') && !was('not-forwarded');
    if (one.do === 'stop') return !actions.some((action) => action.do === 'stop' && action.outcome === one.outcome);
    return one.do !== 'show';
  });
}

async function matchOf(tx: Tx, row: Row, enrollmentId: string | undefined): Promise<Match> {
  const id = enrollmentId ?? row.enrollment_id;
  const base: Match = {
    mail: null,
    by: row.matched_by,
    proven: row.proven,
    enrollmentId: null,
    campaignId: null,
    leadId: null,
    step: null,
    copy: null,
    transactionalId: null,
    addressHash: null,
    fromLead: false,
    knownSender: false,
    gone: false,
    senderHashes: [],
  };
  if (id !== null) {
    const found = await tx
      .selectFrom('enrollment')
      .select(['id', 'campaign_id', 'lead_id', 'address_hash'])
      .where('id', '=', id)
      .executeTakeFirst();
    if (found === undefined) throw new Problem('not-found', `there is no enrollment ${id}`);
    const same = row.enrollment_id === id;
    return {
      ...base,
      mail: 'enrollment',
      // A person's word names the thread, so it is that enrollment's.
      by: same ? row.matched_by : 'references',
      enrollmentId: id,
      campaignId: found.campaign_id,
      leadId: found.lead_id,
      addressHash: found.address_hash,
      step: same ? row.step : null,
    };
  }
  if (row.transactional_id === null) return base;
  const mail = await tx
    .selectFrom('transactional')
    .select(['id', 'kind', 'address_hash'])
    .where('id', '=', row.transactional_id)
    .executeTakeFirst();
  if (mail === undefined) return base;
  return { ...base, mail: ofOurs(mail.kind), transactionalId: mail.id, addressHash: mail.address_hash };
}

function subjectOf(row: Row, match: Match, classification: Classification): Subject {
  const { summary } = row;
  return {
    inboundId: row.id,
    receivedAt: row.received_at,
    kind: classification.kind,
    match,
    answerTo: summary?.answerTo ?? null,
    recipients: summary?.recipients ?? [],
    from: summary?.from ?? null,
    title: summary?.subject ?? '',
    text: summary?.excerpt ?? '',
    requests: classification.requests,
  };
}

/** Goes on with the enrollments that this message ended as a reply, which it was not, unless something else ends them too. */
async function undoReply(
  tx: Tx,
  deps: ActDeps,
  row: Row,
  consequences: readonly Consequence[],
  now: Date,
): Promise<{ start: string[]; actions: Record<string, unknown>[] }> {
  const start: string[] = [];
  const actions: Record<string, unknown>[] = [];
  if (consequences.some((one) => one.do === 'stop')) return { start, actions };
  const undone = new Set(row.actions.flatMap((action) => (action.do === 'reopened' ? [String(action.from)] : [])));
  for (const action of row.actions) {
    if (action.do !== 'stop') continue;
    if (action.outcome !== 'replied') {
      actions.push({ do: 'stays', outcome: action.outcome, why: action.suppress === null ? 'ended' : 'suppressed' });
      continue;
    }
    for (const from of (action.enrollmentIds as string[]).filter((id) => !undone.has(id))) {
      const result = await goOn(tx, deps, row, from, now);
      if ('enrollmentId' in result) start.push(result.enrollmentId);
      actions.push({ do: 'enrollmentId' in result ? 'reopened' : 'not-reopened', from, ...result });
    }
  }
  return { start, actions };
}

async function goOn(
  tx: Tx,
  deps: ActDeps,
  row: Row,
  from: string,
  now: Date,
): Promise<{ enrollmentId: string } | { why: string }> {
  const other = await tx
    .selectFrom('inbound')
    .select('id')
    .where('enrollment_id', '=', from)
    .where('id', '!=', row.id)
    .where('duplicate_of', 'is', null)
    .where((eb) => eb(eb.fn.coalesce('decided_kind', 'kind'), 'in', ['reply', 'unsubscribe', 'complaint']))
    .executeTakeFirst();
  if (other !== undefined) return { why: 'answered-by-another-message' };
  try {
    const { enrollmentId } = await reopenIn(tx, {
      enrollmentId: from,
      via: 'decision',
      timeFactor: deps.timeFactor,
      addressKeys: deps.addressKeys,
      now,
    });
    return { enrollmentId };
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return { why: error.code };
  }
}

async function release(tx: Tx, leadIds: readonly (string | null)[], now: Date): Promise<string[]> {
  const released: string[] = [];
  for (const leadId of new Set(leadIds)) if (leadId !== null) released.push(...(await releaseReviews(tx, leadId, now)));
  return released;
}
