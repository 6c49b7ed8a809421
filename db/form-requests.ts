import { randomUUID } from 'node:crypto';
import { type SqlBool, sql } from 'kysely';
import { DateTime, Duration } from 'luxon';
import { ASKED_AGAIN_AFTER, type AskedBefore, COUNTED_MS, EXPIRES_AFTER, mayAskAgain } from '../domain/confirmation';
import type { ConsentEvidence } from '../domain/consent';
import type { FormDefinition } from '../domain/form';
import { lockAddresses, suppressionOf } from './addresses';
import { type Db, inTransaction, type Tx } from './client';
import { type Confirmation, type EnrollRequest, enrollIn } from './enrollments';
import { withdrawPending } from './request-withdrawal';
import type { FormRequestContent } from './schema';

// What somebody sent by a form, until its address has confirmed it. The address row is locked before a request's own row,
// everywhere: whatever counts the mails that ask for a confirmation does so under that lock.

/** One sending of a form. */
export interface Submission {
  form: { id: string; version: number; campaignId: string; definition: FormDefinition };
  content: FormRequestContent;
  /** Of the address, as `hashAddress` returns them. */
  hashes: [string, ...string[]];
  now: Date;
}

/** What the engine should hear of, and whether anything came of it. Nothing of this is for the person who sent the form. */
export interface Submitted {
  /** Enrollments, for `Journeys.start`. */
  start: string[];
  /** Enrollments, for `Journeys.tell`. */
  tell: string[];
  /** Requests, for `Journeys.startConfirmations`. */
  confirm: string[];
  /** Why nothing was kept, for the log: the campaign takes nobody, or enough mails have asked the address already. */
  ignored: 'campaign-closed' | 'asked-often' | null;
}

const IGNORED: Omit<Submitted, 'ignored'> = { start: [], tell: [], confirm: [] };

/**
 * Takes what was sent by a form. Where the form wants no double opt-in and nothing stands against the address, that enrolls;
 * else the address is asked to confirm, `lift`ing what stands against it. Asked rarely (`mayAskAgain`): what is too much is
 * not kept. A form that is sent again for the same campaign before it was confirmed takes the place of the one before, so
 * that what is confirmed is always what was asked last; the page shows it, and the POST names what was shown.
 */
export async function submitRequest(
  db: Db,
  { timeFactor }: { timeFactor: number },
  submission: Submission,
): Promise<Submitted> {
  return await inTransaction(db, (tx) => submitIn(tx, timeFactor, submission));
}

async function submitIn(tx: Tx, timeFactor: number, submission: Submission): Promise<Submitted> {
  const { form, hashes, now } = submission;
  const content: FormRequestContent = { ...submission.content, askedAt: now.toISOString() };
  const [address] = await lockAddresses(tx, [hashes]);
  if (address === undefined) throw new Error('every submission has an address');
  if (!(await takesPeople(tx, form.campaignId))) return { ...IGNORED, ignored: 'campaign-closed' };
  const suppression = suppressionOf(address, form.campaignId);
  if (suppression === null && form.definition.doubleOptIn === false) {
    return await enrollAtOnce(tx, submission, timeFactor);
  }
  const purpose = suppression === null ? 'opt-in' : 'lift';
  const complained = address.suppressed_reason === 'complaint';
  const pending = await pendingRequest(tx, hashes, form.campaignId, now);
  const asked = JSON.stringify(content);
  const onlyOf = purpose === 'opt-in' ? form.campaignId : null;
  if (!mayAskAgain(await askedBefore(tx, hashes, now), { complained, onlyOf, now })) {
    if (pending?.purpose !== purpose) return { ...IGNORED, ignored: 'asked-often' };
    await tx
      .updateTable('form_request')
      .set({ content: asked, form_id: form.id, form_version: form.version })
      .where('id', '=', pending.id)
      .execute();
    return { ...IGNORED, ignored: null };
  }
  // The link in the mail before leads to the newer request (`requestOfLink`).
  if (pending !== null) await withdrawPending(tx, sql<SqlBool>`r.id = ${pending.id}`, now);
  const id = randomUUID();
  const { expiresAt, remindAt } = timesOf(form.definition, now);
  await tx
    .insertInto('form_request')
    .values({
      id,
      form_id: form.id,
      form_version: form.version,
      campaign_id: form.campaignId,
      address_hash: address.hash,
      content: asked,
      purpose,
      requested_at: now,
      expires_at: expiresAt,
      remind_at: complained ? null : remindAt,
    })
    .execute();
  return { ...IGNORED, confirm: [id, ...(pending === null ? [] : [pending.id])], ignored: null };
}

