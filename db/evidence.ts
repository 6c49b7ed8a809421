import type { KeyObject } from 'node:crypto';
import { sql } from 'kysely';
import { CHAIN_START, chainEvidence, type EvidenceFact, type EvidenceKind } from '../domain/evidence';
import { type EvidenceDocument, signEvidence } from '../domain/evidence-document';
import { Problem } from '../domain/problem';
import type { Db, Tx } from './client';

/** A fact about one lead. */
export interface LeadFact extends EvidenceFact {
  leadId: string;
}

/**
 * Adds facts to the chains of their leads, in the order given. Append-only: nothing changes a link but erasure, which takes
 * the whole chain away. The caller holds the lock of the person's address row, or whoever adds at the same time loses.
 */
export async function appendEvidence(tx: Tx, facts: readonly LeadFact[]): Promise<void> {
  if (facts.length === 0) return;
  const byLead = new Map<string, LeadFact[]>();
  for (const fact of facts) byLead.set(fact.leadId, [...(byLead.get(fact.leadId) ?? []), fact]);
  const { rows } = await sql<{ lead_id: string; seq: number; hash: string }>`
    select distinct on (lead_id) lead_id, seq, hash from evidence
    where lead_id = any(${[...byLead.keys()]}::uuid[]) order by lead_id, seq desc`.execute(tx);
  const last = new Map(rows.map((row) => [row.lead_id, row]));
  const links = [...byLead].flatMap(([leadId, own]) =>
    chainEvidence(leadId, last.get(leadId) ?? null, own).map((link) => ({ leadId, ...link })),
  );
  await sql`
    insert into evidence (lead_id, seq, body, hash)
    select * from unnest(${links.map((link) => link.leadId)}::uuid[], ${links.map((link) => link.seq)}::int[],
                         ${links.map((link) => link.body)}::text[], ${links.map((link) => link.hash)}::text[])`.execute(
    tx,
  );
}

/**
 * Takes a lead's chain away, for its erasure, the one way there is: Postgres refuses every other change and removal. The
 * caller holds the lock of the person's address row.
 */
export async function removeEvidence(tx: Tx, leadId: string): Promise<void> {
  await sql`select set_config('recuerda.erasing', 'on', true)`.execute(tx);
  await sql`delete from evidence where lead_id = ${leadId}`.execute(tx);
  await sql`select set_config('recuerda.erasing', 'off', true)`.execute(tx);
}

/**
 * Everything that shows what a person agreed to and what became of it, as one signed document: it holds whole what must be
 * kept to defend a claim, and no text of any mail.
 *
 * @param tx so that all of it is of one moment: a transaction that holds the person's address row, or reads repeatably
 * @throws Problem `not-found`, also once the lead was erased
 */
export async function evidenceDocument(
  tx: Db | Tx,
  leadId: string,
  signingKey: KeyObject,
  now: Date,
): Promise<EvidenceDocument> {
  const lead = await tx
    .selectFrom('lead')
    .select(['email', 'name', 'address_hash'])
    .where('id', '=', leadId)
    .where('erased_at', 'is', null)
    .executeTakeFirst();
  if (lead === undefined) throw new Problem('not-found', `there is no lead ${leadId}`);
  const chain = await tx
    .selectFrom('evidence')
    .select(['seq', 'body', 'hash'])
    .where('lead_id', '=', leadId)
    .orderBy('seq')
    .execute();
  return signEvidence(
    {
      format: 'recuerda-evidence',
      version: 1,
      generatedAt: now.toISOString(),
      subject: { leadId, email: lead.email, name: lead.name },
      chain,
      head: chain.at(-1)?.hash ?? CHAIN_START,
      enrollments: await enrollmentsOf(tx, leadId),
      mails: [...(await journeyMails(tx, leadId)), ...(await pageMails(tx, lead.address_hash, confirmedIn(chain)))],
      suppressions: await suppressionsOf(tx, lead.address_hash),
    },
    signingKey,
  );
}

async function enrollmentsOf(tx: Db | Tx, leadId: string): Promise<EvidenceDocument['enrollments']> {
  const rows = await tx
    .selectFrom('enrollment as e')
    .innerJoin('campaign_version as v', (join) =>
      join.onRef('v.campaign_id', '=', 'e.campaign_id').onRef('v.version', '=', 'e.version'),
    )
    .select(['e.id', 'e.campaign_id', 'e.version', 'e.requested_at', 'e.enrolled_at', 'e.ended_at', 'e.outcome'])
    .select(sql<string>`v.definition->>'name'`.as('campaign'))
    .where('e.lead_id', '=', leadId)
    .orderBy('e.enrolled_at')
    .orderBy('e.id')
    .execute();
  return rows.map((row) => ({
    enrollmentId: row.id,
    campaignId: row.campaign_id,
    campaign: row.campaign,
    version: row.version,
    requestedAt: row.requested_at.toISOString(),
    enrolledAt: row.enrolled_at.toISOString(),
    endedAt: row.ended_at?.toISOString() ?? null,
    outcome: row.outcome,
  }));
}

