import { CAMPAIGN_DEFAULTS, type CampaignDefinition, type PublishProblem } from '../../../domain/campaign';
import { compileCampaign, preparePublication } from '../../../mail/compose/compile';

const FOOTER = `<mj-text>{{ sender.legalName }}, {{ sender.postalAddress }}
<a href="{{ unsubscribeUrl }}">Baja</a></mj-text>`;

/** A mail whose lines 5 and on are the given ones. */
function mail(lines: string, footer = FOOTER): string {
  return `<mjml>\n<mj-body>\n<mj-section>\n<mj-column>\n${lines}\n${footer}\n</mj-column>\n</mj-section>\n</mj-body>\n</mjml>`;
}

function campaign(step: Partial<CampaignDefinition['steps'][number]>): CampaignDefinition {
  return {
    ...CAMPAIGN_DEFAULTS,
    sendWindow: { ...CAMPAIGN_DEFAULTS.sendWindow, days: ['mon'] },
    name: 'Cafetera',
    product: { name: 'Cafetera', url: 'https://shop.example/cafetera' },
    sender: {
      name: 'Marta',
      address: 'marta@shop.example',
      replyTo: 'marta@shop.example',
      legalName: 'Pérez & Hijos, S.L.',
      postalAddress: 'Calle del Molino, 12, 28012 Madrid',
      taxId: 'B00000000',
      privacyUrl: 'https://shop.example/privacidad',
    },
    steps: [{ subject: 'Hola', mjml: mail('<mj-text>Hola</mj-text>'), ...step }],
  };
}

async function problemsOf(step: Partial<CampaignDefinition['steps'][number]>): Promise<PublishProblem[]> {
  const compiled = await compileCampaign(campaign(step));
  return 'problems' in compiled ? compiled.problems : [];
}

async function compiled(step: Partial<CampaignDefinition['steps'][number]>) {
  const result = await compileCampaign(campaign(step));
  if ('problems' in result) throw new Error(JSON.stringify(result.problems));
  const [first] = result.steps;
  if (first === undefined) throw new Error('no step');
  return first;
}

const inMjml = (line: number, column: number, detail: string | RegExp) => ({
  pointer: '/steps/0/mjml',
  line,
  column,
  detail: typeof detail === 'string' ? detail : expect.stringMatching(detail),
});

