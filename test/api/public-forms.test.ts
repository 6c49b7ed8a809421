import { generateKeyPairSync, randomUUID } from 'node:crypto';
import type { Api } from '../../api/context';
import { createCampaign } from '../../db/campaigns';
import { cancelCampaign } from '../../db/cancellations';
import { createDb } from '../../db/client';
import { eraseLead } from '../../db/erasure';
import { createForm, reviseForm, setFormDisabled } from '../../db/forms';
import { stopEnrollments } from '../../db/stops';
import { hashAddress } from '../../domain/address-hash';
import { normaliseAddress } from '../../domain/addresses';
import { FORM_LANGUAGES, type FormDefinition, type FormLanguage } from '../../domain/form';
import { type FormToken, signFormToken } from '../../domain/form-token';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { formDefinitionForTests } from '../support/forms';
import { enrollForTests, requestBy, TEST_ADDRESS_KEYS, TEST_TOKEN_KEYS } from '../support/leads';
import { publishedDns } from '../support/published-dns';
import { API_KEY, type ApiUnderTest, apiUnderTest, post, until } from './api-under-test';

const SECOND = 1_000;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const MX = { mx: [{ exchange: 'mx.correo.example', priority: 10 }] };
const REFERRAL = 'abcdefghijklmn23';

let api: ApiUnderTest;
let app: Api;
let campaignId: string;
let now = new Date();
const dns = publishedDns({
  'correo.example': MX,
  'gmial.com': MX,
  'gmail.com': MX,
  'googlemail.com': MX,
  'nullmx.example': { mx: [{ exchange: '', priority: 0 }] },
  'broken.example': { mx: 'ESERVFAIL', addresses: 'ESERVFAIL' },
});

beforeAll(async () => {
  api = await apiUnderTest();
  app = await api.another({ dns, clock: () => now });
  campaignId = await publishForTests(api.db, definitionForTests(8));
});
afterAll(async () => await api.close());
beforeEach(() => {
  now = new Date(now.getTime() + HOUR);
});

const newAddress = () => `${randomUUID()}@correo.example`;
const newForm = async (change: Partial<FormDefinition> = {}) =>
  await createForm(api.db, campaignId, formDefinitionForTests(change), now);
/** Of somebody who has had a moment to fill it in, unless told otherwise. */
const tokenFor = (formId: string, change: Partial<FormToken> = {}) =>
  signFormToken(
    { kind: 'page', formId, version: 1, language: 'es', issuedAt: new Date(now.getTime() - 5 * SECOND), ...change },
    TEST_TOKEN_KEYS,
  );
let network = 0;
/** A form as a browser sends it, each from another network. */
async function send(formId: string, fields: Record<string, string>, headers: Record<string, string> = {}, to = app) {
  network += 1;
  return await to.inject({
    method: 'POST',
    url: `/f/${formId}`,
    remoteAddress: `10.${network >> 16}.${(network >> 8) & 255}.${network & 255}`,
    headers: { 'content-type': 'application/x-www-form-urlencoded', 'user-agent': 'Mozilla/5.0 (test)', ...headers },
    payload: new URLSearchParams({ form_token: tokenFor(formId), ...fields }).toString(),
  });
}
const hashOf = (email: string) => hashAddress(normaliseAddress(email), TEST_ADDRESS_KEYS)[0];
const requestsBy = async (email: string) =>
  await api.db.selectFrom('form_request').selectAll().where('address_hash', '=', hashOf(email)).execute();
const contentOf = async (email: string) => (await requestsBy(email)).at(-1)?.content;
const everythingKept = async () => ({
  requests: await api.db.selectFrom('form_request').selectAll().orderBy('id').execute(),
  addresses: await api.db.selectFrom('address').selectAll().orderBy('hash').execute(),
  enrollments: await api.db.selectFrom('enrollment').selectAll().orderBy('id').execute(),
});
const hiddenOf = (page: string) =>
  Object.fromEntries(
    [...page.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)">/g)].map(([, name, value]) => [name, value]),
  );
const WORDS = formDefinitionForTests().consents?.[0]?.text ?? {};

