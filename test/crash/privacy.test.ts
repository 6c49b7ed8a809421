import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { createImport, findImport, storeUpload } from '../../db/imports';
import { pauseEnrollment, resumeEnrollment } from '../../db/pauses';
import { type Stop, stopEnrollments } from '../../db/stops';
import { createTestSend, findTestSend } from '../../db/test-sends';
import { hashAddress } from '../../domain/address-hash';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { enrollAll, enrollForTests, requestBy, TEST_ADDRESS_KEYS } from '../support/leads';
import { smtpError } from '../support/smtp-sink';
import { eventually } from '../support/waiting';
import type { WorkerProcess } from '../support/worker-process';
import { type Stage, setStage } from './stage';

// Everything that can happen to a lead happens once, in time so compressed that months are seconds; then everything that
// Temporal keeps is searched for the people it happened to.

/** Two months are 2.6 seconds. */
const TIME_FACTOR = 2_000_000;

interface Person {
  email: string;
  first: string;
  last: string;
  phone: string;
  ip: string;
}

const FIRST = [
  'Abundia|Bonifacio|Casilda|Desiderio|Escolástica|Fulgencio|Gumersinda|Hermenegildo|Iluminada|Jacinto',
  'Leocadia|Melquíades|Nicanora|Obdulia|Policarpo|Quiteria|Robustiano|Sinforosa|Telesforo|Urbana',
  'Veneranda|Wenceslao|Xenofonte|Yocasta|Zósima|Anacleta|Baldomero|Críspula',
]
  .join('|')
  .split('|');

/** Distinct in each of their parts; every other one writes from a firm of their own. */
const people = FIRST.map((first, index): Person => {
  const plain = first.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase();
  const domain = index % 2 === 0 ? `talleres-${plain}zurbaran.example` : 'gmail.com';
  return {
    email: `${plain}.quirarte${index}@${domain}`,
    first,
    last: `Quirarte-${plain}ez`,
    phone: `+34 6995501${String(index).padStart(2, '0')}`,
    ip: `203.0.113.${100 + index}`,
  };
});
const AUTHOR = 'autora.de.campanas@marketing-brava.example';
const IMPORTED = 'Kilian Ferrándiz-Oquendo;kilian.ferrandiz@ferreteria-oquendo.example;2026-01-07';

let stage: Stage;
let worker: WorkerProcess;
let dir: string;
let campaignId: string;
const ids: string[] = [];

const idOf = (index: number): string => ids[index] as string;
const emailOf = (index: number): string => (people[index] as Person).email;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'recuerda-privacy-'));
  stage = await setStage(join(dir, 'temporal.db'));
  const definition = definitionForTests(3);
  campaignId = await publishForTests(stage.db, definition);
  refuseSome();
  for (const [index, { email, first, last, phone, ip }] of people.entries()) {
    const consent = {
      purpose: 'nudges',
      text: `Sí, soy ${first} y quiero que me escriban`,
      capturedAt: new Date(),
      source: `formulario de ${first}`,
      ip,
    } as const;
    const request = { name: `${first} ${last}`, attributes: { phone }, consent: index === 8 ? null : consent };
    ids.push(
      await enrollForTests(stage.db, campaignId, requestBy(email, request), {
        timeFactor: TIME_FACTOR,
      }),
    );
  }
  for (const index of [16, 17]) await pauseEnrollment(stage.db, idOf(index), new Date());
  worker = await stage.work({ timeFactor: TIME_FACTOR });
  await stage.reconcile();
  await Promise.all([everybodyIsStopped(), fileComesIn(), testIsSent(definition)]);
  await theRestIsOver();
});
afterAll(async () => {
  await stage.close();
  await rm(dir, { recursive: true, force: true });
});

/** Answers that quote the recipient, as real ones do. */
function refuseSome(): void {
  const refusedOnce = new Set<string>();
  const once = (to: string): boolean => !refusedOnce.has(to) && refusedOnce.add(to).has(to);
  stage.sink.faults = {
    onRcpt: (to) => {
      const index = people.findIndex((person) => person.email === to);
      if (index === 0) throw smtpError(550, `5.1.1 <${to}>: User unknown in virtual mailbox table`);
      if (index === 1) throw smtpError(451, `4.2.2 <${to}>: mailbox of ${people[1]?.first} is full`);
      if (index === 2 && once(to)) throw smtpError(454, `4.7.1 <${to}>: relay access denied`);
      if (index === 3 && once(to)) throw smtpError(421, `4.3.0 <${to}>: closing connection`);
      if (index === 4) throw smtpError(550, `<${to}> is not somebody we know`);
    },
    onMessage: ({ to }) => {
      if (to === emailOf(5)) throw smtpError(554, `5.6.0 message for <${to}> looks wrong`);
      if (to === emailOf(6) && once(to)) throw smtpError(421, `4.3.2 <${to}>: shutting down`);
    },
  };
}

