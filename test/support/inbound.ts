import { randomUUID } from 'node:crypto';
import type { Db, Tx } from '../../db/client';
import { keepInbound } from '../../db/inbound';
import { type ActDeps, type Acted, actOnInbound } from '../../db/inbound-actions';
import type { Classification, ProvenRef } from '../../domain/inbound';
import type { Understood } from '../../domain/inbound-actions';
import type { MailRef } from '../../domain/mail-token';
import { composeForward } from '../../mail/compose/forward';
import { TEST_ADDRESS_KEYS, TEST_TOKEN_KEYS } from './leads';

export const ACT_DEPS: ActDeps = {
  addressKeys: TEST_ADDRESS_KEYS,
  tokenKeys: TEST_TOKEN_KEYS,
  publicUrl: 'https://recuerda.test',
  staffFrom: null,
  timeFactor: 1,
  composeForward,
};

/** What the rules would say of a message, sure of itself unless told otherwise. */
export function classified(change: Partial<Classification> & Pick<Classification, 'kind'>): Classification {
  return {
    subtype: null,
    bounce: null,
    returnDate: null,
    requests: [],
    matched: null,
    needsReview: false,
    confidence: 0.95,
    evidence: [],
    ...change,
  };
}

/** The bounce of a mail whose address is dead, unless told otherwise. */
export function bounced(change: Partial<NonNullable<Classification['bounce']>> = {}): Classification {
  const bounce = {
    severity: 'hard',
    cause: 'address',
    code: '5.1.1',
    codeFrom: 'dsn',
    recipient: null,
    ...change,
  } as const;
  return classified({ kind: 'bounce', bounce });
}

/** A mail of an enrollment, as our token names it. */
export function stepRef(id: string, step = 0, by: ProvenRef['by'] = 'verp'): ProvenRef {
  return { ref: { kind: 'enrollment', id, step, copy: 0 } satisfies MailRef, by };
}

export interface Arriving {
  from?: string;
  proven?: ProvenRef | null;
  messageIds?: string[];
  messageId?: string | null;
  recipients?: string[];
  text?: string;
  subject?: string;
  byUnsubscribeAddress?: boolean;
}

/** A message as if it had been read. */
export function understoodAs(classification: Classification, arriving: Arriving = {}): Understood {
  const { from, proven = null, messageIds = [], messageId = `<${randomUUID()}@correo.example>` } = arriving;
  return {
    classification,
    clues: { proven, messageIds, senders: from === undefined ? [] : [from] },
    messageId,
    from: from === undefined ? null : { address: from, name: 'Ana' },
    answerTo: from ?? null,
    recipients: arriving.recipients ?? [],
    subject: arriving.subject ?? 'Re: Paso 0',
    newText: arriving.text ?? 'Gracias, ¿me llaman el lunes?',
    byUnsubscribeAddress: arriving.byUnsubscribeAddress ?? false,
  };
}

/** Puts a message into the inbox, not looked at yet. @returns its id */
export async function keepForTests(db: Db | Tx, receivedAt = new Date(), raw = `Subject: ${randomUUID()}\r\n\r\n`) {
  const id = await keepInbound(db, { source: 'pipe', receivedAt, content: { raw: Buffer.from(raw) } });
  if (id === null) throw new Error('it was known');
  return id;
}

/** Receives a message and acts upon it. */
export async function receive(
  db: Db,
  classification: Classification,
  arriving: Arriving & { receivedAt?: Date; now?: Date } = {},
): Promise<Acted & { inboundId: string }> {
  const { receivedAt = new Date(), now = new Date() } = arriving;
  // Leased from the beginning, so that no worker beside this takes it first.
  const inboundId = await db.transaction().execute(async (tx) => {
    const id = await keepForTests(tx, receivedAt);
    const leased = { leased_until: new Date(Date.now() + 60_000) };
    await tx.updateTable('inbound').set(leased).where('id', '=', id).execute();
    return id;
  });
  const acted = await actOnInbound(db, ACT_DEPS, inboundId, understoodAs(classification, arriving), now);
  return { ...acted, inboundId };
}
