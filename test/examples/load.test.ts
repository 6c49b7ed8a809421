import { loadExample } from '../../examples/load';
import { preparePublication } from '../../mail/compose/compile';
import { exampleMails, LANGUAGES } from './mails';

const NAMES = ['Íñigo Muñoz', "Nora O'Donnell", '😀', '<b>Ana</b>', '', null];

describe.each(LANGUAGES)('the example in %s', (language) => {
  test('can be published as it is: the information and seven nudges', async () => {
    const result = await preparePublication(loadExample(language));
    expect(result).not.toHaveProperty('problems');
    expect(result).toMatchObject({ steps: { length: 8 } });
  });

  test.each(NAMES)('reads well for a lead called %j', async (name) => {
    const mails = await exampleMails(language, {
      name,
      consentSource: name ? 'https://shop.example/form' : null,
    });
    for (const { step, message, unsubscribeUrl, campaign } of mails) {
      const { sender, product } = campaign.definition;
      for (const shown of [sender.legalName, sender.postalAddress, sender.privacyUrl, unsubscribeUrl, product.name]) {
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
    expect(new Set(mails.map(({ message }) => message.subject)).size).toBe(8);
  });

  test('the information speaks from an address of its own, the nudges from another', async () => {
    const [information, ...nudges] = (await exampleMails(language)).map(({ from }) => from.split('@')[1]);
    expect(new Set(nudges).size).toBe(1);
    expect(information).toBe(`info.${nudges[0]}`);
  });
});
