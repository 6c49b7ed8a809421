import { outweighs, type ReportKind } from '../domain/inbound-actions';
import { type Stream, streamOfStep } from '../domain/streams';
import type { Tx } from './client';
import { recordEvents } from './events';

/** One mail in one of the two ledgers. */
export type MailRow =
  | { kind: 'enrollment'; enrollmentId: string; leadId: string; step: number; copy: number }
  | { kind: 'transactional'; id: string };

/** A mail whose handover was left open has reached its server after all. @returns whether there was one */
export async function resolveUnknown(tx: Tx, mail: MailRow, now: Date): Promise<boolean> {
  if (mail.kind === 'transactional') {
    const resolved = await tx
      .updateTable('transactional')
      .set({ state: 'accepted' })
      .where('id', '=', mail.id)
      .where('state', '=', 'unknown')
      .executeTakeFirst();
    return resolved.numUpdatedRows > 0n;
  }
  const { enrollmentId, leadId, step, copy } = mail;
  const resolved = await tx
    .updateTable('message')
    .set({ state: 'accepted' })
    .where('enrollment_id', '=', enrollmentId)
    .where('step', '=', step)
    .where('copy', '=', copy)
    .where('state', '=', 'unknown')
    .executeTakeFirst();
  if (resolved.numUpdatedRows === 0n) return false;
  await recordEvents(tx, [{ at: now, leadId, enrollmentId, kind: 'message-resolved', step, detail: { copy } }]);
  return true;
}

/**
 * Notes what was heard of a mail, unless it says less than what is noted already.
 *
 * @returns whether it was news
 */
export async function noteReport(
  tx: Tx,
  mail: MailRow,
  { report, code }: { report: ReportKind; code: string | null },
  now: Date,
): Promise<boolean> {
  const change = { report, report_code: code, report_at: now };
  if (mail.kind === 'transactional') {
    const row = await tx
      .selectFrom('transactional')
      .select('report')
      .where('id', '=', mail.id)
      .forNoKeyUpdate()
      .executeTakeFirst();
    if (row === undefined || !outweighs(report, row.report)) return false;
    await tx.updateTable('transactional').set(change).where('id', '=', mail.id).execute();
    return true;
  }
  const { enrollmentId, leadId, step, copy } = mail;
  const row = await tx
    .selectFrom('message')
    .select('report')
    .where('enrollment_id', '=', enrollmentId)
    .where('step', '=', step)
    .where('copy', '=', copy)
    .forNoKeyUpdate()
    .executeTakeFirst();
  if (row === undefined || !outweighs(report, row.report)) return false;
  await tx
    .updateTable('message')
    .set(change)
    .where('enrollment_id', '=', enrollmentId)
    .where('step', '=', step)
    .where('copy', '=', copy)
    .execute();
  await recordEvents(tx, [
    { at: now, leadId, enrollmentId, kind: 'message-reported', step, detail: { report, code, copy } },
  ]);
  return true;
}

/** By which stream a mail went, and to which provider; null when it is not there any more. */
export async function wayOf(tx: Tx, mail: MailRow): Promise<{ stream: Stream; provider: string } | null> {
  if (mail.kind === 'transactional') {
    const row = await tx
      .selectFrom('transactional')
      .select(['stream', 'fairness_key as provider'])
      .where('id', '=', mail.id)
      .executeTakeFirst();
    return row ?? null;
  }
  const row = await tx
    .selectFrom('enrollment')
    .select(['fairness_key as provider', 'journey'])
    .where('id', '=', mail.enrollmentId)
    .executeTakeFirst();
  return row === undefined ? null : { stream: streamOfStep(mail.step, row.journey), provider: row.provider };
}
