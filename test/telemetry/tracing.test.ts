import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { freePort } from '../../stack/ports';
import { startTemporal, type TemporalServer } from '../../stack/temporal-server';
import { createTemporalClient } from '../../temporal/client';
import { journeyWorkflowId } from '../../workflows/contract';
import { type RunningCommand, runCommand } from '../cli/running-command';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { installRuntime, workflowBundle } from '../support/engine';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { type SmtpSink, smtpError, startSmtpSink } from '../support/smtp-sink';
import { eventually } from '../support/waiting';

// A real API and a real worker, as processes, that hand their spans to a collector in here.

const KEY = 'a-key-of-the-tests-0123456789';
const PERSONAL = /visible|marta|correo|example\.org|greylist|informaci|no such/i;

interface CollectedSpan {
  service: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  startTimeUnixNano: string;
  attributes: Record<string, string | number>;
  events: { name: string; timeUnixNano: string; attributes: Record<string, string | number> }[];
  links: { traceId: string; spanId: string }[];
  status: { code?: number; message?: string };
}

let home: string;
let database: TestDatabase;
let sink: SmtpSink;
let temporal: TemporalServer;
let client: Client;
let collector: Server;
let traced: Record<string, string>;
let apiUrl: string;
let commands: { api: RunningCommand; worker: RunningCommand };
const spans: CollectedSpan[] = [];
const bodies: string[] = [];
const asked: { url?: string | undefined; authorization?: string | undefined }[] = [];

beforeAll(async () => {
  installRuntime();
  home = await mkdtemp(join(tmpdir(), 'recuerda-tracing-'));
  // Tells at the end of a process what it had loaded of OpenTelemetry.
  await writeFile(
    join(home, 'loaded.js'),
    `process.on('exit', () => {
       const names = Object.keys(require('module')._cache).map((file) => /@opentelemetry\\/[\\w-]+/.exec(file)?.[0]);
       require('fs').writeSync(1, 'loaded: ' + [...new Set(names)].filter(Boolean).join(' ') + '.\\n');
     });`,
  );
  [database, sink] = await Promise.all([createTestDatabase(), startSmtpSink()]);
  temporal = await startTemporal({ cli: process.env.TEST_TEMPORAL_CLI as string, port: await freePort() });
  client = createTemporalClient({ address: temporal.address, namespace: 'default' });
  collector = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    asked.push({ url: request.url, authorization: request.headers.authorization });
    bodies.push(body);
    spans.push(...spansIn(body));
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  traced = {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}/`,
    OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20of-the-collector',
    // One of the SDK's own.
    OTEL_BSP_SCHEDULE_DELAY: '100',
  };
  commands = await start(traced);
});

afterAll(async () => {
  await stop('SIGKILL');
  await client?.connection.close();
  await temporal?.stop();
  collector?.closeAllConnections();
  collector?.close();
  await sink?.close();
  await database?.drop();
  await rm(home, { recursive: true, force: true });
});

async function start(settings: Record<string, string>): Promise<typeof commands> {
  const port = await freePort();
  apiUrl = `http://127.0.0.1:${port}`;
  const env = {
    DATABASE_URL: database.url,
    TEMPORAL_ADDRESS: temporal.address,
    SMTP_URL: sink.url,
    PORT: String(port),
    RECUERDA_PUBLIC_URL: apiUrl,
    RECUERDA_SECRET: 'only-for-this-test-only-for-this-test',
    RECUERDA_API_KEY: KEY,
    NODE_OPTIONS: `--require ${join(home, 'loaded.js')}`,
    ...settings,
  };
  const started = { api: runCommand(['api'], home, env), worker: runCommand(['worker'], home, env) };
  commands = started;
  await Promise.all([started.api.prints('serving', 280_000), started.worker.prints('worker takes tasks', 280_000)]);
  return started;
}

async function stop(signal: NodeJS.Signals): Promise<void> {
  for (const command of Object.values(commands ?? {})) command.child.kill(signal);
  await Promise.all(Object.values(commands ?? {}).map((command) => command.ends()));
}

function spansIn(body: string): CollectedSpan[] {
  type Attribute = { key: string; value: { stringValue?: string; intValue?: number } };
  const flat = (attributes: Attribute[] = []) =>
    Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? Number(value.intValue)]));
  const { resourceSpans } = JSON.parse(body);
  return resourceSpans.flatMap(
    ({
      resource,
      scopeSpans,
    }: {
      resource: { attributes: Attribute[] };
      scopeSpans: { spans: Record<string, unknown>[] }[];
    }) =>
      scopeSpans.flatMap((scope) =>
        scope.spans.map((span) => ({
          ...span,
          service: flat(resource.attributes)['service.name'],
          attributes: flat(span.attributes as Attribute[]),
          links: span.links ?? [],
          events: ((span.events ?? []) as { attributes: Attribute[] }[]).map((event) => ({
            ...event,
            attributes: flat(event.attributes),
          })),
        })),
      ),
  );
}

