import { freePort } from '../../stack/ports';
import { startTemporal } from '../../stack/temporal-server';
import { createTemporalClient } from '../../temporal/client';
import { createJourneys } from '../../temporal/journeys';
import { publishForTests } from '../support/campaigns';
import { installRuntime, silent } from '../support/engine';
import { enrollForTests, requestBy } from '../support/leads';
import { createTestDatabase } from '../support/postgres';
import { startSmtpSink } from '../support/smtp-sink';
import { eventually } from '../support/waiting';
import { startWorkerProcess } from '../support/worker-process';

test('P4: an API that starts journeys before a worker has registered what they say of themselves loses nobody', async () => {
  installRuntime();
  const temporal = await startTemporal({ cli: process.env.TEST_TEMPORAL_CLI ?? '', port: await freePort() });
  const [database, sink] = await Promise.all([createTestDatabase(), startSmtpSink()]);
  const client = createTemporalClient({ address: temporal.address, namespace: 'default' });
  const left: unknown[] = [];
  const journeys = createJourneys(client, database.db, { ...silent, warn: (detail) => left.push(detail) });
  const id = await enrollForTests(database.db, await publishForTests(database.db), requestBy('pronto@correo.example'));
  const startedAt = async () =>
    (await database.db.selectFrom('enrollment').select('started_at').where('id', '=', id).executeTakeFirstOrThrow())
      .started_at;

  journeys.start([id]);
  await journeys.settled();
  // The server refuses a start that names search attributes which it does not know.
  expect(left).toEqual([{ what: 'start', id, code: expect.stringContaining('3') }]);
  expect(await startedAt()).toBeNull();

  const settings = { databaseUrl: database.url, temporalAddress: temporal.address, smtpUrl: sink.url };
  const worker = await startWorkerProcess(settings);
  // Its first round may be too early for the attributes just registered, and holds a lease of half a minute.
  await eventually(async () => (await startedAt()) !== null && sink.messages.length === 1, 150_000);
  await worker.stop();
  await client.connection.close();
  await temporal.stop();
  await sink.close();
  await database.drop();
});
