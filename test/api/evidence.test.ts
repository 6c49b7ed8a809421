import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createApiKey } from '../../db/api-keys';
import { hashAddress } from '../../domain/address-hash';
import { evidenceText, verifyEvidence } from '../../domain/evidence-document';
import { SCOPES, type Scope } from '../../domain/scopes';
import { sealEvidence, unsealEvidence } from '../../domain/sealing';
import { publishForTests } from '../support/campaigns';
import { TEST_ADDRESS_KEYS } from '../support/leads';
import { type ApiUnderTest, apiUnderTest, bodyFor, get, post } from './api-under-test';

let api: ApiUnderTest;
let campaignId: string;

beforeAll(async () => {
  api = await apiUnderTest();
  campaignId = await publishForTests(api.db);
});
afterAll(() => api.close());

async function leadWho(email = `${randomUUID()}@shop.example`): Promise<{ leadId: string; email: string }> {
  const answer = await post(api.app, `/v1/campaigns/${campaignId}/enrollments`, bodyFor(email));
  return { leadId: answer.json().leadId, email };
}

async function withScopes(url: string, scopes: Scope[]) {
  const by = { kind: 'cli' as const, id: 'test', scopes: SCOPES };
  const { key } = await createApiKey(api.db, { name: 'test', scopes, by, now: new Date() });
  return await api.app.inject({ url, headers: { authorization: `Bearer ${key}` } });
}

async function audited(action: string) {
  return await api.db.selectFrom('audit').selectAll().where('action', '=', action).orderBy('id').execute();
}

describe('P7 evidence in one call', () => {
  test('is a document that anybody can verify with the key that is published', async () => {
    const { leadId, email } = await leadWho();
    const answer = await get(api.app, `/v1/leads/${leadId}/evidence`);
    expect(answer.statusCode).toBe(200);
    expect(answer.headers).toMatchObject({
      'content-type': 'application/json; charset=utf-8',
      'content-disposition': `attachment; filename="evidence-${leadId}.json"`,
      'cache-control': 'no-store',
    });
    const { algorithm, publicKey } = (await get(api.app, '/v1/evidence-key')).json();
    expect(algorithm).toBe('Ed25519');
    const { faults, entries, document } = verifyEvidence(answer.rawPayload, publicKey);
    expect(faults).toEqual([]);
    expect(document?.subject).toMatchObject({ leadId, email });
    expect(entries).toEqual([
      expect.objectContaining({
        kind: 'consent',
        detail: expect.objectContaining({
          purpose: 'nudges',
          text: 'Sí, escríbanme sobre la cafetera.',
          ip: '2001:db8::1',
        }),
      }),
    ]);
    expect(document === null ? '' : evidenceText(document)).toBe(answer.body);
  });

  test('that it was read stands in the audit log, with who read it', async () => {
    const { leadId } = await leadWho();
    await get(api.app, `/v1/leads/${leadId}/evidence`);
    const [entry] = (await audited('evidence.read')).slice(-1);
    expect(entry).toMatchObject({ target: leadId, actor_kind: 'key', detail: {} });
  });

  test('a lead that nobody knows has none, and no reading of it is noted', async () => {
    const before = (await audited('evidence.read')).length;
    expect((await get(api.app, `/v1/leads/${randomUUID()}/evidence`)).statusCode).toBe(404);
    expect((await get(api.app, '/v1/leads/ana/evidence')).statusCode).toBe(400);
    expect(await audited('evidence.read')).toHaveLength(before);
  });

  test('the scope privacy opens it, no other one does; the key is for everybody who may call at all', async () => {
    const { leadId } = await leadWho();
    for (const url of [`/v1/leads/${leadId}/evidence`, '/v1/sealed-evidence?email=ana@shop.example']) {
      expect((await withScopes(url, ['privacy'])).statusCode).toBe(200);
      expect((await withScopes(url, ['marketing', 'checkout', 'forms', 'operator'])).statusCode).toBe(403);
      expect((await api.app.inject({ url })).statusCode).toBe(401);
    }
    for (const scope of ['checkout', 'forms'] as const) {
      expect((await withScopes('/v1/evidence-key', [scope])).statusCode).toBe(200);
    }
    expect((await api.app.inject({ url: '/v1/evidence-key' })).statusCode).toBe(401);
  });
});

describe('sealed evidence', () => {
  const reader = generateKeyPairSync('x25519');

  async function sealedOf(email: string, text: string, sealedAt: Date) {
    await api.db
      .insertInto('sealed_evidence')
      .values({
        id: randomUUID(),
        address_hash: hashAddress(email, TEST_ADDRESS_KEYS)[0],
        sealed: sealEvidence(Buffer.from(text), reader.publicKey),
        sealed_at: sealedAt,
        destroy_at: new Date('2029-01-01T00:00:00Z'),
      })
      .execute();
  }

  test('is found by the address, however it is written, and opens with the private key only', async () => {
    const email = `${randomUUID()}@shop.example`;
    await sealedOf(email, 'the first', new Date('2026-01-01T00:00:00Z'));
    await sealedOf(email, 'the second', new Date('2026-02-01T00:00:00Z'));
    const answer = await get(api.app, `/v1/sealed-evidence?email=${email.toUpperCase()}`);
    expect(answer.statusCode).toBe(200);
    const { items } = answer.json() as { items: { sealed: string; destroyAt: string }[] };
    const opened = items.map(({ sealed }) =>
      unsealEvidence(Buffer.from(sealed, 'base64'), reader.privateKey).toString(),
    );
    expect(opened).toEqual(['the second', 'the first']);
    expect(items[0]?.destroyAt).toBe('2029-01-01T00:00:00.000Z');
    expect(answer.body).not.toContain(email);
    const [entry] = (await audited('sealed-evidence.read')).slice(-1);
    expect(entry?.detail).toEqual({ ids: expect.arrayContaining([expect.any(String), expect.any(String)]) });
    expect(JSON.stringify(entry)).not.toContain(email);
  });

  test('of an address of whom nothing is kept there is none, and the question stands in the audit log', async () => {
    const before = (await audited('sealed-evidence.read')).length;
    expect((await get(api.app, '/v1/sealed-evidence?email=nobody@shop.example')).json()).toEqual({ items: [] });
    expect(await audited('sealed-evidence.read')).toHaveLength(before + 1);
    expect((await get(api.app, '/v1/sealed-evidence?email=nobody')).statusCode).toBe(400);
    expect((await get(api.app, '/v1/sealed-evidence')).statusCode).toBe(400);
  });
});
