import { randomUUID } from 'node:crypto';
import { type SqlBool, sql } from 'kysely';
import type { PublishedCampaign } from '../domain/campaign';
import { dueAfterMove, type Move, planMove } from '../domain/move';
import { type Plan, type PlannedStep, positionsOf, type VersionStep } from '../domain/plan';
import { Problem } from '../domain/problem';
import { matchSteps } from '../domain/step-matching';
import { type Actor, recordAudit } from './audit';
import { contentDigest, versionOf } from './campaigns';
import { type Db, inTransaction, type Tx } from './client';
import { recordEvents } from './events';
import { noteForJournal } from './journal';
import { signalStamp } from './outbox';
import { giveBackSlots } from './quota';
import type { CampaignMigrationTable, MatchedVersion } from './schema';
import { handingOver, withdraw } from './stops';

/** A dry run carries a migration for this long (ms): what it has shown must still be about the same leads. */
const DRY_RUN_HOLDS_MS = 24 * 60 * 60_000;
/** The results of a dry run that came to nothing are kept this long (ms). */
const DRY_RUN_KEPT_MS = 7 * 24 * 60 * 60_000;
/** A lead whose mail is past the gate is looked at again after this time (ms), one whose row is in use after the shorter one. */
const IN_FLIGHT_MS = 3_000;
const IN_USE_MS = 500;

export interface DryRunRequest {
  campaignId: string;
  toVersion: number;
  /** Only leads of this version; null: of every other. */
  fromVersion: number | null;
  /** What became of steps of `fromVersion`: a step of the new version, or nothing. */
  steps: ReadonlyMap<number, number | null>;
  /** Only these; null: all. */
  enrollmentIds: readonly string[] | null;
  /** The information of the new version tells imported people where their data came from. */
  namesSource: boolean;
  now: Date;
}

/**
 * Writes down whom a dry run is about: every open follow-up that is not in that version yet. `migrateSome` then tells what
 * would change for each.
 *
 * @throws Problem `not-found`, `campaign-cancelled`, `steps-unclear`, `invalid-request`
 */
export async function createDryRun(db: Db, request: DryRunRequest): Promise<string> {
  const { campaignId, toVersion, fromVersion, steps, enrollmentIds, namesSource, now } = request;
  const id = randomUUID();
  return await inTransaction(db, async (tx) => {
    const campaign = await assertRunning(tx, campaignId);
    const target = await versionOf(tx, campaignId, toVersion);
    const chosen = sql<SqlBool>`e.campaign_id = ${campaignId} and e.journey = 'lead' and e.outcome is null
      and e.version <> ${toVersion} and (${fromVersion}::int is null or e.version = ${fromVersion}::int)
      and (${enrollmentIds}::uuid[] is null or e.id = any(${enrollmentIds}::uuid[]))`;
    const { rows: versions } = await sql<{ version: number }>`
      select distinct e.version from enrollment e where ${chosen} order by e.version`.execute(tx);
    const matching: MatchedVersion[] = [];
    const unclear: { pointer: string; detail: string }[] = [];
    for (const { version } of versions) {
      const from = await versionOf(tx, campaignId, version);
      const given = version === fromVersion ? steps : new Map<number, number | null>();
      const {
        pairs,
        deleted,
        added,
        unclear: guess,
      } = matchSteps(from.definition.steps, target.definition.steps, given);
      matching.push({ fromVersion: version, pairs, deleted, added });
      if (guess) unclear.push({ pointer: '/steps', detail: unclearText(from, target, deleted, added) });
    }
    if (unclear.length > 0) {
      throw new Problem('steps-unclear', unclear.map(({ detail }) => detail).join(' '), { errors: unclear, matching });
    }
    await tx
      .insertInto('campaign_migration')
      .values({
        id,
        campaign_id: campaignId,
        to_version: toVersion,
        from_version: fromVersion,
        given: JSON.stringify(Object.fromEntries(steps)),
        matching: JSON.stringify(matching),
        names_source: namesSource,
        dry_run: true,
        dry_run_id: null,
        latest_version: campaign.latestVersion,
        created_at: now,
      })
      .execute();
    await sql`
      insert into campaign_migration_lead (migration_id, enrollment_id)
      select ${id}::uuid, e.id from enrollment e where ${chosen}`.execute(tx);
    return id;
  });
}

