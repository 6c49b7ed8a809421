import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Fault, FaultRates } from '../../chaos/faults';
import { type Sink, startSinkProcess } from '../../chaos/sink-process';
import { type Delivery, deliveriesIn, readSinkRecords } from '../../chaos/sink-records';
import { type Carrier, createCarrier } from '../../mail/deliver/connections';
import { SmtpRefusal } from '../../mail/deliver/refusal';
import { deliver } from '../../mail/deliver/send';
import { eventually } from '../support/waiting';

let folder: string;
let journal: string;
let sink: Sink;
let carrier: Carrier;
const told: string[] = [];
let count = 0;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'chaos-sink-'));
  journal = path.join(folder, 'journal.jsonl');
  sink = await startSinkProcess({ seed: 1, journal, onMail: ({ to }) => void told.push(to) });
  carrier = createCarrier({ url: sink.smtpUrl, connectTimeoutMs: 5_000 });
});
afterAll(async () => {
  await carrier.close();
  await sink.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Sends one mail as the product does. @param deadlineMs short for what only the deadline ends. @returns its recipient and how it went */
async function send(to = `lead${++count}@chaos.example`, deadlineMs = 30_000) {
  const signal = new AbortController().signal;
  const link = await carrier.acquire(signal);
  try {
    const raw = Buffer.from(`Message-ID: <${to}>\r\nSubject: Hola\r\n\r\nHola\r\n`);
    const gate = async () => true;
    return { to, result: await deliver(link, { from: 'a@shop.example', to, raw, gate, signal, deadlineMs }) };
  } finally {
    link.release();
  }
}

/** What the sink has written down about a recipient, once it has that many entries. */
async function entriesOf(to: string): Promise<Delivery[]> {
  return deliveriesIn(await readSinkRecords(journal)).filter((delivery) => delivery.to === to);
}

/** Every connection, or mail, meets it. */
async function always(fault: Fault): Promise<void> {
  await failing(sink, { [fault]: 1 });
}

/** A command and mail go different ways; a connection that is refused at the greeting shows nothing of it. */
async function failing(to: Sink, rates: FaultRates): Promise<void> {
  to.fail(rates);
  await new Promise((resolve) => setTimeout(resolve, 500));
}

afterEach(() => failing(sink, {}));

test('a mail that goes well is kept, answered, and told of', async () => {
  const { to, result } = await send();
  expect(result).toMatchObject({ kind: 'accepted', code: 250 });
  const [entry] = await entriesOf(to);
  expect(entry).toMatchObject({ messageId: `<${to}>`, to, fate: 'kept', fault: null, answered: 250 });
  expect(entry?.ended).toBeGreaterThanOrEqual(entry?.began ?? Number.POSITIVE_INFINITY);
  await eventually(() => told.includes(to));
});

test.each([
  ['message-drop-kept', { kind: 'unknown', reason: 'connection-lost' }, { fate: 'kept', answered: null }],
  ['message-drop-lost', { kind: 'unknown', reason: 'connection-lost' }, { fate: 'lost', answered: null }],
  ['message-hang-kept', { kind: 'unknown', reason: 'deadline' }, { fate: 'kept', answered: null }],
  ['body-drop', { kind: 'unknown', reason: 'connection-lost' }, { fate: 'cut', answered: null, messageId: null }],
  ['message-slow', { kind: 'accepted' }, { fate: 'kept', answered: 250 }],
  [
    'message-452',
    { kind: 'refused', code: 452, judgement: { verdict: 'refused-us' } },
    { fate: 'refused', answered: 452 },
  ],
  [
    'message-554-content',
    { kind: 'refused', code: 554, judgement: { verdict: 'rejected' } },
    { fate: 'refused', answered: 554 },
  ],
] as const)('%s after the 354', async (fault, result, entry) => {
  await always(fault);
  const sent = await send(undefined, fault.includes('hang') ? 5_000 : undefined);
  expect(sent.result).toMatchObject(result);
  await eventually(async () => {
    const [written] = await entriesOf(sent.to);
    return written !== undefined && (entry.fate === 'refused' || written.answered === 250 || written.gone !== null);
  });
  expect((await entriesOf(sent.to))[0]).toMatchObject({ fault, ...entry });
});

test.each([
  ['mail-451', { kind: 'refused', phase: 'mail', judgement: { verdict: 'refused-us' } }],
  ['rcpt-452', { kind: 'refused', phase: 'rcpt', judgement: { verdict: 'refused-us' } }],
  ['rcpt-450-greylisted', { kind: 'refused', phase: 'rcpt', judgement: { verdict: 'deferred' } }],
  ['rcpt-hang', { kind: 'unsent', reason: 'deadline' }],
  ['data-drop', { kind: 'unsent', reason: 'connection-lost' }],
] as const)('%s before the 354 leaves nothing behind', async (fault, result) => {
  await always(fault);
  const sent = await send(undefined, fault.includes('hang') ? 5_000 : undefined);
  expect(sent.result).toMatchObject(result);
  expect(await entriesOf(sent.to)).toEqual([]);
  const faults = (await readSinkRecords(journal)).flatMap((record) => (record.kind === 'fault' ? [record.fault] : []));
  expect(faults).toContain(fault);
});

test('knows no mailbox whose name says so', async () => {
  const { result } = await send('unknown0001@chaos.example');
  expect(result).toMatchObject({ kind: 'refused', phase: 'rcpt', judgement: { verdict: 'bounced' } });
});

describe('new connections', () => {
  const fresh = async () => {
    const another = createCarrier({ url: sink.smtpUrl, connectTimeoutMs: 1_000 });
    try {
      return await another.acquire(new AbortController().signal).then(
        (link) => {
          link.release();
          return 'open';
        },
        (error) => (error instanceof SmtpRefusal ? error.phase : 'broken'),
      );
    } finally {
      await another.close();
    }
  };

  test('are turned away in the greeting, or hear nothing', async () => {
    await always('greeting-421');
    expect(await fresh()).toBe('greeting');
    await always('greeting-hang');
    expect(await fresh()).toBe('greeting');
  });

  test('find nobody for a while, and somebody again', async () => {
    sink.closeFor(5_000);
    await eventually(async () => (await fresh()) === 'connect');
    await eventually(async () => (await fresh()) === 'open');
    expect((await readSinkRecords(journal)).some((record) => record.kind === 'closed')).toBe(true);
  });
});