async function journeyMails(tx: Db | Tx, leadId: string): Promise<EvidenceDocument['mails']> {
  const rows = await tx
    .selectFrom('message as m')
    .innerJoin('enrollment as e', 'e.id', 'm.enrollment_id')
    .select(['m.enrollment_id', 'e.campaign_id', 'e.journey', 'm.step', 'm.copy', 'm.message_id', 'm.state'])
    .select(['m.first_claimed_at', 'm.handing_over_at', 'm.settled_at', 'm.report', 'm.report_at'])
    .where('e.lead_id', '=', leadId)
    .orderBy('m.first_claimed_at')
    .orderBy('m.enrollment_id')
    .orderBy('m.step')
    .orderBy('m.copy')
    .execute();
  return rows.map((row) => ({
    enrollmentId: row.enrollment_id,
    campaignId: row.campaign_id,
    kind: row.journey === 'buyer' ? 'after-purchase' : row.step === 0 ? 'information' : 'nudge',
    step: row.step,
    copy: row.copy,
    messageId: row.message_id,
    state: row.state,
    claimedAt: row.first_claimed_at.toISOString(),
    handedOverAt: row.handing_over_at?.toISOString() ?? null,
    settledAt: row.settled_at?.toISOString() ?? null,
    report: row.report,
    reportAt: row.report_at?.toISOString() ?? null,
  }));
}

/** The requests that they have confirmed. */
function confirmedIn(chain: EvidenceDocument['chain']): string[] {
  return chain.flatMap(({ body }) => {
    const { kind, detail } = JSON.parse(body) as { kind: EvidenceKind; detail: { requestId?: unknown } };
    return kind === 'confirmed' && typeof detail.requestId === 'string' ? [detail.requestId] : [];
  });
}

/**
 * Mail that somebody asked for by a page: to confirm a request, or to prove who they are. After some time a mail forgets whom
 * it went to (`forgetTransactionalAddresses`); those that were answered by a confirmation are found by that.
 */
async function pageMails(
  tx: Db | Tx,
  addressHash: string | null,
  confirmed: readonly string[],
): Promise<EvidenceDocument['mails']> {
  const answered = await tx
    .selectFrom('form_request')
    .select(['mail_id', 'reminder_id'])
    .where('id', '=', sql<string>`any(${confirmed}::uuid[])`)
    .execute();
  const ids = answered.flatMap((row) => [row.mail_id, row.reminder_id].filter((id) => id !== null));
  const rows = await tx
    .selectFrom('transactional')
    .select(['kind', 'message_id', 'state', 'first_claimed_at', 'handing_over_at', 'settled_at', 'report', 'report_at'])
    .where((eb) => eb.or([eb('address_hash', '=', addressHash), eb('id', '=', sql<string>`any(${ids}::uuid[])`)]))
    .where('kind', 'in', ['confirmation', 'link'])
    .orderBy('created_at')
    .orderBy('id')
    .execute();
  return rows.map((row) => ({
    enrollmentId: null,
    campaignId: null,
    kind: row.kind,
    step: null,
    copy: null,
    messageId: row.message_id,
    state: row.state,
    claimedAt: row.first_claimed_at?.toISOString() ?? null,
    handedOverAt: row.handing_over_at?.toISOString() ?? null,
    settledAt: row.settled_at?.toISOString() ?? null,
    report: row.report,
    reportAt: row.report_at?.toISOString() ?? null,
  }));
}

async function suppressionsOf(tx: Db | Tx, addressHash: string | null): Promise<EvidenceDocument['suppressions']> {
  const rows = await tx
    .selectFrom('suppression')
    .selectAll()
    .where('address_hash', '=', addressHash)
    .orderBy('since')
    .orderBy('id')
    .execute();
  return rows.map((row) => ({
    kind: row.kind,
    campaignId: row.campaign_id,
    since: row.since.toISOString(),
    by: row.by,
    liftedAt: row.lifted_at?.toISOString() ?? null,
    liftedBy: row.lifted_by,
    liftedBecause: row.lifted_because,
  }));
}

/** What is kept of somebody who was erased, the latest first. @param hashes as `hashAddress` returns them */
export async function sealedEvidence(
  db: Db | Tx,
  hashes: readonly string[],
): Promise<{ id: string; sealed: Buffer; sealedAt: Date; destroyAt: Date }[]> {
  return await db
    .selectFrom('sealed_evidence')
    .select(['id', 'sealed', 'sealed_at as sealedAt', 'destroy_at as destroyAt'])
    .where('address_hash', '=', sql<string>`any(${hashes}::text[])`)
    .orderBy('sealed_at', 'desc')
    .orderBy('id')
    .execute();
}
