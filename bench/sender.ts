import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { MockActivityEnvironment } from '@temporalio/testing';
import { sql } from 'kysely';
import nodemailer from 'nodemailer';
import { createSendStep } from '../activities/send-step';
import { createCampaign, publishVersion } from '../db/campaigns';
import { createDb, type Db } from '../db/client';
import { enroll } from '../db/enrollments';
import { migrate } from '../db/migrate';
import { hashAddress } from '../domain/address-hash';
import { normaliseAddress } from '../domain/addresses';
import type { PublishedCampaign } from '../domain/campaign';
import { loadExample } from '../examples/load';
import { preparePublication } from '../mail/compose/compile';
import { mailIdentity } from '../mail/compose/identity';
import { type ComposedMessage, composeMessage } from '../mail/compose/message';
import { createCarrier } from '../mail/deliver/connections';
import { createSigner } from '../mail/deliver/signing';
import { freePort } from '../stack/ports';
import { startPostgres } from '../stack/postgres';
import type { SendStepResult } from '../workflows/contract';
import { median, range } from './numbers';
import { CONSENT_SOURCE, CONSENT_TEXT } from './shop';
import { startSink } from './sink';

// How fast one process sends: ours, with the whole ledger and a DKIM signature, beside nodemailer's pool, over the same
// connections to the same sink with the same message. bench/README.md tells how to read the table.

const { values: options } = parseArgs({
  options: {
    messages: { type: 'string', default: '2000' },
    rounds: { type: 'string', default: '5' },
    connections: { type: 'string', default: '10' },
    /** Our own sink, also where Postfix's is there. */
    'own-sink': { type: 'boolean', default: false },
    /** Only these, by the beginning of their name. */
    only: { type: 'string', multiple: true, default: [] },
    /** For machines. */
    json: { type: 'boolean', default: false },
  },
});
const MESSAGES = Number(options.messages);
const ROUNDS = Number(options.rounds);
const CONNECTIONS = Number(options.connections);

const TOKEN_KEYS = [{ version: 1, secret: Buffer.alloc(32, 1) }];
const ADDRESS_KEYS = [{ version: 1, secret: Buffer.alloc(32, 2) }];
const PUBLIC_URL = 'https://cartas.casabrava.example';
const DKIM_DOMAIN = 'casabrava.example';

/** Sends so many messages, all of them, and resolves when the last one was taken. */
type Send = (messages: number) => Promise<void>;

interface Contender {
  name: string;
  send: Send;
  close(): Promise<void>;
}

interface Measured {
  perSecond: number;
  /** CPU of this process, its threads included (ms a message). */
  cpuMs: number;
}

async function main(): Promise<void> {
  const dir = await mkdtemp(path.join(tmpdir(), 'recuerda-bench-'));
  const sink = await startSink(options['own-sink']);
  const postgres = await startPostgres({ dir, port: await freePort(), onProgress: () => {} });
  const db = createDb({ url: postgres.url, maxConnections: CONNECTIONS * 2, onError: () => {} });
  try {
    await migrate(db);
    const campaign = await publish(db);
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const message = await theMessage(campaign);
    const contenders = [
      composingPool('nodemailer, composing', sink.url, message, null),
      composingPool('nodemailer, composing and signing', sink.url, message, privateKey),
      barePool('nodemailer, one raw message', sink.url, message),
      await ours('Recuerda, signed, with ledger', sink.url, db, campaign, privateKey),
    ].filter(({ name }) => options.only.length === 0 || options.only.some((start) => name.startsWith(start)));

    if (!options.json)
      console.log(
        `${MESSAGES} messages of ${message.raw.length} bytes a round, ${ROUNDS} rounds and one to warm up, ` +
          `${CONNECTIONS} connections to ${sink.name}, Node ${process.version}, ${cpus().length} CPUs`,
      );
    const results = new Map<string, Measured[]>(contenders.map(({ name }) => [name, []]));
    for (let round = 0; round <= ROUNDS; round++) {
      for (const { name, send } of contenders) {
        const measured = await measure(send);
        if (round > 0) results.get(name)?.push(measured);
      }
    }
    const answers = [...results].map(([name, rounds]) => resultOf(name, rounds));
    if (options.json) console.log(JSON.stringify(answers));
    else printTable(answers);
    await Promise.all(contenders.map(({ close }) => close()));
  } finally {
    await db.destroy();
    await postgres.stop();
    sink.stop();
    await rm(dir, { recursive: true });
  }
}