async function everybodyIsStopped(): Promise<void> {
  const stop = async (index: number, stop: Omit<Stop, 'who' | 'now'>) => {
    await eventually(async () => (await stage.row(idOf(index))).step > 0);
    const hashes = hashAddress(emailOf(index), TEST_ADDRESS_KEYS);
    await stopEnrollments(stage.db, { who: { hashes }, now: new Date(), ...stop });
  };
  await Promise.all([
    stop(9, { outcome: 'purchased' }),
    stop(10, { outcome: 'replied' }),
    stop(11, { outcome: 'unsubscribed', suppress: 'objection' }),
    stop(12, { outcome: 'complained', suppress: 'complaint' }),
    stop(13, { outcome: 'unsubscribed', suppress: 'campaign', campaignId }),
    stop(14, { outcome: 'bounced', suppress: 'undeliverable' }),
    eventually(async () => (await stage.journey(idOf(15)).progress())?.doing === 'waiting').then(() =>
      stage.journey(idOf(15)).cancel(),
    ),
    eventually(async () => (await stage.journey(idOf(16)).progress())?.doing === 'holding').then(() =>
      resumeEnrollment(stage.db, idOf(16), new Date()),
    ),
    eventually(async () => (await stage.row(idOf(18))).step > 0).then(() =>
      enrollAll(stage.db, campaignId, [requestBy(emailOf(18))], { timeFactor: TIME_FACTOR }),
    ),
  ]);
}

async function fileComesIn(): Promise<void> {
  const upload = await storeUpload(stage.db, Readable.from([Buffer.from(`nombre;email;fecha\n${IMPORTED}\n`)]));
  await createImport(stage.db, {
    upload,
    campaignId,
    purpose: 'nudges',
    consentText: 'Sí, quiero saber más',
    source: 'feria',
    mapping: null,
    timeZone: 'Europe/Madrid',
    encoding: 'utf-8',
    sha256: '0'.repeat(64),
  });
  await stage.reconcile();
  await eventually(async () => {
    const view = await findImport(stage.db, upload.id, 0);
    return view.state === 'completed' && view.created === 1;
  });
}

async function testIsSent({ steps, ...definition }: ReturnType<typeof definitionForTests>): Promise<void> {
  const id = await createTestSend(stage.db, {
    campaignId,
    version: 1,
    step: 0,
    address: AUTHOR,
    lead: { email: AUTHOR, name: 'Autora', locale: 'es', timeZone: 'Europe/Madrid', attributes: {} },
    content: {
      definition,
      compiled: { subject: 'Prueba', html: '<p>{{ unsubscribeUrl }}</p>', text: '{{ unsubscribeUrl }}' },
      stepCount: steps.length,
      requestedAt: new Date().toISOString(),
      consentSource: null,
      hashes: hashAddress(AUTHOR, TEST_ADDRESS_KEYS),
    },
  });
  await stage.reconcile();
  await eventually(async () => (await findTestSend(stage.db, id)).state === 'accepted');
}

/** The deferred one (15 minutes) and the paused one stay; everybody else comes to an end. */
async function theRestIsOver(): Promise<void> {
  // Those from the file have no handle here, and start when they are no longer fresh.
  await eventually(async () => {
    const unstarted = stage.db.selectFrom('enrollment').select('id').where('started_at', 'is', null);
    return (await unstarted.where('outcome', 'is', null).execute()).length === 0;
  });
  for (const [index, id] of ids.entries()) {
    if (index === 1 || index === 17) continue;
    await eventually(async () => (await stage.row(id)).outcome !== null);
    await eventually(async () => (await stage.journey(id).status()) === 'COMPLETED');
  }
}

test('P5: everything did happen', async () => {
  const outcomes = await stage.db
    .selectFrom('enrollment')
    .select(['outcome', (eb) => eb.fn.countAll<string>().as('count')])
    .groupBy('outcome')
    .execute();
  expect(new Set(outcomes.map((row) => row.outcome))).toEqual(
    new Set([
      null,
      ...['purchased', 'replied', 'unsubscribed', 'complained', 'bounced', 'cancelled', 'informed', 'exhausted'],
    ]),
  );
  const states = await stage.db.selectFrom('message').select('state').distinct().execute();
  expect(states.map((row) => row.state)).toEqual(expect.arrayContaining(['accepted', 'deferred', 'rejected']));
  // Refusals of us have shown themselves in Temporal, so that the search below has something to find.
  const failures = [];
  for (const index of [2, 3]) {
    for (const run of await runsOf(`lead-journey/${idOf(index)}`)) failures.push(JSON.stringify(run.history));
  }
  expect(failures.join()).toMatch(/smtp rcpt 454 4\.7\.1/);
});

