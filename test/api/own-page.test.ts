import { randomUUID } from 'node:crypto';
import { DateTime } from 'luxon';
import { closeUnconfirmedRequests } from '../../db/own-page';
import { stopEnrollments } from '../../db/stops';
import { FORM_LANGUAGES } from '../../domain/form';
import { signOwnPageToken } from '../../domain/own-page-token';
import { signUnsubscribeToken } from '../../domain/unsubscribe-token';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy, TEST_TOKEN_KEYS } from '../support/leads';
import { type ApiUnderTest, apiUnderTest, get, ledgerRow, until } from './api-under-test';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

let api: ApiUnderTest;
let campaignId: string;
let otherCampaignId: string;

beforeAll(async () => {
  api = await apiUnderTest();
  const definition = definitionForTests(5);
  campaignId = await publishForTests(api.db, {
    ...definition,
    sender: { ...definition.sender, requestedAddress: 'info@casa-brava.example' },
  });
  otherCampaignId = await publishForTests(api.db, definitionForTests(5));
});
afterAll(async () => await api.close());

/** Somebody in two campaigns whose next nudge is a day away, with the link of a mail of the first. */
async function somebody(locale = 'es') {
  const email = `${randomUUID()}@correo.example`;
  const request = requestBy(email, { locale, timeZone: 'Atlantic/Canary' });
  const enrollmentId = await enrollForTests(api.db, campaignId, request);
  const otherId = await enrollForTests(api.db, otherCampaignId, request);
  await api.db
    .updateTable('enrollment')
    .set({ step: 1, next_due_at: new Date(Date.now() + DAY), signal_at: null })
    .where('id', 'in', [enrollmentId, otherId])
    .execute();
  const { lead_id: leadId } = await enrollment(enrollmentId);
  const claims = { addressHash: request.hashes[0], campaignId, enrollmentId, locale };
  const token = signUnsubscribeToken(claims, TEST_TOKEN_KEYS);
  return { email, request, enrollmentId, otherId, leadId, claims, token, url: `/me/${token}` };
}

const enrollment = async (id: string) =>
  await api.db.selectFrom('enrollment').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
const leadOf = async (id: string) =>
  await api.db.selectFrom('lead').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
const everything = async () => ({
  leads: await api.db.selectFrom('lead').selectAll().orderBy('id').execute(),
  addresses: await api.db.selectFrom('address').selectAll().orderBy('hash').execute(),
  enrollments: await api.db.selectFrom('enrollment').selectAll().orderBy('id').execute(),
  events: await api.db.selectFrom('event').selectAll().orderBy('id').execute(),
  requests: await api.db.selectFrom('privacy_request').selectAll().orderBy('id').execute(),
  links: await api.db.selectFrom('privacy_link').selectAll().orderBy('id').execute(),
  mails: await api.db.selectFrom('transactional').selectAll().orderBy('id').execute(),
});
const send = async (url: string, fields: Record<string, string> = {}, app = api.app) =>
  await app.inject({
    method: 'POST',
    url,
    payload: new URLSearchParams(fields).toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  });
const open = async (url: string, app = api.app) => await app.inject({ method: 'GET', url });

const mailsTo = async (email: string) =>
  await api.db.selectFrom('transactional').selectAll().where('email', '=', email).orderBy('created_at').execute();
/** Where the mail's fresh link leads. */
async function mailedLink(email: string): Promise<string> {
  const mail = (await mailsTo(email)).at(-1);
  const { text } = (mail?.content ?? {}) as { text?: string };
  const [, path] = /https:\/\/recuerda\.test(\/me\/confirm\/\S+)/.exec(text ?? '') ?? [];
  if (path === undefined) throw new Error('there is no link in the mail');
  return path;
}
const requestsOf = async (leadId: string) =>
  await api.db.selectFrom('privacy_request').selectAll().where('lead_id', '=', leadId).orderBy('received_at').execute();

