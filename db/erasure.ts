import { type KeyObject, randomUUID } from 'node:crypto';
import { type SqlBool, sql } from 'kysely';
import { type AddressKey, hashAddress } from '../domain/address-hash';
import { normaliseAddress, providerOf } from '../domain/addresses';
import { evidenceText } from '../domain/evidence-document';
import { fingerprintOf, mentionsIn } from '../domain/mentions';
import { Problem } from '../domain/problem';
import { sealEvidence } from '../domain/sealing';
import { type Actor, recordAudit } from './audit';
import { type Db, inTransaction, type Tx } from './client';
import { recordEvents } from './events';
import { evidenceDocument, removeEvidence } from './evidence';
import { noteForJournal } from './journal';
import { handingOver, type InFlight, stopIn } from './stops';

export interface Erasure {
  leadId: string;
  /** Who wants it: our staff, the person by their own page or by a mail that was confirmed, the end of the retention, a replay. */
  by: 'staff' | 'person' | 'reply' | 'retention' | 'journal';
  /** What must be kept to defend a claim is sealed to this key (X25519); null: nothing is kept. */
  sealTo: KeyObject | null;
  /** How long what is sealed is kept after the last marketing mail or withdrawal, ISO 8601. */
  sealedFor: string;
  /** Signs the evidence document before it is sealed (`evidenceSigningKey`). */
  signingKey: KeyObject;
  addressKeys: readonly AddressKey[];
  /** Whose doing it is, for the audit log; not written there where it is left out. */
  actor?: Actor;
  now: Date;
}

export interface Erased {
  /** False when it had been done before. */
  erased: boolean;
  /** Evidence was sealed and is kept. */
  sealed: boolean;
  /** Enrollments that have ended by it; `Journeys.tell` them. */
  stopped: string[];
  /** Messages that were past the gate at this moment: the only ones that may still arrive (promise P2). */
  inFlight: InFlight[];
}

/**
 * Erases a person (GDPR, art. 17): stops everything, seals the evidence, removes the person everywhere, in one transaction;
 * doing it again changes nothing. What stays is a shell without anything of them, so that every count is what it was, and a
 * suppression where they had objected. Locks come in the order of all others, after those of received mail, as there.
 *
 * @throws Problem `not-found`
 */
export async function eraseLead(db: Db, erasure: Erasure): Promise<Erased> {
  return await eraseLeadIf(db, erasure, async () => true);
}

/** `eraseLead`, if this still holds once nobody can enroll the person any more. @throws Problem `not-found` */
export async function eraseLeadIf(db: Db, erasure: Erasure, still: (tx: Tx) => Promise<boolean>): Promise<Erased> {
  const { leadId } = erasure;
  const lead = await db.selectFrom('lead').select(['email', 'erased_at']).where('id', '=', leadId).executeTakeFirst();
  if (lead === undefined) throw new Problem('not-found', `there is no lead ${leadId}`);
  // Whoever asks again, because no answer reached them, is told of the same message as long as it is on its way.
  if (lead.erased_at !== null || lead.email === null) return await nothingDone(db, leadId);
  await readUnread(db);
  return await inTransaction(db, (tx) => eraseIn(tx, erasure, still));
}

async function nothingDone(db: Db | Tx, leadId: string): Promise<Erased> {
  const inFlight = await handingOver(db, sql<SqlBool>`enrollment.lead_id = ${leadId}`);
  return { erased: false, sealed: false, stopped: [], inFlight };
}

/** Who is erased, with all that may tell of them in a text. */
interface Person {
  leadId: string;
  /** Under every key, newest first. */
  hashes: [string, ...string[]];
  /** Spellings of the address, in lower case. */
  addresses: string[];
  fingerprints: string[];
  /** Parts of the name, and what forms and files have told. */
  words: string[];
}

