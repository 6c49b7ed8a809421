import type { CampaignDefinition, CompiledStep, PublishProblem } from '../../domain/campaign';
import { htmlEngine, plainEngine, render, type TemplateValues, templateScope } from './templates';
import { textFromHtml } from './text-part';

const SOURCE = 'name of the source, for a look';
const NAMES = ['Ana Example', null];

/**
 * What the first mail lacks for people whose data came with a file: GDPR art. 14.2.f wants them told where it came from, and
 * art. 14.1 and 14.2 what becomes of it. Looked at as such a lead would see it, in both parts.
 *
 * @param step its step 0
 * @returns one entry for each thing that is missing; empty where files may be imported
 */
export function unnamedSource(
  definition: Pick<CampaignDefinition, 'name' | 'product' | 'sender' | 'locale' | 'timeZone'>,
  step: CompiledStep,
  stepCount: number,
): PublishProblem[] {
  const missing = new Set<string>();
  for (const name of NAMES) {
    const scope = templateScope(importedLead(definition, name, stepCount));
    const html = render(htmlEngine, step.html, scope);
    const text = render(plainEngine, step.text, scope);
    const seen = textFromHtml(/<body[\s\S]*<\/body>/i.exec(html)?.[0] ?? html);
    if (!(inOneLine(seen).includes(SOURCE) && inOneLine(text).includes(SOURCE))) missing.add(NO_SOURCE);
    const { privacyUrl } = definition.sender;
    if (!(linksOf(html).includes(privacyUrl) && text.includes(privacyUrl))) missing.add(NO_PRIVACY);
  }
  return [...missing].map((detail) => ({ pointer: '/steps/0', detail }));
}

const NO_SOURCE =
  'imported leads are not told where their data came from: show `{{ consent.source }}` in the initial information, also in its text part';
const NO_PRIVACY =
  'imported leads find no privacy policy: give the initial information a link to it, `<a href="{{ privacyUrl }}">`, also in its text part';

function importedLead(
  definition: Pick<CampaignDefinition, 'name' | 'product' | 'sender' | 'locale' | 'timeZone'>,
  name: string | null,
  stepCount: number,
): TemplateValues {
  const date = new Date();
  return {
    campaignId: '00000000-0000-4000-8000-000000000000',
    definition,
    lead: {
      email: 'lead@example.com',
      name,
      locale: definition.locale,
      timeZone: definition.timeZone,
      attributes: {},
    },
    requestedAt: date,
    consentSource: SOURCE,
    consentCapturedAt: date,
    step: 0,
    stepCount,
    unsubscribeUrl: 'https://unsubscribe.example/u/sample',
    date,
  };
}

function inOneLine(text: string): string {
  return text.replace(/\s+/g, ' ');
}

function linksOf(html: string): string[] {
  return [...html.matchAll(/<a\b[^>]*?\bhref\s*=\s*(?:"([^"]*)"|'([^']*)')/gi)].map(([, a, b]) =>
    (a ?? b ?? '')
      .replace(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)))
      .replaceAll('&amp;', '&')
      .trim(),
  );
}
