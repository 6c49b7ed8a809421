import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { sql } from 'kysely';
import { Webhook } from 'standardwebhooks';
import { recordEvents } from '../../db/events';
import { listDeliveries } from '../../db/webhook-deliveries';
import { createEndpoint, readEndpoint, rotateSecret } from '../../db/webhook-endpoints';
import { endpointSecret } from '../../domain/webhook-signature';
import { createPostWebhook } from '../../temporal/webhook-post';
import { deliverWebhooks, runWebhooks, type WebhooksOptions } from '../../temporal/webhooks';
import { publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { door, eventually } from '../support/waiting';

const KEY = Buffer.alloc(32, 9);
const BY = { kind: 'cli', id: 'tests' } as const;

interface Got {
  id: string;
  body: string;
  headers: Record<string, string>;
}

let database: TestDatabase;
let db: TestDatabase['db'];
let enrollmentId: string;
let leadId: string;
const servers: Server[] = [];
const logged: { told: object; text: string }[] = [];
const keep = (told: object, text: string) => void logged.push({ told, text });

beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
  enrollmentId = await enrollForTests(db, await publishForTests(db), requestBy('ana@example.com'));
  const row = await db.selectFrom('enrollment').select('lead_id').where('id', '=', enrollmentId).executeTakeFirst();
  leadId = row?.lead_id ?? '';
});
afterAll(async () => await database.drop());
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
  logged.length = 0;
  await db.deleteFrom('webhook_endpoint').execute();
  await db.deleteFrom('webhook_delivery').execute();
});

