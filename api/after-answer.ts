import { AsyncResource } from 'node:async_hooks';
import type { FastifyReply } from 'fastify';

/** Does something once the answer is on its way, or its reader has gone: never before, and once. */
export function afterAnswer(reply: FastifyReply, work: () => void): void {
  let done = false;
  // As a part of the request, whose trace it belongs to: events of the socket know nothing of it.
  const once = AsyncResource.bind(() => {
    if (done) return;
    done = true;
    work();
  });
  reply.raw.once('finish', once);
  reply.raw.once('close', once);
}
