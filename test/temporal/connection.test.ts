import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NativeConnection } from '@temporalio/worker';
import { readConfig } from '../../config';
import { startableJourney } from '../../db/outbox';
import { freePort } from '../../stack/ports';
import { startTemporal, type TemporalServer } from '../../stack/temporal-server';
import { createTemporalClient, temporalOptions } from '../../temporal/client';
import { startJourney } from '../../temporal/journeys';
import { registerSearchAttributes } from '../../temporal/search-attributes';
import { startWorker } from '../../worker';
import { publishForTests } from '../support/campaigns';
import { authority, type Identity, vouchedFor } from '../support/certificate';
import { configForTests, installRuntime, silent, workflowBundle } from '../support/engine';
import { enrollForTests, requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { type SmtpSink, startSmtpSink } from '../support/smtp-sink';
import { type Gate, type GateOptions, putGate } from '../support/temporal-gate';
import { eventually } from '../support/waiting';

const API_KEY = 'a key that Temporal Cloud gave';
const SERVER_NAME = 'shop.a1b2c.tmprl.example';

let temporal: TemporalServer;
let database: TestDatabase;
let sink: SmtpSink;
let dir: string;
let ca: Identity;
let ours: Identity;
const gates: Gate[] = [];

beforeAll(async () => {
  installRuntime();
  const cli = process.env.TEST_TEMPORAL_CLI ?? '';
  [temporal, database, sink] = await Promise.all([
    startTemporal({ cli, port: await freePort() }),
    createTestDatabase(),
    startSmtpSink(),
  ]);
  dir = mkdtempSync(join(tmpdir(), 'recuerda-tls-'));
  ca = authority('an authority of our own');
  ours = vouchedFor('worker.shop.example', ca);
  write('ca.pem', ca.certificate);
  write('stranger.pem', authority('a stranger').certificate);
  write('client.pem', ours.certificate);
  write('client.key', ours.key);
});
afterAll(async () => {
  await Promise.all(gates.map((gate) => gate.close()));
  await temporal.stop();
  await sink.close();
  await database.drop();
  rmSync(dir, { recursive: true, force: true });
});

function write(name: string, text: string): void {
  writeFileSync(join(dir, name), text);
}

async function gate(options: Partial<GateOptions> = {}): Promise<Gate> {
  const { key, certificate } = vouchedFor(SERVER_NAME, ca);
  const placed = await putGate({ behind: temporal.address, key, certificate, ...options });
  gates.push(placed);
  return placed;
}

/** The settings that the environment gives, for a database and a mail server of the test's. */
function settings({ port }: Gate, env: Record<string, string>) {
  const config = readConfig({
    DATABASE_URL: database.url,
    TEMPORAL_ADDRESS: `localhost:${port}`,
    SMTP_URL: sink.url,
    RECUERDA_PUBLIC_URL: 'http://localhost:3000',
    RECUERDA_SECRET: 'a'.repeat(64),
    ...env,
  });
  const { temporalAddress, temporalNamespace, temporalTls, temporalApiKey } = config;
  const rest = configForTests(database, sink, temporalAddress);
  return { ...rest, temporalNamespace, temporalTls, temporalApiKey };
}

const file = (name: string) => join(dir, name);
const MUTUAL = () => ({
  TEMPORAL_TLS_SERVER_CA_CERT_PATH: file('ca.pem'),
  TEMPORAL_TLS_CLIENT_CERT_PATH: file('client.pem'),
  TEMPORAL_TLS_CLIENT_KEY_PATH: file('client.key'),
});

/** What becomes of a client's call with these settings within so many ms, and of a worker's connection, which says why it fails. */
async function attempts(config: ReturnType<typeof settings>, ms = 4_000): Promise<{ client: string; worker: string }> {
  const { namespace, ...connect } = temporalOptions(config);
  const client = createTemporalClient({ namespace, ...connect });
  const ask = () => client.connection.workflowService.getSystemInfo({});
  const [called, connected] = await Promise.all([
    client.withDeadline(Date.now() + ms, ask).then(
      () => 'answered',
      (error: Error) => error.message,
    ),
    NativeConnection.connect(connect).then(
      async (connection) => {
        await connection.close();
        return 'connected';
      },
      (error: Error) => error.message,
    ),
  ]);
  await client.connection.close();
  return { client: called, worker: connected };
}

test('over TLS with a key and a certificate to show, where nobody may register attributes: mail goes out', async () => {
  const locked = await gate({ clientCa: ca.certificate, apiKey: API_KEY, noOperators: true });
  const config = settings(locked, { ...MUTUAL(), TEMPORAL_API_KEY: API_KEY, TEMPORAL_TLS_SERVER_NAME: SERVER_NAME });

  // Before anybody with the right to do so has made the attributes, it is told how.
  await expect(startWorker(config, silent, workflowBundle())).rejects.toThrow(
    /lacks search attributes.*CampaignId, Outcome, Doing, Unknown.*tcld namespace search-attributes add.*temporal operator search-attribute create.*Unknown --type Bool/,
  );
  const admin = createTemporalClient({ address: temporal.address, namespace: 'default' });
  await registerSearchAttributes(admin, 'default');
  await admin.connection.close();
  const client = createTemporalClient(temporalOptions(config));
  await eventually(() =>
    registerSearchAttributes(client, 'default').then(
      () => true,
      () => false,
    ),
  );

  const worker = await startWorker(config, silent, workflowBundle());
  const { db } = database;
  const id = await enrollForTests(db, await publishForTests(db), requestBy('nube@correo.example'));
  const journey = await startableJourney(db, id);
  if (journey !== null) await startJourney(client, journey);
  await eventually(() => sink.messages.find(({ to }) => to === 'nube@correo.example'));
  await worker.stop();
  await client.connection.close();
  const service = '/temporal.api.workflowservice.v1.WorkflowService';
  expect(locked.calls).toEqual(
    expect.arrayContaining([`${service}/StartWorkflowExecution`, `${service}/PollActivityTaskQueue`]),
  );
});

test('a server that nobody we trust vouches for is not talked to, and the worker says why', async () => {
  const open = await gate();
  for (const env of [{ TEMPORAL_TLS_SERVER_CA_CERT_PATH: file('stranger.pem') }, { TEMPORAL_TLS: 'true' }]) {
    const { client, worker } = await attempts(settings(open, env));
    expect(client).not.toBe('answered');
    expect(worker).toContain('InvalidCertificate(UnknownIssuer)');
  }
  expect(open.calls).toEqual([]);
});

test('a server by another name is not talked to; with its name set it is', async () => {
  const open = await gate();
  const trusting = { TEMPORAL_TLS_SERVER_CA_CERT_PATH: file('ca.pem') };
  const wrong = await attempts(settings(open, { ...trusting, TEMPORAL_TLS_SERVER_NAME: 'other.example' }));
  expect(wrong.client).not.toBe('answered');
  expect(wrong.worker).toMatch(/NotValidForName.*other\.example/);
  const right = settings(open, { ...trusting, TEMPORAL_TLS_SERVER_NAME: SERVER_NAME });
  expect(await attempts(right, 60_000)).toEqual({ client: 'answered', worker: 'connected' });
});

test('without the certificate, or with another key, nobody gets in, and the key is not told', async () => {
  const locked = await gate({ clientCa: ca.certificate, apiKey: API_KEY });
  const { TEMPORAL_TLS_SERVER_CA_CERT_PATH } = MUTUAL();
  const bare = await attempts(settings(locked, { TEMPORAL_TLS_SERVER_CA_CERT_PATH, TEMPORAL_API_KEY: API_KEY }));
  expect(bare.client).not.toBe('answered');
  // On a busy machine the end of the connection may be seen before the alert that says why.
  expect(bare.worker).toMatch(/CertificateRequired|connection (closed|reset)|broken pipe/i);
  const other = await attempts(settings(locked, { ...MUTUAL(), TEMPORAL_API_KEY: 'another key' }), 60_000);
  for (const said of Object.values(other)) {
    expect(said).toContain('no valid key');
    expect(said).not.toContain('another key');
  }
});

test('a start that fails half-way says why, not what came of it', async () => {
  const admin = createTemporalClient({ address: temporal.address, namespace: 'default' });
  await registerSearchAttributes(admin, 'default');
  await admin.connection.close();
  const config = configForTests(database, sink, temporal.address);
  // The workers for journeys and for the first stream are made by then.
  const requested = { ...config.smtp.requested, url: 'no URL' };
  const start = startWorker({ ...config, smtp: { ...config.smtp, requested } }, silent, workflowBundle());
  await expect(start).rejects.toThrow('the SMTP URL is not a URL');
});
