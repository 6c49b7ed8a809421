import { type Kysely, sql } from 'kysely';
import { chainEvidence } from '../../domain/evidence';

/**
 * People and their rights: evidence of consents, forms and double opt-in, erasure and what is sealed of it, suppressions and
 * who lifted them, keys and staff, webhooks, buyers and referrals.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const statements = `
    alter table address
      add column excluded_at timestamptz,   -- on an exclusion list: no mail that rests on a soft opt-in
      -- Marketing mail claimed of late, as {"<enrollment>/<step>": time}; kept only where a frequency cap is set.
      add column recent_marketing jsonb not null default '{}';

    -- Every suppression there ever was, and who lifted it. The columns of address are what holds now.
    create table suppression (
      id uuid primary key,
      address_hash text not null,           -- no reference: it outlives everything else about the person
      kind text not null check (kind in ('objection', 'complaint', 'undeliverable', 'campaign')),
      campaign_id uuid,
      since timestamptz not null,
      by text not null,                     -- how it came about, as a code: page, one-click, reply, api, smtp …
      lifted_at timestamptz,
      lifted_by text check (lifted_by in ('person', 'privacy', 'proof-of-life')),
      lifted_because text,
      check ((lifted_at is null) = (lifted_by is null))
    );
    create index suppression_address on suppression (address_hash);
    insert into suppression (id, address_hash, kind, campaign_id, since, by)
      select gen_random_uuid(), hash, suppressed_reason, null::uuid, suppressed_at, 'before' from address where suppressed_at is not null
      union all
      select gen_random_uuid(), hash, 'undeliverable', null, undeliverable_at, 'before' from address where undeliverable_at is not null
      union all
      select gen_random_uuid(), hash, 'campaign', c, now(), 'before' from address, unnest(suppressed_campaigns) c;

    -- A lead that was erased keeps its row, without anything of the person, so that counts stay what they were.
    alter table lead
      alter column address_hash drop not null,
      alter column email drop not null,
      add column erased_at timestamptz;
    alter table enrollment
      alter column address_hash drop not null,
      add column journey text not null default 'lead' check (journey in ('lead', 'buyer')),
      add column order_id text,             -- of a buyer's journey: what was bought
      add column basis text check (basis in ('consent', 'soft-opt-in')), -- what its marketing mail rests on
      add column source jsonb,              -- form, page and UTM parameters that the request came with
      add column referral_code text;        -- whose link they came by
    drop index enrollment_open;
    create unique index enrollment_open on enrollment (campaign_id, lead_id, journey) where outcome is null;
    create index enrollment_order on enrollment (order_id) where order_id is not null;
    create index enrollment_referral on enrollment (referral_code) where referral_code is not null;
    create index enrollment_ended on enrollment (ended_at) where ended_at is not null;
    create index lead_erased on lead (erased_at) where erased_at is not null;
    -- Whom a received message names, as fingerprints of their addresses (domain/mentions.ts), for as long as its text is kept.
    alter table inbound
      add column mentions bigint[],
      add column erase_when_done boolean not null default false;
    create index inbound_mentions on inbound using gin (mentions) where mentions is not null;
    create index inbound_unread on inbound (id) where raw is not null and mentions is null;
    create index inbound_lead on inbound (lead_id) where lead_id is not null;
    -- By which a person is found who is to be erased.
    create index transactional_address on transactional (address_hash) where address_hash is not null;
    create index transactional_email on transactional (lower(email)) where email is not null;
    create index transactional_inbound on transactional (inbound_id) where inbound_id is not null;
    create index transactional_content on transactional (id) where content is not null;
    create index lead_import_issue_named on lead_import_issue (import_id) where reason like '%.%';
    alter table campaign_version add column after_purchase jsonb; -- its mails to buyers, compiled
    update enrollment set basis = 'consent' where agreed_at is not null;

    alter table consent add column text_version text;
    alter table lead_import add column sha256 text; -- of the file, hex: the file itself is not kept
    -- Append-only, and each entry of a lead holds the hash of the one before (docs/privacy.md, "Evidence").
    create table evidence (
      lead_id uuid not null references lead,
      seq int not null,
      body text not null,                   -- canonical JSON: the very bytes that are hashed
      hash text not null,
      primary key (lead_id, seq)
    );
    create function keep_evidence() returns trigger language plpgsql as $$
      begin
        -- Erasure alone says that it is one, within its transaction: db/evidence.ts, removeEvidence.
        if tg_op = 'DELETE' and current_setting('recuerda.erasing', true) = 'on' then return old; end if;
        raise exception 'evidence is append-only' using errcode = 'integrity_constraint_violation';
      end $$;
    create trigger evidence_kept before update or delete on evidence for each row execute function keep_evidence();
    create trigger evidence_kept_whole before truncate on evidence for each statement execute function keep_evidence();
    -- What must be kept to defend a claim, readable only with a key that is on none of our machines.
    create table sealed_evidence (
      id uuid primary key,
      address_hash text not null,
      sealed bytea not null,
      sealed_at timestamptz not null,
      destroy_at timestamptz not null
    );
    create index sealed_evidence_address on sealed_evidence (address_hash);
    create index sealed_evidence_due on sealed_evidence (destroy_at);

    create table form (
      id uuid primary key,
      campaign_id uuid not null references campaign,
      version int not null,
      disabled_at timestamptz,
      created_at timestamptz not null default now()
    );
    create index form_campaign on form (campaign_id);
    create table form_version (
      form_id uuid not null references form,
      version int not null,
      definition jsonb not null,
      created_at timestamptz not null default now(),
      primary key (form_id, version)
    );
    -- What somebody sent by a form and has not confirmed yet; the person's data goes with it once that is decided.
    create table form_request (
      id uuid primary key,
      form_id uuid references form,
      form_version int,
      campaign_id uuid not null references campaign,
      address_hash text not null,           -- empty once it is nobody's any more
      content jsonb,                        -- email, name, locale, fields, consents, source, IP, user agent; erased in the end
      purpose text not null check (purpose in ('opt-in', 'lift')),
      state text not null default 'pending' check (state in ('pending', 'confirmed', 'expired', 'withdrawn')),
      requested_at timestamptz not null,
      expires_at timestamptz not null,
      remind_at timestamptz,
      ended_at timestamptz,
      mail_id uuid,                         -- of transactional
      reminder_id uuid,
      enrollment_id uuid references enrollment,
      started_at timestamptz,
      signal_at timestamptz,
      leased_until timestamptz,
      check ((state = 'pending') = (ended_at is null))
    );
    create index form_request_address on form_request (address_hash, requested_at);
    create index form_request_unstarted on form_request (requested_at) where started_at is null and state = 'pending';
    create index form_request_signal on form_request (signal_at) where signal_at is not null;
    create index form_request_kept on form_request (expires_at) where content is not null;
    create index form_request_pending on form_request (expires_at) where state = 'pending';
    create index form_request_known on form_request (expires_at) where address_hash <> '';

    -- Mail to people outside any journey that speaks for the forms, never for the invoices.
    alter table transactional
      add column stream text not null default 'transactional' check (stream in ('transactional', 'requested')),
      add column erase_when_settled boolean not null default false,
      drop constraint transactional_kind_check,
      add constraint transactional_kind_check check (kind in ('shop', 'forward', 'alert', 'confirmation', 'link'));
    drop index transactional_settled;
    create index transactional_settled on transactional (settled_at) where email is not null or address_hash is not null;

    -- A fresh link, mailed to the address on file, that proves who asks for export or erasure.
    create table privacy_link (
      id uuid primary key,
      lead_id uuid not null references lead,
      kind text not null check (kind in ('access', 'erasure')),
      request_id uuid not null references privacy_request,
      created_at timestamptz not null,
      expires_at timestamptz not null,
      used_at timestamptz
    );
    create index privacy_link_lead on privacy_link (lead_id);
    alter table privacy_request
      alter column inbound_id drop not null,
      add column source text not null default 'mail' check (source in ('mail', 'page', 'api')),
      add column answer text check (answer in ('done', 'refused', 'not-confirmed')),
      add column because text;              -- why it was refused, as a code
    create index privacy_request_lead on privacy_request (lead_id) where lead_id is not null;

    -- What the journal outside Postgres has not been told yet.
    create table journal_outbox (
      id uuid primary key,
      seq bigint generated always as identity,
      entry jsonb not null
    );
    create index journal_outbox_seq on journal_outbox (seq);

    create table api_key (
      id uuid primary key,
      name text not null,
      prefix text not null,                 -- its beginning, to tell keys apart by
      hash bytea not null unique,
      scopes text[] not null,
      created_at timestamptz not null,
      created_by text not null,
      last_used_at timestamptz,
      revoked_at timestamptz
    );
    create table staff_user (
      id uuid primary key,
      email text not null unique,
      name text not null default '',
      password_hash text not null,
      roles text[] not null,
      created_at timestamptz not null,
      changed_at timestamptz not null,      -- sessions from before its password changed are over
      disabled_at timestamptz
    );
    create table staff_session (
      hash bytea primary key,
      user_id uuid not null references staff_user on delete cascade,
      created_at timestamptz not null,
      last_used_at timestamptz not null,
      expires_at timestamptz not null
    );
    create index staff_session_user on staff_session (user_id);
    create index staff_session_expiry on staff_session (expires_at);
    -- Who changed what. Ids and codes; nothing of a lead.
    create table audit (
      id bigint generated always as identity primary key,
      at timestamptz not null,
      actor_kind text not null check (actor_kind in ('key', 'user', 'cli', 'system')),
      actor text not null,
      action text not null,
      target text,
      detail jsonb not null default '{}'
    );
    create index audit_at on audit (at);
    -- How often something was tried within a stretch of time; buckets are keyed hashes.
    create table throttle (
      bucket text not null,
      window_start timestamptz not null,
      hits int not null,
      primary key (bucket, window_start)
    );
    create index throttle_age on throttle (window_start);

    alter table purchase
      alter column address_hash drop not null,
      add column products text[],
      add column soft_opt_in jsonb,
      add column enrollment_id uuid references enrollment; -- the buyer's journey that it began
    create table refund (
      order_id text primary key,
      refunded_at timestamptz not null,
      created_at timestamptz not null default now()
    );
    -- What a shop calls one and the same order: payment, invoice, checkout. Later events know only some of these.
    create table order_name (
      name text primary key,
      order_id text not null                -- the one that purchase and refund are kept under
    );
    -- People who want no advertising from anybody (Lista Robinson), as SHA-256 of the address in lower case.
    create table exclusion_list (
      id uuid primary key,
      name text not null,
      entries int not null default 0,
      created_at timestamptz not null default now(),
      imported_at timestamptz,              -- null while it arrives, and once another has taken its place
      applied_at timestamptz                -- when the addresses that it is about were found
    );
    create unique index exclusion_list_name on exclusion_list (name) where imported_at is not null;
    create table exclusion (
      list uuid not null references exclusion_list,
      hash bytea not null,
      primary key (list, hash)
    );

    create table referral_link (
      code text primary key,
      campaign_id uuid not null references campaign,
      lead_id uuid not null references lead,
      enrollment_id uuid not null references enrollment, -- the buyer's journey that gave it out
      created_at timestamptz not null,
      unique (enrollment_id)
    );
    create index referral_link_lead on referral_link (lead_id);
    create index referral_link_campaign on referral_link (campaign_id);

    -- Events of a provider or a shop that were taken already.
    create table webhook_seen (
      source text not null,
      event_id text not null,
      received_at timestamptz not null,
      primary key (source, event_id)
    );
    create index webhook_seen_age on webhook_seen (received_at);
    create table webhook_endpoint (
      id uuid primary key,
      url text not null,
      events text[] not null,
      description text not null default '',
      secret_version int not null default 1, -- the secret itself is derived, and kept nowhere
      signs_from int not null default 1,    -- the oldest version that signs too, for a day after the last rotation
      rotated_at timestamptz,
      disabled_at timestamptz,
      disabled_because text,
      created_at timestamptz not null
    );
    create table webhook_delivery (
      id uuid primary key default gen_random_uuid(),
      endpoint_id uuid not null,            -- no reference: an endpoint that is just being deleted must stop no mail
      type text not null,
      payload jsonb not null,               -- ids and codes
      created_at timestamptz not null default now(),
      tried_since timestamptz not null default now(), -- a retry by hand begins anew
      state text not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
      attempts int not null default 0,
      next_at timestamptz not null default now(),
      leased_until timestamptz,
      status smallint,                      -- of the last answer
      failure text,
      finished_at timestamptz
    );
    create index webhook_delivery_due on webhook_delivery (endpoint_id, next_at) where state = 'pending';
    create index webhook_delivery_endpoint on webhook_delivery (endpoint_id, created_at);
    create index webhook_delivery_finished on webhook_delivery (finished_at) where finished_at is not null;

    -- What other systems are told of what is written on a timeline (domain/webhook-events.ts lists the types); null: nothing.
    create function webhook_type(kind text, detail jsonb) returns text language sql immutable parallel safe as $$
      select case kind
        when 'enrolled' then 'enrollment.created'
        when 'ended' then 'enrollment.ended'
        when 'reopened' then case when detail ? 'from' then 'enrollment.reopened' end
        when 'received' then
          case when detail->>'kind' = 'reply' and detail->>'duplicateOf' is null then 'lead.replied' end
        when 'review-decided' then
          case when detail->>'kind' = 'reply' and detail->>'was' is distinct from 'reply' then 'lead.replied' end
        when 'message-accepted' then 'message.sent'
        when 'message-rejected' then 'message.rejected'
        when 'message-unknown' then 'message.unknown'
        when 'message-reported' then case
          when detail->>'report' in ('bounced-soft', 'bounced-hard') then 'message.bounced'
          when detail->>'report' = 'complained' then 'message.complained'
          when detail->>'report' = 'delivered' then 'message.delivered' end
        when 'suppressed' then 'lead.suppressed'
        when 'suppression-lifted' then 'lead.suppression-lifted'
        when 'confirmed' then 'lead.confirmed'
        when 'privacy-request' then 'privacy.requested'
        when 'erased' then 'lead.erased'
        when 'refunded' then 'order.refunded'
      end
    $$;
    -- Of what is written there: numbers, and texts that are ids or codes by their looks (never an address).
    create function webhook_data(detail jsonb) returns jsonb language sql immutable parallel safe as $$
      select coalesce(jsonb_object_agg(key, value), '{}') from jsonb_each(detail)
      where key = any('{outcome,by,via,code,copy,report,reason,request,requestId,inboundId,campaignId,orderId,from,journey}')
        and (jsonb_typeof(value) in ('number', 'boolean')
          or jsonb_typeof(value) = 'string' and value #>> '{}' ~ '^[[:alnum:] ._:#/+-]{1,200}$')
    $$;
    -- For each statement and not for each row: where nobody listens, a mail must cost what it cost before.
    create function queue_webhooks() returns trigger language plpgsql as $$
    begin
      if exists (select from webhook_endpoint where disabled_at is null) then
        insert into webhook_delivery (endpoint_id, type, payload)
        select w.id, t.type, jsonb_build_object(
          'type', t.type,
          'timestamp', to_char(f.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
          'data', jsonb_build_object('campaignId', e.campaign_id) || webhook_data(f.detail) ||
            jsonb_build_object('leadId', f.lead_id, 'enrollmentId', f.enrollment_id, 'step', f.step))
        from fresh f
        cross join lateral (select webhook_type(f.kind, f.detail) as type) t
        left join enrollment e on e.id = f.enrollment_id
        join webhook_endpoint w on w.disabled_at is null and w.events && array[t.type, '*']
        where t.type is not null
        order by f.id;
      end if;
      return null;
    end
    $$;
    create trigger event_webhooks after insert on event referencing new table as fresh
      for each statement execute function queue_webhooks();
  `;
  await sql.raw(statements).execute(db);
  await chainEarlierConsents(db);
}

/** Consents from before there was a chain are its first entries. */
async function chainEarlierConsents(db: Kysely<unknown>): Promise<void> {
  const { rows } = await sql<EarlierConsent>`
    select lead_id, campaign_id, enrollment_id, purpose, text, captured_at, source, host(ip) as ip, user_agent, withdrawn_at
    from consent order by lead_id, captured_at, id`.execute(db);
  const byLead = new Map<string, EarlierConsent[]>();
  for (const row of rows) byLead.set(row.lead_id, [...(byLead.get(row.lead_id) ?? []), row]);
  for (const [leadId, consents] of byLead) {
    const entries = consents.flatMap((one) => [
      {
        kind: 'consent' as const,
        at: one.captured_at,
        detail: {
          campaignId: one.campaign_id,
          enrollmentId: one.enrollment_id,
          purpose: one.purpose,
          text: one.text,
          textVersion: null,
          source: one.source,
          ip: one.ip,
          userAgent: one.user_agent,
        },
      },
      ...(one.withdrawn_at === null
        ? []
        : [
            {
              kind: 'withdrawn' as const,
              at: one.withdrawn_at,
              detail: { by: 'before', campaignId: one.campaign_id, scope: 'campaign' },
            },
          ]),
    ]);
    for (const { seq, body, hash } of chainEvidence(leadId, null, entries)) {
      await sql`insert into evidence (lead_id, seq, body, hash) values (${leadId}, ${seq}, ${body}, ${hash})`.execute(
        db,
      );
    }
  }
}

interface EarlierConsent {
  lead_id: string;
  campaign_id: string;
  enrollment_id: string;
  purpose: string;
  text: string;
  captured_at: Date;
  source: string;
  ip: string | null;
  user_agent: string | null;
  withdrawn_at: Date | null;
}
