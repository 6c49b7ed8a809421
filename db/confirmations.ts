import { type SqlBool, sql } from 'kysely';
import { type AddressKey, hashAddress } from '../domain/address-hash';
import { normaliseAddress } from '../domain/addresses';
import { fromOfStep } from '../domain/campaign';
import { type ConfirmationStory, mayAskAgain, type RequestEnd } from '../domain/confirmation';
import { lockAddresses } from './addresses';
import { versionOf } from './campaigns';
import { type Db, inTransaction, type Tx } from './client';
import { enrollIn } from './enrollments';
import { recordEvents } from './events';
import { askedBefore, enrollRequestOf, takesPeople, withdrawRequestsOf } from './form-requests';
import { signalStamp } from './outbox';
import { keepBack } from './request-withdrawal';
import type { FormRequestContent, FormRequestTable } from './schema';
import { type StopResult, stopIn } from './stops';
import { liftSuppressions } from './suppressions';
import {
  enqueueTransactional,
  markTransactionalStarted,
  type StartableTransactional,
  startableTransactional,
} from './transactional';

// The double opt-in of one request: the mails that ask, the page that answers, and its end. The row of `form_request` decides
// everything; the workflow beside it is the clock.

/** A request as its mail and its page tell of it. */
export interface RequestFacts
  extends Pick<
    ConfirmationStory,
    'locale' | 'timeZone' | 'sender' | 'product' | 'askedAt' | 'consents' | 'standing' | 'expiresAt'
  > {
  requestId: string;
  formId: string | null;
  addressHash: string;
  /** As whoever sent the form told; believed only where it is one of `origins`, or ours. */
  page: string | null;
  origins: readonly string[];
}

export type ComposeConfirmation = (
  facts: RequestFacts,
  reminder: boolean,
) => { subject: string; text: string; html: string; locale: string };

export type RequestLook =
  | { kind: 'ended'; state: RequestEnd }
  | {
      kind: 'waits';
      /** Null: none, or no more. */
      remindAt: Date | null;
      expiresAt: Date;
      /** The last mail that asked, while it is not settled. */
      mail: StartableTransactional | null;
    };

/**
 * Does what is due for a request: keeps the mail that asks, once, and its reminder, once; ends it when its time is over, its
 * campaign takes nobody any more, or its person has objected meanwhile. Looking again changes nothing.
 */
export async function lookAtRequest(
  db: Db,
  { requestId, now }: { requestId: string; now: Date },
  compose: ComposeConfirmation,
): Promise<RequestLook> {
  const looked = await inTransaction(db, async (tx) => {
    const row = await lockRequest(tx, requestId);
    if (row === null) return { kind: 'ended', state: 'erased' } as const;
    if (row.state !== 'pending') return { kind: 'ended', state: row.state } as const;
    const state = await endOf(tx, row, now);
    if (state !== null) {
      await end(tx, row, state, now);
      return { kind: 'ended', state } as const;
    }
    return { kind: 'waits', expiresAt: row.expires_at, ...(await ask(tx, row, compose, now)) } as const;
  });
  if (looked.kind === 'ended') return looked;
  const { mailId, ...waits } = looked;
  return { ...waits, mail: await startableTransactional(db, mailId) };
}

/** Ends a request that somebody has cancelled in the engine, unless it has ended. @returns how it has ended */
export async function abandonRequest(db: Db, requestId: string, now: Date): Promise<RequestEnd> {
  return await inTransaction(db, async (tx) => {
    const row = await lockRequest(tx, requestId);
    if (row === null) return 'erased';
    if (row.state !== 'pending') return row.state;
    await end(tx, row, 'withdrawn', now);
    return 'withdrawn';
  });
}

type RequestRow = Pick<
  FormRequestTable,
  | 'id'
  | 'form_id'
  | 'form_version'
  | 'campaign_id'
  | 'address_hash'
  | 'purpose'
  | 'requested_at'
  | 'expires_at'
  | 'remind_at'
> & {
  content: FormRequestContent | null;
  state: 'pending' | 'confirmed' | 'expired' | 'withdrawn';
  mail_id: string | null;
  reminder_id: string | null;
};

