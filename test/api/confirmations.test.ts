import { randomUUID } from 'node:crypto';
import { createDb } from '../../db/client';
import { stopEnrollments } from '../../db/stops';
import { signConfirmToken } from '../../domain/confirm-token';
import { signUnsubscribeToken } from '../../domain/unsubscribe-token';
import { definitionForTests, publishForTests } from '../support/campaigns';
import {
  CONSENT_TEXT,
  type FormForTests,
  formForTests,
  sentBy,
  submit,
  submitToConfirm,
} from '../support/form-requests';
import { TEST_TOKEN_KEYS } from '../support/leads';
import { type ApiUnderTest, apiUnderTest, until } from './api-under-test';

const DAY = 24 * 3_600_000;
const FORM = { 'content-type': 'application/x-www-form-urlencoded' };

let api: ApiUnderTest;
let campaignId: string;
let form: FormForTests;
beforeAll(async () => {
  api = await apiUnderTest();
  campaignId = await publishForTests(api.db, definitionForTests(3));
  form = await formForTests(api.db, campaignId);
});
afterAll(async () => await api.close());

async function asked(change: Parameters<typeof sentBy>[2] = {}, now = new Date()) {
  const submission = sentBy(form, `${randomUUID()}@correo.example`, change, now);
  const requestId = await submitToConfirm(api.db, submission);
  const [addressHash] = submission.hashes;
  const locale = submission.content.locale ?? 'es';
  const url = `/c/${signConfirmToken({ requestId, addressHash, formId: form.id, locale }, TEST_TOKEN_KEYS)}`;
  return { requestId, submission, addressHash, url };
}

const page = (url: string) => api.app.inject({ method: 'GET', url });
const press = (url: string, payload = '') => api.app.inject({ method: 'POST', url, payload, headers: FORM });
/** What the button of the page sends. */
async function shownBy(url: string): Promise<string> {
  const value = /name="shown" value="([^"]*)"/.exec((await page(url)).body)?.[1] ?? '';
  expect(value).not.toBe('');
  return new URLSearchParams({ shown: value }).toString();
}
const everything = async () => ({
  addresses: await api.db.selectFrom('address').selectAll().orderBy('hash').execute(),
  requests: await api.db.selectFrom('form_request').selectAll().orderBy('id').execute(),
  leads: await api.db.selectFrom('lead').selectAll().orderBy('id').execute(),
  enrollments: await api.db.selectFrom('enrollment').selectAll().orderBy('id').execute(),
});
const enrollmentOf = (hash: string) =>
  api.db.selectFrom('enrollment').selectAll().where('address_hash', '=', hash).executeTakeFirst();
const requestOf = (id: string) =>
  api.db.selectFrom('form_request').selectAll().where('id', '=', id).executeTakeFirstOrThrow();

test('a link scanner’s GET and HEAD show what was asked, and change nothing', async () => {
  const { url } = await asked();
  const before = await everything();
  for (const path of [url, `${url}?shown=x`, `${url}/never`]) {
    const answer = await page(path);
    expect(answer.statusCode).toBe(200);
    expect(answer.headers).toMatchObject({
      'x-robots-tag': 'noindex, nofollow',
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-store',
    });
    expect(answer.headers['set-cookie']).toBeUndefined();
    expect(answer.body).toContain('Casa Brava, S.L.');
    const head = await api.app.inject({ method: 'HEAD', url: path });
    expect([head.statusCode, head.body]).toEqual([200, '']);
  }
  const { body } = await page(url);
  for (const said of [
    '<html lang="es">',
    'Cafetera Brava',
    CONSENT_TEXT,
    'https://shop.example/cafetera',
    'no haga nada',
  ]) {
    expect(body).toContain(said);
  }
  expect(body).not.toMatch(/correo\.example|Íñigo|Bilbao/);
  expect(await everything()).toEqual(before);
});

test('a POST confirms what the page has shown; the journey starts only then; a second one says so and changes nothing', async () => {
  const { url, addressHash, requestId } = await asked();
  expect(await enrollmentOf(addressHash)).toBeUndefined();
  const body = await shownBy(url);
  const done = await press(url, body);
  expect(done.statusCode).toBe(200);
  expect(done.body).toContain('La información sobre Cafetera Brava está en camino.');
  const enrollment = await enrollmentOf(addressHash);
  await until(() => api.asked.started.includes(enrollment?.id ?? ''));
  await until(() => api.asked.asking.includes(requestId));
  const before = await everything();
  for (const again of [await press(url, body), await press(url), await page(url)]) {
    expect(again.statusCode).toBe(200);
    expect(again.body).toContain('Ya estaba confirmada');
  }
  expect(await everything()).toEqual(before);
});

test('without what was shown, or when something else was asked meanwhile, the page is shown again', async () => {
  const { url, submission, addressHash } = await asked({ consents: [] });
  expect((await press(url)).body).toContain('name="shown"');
  const body = await shownBy(url);

  await submit(api.db, sentBy(form, submission.content.email, {}, new Date(Date.now() + 1000)));
  const changed = await press(url, body);
  expect(changed.body).toContain('Entretanto la solicitud se ha enviado de nuevo');
  expect(changed.body).toContain(CONSENT_TEXT);
  expect(await enrollmentOf(addressHash)).toBeUndefined();
  await press(url, await shownBy(url));
  expect(await enrollmentOf(addressHash)).toMatchObject({ basis: 'consent' });
});

