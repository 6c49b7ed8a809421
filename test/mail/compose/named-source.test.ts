import type { CompiledStep } from '../../../domain/campaign';
import { loadExample } from '../../../examples/load';
import { preparePublication } from '../../../mail/compose/compile';
import { unnamedSource } from '../../../mail/compose/named-source';
import { definitionForTests } from '../../support/campaigns';

const definition = definitionForTests(2, {
  sender: { ...definitionForTests().sender, privacyUrl: "https://shop.example/p?a=1&b='x'" },
});
const sound: CompiledStep = {
  subject: 'Hola',
  html: '<html><head></head><body><p>De: {{ consent.source }}.</p><a href="{{ privacyUrl }}">Privacidad</a></body></html>',
  text: 'De: {{ consent.source }}. Privacidad: {{ sender.privacyUrl }}',
};
const lacks = (change: Partial<CompiledStep>) =>
  unnamedSource(definition, { ...sound, ...change }, 2).map(({ pointer, detail }) => [
    pointer,
    detail.includes('consent.source') ? 'source' : 'privacy',
  ]);

const SOURCE = ['/steps/0', 'source'];
const PRIVACY = ['/steps/0', 'privacy'];

test('a first mail that shows both, in both parts, lacks nothing', () => {
  expect(lacks({})).toEqual([]);
  expect(lacks({ text: '{% if consent.source %}{{ consent.source }}{% endif %} {{ privacyUrl }}' })).toEqual([]);
});

test.each<[string, Partial<CompiledStep>, string[][]]>([
  ['nothing of it in the HTML', { html: '<p>Hola</p>' }, [SOURCE, PRIVACY]],
  ['nothing of it in the text', { text: 'Hola' }, [SOURCE, PRIVACY]],
  [
    'the source in the head alone',
    { html: `<head>{{ consent.source }}</head><body><a href="{{ privacyUrl }}">x</a></body>` },
    [SOURCE],
  ],
  ['the policy as words alone', { html: '<p>{{ consent.source }} {{ privacyUrl }}</p>' }, [PRIVACY]],
  [
    'the source for those whose name is known',
    { text: '{% if lead.name %}{{ consent.source }}{% endif %} {{ privacyUrl }}' },
    [SOURCE],
  ],
  ['another link', { html: '<p>{{ consent.source }}</p><a href="{{ product.url }}">Privacidad</a>' }, [PRIVACY]],
])('%s is not enough', (_what, change, missing) => {
  expect(lacks(change)).toEqual(missing);
});

test.each(['es', 'en'] as const)('the example in %s may be imported into', async (language) => {
  const campaign = await preparePublication(loadExample(language));
  if ('problems' in campaign) throw new Error('not publishable');
  expect(unnamedSource(campaign.definition, campaign.steps[0] as CompiledStep, campaign.steps.length)).toEqual([]);
});
