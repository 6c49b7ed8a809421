import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { Api, ApiContext } from '../context';
import { publicFormPages } from './public-form-pages';
import { publicFormRequests } from './public-form-requests';

/** What the public meets of a form: its page, and where pages of the shop send it as JSON. No key, cookie or login. */
export function publicFormRoutes(app: Api, context: ApiContext): void {
  // Each in a scope of its own: they read bodies, and answer errors, in different ways.
  app.register(async (scope) => publicFormPages(scope.withTypeProvider<TypeBoxTypeProvider>(), context));
  app.register(async (scope) => publicFormRequests(scope.withTypeProvider<TypeBoxTypeProvider>(), context));
}
