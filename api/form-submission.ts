import { isIP } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { submitRequest } from '../db/form-requests';
import { findPublicForm, type PublicForm } from '../db/forms';
import type { FormRequestContent } from '../db/schema';
import { type ThrottleRule, throttle } from '../db/throttle';
import { normaliseAddress, parseAddress, providerOf } from '../domain/addresses';
import type { FormConsent, FormDefinition, FormLanguage } from '../domain/form';
import { takesMail } from '../domain/mail-exchange';
import { likelyDomain } from '../domain/mistyped-domain';
import { Problem } from '../domain/problem';
import { afterAnswer } from './after-answer';
import type { ApiContext } from './context';
import { hashesOf } from './schemas';
import { bucketOf, countTry, networkOf } from './throttles';

// What is the same whether a form was sent by its page, by a snippet or as JSON. Nothing here may do, or wait for, anything
// that depends on whether an address is known: what it has sent tells nobody whose it is.

const MINUTE_MS = 60_000;
/** From one network, whatever is sent: a stand at a fair passes, a robot does not. */
const NETWORK_RULE: ThrottleRule = { hits: 30, windowMs: 10 * MINUTE_MS };
/** About one mailbox, from wherever. What is more than that is answered as ever, and not kept. */
const ADDRESS_RULE: ThrottleRule = { hits: 5, windowMs: 60 * MINUTE_MS };
/** For this long what was shown may be sent after it was changed. */
export const GRACE_MS = 24 * 60 * MINUTE_MS;
const MAX_USER_AGENT = 500;

/** What somebody was shown. */
export interface Shown {
  version: number;
  definition: FormDefinition;
  language: FormLanguage;
}

/** What they sent, found to be sound. */
export interface Sound extends Omit<FormRequestContent, 'consents' | 'askedAt' | 'locale'> {
  /** Null: the language that they were shown. */
  locale: string | null;
  ticked: readonly string[];
}

/** A form that takes requests. @throws Problem `not-found` */
export async function openForm({ db }: ApiContext, id: string): Promise<PublicForm> {
  const form = UUID.test(id) ? await findPublicForm(db, id) : null;
  if (form === null || !form.open) throw new Problem('not-found', 'There is no such form, or it is not open.');
  return form;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** @throws Problem `too-many-requests` */
export async function countNetwork({ db, config, clock }: ApiContext, request: FastifyRequest): Promise<void> {
  const bucket = bucketOf(config.masterKey, 'form network', networkOf(request.ip));
  await countTry(db, bucket, NETWORK_RULE, clock());
}

/** May a page of this origin (RFC 6454) send the form? */
export function isFormOrigin(form: PublicForm, origin: string, publicUrl: string): boolean {
  return origin === new URL(publicUrl).origin || (form.definition.origins ?? []).includes(origin);
}

export function originNotAllowed(): Problem {
  return new Problem(
    'origin-not-allowed',
    'Pages of this origin may not send this form: it is not one of its `origins`.',
  );
}

/** An address that can be written to, as far as can be known without writing to it. */
export type CheckedAddress =
  | { address: string; name: string | undefined; suggestion: string | null }
  | { fault: 'missing' | 'not-address'; problem: string };

/** Reads an address, and asks whether another domain was meant. */
export function readAddress(typed: string): CheckedAddress {
  const parsed = parseAddress(typed);
  if ('problem' in parsed) {
    return { fault: typed.trim() === '' ? 'missing' : 'not-address', problem: parsed.problem };
  }
  const at = parsed.address.lastIndexOf('@');
  const likely = likelyDomain(parsed.address.slice(at + 1));
  const suggestion = likely === null ? null : `${parsed.address.slice(0, at)}@${likely}`;
  return { address: parsed.address, name: parsed.name, suggestion };
}

/** Does the DNS say that mail can reach this address? */
export async function canReceive({ dns }: ApiContext, address: string): Promise<boolean> {
  const normalised = normaliseAddress(address);
  return await takesMail(normalised.slice(normalised.lastIndexOf('@') + 1), dns);
}

/** Keeps a request, and has the engine told once it was answered. What became of it is nobody's business. */
export async function takeRequest(
  context: ApiContext,
  { request, reply }: { request: FastifyRequest; reply: FastifyReply },
  form: PublicForm,
  shown: Shown,
  sound: Sound,
): Promise<void> {
  const { db, config, journeys, clock } = context;
  const now = clock();
  const hashes = hashesOf(sound.email, config);
  const bucket = bucketOf(config.masterKey, 'form address', mailboxOf(sound.email));
  if ((await throttle(db, bucket, ADDRESS_RULE, now)) !== null) {
    request.log.info({ formId: form.id, ignored: 'throttled' }, 'a form was sent');
    return;
  }
  const { ticked, ...content } = sound;
  const { start, tell, confirm, ignored } = await submitRequest(db, config, {
    form: { id: form.id, version: shown.version, campaignId: form.campaignId, definition: shown.definition },
    content: {
      ...content,
      locale: content.locale ?? shown.language,
      source: { formId: form.id, ...content.source },
      consents: wordsOf(shown, ticked),
    },
    hashes,
    now,
  });
  request.log.info({ formId: form.id, ignored }, 'a form was sent');
  afterAnswer(reply, () => {
    journeys.start(start);
    journeys.tell(tell);
    journeys.startConfirmations(confirm);
  });
}

/**
 * Where the mail to an address most likely ends up, for counting and nothing else: behind a `+`, and with dots at Gmail, one
 * person has as many addresses as anybody likes to type.
 */
function mailboxOf(email: string): string {
  const address = normaliseAddress(email);
  const at = address.lastIndexOf('@');
  const [local = ''] = address.slice(0, at).split(/(?<=.)\+/, 1);
  return providerOf(address) === 'gmail' ? `${local.replaceAll('.', '')}@gmail.com` : `${local}${address.slice(at)}`;
}

/** The very words that were ticked. */
export function wordsOf(
  { definition, language }: Omit<Shown, 'version'>,
  ticked: readonly string[],
): { purpose: FormConsent['purpose']; text: string; textVersion: string }[] {
  return (definition.consents ?? []).flatMap(({ purpose, text, textVersion }) => {
    const words = text[language];
    return ticked.includes(purpose) && words !== undefined ? [{ purpose, text: words, textVersion }] : [];
  });
}

/** Does the form still say what was ticked? */
export function saysTheSame(form: PublicForm, shown: Shown, ticked: readonly string[]): boolean {
  const now = { definition: form.definition, language: shown.language };
  return isDeepStrictEqual(wordsOf(shown, ticked), wordsOf(now, ticked));
}

/** As it can be kept: a zone index (fe80::1%eth0) means something on one machine only. */
export function ipOf(ip: string): string | null {
  const bare = ip.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '').split('%', 1)[0] ?? '';
  return isIP(bare) === 0 ? null : bare;
}

export function userAgentOf(userAgent: string | undefined): string | null {
  const text = (userAgent ?? '')
    .replaceAll(/\p{Cc}/gu, ' ')
    .trim()
    .slice(0, MAX_USER_AGENT);
  return text === '' ? null : text;
}
