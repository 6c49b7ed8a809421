import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../stack/ports';
import { startTemporal, type TemporalServer } from '../../stack/temporal-server';
import { type RunningCommand, runCommand } from '../cli/running-command';
import { type Cable, layCable } from '../support/cable';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { type SmtpSink, startSmtpSink } from '../support/smtp-sink';
import { eventually } from '../support/waiting';

// A real API and a real worker, as processes, asked over HTTP.

const KEY = 'a-key-of-the-tests-0123456789';
const EMAIL = 'visible@correo.example';

let home: string;
let database: TestDatabase;
let sink: SmtpSink;
let temporal: TemporalServer;
let toPostgres: Cable;
let toTemporal: Cable;
let api: RunningCommand;
let worker: RunningCommand;
let apiUrl: string;
const urls = { api: '', worker: '' };

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'recuerda-telemetry-'));
  [database, sink] = await Promise.all([createTestDatabase(), startSmtpSink()]);
  temporal = await startTemporal({ cli: process.env.TEST_TEMPORAL_CLI as string, port: await freePort() });
  const databaseUrl = new URL(database.url);
  toPostgres = await layCable(Number(databaseUrl.port));
  toTemporal = await layCable(Number(temporal.address.split(':')[1]));
  databaseUrl.port = String(toPostgres.port);
  const port = await freePort();
  apiUrl = `http://127.0.0.1:${port}`;
  const settings = async (name: 'api' | 'worker'): Promise<NodeJS.ProcessEnv> => {
    const metricsPort = await freePort();
    urls[name] = `http://127.0.0.1:${metricsPort}`;
    return {
      DATABASE_URL: databaseUrl.href,
      TEMPORAL_ADDRESS: `127.0.0.1:${toTemporal.port}`,
      SMTP_URL: sink.url,
      PORT: String(port),
      RECUERDA_PUBLIC_URL: apiUrl,
      RECUERDA_SECRET: 'only-for-this-test-only-for-this-test',
      RECUERDA_API_KEY: KEY,
      RECUERDA_METRICS_PORT: String(metricsPort),
      RECUERDA_DRAIN_SECONDS: '15',
    };
  };
  api = runCommand(['api'], home, await settings('api'));
  worker = runCommand(['worker'], home, await settings('worker'));
  await Promise.all([api.prints('serving', 280_000), worker.prints('worker takes tasks', 280_000)]);
});

afterAll(async () => {
  for (const command of [api, worker]) command?.child.kill('SIGKILL');
  await Promise.all([api?.ends(), worker?.ends()]);
  await Promise.all([toPostgres?.close(), toTemporal?.close()]);
  await temporal?.stop();
  await sink?.close();
  await database?.drop();
  await rm(home, { recursive: true, force: true });
});

const metricsOf = async (name: 'api' | 'worker') => await (await fetch(`${urls[name]}/metrics`)).text();

/** The sum of the samples of a metric that have these labels. */
function sampleOf(text: string, metric: string, labels: Record<string, string> = {}): number | undefined {
  const samples = [...text.matchAll(new RegExp(`^${metric}(?:\\{(.*)\\})? (\\S+)$`, 'gm'))].filter(([, given = '']) =>
    Object.entries(labels).every(([name, value]) => given.includes(`${name}="${value}"`)),
  );
  return samples.length === 0 ? undefined : samples.reduce((sum, [, , value]) => sum + Number(value), 0);
}

const readiness = async (name: 'api' | 'worker') => {
  const answer = await fetch(`${urls[name]}/readyz`, { signal: AbortSignal.timeout(10_000) });
  const told = (await answer.json()) as Record<string, unknown>;
  return { ...told, code: answer.status } as Record<string, unknown>;
};

test('what a mail goes through shows in the metrics of API and worker, and nothing of the person does (P5)', async () => {
  const campaignId = await publishForTests(database.db, definitionForTests(2));
  const answer = await fetch(`${apiUrl}/v1/campaigns/${campaignId}/enrollments`, {
    method: 'POST',
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({ lead: { email: EMAIL, name: 'Marta Visible' } }),
  });
  expect(answer.status).toBe(202);
  await eventually(async () => sink.messages.some(({ to }) => to === EMAIL));
  await eventually(
    async () =>
      sampleOf(await metricsOf('worker'), 'recuerda_deliveries_total', { stream: 'requested', result: 'accepted' }) ===
      1,
  );

  const ofApi = await metricsOf('api');
  const asked = { method: 'POST', route: '/v1/campaigns/:id/enrollments', status: '2xx' };
  expect(sampleOf(ofApi, 'recuerda_http_request_duration_seconds_count', asked)).toBe(1);
  expect(sampleOf(ofApi, 'recuerda_db_pool_connections_max')).toBe(10);

  const ofWorker = await metricsOf('worker');
  for (const phase of ['connection', 'envelope', 'gate', 'message']) {
    const labels = { stream: 'requested', phase };
    expect(sampleOf(ofWorker, 'recuerda_delivery_phase_duration_seconds_count', labels)).toBe(1);
  }
  expect(sampleOf(ofWorker, 'recuerda_claims_total', { stream: 'requested', granted: 'true' })).toBe(1);
  expect(sampleOf(ofWorker, 'recuerda_figures_up', { source: 'postgres' })).toBe(1);
  expect(sampleOf(ofWorker, 'recuerda_figures_up', { source: 'temporal' })).toBe(1);
  expect(sampleOf(ofWorker, 'recuerda_queue_pollers', { queue: 'mail-marketing' })).toBeGreaterThan(0);
  // The SDK's own, from the same place.
  expect(sampleOf(ofWorker, 'temporal_activity_schedule_to_start_latency_count')).toBeGreaterThan(0);
  // One line for each delivery, in the log too.
  expect(worker.output()).toMatch(/"stream":"requested".*"result":"accepted".*"msg":"delivery"/);
  for (const text of [ofApi, ofWorker, api.output(), worker.output()])
    expect(text).not.toMatch(/visible|Marta|correo\.example/i);
});

test('a worker is ready while it reaches Postgres and Temporal, not while one is away, and again afterwards', async () => {
  const ready = await eventually(async () => {
    const told = await readiness('worker');
    return told.code === 200 ? told : null;
  });
  expect(ready).toEqual({
    code: 200,
    status: 'ready',
    polling: 'ok',
    postgres: 'ok',
    temporal: 'ok',
    reconciler: 'ok',
  });
  for (const [what, cable] of [
    ['postgres', toPostgres],
    ['temporal', toTemporal],
  ] as const) {
    cable.cut();
    await eventually(async () => (await readiness('worker'))[what] !== 'ok');
    expect((await readiness('worker')).code).toBe(503);
    expect((await fetch(`${urls.worker}/healthz`)).status).toBe(200);
    if (what === 'postgres') expect((await readiness('api')).code).toBe(503);
    cable.mend();
    await eventually(async () => (await readiness('worker')).code === 200);
  }
});

test('an API that was told to stop says so under /readyz before it stops listening', async () => {
  await eventually(async () => (await fetch(`${apiUrl}/readyz`)).status === 200);
  api.child.kill('SIGTERM');
  await eventually(async () => {
    const answer = await fetch(`${apiUrl}/readyz`);
    return answer.status === 503 && ((await answer.json()) as { draining: boolean }).draining;
  });
  expect((await fetch(`${apiUrl}/healthz`)).status).toBe(200);
  expect(await api.ends()).toBe(0);
});
