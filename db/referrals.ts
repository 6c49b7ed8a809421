import { randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import { base32Encode } from '../domain/base32';
import { Problem } from '../domain/problem';
import type { Db, Tx } from './client';

// Buyers share a link; we never write to an address that somebody typed for a friend (GDPR art. 6, LSSI art. 21).

/** Of a code: 80 bits, so that nobody finds one by trying. */
const CODE_BYTES = 10;
/** A line of referrals is followed this far back when a loop is looked for. */
const LONGEST_LINE = 50;

/** What a `referral_code` looks like; anything else is none. */
export const REFERRAL_CODE = /^[a-z2-7]{16}$/;

/** The code of a buyer's personal link, made when it is first needed; the same one ever after. */
export async function referralCodeOf(
  db: Db | Tx,
  buyer: { enrollmentId: string; campaignId: string; leadId: string },
  now: Date,
): Promise<string> {
  const { rows } = await sql<{ code: string }>`
    insert into referral_link (code, campaign_id, lead_id, enrollment_id, created_at)
    values (${base32Encode(randomBytes(CODE_BYTES))}, ${buyer.campaignId}, ${buyer.leadId}, ${buyer.enrollmentId}, ${now})
    -- Changes nothing, but makes the row that is there come back.
    on conflict (enrollment_id) do update set code = referral_link.code
    returning code`.execute(db);
  const code = rows[0]?.code;
  if (code === undefined) throw new Error('a referral link was neither made nor found');
  return code;
}

/** Where a link leads: the campaign's form that was made last and is open, or its product. */
export async function referralTarget(
  db: Db,
  code: string,
): Promise<{ formId: string } | { productUrl: string } | null> {
  if (!REFERRAL_CODE.test(code)) return null;
  const row = await db
    .selectFrom('referral_link as r')
    .innerJoin('campaign as c', 'c.id', 'r.campaign_id')
    .innerJoin('campaign_version as v', (join) =>
      join.onRef('v.campaign_id', '=', 'c.id').onRef('v.version', '=', 'c.latest_version'),
    )
    .select((eb) => [
      'v.definition',
      eb
        .selectFrom('form as f')
        .select('f.id')
        .whereRef('f.campaign_id', '=', 'c.id')
        .where('f.disabled_at', 'is', null)
        .orderBy('f.created_at', 'desc')
        .limit(1)
        .as('form_id'),
    ])
    .where('r.code', '=', code)
    .where('c.cancelled_at', 'is', null)
    .executeTakeFirst();
  if (row === undefined) return null;
  return row.form_id === null ? { productUrl: row.definition.product.url } : { formId: row.form_id };
}

/** Why nobody is thanked for a lead: the code is none of ours, the lead's own, or of somebody whom this lead has referred. */
export type ReferralRefusal = 'unknown' | 'self' | 'loop';

/**
 * Whether a lead who came by this link may be put down to its buyer. Nobody refers themselves, nor, through however many
 * others, those who referred them.
 *
 * @param hashes of the lead's address, all keys
 */
export async function refuseReferral(
  tx: Tx,
  code: string,
  lead: { leadId: string; hashes: readonly string[] },
): Promise<ReferralRefusal | null> {
  if (!REFERRAL_CODE.test(code)) return 'unknown';
  const { rows } = await sql<{ lead_id: string; address_hash: string | null; depth: number }>`
    with recursive line as (
      select r.lead_id, 0 as depth from referral_link r where r.code = ${code}
      union
      select r.lead_id, line.depth + 1
      from line
      join enrollment e on e.lead_id = line.lead_id and e.referral_code is not null
      join referral_link r on r.code = e.referral_code
      where line.depth < ${LONGEST_LINE}
    )
    select line.lead_id, l.address_hash, min(line.depth)::int as depth
    from line join lead l on l.id = line.lead_id
    group by line.lead_id, l.address_hash order by depth`.execute(tx);
  if (rows.length === 0) return 'unknown';
  const own = rows.find(
    (row) => row.lead_id === lead.leadId || (row.address_hash !== null && lead.hashes.includes(row.address_hash)),
  );
  return own === undefined ? null : own.depth === 0 ? 'self' : 'loop';
}

export interface Referrer {
  /** The buyer whose link it is. */
  leadId: string;
  code: string;
  /** Who came by it, and how many of those have bought. */
  leads: number;
  bought: number;
  createdAt: Date;
}

/** A campaign's links, those who brought most leads first. @throws Problem `not-found` */
export async function listReferrers(
  db: Db,
  campaignId: string,
  limit: number,
  after: { leads: number; code: string } | null,
): Promise<Referrer[]> {
  await assertCampaign(db, campaignId);
  const { rows } = await sql<Referrer>`
    select r.lead_id as "leadId", r.code, r.created_at as "createdAt", n.leads, n.bought
    from referral_link r, lateral (
      select count(*)::int as leads, count(*) filter (where e.outcome = 'purchased')::int as bought
      from enrollment e where e.referral_code = r.code and e.journey = 'lead'
    ) n
    where r.campaign_id = ${campaignId}
      and (${after === null} or (n.leads, r.code) < (${after?.leads ?? 0}, ${after?.code ?? ''}))
    order by n.leads desc, r.code desc limit ${limit}`.execute(db);
  return rows;
}

/** A campaign's links in all. @throws Problem `not-found` */
export async function referralTotals(
  db: Db,
  campaignId: string,
): Promise<{ links: number; leads: number; bought: number }> {
  await assertCampaign(db, campaignId);
  const { rows } = await sql<{ links: number; leads: number; bought: number }>`
    select
      (select count(*)::int from referral_link where campaign_id = ${campaignId}) as links,
      count(e.id)::int as leads, count(e.id) filter (where e.outcome = 'purchased')::int as bought
    from referral_link r join enrollment e on e.referral_code = r.code and e.journey = 'lead'
    where r.campaign_id = ${campaignId}`.execute(db);
  return rows[0] ?? { links: 0, leads: 0, bought: 0 };
}

async function assertCampaign(db: Db, id: string): Promise<void> {
  const row = await db.selectFrom('campaign').select('id').where('id', '=', id).executeTakeFirst();
  if (row === undefined) throw new Problem('not-found', `there is no campaign ${id}`);
}
