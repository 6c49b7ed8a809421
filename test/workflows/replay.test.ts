import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { bundleWorkflowCode, DefaultLogger, Worker } from '@temporalio/worker';
import { createCampaign } from '../../db/campaigns';
import { pendingRequest } from '../../db/confirmation-outbox';
import { confirmRequest, viewLink } from '../../db/confirmations';
import { claim, passGate } from '../../db/ledger';
import { pauseEnrollment, resumeEnrollment } from '../../db/pauses';
import { recordPurchase } from '../../db/purchases';
import { recordRefund } from '../../db/refunds';
import { stopEnrollments } from '../../db/stops';
import { createTestSend } from '../../db/test-sends';
import { enqueueTransactional, findTransactional } from '../../db/transactional';
import { hashAddress } from '../../domain/address-hash';
import type { Outcome } from '../../domain/outcomes';
import { keepRequestGoing } from '../../temporal/confirmations';
import { signalJourney, startImport, startTestSend, startTransactional } from '../../temporal/journeys';
import {
  confirmedSignal,
  doubleOptInWorkflowId,
  importWorkflowId,
  journeyWorkflowId,
  progressQuery,
  testSendWorkflowId,
  transactionalWorkflowId,
  withdrawnSignal,
} from '../../workflows/contract';
import { afterPurchaseForTests, definitionForTests, publishForTests } from '../support/campaigns';
import { type Engine, startEngine, workflowBundle } from '../support/engine';
import { formForTests, sentBy, submitToConfirm } from '../support/form-requests';
import { importForTests } from '../support/imports';
import { enrollForTests, requestBy, TEST_ADDRESS_KEYS } from '../support/leads';
import { smtpError } from '../support/smtp-sink';
import { shopMail } from '../support/transactional';
import { door, eventually } from '../support/waiting';

// P11. Histories of every released version lie in test/replay/<version>/ and must replay with today's workflow code. Those
// of the version that is being made are recorded by this very test: RECORD_HISTORIES=<version> npx jest test/workflows/replay

// Some forty runs, one after another.
jest.setTimeout(600_000);

const REPLAY = join(__dirname, '..', 'replay');

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine('real-time');
});
afterAll(async () => {
  await engine.stop();
});

/** A run's history in the form that Temporal's own tools read and write. */
async function historyOf(workflowId: string, runId: string): Promise<unknown> {
  const target = ['--address', engine.config.temporalAddress, '--workflow-id', workflowId, '--run-id', runId];
  const { stdout } = await promisify(execFile)(
    process.env.TEST_TEMPORAL_CLI ?? 'temporal',
    ['workflow', 'show', ...target, '--output', 'json'],
    { maxBuffer: 1 << 24 },
  );
  return JSON.parse(stdout);
}

async function recordedHistories(): Promise<{ name: string; history: unknown }[]> {
  const found: { name: string; history: unknown }[] = [];
  for (const version of await readdir(REPLAY)) {
    for (const file of await readdir(join(REPLAY, version))) {
      const text = await readFile(join(REPLAY, version, file), 'utf8');
      found.push({ name: `${version}/${file}`, history: JSON.parse(text) });
    }
  }
  return found;
}

describe('P11: old journeys keep running', () => {
  test('every shape of a run that this version makes replays, and can be recorded', async () => {
    const histories = [
      ...(await runEveryShape()),
      ...(await mailsOfEveryShape()),
      ...(await buyersOfEveryShape()),
      ...(await requestsOfEveryShape()),
      await testSendOfOneShape(),
      await importOfOneShape(),
    ];
    for (const { shape, history } of histories) {
      await Worker.runReplayHistory({ workflowBundle: workflowBundle() }, history, shape);
    }
    const version = process.env.RECORD_HISTORIES;
    if (version === undefined) return;
    await mkdir(join(REPLAY, version), { recursive: true });
    for (const { shape, history } of histories) {
      await writeFile(join(REPLAY, version, `${shape}.json`), `${JSON.stringify(history, null, 1)}\n`);
    }
  });

  test('recorded histories of released versions replay with today’s code', async () => {
    const recorded = await recordedHistories();
    expect(recorded.length).toBeGreaterThanOrEqual(8);
    for (const { name, history } of recorded) {
      await Worker.runReplayHistory({ workflowBundle: workflowBundle() }, history, name);
    }
  });

  test('a changed order of commands turns the replay red', async () => {
    const { code } = await bundleWorkflowCode({
      workflowsPath: require.resolve('./fixtures/changed-order'),
      logger: new DefaultLogger('ERROR'),
    });
    const recorded = await recordedHistories();
    const waiting = recorded.find(({ name }) => name.endsWith('/purchased-in-the-wait.json'));
    expect(waiting).toBeDefined();
    await expect(
      Worker.runReplayHistory({ workflowBundle: { code } }, waiting?.history, 'changed-order'),
    ).rejects.toThrow(/Nondeterminism|TMPRL1100/);
  });
});

