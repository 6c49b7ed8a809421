import type { FastifyReply } from 'fastify';

/** Does something once the answer is on its way, or its reader has gone: never before, and once. */
export function afterAnswer(reply: FastifyReply, work: () => void): void {
  let done = false;
  const once = () => {
    if (done) return;
    done = true;
    work();
  };
  reply.raw.once('finish', once);
  reply.raw.once('close', once);
}
