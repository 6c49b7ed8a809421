import { randomUUID } from 'node:crypto';
import { createCampaign } from '../../db/campaigns';
import { createForm, reviseForm } from '../../db/forms';
import { withFormDefaults } from '../../domain/form';
import { readFormToken } from '../../domain/form-token';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { formDefinitionForTests } from '../support/forms';
import { TEST_TOKEN_KEYS } from '../support/leads';
import { API_KEY, type ApiUnderTest, AUTH, apiUnderTest, get, post } from './api-under-test';

let api: ApiUnderTest;
let campaignId: string;

beforeAll(async () => {
  api = await apiUnderTest();
  campaignId = await publishForTests(api.db, definitionForTests(8));
});
afterAll(async () => await api.close());

const put = async (id: string, definition: unknown) =>
  await api.app.inject({
    method: 'PUT',
    url: `/v1/forms/${id}`,
    headers: { ...AUTH, 'content-type': 'application/json' },
    payload: JSON.stringify({ definition }),
  });
const errorsOf = (answer: { json(): { errors: { pointer: string; detail: string }[] } }) => answer.json().errors;

test('a form is defined, seen, listed, changed, closed and opened again', async () => {
  const created = await post(api.app, '/v1/forms', { campaignId, definition: formDefinitionForTests() });
  expect(created.statusCode).toBe(201);
  const form = created.json<{ id: string; createdAt: string }>();
  expect(created.headers.location).toBe(`/v1/forms/${form.id}`);
  const known = {
    id: form.id,
    campaignId,
    version: 1,
    url: `https://recuerda.test/f/${form.id}`,
    disabledAt: null,
    createdAt: form.createdAt,
  };
  expect(form).toEqual({ ...known, definition: withFormDefaults(formDefinitionForTests()), warnings: [] });
  expect((await get(api.app, `/v1/forms/${form.id}`)).json()).toEqual(form);

  // What was read may be sent back as it is.
  expect((await put(form.id, withFormDefaults(formDefinitionForTests()))).json()).toEqual(form);

  const changed = await put(form.id, formDefinitionForTests({ name: 'Otra' }));
  expect([changed.statusCode, changed.json().version, changed.json().definition.name]).toEqual([200, 2, 'Otra']);
  expect((await put(form.id, formDefinitionForTests({ name: 'Otra' }))).json().version).toBe(2);
  expect((await get(api.app, `/v1/forms/${form.id}?version=1`)).json().definition.name).toBe('Feria de Bilbao');
  expect((await get(api.app, `/v1/forms/${form.id}?version=3`)).statusCode).toBe(404);

  const other = await createForm(api.db, campaignId, formDefinitionForTests(), new Date());
  const elsewhere = await publishForTests(api.db);
  await createForm(api.db, elsewhere, formDefinitionForTests(), new Date());
  const listed = (await get(api.app, `/v1/forms?campaignId=${campaignId}&limit=1`)).json();
  expect(listed.items.map((item: { id: string }) => item.id)).toEqual([other.id]);
  const rest = (await get(api.app, `/v1/forms?campaignId=${campaignId}&cursor=${listed.nextCursor}`)).json();
  expect(rest).toEqual({ items: [{ ...known, version: 2, name: 'Otra', languages: ['es', 'en'] }], nextCursor: null });
  expect((await get(api.app, '/v1/forms')).json().items).toHaveLength(3);

  const closed = (await post(api.app, `/v1/forms/${form.id}/disable`)).json();
  expect(closed).toEqual({ ...known, version: 2, disabledAt: expect.any(String) });
  expect((await post(api.app, `/v1/forms/${form.id}/disable`)).json()).toEqual(closed);
  expect((await post(api.app, `/v1/forms/${form.id}/enable`)).json()).toEqual({ ...known, version: 2 });
});

test('what does not exist is not found', async () => {
  const id = randomUUID();
  const answers = [
    await post(api.app, '/v1/forms', { campaignId: id, definition: formDefinitionForTests() }),
    await get(api.app, `/v1/forms/${id}`),
    await put(id, formDefinitionForTests()),
    await post(api.app, `/v1/forms/${id}/disable`),
    await post(api.app, `/v1/forms/${id}/enable`),
    await get(api.app, `/v1/forms/${id}/snippet`),
  ];
  expect(answers.map(({ statusCode }) => statusCode)).toEqual([404, 404, 404, 404, 404, 404]);
});

test('what is wrong with a form is told with pointers, and nothing is kept', async () => {
  const { id } = await createForm(api.db, campaignId, formDefinitionForTests(), new Date());
  const before = await api.db.selectFrom('form_version').selectAll().orderBy('created_at').execute();
  const consents = [
    { purpose: 'nudges' as const, text: { es: 'Sí, quiero recibir publicidad de ustedes.' }, textVersion: '1' },
  ];
  const definition = formDefinitionForTests({
    consents,
    origins: ['https://shop.example/'],
    confirmation: { expiresAfter: 'P1Y' },
  });
  const pointers = [
    '/definition/consents/0/text/en',
    '/definition/consents/0/text/es',
    '/definition/consents/0/text/es',
    '/definition/consents/0/text/es',
    '/definition/confirmation/expiresAfter',
    '/definition/origins/0',
  ];
  for (const answer of [await post(api.app, '/v1/forms', { campaignId, definition }), await put(id, definition)]) {
    expect(answer.statusCode).toBe(400);
    expect(errorsOf(answer).map(({ pointer }) => pointer)).toEqual(pointers);
  }
  const bySchema = [
    { ...formDefinitionForTests(), languages: [] },
    { ...formDefinitionForTests(), languages: ['xx'] },
    { ...formDefinitionForTests(), fields: [{ name: 'a b', label: { es: 'x' }, kind: 'text' }] },
    { ...formDefinitionForTests(), fields: [{ name: 'a', label: { es: 'x\ny' }, kind: 'text' }] },
    { ...formDefinitionForTests(), ticked: true },
  ];
  for (const wrong of bySchema) {
    expect((await post(api.app, '/v1/forms', { campaignId, definition: wrong })).statusCode).toBe(400);
  }
  expect(await api.db.selectFrom('form_version').selectAll().orderBy('created_at').execute()).toEqual(before);
});