async function post(path: string, body?: object, headers: Record<string, string> = {}): Promise<Response> {
  return await fetch(`${apiUrl}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${KEY}`, ...(body ? { 'content-type': 'application/json' } : {}), ...headers },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
}

async function enroll(email: string, headers: Record<string, string> = {}): Promise<string> {
  const campaignId = await publishForTests(database.db, definitionForTests(2));
  const lead = { email, name: 'Marta Visible' };
  const consent = { purpose: 'follow-up', text: 'sí', source: 'form', capturedAt: new Date().toISOString() };
  const answer = await post(`/v1/campaigns/${campaignId}/enrollments`, { lead, consent }, headers);
  const told = (await answer.json()) as { enrollmentId: string };
  expect({ status: answer.status, told }).toMatchObject({ status: 202 });
  return told.enrollmentId;
}

/** On a machine so busy that the reconciler is first to start the journey, its trace is another one: then once more. */
async function enrollInTime(tries = 3): Promise<{ id: string; traceId: string }> {
  const traceId = randomBytes(16).toString('hex');
  const id = await enroll(`visible${tries}@correo.example`, {
    traceparent: `00-${traceId}-b7ad6b7169203331-01`,
    tracestate: 'shop=marta',
    baggage: 'who=marta',
  });
  const smtp = await eventually(() => find('SMTP', id));
  await eventually(() => find('sendStep', id));
  return smtp.traceId === traceId || tries === 1 ? { id, traceId } : await enrollInTime(tries - 1);
}

const find = (name: string, enrollmentId: string) =>
  spans.find((span) => span.name === name && span.attributes['recuerda.enrollment_id'] === enrollmentId);

test('one request is one trace: HTTP, the start, the activity, SMTP, each the child of the one before; nobody is in it (P5)', async () => {
  const { id, traceId } = await enrollInTime();
  // Each process sends its spans in its own time.
  const chain = await eventually(() => {
    const found = ['POST /v1/campaigns/:id/enrollments', 'start leadJourney', 'sendStep', 'SMTP'].map((name) =>
      spans.find((span) => span.name === name && span.traceId === traceId),
    );
    return found.includes(undefined) ? null : found;
  });
  expect(chain.map((span) => span?.parentSpanId)).toEqual([
    'b7ad6b7169203331',
    ...chain.slice(0, -1).map((span) => span?.spanId),
  ]);
  expect(chain.map((span) => span?.service)).toEqual([
    'recuerda-api',
    'recuerda-api',
    'recuerda-worker',
    'recuerda-worker',
  ]);
  const [http, begun, activity, smtp] = chain;
  expect(http?.attributes).toEqual({
    'http.request.method': 'POST',
    'http.route': '/v1/campaigns/:id/enrollments',
    'http.response.status_code': 202,
  });
  expect(begun?.attributes).toEqual({ 'temporal.workflow_id': journeyWorkflowId(id) });
  expect(activity?.attributes).toEqual({
    'recuerda.enrollment_id': id,
    'recuerda.step': 0,
    'recuerda.attempt': 1,
    'recuerda.result': 'next',
    'temporal.workflow_id': journeyWorkflowId(id),
  });
  expect(smtp?.attributes).toMatchObject({ 'recuerda.stream': 'requested', 'recuerda.result': 'accepted' });
  expect(smtp?.events.map(({ name, attributes }) => [name, attributes['smtp.code']])).toEqual([
    ['connected', undefined],
    ['MAIL', undefined],
    ['RCPT', undefined],
    ['DATA', 354],
    ['gate', undefined],
    ['end of DATA', 250],
  ]);
  const times = smtp?.events.map(({ timeUnixNano }) => BigInt(timeUnixNano)) ?? [];
  expect(times).toEqual([...times].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)));

  // The log names the trace, where the request was answered and where the mail went out.
  for (const [command, message] of [
    [commands.api, 'answered'],
    [commands.worker, 'delivery'],
  ] as const) {
    const lines = command.output().split('\n');
    expect(lines.filter((line) => line.includes(`"msg":"${message}"`) && line.includes(traceId))).toHaveLength(1);
  }
  expect(asked[0]).toEqual({ url: '/v1/traces', authorization: 'Bearer of-the-collector' });
  expect(bodies.join('\n')).not.toMatch(PERSONAL);
});

