import { sql } from 'kysely';
import { normaliseAddress } from '../domain/addresses';
import type { CampaignDraft, CompiledStep, PublishProblem } from '../domain/campaign';
import { Problem } from '../domain/problem';
import { type Db, inTransaction, type Tx } from './client';

/** A mail of the shop as its author wrote it. */
export interface TransactionalTemplate {
  subject: string;
  mjml: string;
  text?: string;
  from: { name: string; address: string };
  replyTo?: string;
  /** BCP 47: the language of mails that name none. */
  locale: string;
  /** IANA: in which its dates are printed. */
  timeZone: string;
}

export interface StoredTemplate {
  name: string;
  template: TransactionalTemplate;
  compiled: CompiledStep;
  createdAt: Date;
  updatedAt: Date;
}

/**
 * Keeps a template under its name, in place of the one before; mails that were asked for with that one stay as they were.
 *
 * @returns whether the name is new
 * @throws Problem `template-not-usable` when a campaign writes from its address
 */
export async function putTemplate(
  db: Db,
  name: string,
  template: TransactionalTemplate,
  compiled: CompiledStep,
  now: Date,
): Promise<boolean> {
  return await inTransaction(db, async (tx) => {
    await lockSenders(tx);
    const problems = await campaignsFrom(tx, template.from.address);
    if (problems.length > 0) throw notUsable(problems);
    const row = { definition: JSON.stringify(template), compiled: JSON.stringify(compiled), updated_at: now };
    const result = await tx.updateTable('transactional_template').set(row).where('name', '=', name).executeTakeFirst();
    if (result.numUpdatedRows > 0n) return false;
    await tx
      .insertInto('transactional_template')
      .values({ name, created_at: now, ...row })
      .execute();
    return true;
  });
}

/** @returns null when there is none of this name */
export async function findTemplate(db: Db, name: string): Promise<StoredTemplate | null> {
  const row = await db.selectFrom('transactional_template').selectAll().where('name', '=', name).executeTakeFirst();
  return row === undefined ? null : stored(row);
}

/** A page of templates by name. @param after the last name of the page before */
export async function listTemplates(db: Db, limit: number, after: string | null): Promise<StoredTemplate[]> {
  // By bytes, whatever the database's collation, so that pages meet.
  const byName = sql<string>`name collate "C"`;
  let query = db.selectFrom('transactional_template').selectAll().orderBy(byName).limit(limit);
  if (after !== null) query = query.where(sql<boolean>`${byName} > ${after}`);
  return (await query.execute()).map(stored);
}

/** Mails that were asked for with it go out all the same. @throws Problem `not-found` */
export async function deleteTemplate(db: Db, name: string): Promise<void> {
  const result = await db.deleteFrom('transactional_template').where('name', '=', name).executeTakeFirst();
  if (result.numDeletedRows === 0n) throw noSuchTemplate(name);
}

export function noSuchTemplate(name: string): Problem {
  return new Problem('not-found', `there is no transactional template ${name}`);
}

/** The refusal of a template. @param problems at least one */
export function notUsable(problems: readonly PublishProblem[]): Problem {
  const [first] = problems;
  const detail =
    problems.length === 1 && first !== undefined
      ? `${first.pointer}${first.line === undefined ? '' : `, line ${first.line}, column ${first.column ?? 1}`}: ${first.detail}`
      : `${problems.length} things are wrong with this template; \`errors\` lists them`;
  return new Problem('template-not-usable', detail, { errors: problems });
}

// ---- an open form never mails through the invoices' identity --------------------------------------------------------

/**
 * Held by whoever puts a From address to use, until it is committed: of a campaign and a template that take the same one at
 * the same moment, the second sees the first.
 */
export async function lockSenders(tx: Tx): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended('sender addresses', 0))`.execute(tx);
}

/** What keeps a campaign from these From addresses: transactional templates write from them. */
export async function templatesFrom(db: Db | Tx, sender: CampaignDraft['sender']): Promise<PublishProblem[]> {
  const rows = await sql<{ name: string; address: string }>`
    select name, definition #>> '{from,address}' as address from transactional_template order by name`.execute(db);
  return (['address', 'requestedAddress'] as const).flatMap((field) => {
    const address = sender?.[field];
    if (typeof address !== 'string') return [];
    const template = rows.rows.find((row) => isSame(row.address, address));
    if (template === undefined) return [];
    const detail =
      `the transactional template ${template.name} writes from this address: a campaign needs one of its own, so that ` +
      'its complaints never touch the shop’s invoices';
    return [{ pointer: `/sender/${field}`, detail }];
  });
}

/**
 * What keeps a campaign from the addresses that it writes from: transactional mail, of templates and of the thanks to buyers,
 * never shares one with a campaign.
 */
export async function takenSenders(
  db: Db | Tx,
  campaignId: string,
  { sender, afterPurchase }: Pick<CampaignDraft, 'sender' | 'afterPurchase'>,
): Promise<PublishProblem[]> {
  const problems = await templatesFrom(db, sender);
  const thanks = await sql<{ id: string; address: string }>`
    select c.id, v.definition #>> '{afterPurchase,thanksFrom,address}' as address
    from campaign c join campaign_version v on v.campaign_id = c.id
    where c.cancelled_at is null and c.id <> ${campaignId}
      and v.definition #>> '{afterPurchase,thanksFrom,address}' is not null
    order by c.id`.execute(db);
  for (const field of ['address', 'requestedAddress'] as const) {
    const address = sender?.[field];
    const other = thanks.rows.find((row) => typeof address === 'string' && isSame(row.address, address));
    if (other === undefined) continue;
    const detail = `the campaign ${other.id} thanks its buyers from this address: it belongs to the shop’s transactional mail`;
    problems.push({ pointer: `/sender/${field}`, detail });
  }
  const from = afterPurchase?.thanksFrom?.address;
  if (typeof from !== 'string') return problems;
  const taken = await campaignsFrom(db, from);
  return [...problems, ...taken.map((one) => ({ ...one, pointer: '/afterPurchase/thanksFrom/address' }))];
}

/** What keeps a template from this From address: campaigns, published or being written, that write from it. */
async function campaignsFrom(tx: Db | Tx, address: string): Promise<PublishProblem[]> {
  const rows = await sql<{ id: string; address: string }>`
    select distinct c.id, used.address
    from campaign c
    cross join lateral (
      select c.draft -> 'sender' as sender
      union all
      select v.definition -> 'sender' from campaign_version v where v.campaign_id = c.id
    ) senders
    cross join lateral (
      values (senders.sender ->> 'address'), (senders.sender ->> 'requestedAddress')
    ) used (address)
    where c.cancelled_at is null and used.address is not null
    order by c.id`.execute(tx);
  const campaign = rows.rows.find((row) => isSame(row.address, address));
  if (campaign === undefined) return [];
  const detail =
    `the campaign ${campaign.id} writes from this address: transactional mail needs one of its own, so that complaints ` +
    'about marketing never touch it';
  return [{ pointer: '/from/address', detail }];
}

function isSame(one: string, other: string): boolean {
  return normaliseAddress(one) === normaliseAddress(other);
}

function stored(row: {
  name: string;
  definition: Record<string, unknown>;
  compiled: Record<string, unknown>;
  created_at: Date;
  updated_at: Date;
}): StoredTemplate {
  return {
    name: row.name,
    template: row.definition as unknown as TransactionalTemplate,
    compiled: row.compiled as unknown as CompiledStep,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}
