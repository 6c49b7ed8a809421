import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Api } from '../../api/context';
import { stopEnrollments } from '../../db/stops';
import { type ApiUnderTest, AUTH, apiUnderTest, get, post } from '../api/api-under-test';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { dumpOf, tracesOf } from '../support/traces';
import { eventually } from '../support/waiting';
import type { WorkerProcess } from '../support/worker-process';
import { type Stage, setStage } from './stage';

// Two people who are much alike, and all that a shop does with them: they ask by the API and stand in a file, get mail, a
// test and an invoice, are previewed, answer, come back as undeliverable. Then one of them is erased, and everything that
// Postgres and Temporal keep is searched for her.

interface Person {
  email: string;
  first: string;
  last: string;
  phone: string;
  ip: string;
  city: string;
}

const LEOCADIA: Person = {
  email: 'Leocadia.Quirarte@talleres-zorrilla.example',
  first: 'Leocadia',
  last: 'Quirarte-Zorrillañez',
  phone: '+34 699 550 121',
  ip: '203.0.113.121',
  city: 'Villanueva de Abajo',
};
const NEOCADIA: Person = {
  email: 'Neocadia.Quirarte@talleres-zorrillo.example',
  first: 'Neocadia',
  last: 'Quirarte-Zorrilloñez',
  phone: '+34 699 550 122',
  ip: '203.0.113.122',
  city: 'Villanueva de Arriba',
};
const LONG_AGO: Person = {
  email: 'telesforo.urbaneja@forja-urbaneja.example',
  first: 'Telesforo',
  last: 'Urbaneja',
  phone: '',
  ip: '',
  city: '',
};
const BOTH = [LEOCADIA, NEOCADIA];
const needlesOf = ({ email, first, last, phone, ip, city }: Person) => [
  email,
  email.slice(0, email.indexOf('@')),
  email.slice(email.indexOf('@') + 1),
  first,
  last,
  phone,
  ip,
  city,
];

const FILE = `nombre;email;ciudad;fecha
${BOTH.map(({ first, last, email, city }) => `${first} ${last};${email};${city};2026-01-07`).join('\n')}
`;

let stage: Stage;
let worker: WorkerProcess;
let api: ApiUnderTest;
let app: Api;
let dir: string;
let coffee: string;
let tea: string;
const leads = new Map<Person, { leadId: string; enrollmentId: string }>();

const leadOf = (person: Person) => leads.get(person) as { leadId: string; enrollmentId: string };

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'recuerda-erasure-'));
  stage = await setStage(join(dir, 'temporal.db'));
  api = await apiUnderTest();
  // The API works on the stage's database; its worker's reconciler finds what there is to start.
  app = await api.another({ db: stage.db });
  coffee = await publishForTests(stage.db, definitionForTests(3));
  tea = await publishForTests(
    stage.db,
    definitionForTests(3, { name: 'Té', product: { name: 'Té', url: 'https://shop.example/te' } }),
  );
  await longAgo();
  worker = await stage.work();
  for (const person of BOTH) await ask(person);
  // The coffee is always their first mail.
  for (const person of BOTH) await eventually(() => mailsTo(person).length === 1);
  await importFile();
  for (const person of BOTH) {
    await eventually(() => mailsTo(person).length === 2);
    await preview(person);
    await sendTest(person);
    await invoice(person);
    await answer(person);
    await comeBack(person);
    expect((await get(app, `/v1/leads/${leadOf(person).leadId}/export`)).statusCode).toBe(200);
  }
  await everythingIsDealtWith();
});
afterAll(async () => {
  await api.close();
  await stage.close();
  await rm(dir, { recursive: true, force: true });
});

/** Somebody whose journey ended so long ago that their time is over. */
async function longAgo(): Promise<void> {
  const id = await stage.enroll(coffee, LONG_AGO.email, { name: `${LONG_AGO.first} ${LONG_AGO.last}` });
  const now = new Date(Date.now() - 31 * 86_400_000);
  await stopEnrollments(stage.db, { who: { enrollmentId: id }, outcome: 'cancelled', now });
}

