import { createHash, createHmac } from 'node:crypto';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import type { ProviderEvent } from '../../domain/inbound';
import { invalidField } from '../problems';
import { codesIn, enhancedOf, messageIdOf, textOf, timeOf } from './payload';
import { equalSecrets } from './proof';

/** How far the signer's clock may be from ours, and how long a request may take, ms. */
const TOLERANCE_MS = 5 * 60_000;

/**
 * Whether whoever knows the secret has signed this: `t=<seconds since 1970>,v1=<hex>`, the HMAC-SHA256 over that time, a
 * point and the body. Several `v1` may stand there while a secret is being changed.
 */
export function isSigned(header: unknown, body: Buffer, secret: string, now: Date): boolean {
  const parts = (textOf(header) ?? '').split(',').map((part) => part.trim().split('=', 2));
  const timestamp = parts.find(([name]) => name === 't')?.[1] ?? '';
  if (!/^\d{1,12}$/.test(timestamp)) return false;
  const expected = createHmac('sha256', secret).update(`${timestamp}.`).update(body).digest('hex');
  const isRight = parts.filter(([name]) => name === 'v1').some(([, given]) => equalSecrets(given ?? '', expected));
  return isRight && Math.abs(now.getTime() - Number(timestamp) * 1000) <= TOLERANCE_MS;
}

const Text = (description: string) => Type.Optional(Type.Union([Type.String(), Type.Null()], { description }));

const GenericEvent = Type.Object(
  {
    type: Type.Enum(['bounced', 'complained', 'delivered', 'delayed', 'unsubscribed', 'rejected']),
    id: Text('Yours, of this event: repeated, it changes nothing.'),
    messageId: Text('Our Message-ID.'),
    providerId: Text("The server's own id of the message, as its 250 answer gave it."),
    recipient: Text('The address.'),
    enhanced: Text('Enhanced status code (RFC 3463), such as 5.1.1.'),
    code: Type.Optional(Type.Union([Type.Integer({ minimum: 200, maximum: 599 }), Type.Null()])),
    diagnostic: Text('The answer of the receiving server.'),
    permanent: Type.Optional(Type.Union([Type.Boolean(), Type.Null()], { description: 'Of a bounce.' })),
    at: Text('When it happened, ISO 8601; otherwise now.'),
  },
  { additionalProperties: false },
);

const GenericPayload = Type.Object({ events: Type.Array(GenericEvent) }, { additionalProperties: false });

const check = Compile(GenericPayload);

/**
 * Events in our own form, for servers that none of the others fits.
 *
 * @throws Problem `invalid-request` that names what is wrong
 */
export function genericEvents(payload: unknown, now: Date): ProviderEvent[] {
  if (!check.Check(payload)) {
    const [first] = check.Errors(payload);
    throw invalidField(first?.instancePath ?? '', first?.message ?? 'is not of the documented form');
  }
  return (payload as Static<typeof GenericPayload>).events.map((event, index) => {
    const names = [messageIdOf(event.messageId), textOf(event.providerId), textOf(event.recipient)] as const;
    const [messageId, providerId, recipient] = names;
    if (names.every((name) => name === null)) {
      throw invalidField(`/events/${index}`, 'must name the mail by messageId or providerId, or else by recipient');
    }
    const diagnostic = textOf(event.diagnostic);
    const quoted = codesIn(diagnostic);
    return {
      provider: 'generic',
      kind: event.type,
      eventId: textOf(event.id) ?? createHash('sha256').update(JSON.stringify(event)).digest('hex'),
      messageId,
      providerId,
      recipient,
      enhanced: enhancedOf(event.enhanced) ?? quoted.enhanced,
      code: event.code ?? quoted.code,
      diagnostic,
      permanent: event.permanent ?? null,
      at: timeOf(event.at, now),
    };
  });
}
