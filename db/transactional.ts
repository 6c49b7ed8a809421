import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { providerOf } from '../domain/addresses';
import type { CompiledStep } from '../domain/campaign';
import { Problem } from '../domain/problem';
import type { Stream } from '../domain/streams';
import { type Db, inTransaction, type Tx } from './client';
import { withdrawRequestsOf } from './form-requests';
import { KEEP_ANSWERS_MS } from './idempotency';
import { notPausedByHand } from './ledger';
import type { MessageReport, TransactionalKind } from './schema';
import { stopIn } from './stops';
import { type SettledState, settleWhere } from './transactional-fate';

// Mail outside any journey, and its ledger: the row itself. It knows no suppression (invoices ignore objections, and who asked by
// a page has asked), so a claim looks at nothing but its own row; what it shares with the ledger of journeys is the gate (promise P3).

interface Mailbox {
  name: string;
  address: string;
}

/** A file that goes along. */
export interface Attachment {
  filename: string;
  /** Media type, such as `application/pdf`. */
  contentType: string;
  /** Without angle brackets; set where the HTML shows it as `cid:…`. */
  contentId: string | null;
  bytes: Buffer;
}

/** What a mail of the shop is filled from: its template as it was when the mail was asked for, and the data. */
export interface ShopContent {
  name: string | null;
  from: Mailbox;
  replyTo: string | null;
  compiled: CompiledStep;
  data: Record<string, unknown>;
  locale: string;
  timeZone: string;
}

/** A mail as it will be read: to our own staff, or to somebody who asked for it by a page of ours. */
interface ReadyContent {
  name: string | null;
  from: Mailbox;
  replyTo: string | null;
  subject: string;
  text: string;
  html: string | null;
  /** BCP 47, where it is known. */
  locale?: string;
}

interface NewShopMail {
  kind: 'shop';
  to: { email: string; name?: string | null };
  /** Of the address, as `hashAddress` returns them. */
  hashes: [string, ...string[]];
  /** The template's name. */
  template: string;
  content: Omit<ShopContent, 'name'>;
  attachments: readonly Attachment[];
  /** Its turn, 1 first to 5 last; 1 where it is left out. */
  priority?: number;
}

/** Mail to our own staff: a reply forwarded to salespeople, an alert to operators. */
interface NewStaffMail extends Omit<ReadyContent, 'name'> {
  kind: 'forward' | 'alert';
  to: { email: string; name?: string | null };
  /** Attaches this received message, as it came, when the mail is composed. */
  attachInboundId: string | null;
  /** Its turn, 1 first to 5 last; 2 where it is left out. */
  priority?: number;
}

/**
 * Mail to a person who asked for it by a page of ours: to confirm a request, or to prove who they are. It goes out on the
 * `requested` stream, and content and address are erased as soon as it is settled.
 */
interface NewPageMail extends Omit<ReadyContent, 'name'> {
  kind: 'confirmation' | 'link';
  to: { email: string; name?: string | null };
  /** Of the address, as `hashAddress` returns them. */
  hashes: [string, ...string[]];
  /** Its turn, 1 first to 5 last; 2 where it is left out. */
  priority?: number;
}

export type NewTransactional = NewShopMail | NewStaffMail | NewPageMail;

/** The streams that mail outside any journey can be on. */
export type MailStream = Extract<Stream, 'transactional' | 'requested'>;

/** `queued` also while it waits for another try; `deferred` is for good, after five days of them. */
export type TransactionalState = 'queued' | 'claimed' | 'handing_over' | SettledState;

/** Another try of mail that was started and should be done by now is looked for this often (ms). */
const WATCH_AGAIN_MS = 15 * 60_000;

/**
 * Keeps a mail to be sent. Once this is committed it will be, with nobody doing anything (promise P4);
 * `Journeys.startTransactional` makes it soon.
 *
 * @param once an id that the same request would bring again, where it can be told from others: within 48 hours it is one mail
 * @returns its id
 */
export async function enqueueTransactional(db: Db | Tx, mail: NewTransactional, once?: string): Promise<string> {
  const keep = async (tx: Tx) => {
    if (once !== undefined && ((await insertMail(tx, mail, once)) || (await isRecent(tx, once)))) return once;
    const id = randomUUID();
    await insertMail(tx, mail, id);
    return id;
  };
  return db.isTransaction ? await keep(db as Tx) : await inTransaction(db as Db, keep);
}

async function isRecent(tx: Tx, id: string): Promise<boolean> {
  const { rows } = await sql`
    select from transactional where id = ${id} and created_at > now() - ${KEEP_ANSWERS_MS} * interval '1 millisecond'`.execute(
    tx,
  );
  return rows.length > 0;
}

