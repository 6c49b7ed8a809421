import { loadExample } from '../../examples/load';
import { preparePublication } from '../../mail/compose/compile';
import { composeMessage } from '../../mail/compose/message';
import { messageIdFor } from '../../mail/compose/message-id';

const NAMES = ['Íñigo Muñoz', "Nora O'Donnell", '😀', '<b>Ana</b>', '', null];

describe.each(['es', 'en'] as const)('the example in %s', (language) => {
  const prepared = preparePublication(loadExample(language));

  test('can be published as it is: the information and seven nudges', async () => {
    const result = await prepared;
    expect(result).not.toHaveProperty('problems');
    expect(result).toMatchObject({ steps: { length: 8 } });
  });

  test.each(NAMES)('reads well for a lead called %j', async (name) => {
    const result = await prepared;
    if ('problems' in result) throw new Error('not publishable');
    const { definition, steps } = result;
    const subjects = new Set<string>();
    for (const [step, compiled] of steps.entries()) {
      const message = await composeMessage({
        compiled,
        definition,
        step,
        stepCount: steps.length,
        campaignId: '6e1c8f0a-0000-4000-8000-000000000001',
        lead: {
          email: 'x@correo.example',
          name,
          locale: definition.locale,
          timeZone: definition.timeZone,
          attributes: {},
        },
        requestedAt: new Date('2025-09-03T10:00:00Z'),
        consentSource: name ? 'https://shop.example/form' : null,
        unsubscribeUrl: 'https://shop.example/u/token',
        messageId: messageIdFor({
          enrollmentId: 'c0ffee00-0000-4000-8000-00000000000a',
          step,
          copy: 0,
          domain: 'shop.example',
        }),
        date: new Date('2025-12-10T09:15:00Z'),
      });
      subjects.add(message.subject);
      const { legalName, postalAddress, privacyUrl } = definition.sender;
      for (const shown of [
        legalName,
        postalAddress,
        privacyUrl,
        'https://shop.example/u/token',
        definition.product.name,
      ]) {
        expect(message.text).toContain(shown);
        expect(message.html).toContain(shown);
      }
      expect(message.text).not.toMatch(/\{\{|\{%|null|undefined| ,|,,|\.\./);
      expect(message.html).not.toMatch(/\{\{|\{%|<b>Ana/);
      expect(message.text.split('\n').length).toBeLessThan(25); // short
      expect(message.html.length).toBeLessThan(20_000); // Gmail cuts off what follows 102 KB
      if (step === 0) {
        expect(message.text).toContain(language === 'es' ? '3 de septiembre de 2025' : '3 September 2025');
        if (name) expect(message.text).toContain('https://shop.example/form');
      }
    }
    expect(subjects.size).toBe(8);
  });
});
