import { sql } from 'kysely';
import { type AddressKey, hashAddress } from '../domain/address-hash';
import { normaliseAddress, parseAddress } from '../domain/addresses';
import type { KnownThread, MatchedBy } from '../domain/inbound';
import type { Clues, MailOfOurs } from '../domain/inbound-actions';
import type { Db, Tx } from './client';
import type { TransactionalKind } from './schema';

/** What a received message was matched to. */
export interface Match {
  mail: MailOfOurs | null;
  by: MatchedBy | null;
  /** By a token that we signed. */
  proven: boolean;
  enrollmentId: string | null;
  campaignId: string | null;
  leadId: string | null;
  /** Of the mail that it speaks of; null where that is not known. */
  step: number | null;
  copy: number | null;
  transactionalId: string | null;
  /** The address that we mail: of the lead, or of a transactional mail. */
  addressHash: string | null;
  /** The message came from that very address. */
  fromLead: boolean;
  /** We have written to its sender. */
  knownSender: boolean;
  /** A token of ours names an enrollment that is no more. */
  gone: boolean;
  /** As `hashAddress` returns them, of From; empty without a usable one. */
  senderHashes: readonly string[];
}

/** Shorter ids, such as Postfix's, come back for other mails sooner or later. */
const SHORTEST_LOCAL_PART = 16;
const MOST_IDS = 100;
const MOST_SENDERS = 5;

/**
 * Finds the mail of ours that a received message speaks of, strongest first: a token that we signed, an id that a provider
 * gave our mail, the sender's address. By address it is the open enrollment whose last mail is the most recent; else the
 * one that ended last.
 */
export async function matchInbound(db: Db | Tx, clues: Clues, keys: readonly AddressKey[]): Promise<Match> {
  const senders = sendersOf(clues, keys);
  const byOurToken = await byToken(db, clues);
  const found =
    (await byLeadInStaffThread(db, byOurToken, senders)) ??
    byOurToken ??
    (await byProviderId(db, clues.messageIds)) ??
    (await byAddress(db, senders)) ??
    NOTHING;
  return {
    ...found,
    gone: byOurToken === null && clues.proven !== null,
    senderHashes: senders.slice(0, keys.length),
    fromLead: found.addressHash !== null && senders.includes(found.addressHash),
    knownSender: found.by === 'address' || (senders.length > 0 && (await isKnown(db, senders))),
  };
}

/** The same as what the classification needs to know. */
export async function knownThread(db: Db, clues: Clues, keys: readonly AddressKey[]): Promise<KnownThread> {
  const { enrollmentId, by, knownSender } = await matchInbound(db, clues, keys);
  return { enrollmentId, by: enrollmentId === null ? null : by, knownSender };
}

type Found = Omit<Match, 'fromLead' | 'knownSender' | 'gone' | 'senderHashes'>;

const NOTHING: Found = {
  mail: null,
  by: null,
  proven: false,
  enrollmentId: null,
  campaignId: null,
  leadId: null,
  step: null,
  copy: null,
  transactionalId: null,
  addressHash: null,
};

/** Salespeople answer a forward to the lead, and the lead answers that: the thread is ours, its sender is the lead. */
async function byLeadInStaffThread(
  db: Db | Tx,
  found: Found | null,
  senders: readonly string[],
): Promise<Found | null> {
  if (found?.mail !== 'forward' || found.by !== 'references') return null;
  return await byAddress(db, senders);
}

function sendersOf(clues: Clues, keys: readonly AddressKey[]): string[] {
  return clues.senders.slice(0, MOST_SENDERS).flatMap((sender) => {
    const parsed = parseAddress(sender);
    return 'address' in parsed ? hashAddress(normaliseAddress(parsed.address), keys) : [];
  });
}

async function byToken(db: Db | Tx, { proven }: Clues): Promise<Found | null> {
  if (proven === null) return null;
  const { ref, by } = proven;
  const base: Found = { ...NOTHING, by, proven: true };
  if (ref.kind === 'test') return { ...base, mail: 'test' };
  if (ref.kind === 'transactional') return await transactional(db, ref.id, base);
  const row = await enrollment(db, ref.id);
  // Erased meanwhile; its sender may have asked anew.
  if (row === undefined) return null;
  return { ...base, ...row, mail: 'enrollment', step: ref.step, copy: ref.copy };
}

