import { sql } from 'kysely';
import { type Db, inTransaction, type Tx } from './client';
import { findInboundByBytes, keepInbound } from './inbound';

/** How far a folder has been read. */
export interface MailboxPlace {
  uidvalidity: bigint;
  lastUid: number;
  lastInternalDate: Date;
}

/** A folder of a mailbox. `mailbox` is the source under which its messages are kept, `imap:<user>@<host>`. */
export interface MailboxFolder {
  mailbox: string;
  folder: string;
}

/** A message of a folder. */
export interface MailboxMessage {
  uidvalidity: bigint;
  uid: number;
  internalDate: Date;
  raw: Buffer;
  /** Larger than `raw` where that was cut. */
  size: number;
}

/** Null: this folder was never read. */
export async function findPlace(db: Db, { mailbox, folder }: MailboxFolder): Promise<MailboxPlace | null> {
  const row = await db
    .selectFrom('mailbox_place')
    .select(['uidvalidity', 'last_uid', 'last_internal_date', 'updated_at'])
    .where('mailbox', '=', mailbox)
    .where('folder', '=', folder)
    .executeTakeFirst();
  if (row === undefined) return null;
  return {
    uidvalidity: BigInt(row.uidvalidity),
    lastUid: Number(row.last_uid),
    lastInternalDate: row.last_internal_date ?? row.updated_at,
  };
}

/** Sets the place of a folder, whatever it was before. */
export async function setPlace(db: Db, { mailbox, folder }: MailboxFolder, place: MailboxPlace): Promise<void> {
  const values = {
    uidvalidity: place.uidvalidity,
    last_uid: place.lastUid,
    last_internal_date: place.lastInternalDate,
    updated_at: new Date(),
  };
  await db
    .insertInto('mailbox_place')
    .values({ mailbox, folder, ...values })
    .onConflict((conflict) => conflict.columns(['mailbox', 'folder']).doUpdateSet(values))
    .execute();
}

/** The folder's UIDs were given anew, or another process has set its place, since it was read last: it must be opened again. */
export class PlaceMoved extends Error {
  readonly code = 'PLACE_MOVED';
  constructor() {
    super('the place of a folder is not what it was');
  }
}

/**
 * Keeps a message, unless it is known, and moves the folder's place behind it: both in one transaction, or neither.
 *
 * @param movesOn false: the place stays, as while a folder is looked through again
 * @returns whether it was new
 * @throws PlaceMoved when the place is of another UIDVALIDITY; nothing is kept then
 */
export async function keepMessage(
  db: Db,
  where: MailboxFolder,
  message: MailboxMessage,
  movesOn: boolean,
): Promise<boolean> {
  return await inTransaction(db, async (tx) => {
    const isNew = await keepOnce(tx, where, message);
    if (movesOn) await moveOn(tx, where, message);
    return isNew;
  });
}

async function keepOnce(tx: Tx, { mailbox, folder }: MailboxFolder, message: MailboxMessage): Promise<boolean> {
  const { uidvalidity, uid, internalDate, raw, size } = message;
  const now = new Date();
  const received = {
    source: mailbox,
    receivedAt: internalDate > now ? now : internalDate,
    content: { raw },
    size,
  };
  if ((await keepInbound(tx, { ...received, place: { folder, uidvalidity, uid } })) !== null) return true;
  if ((await findInboundByBytes(tx, mailbox, raw)) !== null) return false;
  // Other bytes hold this place: a server has given a UID twice. What counts is the message.
  return (await keepInbound(tx, received)) !== null;
}

async function moveOn(tx: Tx, { mailbox, folder }: MailboxFolder, message: MailboxMessage): Promise<void> {
  const { uidvalidity, uid, internalDate } = message;
  const moved = await tx
    .updateTable('mailbox_place')
    .set({
      last_uid: sql<string>`greatest(last_uid, ${uid})`,
      // A false date in the future must not hide later mail from a look through the last days.
      last_internal_date: sql<Date>`greatest(last_internal_date, least(${internalDate}::timestamptz, now()))`,
      updated_at: new Date(),
    })
    .where('mailbox', '=', mailbox)
    .where('folder', '=', folder)
    .where('uidvalidity', '=', String(uidvalidity))
    .executeTakeFirst();
  if (moved.numUpdatedRows === 0n) throw new PlaceMoved();
}