function unclearText(
  from: PublishedCampaign,
  to: PublishedCampaign,
  deleted: readonly number[],
  added: readonly number[],
) {
  const quote = ({ definition }: PublishedCampaign, steps: readonly number[]) =>
    steps.map((step) => `${step} (“${definition.steps[step]?.subject}”)`).join(', ');
  return (
    `Of version ${from.version}, nothing in version ${to.version} is the same as step ${quote(from, deleted)}; new there is step ${quote(to, added)}. ` +
    `Say with fromVersion: ${from.version} and steps what became of each, such as {"${deleted[0]}": ${added[0]}}, or {"${deleted[0]}": null} where it is gone.`
  );
}

/**
 * Versions are published under a lock of the campaign's row, and a campaign is cancelled under it.
 *
 * @param alone whether nobody else is let in who would move its leads
 * @throws Problem `not-found`, `not-published`, `campaign-cancelled`
 */
async function assertRunning(tx: Tx, campaignId: string, alone = false): Promise<{ latestVersion: number }> {
  const row = await tx
    .selectFrom('campaign')
    .select(['latest_version', 'cancelled_at'])
    .where('id', '=', campaignId)
    .$call((query) => (alone ? query.forNoKeyUpdate() : query.forShare()))
    .executeTakeFirst();
  if (row === undefined) throw new Problem('not-found', `there is no campaign ${campaignId}`);
  if (row.cancelled_at !== null)
    throw new Problem('campaign-cancelled', 'the campaign was cancelled: nobody is followed up');
  if (row.latest_version === null) throw new Problem('not-published', 'the campaign has no published version yet');
  return { latestVersion: row.latest_version };
}

/**
 * Begins to move those of whom a dry run has said that they would be moved. Each is looked at again at the moment of the move.
 *
 * @throws Problem `not-found`, `campaign-cancelled`, `dry-run-stale`, `migration-running`
 */
export async function startMigration(
  db: Db,
  { campaignId, dryRunId, actor, now }: { campaignId: string; dryRunId: string; actor: Actor; now: Date },
): Promise<string> {
  const id = randomUUID();
  return await inTransaction(db, async (tx) => {
    const campaign = await assertRunning(tx, campaignId, true);
    const dry = await tx
      .selectFrom('campaign_migration')
      .selectAll()
      .where('id', '=', dryRunId)
      .where('campaign_id', '=', campaignId)
      .where('dry_run', '=', true)
      .forUpdate()
      .executeTakeFirst();
    if (dry === undefined) throw new Problem('not-found', `there is no dry run ${dryRunId} of this campaign`);
    await assertFresh(tx, dry, campaign.latestVersion, now);
    await tx
      .insertInto('campaign_migration')
      .values({
        id,
        campaign_id: campaignId,
        to_version: dry.to_version,
        from_version: dry.from_version,
        given: JSON.stringify(dry.given),
        matching: JSON.stringify(dry.matching),
        names_source: dry.names_source,
        dry_run: false,
        dry_run_id: dry.id,
        latest_version: campaign.latestVersion,
        created_at: now,
      })
      .execute();
    await sql`
      insert into campaign_migration_lead (migration_id, enrollment_id)
      select ${id}::uuid, enrollment_id from campaign_migration_lead
      where migration_id = ${dry.id} and result = 'moved'`.execute(tx);
    await recordAudit(tx, {
      actor,
      action: 'campaign.migrated',
      target: campaignId,
      detail: { migrationId: id, dryRunId, toVersion: dry.to_version },
      now,
    });
    return id;
  });
}

type Row = Pick<
  CampaignMigrationTable,
  'id' | 'campaign_id' | 'to_version' | 'from_version' | 'names_source' | 'dry_run' | 'dry_run_id' | 'latest_version'
> & { created_at: Date };