const mailsTo = ({ email }: Person) =>
  stage.sink.messages.filter((mail) => mail.to.toLowerCase() === email.toLowerCase());

async function ask(person: Person): Promise<void> {
  const { email, first, last, phone, ip, city } = person;
  const answer = await post(app, `/v1/campaigns/${coffee}/enrollments`, {
    lead: { email, name: `${first} ${last}`, locale: 'es', attributes: { phone, city } },
    consent: {
      purpose: 'nudges',
      text: `Yo, ${first}, digo que sí.`,
      capturedAt: '2026-01-07T10:00:00Z',
      source: `https://shop.example/cafetera?correo=${encodeURIComponent(email)}`,
      ip,
      userAgent: `Navegador de ${first}`,
    },
  });
  expect(answer.statusCode).toBe(202);
  leads.set(person, answer.json());
}

async function importFile(): Promise<{ created: number; existing: number; rejected: number }> {
  const about = new URLSearchParams({ purpose: 'nudges', consentText: 'Sí, quiero saber más', source: 'feria' });
  const answer = await app.inject({
    method: 'POST',
    url: `/v1/campaigns/${tea}/imports?${about}`,
    headers: { ...AUTH, 'content-type': 'text/csv' },
    payload: FILE,
  });
  expect(answer.statusCode).toBe(202);
  const { importId } = answer.json();
  return await eventually(async () => {
    const view = (await get(app, `/v1/imports/${importId}`)).json();
    return view.state === 'completed' ? view : null;
  });
}

/** Twice, so that the answer is kept for who asks again. */
async function preview(person: Person): Promise<void> {
  const { email, first, last, phone } = person;
  for (const lead of [
    { leadId: leadOf(person).leadId },
    { lead: { email, name: `${first} ${last}`, attributes: { phone } } },
  ]) {
    const key = { 'idempotency-key': randomUUID() };
    const body = { step: 0, version: 1, ...lead };
    const [once, again] = [
      await post(app, `/v1/campaigns/${coffee}/preview`, body, key),
      await post(app, `/v1/campaigns/${coffee}/preview`, body, key),
    ];
    expect([once.statusCode, again.body]).toEqual([200, once.body]);
    expect(once.body).toContain(first);
  }
}

async function sendTest(person: Person): Promise<void> {
  const body = { to: 'autora@marketing-brava.example', step: 0, version: 1, leadId: leadOf(person).leadId };
  const answer = await post(app, `/v1/campaigns/${coffee}/test-send`, body);
  expect(answer.statusCode).toBe(202);
  const { testSendId } = answer.json();
  await eventually(async () => (await get(app, `/v1/test-sends/${testSendId}`)).json().state === 'accepted');
}

async function invoice({ email, first, last, phone }: Person): Promise<void> {
  const template = await app.inject({
    method: 'PUT',
    url: '/v1/transactional/templates/factura',
    headers: { ...AUTH, 'content-type': 'application/json' },
    payload: JSON.stringify({
      subject: 'Factura',
      mjml: '<mjml><mj-body><mj-section><mj-column><mj-text>Hola {{ to.firstName }}</mj-text></mj-column></mj-section></mj-body></mjml>',
      from: { name: 'Facturas', address: 'facturas@pedidos.example' },
    }),
  });
  expect(template.statusCode).toBeLessThan(300);
  const answer = await post(app, '/v1/transactional', {
    template: 'factura',
    to: { email, name: `${first} ${last}` },
    data: { phone },
    attachments: [
      { filename: `${last}.txt`, contentType: 'text/plain', content: Buffer.from(`Para ${email}`).toString('base64') },
    ],
  });
  expect(answer.statusCode).toBe(202);
  const { transactionalId } = answer.json();
  await eventually(async () => (await get(app, `/v1/transactional/${transactionalId}`)).json().state === 'accepted');
}