/** These set the scene first. */
const STARTED_BY_ITSELF: ReadonlySet<string> = new Set([
  'held-and-resumed',
  'stopped-in-back-off',
  'unknown',
  'informed',
  'bounced',
  'exhausted',
  'deferred',
]);

/** Leads a lead each through every way a run can go. */
async function runEveryShape(): Promise<{ shape: string; history: unknown }[]> {
  const campaignId = await publishForTests(engine.db, definitionForTests(2));
  const shapes: Record<string, (enrollmentId: string, email: string) => Promise<void>> = {
    'purchased-in-the-wait': async (id) => {
      await waitsFor(id, 'waiting');
      await stop(id, 'purchased');
    },
    asleep: (id) => waitsFor(id, 'waiting'),
    'continued-as-new': async (id) => {
      await waitsFor(id, 'waiting');
      await signalJourney(engine.client, { enrollmentId: id, outcome: null, signalAt: new Date() });
      await eventually(async () => (await describe_(id)).runId !== firstRuns.get(id));
    },
    'stopped-in-back-off': async (id, email) => {
      const refused = door();
      engine.sink.faults = {
        onMail: () => {
          refused.wait();
          throw smtpError(451, `4.3.0 not now, ${email}`);
        },
      };
      await engine.start(id);
      await refused.reached;
      await stop(id, 'replied');
      await engine.client.workflow.getHandle(journeyWorkflowId(id)).result();
      engine.sink.faults = {};
    },
    'held-and-resumed': async (id) => {
      await pauseEnrollment(engine.db, id, new Date());
      await waitsFor(id, 'holding');
      await resumeEnrollment(engine.db, id, new Date());
      await signalJourney(engine.client, { enrollmentId: id, outcome: null, signalAt: new Date() });
      await eventually(async () => (await describe_(id)).runId !== firstRuns.get(id));
    },
    'cancelled-in-the-wait': async (id) => {
      await waitsFor(id, 'waiting');
      await engine.client.workflow.getHandle(journeyWorkflowId(id)).cancel();
      await engine.client.workflow.getHandle(journeyWorkflowId(id)).result();
    },
    informed: async (id) => {
      await engine.db.updateTable('enrollment').set({ agreed_at: null }).where('id', '=', id).execute();
      expect(await engine.run(id)).toMatchObject({ outcome: 'informed' });
    },
    bounced: async (id, email) => {
      engine.sink.faults = {
        onRcpt: (to) => {
          if (to === email) throw smtpError(550, '5.1.1 no such user');
        },
      };
      expect(await engine.run(id)).toMatchObject({ outcome: 'bounced' });
      engine.sink.faults = {};
    },
    exhausted: async (id) => {
      await engine.db.updateTable('enrollment').set({ step: 2 }).where('id', '=', id).execute();
      expect(await engine.run(id)).toEqual({ outcome: 'exhausted', step: 2 });
    },
    // The worker died when the mail was on its way.
    unknown: async (id) => {
      const now = new Date();
      const key = { enrollmentId: id, step: 0, copy: 0 };
      await claim(engine.db, { ...key, messageId: `<${id}@correo.example>`, token: id, moves: 0, now });
      await passGate(engine.db, key, id, now);
      await waitsFor(id, 'waiting');
      await stop(id, 'unsubscribed');
    },
    deferred: async (id, email) => {
      engine.sink.faults = {
        onRcpt: (to) => {
          if (to === email) throw smtpError(450, '4.2.0 greylisted');
        },
      };
      await waitsFor(id, 'waiting');
      engine.sink.faults = {};
      await stop(id, 'unsubscribed');
    },
  };
  const histories: { shape: string; history: unknown }[] = [];
  for (const [shape, lead] of Object.entries(shapes)) {
    const email = `${shape}@correo.example`;
    const id = await enrollForTests(engine.db, campaignId, requestBy(email));
    const started = STARTED_BY_ITSELF.has(shape) ? null : await engine.start(id);
    if (started !== null) firstRuns.set(id, (await started.describe()).runId);
    await lead(id, email);
    // The first run: the one that this shape is about.
    const history = await historyOf(journeyWorkflowId(id), firstRuns.get(id) ?? '');
    histories.push({ shape, history });
  }
  return histories;
}

