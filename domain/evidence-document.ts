import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { CHAIN_START, canonicalJson, EVIDENCE_KINDS } from './evidence';
import { publicKeyText } from './sealing';

const OrNull = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) => Type.Union([schema, Type.Null()]);
const Time = Type.String({ pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$', description: 'UTC.' });
const NullableTime = OrNull(Time);
const strict = { additionalProperties: false };

/** What a document says, before it is signed. */
export const EvidenceContent = Type.Object(
  {
    format: Type.Literal('recuerda-evidence'),
    version: Type.Literal(1),
    generatedAt: Time,
    subject: Type.Object({ leadId: Type.String(), email: OrNull(Type.String()), name: Type.String() }, strict),
    chain: Type.Array(
      Type.Object(
        {
          seq: Type.Integer(),
          body: Type.String({
            description: 'What happened, as the very text that was hashed when it was written down.',
          }),
          hash: Type.String({ description: 'SHA-256 of `body`, hex.' }),
        },
        strict,
      ),
      { description: 'Consents, confirmations and withdrawals. Each names the hash of the one before.' },
    ),
    head: Type.String({ description: 'The hash that the chain ends with.' }),
    enrollments: Type.Array(
      Type.Object(
        {
          enrollmentId: Type.String(),
          campaignId: Type.String(),
          campaign: Type.String(),
          version: Type.Integer(),
          requestedAt: Time,
          enrolledAt: Time,
          endedAt: NullableTime,
          outcome: OrNull(Type.String()),
        },
        strict,
      ),
    ),
    mails: Type.Array(
      Type.Object(
        {
          enrollmentId: OrNull(Type.String()),
          campaignId: OrNull(Type.String()),
          kind: Type.String({ description: '`information` or `nudge`; `confirmation` or `link` by a page.' }),
          step: OrNull(Type.Integer()),
          copy: OrNull(Type.Integer()),
          messageId: OrNull(Type.String()),
          state: Type.String(),
          claimedAt: NullableTime,
          handedOverAt: NullableTime,
          settledAt: NullableTime,
          report: OrNull(Type.String()),
          reportAt: NullableTime,
        },
        strict,
      ),
      { description: 'When which mail went out. No subjects and no texts.' },
    ),
    suppressions: Type.Array(
      Type.Object(
        {
          kind: Type.String(),
          campaignId: OrNull(Type.String()),
          since: Time,
          by: Type.String(),
          liftedAt: NullableTime,
          liftedBy: OrNull(Type.String()),
          liftedBecause: OrNull(Type.String()),
        },
        strict,
      ),
      { description: 'What kept mail from the address, and who lifted it.' },
    ),
  },
  strict,
);
export type EvidenceContent = Static<typeof EvidenceContent>;

/** A person's evidence as one document: complete, and signed. */
export const EvidenceDocument = Type.Object(
  {
    ...EvidenceContent.properties,
    signedBy: Type.Object({ algorithm: Type.Literal('Ed25519'), publicKey: Type.String() }, strict),
    signature: Type.String({
      description: 'Ed25519 (RFC 8032) over all else, as canonical JSON (RFC 8785); base64url.',
    }),
  },
  strict,
);
export type EvidenceDocument = Static<typeof EvidenceDocument>;

const isDocument = Compile(EvidenceDocument);

/** The key that signs evidence. @param seed 32 random bytes, which never change: `deriveKey(masterKey, 'evidence signatures')` */
export function evidenceSigningKey(seed: Buffer): KeyObject {
  // RFC 8410: PKCS #8 of an Ed25519 key is this, and the seed.
  const prefix = Buffer.from('302e020100300506032b657004220420', 'hex');
  return createPrivateKey({ key: Buffer.concat([prefix, seed]), format: 'der', type: 'pkcs8' });
}

/** What a verifier needs of the key that signs, base64url. */
export function evidencePublicKeyText(signingKey: KeyObject): string {
  return publicKeyText(signingKey);
}

/** Signs a document. */
export function signEvidence(content: EvidenceContent, signingKey: KeyObject): EvidenceDocument {
  const unsigned = {
    ...content,
    signedBy: { algorithm: 'Ed25519' as const, publicKey: evidencePublicKeyText(signingKey) },
  };
  return {
    ...unsigned,
    signature: sign(null, Buffer.from(canonicalJson(unsigned)), signingKey).toString('base64url'),
  };
}

/** The document as it is handed out and kept. */
export function evidenceText(document: EvidenceDocument): string {
  return `${canonicalJson(document)}\n`;
}

/** Something that is not as it was written down. */
export interface EvidenceFault {
  /** Where: `file`, `signature`, `head`, or the number of a link as `chain 3`. */
  where: string;
  what: string;
}

/** What stands in one sound link. */
export interface EvidenceEntry {
  seq: number;
  kind: string;
  at: string;
  detail: Record<string, unknown>;
}

export interface EvidenceVerdict {
  /** Empty: everything is as it was signed and written down. */
  faults: EvidenceFault[];
  /** Null where the file is no evidence document at all. */
  document: EvidenceDocument | null;
  entries: EvidenceEntry[];
}

/**
 * Checks a document: that nothing in it differs from what was signed, and that its chain is whole. Spaces and line breaks
 * between its parts are the only things that may differ.
 *
 * @param publicKey whose signature it must be, base64url; null: whoever it says itself, which proves no more than that
 *   nobody changed it without signing anew
 */
export function verifyEvidence(bytes: Uint8Array, publicKey: string | null): EvidenceVerdict {
  const text = readText(bytes);
  const document = text === null ? null : readDocument(text);
  if (text === null || document === null) {
    return { faults: [{ where: 'file', what: 'is no evidence document of format 1' }], document: null, entries: [] };
  }
  const faults: EvidenceFault[] = [];
  // What JSON reads in the same way may be read differently by people: a name given twice, an escape.
  if (withoutSpaces(text) !== canonicalJson(document)) {
    faults.push({
      where: 'file',
      what: 'is not the text that was handed out: parts are given twice, moved or respelled',
    });
  }
  faults.push(...signatureFaults(document, publicKey));
  const entries = checkChain(document, faults);
  return { faults, document, entries };
}

function readText(bytes: Uint8Array): string | null {
  try {
    // Bytes that are no UTF-8 would all read alike.
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

function readDocument(text: string): EvidenceDocument | null {
  try {
    const value: unknown = JSON.parse(text);
    return isDocument.Check(value) ? value : null;
  } catch {
    return null;
  }
}

function withoutSpaces(json: string): string {
  return json.replace(/("(?:[^"\\]|\\.)*")|[ \t\r\n]+/g, '$1');
}

function signatureFaults(document: EvidenceDocument, pinned: string | null): EvidenceFault[] {
  const { signature, ...unsigned } = document;
  const { publicKey } = document.signedBy;
  if (pinned !== null && publicKey !== pinned) {
    return [{ where: 'signature', what: 'is by another key than the one it must be by' }];
  }
  const bytes = Buffer.from(signature, 'base64url');
  // Base64url reads some texts alike; only the one spelling is what was signed with.
  const sound =
    bytes.toString('base64url') === signature && isSignature(Buffer.from(canonicalJson(unsigned)), publicKey, bytes);
  return sound ? [] : [{ where: 'signature', what: 'does not fit: something in the document was changed' }];
}

function isSignature(signed: Buffer, publicKey: string, signature: Buffer): boolean {
  try {
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: publicKey }, format: 'jwk' });
    return publicKeyText(key) === publicKey && verify(null, signed, key, signature);
  } catch {
    return false;
  }
}

function checkChain(document: EvidenceDocument, faults: EvidenceFault[]): EvidenceEntry[] {
  const entries: EvidenceEntry[] = [];
  let previous = CHAIN_START;
  for (const [index, link] of document.chain.entries()) {
    const where = `chain ${index + 1}`;
    const say = (what: string) => faults.push({ where, what });
    if (link.seq !== index + 1) say(`has the number ${link.seq}: links are missing, doubled or moved`);
    if (createHash('sha256').update(link.body).digest('hex') !== link.hash) say('its text is not what was hashed');
    const body = readBody(link.body);
    if (body === null) {
      say('its text can not be read');
    } else {
      if (body.leadId !== document.subject.leadId) say('is about another lead');
      if (body.seq !== index + 1) say(`its text was written as number ${body.seq}`);
      if (body.previous !== previous) say('does not follow the link before it');
      entries.push({ seq: body.seq, kind: body.kind, at: body.at, detail: body.detail });
    }
    previous = link.hash;
  }
  if (document.head !== previous)
    faults.push({ where: 'head', what: 'is not the end of the chain: links are missing' });
  return entries;
}

const isBody = Compile(
  Type.Object(
    {
      leadId: Type.String(),
      seq: Type.Integer(),
      previous: Type.String(),
      kind: Type.Enum([...EVIDENCE_KINDS]),
      at: Time,
      detail: Type.Record(Type.String(), Type.Unknown()),
    },
    strict,
  ),
);

function readBody(body: string) {
  try {
    const value: unknown = JSON.parse(body);
    return isBody.Check(value) && canonicalJson(value) === body ? value : null;
  } catch {
    return null;
  }
}