describe('the page', () => {
  test.each(FORM_LANGUAGES)(
    'in %s opens without a key, shows nothing of the person, and changes nothing',
    async (language) => {
      const { url, token } = await somebody(language);
      const before = await everything();
      const page = await open(url);
      expect(page.statusCode).toBe(200);
      expect(page.headers).toMatchObject({
        'content-security-policy': expect.stringContaining("default-src 'none'"),
        'referrer-policy': 'no-referrer',
        'cache-control': 'no-store',
        'x-robots-tag': 'noindex, nofollow',
      });
      expect(page.body).toContain(`<html lang="${language}">`);
      expect(page.body).toContain('Casa Brava, S.L.');
      expect(page.body).toContain('Cafetera Brava');
      expect(page.body).not.toMatch(/correo\.example|Íñigo|undefined|<script/);
      expect(page.body.match(new RegExp(`action="\\.\\./u/${token}"`, 'g'))).toHaveLength(2);
      expect(page.body.match(/name="do"/g)).toHaveLength(3 + 6 + 2);
      const head = await api.app.inject({ method: 'HEAD', url });
      expect([head.statusCode, head.body]).toEqual([200, '']);
      expect(await everything()).toEqual(before);
    },
  );

  test('P13 is where the unsubscribe page leads to, and its buttons unsubscribe as that one does', async () => {
    const { url, token, enrollmentId, otherId } = await somebody();
    expect((await open(`/u/${token}`)).body).toContain(`href="../me/${token}"`);
    expect((await open(url)).statusCode).toBe(200);
    await send(`/u/${token}`, { scope: 'campaign' });
    expect([(await enrollment(enrollmentId)).outcome, (await enrollment(otherId)).outcome]).toEqual([
      'unsubscribed',
      null,
    ]);
  });

  test('forged and garbled links, and bodies that are no form, change nothing', async () => {
    const { token, claims, url } = await somebody();
    const stranger = signUnsubscribeToken(claims, [{ version: 1, secret: Buffer.alloc(32, 99) }]);
    const before = await everything();
    for (const forged of [stranger, `${token}A`, token.slice(0, -1), 'x', '%00']) {
      expect((await open(`/me/${forged}`)).statusCode).toBe(404);
      expect((await send(`/me/${forged}`, { do: 'erasure' })).statusCode).toBe(404);
    }
    const json = await api.app.inject({ method: 'POST', url, payload: { do: 'erasure' } });
    expect(json.statusCode).toBe(415);
    for (const fields of [{}, { do: 'nonsense' }, { do: 'rest', months: '99' }, { do: 'language', language: 'xx' }]) {
      expect((await send(url, fields as Record<string, string>)).statusCode).toBe(200);
    }
    expect(await everything()).toEqual(before);
  });

  test('P10 lets mail of all campaigns rest for calendar months, and tells the journeys', async () => {
    const { url, enrollmentId, otherId } = await somebody();
    const answer = await send(url, { do: 'rest', months: '3' });
    expect(answer.statusCode).toBe(200);
    const earliest = DateTime.now().setZone('Atlantic/Canary').plus({ months: 3 }).minus({ minutes: 1 }).toJSDate();
    for (const id of [enrollmentId, otherId]) {
      const row = await enrollment(id);
      expect(row.next_due_at.getTime()).toBeGreaterThan(earliest.getTime());
      expect(row.next_due_at.getTime()).toBeLessThan(earliest.getTime() + 2 * DAY);
      expect([row.outcome, row.paused_at]).toEqual([null, null]);
    }
    await until(() => api.asked.told.includes(enrollmentId) && api.asked.told.includes(otherId));
    const events = await api.db.selectFrom('event').select('detail').where('kind', '=', 'snoozed').execute();
    expect(events.at(-1)?.detail).toMatchObject({ via: 'own-page' });
    const day = DateTime.now().setZone('Atlantic/Canary').plus({ months: 3 }).setLocale('es');
    expect(answer.body).toContain(day.toLocaleString(DateTime.DATE_FULL));
  });

  test('does not hold back the information, and never makes a nudge come earlier', async () => {
    const { url, enrollmentId, otherId } = await somebody();
    const far = new Date(Date.now() + 80 * DAY);
    await api.db
      .updateTable('enrollment')
      .set({ step: 0, next_due_at: new Date() })
      .where('id', '=', enrollmentId)
      .execute();
    await api.db.updateTable('enrollment').set({ next_due_at: far }).where('id', '=', otherId).execute();
    const before = await enrollment(enrollmentId);
    await send(url, { do: 'rest', months: '1' });
    expect(await enrollment(enrollmentId)).toEqual(before);
    expect((await enrollment(otherId)).next_due_at).toEqual(far);
  });

  test('P2 what was past the gate when mail was put off is told; with nothing planned there is nothing to put off', async () => {
    const { url, enrollmentId, request } = await somebody('en');
    await ledgerRow(api.db, enrollmentId, 'handing_over', 1);
    expect((await send(url, { do: 'rest', months: '1' })).body).toContain('One mail was already on its way');
    await stopEnrollments(api.db, { who: { hashes: request.hashes }, outcome: 'replied', now: new Date() });
    expect((await send(url, { do: 'rest', months: '1' })).body).toContain('there is nothing to put off');
  });

  test('changes the language of pages and mails, and says so in it', async () => {
    const { url, leadId } = await somebody('es');
    const answer = await send(url, { do: 'language', language: 'ca' });
    expect(answer.body).toContain('<html lang="ca">');
    expect(answer.body).toContain('L’idioma s’ha canviat.');
    expect((await leadOf(leadId)).locale).toBe('ca');
    expect((await open(url)).body).toContain('<html lang="ca">');
    await send(url, { do: 'language', language: 'ca' });
    const events = await api.db
      .selectFrom('event')
      .select('detail')
      .where('lead_id', '=', leadId)
      .where('kind', '=', 'language-changed')
      .execute();
    expect(events).toEqual([{ detail: { locale: 'ca', via: 'own-page' } }]);
  });
});

