import { type Kysely, sql } from 'kysely';

/** Mail itself: limits, caps and pauses of the streams, transactional mail, what is received and what follows from it. */
export async function up(db: Kysely<unknown>): Promise<void> {
  const statements = `
    alter table enrollment
      add column slot_stream text,          -- the quota of this stream …
      add column slot_day date,             -- … holds a place for its next mail on this day (UTC)
      add column slot_taken boolean not null default false, -- an attempt is using it, and no further one counts again
      add column held_for text,             -- what its journey was told to hold for; see db/holds.ts
      add column review_since timestamptz,  -- an answer of theirs waits for a person: no mail until that is decided
      add column reopened_from uuid references enrollment;
    create index enrollment_held_for on enrollment (held_for) where held_for is not null;
    create index enrollment_slot on enrollment (slot_stream, slot_day) where slot_day is not null;

    alter table message
      add column report text check (report in ('delivered', 'delayed', 'bounced-soft', 'bounced-hard', 'complained')),
      add column report_code text,
      add column report_at timestamptz;
    -- Rates are counted over days; rows arrive in the order of time, so an index of ranges does and costs a claim nothing.
    create index message_settled on message using brin (settled_at);

    -- Delivery reports that say "not now"; enough of them over time make an address undeliverable.
    create table soft_bounce (
      address_hash text not null references address,
      enrollment_id uuid not null references enrollment,
      step smallint not null,
      at timestamptz not null,
      code text,
      primary key (address_hash, enrollment_id, step)
    );

    -- provider '*' stands for the whole stream, 'each' for every provider that has no row of its own.
    create table sending_limit (
      stream text not null check (stream in ('transactional', 'requested', 'marketing')),
      provider text not null,
      per_second double precision check (per_second > 0),
      per_day int check (per_day > 0),
      warm_up jsonb,
      updated_at timestamptz not null default now(),
      primary key (stream, provider)
    );
    -- How many places of a day are given away (used), and how many of those an attempt has made use of (taken); only where
    -- a cap is set. Days are UTC.
    create table sending_quota (
      stream text not null,
      provider text not null,
      day date not null,
      used int not null default 0,
      taken int not null default 0,
      primary key (stream, provider, day)
    );
    -- A stream (provider '*') or its mail to one provider is stopped by the circuit breaker or by hand.
    create table sending_pause (
      stream text not null check (stream in ('transactional', 'requested', 'marketing')),
      provider text not null,
      reason text not null,
      code text,
      paused_at timestamptz not null,
      probe_at timestamptz,                 -- one mail may try then; null: resumed by hand only
      probes int not null default 0,
      leased_until timestamptz,             -- a reconciler has sent somebody to try
      primary key (stream, provider)
    );
    -- What speaks against our sending: complaints, hard bounces, refusals of us. Codes only.
    create table sending_fault (
      id bigint generated always as identity primary key,
      at timestamptz not null,
      stream text not null,
      provider text not null,
      kind text not null,
      code text
    );
    create index sending_fault_of on sending_fault (stream, kind, at);
    -- What the breaker did and warned of, for operators.
    create table sending_alert (
      id bigint generated always as identity primary key,
      at timestamptz not null,
      stream text not null,
      provider text not null,
      kind text not null,
      reason text not null,
      detail jsonb not null default '{}',
      told_at timestamptz                   -- logged, and mailed to the operators
    );
    create index sending_alert_of on sending_alert (stream, provider, at);
    create index sending_alert_untold on sending_alert (id) where told_at is null;
    -- Complaint rates that a provider shows on a page of its own and that somebody has entered.
    create table complaint_rate (
      stream text not null,
      provider text not null,
      day date not null,
      rate double precision not null check (rate >= 0 and rate <= 1),
      entered_at timestamptz not null default now(),
      primary key (stream, provider, day)
    );

    create table transactional_template (
      name text primary key,
      definition jsonb not null,
      compiled jsonb not null,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    );
    -- Mail outside any journey, with a ledger of its own in its row: the shop's (invoices, orders), replies forwarded to
    -- salespeople, alerts to operators. Content and address are erased some time after it is settled.
    create table transactional (
      id uuid primary key,
      kind text not null check (kind in ('shop', 'forward', 'alert')),
      template text,
      email text,
      address_hash text,
      content jsonb,
      inbound_id uuid,
      fairness_key text not null,
      priority smallint not null default 1,
      state text not null default 'queued' check (state in ('queued', 'claimed', 'handing_over', 'accepted', 'rejected',
                                                            'deferred', 'unknown')),
      token uuid,
      attempts int not null default 0,      -- how often its recipient's server has put it off
      not_before timestamptz,               -- while queued: no try before this
      message_id text,
      first_claimed_at timestamptz,
      handing_over_at timestamptz,
      settled_at timestamptz,
      code text,
      provider_id text,
      report text,
      report_code text,
      report_at timestamptz,
      slot_day date,
      slot_taken boolean not null default false,
      created_at timestamptz not null default now(),
      started_at timestamptz,
      leased_until timestamptz
    );
    create index transactional_unsettled on transactional (priority, created_at)
      where state in ('queued', 'claimed', 'handing_over');
    create index transactional_provider on transactional (provider_id) where provider_id is not null;
    create index transactional_settled on transactional (settled_at) where email is not null;
    create table transactional_attachment (
      transactional_id uuid not null references transactional on delete cascade,
      seq smallint not null,
      filename text not null,
      content_type text not null,
      content_id text,
      bytes bytea not null,
      primary key (transactional_id, seq)
    );

    -- Everything that was received. The row is its own outbox: it is written first, understood and acted upon afterwards.
    create table inbound (
      id uuid primary key,
      source text not null,                 -- imap:<mailbox>, pipe, webhook:<provider>
      folder text,
      uidvalidity bigint,
      uid bigint,
      external_id text,                     -- a provider's own id of its event
      sha256 bytea not null,
      received_at timestamptz not null,
      bytes int not null,                   -- as it came; raw may have been cut
      raw bytea,
      envelope jsonb,                       -- {sender, recipient}, where an MTA told
      event jsonb,                          -- what a provider told, in place of raw (domain/inbound.ts, ProviderEvent)
      state text not null default 'new' check (state in ('new', 'done', 'failed')),
      attempts int not null default 0,
      next_at timestamptz not null default now(),
      leased_until timestamptz,
      failure text,
      message_id text,                      -- its own Message-ID
      summary jsonb,                        -- who wrote it, its subject and how it begins; erased with raw
      kind text,
      subtype text,
      classification jsonb,
      mail_kind text,                       -- 'enrollment' or 'transactional': which ledger holds the mail it speaks of
      enrollment_id uuid references enrollment,
      lead_id uuid references lead,
      transactional_id uuid references transactional,
      step smallint,
      matched_by text,
      proven boolean not null default false, -- by a token that we signed, or by a provider's signature
      needs_review boolean not null default false,
      review_until timestamptz,             -- nobody having decided by then, it counts as a reply
      decided_at timestamptz,
      decided_kind text,
      actions jsonb not null default '[]',  -- what followed from it: codes and ids
      duplicate_of uuid,
      processed_at timestamptz,
      unique nulls distinct (source, folder, uidvalidity, uid),
      unique (source, sha256),
      unique nulls distinct (source, external_id)
    );
    create index inbound_new on inbound (next_at) where state = 'new';
    create index inbound_review on inbound (review_until) where needs_review and decided_at is null;
    create index inbound_enrollment on inbound (enrollment_id) where enrollment_id is not null;
    create index inbound_received on inbound (received_at, id);
    create index inbound_message_id on inbound (message_id) where message_id is not null;
    create index inbound_kept on inbound (received_at) where raw is not null or event is not null or summary is not null;

    -- How far a folder of a mailbox has been read; moved on in the transaction that keeps the message.
    create table mailbox_place (
      mailbox text not null,
      folder text not null,
      uidvalidity bigint not null,
      last_uid bigint not null,
      last_internal_date timestamptz,
      updated_at timestamptz not null default now(),
      primary key (mailbox, folder)
    );

    -- What somebody asked of their data, and until when it is due.
    create table privacy_request (
      id uuid primary key,
      inbound_id uuid not null references inbound,
      lead_id uuid references lead,
      enrollment_id uuid references enrollment,
      kind text not null check (kind in ('erasure', 'access', 'objection', 'rectification')),
      received_at timestamptz not null,
      due_at timestamptz not null,
      done_at timestamptz,
      unique (inbound_id, kind)
    );
    create index privacy_request_open on privacy_request (due_at) where done_at is null;
  `;
  await sql.raw(statements).execute(db);
}