async function receive(raw: string, sender: string): Promise<void> {
  const answer = await app.inject({
    method: 'POST',
    url: '/v1/inbound',
    headers: { ...AUTH, 'content-type': 'message/rfc822', 'x-envelope-sender': sender },
    payload: Buffer.from(raw, 'utf8'),
  });
  expect(answer.statusCode).toBe(202);
}

/** A reply, written as mail programs write: encoded, with what it answers below. */
async function answer(person: Person): Promise<void> {
  const { email, first, last, phone } = person;
  const [asked] = mailsTo(person);
  const text = `Hola, soy ${first} ${last}.\nLlámenme al ${phone}, por favor, o escriban a ${email}.\n\nUn saludo\n`;
  const base64 = (
    Buffer.from(text, 'utf8')
      .toString('base64')
      .match(/.{1,76}/g) ?? []
  ).join('\r\n');
  await receive(
    [
      `From: =?utf-8?B?${Buffer.from(`${first} ${last}`).toString('base64')}?= <${email}>`,
      'To: respuestas@shop.example',
      'Subject: Re: Paso 0',
      `Message-ID: <${randomUUID()}@${email.slice(email.indexOf('@') + 1)}>`,
      `In-Reply-To: ${asked?.messageId}`,
      `References: ${asked?.messageId}`,
      'Date: Mon, 12 Jan 2026 10:00:00 +0100',
      'MIME-Version: 1.0',
      'Content-Type: text/plain; charset=utf-8',
      'Content-Transfer-Encoding: base64',
      '',
      base64,
      '',
    ].join('\r\n'),
    email,
  );
}

/** The mail of the other campaign comes back: no such user, says her server, and quotes it all. */
async function comeBack(person: Person): Promise<void> {
  const { email } = person;
  const mail = mailsTo(person)[1];
  await receive(
    [
      'From: MAILER-DAEMON@mx.example',
      'To: lucia@shop.example',
      'Subject: Undelivered Mail Returned to Sender',
      'Auto-Submitted: auto-replied',
      'MIME-Version: 1.0',
      'Content-Type: multipart/report; report-type=delivery-status; boundary="b"',
      '',
      '--b',
      'Content-Type: text/plain',
      '',
      `<${email}>: host mx.example said: 452 4.2.2 mailbox full`,
      '',
      '--b',
      'Content-Type: message/delivery-status',
      '',
      'Reporting-MTA: dns; mx.example',
      '',
      `Final-Recipient: rfc822; ${email}`,
      'Action: failed',
      'Status: 4.2.2',
      'Diagnostic-Code: smtp; 452 4.2.2 mailbox full',
      '',
      '--b',
      'Content-Type: message/rfc822',
      '',
      mail?.raw ?? '',
      '',
      '--b--',
      '',
    ].join('\r\n'),
    '',
  );
}

async function everythingIsDealtWith(): Promise<void> {
  await eventually(async () => {
    const waiting = await stage.db.selectFrom('inbound').select('id').where('state', '=', 'new').execute();
    const unsent = await stage.db.selectFrom('transactional').select('id').where('settled_at', 'is', null).execute();
    const untold = await stage.db.selectFrom('enrollment').select('id').where('signal_at', 'is not', null).execute();
    return waiting.length + unsent.length + untold.length === 0;
  });
}

test('everything did happen', async () => {
  for (const person of BOTH) {
    const { leadId, enrollmentId } = leadOf(person);
    const view = (await get(app, `/v1/leads/${leadId}`)).json();
    expect(view.enrollments).toHaveLength(2);
    expect((await get(app, `/v1/enrollments/${enrollmentId}`)).json()).toMatchObject({ outcome: 'replied' });
    const kinds = view.timeline.map((entry: { kind: string }) => entry.kind);
    expect(kinds).toEqual(expect.arrayContaining(['enrolled', 'message-accepted', 'received', 'forwarded', 'ended']));
    const received = await stage.db.selectFrom('inbound').select('kind').where('lead_id', '=', leadId).execute();
    expect(received.map((row) => row.kind).sort()).toEqual(['bounce', 'reply']);
  }
  const forwards = stage.sink.messages.filter((mail) => mail.to === 'lucia@shop.example');
  expect(forwards).toHaveLength(2);
  const dump = await dumpOf(stage.db);
  expect(tracesOf(BOTH.flatMap(needlesOf), dump)).toEqual(BOTH.flatMap(needlesOf));
});