describe('the page', () => {
  test('shows who asks, what for, which rights there are, and boxes that nobody has ticked', async () => {
    const { id } = await newForm();
    const page = await app.inject({ url: `/f/${id}?lang=en` });
    expect(page.statusCode).toBe(200);
    expect(page.headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'referrer-policy': 'same-origin',
      'cache-control': 'no-store',
      'content-security-policy': expect.stringMatching(
        /^default-src 'none'; style-src 'sha256-[^']+'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'$/,
      ),
    });
    expect(page.headers['set-cookie']).toBeUndefined();
    expect(page.body).toContain('<html lang="en">');
    for (const words of [
      'Casa Brava, S.L.',
      'Cafetera Brava',
      WORDS.en ?? '-',
      'Name (optional)',
      'corrected or erased',
    ]) {
      expect(page.body).toContain(words);
    }
    expect(page.body).toContain('<a href="https://shop.example/privacidad" rel="noopener">Privacy policy</a>');
    expect(page.body).toMatch(/<input type="checkbox" name="consent_nudges" value="yes">/);
    expect(page.body).not.toMatch(/ checked|<script|\son\w+=|style="/);
  });

  test('is sent as it is, and leads to the thanks', async () => {
    const { id } = await newForm();
    const email = newAddress();
    const page = await app.inject({ url: `/f/${id}` });
    now = new Date(now.getTime() + 3 * SECOND);
    const answer = await send(id, { ...hiddenOf(page.body), email });
    expect([answer.statusCode, answer.headers.location, answer.body]).toEqual([
      303,
      `https://recuerda.test/f/${id}/thanks?lang=es`,
      '',
    ]);
    const [request] = await requestsBy(email);
    expect(request).toMatchObject({ form_id: id, form_version: 1, state: 'pending', purpose: 'opt-in' });
    await until(() => api.asked.asking.includes(request?.id ?? ''));

    const thanks = await app.inject({ url: `/f/${id}/thanks?lang=es` });
    expect([thanks.statusCode, thanks.body.includes('un botón para confirmar')]).toEqual([200, true]);
  });

  test.each(FORM_LANGUAGES)('speaks %s, all of it', async (language) => {
    const definition = formDefinitionForTests({ languages: [...FORM_LANGUAGES], fields: [], consents: [] });
    const { id } = await createForm(api.db, campaignId, definition, now);
    const page = await app.inject({
      url: `/f/${id}`,
      headers: { 'accept-language': `xx, ${language}-XX;q=0.8, en;q=0.1` },
    });
    expect(page.body).toContain(`<html lang="${language}">`);
    const faulty = await send(id, { form_token: tokenFor(id, { language }), email: 'x' });
    expect(faulty.body).toContain(`<html lang="${language}">`);
    const thanks = (await send(id, { form_token: tokenFor(id, { language }), email: newAddress() })).headers.location;
    expect(thanks).toBe(`https://recuerda.test/f/${id}/thanks?lang=${language}`);
    expect((await app.inject({ url: `/f/${id}/thanks?lang=${language}` })).body).toContain(`<html lang="${language}">`);
    for (const { body } of [page, faulty]) expect(body).not.toMatch(/undefined|\[object/);
  });

  test.each<[string, Record<string, string>, FormLanguage]>([
    ['?lang=en', {}, 'en'],
    ['?lang=en-GB', { 'accept-language': 'es' }, 'en'],
    ['', { 'accept-language': 'de, en;q=0.3, es;q=0.7' }, 'es'],
    ['', { 'accept-language': 'en;q=0, es;q=0.1' }, 'es'],
    ['?lang=de', { 'accept-language': 'fr' }, 'es'],
    ['?lang=en&lang=es', {}, 'en'],
    ['', { 'accept-language': ';;q=,,' }, 'es'],
  ])('with %s and %j it is in %s', async (query, headers, language) => {
    const { id } = await newForm();
    expect((await app.inject({ url: `/f/${id}${query}`, headers })).body).toContain(`<html lang="${language}">`);
  });

  test('a form that is not there, closed, or of a campaign that takes nobody is not open', async () => {
    const disabled = await newForm();
    await setFormDisabled(api.db, disabled.id, true, now);
    const over = await publishForTests(api.db);
    const cancelled = await createForm(api.db, over, formDefinitionForTests(), now);
    await cancelCampaign(api.db, over, now);
    const draft = await createCampaign(api.db, { name: 'Draft', product: definitionForTests().product });
    const unpublished = await createForm(api.db, draft.id, formDefinitionForTests(), now);
    const before = await everythingKept();
    for (const id of [disabled.id, cancelled.id, unpublished.id, randomUUID(), 'x', '..%2f', '%00']) {
      const answers = [
        await app.inject({ url: `/f/${id}`, headers: { 'accept-language': 'fr' } }),
        await app.inject({ url: `/f/${id}/thanks`, headers: { 'accept-language': 'fr' } }),
        await send(id, { email: newAddress() }, { 'accept-language': 'fr' }),
      ];
      for (const answer of answers) {
        expect([id, answer.statusCode, answer.body.includes('n’est pas ouvert')]).toEqual([id, 404, true]);
      }
      const asJson = { method: 'POST', url: `/f/${id}/requests`, payload: { email: newAddress() } } as const;
      expect((await app.inject(asJson)).statusCode).toBe(404);
    }
    expect(await everythingKept()).toEqual(before);
  });

  test('nothing that comes from outside is taken for HTML', async () => {
    const evil = `"><script>alert('x')</script>&<b>`;
    const { id } = await newForm({
      fields: [
        { name: 'city', label: { es: evil, en: evil }, kind: 'text', required: true },
        { name: 'use', label: { es: 'u', en: 'u' }, kind: 'choice', choices: [evil, 'b'] },
      ],
      consents: [{ purpose: 'nudges', text: { es: `${WORDS.es} ${evil}`, en: evil }, textVersion: '1' }],
    });
    const query = new URLSearchParams({ utm_source: evil, ref: evil, lang: evil, page: evil, form_token: evil });
    const shown = await app.inject({ url: `/f/${id}?${query}`, headers: { referer: `https://a.example/${evil}` } });
    const again = await send(id, {
      email: evil,
      field_city: evil,
      field_use: evil,
      consent_nudges: evil,
      utm_campaign: evil,
      utm_source: evil,
      ref: evil,
      page: evil,
      referrer: `https://a.example/?${evil}`,
    });
    expect([shown.statusCode, again.statusCode]).toEqual([200, 422]);
    for (const { body } of [shown, again]) {
      expect(body).not.toMatch(/<script|<b>|value=""[^ >]/);
      expect(body).toContain('&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&lt;b&gt;');
    }
    expect(again.headers['content-security-policy']).toContain("default-src 'none'");
  });

  test('where thanks are on another site, the policy lets its form be redirected there', async () => {
    const { id } = await newForm({ thanksUrl: 'https://shop.example/gracias?x=1' });
    const page = await app.inject({ url: `/f/${id}` });
    expect(page.headers['content-security-policy']).toContain("form-action 'self' https://shop.example;");
    const answer = await send(id, { email: newAddress() });
    expect([answer.statusCode, answer.headers.location]).toEqual([303, 'https://shop.example/gracias?x=1']);
  });

  test('without Postgres it says so, and logs nobody’s address', async () => {
    const gone = createDb({ url: 'postgres://x@127.0.0.1:1/x', maxConnections: 1, onError: () => {} });
    const away = await api.another({ db: gone });
    const answer = await send(randomUUID(), { email: 'someone@correo.example' }, {}, away);
    await gone.destroy();
    expect([answer.statusCode, answer.headers['retry-after']]).toEqual([503, '60']);
    expect(answer.headers['content-type']).toContain('text/html');
    expect(api.logged.join('')).not.toContain('someone@correo.example');
  });
});