async function transactional(db: Db | Tx, id: string, base: Found): Promise<Found | null> {
  const row = await db
    .selectFrom('transactional')
    .select(['id', 'kind', 'address_hash'])
    .where('id', '=', id)
    .executeTakeFirst();
  if (row === undefined) return null;
  return { ...base, mail: ofOurs(row.kind), transactionalId: row.id, addressHash: row.address_hash };
}

/** A mail that was asked for by a page is about a request, not about an order. */
export function ofOurs(kind: TransactionalKind): MailOfOurs {
  return kind === 'confirmation' || kind === 'link' ? 'page' : kind;
}

async function enrollment(db: Db | Tx, id: string) {
  const row = await db
    .selectFrom('enrollment')
    .select(['id as enrollmentId', 'campaign_id as campaignId', 'lead_id as leadId', 'address_hash as addressHash'])
    .where('id', '=', id)
    .executeTakeFirst();
  return row;
}

/** Some providers put an id of their own in place of our Message-ID; their 250 answer told it. */
async function byProviderId(db: Db | Tx, messageIds: readonly string[]): Promise<Found | null> {
  const ids = messageIds.slice(0, MOST_IDS).flatMap((id) => {
    const bare = id.replace(/^<|>$/g, '');
    const local = bare.slice(0, bare.lastIndexOf('@') === -1 ? undefined : bare.lastIndexOf('@'));
    return [`<${bare}>`, bare, ...(local.length >= SHORTEST_LOCAL_PART ? [local] : [])];
  });
  if (ids.length === 0) return null;
  const wanted = sql<string>`any(${ids}::text[])`;
  const message = await db
    .selectFrom('message as m')
    .innerJoin('enrollment as e', 'e.id', 'm.enrollment_id')
    .select(['e.id', 'e.campaign_id', 'e.lead_id', 'e.address_hash', 'm.step', 'm.copy'])
    .where('m.provider_id', '=', wanted)
    .orderBy('m.settled_at', 'desc')
    .executeTakeFirst();
  if (message !== undefined) {
    return {
      ...NOTHING,
      mail: 'enrollment',
      by: 'references',
      enrollmentId: message.id,
      campaignId: message.campaign_id,
      leadId: message.lead_id,
      addressHash: message.address_hash,
      step: message.step,
      copy: message.copy,
    };
  }
  const other = await db
    .selectFrom('transactional')
    .select(['id'])
    .where('provider_id', '=', wanted)
    .orderBy('settled_at', 'desc')
    .executeTakeFirst();
  return other === undefined ? null : await transactional(db, other.id, { ...NOTHING, by: 'references' });
}

async function byAddress(db: Db | Tx, hashes: readonly string[]): Promise<Found | null> {
  if (hashes.length === 0) return null;
  const row = await db
    .selectFrom('enrollment as e')
    .select((eb) => [
      'e.id',
      'e.campaign_id',
      'e.lead_id',
      'e.address_hash',
      eb
        .selectFrom('message as m')
        .select((inner) => inner.fn.max('m.first_claimed_at').as('at'))
        .whereRef('m.enrollment_id', '=', 'e.id')
        .as('mailed_at'),
    ])
    .where('e.address_hash', '=', sql<string>`any(${hashes}::text[])`)
    .orderBy(sql`e.outcome is null`, 'desc')
    .orderBy('mailed_at', (order) => order.desc().nullsLast())
    .orderBy('e.enrolled_at', 'desc')
    .limit(1)
    .executeTakeFirst();
  if (row === undefined) return null;
  return {
    ...NOTHING,
    mail: 'enrollment',
    by: 'address',
    enrollmentId: row.id,
    campaignId: row.campaign_id,
    leadId: row.lead_id,
    addressHash: row.address_hash,
  };
}

async function isKnown(db: Db | Tx, hashes: readonly string[]): Promise<boolean> {
  const row = await db
    .selectFrom('lead')
    .select('id')
    .where('address_hash', '=', sql<string>`any(${hashes}::text[])`)
    .executeTakeFirst();
  return row !== undefined;
}