test('whose time is over is erased by a worker, with nobody doing anything', async () => {
  const { email, first, last } = LONG_AGO;
  await eventually(async () => tracesOf([email, first, last], await dumpOf(stage.db)).length === 0);
  const events = await stage.db.selectFrom('event').select('detail').where('kind', '=', 'erased').execute();
  expect(events).toEqual([{ detail: { by: 'retention', sealed: false } }]);
});

test('one of them is erased: nothing of her is found in a dump, all of the other is, and every count is what it was', async () => {
  // What is open ends as erased, and nothing else is counted otherwise.
  const stats = async () =>
    await Promise.all(
      [coffee, tea].map(async (id) => {
        const { enrolled, open, outcomes, steps } = (await get(app, `/v1/campaigns/${id}/stats`)).json();
        return {
          enrolled,
          openOrErased: open + outcomes.erased,
          replied: outcomes.replied,
          accepted: steps.map((step: { accepted: number }) => step.accepted),
        };
      }),
    );
  const before = await stats();
  const { leadId } = leadOf(LEOCADIA);
  const answer = await app.inject({ method: 'DELETE', url: `/v1/leads/${leadId}`, headers: AUTH });
  expect(answer.json()).toMatchObject({ erased: true, inFlight: [] });
  const dump = await dumpOf(stage.db);
  expect(tracesOf(needlesOf(LEOCADIA), dump)).toEqual([]);
  expect(tracesOf(needlesOf(NEOCADIA), dump)).toEqual(needlesOf(NEOCADIA));
  expect(await stats()).toEqual(before);
  // Her journeys come to their end in the engine too.
  for (const enrollmentId of answer.json().stopped) {
    await eventually(async () => (await stage.journey(enrollmentId).status()) === 'COMPLETED');
  }
});

test('P13 the link in her old mail still works, and P6 the same file does not bring her back', async () => {
  const [old] = mailsTo(LEOCADIA);
  const [, link = ''] = /^List-Unsubscribe:\s*<(http[^>]+)>/im.exec(old?.raw.replace(/\r\n[ \t]+/g, ' ') ?? '') ?? [];
  const done = await app.inject({
    method: 'POST',
    url: new URL(link).pathname,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    payload: 'List-Unsubscribe=One-Click',
  });
  expect(done.statusCode).toBe(200);
  expect(await importFile()).toMatchObject({ created: 0, existing: 1, rejected: 1 });
  const mails = mailsTo(LEOCADIA).length;
  expect(mails).toBe(3);
  const dump = await dumpOf(stage.db);
  expect(tracesOf(needlesOf(LEOCADIA), dump)).toEqual([]);
});

test('P5 nor is she, or anybody, found in the file of Temporal’s store or in what was logged', async () => {
  await Promise.all([worker.stop(), stage.stopTemporal()]);
  const files = await Promise.all((await readdir(dir)).map((name) => readFile(join(dir, name), 'latin1')));
  const store = files.join('\n');
  // What is there is found.
  expect(store).toContain(leadOf(LEOCADIA).enrollmentId);
  expect(tracesOf(BOTH.flatMap(needlesOf), store)).toEqual([]);
  expect(tracesOf(BOTH.flatMap(needlesOf), Buffer.from(worker.output()).toString('latin1'))).toEqual([]);
  expect(tracesOf(BOTH.flatMap(needlesOf), Buffer.from(api.logged.join('')).toString('latin1'))).toEqual([]);
});
