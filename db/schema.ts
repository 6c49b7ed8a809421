import type { ColumnType, Generated, JSONColumnType } from 'kysely';
import type { CampaignDefinition, CampaignDraft, CompiledStep } from '../domain/campaign';
import type { Outcome } from '../domain/outcomes';

type Defaulted<T> = ColumnType<T, T | undefined, T>;

/** Where a message of the ledger stands (docs/architecture.md, "The ledger"). */
export type MessageState = 'claimed' | 'handing_over' | 'accepted' | 'rejected' | 'deferred' | 'unknown' | 'withdrawn';

export interface AddressTable {
  hash: string;
  suppressed_at: Date | null;
  suppressed_reason: 'objection' | 'complaint' | null;
  undeliverable_at: Date | null;
  suppressed_campaigns: Defaulted<string[]>;
  created_at: Generated<Date>;
}

export interface CampaignTable {
  id: string;
  draft: JSONColumnType<CampaignDraft>;
  latest_version: number | null;
  paused_at: Date | null;
  cancelled_at: Date | null;
  created_at: Generated<Date>;
  updated_at: Defaulted<Date>;
}

export interface CampaignVersionTable {
  campaign_id: string;
  version: number;
  definition: JSONColumnType<CampaignDefinition>;
  steps: JSONColumnType<CompiledStep[]>;
  published_at: Generated<Date>;
}

export interface LeadTable {
  id: string;
  address_hash: string;
  email: string;
  name: Defaulted<string>;
  locale: string | null;
  time_zone: string | null;
  attributes: JSONColumnType<Record<string, unknown>>;
  created_at: Generated<Date>;
  updated_at: Defaulted<Date>;
}

export interface EnrollmentTable {
  id: string;
  campaign_id: string;
  version: number;
  lead_id: string;
  address_hash: string;
  requested_at: Date;
  enrolled_at: Defaulted<Date>;
  agreed_at: Date | null;
  step: Defaulted<number>;
  next_due_at: Date;
  info_copies: Defaulted<number>;
  info_due_at: Date | null;
  last_info_at: Date | null;
  outcome: Outcome | null;
  ended_at: Date | null;
  paused_at: Date | null;
  held_at: Date | null;
  fairness_key: string;
  priority: Defaulted<number>;
  started_at: Date | null;
  signal_at: Date | null;
  leased_until: Date | null;
  watched_until: Date | null;
}

export interface MessageTable {
  enrollment_id: string;
  step: number;
  copy: Defaulted<number>;
  message_id: string;
  state: MessageState;
  token: string;
  attempts: Defaulted<number>;
  first_claimed_at: Date;
  claimed_at: Date;
  handing_over_at: Date | null;
  settled_at: Date | null;
  code: string | null;
  provider_id: string | null;
}

export interface ConsentTable {
  id: string;
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
  created_at: Generated<Date>;
}

export interface PurchaseTable {
  order_id: string;
  address_hash: string;
  campaign_id: string | null;
  purchased_at: Date;
  amount: string | null;
  currency: string | null;
  created_at: Generated<Date>;
}

export interface EventTable {
  id: Generated<string>;
  at: Date;
  lead_id: string;
  enrollment_id: string | null;
  kind: string;
  step: number | null;
  detail: JSONColumnType<Record<string, unknown>>;
}

export interface LeadImportTable {
  id: string;
  campaign_id: string;
  purpose: string;
  consent_text: string;
  source: string;
  mapping: JSONColumnType<Record<string, string>> | null;
  time_zone: string;
  encoding: string;
  chunks: number;
  bytes: ColumnType<string, number, number>;
  state: Defaulted<'running' | 'completed' | 'failed'>;
  last_line: Defaulted<number>;
  total: Defaulted<number>;
  created: Defaulted<number>;
  existing: Defaulted<number>;
  rejected: Defaulted<number>;
  warnings: Defaulted<number>;
  failure: string | null;
  created_at: Generated<Date>;
  started_at: Date | null;
  progress_at: Defaulted<Date>;
  leased_until: Date | null;
  finished_at: Date | null;
}

export interface LeadImportChunkTable {
  import_id: string;
  seq: number;
  bytes: Buffer;
  created_at: Generated<Date>;
}

export interface LeadImportIssueTable {
  import_id: string;
  line: number;
  seq: number;
  rejected: boolean;
  column: string | null;
  reason: string;
}

export interface TestSendTable {
  id: string;
  campaign_id: string;
  version: number | null;
  step: number;
  address: string | null;
  lead: JSONColumnType<Record<string, unknown>> | null;
  content: JSONColumnType<Record<string, unknown>> | null;
  state: Defaulted<'queued' | 'accepted' | 'refused'>;
  code: string | null;
  created_at: Generated<Date>;
  started_at: Date | null;
  leased_until: Date | null;
}

export interface IdempotencyTable {
  key: string;
  scope: string;
  fingerprint: string;
  status: number | null;
  body: string | null;
  content_type: string | null;
  created_at: Generated<Date>;
}

export interface Database {
  address: AddressTable;
  campaign: CampaignTable;
  campaign_version: CampaignVersionTable;
  lead: LeadTable;
  enrollment: EnrollmentTable;
  message: MessageTable;
  consent: ConsentTable;
  purchase: PurchaseTable;
  event: EventTable;
  lead_import: LeadImportTable;
  lead_import_chunk: LeadImportChunkTable;
  lead_import_issue: LeadImportIssueTable;
  test_send: TestSendTable;
  idempotency: IdempotencyTable;
}
