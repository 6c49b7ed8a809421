import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { type SqlBool, sql } from 'kysely';
import type { FormDefinition } from '../domain/form';
import { Problem } from '../domain/problem';
import { type Db, inTransaction } from './client';

/** A form in one of its versions; which never change, so that evidence can name the one that was shown. */
export interface Form {
  id: string;
  campaignId: string;
  version: number;
  latestVersion: number;
  definition: FormDefinition;
  disabledAt: Date | null;
  createdAt: Date;
  /** When this version was. */
  versionAt: Date;
}

/** @param campaignId of a campaign that exists */
export async function createForm(db: Db, campaignId: string, definition: FormDefinition, now: Date): Promise<Form> {
  const id = randomUUID();
  await inTransaction(db, async (tx) => {
    await tx.insertInto('form').values({ id, campaign_id: campaignId, version: 1, created_at: now }).execute();
    await tx
      .insertInto('form_version')
      .values({ form_id: id, version: 1, definition: JSON.stringify(definition), created_at: now })
      .execute();
  });
  return await findForm(db, id);
}

/** @param version the latest one where it is left out @throws Problem `not-found` */
export async function findForm(db: Db, id: string, version?: number): Promise<Form> {
  const form = await selectForms(db)
    .where('f.id', '=', id)
    .where('v.version', '=', version ?? sql.ref<number>('f.version'))
    .executeTakeFirst();
  if (form !== undefined) return form;
  if (version !== undefined) throw new Problem('not-found', `there is no version ${version} of form ${id}`);
  throw noSuchForm(id);
}

/** A page of forms in their latest versions, newest first. @param before the last of the page before */
export async function listForms(
  db: Db,
  campaignId: string | undefined,
  limit: number,
  before: { createdAt: Date; id: string } | null,
): Promise<Form[]> {
  // In milliseconds, as a cursor holds it: in microseconds, those of the same millisecond would be passed over.
  const created = sql<Date>`date_trunc('milliseconds', f.created_at)`;
  let query = selectForms(db)
    .whereRef('v.version', '=', 'f.version')
    .orderBy(created, 'desc')
    .orderBy('f.id', 'desc')
    .limit(limit);
  if (campaignId !== undefined) query = query.where('f.campaign_id', '=', campaignId);
  if (before !== null) {
    query = query.where(sql<SqlBool>`(${created}, f.id) < (${before.createdAt}::timestamptz, ${before.id}::uuid)`);
  }
  return await query.execute();
}

/** Adds the next version; one that says the same as the latest is none. @throws Problem `not-found` */
export async function reviseForm(db: Db, id: string, definition: FormDefinition, now: Date): Promise<Form> {
  await inTransaction(db, async (tx) => {
    const form = await tx.selectFrom('form').select('version').where('id', '=', id).forUpdate().executeTakeFirst();
    if (form === undefined) throw noSuchForm(id);
    const latest = await tx
      .selectFrom('form_version')
      .select('definition')
      .where('form_id', '=', id)
      .where('version', '=', form.version)
      .executeTakeFirstOrThrow();
    if (isDeepStrictEqual(latest.definition, definition)) return;
    const version = form.version + 1;
    await tx
      .insertInto('form_version')
      .values({ form_id: id, version, definition: JSON.stringify(definition), created_at: now })
      .execute();
    await tx.updateTable('form').set({ version }).where('id', '=', id).execute();
  });
  return await findForm(db, id);
}

/** Closes a form, or opens it again; doing it twice changes nothing. @throws Problem `not-found` */
export async function setFormDisabled(db: Db, id: string, disabled: boolean, now: Date): Promise<Form> {
  await db
    .updateTable('form')
    .set({ disabled_at: disabled ? sql<Date>`coalesce(disabled_at, ${now})` : null })
    .where('id', '=', id)
    .execute();
  return await findForm(db, id);
}

/** A form as the public meets it. */
export interface PublicForm extends Form {
  /** Of the campaign; null where nothing was published, so that nobody can be enrolled. */
  campaignVersion: number | null;
  /** Neither is it disabled, nor is its campaign cancelled or unpublished. */
  open: boolean;
}

/** @returns null where there is none */
export async function findPublicForm(db: Db, id: string): Promise<PublicForm | null> {
  const row = await selectForms(db)
    .innerJoin('campaign as c', 'c.id', 'f.campaign_id')
    .select(['c.latest_version as campaignVersion', 'c.cancelled_at as cancelledAt'])
    .where('f.id', '=', id)
    .whereRef('v.version', '=', 'f.version')
    .executeTakeFirst();
  if (row === undefined) return null;
  const { cancelledAt, ...form } = row;
  return { ...form, open: form.disabledAt === null && cancelledAt === null && form.campaignVersion !== null };
}

/** A version and when it was replaced by the next one. @returns null where there is none */
export async function findFormVersion(
  db: Db,
  id: string,
  version: number,
): Promise<{ definition: FormDefinition; replacedAt: Date | null } | null> {
  const row = await db
    .selectFrom('form_version as v')
    .leftJoin('form_version as next', (join) =>
      join.onRef('next.form_id', '=', 'v.form_id').on('next.version', '=', version + 1),
    )
    .select(['v.definition', 'next.created_at as replacedAt'])
    .where('v.form_id', '=', id)
    .where('v.version', '=', version)
    .executeTakeFirst();
  return row ?? null;
}

function selectForms(db: Db) {
  return db
    .selectFrom('form as f')
    .innerJoin('form_version as v', 'v.form_id', 'f.id')
    .select([
      'f.id',
      'f.campaign_id as campaignId',
      'v.version',
      'f.version as latestVersion',
      'v.definition',
      'f.disabled_at as disabledAt',
      'f.created_at as createdAt',
      'v.created_at as versionAt',
    ]);
}

function noSuchForm(id: string): Problem {
  return new Problem('not-found', `there is no form ${id}`);
}