test('a refusal is an event with its codes, without the words of the server', async () => {
  sink.faults = {
    onRcpt: (to) => {
      throw smtpError(550, `5.1.1 no such user ${to}`);
    },
  };
  const id = await enroll('invisible@correo.example');
  const smtp = await eventually(() => find('SMTP', id));
  sink.faults = {};
  expect(smtp.attributes).toMatchObject({ 'recuerda.result': 'bounced' });
  expect(smtp.status).toEqual({ code: 2 });
  expect(smtp.events.at(-1)).toMatchObject({
    name: 'RCPT',
    attributes: { 'smtp.code': 550, 'smtp.enhanced_code': '5.1.1' },
  });
  const activity = await eventually(() => find('sendStep', id));
  expect(activity.attributes).toMatchObject({ 'recuerda.result': 'concluded' });
  expect(bodies.join('\n')).not.toMatch(PERSONAL);
});

test('a token in a path is in no span, and health checks are not traced', async () => {
  await fetch(`${apiUrl}/healthz`);
  await fetch(`${apiUrl}/readyz`);
  await fetch(`${apiUrl}/u/some-token-of-somebody`);
  await fetch(`${apiUrl}/no/such/path-of-somebody`);
  await eventually(() => spans.some(({ attributes }) => attributes['http.route'] === '/u/:token'));
  await eventually(() => spans.some(({ name }) => name === 'GET'));
  expect(bodies.join('\n')).not.toMatch(/of-somebody|healthz|readyz/);
});

test('a later touch is a trace of its own, linked to the one that enrolled; what was recorded replays with traces off', async () => {
  const { id } = await enrollInTime();
  const first = await eventually(() => find('sendStep', id));
  const handle = client.workflow.getHandle(journeyWorkflowId(id));
  const { runId } = await handle.describe();
  for (const change of ['pause', 'resume']) expect((await post(`/v1/enrollments/${id}/${change}`)).status).toBe(202);
  const second = await eventually(() =>
    spans.find(
      (span) => span !== first && span.name === 'sendStep' && span.attributes['recuerda.enrollment_id'] === id,
    ),
  );
  expect(second.traceId).not.toBe(first.traceId);
  expect(second.parentSpanId ?? '').toBe('');
  expect(second.links).toEqual([expect.objectContaining({ traceId: first.traceId, spanId: first.parentSpanId })]);
  // Where the reconciler was first to tell the journey, the request is not its parent: then once more.
  await eventually(async () => {
    const woken = await eventually(() => spans.filter(({ name }) => name === 'signal wake'));
    const parents = new Set(woken.map(({ parentSpanId }) => parentSpanId));
    const told = spans.some(
      (span) => parents.has(span.spanId) && span.attributes['http.route'] === '/v1/enrollments/:id/resume',
    );
    if (!told) for (const change of ['pause', 'resume']) await post(`/v1/enrollments/${id}/${change}`);
    return told;
  });

  const history = await client.workflow.getHandle(journeyWorkflowId(id), runId).fetchHistory();
  expect(JSON.stringify(history)).toContain('_tracer-data');
  await Worker.runReplayHistory({ workflowBundle: workflowBundle() }, history);

  await stop('SIGTERM');
  for (const { output } of Object.values(commands))
    expect(/loaded: (.*)\./.exec(output())?.[1]).toContain('@opentelemetry/sdk-trace-node');
  const before = spans.length;
  await start({ OTEL_EXPORTER_OTLP_ENDPOINT: '' });
  const current = await handle.describe();
  for (const change of ['pause', 'resume']) expect((await post(`/v1/enrollments/${id}/${change}`)).status).toBe(202);
  await eventually(async () => (await handle.describe()).runId !== current.runId);
  await enroll('untraced.visible@correo.example');
  await eventually(() => sink.messages.some(({ to }) => to.startsWith('untraced')));
  expect((await post(`/v1/enrollments/${id}/cancel`)).status).toBe(202);
  expect(await handle.result()).toMatchObject({ outcome: 'cancelled' });
  await stop('SIGTERM');
  // The API's metrics library brings the bare interface along; nothing that does any work.
  for (const { output } of Object.values(commands)) {
    const loaded = /loaded: (.*)\./.exec(output())?.[1]?.split(' ') ?? ['nothing was told'];
    expect(loaded.filter((name) => name !== '' && name !== '@opentelemetry/api')).toEqual([]);
    expect(output()).not.toContain('trace_id');
  }
  expect(spans).toHaveLength(before);
}, 400_000);
