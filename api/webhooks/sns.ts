import { type KeyObject, verify, X509Certificate } from 'node:crypto';
import { Problem } from '../../domain/problem';
import { fieldsOf } from './payload';
import { badSignature, jsonOf } from './proof';

/** A message of Amazon SNS, whose signature was found to be right and whose topic is ours. */
export interface SnsMessage {
  Type: 'Notification' | 'SubscriptionConfirmation' | 'UnsubscribeConfirmation';
  MessageId: string;
  TopicArn: string;
  Message: string;
  /** ISO 8601. */
  Timestamp: string;
  SubscribeURL: string | null;
}

/** Fetches a page as text. @throws when there is none within some seconds */
export type GetText = (url: string) => Promise<string>;

/** Which fields are signed, in this order (Amazon SNS, "Verifying the signatures of Amazon SNS messages"). */
const SIGNED: Readonly<Record<SnsMessage['Type'], readonly string[]>> = {
  Notification: ['Message', 'MessageId', 'Subject', 'Timestamp', 'TopicArn', 'Type'],
  SubscriptionConfirmation: ['Message', 'MessageId', 'SubscribeURL', 'Timestamp', 'Token', 'TopicArn', 'Type'],
  UnsubscribeConfirmation: ['Message', 'MessageId', 'SubscribeURL', 'Timestamp', 'Token', 'TopicArn', 'Type'],
};

const ALGORITHMS: Readonly<Record<string, string>> = { '1': 'sha1', '2': 'sha256' };

const HOST = /^sns\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$/;

/**
 * Reads an SNS message and checks its signature, of version 1 or 2. Its age is not looked at: what is repeated is known by
 * its id, and Amazon, like people who redrive a dead-letter queue, brings what failed an hour ago.
 *
 * @param topics ARNs of the topics that are ours
 * @throws Problem `bad-signature`, `invalid-request`, or `unavailable` when the certificate can't be fetched at the moment
 */
export async function readSns(
  body: Buffer,
  topics: readonly string[],
  certificates: SnsCertificates,
): Promise<SnsMessage> {
  const fields = fieldsOf(jsonOf(body));
  const text = (name: string) => (typeof fields[name] === 'string' ? fields[name] : null);
  const type = text('Type') as SnsMessage['Type'] | null;
  const message = { MessageId: text('MessageId'), TopicArn: text('TopicArn'), Message: text('Message') };
  const { MessageId, TopicArn, Message } = message;
  if (type === null || !Object.hasOwn(SIGNED, type) || MessageId === null || TopicArn === null || Message === null) {
    throw new Problem(
      'invalid-request',
      'This is no message of Amazon SNS. The subscription must have raw message delivery switched off.',
    );
  }
  // Before anything is fetched on behalf of somebody unknown.
  if (!topics.includes(TopicArn)) throw badSignature('This topic is not among those of WEBHOOK_SES_TOPICS.');

  const algorithm = ALGORITHMS[text('SignatureVersion') ?? ''];
  const url = text('SigningCertURL') ?? '';
  if (algorithm === undefined || !isSnsUrl(url, /^\/[\w-]+\.pem$/)) {
    throw badSignature('The message names no certificate of Amazon SNS, or an unknown version of signatures.');
  }
  const signed = SIGNED[type]
    .filter((name) => text(name) !== null)
    .map((name) => `${name}\n${text(name)}\n`)
    .join('');
  const signature = Buffer.from(text('Signature') ?? '', 'base64');
  if (!verify(algorithm, Buffer.from(signed), await certificates(url), signature)) {
    throw badSignature('The signature is not that of Amazon SNS over this message.');
  }
  return {
    Type: type,
    MessageId,
    TopicArn,
    Message,
    Timestamp: text('Timestamp') ?? '',
    SubscribeURL: text('SubscribeURL'),
  };
}

/**
 * Confirms that we want what the topic tells.
 *
 * @throws Problem `invalid-request` when the message leads elsewhere than to Amazon SNS, `unavailable` when it can't be
 * reached, so that it asks again
 */
export async function confirmSubscription(message: SnsMessage, getText: GetText): Promise<void> {
  const url = message.SubscribeURL ?? '';
  const query = URL.canParse(url) ? new URL(url).searchParams : new URLSearchParams();
  const isRight = query.get('Action') === 'ConfirmSubscription' && query.get('TopicArn') === message.TopicArn;
  if (!isSnsUrl(url, /^\/$/) || !isRight) {
    throw new Problem('invalid-request', 'The SubscribeURL does not confirm this subscription at Amazon SNS.');
  }
  await reach(getText, url);
}

export type SnsCertificates = (url: string) => Promise<KeyObject>;

/** The most keys that are held; Amazon has one for each region, and changes them rarely. */
const MOST_CERTIFICATES = 20;

/** Public keys of Amazon SNS by the URL of their certificate, each fetched once. */
export function createSnsCertificates(getText: GetText, clock: () => Date): SnsCertificates {
  const known = new Map<string, X509Certificate>();
  return async (url) => {
    let certificate = known.get(url);
    if (certificate === undefined) {
      const pem = await reach(getText, url);
      try {
        certificate = new X509Certificate(pem);
      } catch {
        throw badSignature('What the message names as its certificate is none.');
      }
      if (known.size >= MOST_CERTIFICATES) known.clear();
      known.set(url, certificate);
    }
    const now = clock();
    if (now < new Date(certificate.validFrom) || now > new Date(certificate.validTo)) {
      known.delete(url);
      throw badSignature('The certificate that the message names is not valid at this time.');
    }
    return certificate.publicKey;
  };
}

/** Only hosts of SNS itself: on others of amazonaws.com anybody can put a file. */
function isSnsUrl(text: string, path: RegExp): boolean {
  if (!URL.canParse(text)) return false;
  const url = new URL(text);
  const isPlain = url.username === '' && url.password === '' && url.port === '';
  return url.protocol === 'https:' && isPlain && HOST.test(url.hostname) && path.test(url.pathname);
}

async function reach(getText: GetText, url: string): Promise<string> {
  try {
    return await getText(url);
  } catch {
    throw new Problem('unavailable', 'Amazon SNS can not be reached from here at the moment; send it again.');
  }
}

const FETCH_MS = 5_000;
const MOST_CHARACTERS = 64 * 1024;

/** `GetText` over the network, with a deadline, and without following redirects to places that nobody has checked. */
export const getTextByHttps: GetText = async (url) => {
  const answer = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(FETCH_MS) });
  if (!answer.ok) throw new Error(`answered with ${answer.status}`);
  const text = await answer.text();
  if (text.length > MOST_CHARACTERS) throw new Error('answered with too much');
  return text;
};
