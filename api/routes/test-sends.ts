import { Type } from 'typebox';
import { createTestSend, findTestSend, isUndeliverable } from '../../db/test-sends';
import { Problem } from '../../domain/problem';
import { afterAnswer } from '../after-answer';
import { stepContent } from '../campaign-content';
import type { Api, ApiContext } from '../context';
import { problemResponses } from '../problems';
import {
  askedBefore,
  composeSample,
  EXAMPLE_ENROLLMENT_ID,
  SAMPLE_FIELDS,
  StepField,
  sampleOf,
  VersionField,
} from '../sample';
import { addressOf, hashesOf, Id, idParams, Nullable, Time } from '../schemas';

const TestSend = Type.Object({
  testSendId: Id('This test.'),
  campaignId: Id('The campaign.'),
  version: Nullable(Type.Integer({ description: 'Null: the draft.' })),
  step: Type.Integer(),
  state: Type.Enum(['queued', 'accepted', 'refused'], {
    description: '`accepted`: the mail server took it. `refused`: it was not sent; `code` says why.',
  }),
  code: Nullable(
    Type.String({
      description:
        'The mail server’s answer, as codes; or `mail_blocked` (see /readyz), `undeliverable`, `not_fillable`, `expired`; ' +
        'or `unknown …`: the connection broke at the end, it may have arrived.',
    }),
  ),
  createdAt: Time('When it was asked for.'),
});

/** Mail to the shop's own staff, to see it in a real inbox. */
export function testSendRoutes(app: Api, { db, journeys, config, clock }: ApiContext): void {
  app.post(
    '/campaigns/:id/test-send',
    {
      config: { scopes: ['marketing'] },
      schema: {
        operationId: 'sendTest',
        tags: ['campaigns'],
        summary: 'Send a mail of the campaign to yourself',
        description:
          'The mail as it is now, its subject marked as a test, and its unsubscribe link a stand-in that leads nowhere. It ' +
          'belongs to no lead’s journey and is in no statistics. The address, and for whom it was filled, are kept until ' +
          'it is sent and no longer. Unsubscribes do not keep a test back; an address that mail came back from does.',
        params: idParams('The campaign.'),
        body: Type.Object(
          {
            to: Type.String({ minLength: 1, maxLength: 400, description: 'Where to send it.' }),
            step: StepField,
            version: VersionField,
            ...SAMPLE_FIELDS,
          },
          { additionalProperties: false, examples: [{ to: 'you@shop.example', step: 0 }] },
        ),
        response: {
          202: Type.Object(
            { testSendId: Id('Where `GET /v1/test-sends/{id}` finds it.') },
            { description: 'It is kept, and sent soon.' },
          ),
          ...problemResponses('not-found', 'not-publishable', 'address-suppressed'),
        },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const { to, step, version = 'draft' } = request.body;
      const now = clock();
      const { address } = addressOf(to, '/to');
      const hashes = hashesOf(address, config);
      const { problems: _, ...content } = await stepContent(db, id, version, step, now);
      const { lead, ...sample } = await sampleOf(db, id, content.definition, request.body);
      const { consentSource } = sample;
      const requestedAt = sample.requestedAt ?? askedBefore(step, content.definition.cadence, lead.timeZone, now);
      if (await isUndeliverable(db, hashes)) {
        throw new Problem('address-suppressed', 'Mail to this address came back as undeliverable.', {
          reason: 'undeliverable',
        });
      }
      // What can't be filled is told here, to the person who can mend it, rather than by a worker later.
      await composeSample(
        content,
        { lead, requestedAt, consentSource },
        { campaignId: id, step, enrollmentId: EXAMPLE_ENROLLMENT_ID, date: now },
        config,
      );
      const { definition, compiled, stepCount } = content;
      const testSendId = await createTestSend(db, {
        campaignId: id,
        version: version === 'draft' ? null : version,
        step,
        address,
        lead,
        content: {
          definition,
          compiled,
          stepCount,
          requestedAt: requestedAt.toISOString(),
          consentSource,
          hashes,
        },
      });
      afterAnswer(reply, () => journeys.startTestSend({ testSendId, step }));
      return await reply.code(202).send({ testSendId });
    },
  );

  app.get(
    '/test-sends/:id',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'getTestSend',
        tags: ['campaigns'],
        summary: 'See what became of a test',
        description: 'Whether the mail server took it.',
        params: idParams('The test.'),
        response: { 200: { ...TestSend, description: 'The test.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => {
      const test = await findTestSend(db, request.params.id);
      return { ...test, createdAt: test.createdAt.toISOString() };
    },
  );
}