async function assertFresh(tx: Tx, dry: Row & { state: string }, latestVersion: number, now: Date): Promise<void> {
  const stale = (detail: string) => new Problem('dry-run-stale', `${detail}: make another dry run`);
  if (dry.state === 'running')
    throw new Problem('dry-run-stale', 'the dry run is not finished: look at what it says first');
  if (dry.state === 'cancelled') throw stale('the dry run was cancelled');
  if (dry.latest_version !== latestVersion) throw stale(`version ${latestVersion} was published since`);
  if (now.getTime() - dry.created_at.getTime() > DRY_RUN_HOLDS_MS) throw stale('the dry run is older than a day');
  const others = await tx
    .selectFrom('campaign_migration')
    .select(['id', 'state', 'dry_run_id'])
    .where('campaign_id', '=', dry.campaign_id)
    .where('dry_run', '=', false)
    .where((eb) => eb.or([eb('state', '=', 'running'), eb('created_at', '>=', dry.created_at)]))
    .execute();
  for (const { id, state, dry_run_id: used } of others) {
    if (used === dry.id) throw stale(`migration ${id} was begun with this dry run`);
    if (state !== 'running') throw stale(`leads were moved since, by migration ${id}`);
    throw new Problem(
      'migration-running',
      `migration ${id} of this campaign is under way: wait for its end, or cancel it`,
      {
        migrationId: id,
      },
    );
  }
}

/**
 * Ends a migration: once this has returned, nobody more is moved by it. Who was moved stays.
 *
 * @throws Problem `not-found`, `already-ended`
 */
export async function cancelMigration(
  db: Db,
  { campaignId, migrationId, actor, now }: { campaignId: string; migrationId: string; actor: Actor; now: Date },
): Promise<void> {
  await inTransaction(db, async (tx) => {
    // Waits for the batch that is under way, and the next one finds it cancelled.
    const row = await tx
      .selectFrom('campaign_migration')
      .select(['state', 'dry_run'])
      .where('id', '=', migrationId)
      .where('campaign_id', '=', campaignId)
      .forUpdate()
      .executeTakeFirst();
    if (row === undefined) throw noSuchMigration(migrationId);
    if (row.state !== 'running') throw new Problem('already-ended', `the migration is ${row.state} already`);
    await tx
      .updateTable('campaign_migration')
      .set({ state: 'cancelled', finished_at: now })
      .where('id', '=', migrationId)
      .execute();
    if (row.dry_run) return;
    const detail = { migrationId };
    await recordAudit(tx, { actor, action: 'campaign.migration-cancelled', target: campaignId, detail, now });
  });
}

function noSuchMigration(id: string): Problem {
  return new Problem('not-found', `this campaign has no migration ${id}`);
}

/** Migrations and dry runs that are under way, the oldest first. */
export async function runningMigrations(db: Db): Promise<string[]> {
  const rows = await db
    .selectFrom('campaign_migration')
    .select('id')
    .where('state', '=', 'running')
    .orderBy('created_at')
    .execute();
  return rows.map((row) => row.id);
}

/** Forgets dry runs from which no migration came. */
export async function forgetDryRuns(db: Db, now: Date): Promise<void> {
  await sql`
    delete from campaign_migration m where dry_run and state <> 'running'
      and created_at < ${new Date(now.getTime() - DRY_RUN_KEPT_MS)}
      and not exists (select from campaign_migration r where r.dry_run_id = m.id)`.execute(db);
}

/**
 * Deals with some of a migration's leads, in one transaction: each is moved with its result, or not at all. Any number of
 * workers may do this at the same time, and any of them may die. A lead with a mail past the gate is left for later.
 *
 * @returns how many were dealt with, and whether all are
 */
