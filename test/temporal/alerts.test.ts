import { pauseSending, recordFault, resumeSending } from '../../db/breaker';
import { tellOperators } from '../../temporal/alerts';
import type { Log } from '../../temporal/log';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

let database: TestDatabase;

beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

interface Line {
  level: string;
  fields: Record<string, unknown>;
}

function listening(): { log: Log; lines: Line[] } {
  const lines: Line[] = [];
  const at = (level: string) => (fields: Record<string, unknown>) => void lines.push({ level, fields });
  return { log: { info: at('info'), warn: at('warn'), error: at('error') }, lines };
}

const mails = async () =>
  await database.db.selectFrom('transactional').select(['kind', 'email', 'content']).orderBy('created_at').execute();

test('a stop is an error in the log and a mail to each operator, once; what they say are codes', async () => {
  const { db } = database;
  const now = new Date();
  await recordFault(db, {
    stream: 'marketing',
    provider: 'gmail',
    kind: 'refusal',
    code: '550 5.7.1',
    phase: 'rcpt',
    cause: 'policy',
    now,
  });
  const { log, lines } = listening();
  const mail = { operators: ['ops@shop.example', 'jefa@shop.example'], from: 'Tienda <avisos@shop.example>' };
  expect(await tellOperators(db, log, mail)).toBe(1);
  expect(await tellOperators(db, log, mail)).toBe(0);
  expect(lines).toEqual([
    {
      level: 'error',
      fields: {
        stream: 'marketing',
        provider: 'gmail',
        kind: 'stopped',
        reason: 'refused',
        code: '550 5.7.1',
        phase: 'rcpt',
      },
    },
  ]);
  const sent = await mails();
  expect(sent.map(({ kind, email }) => [kind, email])).toEqual([
    ['alert', 'ops@shop.example'],
    ['alert', 'jefa@shop.example'],
  ]);
  expect(sent[0]?.content).toMatchObject({
    from: { name: 'Tienda', address: 'avisos@shop.example' },
    subject: 'Recuerda: marketing mail to gmail was stopped (refused)',
    text: expect.stringContaining('DELETE /v1/sending/pauses/marketing/gmail'),
  });
});

test('without operators there is the log alone', async () => {
  const { db } = database;
  await pauseSending(db, { streams: ['transactional'], provider: '*', now: new Date() });
  await resumeSending(db, { stream: 'transactional', provider: '*', now: new Date() });
  const { log, lines } = listening();
  expect(await tellOperators(db, log, { operators: [], from: null })).toBe(2);
  expect(lines.map(({ level, fields }) => [level, fields.kind])).toEqual([
    ['error', 'stopped'],
    ['info', 'resumed'],
  ]);
  expect(await mails()).toEqual([]);
});
