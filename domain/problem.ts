/** A refusal that its caller can mend: what is wrong, where, and how to mend it. The API answers it as RFC 9457. */
export class Problem extends Error {
  /** @param code kebab-case; the API's table turns it into a status and a title */
  constructor(
    readonly code: ProblemCode,
    detail: string,
    readonly extra: Record<string, unknown> = {},
  ) {
    super(detail);
    this.name = 'Problem';
  }
}

export type ProblemCode =
  | 'invalid-request'
  | 'unauthorized'
  | 'too-many-requests'
  | 'sign-in-refused'
  | 'cross-site'
  | 'origin-not-allowed'
  | 'forbidden'
  | 'bad-signature'
  | 'not-found'
  | 'not-published'
  | 'source-not-named'
  | 'campaign-cancelled'
  | 'not-publishable'
  | 'template-not-usable'
  | 'not-fillable'
  | 'address-suppressed'
  | 'already-ended'
  | 'already-open'
  | 'already-there'
  | 'not-reopenable'
  | 'not-processed'
  | 'endpoint-disabled'
  | 'already-answered'
  | 'not-erasable'
  | 'idempotency-mismatch'
  | 'idempotency-in-progress'
  | 'payload-too-large'
  | 'unsupported-media-type'
  | 'steps-unclear'
  | 'dry-run-stale'
  | 'migration-running'
  | 'unavailable';