const COLUMNS = [
  'id',
  'form_id',
  'form_version',
  'campaign_id',
  'address_hash',
  'content',
  'purpose',
  'state',
  'requested_at',
  'expires_at',
  'remind_at',
  'mail_id',
  'reminder_id',
] as const;

async function readRequest(db: Db | Tx, id: string): Promise<RequestRow | null> {
  const row = await db.selectFrom('form_request').select(COLUMNS).where('id', '=', id).executeTakeFirst();
  return row ?? null;
}

/** Its address first, as everywhere. @param hashes of its address under all keys, where they are known */
async function lockRequest(tx: Tx, id: string, hashes?: readonly [string, ...string[]]): Promise<RequestRow | null> {
  const known = await readRequest(tx, id);
  if (known === null || known.state !== 'pending') return known;
  await lockAddresses(tx, [hashes ?? [known.address_hash]]);
  const row = await tx.selectFrom('form_request').select(COLUMNS).where('id', '=', id).forUpdate().executeTakeFirst();
  return row ?? null;
}

async function endOf(tx: Tx, row: RequestRow, now: Date): Promise<'expired' | 'withdrawn' | null> {
  if (row.expires_at <= now) return 'expired';
  if (!(await takesPeople(tx, row.campaign_id))) return 'withdrawn';
  const suppressed = await suppressedSince(tx, row, [row.address_hash], ['objection', 'complaint', 'undeliverable']);
  return suppressed ? 'withdrawn' : null;
}

/** Was the address suppressed after it was asked? Whoever objects now does not want what they asked for before. */
async function suppressedSince(
  tx: Tx,
  row: Pick<RequestRow, 'requested_at' | 'campaign_id'>,
  hashes: readonly string[],
  kinds: readonly string[],
): Promise<boolean> {
  const { rows } = await sql`
    select from suppression
    where address_hash = any(${hashes}::text[]) and lifted_at is null and since > ${row.requested_at}
      and (kind = any(${kinds}::text[]) or kind = 'campaign' and campaign_id = ${row.campaign_id}) limit 1`.execute(tx);
  return rows.length > 0;
}

/** What was sent goes with it, but where it has expired: that is erased some time later (`forgetRequests`). */
async function end(tx: Tx, row: RequestRow, state: 'expired' | 'withdrawn', now: Date): Promise<void> {
  await keepBack(tx, [row.mail_id, row.reminder_id], now);
  await tx
    .updateTable('form_request')
    .set({ state, ended_at: now, ...(state === 'expired' ? {} : { content: null }) })
    .where('id', '=', row.id)
    .execute();
}

async function ask(
  tx: Tx,
  row: RequestRow,
  compose: ComposeConfirmation,
  now: Date,
): Promise<{ mailId: string; remindAt: Date | null }> {
  if (row.mail_id === null) {
    const mailId = await keepMail(tx, row, compose, false);
    await tx.updateTable('form_request').set({ mail_id: mailId }).where('id', '=', row.id).execute();
    return { mailId, remindAt: row.remind_at };
  }
  if (row.reminder_id !== null) return { mailId: row.reminder_id, remindAt: null };
  if (row.remind_at === null || row.remind_at > now) return { mailId: row.mail_id, remindAt: row.remind_at };
  if (!(await mayRemind(tx, row.mail_id, row.address_hash, now))) {
    await tx.updateTable('form_request').set({ remind_at: null }).where('id', '=', row.id).execute();
    return { mailId: row.mail_id, remindAt: null };
  }
  const mailId = await keepMail(tx, row, compose, true);
  // Other mails are counted from when this one was kept, not from when it was planned.
  await tx.updateTable('form_request').set({ reminder_id: mailId, remind_at: now }).where('id', '=', row.id).execute();
  return { mailId, remindAt: null };
}

/** One whose first mail is still on its way, or never arrived, needs no second. */
async function mayRemind(tx: Tx, mailId: string, addressHash: string, now: Date): Promise<boolean> {
  const mail = await tx.selectFrom('transactional').select('state').where('id', '=', mailId).executeTakeFirst();
  if (mail?.state !== 'accepted' && mail?.state !== 'unknown') return false;
  const [address] = await lockAddresses(tx, [[addressHash]]);
  const complained = address?.suppressed_reason === 'complaint';
  return mayAskAgain(await askedBefore(tx, [addressHash], now), { complained, onlyOf: null, now });
}