async function eraseIn(tx: Tx, erasure: Erasure, still: (tx: Tx) => Promise<boolean>): Promise<Erased> {
  const { leadId, by, now } = erasure;
  const person = await personOf(tx, erasure);
  if (person === null) return await nothingDone(tx, leadId);
  const received = await lockReceived(tx, person);
  await tx
    .selectFrom('address')
    .select('hash')
    .where('hash', '=', anyOf(person.hashes))
    .orderBy('hash')
    .forUpdate()
    .execute();
  // Somebody may have been faster, or may have changed the address, while this waited.
  const fresh = await personOf(tx, erasure, true);
  if (fresh === null || !(await still(tx))) return await nothingDone(tx, leadId);
  const { stopped, inFlight } = await stopIn(tx, {
    who: { leadId },
    outcome: 'erased',
    replayed: by === 'journal',
    detail: { by: 'erasure' },
    now,
  });
  const sealed = await seal(tx, erasure, fresh);
  await removeEvidence(tx, leadId);
  await eraseReceived(tx, received, now);
  await eraseRequests(tx, fresh);
  await eraseMails(tx, fresh, received, now);
  await eraseAnswers(tx, fresh);
  await eraseJourneys(tx, fresh);
  await tx
    .updateTable('lead')
    .set({
      email: null,
      address_hash: null,
      name: '',
      locale: null,
      time_zone: null,
      attributes: '{}',
      updated_at: now,
      erased_at: now,
    })
    .where('id', '=', leadId)
    .execute();
  await eraseAddress(tx, fresh);
  // Who asked for this has got it.
  await tx
    .updateTable('privacy_request')
    .set({ done_at: now, answer: 'done' })
    .where('lead_id', '=', leadId)
    .where('kind', 'in', ['erasure', 'objection'])
    .where('done_at', 'is', null)
    .execute();
  await tx.deleteFrom('event').where('lead_id', '=', leadId).execute();
  await recordEvents(tx, [{ at: now, leadId, enrollmentId: null, kind: 'erased', detail: { by, sealed } }]);
  if (erasure.actor !== undefined) {
    await recordAudit(tx, { actor: erasure.actor, action: 'lead.erased', target: leadId, detail: { by, sealed }, now });
  }
  // Told by the journal itself, it need not be told again.
  if (by !== 'journal') await noteForJournal(tx, [{ kind: 'erase', leadId, hashes: fresh.hashes }], now);
  return { erased: true, sealed, stopped: stopped.map((one) => one.enrollmentId), inFlight };
}

/** @returns null once erased */
async function personOf(tx: Tx, { leadId, addressKeys }: Erasure, lock = false): Promise<Person | null> {
  const query = tx.selectFrom('lead').select(['email', 'address_hash', 'name', 'attributes']).where('id', '=', leadId);
  // Not for update: whoever holds an enrollment, which this waits for later, must still be able to add events of the lead.
  const lead = await (lock ? query.forNoKeyUpdate() : query).executeTakeFirst();
  if (lead === undefined || lead.email === null || lead.address_hash === null) return null;
  const normalised = normaliseAddress(lead.email);
  const [newest, ...older] = hashAddress(normalised, addressKeys);
  const told = Object.values(lead.attributes).flatMap((value) =>
    typeof value === 'string' && value.length >= 6 ? [value] : [],
  );
  return {
    leadId,
    // A key that is configured no more has left its hash in the row.
    hashes: [newest, ...new Set([...older, lead.address_hash].filter((hash) => hash !== newest))],
    addresses: [...new Set([lead.email.toLowerCase(), normalised])],
    fingerprints: [fingerprintOf(lead.email)],
    words: [...new Set([...lead.name.split(/[^\p{L}\p{M}\p{N}]+/u).filter((part) => part.length >= 3), ...told])],
  };
}

function anyOf(values: readonly string[]) {
  return sql<string>`any(${values}::text[])`;
}

// ---- received mail ---------------------------------------------------------------------------------------------------

/** So few because each may be 25 MB. */
const READ_AT_ONCE = 5;

/** Notes whom those messages name that were received before such notes were taken. */
async function readUnread(db: Db): Promise<void> {
  for (;;) {
    const rows = await db
      .selectFrom('inbound')
      .select(['id', 'raw'])
      .where('raw', 'is not', null)
      .where('mentions', 'is', null)
      .limit(READ_AT_ONCE)
      .execute();
    for (const { id, raw } of rows) {
      if (raw === null) continue;
      const mentions = mentionsIn(raw);
      await db.updateTable('inbound').set({ mentions }).where('id', '=', id).where('raw', 'is not', null).execute();
    }
    if (rows.length < READ_AT_ONCE) return;
  }
}

/**
 * Locks every received message that is theirs or names their address. Before all other locks: whoever acts upon a message
 * holds it first.
 *
 * @returns their ids
 */
