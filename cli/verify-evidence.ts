import { readFile } from 'node:fs/promises';
import { deriveKey, readMasterKey } from '../config';
import {
  type EvidenceDocument,
  type EvidenceEntry,
  evidencePublicKeyText,
  evidenceSigningKey,
  verifyEvidence,
} from '../domain/evidence-document';
import { rows } from './table';

export interface VerifyEvidenceOptions {
  /** Whose signature it must be, base64url, as `GET /v1/evidence-key` tells it. */
  key?: string;
}

/**
 * `recuerda verify-evidence`: whether a document is as it was signed and written down, and what it says. It asks no server; the
 * key is the one given, or that of the settings, or the one that the document names itself.
 *
 * @returns the exit code: 0 where everything is sound
 */
export async function checkEvidence(
  env: Readonly<Record<string, string | undefined>>,
  file: string,
  options: VerifyEvidenceOptions,
  output: { write(text: string): unknown },
): Promise<number> {
  if (options.key !== undefined && !/^[A-Za-z0-9_-]{43}$/.test(options.key)) {
    console.error('--key must be a public key as GET /v1/evidence-key tells it: 43 characters, base64url');
    return 1;
  }
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (error) {
    console.error(`${file} can not be read (${(error as NodeJS.ErrnoException).code})`);
    return 1;
  }
  const { key, from } = expectedKey(env, options);
  const { faults, document, entries } = verifyEvidence(bytes, key);
  if (document !== null) output.write(summary(document, entries));
  if (faults.length > 0) {
    output.write(`\nNOT SOUND. ${faults.length === 1 ? 'One thing is' : `${faults.length} things are`} wrong:\n\n`);
    output.write(`${rows(faults.map(({ where, what }) => [where, what] as const))}\n`);
    return 1;
  }
  output.write(`\nSound: the chain is whole, and signed by ${document?.signedBy.publicKey} (${from}).\n`);
  if (key === null) {
    output.write(
      'WARNING: that key is the one that the document names itself. Whoever forged all of it would have named their own:\n' +
        'give --key with what GET /v1/evidence-key of the installation told you.\n',
    );
  }
  return 0;
}

function expectedKey(
  env: Readonly<Record<string, string | undefined>>,
  { key }: VerifyEvidenceOptions,
): { key: string | null; from: string } {
  if (key !== undefined) return { key, from: 'the key that you gave' };
  const masterKey = readMasterKey(env);
  if (masterKey === null) return { key: null, from: 'the key that the document names itself' };
  const own = evidencePublicKeyText(evidenceSigningKey(deriveKey(masterKey, 'evidence signatures')));
  return { key: own, from: 'the key of these settings' };
}

function summary(document: EvidenceDocument, entries: readonly EvidenceEntry[]): string {
  const { subject, generatedAt, enrollments, mails, suppressions } = document;
  const campaignOf = new Map(enrollments.map(({ campaignId, campaign }) => [campaignId, campaign]));
  const named = (id: unknown) => (typeof id === 'string' ? (campaignOf.get(id) ?? id) : 'all campaigns');
  const sent = mails.filter(({ handedOverAt }) => handedOverAt !== null);
  return `${rows([
    ['lead', subject.leadId],
    ['address', shown(subject.email)],
    ['name', shown(subject.name)],
    ['written', generatedAt],
  ])}

What they agreed to, and took back:

${entries.length === 0 ? '  nothing' : entries.map((entry) => `  ${entry.seq}  ${entry.at}  ${told(entry, named)}`).join('\n')}

Mails: ${sent.length} handed over${sent.length === 0 ? '' : `, the first ${sent[0]?.handedOverAt}, the last ${sent.at(-1)?.handedOverAt}`}
${sent.map((mail) => `  ${mail.handedOverAt}  ${mail.kind}${mail.step === null ? '' : ` ${mail.step}`}  ${mail.state}${mail.campaignId === null ? '' : `  ${shown(named(mail.campaignId))}`}`).join('\n')}

What kept mail from the address:

${
  suppressions.length === 0
    ? '  nothing'
    : suppressions
        .map(
          ({ kind, campaignId, since, by, liftedAt, liftedBy }) =>
            `  ${since}  ${kind}${campaignId === null ? '' : ` (${shown(named(campaignId))})`} by ${shown(by)}${liftedAt === null ? '' : `, lifted ${liftedAt} by ${liftedBy}`}`,
        )
        .join('\n')
}
`;
}

function told({ kind, detail }: EvidenceEntry, named: (id: unknown) => string): string {
  const campaign = shown(named(detail.campaignId));
  const text = (key: string) => shown(detail[key]);
  switch (kind) {
    case 'consent':
      return `agreed to ${text('purpose')} for ${campaign}${version(detail)}, by ${text('source')}${place(detail)}:\n       "${text('text')}"`;
    case 'soft-opt-in':
      return `bought, was told of the mail and did not object (notice ${text('noticeVersion')}, ${text('productGroup')})`;
    case 'confirmed':
      return `confirmed by the link in a mail to the address${place(detail)}`;
    case 'withdrawn':
      return `took it back for ${campaign}: ${text('reason')}, by ${text('via')}`;
    default:
      return `lifted: ${shown(Array.isArray(detail.reasons) ? detail.reasons.join(', ') : '')}, by ${text('by')}`;
  }
}

function version({ textVersion }: Record<string, unknown>): string {
  return textVersion === null || textVersion === undefined ? '' : ` (text ${shown(textVersion)})`;
}

function place({ ip, userAgent, file }: Record<string, unknown>): string {
  const from = [ip, userAgent].filter((one) => one !== null && one !== undefined).map(shown);
  const line = file as { importId?: unknown; line?: unknown; sha256?: unknown } | undefined;
  if (line !== undefined)
    from.push(`line ${shown(line.line)} of the file ${shown(line.sha256)}, import ${shown(line.importId)}`);
  return from.length === 0 ? '' : ` from ${from.join(', ')}`;
}

/** A text as a terminal may show it: what a lead once wrote must not move its cursor or colour it. */
function shown(value: unknown): string {
  return value === null || value === undefined || value === ''
    ? '–'
    : String(value).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ');
}