async function keepMail(tx: Tx, row: RequestRow, compose: ComposeConfirmation, reminder: boolean): Promise<string> {
  const { email } = contentOf(row);
  const { facts, from, replyTo } = await factsOf(tx, row);
  const id = await enqueueTransactional(tx, {
    kind: 'confirmation',
    // Without the name: whoever typed the address could make our mail say anything.
    to: { email },
    hashes: [row.address_hash],
    from,
    replyTo,
    ...compose(facts, reminder),
  });
  // Its workflow is started by the request's.
  await markTransactionalStarted(tx, [id]);
  return id;
}

function contentOf(row: RequestRow): FormRequestContent {
  if (row.content === null) throw new Error('a request that waits has lost its content');
  return row.content;
}

async function factsOf(db: Db | Tx, row: RequestRow) {
  const content = contentOf(row);
  const { definition } = await latestOf(db, row.campaign_id);
  const { sender } = definition;
  const form = await db
    .selectFrom('form_version')
    .select('definition')
    .where('form_id', '=', row.form_id)
    .where('version', '=', row.form_version)
    .executeTakeFirst();
  const facts: RequestFacts = {
    requestId: row.id,
    formId: row.form_id,
    addressHash: row.address_hash,
    locale: content.locale ?? definition.locale,
    timeZone: content.timeZone ?? definition.timeZone,
    sender: { ...sender, taxId: sender.taxId ?? null },
    product: definition.product.name,
    askedAt: askedAtOf(row),
    page: content.source.page ?? null,
    origins: form?.definition.origins ?? [],
    consents: content.consents.map((consent) => consent.text),
    standing: row.purpose === 'lift' ? await standingOf(db, row.address_hash) : null,
    expiresAt: row.expires_at,
  };
  return { facts, from: fromOfStep(sender, 0), replyTo: sender.replyTo };
}

function askedAtOf(row: RequestRow): Date {
  const { askedAt: at } = contentOf(row);
  return at === undefined ? row.requested_at : new Date(at);
}

async function latestOf(db: Db | Tx, campaignId: string) {
  const { latest_version } = await db
    .selectFrom('campaign')
    .select('latest_version')
    .where('id', '=', campaignId)
    .executeTakeFirstOrThrow();
  return await versionOf(db, campaignId, latest_version ?? 0);
}

async function standingOf(db: Db | Tx, hash: string): Promise<'unsubscribed' | 'undeliverable'> {
  const row = await db
    .selectFrom('address')
    .select(sql<boolean>`suppressed_at is not null or suppressed_campaigns <> '{}'`.as('left'))
    .where('hash', '=', hash)
    .executeTakeFirst();
  return row?.left === false ? 'undeliverable' : 'unsubscribed';
}

// ---- the page --------------------------------------------------------------------------------------------------------

/** What the page of a link shows. */
export type LinkView = {
  /** Of the newest request of the same person for the same thing, where the link's own was replaced by it. */
  requestId: string;
  company: string;
  product: string;
  formId: string | null;
} & (
  | { state: 'pending'; facts: RequestFacts /** Names what was shown, for `confirmRequest`. */; shown: string }
  | { state: 'confirmed' | 'expired' | 'withdrawn' }
);

/** @returns null when nothing is known of the request any more */
export async function viewLink(db: Db, linkedId: string, now: Date): Promise<LinkView | null> {
  const row = await followed(db, linkedId);
  if (row === null) return null;
  const { definition } = await latestOf(db, row.campaign_id);
  const base = {
    requestId: row.id,
    company: definition.sender.legalName,
    product: definition.product.name,
    formId: row.form_id,
  };
  if (row.state !== 'pending') return { ...base, state: row.state };
  if (row.expires_at <= now) return { ...base, state: 'expired' };
  const { facts } = await factsOf(db, row);
  return { ...base, state: 'pending', facts, shown: askedAtOf(row).toISOString() };
}