async function enrollAtOnce(tx: Tx, { form, content, hashes, now }: Submission, timeFactor: number) {
  const asked = enrollRequestOf(content, { hashes, formId: form.id, formVersion: form.version, askedAt: now });
  const [result] = await enrollIn(tx, [asked], {
    campaignId: form.campaignId,
    now,
    priority: 2,
    via: `form:${form.id}`,
    asksInPerson: true,
    timeFactor,
  });
  if (result === undefined || result.kind === 'refused') throw new Error('nothing stood against the address');
  const ids = [result.enrollmentId];
  return { ...IGNORED, ...(result.kind === 'created' ? { start: ids } : { tell: ids }), ignored: null };
}

/** What a form's content asks of `enrollIn`. */
export function enrollRequestOf(
  content: FormRequestContent,
  about: {
    hashes: [string, ...string[]];
    formId: string | null;
    formVersion: number | null;
    askedAt: Date;
    confirmation?: Confirmation;
  },
): EnrollRequest {
  const { formId, formVersion, askedAt: capturedAt } = about;
  const { page } = content.source;
  const source = `form:${formId}/${formVersion}${page === undefined ? '' : ` ${page}`}`;
  const consents = content.consents.map(
    ({ purpose, text, textVersion }): ConsentEvidence => ({
      purpose,
      text,
      textVersion,
      capturedAt,
      source,
      ip: content.ip ?? undefined,
      userAgent: content.userAgent ?? undefined,
    }),
  );
  const [consent = null, ...furtherConsents] = consents;
  return {
    hashes: about.hashes,
    email: content.email,
    name: content.name,
    locale: content.locale ?? undefined,
    timeZone: content.timeZone ?? undefined,
    attributes: content.attributes,
    requestedAt: capturedAt,
    consent,
    furtherConsents,
    source: { ...content.source, ...(formId === null ? {} : { formId }) },
    referralCode: content.referralCode ?? undefined,
    confirmation: about.confirmation,
  };
}

/** Locked, so that it is not cancelled meanwhile. @returns false where nobody is enrolled in it */
export async function takesPeople(tx: Tx, campaignId: string): Promise<boolean> {
  const campaign = await tx
    .selectFrom('campaign')
    .select(['latest_version', 'cancelled_at'])
    .where('id', '=', campaignId)
    .forKeyShare()
    .executeTakeFirst();
  return campaign !== undefined && campaign.cancelled_at === null && campaign.latest_version !== null;
}

async function pendingRequest(
  tx: Tx,
  hashes: readonly string[],
  campaignId: string,
  now: Date,
): Promise<{ id: string; purpose: 'opt-in' | 'lift' } | null> {
  const row = await tx
    .selectFrom('form_request')
    .select(['id', 'purpose'])
    .where('address_hash', '=', sql<string>`any(${hashes}::text[])`)
    .where('campaign_id', '=', campaignId)
    .where('state', '=', 'pending')
    .where('expires_at', '>', now)
    .orderBy('requested_at', 'desc')
    .forUpdate()
    .executeTakeFirst();
  return row ?? null;
}

/** The mails that have asked this address for a confirmation, of any form, reminders too, as far back as they are counted. */
export async function askedBefore(tx: Tx, hashes: readonly string[], now: Date): Promise<AskedBefore[]> {
  const since = new Date(now.getTime() - COUNTED_MS);
  const { rows } = await sql<AskedBefore>`
    select t.at, r.campaign_id as "campaignId" from form_request r,
      lateral (values (r.requested_at), (case when r.reminder_id is not null then r.remind_at end)) as t (at)
    where r.address_hash = any(${hashes}::text[]) and t.at > ${since}`.execute(tx);
  return rows;
}

function timesOf({ confirmation }: FormDefinition, now: Date): { expiresAt: Date; remindAt: Date | null } {
  const after = (duration: string) => DateTime.fromJSDate(now, { zone: 'UTC' }).plus(Duration.fromISO(duration));
  const expires = after(confirmation?.expiresAfter ?? EXPIRES_AFTER);
  const remindAfter = confirmation?.remindAfter ?? null;
  // Sooner nobody is asked again.
  const remind = remindAfter === null ? null : DateTime.max(after(remindAfter), after(ASKED_AGAIN_AFTER));
  return {
    expiresAt: expires.toJSDate(),
    // Too late it would remind of a link that is worth nothing.
    remindAt: remind === null || remind >= expires ? null : remind.toJSDate(),
  };
}

/**
 * Withdraws what has not been confirmed: whose mail came back, or of a person. What they had sent is erased.
 *
 * @returns the requests, for `Journeys.startConfirmations`
 */
export async function withdrawRequestsOf(
  tx: Tx,
  whose: { mailId: string } | { hashes: readonly string[] },
  now: Date,
): Promise<string[]> {
  if ('hashes' in whose) {
    return await withdrawPending(tx, sql<SqlBool>`r.address_hash = any(${whose.hashes}::text[])`, now);
  }
  const { mailId } = whose;
  return await withdrawPending(tx, sql<SqlBool>`r.mail_id = ${mailId} or r.reminder_id = ${mailId}`, now, mailId);
}
