import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type {
  FastifyBaseLogger,
  FastifyInstance,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify';
import type { Config } from '../config';
import type { Db } from '../db/client';
import type { Dns } from '../domain/dns';
import type { Journeys } from '../temporal/journeys';
import type { GetText } from './webhooks/sns';

/** Our Fastify: schemas are TypeBox, and give validation, types and the OpenAPI document. */
export type Api = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

/** What routes work with. */
export interface ApiContext {
  db: Db;
  journeys: Journeys;
  config: Pick<
    Config,
    | 'publicUrl'
    | 'apiKeys'
    | 'addressKeys'
    | 'tokenKeys'
    | 'replyAddress'
    | 'staffFrom'
    | 'timeFactor'
    | 'mailBlocked'
    | 'webhooks'
    | 'smtp'
    | 'dkimKeys'
    | 'masterKey'
    | 'evidencePublicKey'
    | 'journal'
    | 'retention'
    | 'frequencyCap'
    | 'trustedProxies'
    | 'corsOrigins'
    | 'webhooksToPrivate'
  >;
  clock: () => Date;
  /** Asks what is published about a domain. */
  dns: Dns;
  /** Fetches a certificate from Amazon SNS, and confirms subscriptions there; over the network where it is left out. */
  getText?: GetText;
}