/** The same for mail outside any journey. */
async function mailsOfEveryShape(): Promise<{ shape: string; history: unknown }[]> {
  const { client, db } = engine;
  const refused = (code: number, text: string) => () => {
    engine.sink.faults = {
      onRcpt: () => {
        throw smtpError(code, text);
      },
    };
  };
  const accepted = () => {
    engine.sink.faults = {};
  };
  const histories: { shape: string; history: unknown }[] = [];
  for (const [shape, meet, ending] of [
    ['transactional-accepted', accepted, 'COMPLETED'],
    ['transactional-rejected', refused(550, '5.1.1 no such user'), 'COMPLETED'],
    ['transactional-deferred', refused(450, '4.2.0 greylisted'), 'RUNNING'],
    ['transactional-cancelled-in-the-wait', refused(450, '4.2.0 greylisted'), 'COMPLETED'],
  ] as const) {
    meet();
    const id = await enqueueTransactional(db, shopMail(`${shape}@correo.example`));
    await startTransactional(client, { transactionalId: id, priority: 1, fairnessKey: 'other-1' });
    const handle = client.workflow.getHandle(transactionalWorkflowId(id));
    const { runId } = await handle.describe();
    if (meet !== accepted && shape !== 'transactional-rejected') {
      await eventually(async () => (await findTransactional(db, id)).notBefore !== null);
    }
    if (shape === 'transactional-cancelled-in-the-wait') await handle.cancel();
    await eventually(async () => (await handle.describe()).status.name === ending);
    await eventually(async () => ((await handle.describe()).raw.pendingActivities ?? []).length === 0);
    histories.push({ shape, history: await historyOf(transactionalWorkflowId(id), runId) });
    if (ending === 'RUNNING') await handle.terminate();
  }
  accepted();
  return histories;
}

/** The same for requests that wait to be confirmed. */
async function requestsOfEveryShape(): Promise<{ shape: string; history: unknown }[]> {
  const { client, db, config } = engine;
  const campaignId = await publishForTests(db, definitionForTests(2));
  const reminding = { confirmation: { remindAfter: 'PT48H' } };
  const form = await formForTests(db, campaignId, reminding);
  const movedBack = async (id: string, column: 'expires_at' | 'remind_at') => {
    const twoDaysAgo = new Date(Date.now() - 2 * 24 * 60 * 60_000);
    const past = { requested_at: twoDaysAgo, [column]: new Date(Date.now() - 1) };
    await db.updateTable('form_request').set(past).where('id', '=', id).execute();
  };
  const confirm = async (id: string) => {
    const now = new Date();
    const view = await viewLink(db, id, now);
    const shown = view?.state === 'pending' ? view.shown : '';
    await confirmRequest(db, config, { requestId: id, shown, ip: null, userAgent: null, now });
  };
  const handleOf = (id: string) => client.workflow.getHandle(doubleOptInWorkflowId(id));
  const shapes: Record<string, (id: string) => Promise<unknown>> = {
    'opt-in-waiting': async () => {},
    'opt-in-confirmed': async (id) => {
      await confirm(id);
      await handleOf(id).signal(confirmedSignal);
      await handleOf(id).result();
    },
    'opt-in-reminded-and-expired': async (id) => {
      await movedBack(id, 'remind_at');
      await handleOf(id).signal(confirmedSignal);
      await eventually(async () => (await mailOf(id, 'reminder_id')) === 'accepted');
      await movedBack(id, 'expires_at');
      await handleOf(id).signal(withdrawnSignal);
      await handleOf(id).result();
    },
    'opt-in-cancelled': async (id) => {
      await handleOf(id).cancel();
      await handleOf(id).result();
    },
  };
  const mailOf = async (id: string, column: 'mail_id' | 'reminder_id') => {
    const row = await db.selectFrom('form_request').select(column).where('id', '=', id).executeTakeFirstOrThrow();
    const mailId = (row as Record<string, string | null>)[column] ?? null;
    return mailId === null ? null : (await findTransactional(db, mailId)).state;
  };
  const histories: { shape: string; history: unknown }[] = [];
  for (const [shape, meet] of Object.entries(shapes)) {
    const id = await submitToConfirm(db, sentBy(form, `${shape}@correo.example`));
    const pending = await pendingRequest(db, id);
    if (pending !== null) await keepRequestGoing(client, pending);
    const { runId } = await handleOf(id).describe();
    await eventually(async () => (await mailOf(id, 'mail_id')) === 'accepted');
    await meet(id);
    await eventually(async () => ((await handleOf(id).describe()).raw.pendingChildren ?? []).length === 0);
    histories.push({ shape, history: await historyOf(doubleOptInWorkflowId(id), runId) });
    if (shape !== 'opt-in-waiting') continue;
    // The mail that asks, on the requested stream.
    const { mail_id } = await db
      .selectFrom('form_request')
      .select('mail_id')
      .where('id', '=', id)
      .executeTakeFirstOrThrow();
    const mailWorkflowId = transactionalWorkflowId(mail_id ?? '');
    const mail = await client.workflow.getHandle(mailWorkflowId).describe();
    histories.push({ shape: 'opt-in-mail', history: await historyOf(mailWorkflowId, mail.runId) });
  }
  return histories;
}

