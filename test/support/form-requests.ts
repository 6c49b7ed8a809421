import type { Db } from '../../db/client';
import { type Submission, type Submitted, submitRequest } from '../../db/form-requests';
import { createForm } from '../../db/forms';
import type { FormRequestContent } from '../../db/schema';
import { hashAddress } from '../../domain/address-hash';
import { normaliseAddress } from '../../domain/addresses';
import type { FormDefinition } from '../../domain/form';
import { TEST_ADDRESS_KEYS } from './leads';

export const CONSENT_TEXT = 'Sí, escríbanme hasta siete veces en dos años sobre la cafetera.';

export type FormForTests = Submission['form'];

/** A form of a campaign, with double opt-in unless told otherwise. */
export async function formForTests(
  db: Db,
  campaignId: string,
  change: Partial<FormDefinition> = {},
): Promise<FormForTests> {
  const definition: FormDefinition = {
    name: 'Formulario',
    languages: ['es', 'en'],
    origins: ['https://shop.example'],
    doubleOptIn: true,
    ...change,
  };
  const { id, version } = await createForm(db, campaignId, definition, new Date());
  return { id, version, campaignId, definition };
}

/** What somebody sends who agrees to nudges, unless told otherwise. */
export function sentBy(form: FormForTests, email: string, change: Partial<FormRequestContent> = {}, now = new Date()) {
  const content: FormRequestContent = {
    email,
    name: 'Íñigo Núñez',
    locale: 'es',
    timeZone: 'Atlantic/Canary',
    attributes: { city: 'Bilbao' },
    consents: [{ purpose: 'nudges', text: CONSENT_TEXT, textVersion: '2026-11' }],
    source: { page: 'https://shop.example/cafetera?x=1', utm: { source: 'feria' } },
    referralCode: null,
    ip: '2001:db8::7',
    userAgent: 'Mozilla/5.0',
    ...change,
  };
  return { form, content, hashes: hashAddress(normaliseAddress(email), TEST_ADDRESS_KEYS), now } satisfies Submission;
}

export async function submit(db: Db, submission: Submission): Promise<Submitted> {
  return await submitRequest(db, { timeFactor: 1 }, submission);
}

/** Sends a form and is asked to confirm. @returns the request's id */
export async function submitToConfirm(db: Db, submission: Submission): Promise<string> {
  const [id] = (await submit(db, submission)).confirm;
  if (id === undefined) throw new Error('nobody was asked to confirm');
  return id;
}
