import type { Api } from '../../api/context';
import type { Journeys } from '../../temporal/journeys';
import { journeyWorkflowId } from '../../workflows/contract';
import { apiOn } from '../support/api-on-engine';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { type Engine, startEngine } from '../support/engine';
import { door, eventually } from '../support/waiting';

// The whole, as it runs: HTTP in, Postgres, Temporal, SMTP out, and the ways out of it.

let engine: Engine;
let journeys: Journeys;
let app: Api;
let campaignId: string;

beforeAll(async () => {
  engine = await startEngine('real-time');
  ({ app, journeys } = await apiOn(engine));
  campaignId = await publishForTests(engine.db, definitionForTests(3));
});
afterAll(async () => {
  await app.close();
  await journeys.settled();
  await engine.stop();
});
afterEach(() => {
  engine.sink.faults = {};
});

const mailsTo = (email: string) => engine.sink.messages.filter((message) => message.to === email);

async function post(url: string, payload: object) {
  const headers = { authorization: `Bearer ${engine.config.apiKeys[0]}` };
  return await app.inject({ method: 'POST', url, headers, payload });
}

async function enroll(email: string): Promise<{ enrollmentId: string; leadId: string; created: boolean }> {
  const response = await post(`/v1/campaigns/${campaignId}/enrollments`, {
    lead: { email, name: 'Íñigo Núñez', timeZone: 'Europe/Madrid' },
    consent: { purpose: 'nudges', text: 'Sí', capturedAt: new Date().toISOString(), source: 'formulario' },
  });
  expect(response.statusCode).toBe(202);
  return response.json();
}

test('P1: 100 identical requests at the same time: one enrollment, one workflow, one first mail', async () => {
  const email = 'cien@correo.example';
  const answers = await Promise.all(Array.from({ length: 100 }, () => enroll(email)));

  expect(new Set(answers.map((answer) => answer.enrollmentId)).size).toBe(1);
  expect(answers.filter((answer) => answer.created)).toHaveLength(1);
  await journeys.settled();
  await eventually(() => mailsTo(email).length > 0);
  const workflowId = journeyWorkflowId(answers[0]?.enrollmentId ?? '');
  await eventually(async () => (await engine.client.workflow.count(`WorkflowId = '${workflowId}'`)).count > 0);
  const open = await engine.client.workflow.count(`WorkflowId = '${workflowId}' AND ExecutionStatus = 'Running'`);
  expect(open.count).toBe(1);
  expect(mailsTo(email)).toHaveLength(1);
});

test('P13, P6: the link in a real mail unsubscribes with one click; the address is refused from then on', async () => {
  const email = 'baja@correo.example';
  const { enrollmentId } = await enroll(email);
  await eventually(() => mailsTo(email).length === 1);
  const raw = mailsTo(email)[0]?.raw.replaceAll(/\r?\n[ \t]+/g, ' ') ?? '';
  const link = new URL(/^List-Unsubscribe: *<([^>]+)>/im.exec(raw)?.[1] ?? '');
  expect(raw).toMatch(/^List-Unsubscribe-Post: *List-Unsubscribe=One-Click$/im);

  const scanned = await app.inject({ method: 'GET', url: link.pathname });
  expect(scanned.statusCode).toBe(200);
  const before = await engine.client.workflow.getHandle(journeyWorkflowId(enrollmentId)).describe();
  expect(before.status.name).toBe('RUNNING');

  const click = await app.inject({
    method: 'POST',
    url: link.pathname,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    payload: 'List-Unsubscribe=One-Click',
  });
  expect(click.statusCode).toBe(200);
  await journeys.settled();
  expect(await engine.client.workflow.getHandle(journeyWorkflowId(enrollmentId)).result()).toMatchObject({
    outcome: 'unsubscribed',
  });
  const refused = await post(`/v1/campaigns/${campaignId}/enrollments`, { lead: { email } });
  expect(refused.statusCode).toBe(409);
  expect(mailsTo(email)).toHaveLength(1);
});

test('P2: a purchase is answered with what it stopped and what was past the gate, and the workflow closes', async () => {
  const email = 'compra@correo.example';
  const body = door();
  engine.sink.faults = { onMessage: (message) => (message.to === email ? body.wait() : undefined) };
  const { enrollmentId } = await enroll(email);
  await body.reached;

  const response = await post('/v1/purchases', { email, orderId: 'P-1' });
  body.open();

  expect(response.statusCode).toBe(202);
  expect(response.json()).toMatchObject({
    stopped: [{ enrollmentId, campaignId, outcome: 'purchased' }],
    inFlight: [{ enrollmentId, step: 0 }],
  });
  await journeys.settled();
  const result = await engine.client.workflow.getHandle(journeyWorkflowId(enrollmentId)).result();
  expect(result).toMatchObject({ outcome: 'purchased' });
  expect(mailsTo(email)).toHaveLength(1);
});
