import { type Kysely, sql } from 'kysely';

/** The spine: addresses, campaigns, leads, enrollments, the ledger of messages, imports, and what the API remembers. */
export async function up(db: Kysely<unknown>): Promise<void> {
  const statements = `
    -- One row for every address ever seen. Its suppression is a column because the claim locks this row: a separate
    -- table read beside the lock lets mail slip through (docs/architecture.md, "The claim").
    create table address (
      hash text primary key,
      suppressed_at timestamptz,
      suppressed_reason text check (suppressed_reason in ('objection', 'complaint')),
      undeliverable_at timestamptz,
      suppressed_campaigns uuid[] not null default '{}',
      created_at timestamptz not null default now(),
      check ((suppressed_at is null) = (suppressed_reason is null))
    );

    create table campaign (
      id uuid primary key,
      draft jsonb not null,
      latest_version int,
      paused_at timestamptz,
      cancelled_at timestamptz,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    );

    create table campaign_version (
      campaign_id uuid not null references campaign,
      version int not null,
      definition jsonb not null,
      steps jsonb not null,
      published_at timestamptz not null default now(),
      primary key (campaign_id, version)
    );

    create table lead (
      id uuid primary key,
      address_hash text not null unique references address,
      email text not null,
      name text not null default '',
      locale text,
      time_zone text,
      attributes jsonb not null default '{}',
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    );

    create table enrollment (
      id uuid primary key,
      campaign_id uuid not null references campaign,
      version int not null,
      lead_id uuid not null references lead,
      address_hash text not null references address,
      requested_at timestamptz not null,
      enrolled_at timestamptz not null default now(),
      agreed_at timestamptz,          -- consent to nudges: a column, because the claim locks this row
      step smallint not null default 0,
      next_due_at timestamptz not null,
      info_copies smallint not null default 0,
      info_due_at timestamptz,        -- a further copy of the initial information was asked for
      last_info_at timestamptz,
      outcome text check (outcome in ('purchased', 'replied', 'unsubscribed', 'bounced', 'complained', 'exhausted',
                                      'informed', 'cancelled', 'erased')),
      ended_at timestamptz,
      paused_at timestamptz,
      held_at timestamptz,            -- its journey was told to hold and waits for a wake
      fairness_key text not null,
      priority smallint not null default 3,
      started_at timestamptz,         -- its workflow was started
      signal_at timestamptz,          -- its workflow must be told that the row has changed
      leased_until timestamptz,       -- a reconciler is telling its workflow
      watched_until timestamptz,      -- the watchdog has looked at it, and will again after this
      foreign key (campaign_id, version) references campaign_version,
      check ((outcome is null) = (ended_at is null))
    );
    create unique index enrollment_open on enrollment (campaign_id, lead_id) where outcome is null;
    create index enrollment_lead on enrollment (lead_id);
    create index enrollment_address on enrollment (address_hash);
    create index enrollment_campaign on enrollment (campaign_id, id);
    create index enrollment_unstarted on enrollment (priority, enrolled_at) where started_at is null and outcome is null;
    create index enrollment_signal on enrollment (signal_at) where signal_at is not null;
    create index enrollment_due on enrollment (least(next_due_at, info_due_at)) where outcome is null;
    create index enrollment_held on enrollment (campaign_id) where held_at is not null;

    -- The ledger. A step is handed over at most once per enrollment; copy counts repeats of the initial information
    -- that the lead asked for.
    create table message (
      enrollment_id uuid not null references enrollment,
      step smallint not null,
      copy smallint not null default 0,
      message_id text not null,       -- unique by how it is made; an index of its own would make claims collide
      state text not null check (state in ('claimed', 'handing_over', 'accepted', 'rejected', 'deferred', 'unknown',
                                           'withdrawn')),
      token uuid not null,
      attempts int not null default 1,
      first_claimed_at timestamptz not null,
      claimed_at timestamptz not null,
      handing_over_at timestamptz,
      settled_at timestamptz,
      code text,
      provider_id text,
      primary key (enrollment_id, step, copy)
    );
    create index message_in_delivery on message (enrollment_id) where state in ('claimed', 'handing_over');
    create index message_provider on message (provider_id) where provider_id is not null;

    -- Evidence; rows are added and withdrawn, never changed.
    create table consent (
      id uuid primary key,
      lead_id uuid not null references lead,
      campaign_id uuid not null references campaign,
      enrollment_id uuid not null references enrollment,
      purpose text not null,
      text text not null,
      captured_at timestamptz not null,
      source text not null,
      ip inet,
      user_agent text,
      withdrawn_at timestamptz,
      created_at timestamptz not null default now()
    );
    create index consent_lead on consent (lead_id);
    create index consent_enrollment on consent (enrollment_id, captured_at);

    create table purchase (
      order_id text primary key,
      address_hash text not null,
      campaign_id uuid,
      purchased_at timestamptz not null,
      amount text,
      currency text,
      created_at timestamptz not null default now()
    );
    create index purchase_address on purchase (address_hash);

    -- What happened to a lead and why, also why a mail was not sent. Codes and ids only.
    create table event (
      id bigint generated always as identity primary key,
      at timestamptz not null,
      lead_id uuid not null references lead,
      enrollment_id uuid references enrollment,
      kind text not null,
      step smallint,
      detail jsonb not null default '{}'
    );
    create index event_lead on event (lead_id, id);

    create table lead_import (
      id uuid primary key,
      campaign_id uuid not null references campaign,
      purpose text not null,
      consent_text text not null,
      source text not null,
      mapping jsonb,
      time_zone text not null,
      encoding text not null,
      chunks int not null,            -- how many the file was cut into; gone once it is finished
      bytes bigint not null,
      state text not null default 'running' check (state in ('running', 'completed', 'failed')),
      last_line int not null default 0, -- the counts are those of the lines up to this one
      total int not null default 0,
      created int not null default 0,
      existing int not null default 0,
      rejected int not null default 0,
      warnings int not null default 0,
      failure text,
      created_at timestamptz not null default now(),
      started_at timestamptz,         -- its workflow was started
      progress_at timestamptz not null default now(),
      leased_until timestamptz,       -- a reconciler is starting it
      finished_at timestamptz,
      check ((state = 'running') = (finished_at is null)),
      check (total = created + existing + rejected)
    );
    create index lead_import_running on lead_import (created_at) where state = 'running';
    create index lead_import_campaign on lead_import (campaign_id, created_at, id);
    create table lead_import_chunk (
      import_id uuid not null,        -- no foreign key: chunks arrive before the import is accepted
      seq int not null,
      bytes bytea not null,
      created_at timestamptz not null default now(),
      primary key (import_id, seq)
    );
    create table lead_import_issue (
      import_id uuid not null references lead_import,
      line int not null,
      seq smallint not null,
      rejected boolean not null,
      "column" text,
      reason text not null,
      primary key (import_id, line, seq)
    );

    create table test_send (
      id uuid primary key,
      campaign_id uuid not null references campaign,
      version int,
      step smallint not null,
      address text,                   -- erased once it is sent
      lead jsonb,
      content jsonb,
      state text not null default 'queued' check (state in ('queued', 'accepted', 'refused')),
      code text,
      created_at timestamptz not null default now(),
      started_at timestamptz,
      leased_until timestamptz
    );

    create table idempotency (
      key text not null,
      scope text not null,            -- whose: the API key, as a hash
      fingerprint text not null,
      status smallint,
      body text,
      content_type text,
      created_at timestamptz not null default now(),
      primary key (key, scope)
    );
    create index idempotency_age on idempotency (created_at);
  `;
  await sql.raw(statements).execute(db);
}
