import { enqueueTransactional, findTransactional } from '../../db/transactional';
import { shopMail } from '../support/transactional';
import { door, eventually } from '../support/waiting';
import { type Stage, setStage } from './stage';

let stage: Stage;
beforeAll(async () => {
  stage = await setStage();
});
afterAll(async () => {
  await stage.close();
});

const stateOf = async (id: string) => (await findTransactional(stage.db, id)).state;

test('P3 worker killed before the gate: sent once; killed between gate and record: unknown, and never sent again', async () => {
  const { db, sink } = stage;
  const [before, after] = ['antes@correo.example', 'despues@correo.example'] as const;
  const [rcpt, accept] = [door(), door()];
  sink.faults = {
    onRcpt: (to) => (to === before ? rcpt.wait() : undefined),
    // The message is taken, its 250 not yet said.
    beforeAccept: ({ to }) => (to === after ? accept.wait() : undefined),
  };
  const first = await stage.work();
  const ids = {
    before: await enqueueTransactional(db, shopMail(before)),
    after: await enqueueTransactional(db, shopMail(after)),
  };
  await stage.reconcile();
  await Promise.all([rcpt.reached, accept.reached]);
  expect(await stateOf(ids.before)).toBe('claimed');
  expect(await stateOf(ids.after)).toBe('handing_over');
  await first.kill();
  accept.open();
  rcpt.open();

  await stage.work();
  await eventually(async () => (await stateOf(ids.before)) === 'accepted');
  await eventually(async () => (await stateOf(ids.after)) === 'unknown');
  expect(await findTransactional(db, ids.after)).toMatchObject({ code: 'crash', settledAt: expect.any(Date) });
  expect(stage.mailsTo(before)).toHaveLength(1);
  expect(stage.mailsTo(after)).toHaveLength(1);
});

test('P4 what was accepted while Temporal was down is sent when it is back, with nobody doing anything', async () => {
  const { db, sink } = stage;
  sink.faults = {};
  await stage.stopTemporal();
  const id = await enqueueTransactional(db, shopMail('tarde@correo.example'));
  await stage.startTemporal();
  // Whoever tried while it was away holds a lease of half a minute.
  await eventually(async () => (await stateOf(id)) === 'accepted', 150_000);
  expect(stage.mailsTo('tarde@correo.example')).toHaveLength(1);
});
