import type { CampaignDraft } from '../../domain/campaign';
import { definitionForTests } from '../support/campaigns';

/** A step's body that may be published, one element a line; `line` is put in as the fifth. */
export function mjmlWith(line = 'Hola {{ lead.firstName | default: "qué tal" }}, ¿aún me recuerda?'): string {
  return [
    '<mjml>',
    '<mj-body>',
    '<mj-section><mj-column>',
    '<mj-text>',
    line,
    '</mj-text>',
    '<mj-text>{{ sender.legalName }}, {{ sender.postalAddress }}. <a href="{{ unsubscribeUrl }}">Baja</a>',
    '{% if consent.source %}{{ consent.source }}. {% endif %}<a href="{{ privacyUrl }}">Privacidad</a></mj-text>',
    '</mj-column></mj-section>',
    '</mj-body>',
    '</mjml>',
  ].join('\n');
}

/** A draft that may be published as it is: `steps` mails, office hours, two to three months apart. */
export function publishableDraft(steps = 3, change: Partial<CampaignDraft> = {}): CampaignDraft {
  return {
    ...definitionForTests(steps),
    steps: Array.from({ length: steps }, (_, step) => ({
      subject: `Paso ${step}: {{ product.name }}, {{ requestedAt | ago }}`,
      mjml: mjmlWith(),
    })),
    sendWindow: { days: ['mon', 'tue', 'wed', 'thu', 'fri'], from: '09:00', to: '19:00', blackouts: ['12-25'] },
    ...change,
  };
}
