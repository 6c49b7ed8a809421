import { createHash } from 'node:crypto';

/**
 * What can stand in a lead's evidence: consents given (`consent`, `soft-opt-in`), confirmed by double opt-in (`confirmed`)
 * and taken back (`withdrawn`), and suppressions that were lifted (`lifted`).
 */
export const EVIDENCE_KINDS = ['consent', 'confirmed', 'withdrawn', 'soft-opt-in', 'lifted'] as const;
export type EvidenceKind = (typeof EVIDENCE_KINDS)[number];

/** One thing that happened, before it is written down. */
export interface EvidenceFact {
  kind: EvidenceKind;
  at: Date;
  /** Only what JSON can hold. */
  detail: Record<string, unknown>;
}

/** One link of a lead's chain. */
export interface ChainLink {
  /** From 1 on, without gaps. */
  seq: number;
  /** Canonical JSON (RFC 8785) of what happened, with the lead, the number and the hash of the link before. */
  body: string;
  /** SHA-256 of `body`, hex. */
  hash: string;
}

/** What the first link names as the one before it. */
export const CHAIN_START = '0'.repeat(64);

/**
 * Continues a lead's chain: each link names the hash of the one before, so that none can be changed, left out or put in
 * between without breaking all that follow.
 *
 * @param last the link that the chain ends with now; null where it begins
 */
export function chainEvidence(
  leadId: string,
  last: Pick<ChainLink, 'seq' | 'hash'> | null,
  facts: readonly EvidenceFact[],
): ChainLink[] {
  let { seq, hash } = last ?? { seq: 0, hash: CHAIN_START };
  return facts.map(({ kind, at, detail }) => {
    seq += 1;
    const body = canonicalJson({ leadId, seq, previous: hash, kind, at: at.toISOString(), detail });
    hash = createHash('sha256').update(body).digest('hex');
    return { seq, body, hash };
  });
}

/** JSON with its keys in order and no spaces (RFC 8785, for what `JSON.parse` can give): equal values give equal bytes. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner) && !(inner instanceof Date)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : inner,
  );
}
