import type { FastifyRequest } from 'fastify';
import type { RequestSpan, Tracing } from '../telemetry/tracing';
import type { Api } from './context';

/** Asked for every few seconds by machines; of no interest to anybody who looks into a trace. */
const NOT_TRACED = ['/healthz', '/readyz'];

/** Has each request traced, from its arrival to the end of its answer. To be called before any other hook is set. */
export function traceRequests(app: Api, beginRequest: Tracing['beginRequest']): void {
  const spans = new WeakMap<FastifyRequest, RequestSpan>();
  app.addHook('onRequest', (request, _reply, done) => {
    const { url } = request.routeOptions;
    if (url !== undefined && NOT_TRACED.includes(url)) return done();
    const { traceparent } = request.headers;
    const span = beginRequest(request.method, url, typeof traceparent === 'string' ? traceparent : undefined);
    spans.set(request, span);
    span.run(done);
  });
  // Once more: what comes after a body was read comes of an event of the socket, which knows nothing of the request.
  app.addHook('preValidation', (request, _reply, done) => {
    const span = spans.get(request);
    if (span === undefined) done();
    else span.run(done);
  });
  app.addHook('onResponse', (request, reply, done) => {
    const span = spans.get(request);
    if (span === undefined) return done();
    span.end(reply.statusCode);
    span.run(done);
  });
}