export async function migrateSome(
  db: Db,
  migrationId: string,
  { timeFactor, now, limit = 100 }: { timeFactor: number; now: Date; limit?: number },
): Promise<{ done: number; finished: boolean }> {
  const done = await inTransaction(db, async (tx) => {
    const migration = await tx
      .selectFrom('campaign_migration')
      .selectAll()
      .where('id', '=', migrationId)
      .where('state', '=', 'running')
      .forShare()
      .executeTakeFirst();
    if (migration === undefined) return 0;
    const { rows } = await sql<{ id: string }>`
      select enrollment_id as id from campaign_migration_lead
      where migration_id = ${migrationId} and result is null and (not_before is null or not_before <= ${now})
      order by enrollment_id limit ${limit} for update skip locked`.execute(tx);
    if (rows.length === 0) return 0;
    const ids = rows.map((row) => row.id);
    const leads = await loadLeads(tx, ids, !migration.dry_run);
    // A stop or a send holds the others just now; waiting for many rows at once is how deadlocks are made.
    const seen = new Set(leads.map((lead) => lead.id));
    const busy = ids.filter((id) => !seen.has(id));
    await lookLater(tx, migrationId, busy, new Date(now.getTime() + IN_USE_MS));
    return await dealWith(tx, migration, leads, { timeFactor, now });
  });
  const result = await db
    .updateTable('campaign_migration as m')
    .set({ state: 'completed', finished_at: now })
    .where('m.id', '=', migrationId)
    .where('m.state', '=', 'running')
    .where(
      sql<SqlBool>`not exists (select from campaign_migration_lead l where l.migration_id = m.id and l.result is null)`,
    )
    .executeTakeFirst();
  return { done, finished: result.numUpdatedRows === 1n };
}

async function lookLater(tx: Tx, migrationId: string, ids: readonly string[], at: Date): Promise<void> {
  if (ids.length === 0) return;
  await tx
    .updateTable('campaign_migration_lead')
    .set({ not_before: at })
    .where('migration_id', '=', migrationId)
    .where('enrollment_id', '=', sql<string>`any(${ids}::uuid[])`)
    .execute();
}

type Lead = Awaited<ReturnType<typeof loadLeads>>[number];

async function loadLeads(tx: Tx, ids: readonly string[], lock: boolean) {
  const query = tx
    .selectFrom('enrollment as e')
    .innerJoin('lead as l', 'l.id', 'e.lead_id')
    .select(['e.id', 'e.lead_id', 'e.version', 'e.plan', 'e.step', 'e.next_due_at', 'e.enrolled_at', 'e.outcome'])
    .select(['e.started_at', 'e.moves', 'l.time_zone'])
    .where('e.id', '=', sql<string>`any(${ids}::uuid[])`);
  return await (lock ? query.forNoKeyUpdate('e').skipLocked() : query).execute();
}

/** What is known of a lead's mails: whether the one at its position was dealt with, and when the one before it was. */
interface MailsOf {
  /** The mail of its position has left, or may have, and the row has not moved on. */
  currentHad: boolean;
  inFlight: boolean;
  lastMailAt: Date | null;
}

async function mailsOf(tx: Tx, leads: readonly Lead[]): Promise<Map<string, MailsOf>> {
  const ids = leads.map((lead) => lead.id);
  const { rows } = await sql<{ id: string; offset: number; copy: number; state: string; settled_at: Date | null }>`
    select m.enrollment_id as id, m.step - e.step as offset, m.copy, m.state, m.settled_at
    from message m join enrollment e on e.id = m.enrollment_id
    where m.enrollment_id = any(${ids}::uuid[])
      and (m.state = 'handing_over' or m.copy = 0 and m.step between e.step - 1 and e.step)`.execute(tx);
  const found = new Map<string, MailsOf>();
  for (const { id, offset, copy, state, settled_at } of rows) {
    const mails = found.get(id) ?? { currentHad: false, inFlight: false, lastMailAt: null };
    found.set(id, mails);
    if (state === 'handing_over') mails.inFlight = true;
    if (copy > 0) continue;
    if (offset === 0) mails.currentHad = HAD.has(state);
    else if (offset === -1) mails.lastMailAt = settled_at;
  }
  return found;
}

/** Ledger states of a mail that is never sent again. */
const HAD: ReadonlySet<string> = new Set(['handing_over', 'accepted', 'unknown', 'rejected']);

interface Outcome {
  lead: Lead;
  result: 'moved' | 'refused' | 'ended' | 'already-there';
  because: string | null;
  changes: string[];
  detail: Record<string, unknown> | null;
  plan: Plan | null;
  dueAt: Date;
}