/** Of one sender; the medians of its rounds. */
export interface SenderResult {
  name: string;
  perSecond: number;
  /** CPU of the sending process, its threads included (ms a message). */
  cpuMs: number;
  /** Messages a second of each round. */
  rounds: number[];
}

function resultOf(name: string, measured: readonly Measured[]): SenderResult {
  const rounds = measured.map(({ perSecond }) => perSecond);
  return { name, perSecond: median(rounds), cpuMs: median(measured.map(({ cpuMs }) => cpuMs)), rounds };
}

function printTable(results: readonly SenderResult[]): void {
  console.table(
    Object.fromEntries(
      results.map(({ name, perSecond, cpuMs, rounds }) => [
        name,
        {
          'messages/s': Math.round(perSecond),
          'CPU ms a message': Number(cpuMs.toFixed(3)),
          'messages/s, slowest and fastest round': range(rounds),
        },
      ]),
    ),
  );
}

async function measure(send: Send): Promise<Measured> {
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  await send(MESSAGES);
  const ms = Number(process.hrtime.bigint() - start) / 1e6;
  const { user, system } = process.cpuUsage(cpu);
  return { perSecond: (MESSAGES / ms) * 1000, cpuMs: (user + system) / 1000 / MESSAGES };
}

/** What most programs do: text and HTML handed to nodemailer, which makes the message. */
function composingPool(name: string, url: string, message: ComposedMessage, key: KeyObject | null): Contender {
  const dkim = key === null ? {} : { dkim: { domainName: DKIM_DOMAIN, keySelector: 's1', privateKey: pem(key) } };
  const pool = nodemailer.createTransport({ ...poolTo(url), ...dkim });
  return {
    name,
    send: inParallel(CONNECTIONS * 2, () =>
      pool.sendMail({
        from: message.headers.From,
        to: message.headers.To,
        replyTo: message.headers['Reply-To'],
        subject: message.subject,
        text: message.text,
        html: message.html,
        list: { unsubscribe: `${PUBLIC_URL}/u/token` },
      }),
    ),
    close: async () => pool.close(),
  };
}

/** As fast as nodemailer gets: the same bytes again and again. */
function barePool(name: string, url: string, message: ComposedMessage): Contender {
  const pool = nodemailer.createTransport(poolTo(url));
  const { from, to } = message.envelope;
  return {
    name,
    send: inParallel(CONNECTIONS * 2, () => pool.sendMail({ envelope: { from, to }, raw: message.raw })),
    close: async () => pool.close(),
  };
}

/** Ours, as the worker runs it: the activity `sendStep` for one enrollment after the other, Temporal left out. */
async function ours(
  name: string,
  url: string,
  db: Db,
  campaign: PublishedCampaign,
  key: KeyObject,
): Promise<Contender> {
  const enrollments = await enrollMany(db, campaign.campaignId, MESSAGES * (ROUNDS + 1));
  const carrier = createCarrier({ url, maxConnections: CONNECTIONS });
  const sendStep = createSendStep({
    db,
    exit: {
      stream: 'requested',
      carrier,
      sign: createSigner([{ domain: DKIM_DOMAIN, selector: 's1', privateKey: key }], url),
      returnPath: `bounces@${DKIM_DOMAIN}`,
    },
    publicUrl: PUBLIC_URL,
    replyAddress: `replies@${DKIM_DOMAIN}`,
    tokenKeys: TOKEN_KEYS,
    timeFactor: 1,
    mailBlocked: null,
  });
  let sent = 0;
  return {
    name,
    send: inParallel(CONNECTIONS * 2, async () => {
      const enrollmentId = enrollments[sent++] ?? '';
      const answer = (await new MockActivityEnvironment().run(sendStep, {
        enrollmentId,
        step: 0,
        now: Date.now(),
      })) as SendStepResult;
      if (answer.kind !== 'next' || answer.step !== 1) throw new Error(`not sent: ${answer.kind}`);
    }),
    close: async () => {
      await carrier.close();
      const { rows } = await sql<{ accepted: string }>`
        select count(*) as accepted from message where state = 'accepted'`.execute(db);
      if (Number(rows[0]?.accepted) !== sent) throw new Error('the ledger does not know of every message');
    },
  };
}

