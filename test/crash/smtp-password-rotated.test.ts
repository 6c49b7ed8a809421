import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { SMTPServer } from 'smtp-server';
import { listPauses, resumeSending } from '../../db/breaker';
import { publishForTests } from '../support/campaigns';
import { eventually } from '../support/waiting';
import { type Stage, setStage } from './stage';

// The runbook's rotation of the mail server's password, done in the wrong order: the old one is deleted first.

let stage: Stage;
/** The password that the mail server takes. */
let password = 'first';
const takenBy: string[] = [];
const mailServer = new SMTPServer({
  authOptional: false,
  allowInsecureAuth: true,
  disabledCommands: ['STARTTLS'],
  disableReverseLookup: true,
  logger: false,
  onAuth: (auth, _session, done) =>
    auth.password === password
      ? done(null, { user: auth.password })
      : done(Object.assign(new Error('5.7.8 authentication failed'), { responseCode: 535 })),
  onData: (stream, session, done) => {
    stream.resume();
    stream.on('end', () => {
      takenBy.push(`${session.envelope.rcptTo[0]?.address} ${session.user}`);
      done();
    });
  },
});

beforeAll(async () => {
  mailServer.on('error', () => {});
  mailServer.listen(0, '127.0.0.1');
  await once(mailServer.server, 'listening');
  stage = await setStage();
});
afterAll(async () => {
  await stage.close();
  await new Promise<void>((resolve) => mailServer.close(() => resolve()));
});

const urlWith = (secret: string) =>
  `smtp://shop:${secret}@127.0.0.1:${(mailServer.server.address() as AddressInfo).port}`;

test('P4 a password that was deleted before its successor was set stops the streams; once the workers have the new one and sending is resumed, all goes out', async () => {
  const { db } = stage;
  const campaignId = await publishForTests(db);
  const worker = await stage.work({ smtpUrl: urlWith('first') });
  await stage.enroll(campaignId, 'antes@correo.example');
  await eventually(() => takenBy.length === 1);

  password = 'second';
  // A connection that is open already would go on with what it has logged in with.
  for (const connection of mailServer.connections) connection.close();
  const waits = await stage.enroll(campaignId, 'espera@correo.example');
  const stopped = await eventually(async () => (await listPauses(db))[0]);
  expect(stopped).toMatchObject({
    stream: 'requested',
    provider: '*',
    reason: 'refused',
    code: expect.stringMatching(/^535/),
  });
  await eventually(async () => (await stage.journey(waits).progress())?.doing === 'holding');
  await worker.stop();

  await stage.work({ smtpUrl: urlWith('second') });
  await resumeSending(db, { stream: 'requested', provider: '*', now: new Date() });
  await eventually(() => takenBy.length === 2);
  expect(takenBy).toEqual(['antes@correo.example first', 'espera@correo.example second']);
  await eventually(async () => (await stage.row(waits)).step === 1);
  expect(await stage.messages(waits)).toMatchObject([{ state: 'accepted' }]);
  expect(await listPauses(db)).toEqual([]);
});
