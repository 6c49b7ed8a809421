import { randomUUID } from 'node:crypto';
import pino, { type Logger } from 'pino';
import { buildApp } from '../../api/app';
import type { Api, ApiContext } from '../../api/context';
import type { Db } from '../../db/client';
import { TEST_ADDRESS_KEYS, TEST_TOKEN_KEYS } from '../support/leads';
import { createTestDatabase } from '../support/postgres';
import { publishedDns } from '../support/published-dns';
import { NO_WEBHOOKS, PEOPLE_SETTINGS } from '../support/settings';

export const API_KEY = 'a-key-of-the-tests-0123456789';
export const OTHER_API_KEY = 'another-key-of-the-tests-0123';
export const AUTH = { authorization: `Bearer ${API_KEY}` };

const LOOPBACK = { url: 'smtp://127.0.0.1:1', connections: 1, oauth2: null, returnPath: null };

/** What the API asked of the engine. */
interface Asked {
  started: string[];
  told: string[];
  tested: string[];
  /** How often. */
  limitsApplied: number;
  mailed: string[];
  /** Requests to confirm, or confirmed. */
  asking: string[];
}

export interface ApiUnderTest {
  app: Api;
  db: Db;
  asked: Asked;
  /** Everything that was logged, as JSON lines. */
  logged: string[];
  /** Another app on the same database, with some settings changed. */
  another(change: {
    config?: Partial<ApiContext['config']>;
    db?: Db;
    dns?: ApiContext['dns'];
    clock?: ApiContext['clock'];
    getText?: NonNullable<ApiContext['getText']>;
    pingTemporal?: () => Promise<void>;
  }): Promise<Api>;
  close(): Promise<void>;
}

/** The API on a database of its own; what it asks of the engine is written down. */
export async function apiUnderTest(): Promise<ApiUnderTest> {
  const { db, drop } = await createTestDatabase();
  const asked: Asked = { started: [], told: [], tested: [], mailed: [], asking: [], limitsApplied: 0 };
  const logged: string[] = [];
  const logger: Logger = pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) });
  const context: ApiContext = {
    db,
    clock: () => new Date(),
    dns: publishedDns({}),
    journeys: {
      start: (ids) => void asked.started.push(...ids),
      tell: (ids) => void asked.told.push(...ids),
      startImport: () => {},
      startTestSend: ({ testSendId }) => void asked.tested.push(testSendId),
      startTransactional: (ids) => void asked.mailed.push(...ids),
      startConfirmations: (ids) => void asked.asking.push(...ids),
      applyLimits: () => {
        asked.limitsApplied += 1;
      },
      settled: async () => {},
    },
    config: {
      publicUrl: 'https://recuerda.test',
      apiKeys: [API_KEY, OTHER_API_KEY],
      addressKeys: TEST_ADDRESS_KEYS,
      tokenKeys: TEST_TOKEN_KEYS,
      replyAddress: null,
      staffFrom: null,
      timeFactor: 1,
      mailBlocked: null,
      smtp: { transactional: LOOPBACK, requested: LOOPBACK, marketing: LOOPBACK },
      dkimKeys: [],
      ...PEOPLE_SETTINGS,
      webhooks: NO_WEBHOOKS,
    },
  };
  const apps = [await buildApp({ ...context, logger })];
  return {
    app: apps[0] as Api,
    db,
    asked,
    logged,
    async another({ config, ...change }) {
      const app = await buildApp({ ...context, logger, ...change, config: { ...context.config, ...config } });
      apps.push(app);
      return app;
    },
    async close() {
      for (const app of apps) await app.close();
      await drop();
    },
  };
}

/** Sends JSON with an API key. */
export async function post(app: Api, url: string, body?: unknown, headers: Record<string, string> = {}) {
  const payload = body === undefined ? {} : { payload: JSON.stringify(body) };
  return await app.inject({
    method: 'POST',
    url,
    headers: { ...AUTH, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...payload,
  });
}

export async function get(app: Api, url: string) {
  return await app.inject({ method: 'GET', url, headers: AUTH });
}

/** Puts a row into the ledger, as a send would have left it. @returns its Message-ID */
export async function ledgerRow(
  db: Db,
  enrollmentId: string,
  state: 'claimed' | 'handing_over' | 'accepted',
  step = 0,
): Promise<string> {
  const now = new Date();
  const messageId = `<${randomUUID()}@shop.example>`;
  await db
    .insertInto('message')
    .values({
      enrollment_id: enrollmentId,
      step,
      message_id: messageId,
      state,
      token: randomUUID(),
      first_claimed_at: now,
      claimed_at: now,
      handing_over_at: state === 'claimed' ? null : now,
      settled_at: state === 'accepted' ? now : null,
      code: state === 'accepted' ? '250 2.0.0' : null,
    })
    .execute();
  return messageId;
}

/** A lead's request as the API takes it, by somebody who agreed to nudges. */
export function bodyFor(email: string, change: Record<string, unknown> = {}) {
  return {
    lead: { email, name: 'Íñigo Núñez', locale: 'es-ES', timeZone: 'Atlantic/Canary', attributes: { city: 'Bilbao' } },
    consent: {
      purpose: 'nudges',
      text: 'Sí, escríbanme sobre la cafetera.',
      capturedAt: '2026-01-10T10:00:00+01:00',
      source: 'formulario',
      ip: '2001:db8::1',
      userAgent: 'Mozilla/5.0',
    },
    ...change,
  };
}

/** Resolves once the condition holds; fails when it does not within a minute. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('waited in vain');
    await new Promise((resolve) => setImmediate(resolve));
  }
}