/** @returns false when there is a mail of that id */
async function insertMail(tx: Tx, mail: NewTransactional, id: string): Promise<boolean> {
  const name = mail.to.name ?? null;
  const shop = mail.kind === 'shop' ? mail : null;
  const toPage = mail.kind === 'confirmation' || mail.kind === 'link';
  const content =
    mail.kind === 'shop'
      ? ({ ...mail.content, name } satisfies ShopContent)
      : ({
          name,
          from: mail.from,
          replyTo: mail.replyTo,
          subject: mail.subject,
          text: mail.text,
          html: mail.html,
          ...(mail.locale === undefined ? {} : { locale: mail.locale }),
        } satisfies ReadyContent);
  const inserted = await tx
    .insertInto('transactional')
    .values({
      id,
      kind: mail.kind,
      stream: toPage ? 'requested' : 'transactional',
      template: shop?.template ?? null,
      email: mail.to.email,
      address_hash: 'hashes' in mail ? mail.hashes[0] : null,
      content: JSON.stringify(content),
      inbound_id: 'attachInboundId' in mail ? mail.attachInboundId : null,
      fairness_key: providerOf(mail.to.email),
      priority: mail.priority ?? (mail.kind === 'shop' ? 1 : 2),
    })
    .onConflict((oc) => oc.column('id').doNothing())
    .executeTakeFirst();
  if (inserted.numInsertedOrUpdatedRows === 0n) return false;
  const rows = (shop?.attachments ?? []).map((attachment, seq) => ({
    transactional_id: id,
    seq,
    filename: attachment.filename,
    content_type: attachment.contentType,
    content_id: attachment.contentId,
    bytes: attachment.bytes,
  }));
  if (rows.length > 0) await tx.insertInto('transactional_attachment').values(rows).execute();
  return true;
}

export interface TransactionalView {
  transactionalId: string;
  kind: TransactionalKind;
  template: string | null;
  state: TransactionalState;
  /** The mail server's last answer as codes, or why it was not sent. */
  code: string | null;
  messageId: string | null;
  /** How often its recipient's server has put it off. */
  deferrals: number;
  /** When it is tried again, where it waits for that. */
  notBefore: Date | null;
  /** What became of it after it was taken. */
  report: { kind: MessageReport; code: string | null; at: Date } | null;
  createdAt: Date;
  settledAt: Date | null;
}

/** @throws Problem `not-found` */
export async function findTransactional(db: Db, id: string): Promise<TransactionalView> {
  const row = await db.selectFrom('transactional').selectAll().where('id', '=', id).executeTakeFirst();
  if (row === undefined) throw new Problem('not-found', `there is no transactional mail ${id}`);
  const { report, report_at: at } = row;
  return {
    transactionalId: row.id,
    kind: row.kind,
    template: row.template,
    state: row.state,
    code: row.code,
    messageId: row.message_id,
    deferrals: row.attempts,
    notBefore: row.state === 'queued' ? row.not_before : null,
    report: report === null || at === null ? null : { kind: report, code: row.report_code, at },
    createdAt: row.created_at,
    settledAt: row.settled_at,
  };
}

/** A mail that is still to be dealt with, read without locks: the claim looks again. */
export interface PendingTransactional {
  id: string;
  kind: TransactionalKind;
  /** By which way it goes out; another one must not carry it. */
  stream: MailStream;
  template: string | null;
  email: string;
  state: TransactionalState;
  content: { shop: ShopContent } | { ready: ReadyContent };
  inboundId: string | null;
  provider: string;
  notBefore: Date | null;
}

/** @returns how it was settled where it was; null where there is no such mail */
export async function loadTransactional(
  db: Db,
  id: string,
): Promise<PendingTransactional | { settled: SettledState } | null> {
  const row = await db.selectFrom('transactional').selectAll().where('id', '=', id).executeTakeFirst();
  if (row === undefined) return null;
  if (isSettled(row.state)) return { settled: row.state };
  if (row.email === null || row.content === null) throw new Error('a mail that is not settled has lost its content');
  return {
    id: row.id,
    kind: row.kind,
    stream: row.stream,
    template: row.template,
    email: row.email,
    state: row.state,
    content:
      row.kind === 'shop'
        ? { shop: row.content as unknown as ShopContent }
        : { ready: row.content as unknown as ReadyContent },
    inboundId: row.inbound_id,
    provider: row.fairness_key,
    notBefore: row.not_before,
  };
}

/** The files that go along with a mail, in their order. */
export async function attachmentsOf(db: Db, id: string): Promise<Attachment[]> {
  return await db
    .selectFrom('transactional_attachment')
    .select(['filename', 'content_type as contentType', 'content_id as contentId', 'bytes'])
    .where('transactional_id', '=', id)
    .orderBy('seq')
    .execute();
}

