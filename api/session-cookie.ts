import type { FastifyReply, FastifyRequest } from 'fastify';

/** The name of the cookie. `__Host-` (RFC 6265bis) keeps other hosts of the same domain from setting it; it takes https. */
export function sessionCookieName(publicUrl: string): string {
  return isHttps(publicUrl) ? '__Host-recuerda-session' : 'recuerda-session';
}

export function isHttps(publicUrl: string): boolean {
  return publicUrl.startsWith('https:');
}

/** What the cookie holds, whether or not the session behind it is still good. */
export function sessionTokenOf(request: FastifyRequest, publicUrl: string): string | null {
  const name = sessionCookieName(publicUrl);
  for (const pair of (request.headers.cookie ?? '').split(';')) {
    const [before = '', token = ''] = pair.split('=', 2);
    if (before.trim() === name && /^[\w-]{1,100}$/.test(token.trim())) return token.trim();
  }
  return null;
}

/** Until the browser is closed (RFC 6265); the session itself may end sooner. @param token base64url */
export function setSessionCookie(reply: FastifyReply, publicUrl: string, token: string): void {
  reply.header('set-cookie', `${sessionCookieName(publicUrl)}=${token}; ${attributes(publicUrl)}`);
}

export function clearSessionCookie(reply: FastifyReply, publicUrl: string): void {
  reply.header('set-cookie', `${sessionCookieName(publicUrl)}=; Max-Age=0; ${attributes(publicUrl)}`);
}

function attributes(publicUrl: string): string {
  return `Path=/; HttpOnly; SameSite=Strict${isHttps(publicUrl) ? '; Secure' : ''}`;
}

/** Whether the browser says that one of our own pages has sent this. Pages can't forge either header. */
export function isSameOrigin(request: FastifyRequest, publicUrl: string): boolean {
  const { origin, 'sec-fetch-site': site } = request.headers;
  return origin === new URL(publicUrl).origin || site === 'same-origin';
}

/** Whether the browser says that a page of somebody else has sent this. Programs other than browsers say nothing. */
export function isCrossSite(request: FastifyRequest, publicUrl: string): boolean {
  const { origin, 'sec-fetch-site': site } = request.headers;
  return (origin !== undefined || site !== undefined) && !isSameOrigin(request, publicUrl);
}