describe('what is kept', () => {
  test('evidence: the words that were shown, their version, the IP, the browser, the page and where it led from', async () => {
    const { id } = await newForm();
    const email = newAddress();
    const query = new URLSearchParams({
      lang: 'en',
      utm_source: 'feria',
      utm_medium: 'qr',
      utm_campaign: 'x'.repeat(201),
      utm_nonsense: 'x',
      ref: REFERRAL,
    });
    const headers = { referer: 'https://blog.example/post?reader=ana@example.com' };
    const page = await app.inject({ url: `/f/${id}?${query}`, headers });
    now = new Date(now.getTime() + 10 * SECOND);
    const fields = { field_name: 'Ana', field_cups: '2,5', field_use: 'Bar', field_grinder: 'yes', field_other: 'x' };
    const answer = await send(id, {
      ...hiddenOf(page.body),
      email,
      ...fields,
      consent_nudges: 'yes',
      consent_x: 'yes',
    });
    expect(answer.statusCode).toBe(303);
    expect(await contentOf(email)).toEqual({
      email,
      name: 'Ana',
      locale: 'en',
      timeZone: null,
      attributes: { cups: 2.5, use: 'Bar', grinder: true },
      consents: [{ purpose: 'nudges', text: WORDS.en, textVersion: '2026-11' }],
      source: {
        formId: id,
        page: `https://recuerda.test/f/${id}`,
        referrer: 'https://blog.example/post',
        utm: { source: 'feria', medium: 'qr' },
      },
      referralCode: REFERRAL,
      ip: expect.stringMatching(/^10\./),
      userAgent: 'Mozilla/5.0 (test)',
      askedAt: now.toISOString(),
    });
    expect(api.logged.join('')).not.toContain(email);
  });

  test('P7 who ticks nothing asks for the information, and agrees to no more', async () => {
    const { id } = await newForm({ doubleOptIn: false });
    const email = newAddress();
    expect((await send(id, { email })).statusCode).toBe(303);
    const enrollment = await api.db
      .selectFrom('enrollment')
      .select(['id', 'agreed_at', 'source'])
      .where('address_hash', '=', hashOf(email))
      .executeTakeFirstOrThrow();
    expect(enrollment).toMatchObject({ agreed_at: null, source: { formId: id } });
    await until(() => api.asked.started.includes(enrollment.id));
  });

  test('an address is taken as people write it; a forwarded IP is kept without its mapping', async () => {
    const { id } = await newForm({ fields: [] });
    const email = newAddress();
    const answer = await app.inject({
      method: 'POST',
      url: `/f/${id}`,
      remoteAddress: '::ffff:203.0.113.7',
      headers: { 'content-type': 'application/x-www-form-urlencoded; charset=UTF-8', 'user-agent': '' },
      payload: new URLSearchParams({ form_token: tokenFor(id), email: ` Ana Gil <${email}>. ` }).toString(),
    });
    expect(answer.statusCode).toBe(303);
    expect(await contentOf(email)).toMatchObject({ email, name: 'Ana Gil', ip: '203.0.113.7', userAgent: null });
  });

  test('a snippet: its own words, for as long as they are the same; the page that the browser or the snippet names', async () => {
    const { id } = await newForm();
    const snippet = tokenFor(id, { kind: 'snippet', issuedAt: new Date(now.getTime() - 400 * DAY), language: 'en' });
    const origin = { origin: 'https://shop.example' };
    const first = newAddress();
    const referer = 'https://shop.example/fair?utm_source=mail&utm_term=a';
    await send(id, { form_token: snippet, email: first, consent_nudges: 'yes' }, { ...origin, referer });
    expect(await contentOf(first)).toMatchObject({
      consents: [{ text: WORDS.en }],
      source: { page: 'https://shop.example/fair', utm: { source: 'mail', term: 'a' } },
    });
    const second = newAddress();
    const page = 'https://shop.example/kitchen';
    await send(id, { form_token: snippet, email: second, page }, { ...origin, referer: 'https://shop.example/' });
    expect(await contentOf(second)).toMatchObject({ consents: [], source: { page } });

    // Other languages, fields and names leave it as it is.
    await reviseForm(api.db, id, formDefinitionForTests({ name: 'Changed', fields: [] }), now);
    now = new Date(now.getTime() + 2 * DAY);
    const third = newAddress();
    const sent = { form_token: snippet, email: third, consent_nudges: 'yes', field_use: 'Casa' };
    expect((await send(id, sent, origin)).statusCode).toBe(303);
    expect(await contentOf(third)).toMatchObject({ consents: [{ text: WORDS.en }], attributes: { use: 'Casa' } });
    expect((await requestsBy(third))[0]?.form_version).toBe(1);
  });

  test('words that have changed are taken for a day as they were shown, and then shown anew, not ticked', async () => {
    const { id } = await newForm();
    const old = tokenFor(id);
    const snippet = tokenFor(id, { kind: 'snippet' });
    const changed = { es: `${WORDS.es} De verdad.`, en: `${WORDS.en} Really.` };
    const consents = [{ purpose: 'nudges' as const, text: changed, textVersion: '2027-01' }];
    await reviseForm(api.db, id, formDefinitionForTests({ consents }), now);
    now = new Date(now.getTime() + 23 * HOUR);
    for (const token of [old, snippet]) {
      const email = newAddress();
      const answer = await send(id, { form_token: token, email, consent_nudges: 'yes' });
      expect(answer.statusCode).toBe(303);
      expect(await contentOf(email)).toMatchObject({ consents: [{ text: WORDS.es, textVersion: '2026-11' }] });
      expect((await requestsBy(email))[0]?.form_version).toBe(1);
    }

    now = new Date(now.getTime() + 2 * HOUR);
    for (const token of [old, snippet]) {
      const email = newAddress();
      const answer = await send(id, { form_token: token, email, consent_nudges: 'yes', field_name: 'Ana' });
      expect(answer.statusCode).toBe(422);
      expect(answer.body).toContain('De verdad.');
      expect(answer.body).toContain('El formulario ha cambiado');
      expect(answer.body).toContain(`value="${email}"`);
      expect(answer.body).toContain('value="Ana"');
      expect(answer.body).not.toContain(' checked');
      expect(await requestsBy(email)).toEqual([]);
      now = new Date(now.getTime() + 3 * SECOND);
      const next = await send(id, { ...hiddenOf(answer.body), email, consent_nudges: 'yes' });
      expect(next.statusCode).toBe(303);
      expect(await contentOf(email)).toMatchObject({ consents: [{ text: changed.es, textVersion: '2027-01' }] });
    }
    // The information is nobody’s to withhold, whatever the words beside a box that was not ticked.
    const email = newAddress();
    expect((await send(id, { form_token: snippet, email })).statusCode).toBe(303);
    expect(await contentOf(email)).toMatchObject({ consents: [] });
  });
});