async function dealWith(
  tx: Tx,
  migration: Row & { given: Record<string, number | null> },
  leads: readonly Lead[],
  { timeFactor, now }: { timeFactor: number; now: Date },
): Promise<number> {
  const versions = await versionsOf(tx, migration, leads);
  const mails = await mailsOf(tx, leads);
  const unnamed = await importedWithoutSource(tx, migration, leads, mails);
  const outcomes = leads.map((lead) =>
    outcomeOf(migration, lead, { mails: mails.get(lead.id), unnamed: unnamed.has(lead.id), versions, timeFactor, now }),
  );
  const moving = outcomes.filter(({ result }) => result === 'moved');
  const waiting = migration.dry_run ? new Set<string>() : await holdBack(tx, moving, now);
  await lookLater(tx, migration.id, [...waiting], new Date(now.getTime() + IN_FLIGHT_MS));
  const settled = outcomes.filter(({ lead }) => !waiting.has(lead.id));
  if (!migration.dry_run) {
    await move(
      tx,
      migration,
      moving.filter(({ lead }) => !waiting.has(lead.id)),
      now,
    );
  }
  await sql`
    update campaign_migration_lead l set result = r.result, because = r.because, at = ${now},
      changes = array(select jsonb_array_elements_text(r.changes::jsonb)), detail = r.detail::jsonb
    from unnest(${settled.map(({ lead }) => lead.id)}::uuid[], ${settled.map(({ result }) => result)}::text[],
                ${settled.map(({ because }) => because)}::text[],
                ${settled.map(({ changes }) => JSON.stringify(changes))}::text[],
                ${settled.map(({ detail }) => (detail === null ? null : JSON.stringify(detail)))}::text[])
      as r (id, result, because, changes, detail)
    where l.migration_id = ${migration.id} and l.enrollment_id = r.id`.execute(tx);
  return settled.length;
}

/** Every version that the leads' plans name, with what each of its steps is in the new one. */
interface Versions {
  target: PublishedCampaign;
  of: ReadonlyMap<number, PublishedCampaign>;
  same: (step: VersionStep) => readonly number[];
}

async function versionsOf(
  tx: Tx,
  { campaign_id, to_version, from_version, given }: Row & { given: Record<string, number | null> },
  leads: readonly Lead[],
): Promise<Versions> {
  const target = await versionOf(tx, campaign_id, to_version);
  const of = new Map<number, PublishedCampaign>();
  const known = new Map<string, number[]>();
  const named = leads.flatMap(({ version, plan }) => [
    version,
    ...(plan ?? []).flatMap((position) => [position.version, ...(position.as ?? []).map((one) => one.version)]),
  ]);
  const said = new Map(Object.entries(given).map(([from, to]) => [Number(from), to]));
  for (const version of new Set(named)) {
    const from = await versionOf(tx, campaign_id, version);
    of.set(version, from);
    const { pairs } = matchSteps(
      from.definition.steps,
      target.definition.steps,
      version === from_version ? said : new Map(),
    );
    for (const pair of pairs) {
      const key = `${version}/${pair.from}`;
      known.set(key, [...(known.get(key) ?? []), pair.to]);
    }
  }
  return { target, of, same: ({ version, step }) => known.get(`${version}/${step}`) ?? [] };
}

/** Who came by a file and has not had the information, where the new one keeps from them where their data came from. */
async function importedWithoutSource(
  tx: Tx,
  migration: Row,
  leads: readonly Lead[],
  mails: ReadonlyMap<string, MailsOf>,
): Promise<ReadonlySet<string>> {
  const asked = leads.filter((lead) => lead.step === 0 && mails.get(lead.id)?.currentHad !== true);
  if (migration.names_source || asked.length === 0) return new Set();
  const { rows } = await sql<{ id: string }>`
    select enrollment_id as id from event
    -- By lead, as events are indexed.
    where lead_id = any(${asked.map((lead) => lead.lead_id)}::uuid[])
      and enrollment_id = any(${asked.map((lead) => lead.id)}::uuid[]) and kind = 'enrolled' and detail->>'via' like 'import:%'`.execute(
    tx,
  );
  return new Set(rows.map((row) => row.id));
}