describe('Liquid is refused with its line, its column and the name of what is wrong', () => {
  test.each([
    ['<mj-text>Hola\n  {{ lead.nmae }}</mj-text>', 6, 6, 'unknown variable `lead.nmae`; did you mean `lead.name`?'],
    ['<mj-text>{{ leed.name }}</mj-text>', 5, 13, 'unknown variable `leed.name`; did you mean `lead.name`?'],
    ['<mj-text>{{ discount }}</mj-text>', 5, 13, 'unknown variable `discount`'],
    ['<mj-text>{% if lead.vip %}x{% endif %}</mj-text>', 5, 16, /^unknown variable `lead.vip`/],
    ['<mj-text>{{ lead }}</mj-text>', 5, 13, /^`lead` has parts.*lead\.email, lead\.name/],
    ['<mj-text>{{ lead[step.number] }}</mj-text>', 5, 13, /^`lead\[…\]` can't be checked/],
    ['<mj-text>{{ lead.name.first }}</mj-text>', 5, 13, /^unknown variable `lead.name.first`/],
    [
      '<mj-text>{{ "a" | append: unsubscribeURL }}</mj-text>',
      5,
      27,
      /`unsubscribeURL`; did you mean `unsubscribeUrl`\?/,
    ],
    ['<mj-text>\n{{ lead.name | upcaze }}</mj-text>', 6, 1, 'unknown filter `upcaze`; did you mean `upcase`?'],
    ['<mj-text>{{ lead.name | raw }}</mj-text>', 5, 10, /^the filter `raw` is off/],
    ['<mj-text>{% fi lead.name %}</mj-text>', 5, 10, 'unknown tag `fi`; did you mean `if`?'],
    ['<mj-text>{% include "/etc/passwd" %}</mj-text>', 5, 10, 'unknown tag `include`'],
    ['<mj-text>x{% endif %}</mj-text>', 5, 11, '`endif` without its opening tag'],
    ['<mj-text>{% if lead.name %}x</mj-text>', 5, 10, 'Liquid syntax: tag {% if lead.name %} not closed'],
    ['<mj-text>{{ lead.name }</mj-text>', 5, 24, 'Liquid syntax: expected "|" before filter'],
    ['<mj-text>{% assign x %}</mj-text>', 5, 21, 'Liquid syntax: expected "="'],
  ])('%s', async (lines, line, column, detail) => {
    expect(await problemsOf({ mjml: mail(lines) })).toContainEqual(inMjml(line, column, detail));
  });

  test('every unknown name of a value is listed, not only the first', async () => {
    const mjml = mail('<mj-text>{{ a | foo }} {{ b | bar }}\n{% zap %}{% endzap %}</mj-text>');
    const details = (await problemsOf({ mjml })).map(({ detail }) => detail);
    expect(details).toEqual([
      'unknown filter `foo`',
      expect.stringMatching(/^unknown variable `a`/),
      expect.stringMatching(/^unknown filter `bar`/),
      expect.stringMatching(/^unknown variable `b`/),
      expect.stringMatching(/^unknown tag `zap`/),
    ]);
  });

  test('subjects and text parts are checked as well', async () => {
    const text = 'Hola\n{{ lead.frstName }}\n{{ sender.legalName }} {{ sender.postalAddress }} {{ unsubscribeUrl }}';
    expect(await problemsOf({ subject: 'Hola {{ product.nam }}', text })).toEqual([
      { pointer: '/steps/0/subject', line: 1, column: 9, detail: expect.stringContaining('`product.name`') },
      { pointer: '/steps/0/text', line: 2, column: 4, detail: expect.stringContaining('`lead.firstName`') },
    ]);
  });

  test('attributes of the lead and names of the template itself are free', async () => {
    const lines = `<mj-text>{{ lead.attributes.city }}{{ lead.attributes["favourite colour"] }}{{ lead.name.size }}
      {% assign x = lead.name | default: "usted" %}{{ x }}{% capture y %}{{ x }}{% endcapture %}{{ y }}
      {% for i in (1..3) %}{{ i }}{{ forloop.last }}{% endfor %}{{ requestedAt | localDate }} {{ requestedAt | ago }}
      {{ requestedAt | date: "%Y" }}{{ consent.source }}{{ step.number }}{{ step.total }}{{ campaign.id }}</mj-text>`;
    expect(await problemsOf({ mjml: mail(lines) })).toEqual([]);
  });

  test('a template that never ends is refused', async () => {
    const mjml = mail('<mj-text>{% for i in (1..100000000) %}x{% endfor %}</mj-text>');
    expect(await problemsOf({ mjml })).toContainEqual({
      pointer: '/steps/0/mjml',
      detail: expect.stringMatching(/^can't be filled: memory alloc limit exceeded/),
    });
  });
});

describe('markup is refused with its line and the name of what is wrong', () => {
  test.each([
    ['<mj-txt>Hola</mj-txt>', 5, 1, 'unknown element `<mj-txt>`; did you mean `<mj-text>`?'],
    ['<mj-text>a</mj-text>\n  <mj-text colour="red">Hola</mj-text>', 6, 3, '`<mj-text>`: Attribute colour is illegal'],
    ['<mj-text color="rojo">Hola</mj-text>', 5, 1, /`<mj-text>`: Attribute color has invalid value: rojo/],
    ['<mj-text color="{{ lead.attributes.c }}">x</mj-text>', 5, 1, /invalid value: {{ lead.attributes.c }}/],
    ['<mj-section></mj-section>', 5, 1, /`<mj-section>`: mj-section cannot be used inside mj-column/],
    ['<mj-text>Hola', 5, 1, /`<mj-text>` is not closed before `<\/mj-column>` in line 8/],
    ['</mj-text>', 5, 1, '`</mj-text>` closes nothing'],
    ['<mj-text>Hola</mj-text', 5, 14, /^`<\/mj-text` is never closed with `>`/],
    ['<mj-text>Hola <b>usted</mj-text>', 5, 15, /`<b>` is not closed before `<\/mj-text>` in line 5/],
    ['<mj-text>Hola usted</b></mj-text>', 5, 20, '`</b>` closes nothing'],
    ['Hola usted', 5, 1, '`Hola usted` stands directly in <mj-column>, where MJML drops it: put it into <mj-text>'],
    [
      '{% if lead.name %}\n<mj-text>x</mj-text>\n{% endif %}',
      5,
      1,
      /`{% if lead.name %}`.*MJML drops it: put it into <mj-raw>/,
    ],
    ['<mj-include path="/etc/passwd" />', 5, 1, /`mj-include` is not available/],
    [
      '<mj-image src="https://x.example/{{ lead.attributes.n }}.png" name="{{ product.name }}" />',
      5,
      69,
      /^`{{ product.name }}` gets lost here/,
    ],
  ])('%s', async (lines, line, column, detail) => {
    expect(await problemsOf({ mjml: mail(lines) })).toContainEqual(inMjml(line, column, detail));
  });

  test('what is no MJML at all', async () => {
    const problems = await problemsOf({ mjml: 'Hola' });
    expect(problems).toContainEqual(inMjml(1, 1, /this is no MJML: the body goes into <mjml>/));
  });

  test('branches that open an element each are no fault', async () => {
    const lines = `<mj-text>{% if lead.name %}<a href="https://a.example">{% else %}<a href="https://b.example">{% endif %}x</a>
      <p>uno<p>dos<br></mj-text><mj-raw><a href="https://c.example"></mj-raw><mj-raw>c</a></mj-raw>`;
    expect(await problemsOf({ mjml: mail(lines) })).toEqual([]);
  });

  test('several faults, of Liquid and of markup and of the law, are listed at once', async () => {
    const mjml = mail('<mj-text>{{ lead.nmae }}</mj-text>\n<mj-buton>x</mj-buton>', '');
    expect(
      (await problemsOf({ mjml, subject: '{{ x }}' })).map(({ pointer, line, detail }) => [pointer, line, detail]),
    ).toEqual([
      ['/steps/0/subject', 1, 'unknown variable `x`'],
      ['/steps/0/mjml', 5, 'unknown variable `lead.nmae`; did you mean `lead.name`?'],
      ['/steps/0/mjml', 6, 'unknown element `<mj-buton>`; did you mean `<mj-button>`?'],
      ['/steps/0/mjml', 10, expect.stringContaining('no unsubscribe link')],
      ['/steps/0/mjml', 10, expect.stringContaining('sender.legalName')],
      ['/steps/0/mjml', 10, expect.stringContaining('sender.postalAddress')],
    ]);
  });
});

describe('what every mail must show', () => {
  const identity = '{{ sender.legalName }}, {{ sender.postalAddress }}';
  const link = '<a href="{{ unsubscribeUrl }}">Baja</a>';

  test.each([
    ['no unsubscribe link', `<mj-text>${identity}</mj-text>`, [/^no unsubscribe link: .*unsubscribeUrl/]],
    [
      'a bare address instead of a link',
      `<mj-text>${identity} {{ unsubscribeUrl }}</mj-text>`,
      [/^no unsubscribe link/],
    ],
    [
      'no legal name',
      `<mj-text>{{ sender.postalAddress }} ${link}</mj-text>`,
      [/no legal identity.*sender\.legalName/],
    ],
    [
      'no postal address',
      `<mj-text>{{ sender.legalName }} ${link}</mj-text>`,
      [/no legal identity.*sender\.postalAddress/],
    ],
    [
      'a link that only some get',
      `<mj-text>${identity} {% if lead.attributes.sample %}${link}{% endif %}</mj-text>`,
      [/^no unsubscribe link.* for a lead of whom only the address is known$/],
    ],
    ['an identity that nobody sees', `<mj-text>${link}<!-- ${identity} --></mj-text>`, [/legalName/, /postalAddress/]],
    [
      'an identity in a hidden part',
      `<mj-text>${link}</mj-text><mj-raw><div style="display:none">${identity}</div></mj-raw>`,
      [/legalName/, /postalAddress/],
    ],
  ])('%s is refused, where it would go', async (_, footer, details) => {
    const mjml = mail('<mj-text>Hola</mj-text>', footer);
    expect(await problemsOf({ mjml })).toEqual(details.map((detail) => inMjml(9, 1, detail)));
  });

  test('a text part of its own must show them as well', async () => {
    expect(await problemsOf({ text: 'Hola\nadiós' })).toEqual(
      ['no unsubscribe link', 'sender.legalName', 'sender.postalAddress'].map((detail) => ({
        pointer: '/steps/0/text',
        line: 2,
        column: 6,
        detail: expect.stringMatching(`${detail}.*in the text part$`),
      })),
    );
  });

  test('the name and address written out count as well', async () => {
    const footer = `<mj-text>Pérez &amp; Hijos, S.L.<br>Calle del Molino, 12,\n28012 Madrid ${link}</mj-text>`;
    expect(await problemsOf({ mjml: mail('<mj-text>Hola</mj-text>', footer) })).toEqual([]);
  });

  test('a subject that is empty for a lead without a name', async () => {
    expect(await problemsOf({ subject: '{{ lead.firstName }}' })).toEqual([
      {
        pointer: '/steps/0/subject',
        line: 1,
        column: 1,
        detail: 'the subject is empty for a lead of whom only the address is known',
      },
    ]);
  });
});

describe('what compiling makes', () => {
  test('Liquid comes through MJML untouched, quotes and angle brackets and all', async () => {
    const tricky = '{% if step.number > 2 and lead.name != "a<b" %}{{ lead.name | default: "<usted>" }}{% endif %}';
    const button =
      '<mj-button href="{{ product.url | append: "?a=1" }}&amp;b={{ lead.attributes["q\'s"] }}">Ver</mj-button>';
    const { html, text } = await compiled({ mjml: mail(`<mj-text>${tricky}</mj-text>${button}`) });
    expect(html).toContain(tricky);
    expect(html).toContain('href="{{ product.url | append: "?a=1" }}&amp;b={{ lead.attributes["q\'s"] }}"');
    expect(text).toContain(tricky);
    expect(text).toContain('Ver <{{ product.url | append: "?a=1" }}&b={{ lead.attributes["q\'s"] }}>');
  });

  test('the text part is the HTML without its looks', async () => {
    const lines = `<mj-text><h1>Título</h1><p>Uno&nbsp;&amp; <b>dos</b></p><ul><li>tres</li></ul></mj-text>
      <mj-image src="https://x.example/a.png" alt="ruido" /><mj-text><a href="tel:+34910000000">910 000 000</a></mj-text>
      <mj-raw>{% if lead.attributes.vip %}</mj-raw><mj-text>solo VIP</mj-text><mj-raw>{% endif %}</mj-raw>`;
    const { text } = await compiled({
      mjml: mail(lines).replace('<mj-body>', '<mj-head><mj-preview>Antes</mj-preview></mj-head><mj-body>'),
    });
    expect(text).toBe(`Título

Uno & dos

 * tres

910 000 000

{% if lead.attributes.vip %}

solo VIP

{% endif %}

{{ sender.legalName }}, {{ sender.postalAddress }} Baja <{{ unsubscribeUrl }}>
`);
  });

  test('a text part of its own is kept as it is; a blank one counts as none', async () => {
    const own =
      'Hola {{ lead.firstName }}\n\n{{ sender.legalName }}, {{ sender.postalAddress }}\nBaja: {{ unsubscribeUrl }}\n';
    expect((await compiled({ text: own })).text).toBe(own);
    expect((await compiled({ text: ' ' })).text).toContain('Baja <{{ unsubscribeUrl }}>');
  });

  test("the author's comments stay at home, and the language is the campaign's", async () => {
    const { html } = await compiled({
      mjml: mail('<!-- TODO ask {{ lead.boss }} --><mj-text>Hola<!-- psst --></mj-text>'),
    });
    expect(html).not.toMatch(/TODO|psst/);
    expect(html).toContain('<html lang="es"');
  });
});

test('preparing a publication lists the problems of the definition and of its templates at once', async () => {
  const { sender: _, ...rest } = campaign({ subject: ' ', mjml: mail('<mj-text>{{ lead.nmae }}</mj-text>') });
  const prepared = await preparePublication({ ...rest, timeZone: 'Mars' });
  expect('problems' in prepared && prepared.problems.map(({ pointer, line }) => [pointer, line])).toEqual([
    ['/sender', undefined],
    ['/steps/0/subject', undefined],
    ['/timeZone', undefined],
    ['/steps/0/mjml', 5],
  ]);
});