describe('what is wrong', () => {
  test('is said beside its field, values and ticks are kept, and nothing else is', async () => {
    const { id } = await newForm();
    const before = await everythingKept();
    const fields = { email: 'ana@', field_name: 'Ana', field_cups: 'many', field_use: 'Hotel', field_grinder: 'yes' };
    const answer = await send(id, { ...fields, consent_nudges: 'yes', utm_source: 'feria', ref: REFERRAL });
    expect(answer.statusCode).toBe(422);
    expect(answer.body).toContain('role="alert"');
    expect(answer.body).toMatch(
      /name="email" value="ana@"[^>]* aria-invalid="true" aria-describedby="fault-email" autofocus>/,
    );
    expect(answer.body).toContain('id="fault-email">Esto no es una dirección');
    expect(answer.body).toContain('id="fault-field_cups">Escriba un número');
    expect(answer.body).toContain('id="fault-field_use">Elija una de las opciones');
    expect(answer.body).toContain('value="Ana"');
    expect(answer.body).toMatch(/<input type="checkbox" value="yes" checked name="field_grinder"/);
    expect(answer.body).toMatch(/name="consent_nudges" value="yes" checked>/);
    expect(hiddenOf(answer.body)).toEqual({ form_token: expect.any(String), utm_source: 'feria', ref: REFERRAL });
    expect(await everythingKept()).toEqual(before);

    const email = newAddress();
    const mended = await send(id, { ...hiddenOf(answer.body), email, consent_nudges: 'yes' });
    expect(mended.statusCode).toBe(303);
    expect(await contentOf(email)).toMatchObject({ referralCode: REFERRAL, source: { utm: { source: 'feria' } } });
  });

  test.each([
    ['', 'Escriba su dirección'],
    ['   ', 'Escriba su dirección'],
    ['ana@correo', 'Esto no es una dirección'],
    ['a@correo.example, b@correo.example', 'Esto no es una dirección'],
    ['a\u0000@correo.example', 'Esto no es una dirección'],
    ['ana@nullmx.example', 'no se puede enviar correo'],
    ['ana@nothing.example', 'no se puede enviar correo'],
  ])('the address %j is refused', async (email, words) => {
    const { id } = await newForm();
    const answer = await send(id, { email });
    expect([answer.statusCode, answer.body.includes(words)]).toEqual([422, true]);
  });

  test('what is required must be there', async () => {
    const { id } = await newForm({
      fields: [
        { name: 'name', label: { es: 'Nombre', en: 'Name' }, kind: 'text', required: true },
        { name: 'adult', label: { es: 'Mayor de edad', en: 'Adult' }, kind: 'checkbox', required: true },
      ],
    });
    const answer = await send(id, { email: newAddress() });
    expect(answer.statusCode).toBe(422);
    expect(answer.body).toContain('id="fault-field_name">Hace falta.');
    expect(answer.body).toContain('id="fault-field_adult">Hace falta marcarlo.');
    expect((await send(id, { email: newAddress(), field_name: 'Ana', field_adult: 'yes' })).statusCode).toBe(303);
  });

  test('a DNS that fails refuses nobody', async () => {
    const { id } = await newForm();
    expect((await send(id, { email: `${randomUUID()}@broken.example` })).statusCode).toBe(303);
  });

  test('a mistyped domain is asked about once; sent again as it is, it is taken', async () => {
    const { id } = await newForm();
    const email = `${randomUUID()}@gmial.com`;
    const asked = await send(id, { email, consent_nudges: 'yes' });
    expect(asked.statusCode).toBe(422);
    expect(asked.body).toContain(`¿Quiso decir ${email.replace('gmial', 'gmail')}?`);
    expect(hiddenOf(asked.body).email_asked).toBe(email);
    expect(await requestsBy(email)).toEqual([]);
    // Another mistyped one is asked about, too.
    const other = await send(id, { ...hiddenOf(asked.body), email: 'ana@hotmial.com' });
    expect([other.statusCode, other.body.includes('ana@hotmail.com')]).toEqual([422, true]);
    const insisted = await send(id, { ...hiddenOf(asked.body), email });
    expect(insisted.statusCode).toBe(303);
    expect(await requestsBy(email)).toHaveLength(1);
  });

  test.each([
    ['JSON', 'application/json', '{}', 415],
    ['multipart', 'multipart/form-data; boundary=x', '--x--', 415],
    ['too much', 'application/x-www-form-urlencoded', `email=${'x'.repeat(200_000)}`, 413],
    ['nothing', 'application/x-www-form-urlencoded', '', 422],
    ['bytes that are no text', 'application/x-www-form-urlencoded', Buffer.from([0xff, 0, 0x25, 0x66]), 422],
  ])('%s is answered with a page', async (_, type, payload, status) => {
    const { id } = await newForm();
    const headers = { 'content-type': type };
    const answer = await app.inject({ method: 'POST', url: `/f/${id}`, headers, payload, remoteAddress: '192.0.2.77' });
    expect([answer.statusCode, answer.headers['content-type']]).toEqual([status, 'text/html; charset=utf-8']);
  });
});

