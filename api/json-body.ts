import type { FastifyBodyParser } from 'fastify';
import { Problem } from '../domain/problem';
import type { Api } from './context';

const utf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * Reads a body as JSON (RFC 8259), which is UTF-8: bytes that are not would otherwise reach the leads' mail as "Jos�".
 * Many clients send `Content-Type: application/json` with every POST, so that a body without a byte is none.
 */
export function jsonParser(app: Api): FastifyBodyParser<Buffer> {
  const parseJson = app.getDefaultJsonParser('error', 'error');
  return (request, body, done) => {
    if (body.length === 0) return done(null, undefined);
    let text: string;
    try {
      text = utf8.decode(body);
    } catch {
      return done(new Problem('invalid-request', 'The body is not UTF-8, which JSON must be; encode it so.'));
    }
    return parseJson(request, text, done);
  };
}
