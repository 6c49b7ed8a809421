import type { AfterPurchase, CampaignDraft } from '../../../domain/campaign';
import { preparePublication } from '../../../mail/compose/compile';
import { mjmlWith, publishableDraft } from '../../api/publishable-draft';
import { afterPurchaseForTests } from '../../support/campaigns';

type Step = AfterPurchase['steps'][number];

const THANKS: Step = {
  kind: 'thanks',
  after: 'PT0S',
  containsOffer: false,
  subject: 'Gracias por tu pedido {{ order.number }}',
  mjml: mjmlWith(
    'Tu pedido {{ order.number }} del {{ purchasedAt | localDate }} sale hoy. <a href="https://shop.example/ayuda/cafetera">Primeros pasos</a>',
  ).replace(' <a href="{{ unsubscribeUrl }}">Baja</a>', ''),
};
const DOUBTS: Step = { kind: 'doubts', after: 'P7D', subject: '¿Todo bien?', mjml: mjmlWith() };
const REFERRAL: Step = {
  kind: 'referral',
  after: 'P1M',
  subject: '¿A quién se lo contarías?',
  mjml: mjmlWith('<a href="{{ referral.url }}">Tu enlace</a>'),
};

function draft(steps: readonly Step[], change: Partial<AfterPurchase> = {}): CampaignDraft {
  return publishableDraft(2, { afterPurchase: afterPurchaseForTests({ steps: [...steps], ...change }) });
}

async function problemsOf(given: CampaignDraft): Promise<{ pointer: string; detail: string }[]> {
  const prepared = await preparePublication(given);
  return 'problems' in prepared ? prepared.problems.map(({ pointer, detail }) => ({ pointer, detail })) : [];
}

const thanks = (change: Partial<Step>) => draft([{ ...THANKS, ...change }, DOUBTS]);
const saying = (line: string) => thanks({ mjml: THANKS.mjml.replace('Tu pedido', `${line} Tu pedido`) });

test('what buyers get is compiled with the rest, and knows of the order and the link to share', async () => {
  const prepared = await preparePublication(draft([THANKS, DOUBTS, REFERRAL]));
  expect(prepared).not.toHaveProperty('problems');
  if (!('afterPurchase' in prepared)) throw new Error('checked');
  expect(prepared.afterPurchase).toHaveLength(3);
  expect(prepared.afterPurchase?.[0]?.html).toContain('{{ order.number }}');
  expect(prepared.afterPurchase?.[2]?.text).toContain('{{ referral.url }}');
  const without = await preparePublication(publishableDraft(2));
  expect(without).toMatchObject({ afterPurchase: null });
});

test('mails to leads know nothing of orders, and those to buyers nothing of steps and requests', async () => {
  const lead = publishableDraft(1, { steps: [{ subject: 'Pedido {{ order.number }}', mjml: mjmlWith() }] });
  expect((await problemsOf(lead)).map(({ pointer }) => pointer)).toEqual(['/steps/0/subject']);
  const buyer = thanks({ subject: 'Pediste {{ requestedAt }}' });
  expect((await problemsOf(buyer)).map(({ pointer }) => pointer)).toEqual(['/afterPurchase/steps/0/subject']);
});

test('marketing to buyers must show the way out, the thanks need not; both must show who sends', async () => {
  const bare =
    '<mjml><mj-body><mj-section><mj-column><mj-text>Hola</mj-text></mj-column></mj-section></mj-body></mjml>';
  const details = async (given: CampaignDraft) => (await problemsOf(given)).map(({ detail }) => detail).join('\n');
  expect(await details(draft([DOUBTS, { ...REFERRAL, mjml: bare }]))).toContain('no unsubscribe link');
  const ofThanks = await details(thanks({ mjml: bare }));
  expect(ofThanks).toContain('legal identity');
  expect(ofThanks).not.toContain('unsubscribe');
});