test('a consent is held against what the campaign does; of a draft, as far as it is written', async () => {
  const short = formDefinitionForTests().consents?.map((consent) => ({
    ...consent,
    text: {
      es: 'Sobre la Cafetera Brava: 3 correos en 12 meses.',
      en: 'About the Cafetera Brava: 7 mails in 2 years.',
    },
  }));
  const definition = formDefinitionForTests({ consents: short ?? [] });
  const answer = await post(api.app, '/v1/forms', { campaignId, definition });
  expect(answer.statusCode).toBe(201);
  expect(answer.json().warnings).toEqual([
    { pointer: '/consents/0/text/es', detail: expect.stringContaining('7 nudges') },
    { pointer: '/consents/0/text/es', detail: expect.stringContaining('21') },
  ]);

  const { product } = definitionForTests();
  const draft = await createCampaign(api.db, { name: 'Draft', product });
  expect((await post(api.app, '/v1/forms', { campaignId: draft.id, definition })).json().warnings).toEqual([]);
  const nameless = await createCampaign(api.db, { name: 'Draft' });
  const refused = await post(api.app, '/v1/forms', { campaignId: nameless.id, definition });
  expect([refused.statusCode, errorsOf(refused)[0]?.pointer]).toEqual([400, '/campaignId']);
});

test('the snippet works without scripts, loads nothing, and its box is not ticked', async () => {
  const definition = formDefinitionForTests({ fields: [...(formDefinitionForTests().fields ?? [])], name: 'x' });
  const { id } = await createForm(api.db, campaignId, definition, new Date());
  const answer = await get(api.app, `/v1/forms/${id}/snippet?language=en&page=https://shop.example/fair?utm_source=x`);
  expect(answer.statusCode).toBe(200);
  expect(answer.headers['content-type']).toBe('text/html; charset=utf-8');
  const html = answer.body;
  expect(html).toContain(
    `<form method="post" action="https://recuerda.test/f/${id}" accept-charset="utf-8" lang="en">`,
  );
  expect(html).toContain('<input type="hidden" name="page" value="https://shop.example/fair">');
  expect(html).not.toMatch(/<script|<link|<img|<iframe|\son\w+=|javascript:|checked/i);
  expect([...html.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, url]) => url)).toEqual([
    'https://shop.example/privacidad',
  ]);
  // Everything that can be filled in stands inside its label.
  const visible = html.match(/<(input(?! type="hidden")|select)[^>]*>/g) ?? [];
  expect(visible).toHaveLength(7);
  const insideLabels = [...html.matchAll(/<label>.*?<\/label>/gs)].flatMap(
    ([label]) => label.match(/<(input|select)[^>]*>/g) ?? [],
  );
  expect(insideLabels).toEqual(visible);
  expect(html).toMatch(/<p aria-hidden="true"[^>]*><label>Leave this field empty<input type="text" name="leave_empty"/);
  expect(html).toContain('seven mails at most, within two years.');
  expect(html).toContain('Casa Brava, S.L.');
  const token = readFormToken(/name="form_token" value="([^"]+)"/.exec(html)?.[1] ?? '', TEST_TOKEN_KEYS);
  expect(token).toMatchObject({ kind: 'snippet', formId: id, version: 1, language: 'en' });

  const spanish = (await get(api.app, `/v1/forms/${id}/snippet`)).body;
  expect(spanish).toContain('Enviarme la información');
  expect((await get(api.app, `/v1/forms/${id}/snippet?language=de`)).statusCode).toBe(400);
  expect((await get(api.app, `/v1/forms/${id}/snippet`)).body).toBe(spanish);
});

test('a snippet of a campaign that was never published is refused', async () => {
  const draft = await createCampaign(api.db, { name: 'Draft', product: definitionForTests().product });
  const { id } = await createForm(api.db, draft.id, formDefinitionForTests(), new Date());
  const answer = await get(api.app, `/v1/forms/${id}/snippet`);
  expect([answer.statusCode, answer.json().type]).toEqual([409, 'https://recuerda.test/problems/not-published']);
});

test('versions are counted without gaps, however many change the form at the same time', async () => {
  const { id } = await createForm(api.db, campaignId, formDefinitionForTests(), new Date());
  await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      reviseForm(api.db, id, formDefinitionForTests({ name: `n${index}` }), new Date()),
    ),
  );
  const versions = await api.db
    .selectFrom('form_version')
    .select('version')
    .where('form_id', '=', id)
    .orderBy('version')
    .execute();
  expect(versions.map(({ version }) => version)).toEqual(Array.from({ length: 21 }, (_, index) => index + 1));
});

test('only keys of the scope marketing define forms', async () => {
  const made = await post(api.app, '/v1/keys', { name: 'shop', scopes: ['forms'] });
  const headers = { authorization: `Bearer ${made.json().key}` };
  expect(made.json().key).not.toBe(API_KEY);
  const answer = await post(api.app, '/v1/forms', { campaignId, definition: formDefinitionForTests() }, headers);
  expect([answer.statusCode, answer.json().scopes]).toEqual([403, ['marketing']]);
});
