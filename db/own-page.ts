import { randomUUID } from 'node:crypto';
import { type SqlBool, sql } from 'kysely';
import { DateTime } from 'luxon';
import { type CampaignDefinition, fromOfStep } from '../domain/campaign';
import { type Db, inTransaction, type Tx } from './client';
import { recordEvents } from './events';
import { answerPrivacyRequest, keepPrivacyRequest } from './privacy-requests';
import { snoozeIn } from './reopening';
import { definitionBehind } from './senders';
import { enqueueTransactional } from './transactional';

/** Whose page it is. */
export interface PageLead {
  id: string;
  /** Their own choice of language, BCP 47. */
  locale: string | null;
}

/** The lead whose address has this hash; null once erased. */
export async function leadOfPage(db: Db, addressHash: string): Promise<PageLead | null> {
  const lead = await db
    .selectFrom('lead')
    .select(['id', 'locale'])
    .where('address_hash', '=', addressHash)
    .where('erased_at', 'is', null)
    .executeTakeFirst();
  return lead ?? null;
}

export interface Rest {
  /** What rests, for `Journeys.tell`. */
  enrollmentIds: string[];
  /** Nothing of it is sent before. */
  until: Date;
  /** The person's. */
  timeZone: string;
  /** Something was past the gate at that moment, and may still arrive. */
  hasInFlight: boolean;
}

/**
 * Lets all that the person is enrolled in rest for so many calendar months. The information that they asked for is not held
 * back: nothing but further mail rests.
 */
export async function restAll(
  db: Db,
  leadId: string,
  months: number,
  { timeFactor, now }: { timeFactor: number; now: Date },
): Promise<Rest> {
  return await inTransaction(db, async (tx) => {
    const rows = await tx
      .selectFrom('enrollment as e')
      .innerJoin('lead as l', 'l.id', 'e.lead_id')
      .select(['e.id', 'l.time_zone'])
      .where('e.lead_id', '=', leadId)
      .where('e.outcome', 'is', null)
      .where('e.step', '>', 0)
      .orderBy('e.id')
      .forNoKeyUpdate('e')
      .execute();
    const timeZone = rows[0]?.time_zone ?? 'UTC';
    const planned = DateTime.fromJSDate(now, { zone: timeZone }).plus({ months }).toMillis() - now.getTime();
    const until = new Date(now.getTime() + planned / timeFactor);
    let hasInFlight = false;
    for (const { id } of rows) {
      const { inFlight } = await snoozeIn(tx, { enrollmentId: id, until, via: 'own-page', timeFactor, now });
      hasInFlight ||= inFlight.length > 0;
    }
    return { enrollmentIds: rows.map((row) => row.id), until, timeZone, hasInFlight };
  });
}

/** Changes the language of the person's pages and mails. */
export async function changeLanguage(db: Db, leadId: string, locale: string, now: Date): Promise<void> {
  await inTransaction(db, async (tx) => {
    const changed = await tx
      .updateTable('lead')
      .set({ locale, updated_at: now })
      .where('id', '=', leadId)
      .where('erased_at', 'is', null)
      .where((eb) => eb.or([eb('locale', 'is', null), eb('locale', '!=', locale)]))
      .returning('id')
      .executeTakeFirst();
    if (changed === undefined) return;
    const detail = { locale, via: 'own-page' };
    await recordEvents(tx, [{ at: now, leadId, enrollmentId: null, kind: 'language-changed', detail }]);
  });
}

// ---- links to the address on file ------------------------------------------------------------------------------------

/** What takes a fresh link: to see what is kept, or to be erased. */
export type LinkKind = 'access' | 'erasure';

/** A link is worth something for this long (ms), and no other of its kind is mailed meanwhile. */
export const LINK_MS = 60 * 60_000;

export interface LinkMail {
  linkId: string;
  kind: LinkKind;
  expiresAt: Date;
  sender: CampaignDefinition['sender'];
}

export interface LinkWish {
  leadId: string;
  kind: LinkKind;
  /** Of the page, and of the mail. */
  locale: string;
  /** Whose mail the page was opened from; their sender writes. */
  campaignId: string;
  enrollmentId: string;
  hashesOf: (email: string) => [string, ...string[]];
  compose: (mail: LinkMail) => { subject: string; text: string; html: string };
  now: Date;
}

/**
 * Enters what the holder of a mail's link wishes, and mails a fresh link to the address on file (GDPR, art. 12.6): whoever
 * was forwarded the mail gets nothing by it. At most one of a kind is on its way at a time.
 *
 * @returns the mail's id; null when one of its kind was mailed within the hour, or there is nobody to mail
 */