describe('P6 the thanks offer nothing', () => {
  test.each([
    ['a price', 'Otra por 19,90 €.'],
    ['a price', 'Now $ 12!'],
    ['a price', 'Otra por 19,90&nbsp;&euro;.'],
    ['a percentage', 'Un 10 % menos.'],
    ['a percentage', 'Un <b style="color:red">10</b>&nbsp;&#37; menos.'],
    ['a word', 'Nuestras ofertas te esperan.'],
    ['a word', 'Usa este CUPÓN.'],
    ['a word', 'A special discount for you.'],
    ['a link', '<a href="{{ product.url }}">Más</a>'],
    ['a link', '<a href="https://shop.example/novedades">Más</a>'],
    ['a link', '<a href="{{ referral.url }}">Cuéntalo</a>'],
    ['an address', 'Mira https://shop.example/novedades.'],
    ['an address', 'Mira {{ product.url }}'],
  ])('%s in them is refused: %s', async (_, line) => {
    const problems = await problemsOf(saying(line));
    expect(problems.map(({ pointer }) => pointer)).toEqual(['/afterPurchase/steps/0/mjml']);
    expect(problems[0]?.detail).toMatch(/thanks must offer nothing/);
  });

  test.each([
    'La garantía dura 3 años.',
    'Escríbenos: https://shop.example/ayuda/{{ order.number }}.',
    '<a href="mailto:ayuda@shop.example">Escríbenos</a>',
    '<a href="https://shop.example/pedidos/{{ order.number }}">Tu pedido</a>',
    '<a href="https://ayuda.shop.example/">Ayuda</a>',
    '<a href="{{ sender.privacyUrl }}">Privacidad</a>',
  ])('help is none: %s', async (line) => {
    expect(await problemsOf(saying(line))).toEqual([]);
  });

  test('subject and text are looked through as well, and where it is, is said', async () => {
    const prepared = await preparePublication(
      thanks({ subject: 'Gracias: 20% para ti', text: 'Rebajas.\n{{ sender.legalName }}, {{ sender.postalAddress }}' }),
    );
    expect('problems' in prepared && prepared.problems).toMatchObject([
      { pointer: '/afterPurchase/steps/0/subject', line: 1, column: 10 },
      { pointer: '/afterPurchase/steps/0/text', line: 1, column: 1 },
    ]);
  });

  test('a text of its own must not show where else to go either', async () => {
    const identity = '{{ sender.legalName }}, {{ sender.postalAddress }}. {{ privacyUrl }}';
    const text = (line: string) => problemsOf(thanks({ text: `${line}\n${identity}` }));
    expect(await text('Ayuda: https://shop.example/ayuda')).toEqual([]);
    for (const line of ['Cuéntalo: {{ referral.url }}', 'Novedades: https://shop.example/novedades']) {
      expect((await text(line)).map(({ pointer }) => pointer)).toEqual(['/afterPurchase/steps/0/text']);
    }
  });

  test('that they do must be declared, and the same words may stand in marketing', async () => {
    const { containsOffer: _, ...undeclared } = THANKS;
    for (const step of [undeclared, { ...THANKS, containsOffer: true }]) {
      const [problem] = await problemsOf(draft([step, DOUBTS]));
      expect(problem?.pointer).toBe('/afterPurchase/steps/0/containsOffer');
    }
    const offer = { ...DOUBTS, mjml: mjmlWith('Un 10 % de descuento') };
    expect(await problemsOf(draft([THANKS, offer]))).toEqual([]);
  });
});

test.each([
  ['thanks later on', draft([DOUBTS, THANKS]), '/afterPurchase/steps/1/kind'],
  ['six mails', draft([THANKS, ...Array.from({ length: 5 }, () => DOUBTS)]), '/afterPurchase/steps/5'],
  ['marketing at once', draft([THANKS, { ...DOUBTS, after: 'PT0S' }]), '/afterPurchase/steps/1/after'],
  ['thanks after a month', thanks({ after: 'P1M' }), '/afterPurchase/steps/0/after'],
  ['a wait that is none', draft([{ ...DOUBTS, after: 'soon' }]), '/afterPurchase/steps/0/after'],
  ['a subject of two lines', thanks({ subject: 'a\nb' }), '/afterPurchase/steps/0/subject'],
  [
    'thanks from the campaign',
    draft([THANKS], { thanksFrom: { name: 'x', address: 'LUCIA@shop.example' } }),
    '/afterPurchase/thanksFrom/address',
  ],
] as const)('%s: refused', async (_, given, pointer) => {
  expect((await problemsOf(given)).map((problem) => problem.pointer)).toContain(pointer);
});

test('thanks need somebody whom they are from', async () => {
  const { thanksFrom: _, ...nobody } = afterPurchaseForTests({ steps: [THANKS] });
  const [problem] = await problemsOf(publishableDraft(2, { afterPurchase: nobody }));
  expect(problem?.pointer).toBe('/afterPurchase/thanksFrom');
});