/** Who has asked twice has two mails, and whichever they open, it is about what they asked last. */
async function followed(db: Db, id: string): Promise<RequestRow | null> {
  const row = await readRequest(db, id);
  if (row?.state !== 'withdrawn' || row.address_hash === '') return row;
  const newer = await db
    .selectFrom('form_request')
    .select(COLUMNS)
    .where('address_hash', '=', row.address_hash)
    .where('campaign_id', '=', row.campaign_id)
    .where('requested_at', '>', row.requested_at)
    .orderBy('requested_at', 'desc')
    .executeTakeFirst();
  return newer ?? row;
}

export interface Confirming {
  requestId: string;
  /** What the page had shown (`LinkView`): nothing else is confirmed. */
  shown: string;
  ip: string | null;
  userAgent: string | null;
  now: Date;
}

export type Confirmed =
  | { kind: 'confirmed'; enrollmentId: string; isNew: boolean }
  /** Something else was asked meanwhile: the page must show it first. */
  | { kind: 'changed' }
  | { kind: 'ended'; state: RequestEnd };

/**
 * Confirms a request, once, in one transaction: what stood against the address when it was asked is lifted where the request
 * was about that, the lead is enrolled with the consents that they gave and with how they confirmed, and what they had
 * sent is erased from the request. Whatever else it may be, a confirmation proves that the address works.
 */
export async function confirmRequest(
  db: Db,
  deps: { addressKeys: readonly AddressKey[]; timeFactor: number },
  confirming: Confirming,
): Promise<Confirmed> {
  const { requestId, shown, now } = confirming;
  return await inTransaction(db, async (tx): Promise<Confirmed> => {
    const known = await readRequest(tx, requestId);
    if (known === null) return { kind: 'ended', state: 'erased' };
    if (known.state !== 'pending') return { kind: 'ended', state: known.state };
    const hashes = hashAddress(normaliseAddress(contentOf(known).email), deps.addressKeys);
    const row = await lockRequest(tx, requestId, hashes);
    if (row === null) return { kind: 'ended', state: 'erased' };
    if (row.state !== 'pending') return { kind: 'ended', state: row.state };
    if (row.expires_at <= now) return { kind: 'ended', state: 'expired' };
    if (askedAtOf(row).toISOString() !== shown) return { kind: 'changed' };
    const wanted =
      (await takesPeople(tx, row.campaign_id)) && !(await suppressedSince(tx, row, hashes, ['objection', 'complaint']));
    if (wanted) await lift(tx, row, hashes, now);
    const enrolled = wanted ? await enrollConfirmed(tx, row, hashes, deps.timeFactor, confirming) : null;
    if (enrolled === null) {
      await end(tx, row, 'withdrawn', now);
      await tell(tx, row.id, now);
      return { kind: 'ended', state: 'withdrawn' };
    }
    await tx
      .updateTable('form_request')
      .set({ state: 'confirmed', ended_at: now, content: null, enrollment_id: enrolled.enrollmentId })
      .where('id', '=', row.id)
      .execute();
    await tell(tx, row.id, now);
    return { kind: 'confirmed', ...enrolled };
  });
}

async function lift(tx: Tx, row: RequestRow, hashes: [string, ...string[]], now: Date): Promise<void> {
  const lifting = { hashes, because: `double opt-in ${row.id}`, now };
  await liftSuppressions(tx, { ...lifting, by: 'proof-of-life', kinds: ['undeliverable'] });
  if (row.purpose === 'opt-in') return;
  const kinds = ['objection', 'complaint', 'campaign'] as const;
  await liftSuppressions(tx, { ...lifting, by: 'person', kinds, campaignId: row.campaign_id });
}

async function enrollConfirmed(
  tx: Tx,
  row: RequestRow,
  hashes: [string, ...string[]],
  timeFactor: number,
  { ip, userAgent, now }: Confirming,
): Promise<{ enrollmentId: string; isNew: boolean } | null> {
  const request = enrollRequestOf(contentOf(row), {
    hashes,
    formId: row.form_id,
    formVersion: row.form_version,
    askedAt: askedAtOf(row),
    confirmation: { requestId: row.id, at: now, ip, userAgent },
  });
  const [result] = await enrollIn(tx, [request], {
    campaignId: row.campaign_id,
    now,
    priority: 2,
    via: `form:${row.form_id}`,
    asksInPerson: true,
    timeFactor,
  });
  // Something stands against it that came by another way than a stop, such as a journal that was replayed.
  if (result === undefined || result.kind === 'refused') return null;
  const { enrollmentId, leadId } = result;
  const detail = { requestId: row.id };
  await recordEvents(tx, [{ at: now, leadId, enrollmentId, kind: 'confirmed', detail }]);
  return { enrollmentId, isNew: result.kind === 'created' };
}