test('expired, it never acts, says so, and leads to the form', async () => {
  const { url, addressHash } = await asked({}, new Date(Date.now() - 8 * DAY));
  const before = await everything();
  for (const answer of [await page(url), await press(url, 'shown=2026')]) {
    expect(answer.statusCode).toBe(410);
    expect(answer.body).toContain('Este enlace ha caducado');
    expect(answer.body).toContain(`href="https://recuerda.test/f/${form.id}"`);
  }
  expect(await everything()).toEqual(before);
  expect(await enrollmentOf(addressHash)).toBeUndefined();
});

test('of a request that is known no more it says the same', async () => {
  const { url, requestId } = await asked();
  await api.db.deleteFrom('form_request').where('id', '=', requestId).execute();
  expect((await page(url)).statusCode).toBe(410);
  expect((await press(url)).body).toContain(`/f/${form.id}`);
});

test('forged, cut short, or signed for something else, a link is none, and nothing changes', async () => {
  const { url, addressHash, requestId } = await asked();
  const other = signUnsubscribeToken(
    { addressHash, campaignId, enrollmentId: requestId, locale: 'es' },
    TEST_TOKEN_KEYS,
  );
  const ofAnotherKey = signConfirmToken({ addressHash, requestId, formId: null, locale: 'es' }, [
    { version: 1, secret: Buffer.alloc(32, 5) },
  ]);
  const before = await everything();
  for (const token of [other, ofAnotherKey, url.slice(3, -1), `${url.slice(3)}A`, 'x', '%00']) {
    for (const path of [`/c/${token}`, `/c/${token}/never`]) {
      for (const answer of [await page(path), await press(path, 'shown=x')]) {
        expect(answer.statusCode).toBe(404);
        expect(answer.body).toContain('<!doctype html>');
      }
    }
  }
  expect(await everything()).toEqual(before);
});

test('P6 an objection is lifted by the POST alone, and the page says what that does', async () => {
  const { addressHash, submission } = await asked();
  await api.db.deleteFrom('form_request').where('address_hash', '=', addressHash).execute();

  const objection = { who: { hashes: submission.hashes }, outcome: 'unsubscribed', suppress: 'objection' } as const;
  await stopEnrollments(api.db, { ...objection, now: new Date(Date.now() - DAY) });
  const requestId = await submitToConfirm(api.db, sentBy(form, submission.content.email));
  const url = `/c/${signConfirmToken({ requestId, addressHash, formId: form.id, locale: 'es' }, TEST_TOKEN_KEYS)}`;
  expect((await page(url)).body).toContain('se había dado de baja');
  const standing = () =>
    api.db.selectFrom('address').select('suppressed_reason').where('hash', '=', addressHash).executeTakeFirst();
  expect(await standing()).toEqual({ suppressed_reason: 'objection' });
  await press(url, await shownBy(url));
  expect(await standing()).toEqual({ suppressed_reason: null });
  expect(await enrollmentOf(addressHash)).toMatchObject({ outcome: null });
});

test('"don’t write to me again" objects and withdraws by POST, twice as well, after the link has expired too', async () => {
  const { url, addressHash, requestId } = await asked();
  const old = await asked({}, new Date(Date.now() - 20 * DAY));
  for (const [path, hash] of [
    [`${url}/never`, addressHash],
    [`${url}/never`, addressHash],
    [`${old.url}/never`, old.addressHash],
  ] as const) {
    const answer = await press(path);
    expect(answer.statusCode).toBe(200);
    expect(answer.body).toContain('No volveremos a escribir a esta dirección.');
    const address = await api.db
      .selectFrom('address')
      .select('suppressed_reason')
      .where('hash', '=', hash)
      .executeTakeFirst();
    expect(address).toEqual({ suppressed_reason: 'objection' });
  }
  expect(await requestOf(requestId)).toMatchObject({ state: 'withdrawn', content: null });
  await until(() => api.asked.asking.includes(requestId));
  const confirming = await press(url, 'shown=x');
  expect(confirming.statusCode).toBe(410);
  expect(await enrollmentOf(addressHash)).toBeUndefined();
});

test('a bare POST, in whatever type, to the way out counts', async () => {
  for (const request of [{}, { headers: { 'content-type': 'application/json' }, payload: '{' }, { headers: FORM }]) {
    const { url, requestId } = await asked();
    const answer = await api.app.inject({ method: 'POST', url: `${url}/never`, ...request });
    expect(answer.statusCode).toBe(200);
    expect(await requestOf(requestId)).toMatchObject({ state: 'withdrawn' });
  }
});

test.each(['en', 'fr', 'de', 'it', 'pt', 'ca'])('in %s every page is there', async (locale) => {
  const { url } = await asked({ locale });
  const before = [await page(url), await page(`${url}/never`), await press(url), await press(url, await shownBy(url))];
  const after = [await page(url), await press(`${url}/never`)];
  for (const { body } of [...before, ...after]) {
    expect(body).toContain(`<html lang="${locale}">`);
    expect(body).not.toMatch(/undefined|\bnull\b|\[object/);
  }
  const titles = [...before, ...after].map(({ body }) => /<title>([^<]+)</.exec(body)?.[1]);
  expect(new Set(titles).size).toBe(5);
});

test('while Postgres is away it says so, and nothing of the person is logged', async () => {
  const { url } = await asked();
  const db = createDb({ url: 'postgres://nobody@127.0.0.1:1/none', maxConnections: 1, onError: () => {} });
  const away = await api.another({ db });
  for (const method of ['GET', 'POST'] as const) {
    const answer = await away.inject({ method, url });
    expect(answer.statusCode).toBe(503);
    expect(answer.headers['retry-after']).toBe('60');
    expect(answer.body).toContain('<html lang="es">');
  }
  await db.destroy();
  expect(api.logged.join('\n')).not.toMatch(/correo\.example|Íñigo|Núñez/);
});