/** A receiver on loopback. @param answer the status of the n-th request, from 0 on; null: none, for ever */
async function receiver(answer: (n: number) => number | null | Promise<number | null> = () => 200) {
  const got: Got[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', async () => {
      const n = got.push({
        id: String(request.headers['webhook-id']),
        body: Buffer.concat(chunks).toString(),
        headers: request.headers as Record<string, string>,
      });
      const status = await answer(n - 1);
      if (status !== null) response.writeHead(status).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  servers.push(server);
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
  const endpoint = await createEndpoint(db, { url, events: ['*'], description: '' }, BY, new Date());
  return { got, endpoint };
}

const options = (change: Partial<WebhooksOptions> = {}): WebhooksOptions => ({
  db,
  log: { info: keep, warn: keep, error: keep },
  post: createPostWebhook({ toPrivate: true }),
  key: KEY,
  everyMs: 20,
  ...change,
});
const happened = async (outcome = 'replied') =>
  await recordEvents(db, [{ at: new Date(), leadId, enrollmentId, kind: 'ended', detail: { outcome } }]);
/** As if the wait before the next try, or the lease of a worker that died, were over. */
const later = async () =>
  await sql`update webhook_delivery set next_at = now(), leased_until = null where state = 'pending'`.execute(db);

test('an event arrives, signed as Standard Webhooks describes it', async () => {
  const { got, endpoint } = await receiver();
  await happened();
  expect(await deliverWebhooks(options())).toBe(1);
  expect(got).toHaveLength(1);
  const [{ id, body, headers }] = got as [Got];
  const payload = new Webhook(endpointSecret(KEY, endpoint.id, 1)).verify(body, headers);
  expect(payload).toMatchObject({ type: 'enrollment.ended', data: { leadId, enrollmentId, outcome: 'replied' } });
  expect(Object.keys(payload as object)).toEqual(['type', 'timestamp', 'data']);
  expect(await listDeliveries(db, endpoint.id, 10, null)).toMatchObject([{ id, state: 'delivered', status: 200 }]);
  expect(await deliverWebhooks(options())).toBe(0);
});

test('what fails is tried again with the same id, and signed anew', async () => {
  const { got, endpoint } = await receiver((n) => [500, 302, 200][n] ?? 200);
  await happened();
  const at = Date.now();
  for (let n = 0; n < 3; n++) {
    await deliverWebhooks(options({ clock: () => new Date(at + n * 10_000) }));
    await later();
  }
  expect(new Set(got.map((one) => one.id)).size).toBe(1);
  expect(new Set(got.map((one) => one.body)).size).toBe(1);
  expect(new Set(got.map((one) => one.headers['webhook-signature'])).size).toBe(3);
  expect(await listDeliveries(db, endpoint.id, 10, null)).toMatchObject([{ state: 'delivered', attempts: 3 }]);
  expect(await deliverWebhooks(options())).toBe(0);
});

test('a worker that is killed between delivery and record: it arrives again, with the same id', async () => {
  const { got, endpoint } = await receiver();
  await happened();
  // It dies once the receiver has answered: nothing of what it knows is written down.
  const dying = createPostWebhook({ toPrivate: true });
  const died = door();
  void deliverWebhooks(
    options({
      post: async (...args) => {
        await dying(...args);
        died.open();
        return await new Promise(() => {});
      },
    }),
  );
  await eventually(() => got.length === 1);
  expect(await deliverWebhooks(options())).toBe(0);
  await later();
  expect(await deliverWebhooks(options())).toBe(1);
  expect(got.map((one) => one.id)).toEqual([got[0]?.id, got[0]?.id]);
  expect(await listDeliveries(db, endpoint.id, 10, null)).toMatchObject([{ state: 'delivered', attempts: 2 }]);
});

test('after a rotation the old secret and the new one both verify', async () => {
  const { got, endpoint } = await receiver();
  await rotateSecret(db, endpoint.id, BY, new Date());
  await happened();
  await deliverWebhooks(options());
  const [{ body, headers }] = got as [Got];
  for (const version of [1, 2]) {
    expect(new Webhook(endpointSecret(KEY, endpoint.id, version)).verify(body, headers)).toBeTruthy();
  }
  expect(() => new Webhook(endpointSecret(KEY, endpoint.id, 3)).verify(body, headers)).toThrow('No matching');
});

test('410 switches the endpoint off, and is told without saying where it leads', async () => {
  const { endpoint } = await receiver(() => 410);
  await happened();
  await deliverWebhooks(options());
  expect(await readEndpoint(db, endpoint.id)).toMatchObject({ disabledBecause: 'gone' });
  await happened();
  expect(await deliverWebhooks(options())).toBe(0);
  expect(logged).toMatchObject([{ told: { endpointId: endpoint.id, status: 410 } }]);
  expect(JSON.stringify(logged)).not.toContain('127.0.0.1');
});

test('private addresses are refused where they are not allowed, and the receiver sees nothing', async () => {
  const { got, endpoint } = await receiver();
  await sql`update webhook_endpoint set url = replace(url, 'http:', 'https:')`.execute(db);
  await happened();
  await deliverWebhooks(options({ post: createPostWebhook({ toPrivate: false }) }));
  expect(got).toEqual([]);
  expect(await listDeliveries(db, endpoint.id, 10, null)).toMatchObject([
    { state: 'pending', failure: 'private-address', attempts: 1, status: null },
  ]);
});

test('where Postgres is away when the answer comes, it is delivered again', async () => {
  const { got } = await receiver();
  await happened();
  const post = createPostWebhook({ toPrivate: true });
  const away: WebhooksOptions['post'] = async (...args) => {
    const answer = await post(...args);
    await sql`alter table webhook_delivery rename to webhook_delivery_away`.execute(db);
    return answer;
  };
  expect(await deliverWebhooks(options({ post: away }))).toBe(1);
  await sql`alter table webhook_delivery_away rename to webhook_delivery`.execute(db);
  expect(logged).toMatchObject([{ told: { code: '42P01' } }]);
  await later();
  expect(await deliverWebhooks(options())).toBe(1);
  expect(got.map((one) => one.id)).toEqual([got[0]?.id, got[0]?.id]);
});

test('the loop: a receiver that does not answer holds up no other, and several workers deliver each event once', async () => {
  const stuck = await receiver(() => null);
  const quick = await receiver();
  for (let n = 0; n < 30; n++) await happened(`n${n}`);
  const stopping = new AbortController();
  const patient = options({ post: createPostWebhook({ toPrivate: true, deadlineMs: 20_000 }) });
  const loops = Array.from({ length: 3 }, () => runWebhooks(patient, stopping.signal));
  await eventually(() => quick.got.length === 30);
  expect(stuck.got.length).toBeLessThanOrEqual(15);
  stopping.abort();
  await Promise.all(loops);
  expect(new Set(quick.got.map((one) => one.id)).size).toBe(30);
  expect(quick.got).toHaveLength(30);
  const rows = await listDeliveries(db, stuck.endpoint.id, 100, null);
  const tried = rows.filter((row) => row.attempts > 0);
  expect(tried.length).toBe(stuck.got.length);
  for (const row of tried) expect(row).toMatchObject({ state: 'pending', failure: 'timeout' });
});