describe('what is kept, and erasing it', () => {
  test.each(FORM_LANGUAGES)('takes a fresh link to the address on file, in %s', async (language) => {
    const { url, email, leadId } = await somebody(language);
    const answer = await send(url, { do: 'access' });
    expect(answer.statusCode).toBe(200);
    expect(answer.body).not.toContain('/me/confirm/');
    const [mail, ...more] = await mailsTo(email);
    expect(more).toEqual([]);
    expect(mail).toMatchObject({ kind: 'link', stream: 'requested', email, state: 'queued' });
    expect(mail?.content).toMatchObject({
      from: { name: 'Lucía de Casa Brava', address: 'info@casa-brava.example' },
      replyTo: 'lucia@shop.example',
      locale: language,
      html: expect.stringContaining(`<html lang="${language}">`),
    });
    expect(mail?.content).toMatchObject({ text: expect.stringContaining('Casa Brava, S.L.') });
    await until(() => api.asked.mailed.includes(mail?.id ?? ''));
    const [request] = await requestsOf(leadId);
    expect(request).toMatchObject({ kind: 'access', source: 'page', inbound_id: null, done_at: null });
    const due = DateTime.fromJSDate(request?.received_at as Date, { zone: 'Europe/Madrid' })
      .plus({ months: 1 })
      .endOf('day');
    expect(request?.due_at).toEqual(due.toJSDate());
    const page = await open(await mailedLink(email));
    expect(page.body).toContain(`<html lang="${language}">`);
  });

  test('is mailed once an hour at most, however often it is asked, with the same answer; a wish of the other kind is another', async () => {
    const { url, email, leadId } = await somebody();
    const answers = await Promise.all(Array.from({ length: 8 }, () => send(url, { do: 'erasure' })));
    expect(new Set(answers.map((answer) => answer.body)).size).toBe(1);
    expect(await mailsTo(email)).toHaveLength(1);
    expect(await requestsOf(leadId)).toHaveLength(1);
    expect((await send(url, { do: 'access' })).body).toEqual(answers[0]?.body);
    expect(await mailsTo(email)).toHaveLength(2);
    const later = await api.another({ clock: () => new Date(Date.now() + HOUR + 1_000) });
    await send(url, { do: 'erasure' }, later);
    expect(await mailsTo(email)).toHaveLength(3);
    // Asking again does not put off when the answer is due.
    expect(await requestsOf(leadId)).toHaveLength(2);
  });

  test('the file is handed over once, to the holder of the fresh link, and the request is answered', async () => {
    const { url, email, leadId } = await somebody();
    await send(url, { do: 'access' });
    const link = await mailedLink(email);
    const before = await everything();
    for (let i = 0; i < 3; i++) expect((await open(link)).statusCode).toBe(200);
    expect(await everything()).toEqual(before);

    const answers = await Promise.all([send(link), send(link), send(link)]);
    expect(answers.map((answer) => answer.statusCode).sort()).toEqual([200, 410, 410]);
    const file = answers.find((answer) => answer.statusCode === 200);
    expect(file?.headers).toMatchObject({
      'content-type': 'application/json; charset=utf-8',
      'content-disposition': 'attachment; filename="my-data.json"',
      'cache-control': 'no-store',
    });
    expect(file?.body).toContain(`"${email}"`);
    expect(file?.json()).toMatchObject({ format: 'recuerda-lead', person: { leadId, email } });
    expect(await requestsOf(leadId)).toMatchObject([{ kind: 'access', answer: 'done', done_at: expect.any(Date) }]);
    const used = await open(link);
    expect([used.statusCode, used.body]).toEqual([410, expect.stringContaining('Este enlace ya no es válido')]);
  });

  test('P2 P6 asked twice at the same time, the person is erased once; then unsubscribing is all that is left', async () => {
    const { url, email, leadId, enrollmentId, otherId, token, request } = await somebody();
    await send(url, { do: 'erasure' });
    const link = await mailedLink(email);
    const warning = await open(link);
    expect(warning.body).toContain('¿Borrar sus datos?');
    expect((await leadOf(leadId)).erased_at).toBeNull();

    const answers = await Promise.all([send(link), send(link)]);
    for (const answer of answers) expect([200, 410]).toContain(answer.statusCode);
    expect(answers.some((answer) => answer.body.includes('Sus datos se han borrado'))).toBe(true);
    expect(await leadOf(leadId)).toMatchObject({
      email: null,
      address_hash: null,
      name: '',
      erased_at: expect.any(Date),
    });
    expect([(await enrollment(enrollmentId)).outcome, (await enrollment(otherId)).outcome]).toEqual([
      'erased',
      'erased',
    ]);
    await until(() => api.asked.told.includes(enrollmentId));
    expect(await requestsOf(leadId)).toMatchObject([{ kind: 'erasure', answer: 'done' }]);
    const events = await api.db.selectFrom('event').select(['kind', 'detail']).where('lead_id', '=', leadId).execute();
    expect(events).toMatchObject([{ kind: 'erased', detail: { by: 'person' } }]);
    expect((await send(link)).statusCode).toBe(410);
    expect((await open(link)).statusCode).toBe(410);

    const page = await open(url);
    expect(page.statusCode).toBe(200);
    expect(page.body).not.toContain('name="do"');
    expect(page.body.match(/<form /g)).toHaveLength(2);
    const before = await everything();
    for (const wish of ['access', 'erasure', 'rest', 'language']) {
      const answer = await send(url, { do: wish, months: '1', language: 'de' });
      expect([answer.statusCode, answer.body.includes('name="do"')]).toEqual([200, false]);
    }
    expect(await everything()).toEqual(before);
    expect((await send(`/u/${token}`)).statusCode).toBe(200);
    const address = api.db.selectFrom('address').select('suppressed_reason').where('hash', '=', request.hashes[0]);
    expect(await address.execute()).toEqual([{ suppressed_reason: 'objection' }]);
  });

  test('links that have expired, were forged, or are of somebody else do nothing', async () => {
    const { url, email, leadId } = await somebody();
    await send(url, { do: 'erasure' });
    const link = await mailedLink(email);
    const before = await everything();
    const later = await api.another({ clock: () => new Date(Date.now() + HOUR + 1_000) });
    for (const answer of [await open(link, later), await send(link, {}, later)]) {
      expect([answer.statusCode, answer.body]).toEqual([410, expect.stringContaining('Este enlace ya no es válido')]);
    }
    const [row] = await api.db.selectFrom('privacy_link').selectAll().where('lead_id', '=', leadId).execute();
    const claims = { linkId: row?.id ?? '', expiresAt: new Date(Date.now() + DAY), locale: 'es' };
    const stranger = signOwnPageToken(claims, [{ version: 1, secret: Buffer.alloc(32, 99) }]);
    const bytes = Buffer.from(link.replace('/me/confirm/', ''), 'base64url');
    const flipped = [0, 1, 7, 9, 23, 25, bytes.length - 1].map((at) => {
      const copy = Buffer.from(bytes);
      copy[at] = (copy[at] ?? 0) ^ 1;
      return copy.toString('base64url');
    });
    for (const forged of [stranger, ...flipped, url.replace('/me/', ''), 'x', '%00']) {
      expect((await open(`/me/confirm/${forged}`)).statusCode).toBe(404);
      expect((await send(`/me/confirm/${forged}`)).statusCode).toBe(404);
    }
    const unknown = signOwnPageToken({ ...claims, linkId: randomUUID() }, TEST_TOKEN_KEYS);
    expect((await send(`/me/confirm/${unknown}`)).statusCode).toBe(410);
    // Signed for longer than it is kept to be good for: the row decides.
    const longer = signOwnPageToken(claims, TEST_TOKEN_KEYS);
    expect((await send(`/me/confirm/${longer}`, {}, later)).statusCode).toBe(410);
    expect(await everything()).toEqual(before);
  });

  test('a request that nobody has confirmed is answered as that, once its hour is over', async () => {
    const { url, leadId } = await somebody();
    await send(url, { do: 'access' });
    await closeUnconfirmedRequests(api.db, new Date());
    expect(await requestsOf(leadId)).toMatchObject([{ answer: null }]);
    const now = new Date(Date.now() + HOUR + 1_000);
    await closeUnconfirmedRequests(api.db, now);
    expect(await requestsOf(leadId)).toMatchObject([{ answer: 'not-confirmed', done_at: now }]);
    const register = (await get(api.app, '/v1/privacy-requests?done=true')).json();
    expect(register.items.map((row: { leadId: string }) => row.leadId)).toContain(leadId);
  });

  test('who objected, or bounced, may ask all the same', async () => {
    const { url, email, token } = await somebody();
    await send(`/u/${token}`);
    await send(url, { do: 'access' });
    expect((await send(await mailedLink(email))).statusCode).toBe(200);
  });
});

test('P4 with Postgres away every page says so, and nothing is lost by trying again', async () => {
  const { url } = await somebody();
  const broken = await api.another({
    db: new Proxy(api.db, {
      get: () => () => {
        throw Object.assign(new Error('away'), { code: 'ECONNREFUSED' });
      },
    }),
  });
  for (const answer of [await open(url, broken), await send(url, { do: 'access' }, broken)]) {
    expect([answer.statusCode, answer.headers['retry-after']]).toEqual([503, '60']);
    expect(answer.body).toContain('<main>');
  }
});
