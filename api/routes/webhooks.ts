import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { keepInbound } from '../../db/inbound';
import type { ProviderEvent } from '../../domain/inbound';
import { Problem } from '../../domain/problem';
import type { Api, ApiContext } from '../context';
import { problemResponse, problemResponses } from '../problems';
import { genericEvents, isSigned } from '../webhooks/generic';
import { isFromMailgun, mailgunEvents } from '../webhooks/mailgun';
import { isFromPostmark, postmarkEvents } from '../webhooks/postmark';
import { badSignature, jsonOf } from '../webhooks/proof';
import { isFromSendgrid, sendgridEvents, sendgridKey } from '../webhooks/sendgrid';
import { sesEvents } from '../webhooks/ses';
import { confirmSubscription, createSnsCertificates, getTextByHttps, readSns } from '../webhooks/sns';

interface Webhook {
  provider: ProviderEvent['provider'];
  operationId: string;
  name: string;
  /** The setting without which it is switched off. */
  setting: string;
  proof: string;
  /** WWW-Authenticate of the answer to who proves nothing (RFC 9110, 11.6.1). */
  challenge: string;
  bodyLimitBytes: number;
  /**
   * Null where it is switched off. Otherwise checks that the provider has sent this, and reads it.
   *
   * @throws Problem `bad-signature`, `invalid-request` or `unavailable`
   */
  read: ((request: FastifyRequest, body: Buffer) => Promise<ProviderEvent[]>) | null;
}

const MEBIBYTE = 1024 * 1024;

/**
 * Where mail providers tell what became of a mail. Each proves itself in its own way instead of by an API key. What they tell
 * is kept before it is answered, all of a request or nothing, and acted upon afterwards; when that fails, the answer is a
 * 5xx, so that the provider sends it again. Repetitions and a changed order do no harm.
 */
export function webhookRoutes(app: Api, context: ApiContext): void {
  app.register(async (scope) => {
    // Signatures are over the bytes, and providers differ in what type they call them.
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
    for (const webhook of webhooks(context)) serveWebhook(scope, webhook, context);
  });
}

function serveWebhook(scope: Pick<Api, 'post'>, webhook: Webhook, { db, clock }: ApiContext): void {
  const { provider, name, setting, proof, read } = webhook;
  scope.post(
    `/webhooks/${provider}`,
    {
      bodyLimit: webhook.bodyLimitBytes,
      schema: {
        operationId: webhook.operationId,
        tags: ['webhooks'],
        summary: `What ${name} tells of mails`,
        description: `${proof} Switched off (404) unless ${setting} is set. Repeated events change nothing.`,
        security: [],
        response: {
          200: Type.Object(
            { events: Type.Integer({ description: 'How many events it held that matter here, known ones included.' }) },
            { description: 'It is kept.' },
          ),
          ...problemResponses('not-found', 'payload-too-large'),
          401: problemResponse(['bad-signature']),
        },
      },
      // Before the body is read.
      onRequest: async () => {
        if (read === null) throw new Problem('not-found', `This webhook is switched off: ${setting} is not set.`);
      },
    },
    async (request: FastifyRequest, reply: FastifyReply) => {
      const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
      const events = await (read as NonNullable<typeof read>)(request, body).catch((error: unknown) => {
        if (error instanceof Problem && error.code === 'bad-signature') {
          reply.header('www-authenticate', webhook.challenge);
          // Codes only: whose webhook is set up wrongly can be seen, and who has tried it can't.
          request.log.warn({ provider }, 'a webhook without proof of its sender was refused');
        }
        throw error;
      });
      const fresh = await keep(db, events, clock());
      request.log.info({ provider, events: events.length, fresh }, 'a webhook is kept');
      return await reply.send({ events: events.length });
    },
  );
}

/** Keeps all of them or none. @returns how many were not known yet */
async function keep(db: ApiContext['db'], events: readonly ProviderEvent[], receivedAt: Date): Promise<number> {
  if (events.length === 0) return 0;
  // In one order everywhere: two requests that hold the same events must not wait for each other.
  const ordered = [...events].sort((a, b) => ((a.eventId ?? '') < (b.eventId ?? '') ? -1 : 1));
  return await db.transaction().execute(async (tx) => {
    let fresh = 0;
    for (const event of ordered) {
      const { eventId, ...told } = event;
      const id = await keepInbound(tx, {
        source: `webhook:${event.provider}`,
        receivedAt,
        // A provider that has two ways to tell a thing gives it an id in each, but names the same mail.
        content: { event, body: Buffer.from(JSON.stringify(namesMail(event) ? told : event)) },
        externalId: eventId,
      });
      if (id !== null) fresh += 1;
    }
    return fresh;
  });
}