export async function mailLink(db: Db, wish: LinkWish): Promise<string | null> {
  const { leadId, kind, campaignId, enrollmentId, now } = wish;
  return await inTransaction(db, async (tx) => {
    const lead = await tx
      .selectFrom('lead')
      .select(['email', 'name'])
      .where('id', '=', leadId)
      .forUpdate()
      .executeTakeFirst();
    const definition = await definitionBehind(tx, campaignId, enrollmentId);
    if (lead === undefined || lead.email === null || definition === null) return null;
    const recent = await tx
      .selectFrom('privacy_link')
      .select('id')
      .where('lead_id', '=', leadId)
      .where('kind', '=', kind)
      .where('expires_at', '>', now)
      .executeTakeFirst();
    if (recent !== undefined) return null;

    const requestId = await requestOf(tx, wish, definition.timeZone);
    const linkId = randomUUID();
    const expiresAt = new Date(now.getTime() + LINK_MS);
    await tx
      .insertInto('privacy_link')
      .values({ id: linkId, lead_id: leadId, kind, request_id: requestId, created_at: now, expires_at: expiresAt })
      .execute();
    const { sender } = definition;
    return await enqueueTransactional(tx, {
      kind: 'link',
      to: { email: lead.email, name: lead.name },
      hashes: wish.hashesOf(lead.email),
      from: fromOfStep(sender, 0),
      replyTo: sender.replyTo,
      locale: wish.locale,
      ...wish.compose({ linkId, kind, expiresAt, sender }),
    });
  });
}

/** The one that is open, or a new one: asking again does not put off when the answer is due. */
async function requestOf(tx: Tx, { leadId, enrollmentId, kind, now }: LinkWish, timeZone: string): Promise<string> {
  const open = await tx
    .selectFrom('privacy_request')
    .select('id')
    .where('lead_id', '=', leadId)
    .where('kind', '=', kind)
    .where('source', '=', 'page')
    .where('done_at', 'is', null)
    .executeTakeFirst();
  if (open !== undefined) return open.id;
  const enrollment = await tx
    .selectFrom('enrollment')
    .select('id')
    .where('id', '=', enrollmentId)
    .where('lead_id', '=', leadId)
    .executeTakeFirst();
  const kept = await keepPrivacyRequest(tx, {
    inboundId: null,
    source: 'page',
    leadId,
    enrollmentId: enrollment?.id ?? null,
    kind,
    receivedAt: now,
    timeZone,
  });
  if (kept === null) throw new Error('a request without a message is always new');
  const detail = { request: kind, requestId: kept.id, dueAt: kept.dueAt };
  await recordEvents(tx, [{ at: now, leadId, enrollmentId: enrollment?.id ?? null, kind: 'privacy-request', detail }]);
  return kept.id;
}

export interface OpenLink {
  id: string;
  leadId: string;
  kind: LinkKind;
  requestId: string;
  locale: string | null;
}

/** A link that can still be used; null when it was, when its hour is over, or when the lead is gone. */
export async function findLink(db: Db, linkId: string, now: Date): Promise<OpenLink | null> {
  const row = await db
    .selectFrom('privacy_link as k')
    .innerJoin('lead as l', 'l.id', 'k.lead_id')
    .select(['k.id', 'k.lead_id as leadId', 'k.kind', 'k.request_id as requestId', 'l.locale'])
    .where('k.id', '=', linkId)
    .where('k.used_at', 'is', null)
    .where('k.expires_at', '>', now)
    .where('l.erased_at', 'is', null)
    .executeTakeFirst();
  return row ?? null;
}

/** Uses a link up, and notes that what was asked is done. @returns false when somebody else was faster */
export async function useLink(db: Db, link: OpenLink, now: Date): Promise<boolean> {
  return await inTransaction(db, async (tx) => {
    const used = await tx
      .updateTable('privacy_link')
      .set({ used_at: now })
      .where('id', '=', link.id)
      .where('used_at', 'is', null)
      .where('expires_at', '>', now)
      .returning('id')
      .executeTakeFirst();
    if (used === undefined) return false;
    await answerPrivacyRequest(tx, link.requestId, 'done', now);
    return true;
  });
}

/** Answers requests by a page whose link nobody has used in its hour: whoever asked did not prove who they are. */
export async function closeUnconfirmedRequests(db: Db, now: Date): Promise<void> {
  await db
    .updateTable('privacy_request as r')
    .set({ done_at: now, answer: 'not-confirmed' })
    .where('r.source', '=', 'page')
    .where('r.done_at', 'is', null)
    .where(
      sql<SqlBool>`exists (select from privacy_link k where k.request_id = r.id)
        and not exists (select from privacy_link k where k.request_id = r.id and k.expires_at > ${now})`,
    )
    .execute();
}