interface Run {
  workflowId: string;
  runId: string;
  history: unknown;
}

async function runsOf(workflowId: string): Promise<Run[]> {
  const runs: Run[] = [];
  for await (const { runId } of stage.client.workflow.list({ query: `WorkflowId = "${workflowId}"` })) {
    const { raw } = await stage.client.workflow.getHandle(workflowId, runId).describe();
    const history = await stage.client.workflow.getHandle(workflowId, runId).fetchHistory();
    runs.push({ workflowId, runId, history: { description: decoded(raw), history: decoded(history) } });
  }
  return runs;
}

/** The same with every payload's bytes as text. */
function decoded(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8');
  if (Array.isArray(value)) return value.map(decoded);
  if (value === null || typeof value !== 'object') return value;
  if ('toNumber' in value) return String(value);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, decoded(inner)]));
}

/** What must not be found, however it is written: whatever tells who somebody is, and their address under our keys. */
function needles(): string[] {
  const [importedName = '', importedEmail = ''] = IMPORTED.split(';');
  const addresses = [...people.map((person) => person.email), importedEmail, AUTHOR];
  return [
    ...people.flatMap((person) => [person.first, person.last, person.phone, person.ip]),
    ...importedName.split(' '),
    ...addresses,
    ...addresses.flatMap((address) => address.split('@')).filter((part) => part !== 'gmail.com'),
    ...addresses.flatMap((address) => hashAddress(address, TEST_ADDRESS_KEYS)),
  ];
}

/** UTF-8 bytes, one character each: as the files are read here. */
function asLatin1(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** The ways in which a file may hold the needle, beside the plain one: in UTF-16, in hexadecimal, and in base64 wherever it begins. */
function disguises(needle: string): string[] {
  const bytes = Buffer.from(needle, 'utf8');
  const base64 = [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes])
      .toString('base64')
      .replace(/=+$/, '');
    // The first and the last character also depend on what stands beside.
    return text.slice(Math.ceil((offset * 8) / 6), Math.floor(((offset + bytes.length) * 8) / 6));
  });
  return [Buffer.from(needle, 'utf16le').toString('latin1'), bytes.toString('hex'), ...base64];
}

test('P5: no history, memo, summary, detail, search attribute, id or failure names anybody', async () => {
  const workflowIds = new Set<string>();
  for await (const { workflowId } of stage.client.workflow.list()) workflowIds.add(workflowId);
  // One for each lead, the one from the file, the import and the test.
  expect(workflowIds.size).toBe(people.length + 3);
  const runs = (await Promise.all([...workflowIds].map(runsOf))).flat();
  expect(runs.length).toBeGreaterThan(60);
  // What the UI asks a waiting workflow for: its current details.
  const details = [];
  for (const index of [1, 17]) details.push(await stage.journey(idOf(index)).query('__temporal_workflow_metadata'));
  expect(JSON.stringify(details)).toMatch(/Step 0: waits until.*Step 0: held/);
  const text = JSON.stringify([runs, details]).toLowerCase();
  expect(text).toContain(idOf(0));
  expect(text).toContain('follows one lead');
  expect(needles().filter((needle) => text.includes(needle.toLowerCase()))).toEqual([]);
});

test('the search finds an address in base64, in hexadecimal and in UTF-16, wherever it begins', () => {
  const text = (before: string) => Buffer.from(`${before}${emailOf(0)}, and more`);
  const hidden = ['', 'a', 'ab', 'abc'].map((before) => text(before).toString('base64'));
  hidden.push(text('a').toString('hex'), Buffer.from(`a${emailOf(0)}`, 'utf16le').toString('latin1'));
  for (const file of hidden)
    expect(disguises(emailOf(0)).filter((disguise) => file.includes(disguise))).toHaveLength(1);
});

test('P5: nor does the file of its store, nor what the worker writes to its log', async () => {
  await Promise.all([worker.stop(), stage.stopTemporal()]);
  const files = await Promise.all((await readdir(dir)).map((name) => readFile(join(dir, name), 'latin1')));
  const store = files.join('\n');
  const lower = store.toLowerCase();
  // What is there is found.
  expect(lower).toContain(idOf(0));
  expect(lower).toContain('smtp rcpt 454 4.7.1');
  const found = needles().filter((needle) => {
    const variants = [needle, needle.toLowerCase()];
    return (
      variants.some((variant) => lower.includes(asLatin1(variant).toLowerCase())) ||
      variants.flatMap(disguises).some((disguise) => store.includes(disguise))
    );
  });
  expect(found).toEqual([]);
  const log = worker.output().toLowerCase();
  expect(log).toContain('reconciled');
  expect(needles().filter((needle) => log.includes(needle.toLowerCase()))).toEqual([]);
});
