import { type Kysely, sql } from 'kysely';

/** Moving running leads to another version of their campaign. */
export async function up(db: Kysely<unknown>): Promise<void> {
  const statements = `
    alter table enrollment
      -- Which step of which version each position is (domain/plan.ts); null where it was never moved: position n is step n.
      add column plan jsonb,
      -- How often it was moved: the claim refuses who has looked at it before the last time.
      add column moves smallint not null default 0;

    create table campaign_migration (
      id uuid primary key,
      campaign_id uuid not null references campaign,
      to_version int not null,
      from_version int,                     -- only leads of this one; null: of all
      given jsonb not null default '{}',    -- what became of steps of from_version: {"3": 4, "5": null}
      matching jsonb not null,              -- for people: which steps were taken for the same mail
      names_source boolean not null,        -- the information of to_version may go to imported people
      dry_run boolean not null,
      dry_run_id uuid references campaign_migration, -- the one that was looked at before
      latest_version int not null,          -- of the campaign, at that moment
      state text not null default 'running' check (state in ('running', 'completed', 'cancelled')),
      created_at timestamptz not null,
      finished_at timestamptz,
      check (dry_run = (dry_run_id is null)),
      foreign key (campaign_id, to_version) references campaign_version (campaign_id, version)
    );
    create index campaign_migration_newest on campaign_migration (campaign_id, created_at desc, id desc);
    create index campaign_migration_running on campaign_migration (created_at) where state = 'running';
    create unique index campaign_migration_alone on campaign_migration (campaign_id) where state = 'running' and not dry_run;
    create unique index campaign_migration_once on campaign_migration (dry_run_id) where dry_run_id is not null;

    -- Whom it is about, and what became of each. Ids and codes only.
    create table campaign_migration_lead (
      migration_id uuid not null references campaign_migration on delete cascade,
      enrollment_id uuid not null references enrollment on delete cascade,
      not_before timestamptz,               -- a mail of theirs was on its way: look again then
      result text check (result in ('moved', 'refused', 'ended', 'already-there')), -- null: not yet
      because text,
      changes text[] not null default '{}',
      detail jsonb,
      at timestamptz,
      primary key (migration_id, enrollment_id)
    );
    create index campaign_migration_lead_open on campaign_migration_lead (migration_id, enrollment_id) where result is null;
    create index campaign_migration_lead_enrollment on campaign_migration_lead (enrollment_id);
  `;
  await sql.raw(statements).execute(db);
}
