import { setTimeout as sleep } from 'node:timers/promises';
import { type Cable, layCable } from '../support/cable';
import { publishForTests } from '../support/campaigns';
import { door, eventually } from '../support/waiting';
import { type Stage, setStage } from './stage';

let stage: Stage;
let cable: Cable;

beforeAll(async () => {
  stage = await setStage();
  cable = await layCable(Number(new URL(stage.database.url).port));
});
afterAll(async () => {
  await stage.close();
  await cable.close();
});

test('P3: Postgres away between 250 and record: recorded when it is back, as accepted, in the same attempt', async () => {
  const databaseUrl = new URL(stage.database.url);
  databaseUrl.port = String(cable.port);
  await stage.work({ databaseUrl: databaseUrl.href });
  const campaignId = await publishForTests(stage.db);
  const held = door();
  stage.sink.faults = { beforeAccept: () => held.wait() };
  const id = await stage.enroll(campaignId, 'ana@correo.example');
  await stage.reconcile();
  await held.reached;

  cable.cut();
  const turnedAway = cable.turnedAway();
  held.open();
  // Longer than the heartbeat timeout (10 s): the attempt must live on while it waits.
  await Promise.all([sleep(11_000), eventually(() => cable.turnedAway() > turnedAway + 3)]);
  expect((await stage.messages(id)).map((message) => message.state)).toEqual(['handing_over']);
  cable.mend();

  await eventually(async () => (await stage.row(id)).step === 1);
  expect(await stage.messages(id)).toMatchObject([{ state: 'accepted', attempts: 1 }]);
  expect(await stage.timeline(id)).toEqual(['enrolled', 'message-accepted']);
  expect(stage.mailsTo('ana@correo.example')).toHaveLength(1);
  await eventually(async () => (await stage.journey(id).progress())?.doing === 'waiting');
  const { events } = await stage.journey(id).fetchHistory();
  const attempts = events?.flatMap((event) => event.activityTaskStartedEventAttributes?.attempt ?? []);
  expect(attempts).toEqual([1]);
});