/** A test mail to one's own people. */
async function testSendOfOneShape(): Promise<{ shape: string; history: unknown }> {
  const { client, db } = engine;
  const { steps: _, ...definition } = definitionForTests(1);
  const { id: campaignId } = await createCampaign(db, definition);
  const testSendId = await createTestSend(db, {
    campaignId,
    version: null,
    step: 0,
    address: 'autora@tienda.example',
    lead: { email: 'x@y.example', name: 'Remedios', locale: 'es', timeZone: 'Europe/Madrid', attributes: {} },
    content: {
      definition,
      compiled: { subject: 'Hola', html: '<p>{{ unsubscribeUrl }}</p>', text: '{{ unsubscribeUrl }}' },
      stepCount: 1,
      requestedAt: new Date().toISOString(),
      consentSource: null,
      hashes: hashAddress('autora@tienda.example', TEST_ADDRESS_KEYS),
    },
  });
  await startTestSend(client, { testSendId, step: 0 });
  return await ended('test-send-accepted', testSendWorkflowId(testSendId), { state: 'accepted' });
}

/** A file of leads. */
async function importOfOneShape(): Promise<{ shape: string; history: unknown }> {
  const campaignId = await publishForTests(engine.db, definitionForTests(2));
  const importId = await importForTests(engine.db, campaignId, 'ana@correo.example\nberta@correo.example');
  await startImport(engine.client, importId);
  return await ended('import-completed', importWorkflowId(importId), { state: 'completed' });
}

async function ended(shape: string, workflowId: string, result: object): Promise<{ shape: string; history: unknown }> {
  const handle = engine.client.workflow.getHandle(workflowId);
  expect(await handle.result()).toEqual(result);
  return { shape, history: await historyOf(workflowId, (await handle.describe()).runId) };
}

/** The same for what follows a purchase. */
async function buyersOfEveryShape(): Promise<{ shape: string; history: unknown }[]> {
  const { client, db } = engine;
  const afterPurchase = afterPurchaseForTests();
  const campaignId = await publishForTests(db, definitionForTests(2, { afterPurchase }));
  const histories: { shape: string; history: unknown }[] = [];
  for (const [shape, agreed] of [
    ['buyer-asleep', true],
    ['buyer-refunded-in-the-wait', true],
    ['buyer-informed', false],
  ] as const) {
    const request = requestBy(`${shape}@correo.example`, agreed ? {} : { consent: null });
    await enrollForTests(db, campaignId, request);
    const who = { hashes: request.hashes };
    const { begun } = await recordPurchase(db, { who, orderId: shape, campaignId, now: new Date() });
    const id = begun[0] as string;
    const handle = client.workflow.getHandle(journeyWorkflowId(id, 'buyer'));
    await engine.start(id);
    const { runId } = await handle.describe();
    if (agreed) await eventually(async () => (await handle.query(progressQuery)).until !== null);
    if (shape === 'buyer-refunded-in-the-wait') {
      await recordRefund(db, { orderId: shape, now: new Date() });
      await signalJourney(client, { enrollmentId: id, journey: 'buyer', outcome: 'cancelled', signalAt: new Date() });
    }
    if (shape !== 'buyer-asleep') await handle.result();
    histories.push({ shape, history: await historyOf(journeyWorkflowId(id, 'buyer'), runId) });
  }
  return histories;
}

const firstRuns = new Map<string, string>();

const describe_ = (id: string) => engine.client.workflow.getHandle(journeyWorkflowId(id)).describe();

async function waitsFor(id: string, doing: string): Promise<void> {
  const handle = await engine.start(id);
  if (!firstRuns.has(id)) firstRuns.set(id, (await handle.describe()).runId);
  await eventually(async () => (await handle.query(progressQuery)).doing === doing);
}

async function stop(id: string, outcome: Outcome): Promise<void> {
  await stopEnrollments(engine.db, { who: { enrollmentId: id }, outcome, now: new Date() });
  await signalJourney(engine.client, { enrollmentId: id, outcome, signalAt: new Date() });
  await engine.client.workflow.getHandle(journeyWorkflowId(id)).result();
}
