import type { Api } from '../../api/context';
import type { Journeys } from '../../temporal/journeys';
import { journeyWorkflowId, progressQuery } from '../../workflows/contract';
import { mjmlWith, publishableDraft } from '../api/publishable-draft';
import { apiOn } from '../support/api-on-engine';
import { definitionForTests } from '../support/campaigns';
import { type Engine, startEngine } from '../support/engine';
import { fallDue } from '../support/leads';
import { eventually } from '../support/waiting';

// The runbook's answer to a wrong template (docs/operations.md), as an operator does it: over HTTP, with everything real.

let engine: Engine;
let journeys: Journeys;
let app: Api;

beforeAll(async () => {
  engine = await startEngine('real-time');
  ({ app, journeys } = await apiOn(engine));
});
afterAll(async () => {
  await app.close();
  await journeys.settled();
  await engine.stop();
});

async function ask<T>(method: 'GET' | 'POST' | 'PATCH', url: string, payload?: object): Promise<T> {
  const headers = { authorization: `Bearer ${engine.config.apiKeys[0]}` };
  const answer = await app.inject({ method, url, headers, ...(payload === undefined ? {} : { payload }) });
  if (answer.statusCode >= 300) throw new Error(`${method} ${url}: ${answer.statusCode} ${answer.body}`);
  return answer.json<T>();
}

const subjectsTo = (email: string) =>
  engine.sink.messages.filter((message) => message.to === email).map((message) => message.subject);

const mail = (key: string, subject: string) => ({ key, subject, mjml: mjmlWith(subject) });

test('P2, P3: a wrong mail is paused, mended, and leads are moved: who had it gets it no second time, the others the mended one', async () => {
  const right = [mail('info', 'Info'), mail('price', 'Cuesta 50 euros'), mail('last', 'Fin')];
  const wrong = right.map((step) => (step.key === 'price' ? mail('price', 'Cuesta 5 euros') : step));
  const draft = publishableDraft(3, { steps: wrong, sendWindow: definitionForTests().sendWindow });
  const { id } = await ask<{ id: string }>('POST', '/v1/campaigns', draft);
  const campaign = `/v1/campaigns/${id}`;
  await ask('POST', `${campaign}/publish`);
  const enroll = async (email: string) => {
    const lead = { email, name: 'Ana Ibáñez', timeZone: 'Europe/Madrid' };
    const consent = { purpose: 'nudges', text: 'Sí', capturedAt: new Date().toISOString(), source: 'formulario' };
    const { enrollmentId } = await ask<{ enrollmentId: string }>('POST', `${campaign}/enrollments`, { lead, consent });
    await eventually(async () => subjectsTo(email).length === 1 && (await stepOf(enrollmentId)) === 1);
    return enrollmentId;
  };
  const stepOf = async (enrollmentId: string) =>
    (await ask<{ step: number }>('GET', `/v1/enrollments/${enrollmentId}`)).step;
  const early = await enroll('pronto@correo.example');
  const late = await enroll('tarde@correo.example');
  await fallDue(engine.db, early);
  await eventually(async () => subjectsTo('pronto@correo.example').length === 2 && (await stepOf(early)) === 2);

  expect(await ask('POST', `${campaign}/pause`)).toMatchObject({ inFlight: [] });
  await fallDue(engine.db, late);
  const journey = engine.client.workflow.getHandle(journeyWorkflowId(late));
  await eventually(async () => (await journey.query(progressQuery)).doing === 'holding');
  await ask('PATCH', campaign, { steps: right });
  expect(await ask('POST', `${campaign}/publish`)).toMatchObject({ version: 2 });
  const dryRun = await ask<{ migrationId: string }>('POST', `${campaign}/migrations`, { dryRun: true, toVersion: 2 });
  expect(dryRun).toMatchObject({ total: 2, results: { moved: 2 }, matching: [{ deleted: [], added: [] }] });
  const move = await ask<{ migrationId: string }>('POST', `${campaign}/migrations`, { dryRunId: dryRun.migrationId });
  await eventually(
    async () =>
      (await ask<{ state: string }>('GET', `${campaign}/migrations/${move.migrationId}`)).state === 'completed',
  );
  expect(subjectsTo('tarde@correo.example')).toEqual(['Info']);
  await ask('POST', `${campaign}/resume`);

  await eventually(() => subjectsTo('tarde@correo.example').length === 2);
  await fallDue(engine.db, early);
  await eventually(async () => subjectsTo('pronto@correo.example').length === 3);
  const fresh = await enroll('nueva@correo.example');
  await fallDue(engine.db, fresh);
  await eventually(() => subjectsTo('nueva@correo.example').length === 2);
  expect(subjectsTo('pronto@correo.example')).toEqual(['Info', 'Cuesta 5 euros', 'Fin']);
  expect(subjectsTo('tarde@correo.example')).toEqual(['Info', 'Cuesta 50 euros']);
  expect(subjectsTo('nueva@correo.example')).toEqual(['Info', 'Cuesta 50 euros']);
});
