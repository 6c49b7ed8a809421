import { createCampaign, publishVersion } from '../../db/campaigns';
import type { Db } from '../../db/client';
import type { CampaignDefinition, CompiledStep } from '../../domain/campaign';

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

/** Publishes a campaign straight into the database, its steps as if compiled. @returns its id */
export async function publishForTests(db: Db, definition = definitionForTests()): Promise<string> {
  const campaign = await createCampaign(db, definition);
  const steps = definition.steps.map(
    (step): CompiledStep => ({
      subject: step.subject,
      html: `<p>Hola {{ lead.firstName }}: ${step.subject}. <a href="{{ unsubscribeUrl }}">Baja</a></p>`,
      text: `Hola {{ lead.firstName }}: ${step.subject}. {{ unsubscribeUrl }}`,
    }),
  );
  await publishVersion(db, campaign.id, definition, steps);
  return campaign.id;
}
