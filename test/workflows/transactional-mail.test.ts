import { randomUUID } from 'node:crypto';
import { simpleParser } from 'mailparser';
import { enqueueTransactional, findTransactional } from '../../db/transactional';
import { startTransactional } from '../../temporal/journeys';
import { reconcileOnce } from '../../temporal/reconciler';
import { transactionalWorkflowId } from '../../workflows/contract';
import { type Engine, silent, startEngine } from '../support/engine';
import { smtpError } from '../support/smtp-sink';
import { alertMail, pageMail, shopMail } from '../support/transactional';
import { eventually } from '../support/waiting';

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine('real-time');
});
beforeEach(() => {
  engine.sink.messages.length = 0;
  engine.sink.faults = {};
});
afterAll(async () => {
  await engine.stop();
});

const handle = (id: string) => engine.client.workflow.getHandle(transactionalWorkflowId(id));
const find = (id: string) => findTransactional(engine.db, id);

async function started(mail: Parameters<typeof enqueueTransactional>[1]): Promise<string> {
  const id = await enqueueTransactional(engine.db, mail);
  await startTransactional(engine.client, { transactionalId: id, priority: 1, fairnessKey: 'other-1' });
  return id;
}

test('an invoice goes out with its file, once, however often it is started', async () => {
  const bytes = Buffer.from([0, 255, 13, 10, 46]);
  const file = { filename: 'factura.pdf', contentType: 'application/pdf', contentId: null, bytes };
  const id = await started(shopMail('ana@correo.example', { attachments: [file] }));
  expect(await handle(id).result()).toEqual({ state: 'accepted' });
  expect(engine.sink.messages).toHaveLength(1);
  const mail = await simpleParser(engine.sink.messages[0]?.raw ?? '');
  expect(mail).toMatchObject({ subject: 'Factura 17', attachments: [{ filename: 'factura.pdf', content: bytes }] });
  expect(await find(id)).toMatchObject({
    state: 'accepted',
    messageId: mail.messageId,
    code: expect.stringMatching(/^250/),
  });

  await startTransactional(engine.client, { transactionalId: id, priority: 1, fairnessKey: 'other-1' });
  expect(await handle(id).result()).toEqual({ state: 'accepted' });
  expect(engine.sink.messages).toHaveLength(1);
});

test('P5 Temporal knows ids and codes only', async () => {
  const id = await started(shopMail('secreta@correo.example'));
  await handle(id).result();
  const { events } = await handle(id).fetchHistory();
  const raw = JSON.stringify(events);
  const payloads = [...raw.matchAll(/"data":"([^"]+)"/g)].map(([, data = '']) =>
    Buffer.from(data, 'base64').toString(),
  );
  const text = [raw, ...payloads].join('\n');
  expect(text).toContain(`"transactionalId":"${id}"`);
  expect(text).not.toMatch(/secreta|correo\.example|Factura|Ana/);
});

test('put off by its recipient it waits on a timer; refused for good it is rejected; the other mail goes out meanwhile', async () => {
  engine.sink.faults = {
    onRcpt: (to) => {
      if (to.startsWith('lista')) throw smtpError(450, `4.2.0 <${to}> greylisted`);
      if (to.startsWith('nadie')) throw smtpError(554, `5.2.0 <${to}> what a mess`);
    },
  };
  const [listed, nobody, other] = [
    await started(shopMail('lista@correo.example')),
    await started(shopMail('nadie@correo.example')),
    await started(alertMail('ops@shop.example')),
  ];
  expect(await handle(other).result()).toEqual({ state: 'accepted' });
  expect(await handle(nobody).result()).toEqual({ state: 'rejected' });
  const waiting = await eventually(async () => {
    const mail = await find(listed);
    return mail.notBefore === null ? null : mail;
  });
  expect(waiting).toMatchObject({ state: 'queued', code: '450 4.2.0', deferrals: 1 });
  expect(waiting.notBefore?.getTime()).toBeGreaterThan(Date.now() + 14 * 60_000);
  // The answer of its activity reaches the engine a moment after the database.
  await eventually(async () => ((await handle(listed).describe()).raw.pendingActivities ?? []).length === 0);
  await handle(listed).terminate();
});

test('while the mail server is down nothing is lost, and it goes out when it is back', async () => {
  let down = true;
  engine.sink.faults = {
    onConnect: () => {
      if (down) throw smtpError(421, '4.3.2 shutting down');
    },
    onMail: () => {
      if (down) throw smtpError(421, '4.3.2 shutting down');
    },
  };
  const id = await started(shopMail('ana@correo.example'));
  await eventually(async () => {
    const { raw } = await handle(id).describe();
    return (raw.pendingActivities?.[0]?.attempt ?? 0) > 1;
  });
  expect(await find(id)).toMatchObject({ state: 'queued', deferrals: 0 });
  down = false;
  expect(await handle(id).result()).toEqual({ state: 'accepted' });
  expect(engine.sink.messages).toHaveLength(1);
});

test('P4 one that nobody has started is sent by the reconciler', async () => {
  const id = await enqueueTransactional(engine.db, shopMail('ana@correo.example'));
  await reconcileOnce({ client: engine.client, db: engine.db, log: silent });
  await eventually(async () => (await find(id)).state === 'accepted');
  await eventually(async () => {
    const row = engine.db.selectFrom('transactional').select('started_at').where('id', '=', id);
    return (await row.executeTakeFirstOrThrow()).started_at !== null;
  });
});

test('P12 cancelled in the engine while it waits it is rejected and told so; its content is gone', async () => {
  engine.sink.faults = {
    onRcpt: () => {
      throw smtpError(450, '4.2.0 greylisted');
    },
  };
  const id = await started(shopMail('ana@correo.example'));
  await eventually(async () => (await find(id)).notBefore !== null);
  await handle(id).cancel();
  expect(await handle(id).result()).toEqual({ state: 'rejected' });
  expect(await find(id)).toMatchObject({ state: 'rejected', code: 'cancelled' });
  expect(engine.sink.messages).toEqual([]);
});

test('one whose row is gone ends well', async () => {
  const id = randomUUID();
  await startTransactional(engine.client, { transactionalId: id, priority: 1, fairnessKey: 'other-1' });
  expect(await handle(id).result()).toEqual({ state: 'erased' });
});

test('what a page asks for goes its own way, also when it was started on the wrong one; the reconciler starts it there', async () => {
  const misled = await started(pageMail('ana@correo.example'));
  expect(await handle(misled).result()).toEqual({ state: 'accepted' });
  const id = await enqueueTransactional(engine.db, pageMail('berta@correo.example'));
  await reconcileOnce({ client: engine.client, db: engine.db, log: silent });
  await eventually(async () => (await find(id)).state === 'accepted');
  const { events } = await handle(id).fetchHistory();
  const queues = (events ?? []).flatMap((event) => [
    event.workflowExecutionStartedEventAttributes?.taskQueue?.name ?? [],
    event.activityTaskScheduledEventAttributes?.taskQueue?.name ?? [],
  ]);
  expect(queues.flat()).toEqual(['journeys', 'mail-requested']);
  expect(engine.sink.messages.map((message) => message.to)).toEqual(['ana@correo.example', 'berta@correo.example']);
});
