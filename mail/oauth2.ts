/** A client that is known to a provider's token endpoint. `OAuth2Settings` of the configuration fits. */
export interface OAuth2Client {
  tokenUrl: string;
  clientId: string;
  /** Empty for a public client. */
  clientSecret: string;
  /** Null: the client's own credentials are the grant. */
  refreshToken: string | null;
  scope: string | null;
}

/** Where access tokens for one account come from. */
export interface TokenSource {
  /**
   * An access token that is still good for a minute at least, kept or fresh. Callers at the same time share one request.
   *
   * @throws TokenRefusal when the provider gives none
   * @throws the signal's reason when it is aborted first
   */
  token(signal: AbortSignal): Promise<string>;
  /** A server has refused this token, or whichever is kept: the next caller gets a fresh one. */
  forget(token?: string): void;
}

/**
 * No access token could be had. The message holds codes only, such as `oauth2 400 invalid_grant` or `oauth2 ECONNREFUSED`:
 * a provider's description can quote the account.
 */
export class TokenRefusal extends Error {
  override readonly name = 'TokenRefusal';

  /**
   * @param status HTTP status; null when there was no answer
   * @param code the `error` of RFC 6749, section 5.2, or the system's code; null when neither is known
   */
  constructor(
    readonly status: number | null,
    readonly code: string | null,
  ) {
    super(['oauth2', status, code].filter((part) => part !== null).join(' '));
  }
}

interface AccessToken {
  value: string;
  /** Epoch milliseconds from which on it is not handed out any more. */
  staleAt: number;
}

const TIMEOUT_MS = 10_000;
/** What is left of a token's life must suffice to log in with it. */
const MARGIN_MS = 60_000;
/** Where a provider doesn't say how long its token lives (RFC 6749 only recommends it). */
const UNTOLD_LIFE_S = 300;

/**
 * Gets access tokens by the refresh-token grant (RFC 6749, section 6) or, without a refresh token, by the client-credentials
 * grant (section 4.4), and keeps each until shortly before it expires. A refresh token that the provider replaces is
 * followed as long as the process lives.
 *
 * - Microsoft 365: `https://login.microsoftonline.com/<tenant>/oauth2/v2.0/token`. With client credentials, scope
 *   `https://outlook.office365.com/.default`, the application permissions SMTP.SendAsApp or IMAP.AccessAsApp, and the
 *   service principal registered in Exchange. With a refresh token, scope `https://outlook.office.com/SMTP.Send
 *   offline_access` or `…/IMAP.AccessAsUser.All offline_access`; it dies after 90 days without use.
 * - Gmail: `https://oauth2.googleapis.com/token` with a refresh token that was granted `https://mail.google.com/`. No
 *   scope is needed here. While the consent screen is in testing, Google lets it die after seven days.
 *
 * @param options `timeoutMs`: the longest that one request may take; 10 s unless told
 */
export function createTokenSource(client: OAuth2Client, options: { timeoutMs?: number } = {}): TokenSource {
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  let refreshToken = client.refreshToken;
  let kept: AccessToken | null = null;
  let request: Promise<AccessToken> | null = null;

  async function fetchToken(): Promise<AccessToken> {
    const { body, askedAt } = await ask(client, refreshToken, timeoutMs);
    if (refreshToken !== null && typeof body.refresh_token === 'string' && body.refresh_token !== '') {
      refreshToken = body.refresh_token;
    }
    const lifeMs = lifeSeconds(body.expires_in) * 1_000;
    // A token that lives shorter than the margin is kept for half its life, or every login would ask for one.
    return { value: bearer(body), staleAt: askedAt + lifeMs - Math.min(MARGIN_MS, lifeMs / 2) };
  }

  function sharedRequest(): Promise<AccessToken> {
    request ??= fetchToken()
      .then((token) => {
        kept = token;
        return token;
      })
      .finally(() => {
        request = null;
      });
    return request;
  }

  return {
    async token(signal) {
      signal.throwIfAborted();
      if (kept !== null && Date.now() < kept.staleAt) return kept.value;
      // The request goes on for the others when one of its callers gives up.
      return (await unlessAborted(sharedRequest(), signal)).value;
    },
    forget(token) {
      if (token === undefined || kept?.value === token) kept = null;
    },
  };
}

/** One POST to the token endpoint, in time. */
async function ask(
  { tokenUrl, clientId, clientSecret, scope }: OAuth2Client,
  refreshToken: string | null,
  timeoutMs: number,
): Promise<{ body: Record<string, unknown>; askedAt: number }> {
  const form = new URLSearchParams({ client_id: clientId });
  if (clientSecret !== '') form.set('client_secret', clientSecret);
  if (scope !== null) form.set('scope', scope);
  form.set('grant_type', refreshToken === null ? 'client_credentials' : 'refresh_token');
  if (refreshToken !== null) form.set('refresh_token', refreshToken);
  const askedAt = Date.now();
  let status: number | null = null;
  let text: string;
  try {
    const response = await fetch(tokenUrl, {
      method: 'POST',
      headers: { accept: 'application/json' },
      body: form,
      // Secrets are not carried on to wherever an answer points.
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
    });
    status = response.status;
    text = await response.text();
  } catch (error) {
    throw new TokenRefusal(status, systemCode(error));
  }
  const body = jsonObject(text);
  if (status !== 200) throw new TokenRefusal(status, errorCode(body?.error));
  if (body === null) throw new TokenRefusal(status, 'no_json');
  return { body, askedAt };
}

/** The token, if it can stand in an XOAUTH2 answer (RFC 6750, section 2.1: no blanks, no control characters). */
function bearer({ access_token: token }: Record<string, unknown>): string {
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token)) throw new TokenRefusal(200, 'no_token');
  return token;
}

function lifeSeconds(expiresIn: unknown): number {
  const seconds = Number(expiresIn ?? UNTOLD_LIFE_S);
  return seconds > 0 ? seconds : UNTOLD_LIFE_S;
}

function jsonObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : null;
  } catch {
    return null;
  }
}

/** `invalid_grant` and its like; anything longer or stranger is not repeated. */
function errorCode(error: unknown): string | null {
  return typeof error === 'string' && /^[a-z_]{1,40}$/.test(error) ? error : null;
}

function systemCode(error: unknown): string {
  const { name, cause } = error as { name?: string; cause?: { code?: unknown } };
  if (name === 'TimeoutError') return 'ETIMEDOUT';
  const code = cause?.code;
  return typeof code === 'string' && /^[A-Z0-9_]{1,40}$/.test(code) ? code : 'ECONNECTION';
}

function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