interface Known {
  mails: MailsOf | undefined;
  unnamed: boolean;
  versions: Versions;
  timeFactor: number;
  now: Date;
}

function outcomeOf(migration: Row, lead: Lead, known: Known): Outcome {
  const { versions, unnamed } = known;
  const { target } = versions;
  const nothing = { lead, because: null, changes: [], detail: null, plan: lead.plan, dueAt: lead.next_due_at };
  if (lead.outcome !== null) return { ...nothing, result: 'ended' };
  if (lead.version === migration.to_version) return { ...nothing, result: 'already-there' };
  const from = versions.of.get(lead.version);
  if (from === undefined) throw new Error(`version ${lead.version} was not loaded`);
  const { currentHad = false, inFlight = false, lastMailAt = null } = known.mails ?? {};
  const had = lead.step + (currentHad ? 1 : 0);
  const positions = positionsOf(lead.plan, from);
  const refused = (because: string): Outcome => ({
    ...nothing,
    result: 'refused',
    because,
    detail: { fromVersion: lead.version, mailsHad: had, nextBefore: nextOf(positions, had, lead.next_due_at) },
  });
  if (unnamed) return refused('source-not-named');
  const moved =
    had === 0
      ? fromTheStart(positions, versions)
      : planMove({
          positions,
          had,
          toVersion: target.version,
          steps: target.steps.length,
          same: versions.same,
        });
  if (moved === null) return refused('too-many-mails');
  const dueAt = currentHad
    ? // When it is due is decided when the row moves on, under the new version.
      lead.next_due_at
    : dueAfterMove({
        enrollmentId: lead.id,
        position: had,
        timeZone: lead.time_zone,
        clock: { origin: lead.enrolled_at.getTime(), factor: known.timeFactor },
        lastMailAt,
        due: lead.next_due_at,
        from: from.definition,
        to: target.definition,
        now: known.now,
      });
  const [next] = moved.ahead;
  const same =
    positions[had] === undefined
      ? next === undefined
      : next !== undefined && versions.same(positions[had]).includes(next);
  const changes = [
    ...(same ? [] : ['next-step']),
    ...(dueAt < lead.next_due_at ? ['sooner'] : []),
    ...(dueAt > lead.next_due_at ? ['later'] : []),
    ...(moved.added.length > 0 ? ['added'] : []),
    ...(moved.dropped.length > 0 ? ['dropped'] : []),
    ...(moved.passedOver.length > 0 ? ['passed-over'] : []),
    ...(next === undefined ? ['nothing-ahead'] : []),
    ...(inFlight ? ['in-flight'] : []),
  ];
  const detail = {
    fromVersion: lead.version,
    mailsHad: had,
    nextBefore: nextOf(positions, had, currentHad ? null : lead.next_due_at),
    nextAfter: { step: next ?? null, dueAt: currentHad ? null : dueAt },
    ahead: moved.ahead,
    added: moved.added,
    dropped: moved.dropped,
    passedOver: moved.passedOver,
  };
  return { lead, result: 'moved', because: null, changes, detail, plan: had === 0 ? null : moved.plan, dueAt };
}

function nextOf(positions: readonly PlannedStep[], had: number, dueAt: Date | null) {
  return { step: positions[had]?.step ?? null, dueAt };
}

/** Who has had nothing yet gets the new version as it is. */
function fromTheStart(
  positions: readonly PlannedStep[],
  { target, same }: Versions,
): Omit<Move, 'plan'> & { plan: Plan } {
  const ahead = target.steps.map((_, step) => step);
  const kept = new Set(positions.flatMap((position) => same(position)));
  return {
    plan: [],
    ahead,
    dropped: positions.filter((position) => same(position).length === 0).map(({ step }) => step),
    added: ahead.filter((step) => !kept.has(step)),
    passedOver: [],
  };
}