describe('robots', () => {
  test('who fills in what nobody sees is answered exactly as ever, and nothing is kept or asked', async () => {
    const { id } = await newForm();
    const honest = await send(id, { email: newAddress() });
    const [before, asked] = [await everythingKept(), dns.asked.length];
    const robot = await send(id, { email: newAddress(), leave_empty: 'https://spam.example' });
    const told = (answer: typeof robot) => {
      const { date: _, 'x-request-id': __, ...headers } = answer.headers;
      return [answer.statusCode, answer.body, headers];
    };
    expect(told(robot)).toEqual(told(honest));
    expect(await everythingKept()).toEqual(before);
    expect(dns.asked).toHaveLength(asked);
  });

  test('who is faster than anybody can read presses the button again; waiting is enough', async () => {
    const { id } = await newForm();
    const email = newAddress();
    const page = await app.inject({ url: `/f/${id}` });
    now = new Date(now.getTime() + 1_999);
    const fast = await send(id, { ...hiddenOf(page.body), email, consent_nudges: 'yes' });
    expect([fast.statusCode, fast.body.includes('pulse el botón una vez más')]).toEqual([422, true]);
    expect(fast.body).toMatch(/name="consent_nudges" value="yes" checked>/);
    expect(await requestsBy(email)).toEqual([]);
    now = new Date(now.getTime() + 1);
    expect((await send(id, { ...hiddenOf(fast.body), email })).statusCode).toBe(303);
  });

  test.each<[string, (formId: string) => string]>([
    ['none', () => ''],
    ['one that was made up', () => 'x'.repeat(60)],
    ['one of another form', () => tokenFor(randomUUID())],
    ['one of a version that never was', (id) => tokenFor(id, { version: 7 })],
    [
      'one that a stranger has signed',
      (id) =>
        signFormToken({ kind: 'page', formId: id, version: 1, language: 'es', issuedAt: new Date(0) }, [
          { version: 1, secret: Buffer.alloc(32, 66) },
        ]),
    ],
  ])('with %s for a token it is shown again, not ticked, since nobody knows what was shown', async (_, token) => {
    const { id } = await newForm();
    const email = newAddress();
    const answer = await send(id, { form_token: token(id), email, consent_nudges: 'yes' });
    expect(answer.statusCode).toBe(422);
    expect(answer.body).toContain(`value="${email}"`);
    expect(answer.body).not.toContain(' checked');
    expect(await requestsBy(email)).toEqual([]);
    now = new Date(now.getTime() + 3 * SECOND);
    expect((await send(id, { ...hiddenOf(answer.body), email })).statusCode).toBe(303);
  });

  test('a page that was open for more than a day is sent once more', async () => {
    const { id } = await newForm();
    const email = newAddress();
    const issuedAt = new Date(now.getTime() - DAY - 1);
    const answer = await send(id, { form_token: tokenFor(id, { issuedAt }), email, consent_nudges: 'yes' });
    expect([answer.statusCode, answer.body.includes(' checked')]).toEqual([422, true]);
    expect(hiddenOf(answer.body).form_token).not.toBe(tokenFor(id, { issuedAt }));
  });

  test('more than thirty in ten minutes from one network wait, whatever they send; others don’t', async () => {
    const { id } = await newForm();
    const from = async (remoteAddress: string) =>
      await app.inject({
        method: 'POST',
        url: `/f/${id}`,
        remoteAddress,
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        payload: 'email=x',
      });
    now = new Date(Math.ceil(now.getTime() / 600_000) * 600_000 + 60_000);
    for (let i = 0; i < 30; i++) expect((await from(`2001:db8:1:1::${i.toString(16)}`)).statusCode).toBe(422);
    const refused = await from('2001:db8:1:1:ffff::1');
    expect([refused.statusCode, refused.headers['retry-after']]).toEqual([429, '540']);
    expect(refused.body).toContain('Too many tries');
    expect((await from('2001:db8:1:2::1')).statusCode).toBe(422);
    const json = await app.inject({
      method: 'POST',
      url: `/f/${id}/requests`,
      remoteAddress: '2001:db8:1:1::9',
      headers: { origin: 'https://shop.example' },
      payload: { email: newAddress() },
    });
    expect([json.statusCode, json.json().retryAfter]).toEqual([429, 540]);
    expect(json.headers['access-control-allow-origin']).toBe('https://shop.example');
    now = new Date(now.getTime() + 540_000);
    expect((await from('2001:db8:1:1::1')).statusCode).toBe(422);
    const buckets = await api.db.selectFrom('throttle').select('bucket').execute();
    expect(JSON.stringify(buckets)).not.toMatch(/2001|correo|::/);
  });

  test('more than five an hour for one address are answered as ever, and not kept', async () => {
    const { id } = await newForm({ doubleOptIn: false });
    const email = newAddress();
    const events = async () =>
      await api.db
        .selectFrom('event as e')
        .innerJoin('lead as l', 'l.id', 'e.lead_id')
        .select('e.kind')
        .where('l.email', '=', email)
        .execute();
    const answers = [];
    const counts = [];
    for (let i = 0; i < 7; i++) {
      answers.push(await send(id, { email: i % 2 === 0 ? email : email.toUpperCase() }));
      counts.push((await events()).length);
    }
    expect(answers.map(({ statusCode }) => statusCode)).toEqual(Array(7).fill(303));
    expect(new Set(answers.map(({ headers }) => headers.location)).size).toBe(1);
    expect(counts[0]).toBeGreaterThan(0);
    expect(counts.slice(4)).toEqual([counts[4], counts[4], counts[4]]);
  });
});