function namesMail({ messageId, providerId }: ProviderEvent): boolean {
  return messageId !== null || providerId !== null;
}

function webhooks({ config, clock, getText = getTextByHttps }: ApiContext): Webhook[] {
  const { sesTopics, postmark, sendgrid, mailgun, generic } = config.webhooks;
  const certificates = createSnsCertificates(getText, clock);
  const key = sendgrid === null ? null : sendgridKey(sendgrid);
  return [
    {
      provider: 'ses',
      operationId: 'receiveSesEvents',
      name: 'Amazon SES',
      setting: 'WEBHOOK_SES_TOPICS',
      proof: 'Through Amazon SNS, whose signature is checked; its subscription is confirmed by itself.',
      challenge: 'Signature realm="Amazon SNS"',
      bodyLimitBytes: MEBIBYTE,
      read:
        sesTopics === null
          ? null
          : async (_request, body) => {
              const message = await readSns(body, sesTopics, certificates);
              if (message.Type === 'SubscriptionConfirmation') await confirmSubscription(message, getText);
              return message.Type === 'Notification' ? sesEvents(message, clock()) : [];
            },
    },
    {
      provider: 'postmark',
      operationId: 'receivePostmarkEvents',
      name: 'Postmark',
      setting: 'WEBHOOK_POSTMARK_AUTH',
      proof: 'With the user and password of WEBHOOK_POSTMARK_AUTH (HTTP basic authentication).',
      challenge: 'Basic realm="recuerda webhooks"',
      bodyLimitBytes: MEBIBYTE,
      read:
        postmark === null
          ? null
          : async ({ headers }, body) => {
              if (!isFromPostmark(headers.authorization, postmark)) {
                throw badSignature('The user and password are not those of WEBHOOK_POSTMARK_AUTH.');
              }
              return postmarkEvents(jsonOf(body), clock());
            },
    },
    {
      provider: 'sendgrid',
      operationId: 'receiveSendgridEvents',
      name: 'SendGrid',
      setting: 'WEBHOOK_SENDGRID_KEY',
      proof: 'Signed with the key of which WEBHOOK_SENDGRID_KEY is the public half (signed event webhook).',
      challenge: 'Signature realm="SendGrid"',
      // It sends a thousand events and more at a time.
      bodyLimitBytes: 5 * MEBIBYTE,
      read:
        key === null
          ? null
          : async ({ headers }, body) => {
              if (!isFromSendgrid(headers, body, key)) {
                throw badSignature('The signature is not that of the signed event webhook over this body.');
              }
              return sendgridEvents(jsonOf(body), clock());
            },
    },
    {
      provider: 'mailgun',
      operationId: 'receiveMailgunEvents',
      name: 'Mailgun',
      setting: 'WEBHOOK_MAILGUN_KEY',
      proof: 'Signed with WEBHOOK_MAILGUN_KEY, in the body, within the last twelve hours.',
      challenge: 'Signature realm="Mailgun"',
      bodyLimitBytes: MEBIBYTE,
      read:
        mailgun === null
          ? null
          : async (_request, body) => {
              const payload = jsonOf(body);
              if (!isFromMailgun(payload, mailgun, clock())) {
                throw badSignature('The signature in the body was not made with WEBHOOK_MAILGUN_KEY, or long ago.');
              }
              return mailgunEvents(payload, clock());
            },
    },
    {
      provider: 'generic',
      operationId: 'receiveGenericEvents',
      name: 'any other server',
      setting: 'WEBHOOK_SECRET',
      proof:
        'JSON `{"events": [{"type": "bounced", "messageId": "<…>", "enhanced": "5.1.1", …}]}`, as docs/deliverability.md ' +
        'describes it. The header `X-Recuerda-Signature: t=<seconds since 1970>,v1=<hex>` holds the HMAC-SHA256, keyed with ' +
        'WEBHOOK_SECRET, over that time, a point and the body; five minutes old at most.',
      challenge: 'Signature realm="recuerda webhooks"',
      bodyLimitBytes: MEBIBYTE,
      read:
        generic === null
          ? null
          : async ({ headers }, body) => {
              if (!isSigned(headers['x-recuerda-signature'], body, generic, clock())) {
                throw badSignature('X-Recuerda-Signature was not made with WEBHOOK_SECRET over this body just now.');
              }
              return genericEvents(jsonOf(body), clock());
            },
    },
  ];
}