/** A received message as it came; null once it is not kept any more. `whole`: nothing of it was cut off. */
export async function inboundRaw(db: Db, inboundId: string): Promise<{ raw: Buffer; whole: boolean } | null> {
  const row = await db.selectFrom('inbound').select(['raw', 'bytes']).where('id', '=', inboundId).executeTakeFirst();
  return row === undefined || row.raw === null ? null : { raw: row.raw, whole: row.raw.length === row.bytes };
}

/** One attempt at one mail. Whoever takes the claim over brings another token, and this one's gate then refuses. */
export interface TransactionalClaim {
  id: string;
  token: string;
}

/**
 * Takes a mail for sending.
 *
 * @returns null when it is settled, past another attempt's gate, or not due
 */
export async function claimTransactional(
  db: Db,
  claim: TransactionalClaim & { messageId: string; now: Date },
): Promise<{ deferrals: number; firstClaimedAt: Date } | null> {
  const { id, token, messageId, now } = claim;
  const result = await sql<{ attempts: number; first_claimed_at: Date }>`
    update transactional set
      state = 'claimed', token = ${token}::uuid, message_id = ${messageId}, handing_over_at = null,
      -- Once deferred, the five days run on, whatever breaks down on our side in between.
      first_claimed_at = case when attempts > 0 then first_claimed_at else ${now}::timestamptz end
    where id = ${id} and state in ('queued', 'claimed') and (not_before is null or not_before <= ${now}::timestamptz)
    returning attempts, first_claimed_at`.execute(db);
  const row = result.rows[0];
  return row === undefined ? null : { deferrals: row.attempts, firstClaimedAt: row.first_claimed_at };
}

/**
 * The gate, asked when the server has said 354: true when the body may go out.
 *
 * @param way by which it leaves: a pause that somebody has put on that shuts the gate too
 */