test.each([
  ['behind a +', (i: number) => `flooded+${i}@correo.example`],
  [
    'with dots at Gmail',
    (i: number) => `${'flooded'.slice(0, i)}.${'flooded'.slice(i)}@${i % 2 === 0 ? 'gmail' : 'googlemail'}.com`,
  ],
])('one mailbox under many addresses (%s) is asked five times an hour, and no more', async (_, addressOf) => {
  const { id } = await newForm();
  const asked = [];
  for (let i = 1; i < 7; i++) {
    const email = addressOf(i);
    expect((await send(id, { email })).statusCode).toBe(303);
    asked.push((await requestsBy(email)).length);
  }
  expect(asked).toEqual([1, 1, 1, 1, 1, 0]);
  expect((await send(id, { email: '+6@correo.example' })).statusCode).toBe(303);
  expect(await requestsBy('+6@correo.example')).not.toEqual([]);
});

describe('other origins', () => {
  test.each<[string, string | undefined, Partial<FormDefinition>, number]>([
    ['none', undefined, {}, 303],
    ['ours', 'https://recuerda.test', {}, 303],
    ['one of the form’s', 'https://shop.example', {}, 303],
    ['one that is hidden, where a confirmation follows', 'null', {}, 303],
    ['one that is hidden, where none follows', 'null', { doubleOptIn: false }, 403],
    ['another', 'https://evil.example', {}, 403],
    ['another scheme', 'http://shop.example', {}, 403],
    ['another port', 'https://shop.example:8443', {}, 403],
  ])('a form from %s origin', async (_, origin, change, status) => {
    const { id } = await newForm(change);
    const email = newAddress();
    const answer = await send(id, { email }, origin === undefined ? {} : { origin });
    expect(answer.statusCode).toBe(status);
    if (status === 403) {
      expect(answer.body).toContain('This page can not send the form');
      expect(await everythingKept().then(({ addresses }) => addresses.some(({ hash }) => hash === hashOf(email)))).toBe(
        false,
      );
    }
  });
});

test('P6 nothing tells whether an address is known, and what of it', async () => {
  const { id } = await newForm();
  const open = await newForm({ doubleOptIn: false });
  const enrolled = newAddress();
  await enrollForTests(api.db, campaignId, requestBy(enrolled));
  const suppressed: [string, string][] = [];
  for (const [outcome, suppress] of [
    ['unsubscribed', 'objection'],
    ['complained', 'complaint'],
    ['bounced', 'undeliverable'],
    ['unsubscribed', 'campaign'],
  ] as const) {
    const email = newAddress();
    const request = requestBy(email);
    await enrollForTests(api.db, campaignId, request);
    const about = suppress === 'campaign' ? { suppress, campaignId } : { suppress };
    await stopEnrollments(api.db, { who: { hashes: request.hashes }, outcome, ...about, detail: { by: 'test' }, now });
    suppressed.push([suppress, email]);
  }
  const erased = newAddress();
  await enrollForTests(api.db, campaignId, requestBy(erased));
  const lead = await api.db
    .selectFrom('lead')
    .select('id')
    .where('address_hash', '=', hashOf(erased))
    .executeTakeFirstOrThrow();
  const { erased: isErased } = await eraseLead(api.db, {
    leadId: lead.id,
    by: 'staff',
    sealTo: null,
    sealedFor: 'P3Y',
    signingKey: generateKeyPairSync('ed25519').privateKey,
    addressKeys: TEST_ADDRESS_KEYS,
    now,
  });
  expect(isErased).toBe(true);

  const people: [string, string][] = [['new', newAddress()], ['enrolled', enrolled], ...suppressed, ['erased', erased]];
  for (const form of [id, open.id]) {
    const answers = [];
    for (const [index, [kind, email]] of people.entries()) {
      const mxBefore = dns.asked.length;
      const page = await send(form, { email, consent_nudges: 'yes' });
      const asJson = await app.inject({
        method: 'POST',
        url: `/f/${form}/requests`,
        headers: { origin: 'https://shop.example' },
        remoteAddress: `198.51.100.${index}`,
        payload: { email, consents: ['nudges'] },
      });
      const { date: _, 'x-request-id': __, ...pageHeaders } = page.headers;
      const { date: ___, 'x-request-id': ____, ...jsonHeaders } = asJson.headers;
      answers.push({
        kind,
        page: [page.statusCode, page.body, pageHeaders],
        json: [asJson.statusCode, asJson.body, jsonHeaders],
        asked: dns.asked.slice(mxBefore),
      });
    }
    const [first, ...others] = answers;
    expect(first?.page[0]).toBe(303);
    expect(first?.json).toEqual([202, '{"accepted":true}', expect.anything()]);
    for (const other of others) expect(other).toEqual({ ...first, kind: other.kind });
  }
  // Nobody who is suppressed was enrolled by that: they are asked first.
  for (const [, email] of suppressed) {
    const openOnes = await api.db
      .selectFrom('enrollment')
      .select('id')
      .where('address_hash', '=', hashOf(email))
      .where('outcome', 'is', null)
      .execute();
    expect(openOnes).toEqual([]);
  }
});