async function lockReceived(tx: Tx, person: Person): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select id from inbound
    where (lead_id = ${person.leadId}::uuid
           -- As an array, so that each of the three finds its index; else all mail is read for every erasure.
           or enrollment_id = any(array(select id from enrollment where lead_id = ${person.leadId}::uuid))
           or mentions && ${person.fingerprints}::bigint[])
    order by id for update`.execute(tx);
  return rows.map((row) => row.id);
}

/**
 * Takes everything that a person wrote, or that names one, out of received messages: what is left says that something came,
 * what it was and what followed. A message that was not looked at yet follows once it was.
 */
export async function eraseReceived(tx: Tx | Db, ids: readonly string[], now: Date): Promise<void> {
  if (ids.length === 0) return;
  const theirs = sql<string>`any(${ids}::uuid[])`;
  await tx
    .updateTable('inbound')
    .set({ erase_when_done: true })
    .where('id', '=', theirs)
    .where('state', '=', 'new')
    .execute();
  await tx
    .updateTable('inbound')
    .set({
      raw: null,
      envelope: null,
      event: null,
      summary: null,
      message_id: null,
      external_id: null,
      mentions: null,
      erase_when_done: false,
      classification: sql`jsonb_set(jsonb_set(classification, '{evidence}', '[]'), '{bounce}',
        case when jsonb_typeof(classification->'bounce') = 'object'
             then classification->'bounce' || '{"recipient": null}' else 'null' end)`,
      // Nobody can judge any more what it was.
      needs_review: false,
      review_until: null,
      decided_at: sql<Date>`case when needs_review then coalesce(decided_at, ${now}) else decided_at end`,
    })
    .where('id', '=', theirs)
    .where('state', '!=', 'new')
    .execute();
}

// ---- mail outside any journey ----------------------------------------------------------------------------------------

/**
 * Mails to the person, and mails to our staff that tell of them. The shop's own that is not settled yet still goes out (an
 * invoice must), and is erased then; what else still waits is not sent any more.
 */
async function eraseMails(tx: Tx, person: Person, received: readonly string[], now: Date): Promise<void> {
  const { rows } = await sql<{ id: string }>`
    select id from transactional
    where address_hash = any(${person.hashes}::text[])
       or email is not null and lower(email) = any(${person.addresses}::text[])
       or inbound_id = any(${received}::uuid[])
       or content is not null and ${holds(sql`lower(content::text)`, person.addresses)}
    order by id for update`.execute(tx);
  await eraseTransactional(
    tx,
    rows.map((row) => row.id),
    now,
  );
}

/** Takes content and address out of mails outside any journey, or has that done once they are settled. */
export async function eraseTransactional(tx: Tx, ids: readonly string[], now: Date): Promise<void> {
  if (ids.length === 0) return;
  const theirs = sql<string>`any(${ids}::uuid[])`;
  await tx
    .updateTable('transactional')
    .set({ state: 'rejected', code: 'erased', settled_at: now, not_before: null })
    .where('id', '=', theirs)
    .where('kind', '!=', 'shop')
    .where('state', 'in', ['queued', 'claimed'])
    .execute();
  await tx
    .updateTable('transactional')
    .set({ erase_when_settled: true })
    .where('id', '=', theirs)
    .where('state', 'in', ['queued', 'claimed', 'handing_over'])
    .execute();
  await tx
    .updateTable('transactional')
    .set({ email: null, address_hash: null, content: null, provider_id: null, erase_when_settled: false })
    .where('id', '=', theirs)
    .where('state', 'not in', ['queued', 'claimed', 'handing_over'])
    .execute();
  await sql`
    delete from transactional_attachment a using transactional t
    where t.id = a.transactional_id and t.id = any(${ids}::uuid[]) and not t.erase_when_settled`.execute(tx);
}

// ---- what was asked for, and what was answered -----------------------------------------------------------------------

async function eraseRequests(tx: Tx, { leadId, hashes }: Person): Promise<void> {
  await tx.deleteFrom('form_request').where('address_hash', '=', anyOf(hashes)).execute();
  await tx.deleteFrom('privacy_link').where('lead_id', '=', leadId).execute();
}

/**
 * An answer that is no longer than this (characters) holds ids and codes, and no name; most are, and need no search. Nor does
 * what holds no address, as it is or in a URL. An index leads to the others (migration 0007, which has the same conditions).
 */
const IDS_ONLY = 200;
const hasAddress = (text: string) => `${text} like '%@%' or ${text} like '%\\%40%'`;
const KEY_WITH_ADDRESS = sql.raw<SqlBool>(`(${hasAddress('key')})`);
const BODY_OF_PERSON = sql.raw<SqlBool>(`(length(body) > ${IDS_ONLY} or ${hasAddress('body')})`);

/**
 * Takes what was remembered of a person's requests to the API out, as statements.
 *
 * @param needles their addresses, in lower case, as they are and as in a URL
 * @param named their names, as regular expressions
 */
export function answersOf(needles: readonly string[], named: readonly string[]) {
  return [
    sql`delete from idempotency where ${KEY_WITH_ADDRESS} and ${holds(sql`lower(key)`, needles)}`,
    // The key stays: many names are common words, and without it somebody else's request, sent again, would be done twice.
    sql`
      update idempotency set body = '{}'
      where ${BODY_OF_PERSON} and (${holds(sql`lower(body)`, needles)}
                                   or length(body) > ${IDS_ONLY} and body ~ any(${named}::text[]))`,
  ];
}

/** What was remembered of a request to the API, of a test that was sent, and of a line of a file. */
async function eraseAnswers(tx: Tx, { addresses, words }: Person): Promise<void> {
  const encoded = addresses.map((address) => encodeURIComponent(address).toLowerCase());
  const needles = [...new Set([...addresses, ...encoded])];
  const named = words.map((word) => {
    const literal = word.replace(/[^\p{L}\p{M}\p{N}\s]/gu, '\\$&');
    return /^[\p{L}\p{N}].*[\p{L}\p{M}\p{N}]$/su.test(word) ? `(?i)\\m${literal}\\M` : `(?i)${literal}`;
  });
  for (const statement of answersOf(needles, named)) await statement.execute(tx);
  await sql`
    update test_send set address = null, lead = null, content = null,
      state = case when state = 'queued' then 'refused' else state end,
      code = case when state = 'queued' then 'erased' else code end
    where address is not null
      and (lower(address) = any(${addresses}::text[]) or ${holds(sql`lower(lead::text)`, addresses)})`.execute(tx);
  // A refusal may name the domain of an address; that of a small firm tells who it was.
  const domains = addresses
    .filter((address) => providerOf(address).startsWith('other-'))
    .map((address) => address.slice(address.lastIndexOf('@') + 1));
  await sql`
    update lead_import_issue set reason = 'this line was about somebody who has been erased'
    where reason like '%.%' and ${holds(sql`lower(reason)`, [...addresses, ...domains])}`.execute(tx);
}

/** Does this text, in lower case, hold one of these? */
function holds(text: ReturnType<typeof sql>, needles: readonly string[]) {
  return sql`exists (select from unnest(${needles}::text[]) as needle where position(needle in ${text}) > 0)`;
}

// ---- journeys, purchases, addresses ----------------------------------------------------------------------------------

async function eraseJourneys(tx: Tx, { leadId, hashes }: Person): Promise<void> {
  await tx.deleteFrom('consent').where('lead_id', '=', leadId).execute();
  await tx.deleteFrom('soft_bounce').where('address_hash', '=', anyOf(hashes)).execute();
  await sql`
    delete from soft_bounce s using enrollment e where e.id = s.enrollment_id and e.lead_id = ${leadId}`.execute(tx);
  await sql`
    update message m set provider_id = null from enrollment e
    where e.id = m.enrollment_id and e.lead_id = ${leadId} and m.provider_id is not null`.execute(tx);
  await tx.updateTable('enrollment').set({ address_hash: null, source: null }).where('lead_id', '=', leadId).execute();
  await tx
    .updateTable('purchase')
    .set({ address_hash: null, soft_opt_in: null })
    .where('address_hash', '=', anyOf(hashes))
    .execute();
}

/** What they objected to stays, under their keyed hash alone; all else that was known of the address goes. */
async function eraseAddress(tx: Tx, { hashes }: Person): Promise<void> {
  const theirs = anyOf(hashes);
  await tx
    .deleteFrom('address')
    .where('hash', '=', theirs)
    .where('suppressed_at', 'is', null)
    .where(sql<boolean>`suppressed_campaigns = '{}'`)
    .execute();
  const kept = await tx
    .updateTable('address')
    .set({ undeliverable_at: null, recent_marketing: '{}' })
    .where('hash', '=', theirs)
    .returning('hash')
    .execute();
  await tx
    .deleteFrom('suppression')
    .where('address_hash', '=', theirs)
    .where((eb) => (kept.length === 0 ? eb.lit(true) : eb('kind', '=', 'undeliverable')))
    .execute();
}

// ---- evidence --------------------------------------------------------------------------------------------------------

/** @returns whether anything is kept */
async function seal(tx: Tx, erasure: Erasure, { leadId, hashes }: Person): Promise<boolean> {
  const { sealTo, sealedFor, signingKey, now } = erasure;
  if (sealTo === null) return false;
  const document = await evidenceDocument(tx, leadId, signingKey, now);
  const sealed = sealEvidence(Buffer.from(evidenceText(document)), sealTo);
  await sql`
    insert into sealed_evidence (id, address_hash, sealed, sealed_at, destroy_at)
    select ${randomUUID()}::uuid, ${hashes[0]}, ${sealed}, ${now}::timestamptz,
           coalesce(greatest(
             (select max(coalesce(m.settled_at, m.handing_over_at)) from message m join enrollment e on e.id = m.enrollment_id
              where e.lead_id = ${leadId} and (m.step > 0 or e.journey = 'buyer')
                and m.state in ('handing_over', 'accepted', 'unknown')),
             (select max(withdrawn_at) from consent where lead_id = ${leadId}),
             (select max(since) from suppression
              where address_hash = any(${hashes}::text[]) and kind in ('objection', 'complaint', 'campaign'))
           ), ${now}::timestamptz) + ${sealedFor}::interval`.execute(tx);
  return true;
}