async function publish(db: Db): Promise<PublishedCampaign> {
  const prepared = await preparePublication(loadExample('es'));
  if ('problems' in prepared) throw new Error('the example can not be published');
  const { id } = await createCampaign(db, prepared.definition);
  await publishVersion(db, id, prepared.definition, prepared.steps);
  return { campaignId: id, version: 1, ...prepared };
}

/** The mail that all of them send: the example's information. */
async function theMessage({ campaignId, definition, steps }: PublishedCampaign): Promise<ComposedMessage> {
  const [compiled] = steps;
  if (compiled === undefined) throw new Error('the example has no steps');
  const { sender } = definition;
  return await composeMessage({
    compiled,
    definition,
    campaignId,
    step: 0,
    stepCount: steps.length,
    lead: {
      email: 'lead-0@correo.example',
      name: 'Ana Ibáñez',
      locale: 'es',
      timeZone: 'Europe/Madrid',
      attributes: {},
    },
    requestedAt: new Date(),
    consentSource: 'https://casabrava.example/cafetera',
    unsubscribeUrl: `${PUBLIC_URL}/u/${'x'.repeat(120)}`,
    identity: mailIdentity(
      { kind: 'enrollment', id: 'c0ffee00-0000-4000-8000-00000000000a', step: 0, copy: 0 },
      { from: { name: sender.name, address: sender.address }, replyTo: sender.replyTo },
      { returnPath: `bounces@${DKIM_DOMAIN}`, replyAddress: `replies@${DKIM_DOMAIN}`, tokenKeys: TOKEN_KEYS },
    ),
    stream: 'requested',
    date: new Date(),
  });
}

async function enrollMany(db: Db, campaignId: string, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let from = 0; from < count; from += 500) {
    const requests = Array.from({ length: Math.min(500, count - from) }, (_, n) => {
      const email = `lead-${from + n}@correo-${(from + n) % 97}.example`;
      return {
        hashes: hashAddress(normaliseAddress(email), ADDRESS_KEYS),
        email,
        name: 'Ana Ibáñez',
        requestedAt: new Date(),
        consent: {
          purpose: 'nudges' as const,
          text: CONSENT_TEXT,
          capturedAt: new Date(),
          source: CONSENT_SOURCE,
        },
      };
    });
    const results = await enroll(db, requests, {
      campaignId,
      now: new Date(),
      priority: 2,
      via: 'api',
      asksInPerson: true,
      timeFactor: 1,
    });
    for (const result of results) if ('enrollmentId' in result) ids.push(result.enrollmentId);
  }
  await sql`analyze`.execute(db);
  return ids;
}

/** So many at a time, until all are done; the first failure ends it. */
function inParallel(width: number, one: () => Promise<unknown>): Send {
  return async (messages) => {
    let begun = 0;
    const lane = async () => {
      while (begun++ < messages) await one();
    };
    await Promise.all(Array.from({ length: width }, lane));
  };
}

function poolTo(url: string) {
  const { hostname, port } = new URL(url);
  return { pool: true as const, host: hostname, port: Number(port), maxConnections: CONNECTIONS, ignoreTLS: true };
}

function pem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

void main();