describe('as JSON', () => {
  const sendJson = async (formId: string, payload: object, headers: Record<string, string> = {}) => {
    network += 1;
    return await app.inject({
      method: 'POST',
      url: `/f/${formId}/requests`,
      remoteAddress: `10.${network >> 16}.${(network >> 8) & 255}.${network & 255}`,
      headers: { origin: 'https://shop.example', 'user-agent': 'Mozilla/5.0 (test)', ...headers },
      payload,
    });
  };

  test('a page of one of the form’s origins is told that it may send, and sends', async () => {
    const { id } = await newForm();
    const preflight = await app.inject({
      method: 'OPTIONS',
      url: `/f/${id}/requests`,
      headers: { origin: 'https://shop.example', 'access-control-request-method': 'POST' },
    });
    expect([preflight.statusCode, preflight.body]).toEqual([204, '']);
    expect(preflight.headers).toMatchObject({
      'access-control-allow-origin': 'https://shop.example',
      'access-control-allow-methods': 'POST',
      'access-control-allow-headers': 'content-type',
      vary: 'Origin',
    });
    expect(preflight.headers['access-control-allow-credentials']).toBeUndefined();

    const email = newAddress();
    const answer = await sendJson(id, {
      email,
      name: 'Ana',
      fields: { cups: 3, use: 'Casa', grinder: true },
      consents: ['nudges'],
      language: 'en',
      page: 'https://shop.example/fair?mail=ana@example.com',
      referrer: 'https://blog.example/',
      utm: { source: 'feria', term: '' },
      referralCode: REFERRAL,
      timeZone: 'Atlantic/Canary',
    });
    expect([answer.statusCode, answer.json()]).toEqual([202, { accepted: true }]);
    expect(answer.headers).toMatchObject({ 'access-control-allow-origin': 'https://shop.example', vary: 'Origin' });
    expect(await contentOf(email)).toEqual({
      email,
      name: 'Ana',
      locale: 'en',
      timeZone: 'Atlantic/Canary',
      attributes: { cups: 3, use: 'Casa', grinder: true },
      consents: [{ purpose: 'nudges', text: WORDS.en, textVersion: '2026-11' }],
      source: {
        formId: id,
        page: 'https://shop.example/fair',
        referrer: 'https://blog.example/',
        utm: { source: 'feria' },
      },
      referralCode: REFERRAL,
      ip: expect.stringMatching(/^10\./),
      userAgent: 'Mozilla/5.0 (test)',
      askedAt: now.toISOString(),
    });
    const [request] = await requestsBy(email);
    await until(() => api.asked.asking.includes(request?.id ?? ''));
  });

  test.each(['https://evil.example', 'null', 'http://shop.example', 'https://shop.example.evil.example'])(
    'a page of %s may not, with a key or without',
    async (origin) => {
      const { id } = await newForm();
      const email = newAddress();
      const answers = [
        await sendJson(id, { email }, { origin }),
        await sendJson(id, { email }, { origin, authorization: `Bearer ${API_KEY}` }),
        await app.inject({ method: 'OPTIONS', url: `/f/${id}/requests`, headers: { origin } }),
      ];
      for (const answer of answers) {
        expect([answer.statusCode, answer.json().type]).toEqual([
          403,
          'https://recuerda.test/problems/origin-not-allowed',
        ]);
        expect(answer.headers['access-control-allow-origin']).toBeUndefined();
      }
      expect(await requestsBy(email)).toEqual([]);
    },
  );

  test('without an origin it takes a key of the scope forms, which tells for whom it sends', async () => {
    const { id } = await newForm();
    const email = newAddress();
    const server = async (payload: object, authorization?: string) =>
      await app.inject({
        method: 'POST',
        url: `/f/${id}/requests`,
        remoteAddress: '192.0.2.80',
        headers: { 'user-agent': 'shop/1.0', ...(authorization === undefined ? {} : { authorization }) },
        payload,
      });
    expect((await server({ email })).statusCode).toBe(401);
    expect((await server({ email }, 'Bearer nobody-knows-this-key-0123456789')).statusCode).toBe(401);
    const keyOf = async (scopes: string[]) =>
      `Bearer ${(await post(api.app, '/v1/keys', { name: randomUUID(), scopes })).json().key}`;
    const forbidden = await server({ email }, await keyOf(['marketing', 'checkout']));
    expect([forbidden.statusCode, forbidden.json().scopes]).toEqual([403, ['forms']]);
    expect(await requestsBy(email)).toEqual([]);

    const key = await keyOf(['forms']);
    expect((await server({ email, ip: '203.0.113.9', userAgent: 'Safari' }, key)).statusCode).toBe(202);
    expect(await contentOf(email)).toMatchObject({ ip: '203.0.113.9', userAgent: 'Safari' });
    const unknown = newAddress();
    expect((await server({ email: unknown }, key)).statusCode).toBe(202);
    // The server's own address would be false evidence.
    expect(await contentOf(unknown)).toMatchObject({ ip: null, userAgent: null });
    expect((await server({ email, ip: 'x' }, key)).json().errors).toEqual([
      { pointer: '/ip', in: 'body', detail: expect.any(String) },
    ]);
  });

  test.each<[string, object, string[]]>([
    ['no address', {}, ['/email']],
    ['no address that is one', { email: 'ana@' }, ['/email']],
    ['a domain that takes no mail', { email: 'ana@nullmx.example' }, ['/email']],
    ['an unknown field', { email: 'a@correo.example', fields: { color: 'red' } }, ['/fields/color']],
    ['a field of the wrong kind', { email: 'a@correo.example', fields: { cups: 'many' } }, ['/fields/cups']],
    ['a choice that is none', { email: 'a@correo.example', fields: { use: 'Hotel' } }, ['/fields/use']],
    ['a name that is none', { email: 'a@correo.example', name: 'see https://x.example' }, ['/name']],
    ['a zone that is none', { email: 'a@correo.example', timeZone: 'Mars/Base' }, ['/timeZone']],
    ['a purpose that is not asked for', { email: 'a@correo.example', consents: ['marketing'] }, ['/consents/0']],
    ['a language that it is not in', { email: 'a@correo.example', language: 'de' }, ['/language']],
    ['a version that never was', { email: 'a@correo.example', formVersion: 9 }, ['/formVersion']],
    ['an IP of a browser', { email: 'a@correo.example', ip: '203.0.113.9' }, ['/ip']],
    ['several things', { email: 'x', name: 'a\nb', fields: { cups: true } }, ['/fields/cups', '/name', '/email']],
    ['a field that there is not', { email: 'a@correo.example', consent: true }, ['/consent']],
  ])('%s is refused, and the page may read why', async (_, body, pointers) => {
    const { id } = await newForm();
    const before = await everythingKept();
    const answer = await sendJson(id, body);
    expect(answer.statusCode).toBe(400);
    const errors = answer.json<{ errors: { pointer: string }[] }>().errors;
    expect(errors.map(({ pointer }) => pointer).sort()).toEqual([...pointers].sort());
    expect(answer.headers['access-control-allow-origin']).toBe('https://shop.example');
    expect(await everythingKept()).toEqual(before);
  });

  test('what is no JSON, and too much of it, is refused so that the page may read why', async () => {
    const { id } = await newForm();
    for (const [type, payload, status] of [
      ['application/json', '{"email":', 400],
      ['text/plain', '{}', 415],
      ['application/x-www-form-urlencoded', 'email=x', 415],
      ['application/json', JSON.stringify({ email: 'x'.repeat(70_000) }), 413],
    ] as const) {
      const headers = { origin: 'https://shop.example', 'content-type': type };
      const answer = await app.inject({ method: 'POST', url: `/f/${id}/requests`, headers, payload });
      expect(answer.statusCode).toBe(status);
      expect(answer.headers['content-type']).toContain('application/problem+json');
      expect(answer.headers['access-control-allow-origin']).toBe('https://shop.example');
    }
  });

  test('a field that people don’t see gives robots away: the same answer, and nothing is kept', async () => {
    const { id } = await newForm();
    const before = await everythingKept();
    const answer = await sendJson(id, { email: newAddress(), leaveEmpty: 'x' });
    expect([answer.statusCode, answer.body]).toEqual([202, '{"accepted":true}']);
    expect(await everythingKept()).toEqual(before);
  });

  test('a page that asks for hints is told of a mistyped domain; any other is not held up', async () => {
    const { id } = await newForm();
    const email = `${randomUUID()}@gmial.com`;
    const hinted = await sendJson(id, { email, hint: true });
    expect([hinted.statusCode, hinted.json().suggestion]).toEqual([400, email.replace('gmial', 'gmail')]);
    expect(await requestsBy(email)).toEqual([]);
    expect((await sendJson(id, { email })).statusCode).toBe(202);
    expect(await requestsBy(email)).toHaveLength(1);
  });

  test('words that have changed are taken for a day as they were shown', async () => {
    const { id } = await newForm();
    const consents = [
      { purpose: 'nudges' as const, text: { es: `${WORDS.es} ¡Ya!`, en: `${WORDS.en} Now!` }, textVersion: '2' },
    ];
    await reviseForm(api.db, id, formDefinitionForTests({ consents }), now);
    now = new Date(now.getTime() + 23 * HOUR);
    const email = newAddress();
    expect((await sendJson(id, { email, consents: ['nudges'], formVersion: 1 })).statusCode).toBe(202);
    expect(await contentOf(email)).toMatchObject({ consents: [{ text: WORDS.es, textVersion: '2026-11' }] });
    now = new Date(now.getTime() + 2 * HOUR);
    const late = await sendJson(id, { email: newAddress(), consents: ['nudges'], formVersion: 1 });
    expect([late.statusCode, late.json().errors[0].pointer]).toEqual([400, '/formVersion']);
    const next = newAddress();
    expect((await sendJson(id, { email: next, consents: ['nudges'] })).statusCode).toBe(202);
    expect(await contentOf(next)).toMatchObject({ consents: [{ text: `${WORDS.es} ¡Ya!`, textVersion: '2' }] });
    expect((await sendJson(id, { email: newAddress(), formVersion: 1 })).statusCode).toBe(202);
  });
});