/** Takes back what is claimed, as a pause does. @returns those whose mail was past the gate: they are moved after it */
async function holdBack(tx: Tx, moving: readonly Outcome[], now: Date): Promise<Set<string>> {
  const ids = moving.map(({ lead }) => lead.id);
  await withdraw(tx, sql<SqlBool>`e.id = any(${ids}::uuid[])`, now);
  // A statement of its own, with a snapshot in which every gate that was waited for is seen.
  const inFlight = await handingOver(tx, sql<SqlBool>`enrollment.id = any(${ids}::uuid[])`);
  return new Set(inFlight.map((message) => message.enrollmentId));
}

async function move(tx: Tx, migration: Row, moving: readonly Outcome[], now: Date): Promise<void> {
  if (moving.length === 0) return;
  const redated = moving.filter(({ lead, dueAt }) => dueAt.getTime() !== lead.next_due_at.getTime());
  const redatedIds = redated.map(({ lead }) => lead.id);
  // The place of a further copy of the information is not touched.
  const ownPlace = sql<SqlBool>`e.id = any(${redatedIds}::uuid[]) and (e.step = 0 or e.slot_stream is distinct from 'requested')`;
  await giveBackSlots(tx, ownPlace, now);
  // Who comes due sooner is woken; the others find their date when they wake by themselves, and a hundred thousand need not
  // take their turn in the queue of nudges to be told.
  const sooner = redated.filter(({ lead, dueAt }) => dueAt < lead.next_due_at).map(({ lead }) => lead.id);
  await sql`
    update enrollment e set version = ${migration.to_version}, plan = m.plan::jsonb, moves = e.moves + 1, next_due_at = m.due_at,
      slot_day = case when ${ownPlace} and not e.slot_taken then null else e.slot_day end,
      signal_at = case when e.id = any(${sooner}::uuid[]) and e.started_at is not null then ${signalStamp(now)} else e.signal_at end
    from unnest(${moving.map(({ lead }) => lead.id)}::uuid[],
                ${moving.map(({ plan }) => (plan === null ? null : JSON.stringify(plan)))}::text[],
                ${moving.map(({ dueAt }) => dueAt)}::timestamptz[]) as m (id, plan, due_at)
    where e.id = m.id`.execute(tx);
  const { content } = await tx
    .selectFrom('campaign_version as v')
    .select(contentDigest.as('content'))
    .where('v.campaign_id', '=', migration.campaign_id)
    .where('v.version', '=', migration.to_version)
    .executeTakeFirstOrThrow();
  await noteForJournal(
    tx,
    moving.map(({ lead, plan, dueAt }) => ({
      kind: 'move' as const,
      enrollmentId: lead.id,
      version: migration.to_version,
      content,
      plan,
      moves: lead.moves + 1,
      step: lead.step,
      nextDueAt: dueAt.toISOString(),
    })),
    now,
  );
  await recordEvents(
    tx,
    moving.map(({ lead, dueAt }) => ({
      at: now,
      leadId: lead.lead_id,
      enrollmentId: lead.id,
      kind: 'moved' as const,
      step: lead.step,
      detail: { from: lead.version, to: migration.to_version, migrationId: migration.id, dueAt },
    })),
  );
}

export interface MigrationView {
  migrationId: string;
  campaignId: string;
  toVersion: number;
  fromVersion: number | null;
  dryRun: boolean;
  /** Of a migration: the dry run that came before it. */
  dryRunId: string | null;
  state: 'running' | 'completed' | 'cancelled';
  /** How many leads it is about. */
  total: number;
  /** Leads by what became of them; `pending`: nothing yet. */
  results: Record<'pending' | 'moved' | 'refused' | 'ended' | 'already-there', number>;
  /** Leads that are moved, by what changes for them. */
  changes: Record<string, number>;
  /** Leads that are refused, by why. */
  refused: Record<string, number>;
  matching: MatchedVersion[];
  createdAt: Date;
  finishedAt: Date | null;
}

/** @throws Problem `not-found` */
export async function findMigration(db: Db, campaignId: string, migrationId: string): Promise<MigrationView> {
  const [view] = await views(db, sql<SqlBool>`m.campaign_id = ${campaignId} and m.id = ${migrationId}`, 1);
  if (view === undefined) throw noSuchMigration(migrationId);
  return view;
}

