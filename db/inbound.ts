import { createHash, randomUUID } from 'node:crypto';
import type { ProviderEvent } from '../domain/inbound';
import { mentionsIn } from '../domain/mentions';
import type { Db, Tx } from './client';

/** Of a larger message only this much (bytes) is kept. */
export const RAW_KEPT_BYTES = 25 * 1024 * 1024;

/** Something that was received, as it came. */
export interface Received {
  /** `imap:<mailbox>`, `pipe`, `webhook:<provider>`. */
  source: string;
  receivedAt: Date;
  /** The message's bytes, or what a provider told of one of our mails. */
  content: { raw: Buffer } | { event: ProviderEvent; body: Buffer };
  /** Its size in bytes, where not all of it was read; then its hash is of what was. */
  size?: number;
  /** What the MTA told, if so. */
  envelope?: { sender: string | null; recipient: string | null } | null;
  /** Where it stands in an IMAP mailbox. */
  place?: { folder: string; uidvalidity: bigint; uid: number };
  /** A provider's own id of its event. */
  externalId?: string | null;
}

/**
 * Keeps what was received, once: the same place in a mailbox, the same bytes from the same source, or the same event of a
 * provider is known already. It is understood and acted upon afterwards, from this row.
 *
 * @returns its id, null when it was known already
 */
export async function keepInbound(db: Db | Tx, received: Received): Promise<string | null> {
  const { content, place, envelope } = received;
  const bytes = 'raw' in content ? content.raw : content.body;
  const row = await db
    .insertInto('inbound')
    .values({
      id: randomUUID(),
      source: received.source,
      folder: place?.folder ?? null,
      uidvalidity: place?.uidvalidity ?? null,
      uid: place?.uid ?? null,
      external_id: received.externalId ?? null,
      sha256: createHash('sha256').update(bytes).digest(),
      received_at: received.receivedAt,
      bytes: Math.max(received.size ?? 0, bytes.length),
      raw: 'raw' in content ? content.raw.subarray(0, RAW_KEPT_BYTES) : null,
      envelope: envelope == null ? null : JSON.stringify(envelope),
      event: 'event' in content ? JSON.stringify(content.event) : null,
      mentions: mentionsIn(bytes),
    })
    .onConflict((conflict) => conflict.doNothing())
    .returning('id')
    .executeTakeFirst();
  return row?.id ?? null;
}

/** The message of these bytes, from this source; null when there is none. */
export async function findInboundByBytes(db: Db | Tx, source: string, raw: Buffer): Promise<string | null> {
  const row = await db
    .selectFrom('inbound')
    .select('id')
    .where('source', '=', source)
    .where('sha256', '=', createHash('sha256').update(raw).digest())
    .executeTakeFirst();
  return row?.id ?? null;
}
