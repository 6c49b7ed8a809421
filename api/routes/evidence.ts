import { Type } from 'typebox';
import { deriveKey } from '../../config';
import { recordAudit } from '../../db/audit';
import { evidenceDocument, sealedEvidence } from '../../db/evidence';
import {
  EvidenceDocument,
  evidencePublicKeyText,
  evidenceSigningKey,
  evidenceText,
} from '../../domain/evidence-document';
import { SCOPES } from '../../domain/scopes';
import type { Api, ApiContext } from '../context';
import { problemResponses } from '../problems';
import { addressOf, hashesOf, Id, idParams, Time } from '../schemas';

/** What a person agreed to, to be shown to them, a court or an authority. */
export function evidenceRoutes(app: Api, { db, config, clock }: ApiContext): void {
  const signingKey = evidenceSigningKey(deriveKey(config.masterKey, 'evidence signatures'));

  app.get(
    '/evidence-key',
    {
      config: { scopes: SCOPES },
      schema: {
        operationId: 'getEvidenceKey',
        tags: ['privacy'],
        summary: 'See the key that signs evidence',
        description:
          'Keep it where you check evidence: `npx recuerda verify-evidence FILE --key KEY` then accepts what this installation has signed, and nothing else.',
        response: {
          200: Type.Object(
            {
              algorithm: Type.Literal('Ed25519'),
              publicKey: Type.String({ description: 'The public key (RFC 8032), base64url.' }),
            },
            { description: 'The key.' },
          ),
          ...problemResponses(),
        },
      },
    },
    async () => ({ algorithm: 'Ed25519' as const, publicKey: evidencePublicKeyText(signingKey) }),
  );

  app.get(
    '/leads/:id/evidence',
    {
      config: { scopes: ['privacy'] },
      schema: {
        operationId: 'getEvidence',
        tags: ['privacy'],
        summary: 'Get the evidence of what a lead agreed to',
        description:
          'One signed document: every consent in its exact words, confirmations and withdrawals, each naming the hash of the one before, and when which mail went out. `npx recuerda verify-evidence FILE` checks it, on any machine. That it was read stands in the audit log.',
        params: idParams('The lead.'),
        response: { 200: { ...EvidenceDocument, description: 'The document.' }, ...problemResponses('not-found') },
      },
    },
    async (request, reply) => {
      const leadId = request.params.id;
      const now = clock();
      // One snapshot, so that chain, mails and suppressions agree.
      const document = await db
        .transaction()
        .setIsolationLevel('repeatable read')
        .execute(async (tx) => {
          const made = await evidenceDocument(tx, leadId, signingKey, now);
          await recordAudit(tx, { actor: request.actor, action: 'evidence.read', target: leadId, now });
          return made;
        });
      reply.type('application/json; charset=utf-8');
      reply.header('content-disposition', `attachment; filename="evidence-${leadId}.json"`);
      reply.header('cache-control', 'no-store');
      // The very bytes that were signed, which a serializer would put in another order.
      return reply.send(Buffer.from(evidenceText(document)) as never);
    },
  );

  app.get(
    '/sealed-evidence',
    {
      config: { scopes: ['privacy'] },
      schema: {
        operationId: 'findSealedEvidence',
        tags: ['privacy'],
        summary: 'Find the sealed evidence of somebody who was erased',
        description:
          'Nobody can read it here: `npx recuerda unseal-evidence --key FILE` opens this answer on the machine that has the private key. It is found by the keyed hash of the address, and destroyed when it is due. That it was read stands in the audit log.',
        querystring: Type.Object(
          { email: Type.String({ minLength: 1, maxLength: 400, examples: ['ana@example.com'] }) },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object(
            {
              items: Type.Array(
                Type.Object({
                  sealedId: Id('It.'),
                  sealedAt: Time('When the lead was erased.'),
                  destroyAt: Time('When it is destroyed.'),
                  sealed: Type.String({ description: 'The sealed document, base64.' }),
                }),
                { description: 'One for each time that they were erased, the latest first.' },
              ),
            },
            { description: 'What is kept; none where nothing is.' },
          ),
          ...problemResponses(),
        },
      },
    },
    async (request, reply) => {
      const { address } = addressOf(request.query.email, { in: 'query', pointer: '/email' });
      const now = clock();
      const found = await sealedEvidence(db, hashesOf(address, config));
      const ids = found.map(({ id }) => id);
      await recordAudit(db, {
        actor: request.actor,
        action: 'sealed-evidence.read',
        target: ids[0] ?? null,
        detail: { ids },
        now,
      });
      reply.header('cache-control', 'no-store');
      return {
        items: found.map(({ id, sealed, sealedAt, destroyAt }) => ({
          sealedId: id,
          sealedAt: sealedAt.toISOString(),
          destroyAt: destroyAt.toISOString(),
          sealed: sealed.toString('base64'),
        })),
      };
    },
  );
}