export async function passTransactionalGate(
  db: Db,
  { id, token }: TransactionalClaim,
  now: Date,
  way: { stream: MailStream; provider: string } | null = null,
): Promise<boolean> {
  const result = await db
    .updateTable('transactional')
    .set({ state: 'handing_over', handing_over_at: now })
    .where('id', '=', id)
    .where('state', '=', 'claimed')
    .where('token', '=', token)
    .where(notPausedByHand(way?.stream ?? null, way?.provider ?? null))
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

/** Gives a claim back when it is certain that nothing was handed over under it. */
export async function releaseTransactional(db: Db, { id, token }: TransactionalClaim): Promise<void> {
  await db
    .updateTable('transactional')
    .set({ state: 'queued' })
    .where('id', '=', id)
    .where('state', 'in', ['claimed', 'handing_over'])
    .where('token', '=', token)
    .execute();
}

/** Puts a claimed mail back until a later try. @param code the refusal as codes only */
export async function deferTransactional(
  db: Db,
  { id, token }: TransactionalClaim,
  { code, until }: { code: string; until: Date },
): Promise<void> {
  await db
    .updateTable('transactional')
    .set((eb) => ({ state: 'queued', code, not_before: until, attempts: eb('attempts', '+', 1) }))
    .where('id', '=', id)
    .where('state', 'in', ['claimed', 'handing_over'])
    .where('token', '=', token)
    .execute();
}

/** Keeps an unclaimed mail from being tried before this time (a daily cap, a stream that is stopped). */
export async function postponeTransactional(db: Db, id: string, until: Date): Promise<void> {
  await db
    .updateTable('transactional')
    .set({ not_before: until })
    .where('id', '=', id)
    .where('state', '=', 'queued')
    .execute();
}

export interface TransactionalSettlement {
  id: string;
  /** This attempt's token; null settles what another attempt left behind in `handing_over`. */
  token: string | null;
  state: SettledState;
  /** Codes only, never a server's text. */
  code: string;
  providerId?: string | null;
  now: Date;
}

/**
 * Records the fate of a mail for good and erases its content and attachments. For late bounces the address of the shop's own,
 * and the hash of everybody's, stay until `forgetTransactionalAddresses`, unless the person was erased while it was on its
 * way. A late `accepted` corrects an `unknown`.
 *
 * @returns false when it was no longer this attempt's to settle; nothing has changed then
 */
export async function settleTransactional(db: Db | Tx, settlement: TransactionalSettlement): Promise<boolean> {
  const { id, token, state, code, providerId = null, now } = settlement;
  const ours =
    token === null
      ? sql`state = 'handing_over'`
      : sql`token = ${token}::uuid and state in ('claimed', 'handing_over') or state = 'unknown' and ${state} = 'accepted'`;
  return await settleWhere(db, [id], ours, { state, code, providerId, now });
}

/**
 * Settles a mail whose recipient refused it for good. Mail to a person makes the address undeliverable, whatever it is
 * enrolled in ends as `bounced`, and what the mail asked to confirm is withdrawn; mail to our own staff touches nobody.
 *
 * @param hashes of the address, as `hashAddress` returns them; null for mail to staff
 */
export async function bounceTransactional(
  db: Db,
  { id, token }: TransactionalClaim,
  { hashes, code, now }: { hashes: [string, ...string[]] | null; code: string; now: Date },
): Promise<void> {
  await inTransaction(db, async (tx) => {
    // The address before the mail: addresses are locked first, everywhere.
    if (hashes !== null) {
      await stopIn(tx, {
        who: { hashes },
        outcome: 'bounced',
        suppress: 'undeliverable',
        detail: { by: 'smtp', code, transactionalId: id },
        now,
      });
      await withdrawRequestsOf(tx, { mailId: id }, now);
    }
    await settleTransactional(tx, { id, token, state: 'rejected', code, now });
  });
}

/** Settles a mail of which the engine knows that it was dealt with, and the ledger does not, since it comes from a backup. */
export async function settleLost(db: Db, id: string, state: SettledState, now: Date): Promise<void> {
  const lost = { state, code: 'restored', providerId: null, now };
  await settleWhere(db, [id], sql`state in ('queued', 'claimed', 'handing_over')`, lost);
}

/** Ends a mail that somebody has cancelled in the engine, unless it is past the gate. @returns its state afterwards */
export async function abandonTransactional(db: Db, id: string, now: Date): Promise<TransactionalState> {
  await settleWhere(db, [id], sql`state in ('queued', 'claimed')`, {
    state: 'rejected',
    code: 'cancelled',
    providerId: null,
    now,
  });
  return (await findTransactional(db, id)).state;
}

// ---- starting --------------------------------------------------------------------------------------------------------

/** A mail whose workflow may be started, with what its way through the engine depends on. */
export interface StartableTransactional {
  transactionalId: string;
  stream: MailStream;
  priority: number;
  fairnessKey: string;
}

/** @returns null when it is settled */
export async function startableTransactional(db: Db, id: string): Promise<StartableTransactional | null> {
  const row = await db
    .selectFrom('transactional')
    .select(['id', 'stream', 'priority', 'fairness_key', 'state'])
    .where('id', '=', id)
    .executeTakeFirst();
  if (row === undefined || isSettled(row.state)) return null;
  return { transactionalId: row.id, stream: row.stream, priority: row.priority, fairnessKey: row.fairness_key };
}

/**
 * Mail whose workflow was never started, and mail that should have been dealt with long ago, whatever became of its
 * workflow; leased to the caller.
 *
 * @param graceMs how long past its time a started mail may be
 */
export async function leaseTransactional(
  db: Db,
  limit: number,
  leaseMs: number,
  graceMs: number,
): Promise<StartableTransactional[]> {
  const result = await sql<StartableTransactional>`
    update transactional set
      leased_until = now() + (case when started_at is null then ${leaseMs}::bigint else ${WATCH_AGAIN_MS}::bigint end)
                             * interval '1 millisecond'
    where id in (
      select id from transactional
      where state in ('queued', 'claimed', 'handing_over') and (leased_until is null or leased_until < now())
        and (started_at is null
             or greatest(started_at, not_before) < now() - ${graceMs} * interval '1 millisecond')
      -- However many forms are sent in: invoices come before what those ask for (promise P8).
      order by stream = 'requested', priority, created_at limit ${limit} for update skip locked
    )
    returning id as "transactionalId", stream, priority, fairness_key as "fairnessKey"`.execute(db);
  return result.rows;
}

/** Stamps mails whose workflow is known to run. */
export async function markTransactionalStarted(db: Db | Tx, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  await sql`
    update transactional set
      leased_until = case when started_at is null then null else leased_until end,
      started_at = coalesce(started_at, now())
    where id = any(${ids}::uuid[])`.execute(db);
}

/** Erases the addresses of mail that was settled so long ago (ms) that no bounce will come any more. */
export async function forgetTransactionalAddresses(db: Db, olderThanMs: number): Promise<void> {
  await sql`
    update transactional set email = null, address_hash = null
    where (email is not null or address_hash is not null) and settled_at < now() - ${olderThanMs} * interval '1 millisecond'`.execute(
    db,
  );
}

function isSettled(state: TransactionalState): state is SettledState {
  return state === 'accepted' || state === 'rejected' || state === 'deferred' || state === 'unknown';
}