/** Stamps that the request's workflow must be told how it ended. */
async function tell(tx: Tx, id: string, now: Date): Promise<void> {
  await tx
    .updateTable('form_request')
    .set({ signal_at: signalStamp(now) })
    .where('id', '=', id)
    .execute();
}

/**
 * "Don't write to me again": an objection, and whatever the address was asked to confirm is withdrawn. It works for good,
 * also when nothing else is known of the request.
 *
 * @returns what it has stopped, and the requests, for `Journeys.startConfirmations`
 */
export async function objectByLink(
  db: Db,
  { addressHash, now }: { addressHash: string; now: Date },
): Promise<StopResult & { requests: string[] }> {
  return await inTransaction(db, async (tx) => {
    await lockAddresses(tx, [[addressHash]]);
    // Before the stop, which withdraws them too, and does not say which.
    const requests = await withdrawRequestsOf(tx, { hashes: [addressHash] }, now);
    const result = await stopIn(tx, {
      who: { hashes: [addressHash] },
      outcome: 'unsubscribed',
      suppress: 'objection',
      detail: { by: 'confirmation', via: 'page' },
      now,
    });
    return { ...result, requests };
  });
}

// ---- forgetting ------------------------------------------------------------------------------------------------------

/**
 * Erases what was never confirmed, some time after it expired, and makes ended requests nobody's: their rows stay, for the
 * counts, without anything of the person. The keyed hash stays for as long as it takes to hold that nobody is asked often.
 *
 * @param keptUntil what had expired by then goes
 * @param countedSince what was asked before then does not count any more
 */
export async function forgetRequests(
  db: Db,
  { keptUntil, countedSince, now }: { keptUntil: Date; countedSince: Date; now: Date },
): Promise<void> {
  await sql`
    update form_request set content = null,
      state = case when state = 'pending' then 'expired' else state end, ended_at = coalesce(ended_at, ${now})
    where content is not null and expires_at < ${keptUntil}`.execute(db);
  const { rows } = await sql<{ hash: string }>`
    with nobodys as (
      select id, address_hash from form_request
      where address_hash <> '' and content is null and expires_at < ${keptUntil}
        and greatest(requested_at, remind_at) < ${countedSince}
      limit ${MOST_AT_ONCE} for update skip locked
    )
    update form_request r set address_hash = '' from nobodys n where r.id = n.id
    returning n.address_hash as hash`.execute(db);
  await forgetAddresses(
    db,
    rows.map((row) => row.hash),
  );
}

const MOST_AT_ONCE = 10_000;

/** An address of which nothing is known but its hash goes too. */
async function forgetAddresses(db: Db, hashes: readonly string[]): Promise<void> {
  if (hashes.length === 0) return;
  const theirs = sql<string>`any(${[...new Set(hashes)]}::text[])`;
  await inTransaction(db, async (tx) => {
    const locked = await tx
      .selectFrom('address')
      .select('hash')
      .where('hash', '=', theirs)
      .orderBy('hash')
      .forUpdate()
      .execute();
    // With a snapshot of its own: whoever was enrolled while this waited for the locks is seen.
    await tx
      .deleteFrom('address')
      .where('hash', '=', sql<string>`any(${locked.map((row) => row.hash)}::text[])`)
      .where(
        sql<SqlBool>`suppressed_at is null and undeliverable_at is null and excluded_at is null and suppressed_campaigns = '{}'
          and not exists (select from lead l where l.address_hash = address.hash)
          and not exists (select from enrollment e where e.address_hash = address.hash)
          and not exists (select from purchase p where p.address_hash = address.hash)
          and not exists (select from soft_bounce b where b.address_hash = address.hash)
          and not exists (select from form_request r where r.address_hash = address.hash)`,
      )
      .execute();
  });
}
