import { createHash } from 'node:crypto';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifySchemaCompiler } from 'fastify';
import { type TSchema, Type } from 'typebox';
import type { Db } from '../../db/client';
import { findInboundByBytes, keepInbound, RAW_KEPT_BYTES } from '../../db/inbound';
import { Problem } from '../../domain/problem';
import type { Api, ApiContext } from '../context';
import { replay, reserveFor } from '../idempotency';
import { invalidField, problemResponses } from '../problems';
import { Id } from '../schemas';
import { validatorCompiler } from '../validation';

const MESSAGE_TYPES = ['message/rfc822', 'application/octet-stream'];

/** Longer than any path of RFC 5321 (4.5.3.1.3). */
const MAX_PATH = 400;

const Message = Type.String({ format: 'binary', description: 'The message with its header, byte for byte.' });
/** For the reference: nothing in a message is checked here. */
const BODY = { content: Object.fromEntries(MESSAGE_TYPES.map((type) => [type, { schema: Message }])) };

const HEADERS = Type.Object({
  'x-envelope-sender': Type.Optional(
    Type.String({
      maxLength: MAX_PATH,
      description: 'MAIL FROM, as the mail server had it; `<>` for reports, which have none.',
      examples: ['<ana@example.com>'],
    }),
  ),
  'x-envelope-recipient': Type.Optional(
    Type.String({
      maxLength: MAX_PATH,
      description: 'RCPT TO, as the mail server had it. With it a report is matched even where its text names nobody.',
      examples: ['<bounces+aeaq4cl5@shop.example>'],
    }),
  ),
});

const DESCRIPTION =
  'For mail servers that hand mail to a program. The message is the body, byte for byte, up to 25 MB; what the server knows ' +
  'of the envelope goes into the headers `X-Envelope-Sender` and `X-Envelope-Recipient`. It is kept before this is answered, ' +
  'and understood and acted upon afterwards. The same bytes again are known: the same id is answered, and nothing else ' +
  'happens. Anything but a 2xx means that it was not kept: let the mail server keep it and try again (EX_TEMPFAIL, 75). ' +
  'A script for Postfix’s pipe(8), with the sender and the recipient as its arguments and `Authorization: Bearer …` in the ' +
  'file `/etc/recuerda/authorization`:\n\n' +
  '```sh\ncurl --fail --silent --show-error --max-time 120 --data-binary @- \\\n' +
  '  --header @/etc/recuerda/authorization --header "Content-Type: message/rfc822" \\\n' +
  '  --header "X-Envelope-Sender: <$1>" --header "X-Envelope-Recipient: <$2>" \\\n' +
  '  https://recuerda.example/v1/inbound || exit 75\n```';

/** Taking received mail from a mail server's pipe. */
export function inboundRoutes(app: Api, { db, clock }: ApiContext): void {
  // In a scope of its own, since only here a body is taken as it is.
  app.register(async (plain) => {
    const scope: Api = plain.withTypeProvider<TypeBoxTypeProvider>();
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser(MESSAGE_TYPES, { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
    scope.post(
      '/inbound',
      {
        bodyLimit: RAW_KEPT_BYTES,
        config: { scopes: ['operator'], idempotency: 'by-route' },
        validatorCompiler: exceptTheBody,
        schema: {
          operationId: 'receiveMessage',
          tags: ['inbox'],
          summary: 'Hand over a received mail',
          description: DESCRIPTION,
          headers: HEADERS,
          body: BODY,
          response: {
            202: Type.Object(
              {
                inboundId: Id('Under which it is kept.'),
                known: Type.Boolean({ description: 'It was kept before.' }),
              },
              { description: 'It is kept, and will be acted upon.' },
            ),
            ...problemResponses('payload-too-large', 'unsupported-media-type'),
          },
        },
      },
      async (request, reply) => {
        const encoding = request.headers['content-encoding'];
        if (encoding !== undefined && encoding !== 'identity') {
          const detail = `The body is compressed (${encoding}); send the message as it is.`;
          throw new Problem('unsupported-media-type', detail);
        }
        const raw: unknown = request.body;
        if (!Buffer.isBuffer(raw) || raw.length === 0) throw invalidField('', 'is empty; send the message as the body');
        const envelope = {
          sender: pathOf(request.headers['x-envelope-sender']),
          recipient: pathOf(request.headers['x-envelope-recipient']) || null,
        };
        const digest = createHash('sha256').update(raw).digest('hex');
        const answer = await reserveFor(db, request, JSON.stringify([envelope, digest]));
        if (answer !== null) return await replay(reply, answer);
        return await reply.code(202).send(await keepOnce(db, raw, envelope, clock()));
      },
    );
  });
}

async function keepOnce(
  db: Db,
  raw: Buffer,
  envelope: { sender: string | null; recipient: string | null },
  receivedAt: Date,
): Promise<{ inboundId: string; known: boolean }> {
  const isTold = envelope.sender !== null || envelope.recipient !== null;
  for (;;) {
    const kept = await keepInbound(db, {
      source: 'pipe',
      receivedAt,
      content: { raw },
      envelope: isTold ? envelope : null,
    });
    if (kept !== null) return { inboundId: kept, known: false };
    const known = await findInboundByBytes(db, 'pipe', raw);
    if (known !== null) return { inboundId: known, known: true };
    // It was there, and its time ran out in this very moment.
  }
}

/** `<ana@example.com>` → `ana@example.com`; `<>` and Postfix's word for it → empty; null where nothing is told. */
function pathOf(header: string | undefined): string | null {
  if (header === undefined) return null;
  const path = header.trim().replace(/^<(.*)>$/, '$1');
  return path === 'MAILER-DAEMON' ? '' : path;
}

/** A message may be anything. */
const exceptTheBody: FastifySchemaCompiler<TSchema> = (part) =>
  part.httpPart === 'body' ? () => true : validatorCompiler(part);
