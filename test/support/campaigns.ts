import { createCampaign, publishVersion } from '../../db/campaigns';
import type { Db } from '../../db/client';
import type { AfterPurchase, CampaignDefinition, CompiledStep } from '../../domain/campaign';

/** A campaign definition for tests: `steps` mails, one to two months apart, any hour of any day unless told. */
export function definitionForTests(steps = 8, change: Partial<CampaignDefinition> = {}): CampaignDefinition {
  return {
    name: 'Cafeteras',
    product: { name: 'Cafetera Brava', url: 'https://shop.example/cafetera' },
    sender: {
      name: 'Lucía de Casa Brava',
      address: 'lucia@shop.example',
      replyTo: 'lucia@shop.example',
      legalName: 'Casa Brava, S.L.',
      postalAddress: 'Calle Mayor 1, 28013 Madrid',
      taxId: 'B00000000',
      privacyUrl: 'https://shop.example/privacidad',
    },
    locale: 'es',
    steps: Array.from({ length: steps }, (_, step) => ({ subject: `Paso ${step}`, mjml: '<mjml></mjml>' })),
    cadence: { min: 'P2M', max: 'P3M' },
    sendWindow: { days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'], from: '00:00', to: '24:00', blackouts: [] },
    timeZone: 'Europe/Madrid',
    erasure: { afterExhausted: 'P30D' },
    ...change,
  };
}

/** What buyers get, for tests: thanks at once, doubts after a week, a request to pass it on after a month. */
export function afterPurchaseForTests(change: Partial<AfterPurchase> = {}): AfterPurchase {
  const mjml = '<mjml></mjml>';
  return {
    supportAddress: 'ayuda@shop.example',
    thanksFrom: { name: 'Casa Brava', address: 'pedidos@pedidos.shop.example' },
    steps: [
      { kind: 'thanks', after: 'PT0S', containsOffer: false, subject: 'Gracias', mjml },
      { kind: 'doubts', after: 'P7D', subject: 'Dudas', mjml },
      { kind: 'referral', after: 'P1M', subject: 'Amigos', mjml },
    ],
    ...change,
  };
}

/** Publishes a campaign straight into the database, its steps as if compiled. @returns its id */
export async function publishForTests(db: Db, definition = definitionForTests()): Promise<string> {
  const campaign = await createCampaign(db, definition);
  await publishAgainForTests(db, campaign.id, definition);
  return campaign.id;
}

/** Publishes the next version of a campaign. @returns its number */
export async function publishAgainForTests(
  db: Db,
  campaignId: string,
  definition: CampaignDefinition,
): Promise<number> {
  const steps = definition.steps.map(compiledForTests);
  const afterPurchase = definition.afterPurchase?.steps.map(compiledForBuyers) ?? null;
  return await publishVersion(db, campaignId, definition, steps, afterPurchase);
}

/** Steps by name, each its own mail: `key` and subject. */
export function stepsForTests(...names: string[]): CampaignDefinition['steps'] {
  return names.map((name) => ({ key: name, subject: name, mjml: `<mjml>${name}</mjml>` }));
}

function compiledForTests({ subject }: { subject: string }): CompiledStep {
  return {
    subject,
    html: `<p>Hola {{ lead.firstName }}: ${subject}. <a href="{{ unsubscribeUrl }}">Baja</a></p>${SOURCE_HTML}`,
    text: `Hola {{ lead.firstName }}: ${subject}. {{ unsubscribeUrl }}${SOURCE_TEXT}`,
  };
}

/** What imported people must be told. */
const SOURCE_HTML =
  '{% if consent.source %}<p>{{ consent.source }}. <a href="{{ privacyUrl }}">Privacidad</a></p>{% endif %}';
const SOURCE_TEXT = '{% if consent.source %} {{ consent.source }}. {{ privacyUrl }}{% endif %}';

function compiledForBuyers({ subject, kind }: AfterPurchase['steps'][number]): CompiledStep {
  const link = kind === 'referral' ? ' {{ referral.url }}' : '';
  return {
    subject: `${subject} {{ order.number }}`,
    html: `<p>${subject}, {{ order.number }}, {{ purchasedAt | date: "%F" }}${link}</p>`,
    text: `${subject}, {{ order.number }}, {{ purchasedAt | date: "%F" }}${link}`,
  };
}
