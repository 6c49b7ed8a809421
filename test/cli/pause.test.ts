import { pauseAll, resumeAllPaused } from '../../cli/pause';
import { listPauses, recordFault } from '../../db/breaker';
import { ledgerRow } from '../api/api-under-test';
import { publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

let database: TestDatabase;
let refusals: jest.SpyInstance;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(() => {
  refusals = jest.spyOn(console, 'error').mockImplementation(() => {});
});
afterEach(() => refusals.mockRestore());

async function run(work: (command: Parameters<typeof pauseAll>[0]) => Promise<number>) {
  const lines: string[] = [];
  const output = { write: (text: string) => void lines.push(text) };
  const code = await work({ env: { DATABASE_URL: database.url }, root: __dirname, output });
  return { code, printed: lines.join(''), said: refusals.mock.calls.flat().join('\n') };
}

const paused = async () => (await listPauses(database.db)).map(({ stream, reason }) => `${stream} ${reason}`).sort();

test('everything is paused by the database alone, what may still arrive is named, and it all goes on', async () => {
  const campaignId = await publishForTests(database.db);
  const enrollmentId = await enrollForTests(database.db, campaignId, requestBy('saliendo@pausa.example'));
  const messageId = await ledgerRow(database.db, enrollmentId, 'handing_over');
  const said = await run((command) => pauseAll(command, {}));
  expect(said.code).toBe(0);
  expect(said.printed).toBe(
    `Paused: transactional, requested, marketing. Nothing of that is handed over any more, test sends aside.\nMay still arrive: ${messageId} (enrollment ${enrollmentId})\n`,
  );
  expect(await paused()).toEqual(['marketing by-hand', 'requested by-hand', 'transactional by-hand']);

  const on = await run((command) => resumeAllPaused(command, {}));
  expect([on.code, on.printed]).toEqual([0, expect.stringMatching(/^Goes on: .*marketing.*\.\n$/)]);
  expect(await paused()).toEqual([]);
  expect((await run((command) => resumeAllPaused(command, {}))).printed).toBe('Nothing was paused by hand.\n');
});

test('one stream alone; what the breaker has stopped goes on by its name only', async () => {
  await run((command) => pauseAll(command, { stream: 'marketing' }));
  await recordFault(database.db, {
    stream: 'requested',
    provider: '*',
    kind: 'refusal',
    phase: 'auth',
    code: '535',
    now: new Date(),
  });
  expect(await paused()).toEqual(['marketing by-hand', 'requested refused']);
  expect((await run((command) => resumeAllPaused(command, {}))).printed).toBe('Goes on: marketing.\n');
  expect(await paused()).toEqual(['requested refused']);
  const named = await run((command) => resumeAllPaused(command, { stream: 'requested' }));
  expect(named.printed).toBe('Goes on: requested.\n');
  expect((await run((command) => resumeAllPaused(command, { stream: 'requested' }))).printed).toBe(
    'requested was not paused.\n',
  );
});

test('a stream that there is not is refused, and nothing is paused', async () => {
  const answer = await run((command) => pauseAll(command, { stream: 'news' }));
  expect([answer.code, answer.said]).toEqual([1, 'news: there are transactional, requested, marketing.']);
  expect(await paused()).toEqual([]);
});
