import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import type { CampaignDefinition, CompiledStep } from '../domain/campaign';
import type { ExampleLead } from '../domain/example-lead';
import { Problem } from '../domain/problem';
import type { Db } from './client';

/** Everything that a test mail is made from, so that its worker needs nothing else; a draft may change meanwhile. */
interface TestSendContent {
  definition: Omit<CampaignDefinition, 'steps'>;
  compiled: CompiledStep;
  stepCount: number;
  /** ISO 8601. */
  requestedAt: string;
  consentSource: string | null;
  /** Of the address it goes to, as `hashAddress` returns them. */
  hashes: [string, ...string[]];
}

export interface NewTestSend {
  campaignId: string;
  /** Null: the draft. */
  version: number | null;
  step: number;
  address: string;
  lead: ExampleLead;
  content: TestSendContent;
}

export type TestSendState = 'queued' | 'accepted' | 'refused';

export interface TestSendView {
  testSendId: string;
  campaignId: string;
  version: number | null;
  step: number;
  state: TestSendState;
  code: string | null;
  createdAt: Date;
}

/** A test mail that is still to be sent. */
export interface QueuedTestSend extends NewTestSend {
  testSendId: string;
  createdAt: Date;
}

/** A test that was not sent within this time (ms) never will be: nobody waits for it any more. */
const KEEP_MS = 24 * 60 * 60 * 1000;

/** @returns its id */
export async function createTestSend(db: Db, send: NewTestSend): Promise<string> {
  const id = randomUUID();
  await db
    .insertInto('test_send')
    .values({
      id,
      campaign_id: send.campaignId,
      version: send.version,
      step: send.step,
      address: send.address,
      lead: JSON.stringify(send.lead),
      content: JSON.stringify(send.content),
    })
    .execute();
  return id;
}

/** @throws Problem `not-found` */
export async function findTestSend(db: Db, id: string): Promise<TestSendView> {
  const row = await db
    .selectFrom('test_send')
    .select([
      'id as testSendId',
      'campaign_id as campaignId',
      'version',
      'step',
      'state',
      'code',
      'created_at as createdAt',
    ])
    .where('id', '=', id)
    .executeTakeFirst();
  if (row === undefined) throw new Problem('not-found', `there is no test send ${id}`);
  return row;
}

/** What is to be sent; null when it was dealt with already. */
export async function queuedTestSend(db: Db, id: string): Promise<QueuedTestSend | null> {
  const row = await db
    .selectFrom('test_send')
    .selectAll()
    .where('id', '=', id)
    .where('state', '=', 'queued')
    .executeTakeFirst();
  if (row === undefined || row.address === null || row.lead === null || row.content === null) return null;
  return {
    testSendId: row.id,
    campaignId: row.campaign_id,
    version: row.version,
    step: row.step,
    address: row.address,
    lead: row.lead as unknown as ExampleLead,
    content: row.content as unknown as TestSendContent,
    createdAt: row.created_at,
  };
}

/**
 * Writes down how it went and erases address, lead and content. What was written down first stays.
 *
 * @param code codes only, never a server's text
 */
export async function settleTestSend(
  db: Db,
  id: string,
  state: Exclude<TestSendState, 'queued'>,
  code: string,
): Promise<void> {
  await db
    .updateTable('test_send')
    .set({ state, code, address: null, lead: null, content: null })
    .where('id', '=', id)
    .where('state', '=', 'queued')
    .execute();
}

/** Does mail to this address come back? That alone keeps a test from it: it is mail to the shop's own staff. */
export async function isUndeliverable(db: Db, hashes: readonly string[]): Promise<boolean> {
  const row = await db
    .selectFrom('address')
    .select('hash')
    .where('hash', '=', sql<string>`any(${hashes}::text[])`)
    .where('undeliverable_at', 'is not', null)
    .executeTakeFirst();
  return row !== undefined;
}

/** Tests whose workflow was never started, leased to the caller. Those that nobody waits for any more are given up. */
export async function leaseUnstartedTestSends(
  db: Db,
  limit: number,
  leaseMs: number,
): Promise<{ testSendId: string; step: number }[]> {
  await sql`
    update test_send set state = 'refused', code = 'expired', address = null, lead = null, content = null
    where state = 'queued' and created_at < now() - ${KEEP_MS} * interval '1 millisecond'`.execute(db);
  const result = await sql<{ testSendId: string; step: number }>`
    update test_send set leased_until = now() + ${leaseMs} * interval '1 millisecond'
    where id in (
      select id from test_send
      where started_at is null and state = 'queued' and (leased_until is null or leased_until < now())
      order by created_at limit ${limit} for update skip locked
    )
    returning id as "testSendId", step`.execute(db);
  return result.rows;
}

/** Stamps tests whose workflow is known to be started. */
export async function markTestSendsStarted(db: Db, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  await sql`
    update test_send set started_at = coalesce(started_at, now()), leased_until = null
    where id = any(${ids}::uuid[])`.execute(db);
}
