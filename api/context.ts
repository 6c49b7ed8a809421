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
import type { Journeys } from '../temporal/journeys';

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
  config: Pick<Config, 'publicUrl' | 'apiKeys' | 'addressKeys' | 'tokenKeys' | 'timeFactor' | 'mailBlocked'>;
  clock: () => Date;
}