/** A campaign's migrations and dry runs, newest first. @param before the last of the page before */
export async function listMigrations(
  db: Db,
  campaignId: string,
  limit: number,
  before: { createdAt: Date; id: string } | null,
): Promise<MigrationView[]> {
  const older =
    before === null ? sql`true` : sql`(m.created_at, m.id) < (${before.createdAt}::timestamptz, ${before.id}::uuid)`;
  return await views(db, sql<SqlBool>`m.campaign_id = ${campaignId} and ${older}`, limit);
}

async function views(db: Db, which: ReturnType<typeof sql<SqlBool>>, limit: number): Promise<MigrationView[]> {
  const { rows } = await sql<Omit<MigrationView, 'results' | 'changes' | 'refused' | 'total'> & { alike: Alike[] }>`
    select m.id as "migrationId", m.campaign_id as "campaignId", m.to_version as "toVersion", m.from_version as "fromVersion",
           m.dry_run as "dryRun", m.dry_run_id as "dryRunId", m.state, m.matching, m.created_at as "createdAt",
           m.finished_at as "finishedAt",
           -- Once over its leads, of whom there may be a hundred thousand.
           (select coalesce(jsonb_agg(a), '[]') from (
              select coalesce(result, 'pending') as result, because, changes, count(*) as count from campaign_migration_lead
              where migration_id = m.id group by 1, 2, 3) a) as alike
    from campaign_migration m where ${which} order by m.created_at desc, m.id desc limit ${limit}`.execute(db);
  return rows.map(({ alike, ...row }) => ({ ...row, ...countsOf(alike) }));
}

/** How many leads of a migration share what became of them. */
interface Alike {
  result: keyof MigrationView['results'];
  because: string | null;
  changes: string[];
  count: number;
}

function countsOf(alike: readonly Alike[]): Pick<MigrationView, 'total' | 'results' | 'changes' | 'refused'> {
  const results = { pending: 0, moved: 0, refused: 0, ended: 0, 'already-there': 0 };
  const changes: Record<string, number> = {};
  const refused: Record<string, number> = {};
  let total = 0;
  for (const { result, because, changes: changed, count } of alike) {
    total += count;
    results[result] += count;
    for (const change of changed) changes[change] = (changes[change] ?? 0) + count;
    if (because !== null) refused[because] = (refused[because] ?? 0) + count;
  }
  return { total, results, changes, refused };
}

export interface MigratedLead {
  enrollmentId: string;
  leadId: string;
  /** Null: not looked at yet. */
  result: 'moved' | 'refused' | 'ended' | 'already-there' | null;
  because: string | null;
  changes: string[];
  detail: Record<string, unknown> | null;
  at: Date | null;
}

/** What becomes of each lead, by enrollment id. @param after the last of the page before @throws Problem `not-found` */
export async function listMigrated(
  db: Db,
  {
    campaignId,
    migrationId,
    result,
    change,
  }: { campaignId: string; migrationId: string; result?: string; change?: string },
  limit: number,
  after: string | null,
): Promise<MigratedLead[]> {
  const known = await db
    .selectFrom('campaign_migration')
    .select('id')
    .where('id', '=', migrationId)
    .where('campaign_id', '=', campaignId)
    .executeTakeFirst();
  if (known === undefined) throw noSuchMigration(migrationId);
  let query = db
    .selectFrom('campaign_migration_lead as m')
    .innerJoin('enrollment as e', 'e.id', 'm.enrollment_id')
    .select(['m.enrollment_id as enrollmentId', 'e.lead_id as leadId', 'm.result', 'm.because', 'm.changes'])
    .select(['m.detail', 'm.at'])
    .where('m.migration_id', '=', migrationId)
    .orderBy('m.enrollment_id')
    .limit(limit);
  if (after !== null) query = query.where('m.enrollment_id', '>', after);
  if (result !== undefined) {
    query = query.where((eb) =>
      result === 'pending'
        ? eb('m.result', 'is', null)
        : eb('m.result', '=', result as NonNullable<MigratedLead['result']>),
    );
  }
  if (change !== undefined) query = query.where(sql<SqlBool>`m.changes @> array[${change}]::text[]`);
  return await query.execute();
}
