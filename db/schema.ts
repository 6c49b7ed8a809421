import type { ColumnType, Generated, JSONColumnType } from 'kysely';
import type { CampaignDefinition, CampaignDraft, CompiledStep } from '../domain/campaign';
import type { Purpose, SoftOptIn } from '../domain/consent';
import type { FormDefinition } from '../domain/form';
import type { Classification, InboundKind, MatchedBy, ProviderEvent, RequestKind } from '../domain/inbound';
import type { ReportKind } from '../domain/inbound-actions';
import type { JourneyKind } from '../domain/journeys';
import type { Outcome } from '../domain/outcomes';
import type { Plan } from '../domain/plan';
import type { Scope } from '../domain/scopes';
import type { StepMatching } from '../domain/step-matching';
import type { Stream } from '../domain/streams';
import type { JournalEntry } from './journal';

type Defaulted<T> = ColumnType<T, T | undefined, T>;

/** Where a message of the ledger stands (docs/architecture.md, "The ledger"). */
export type MessageState = 'claimed' | 'handing_over' | 'accepted' | 'rejected' | 'deferred' | 'unknown' | 'withdrawn';

export interface AddressTable {
  hash: string;
  suppressed_at: Date | null;
  suppressed_reason: 'objection' | 'complaint' | null;
  undeliverable_at: Date | null;
  suppressed_campaigns: Defaulted<string[]>;
  /** On an exclusion list: no mail that rests on a soft opt-in. */
  excluded_at: Defaulted<Date | null>;
  /** Marketing mail claimed of late: `<enrollment>/<step>` → ISO 8601. */
  recent_marketing: JSONColumnType<Record<string, string>, string | undefined, string>;
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
  /** Its mails to buyers. */
  after_purchase: JSONColumnType<CompiledStep[]> | null;
  published_at: Generated<Date>;
}

export interface LeadTable {
  id: string;
  /** Null once erased. */
  address_hash: string | null;
  /** Null once erased. */
  email: string | null;
  name: Defaulted<string>;
  locale: string | null;
  time_zone: string | null;
  attributes: JSONColumnType<Record<string, unknown>>;
  created_at: Generated<Date>;
  updated_at: Defaulted<Date>;
  erased_at: Defaulted<Date | null>;
}

/** What marketing mail to somebody rests on. */
export type MarketingBasis = 'consent' | 'soft-opt-in';

export interface EnrollmentTable {
  id: string;
  campaign_id: string;
  version: number;
  lead_id: string;
  /** Null once the lead was erased. */
  address_hash: string | null;
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
  slot_stream: Defaulted<Stream | null>;
  slot_day: Defaulted<string | null>;
  slot_taken: Defaulted<boolean>;
  held_for: Defaulted<string | null>;
  review_since: Defaulted<Date | null>;
  reopened_from: Defaulted<string | null>;
  journey: Defaulted<JourneyKind>;
  order_id: Defaulted<string | null>;
  basis: Defaulted<MarketingBasis | null>;
  source: JSONColumnType<RequestSource> | null;
  referral_code: Defaulted<string | null>;
  /** What its positions are; null where it was never moved to another version. */
  plan: JSONColumnType<Plan> | null;
  /** How often it was moved to another version. */
  moves: Defaulted<number>;
}

/** Moving running leads to another version, or a dry run of it. */
export interface CampaignMigrationTable {
  id: string;
  campaign_id: string;
  to_version: number;
  from_version: number | null;
  /** What became of steps of `from_version`, as its author says. */
  given: JSONColumnType<Record<string, number | null>>;
  matching: JSONColumnType<MatchedVersion[]>;
  names_source: boolean;
  dry_run: boolean;
  dry_run_id: string | null;
  latest_version: number;
  state: Defaulted<'running' | 'completed' | 'cancelled'>;
  created_at: Date;
  finished_at: Defaulted<Date | null>;
}

/** Which steps of a version were taken for which of the new one. */
export type MatchedVersion = { fromVersion: number } & Pick<StepMatching, 'pairs' | 'deleted' | 'added'>;

export interface CampaignMigrationLeadTable {
  migration_id: string;
  enrollment_id: string;
  not_before: Defaulted<Date | null>;
  result: Defaulted<'moved' | 'refused' | 'ended' | 'already-there' | null>;
  because: Defaulted<string | null>;
  changes: Defaulted<string[]>;
  detail: JSONColumnType<Record<string, unknown>> | null;
  at: Defaulted<Date | null>;
}

/** Where a request came from: how people found the shop, as far as its pages told. */
export interface RequestSource {
  formId?: string;
  page?: string;
  referrer?: string;
  /** `source`, `medium`, `campaign`, `term`, `content`. */
  utm?: Record<string, string>;
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
  report: Defaulted<MessageReport | null>;
  report_code: Defaulted<string | null>;
  report_at: Defaulted<Date | null>;
}

/** What was heard of a message after the mail server had taken it. */
export type MessageReport = ReportKind;

export interface SoftBounceTable {
  address_hash: string;
  enrollment_id: string;
  step: number;
  at: Date;
  code: string | null;
}

export interface SendingLimitTable {
  stream: Stream;
  /** `*`: the whole stream; `each`: every provider that has no row of its own. */
  provider: string;
  per_second: number | null;
  per_day: number | null;
  warm_up: JSONColumnType<Record<string, unknown>> | null;
  updated_at: Defaulted<Date>;
}

export interface SendingQuotaTable {
  stream: Stream;
  provider: string;
  /** `YYYY-MM-DD`, UTC. */
  day: string;
  used: Defaulted<number>;
  taken: Defaulted<number>;
}

export interface SendingPauseTable {
  stream: Stream;
  provider: string;
  reason: string;
  code: string | null;
  paused_at: Date;
  probe_at: Date | null;
  probes: Defaulted<number>;
  leased_until: Defaulted<Date | null>;
}

export interface SendingFaultTable {
  id: Generated<string>;
  at: Date;
  stream: Stream;
  provider: string;
  kind: string;
  code: string | null;
}

export interface SendingAlertTable {
  id: Generated<string>;
  at: Date;
  stream: Stream;
  provider: string;
  kind: string;
  reason: string;
  detail: JSONColumnType<Record<string, unknown>>;
  told_at: Defaulted<Date | null>;
}

export interface ComplaintRateTable {
  stream: Stream;
  provider: string;
  day: string;
  rate: number;
  entered_at: Defaulted<Date>;
}

export interface TransactionalTemplateTable {
  name: string;
  definition: JSONColumnType<Record<string, unknown>>;
  compiled: JSONColumnType<Record<string, unknown>>;
  created_at: Generated<Date>;
  updated_at: Defaulted<Date>;
}

/** The shop's own, mail to our staff, and mail to a person who asked for it by a page: to confirm, or to prove who they are. */
export type TransactionalKind = 'shop' | 'forward' | 'alert' | 'confirmation' | 'link';

export interface TransactionalTable {
  id: string;
  kind: TransactionalKind;
  stream: Defaulted<Extract<Stream, 'transactional' | 'requested'>>;
  template: string | null;
  email: string | null;
  address_hash: string | null;
  content: JSONColumnType<Record<string, unknown>> | null;
  inbound_id: string | null;
  fairness_key: string;
  priority: Defaulted<number>;
  state: Defaulted<Exclude<MessageState, 'withdrawn'> | 'queued'>;
  token: string | null;
  attempts: Defaulted<number>;
  not_before: Date | null;
  message_id: string | null;
  first_claimed_at: Date | null;
  handing_over_at: Date | null;
  settled_at: Date | null;
  code: string | null;
  provider_id: string | null;
  report: MessageReport | null;
  report_code: string | null;
  report_at: Date | null;
  slot_day: Defaulted<string | null>;
  slot_taken: Defaulted<boolean>;
  erase_when_settled: Defaulted<boolean>;
  created_at: Generated<Date>;
  started_at: Date | null;
  leased_until: Date | null;
}

export interface TransactionalAttachmentTable {
  transactional_id: string;
  seq: number;
  filename: string;
  content_type: string;
  content_id: string | null;
  bytes: Buffer;
}

/** What a person needs to see of a received message to judge it. */
export interface InboundSummary {
  from: string | null;
  fromName: string | null;
  /** Where its sender wants answers. */
  answerTo: string | null;
  /** The first few whom it was addressed to. */
  recipients: string[];
  subject: string;
  /** The beginning of what was newly written. */
  excerpt: string;
}

export interface InboundTable {
  id: string;
  source: string;
  folder: string | null;
  uidvalidity: ColumnType<string | null, bigint | string | null, bigint | string | null>;
  uid: ColumnType<string | null, number | string | null, number | string | null>;
  external_id: string | null;
  sha256: Buffer;
  received_at: Date;
  bytes: number;
  raw: Buffer | null;
  envelope: JSONColumnType<{ sender: string | null; recipient: string | null }> | null;
  event: JSONColumnType<ProviderEvent> | null;
  state: Defaulted<'new' | 'done' | 'failed'>;
  attempts: Defaulted<number>;
  next_at: Defaulted<Date>;
  leased_until: Date | null;
  failure: string | null;
  message_id: Defaulted<string | null>;
  summary: JSONColumnType<InboundSummary> | null;
  kind: InboundKind | null;
  subtype: string | null;
  classification: JSONColumnType<Classification> | null;
  mail_kind: 'enrollment' | 'transactional' | null;
  enrollment_id: string | null;
  lead_id: string | null;
  transactional_id: string | null;
  step: number | null;
  matched_by: MatchedBy | null;
  proven: Defaulted<boolean>;
  needs_review: Defaulted<boolean>;
  review_until: Date | null;
  decided_at: Date | null;
  decided_kind: InboundKind | null;
  actions: ColumnType<Record<string, unknown>[], string | undefined, string>;
  duplicate_of: string | null;
  processed_at: Date | null;
  /** Fingerprints of the addresses that it names (`mentionsIn`), as long as its text is kept; null where nobody looked. */
  mentions: Defaulted<string[] | null>;
  erase_when_done: Defaulted<boolean>;
}

export interface MailboxPlaceTable {
  mailbox: string;
  folder: string;
  uidvalidity: ColumnType<string, bigint | string, bigint | string>;
  last_uid: ColumnType<string, number | string, number | string>;
  last_internal_date: Date | null;
  updated_at: Defaulted<Date>;
}

export interface PrivacyRequestTable {
  id: string;
  /** Null where it did not come by mail. */
  inbound_id: string | null;
  source: Defaulted<'mail' | 'page' | 'api'>;
  answer: Defaulted<'done' | 'refused' | 'not-confirmed' | null>;
  /** Why it was refused, as a code. */
  because: Defaulted<string | null>;
  lead_id: string | null;
  enrollment_id: string | null;
  kind: RequestKind;
  received_at: Date;
  due_at: Date;
  done_at: Date | null;
}

export interface ConsentTable {
  id: string;
  lead_id: string;
  campaign_id: string;
  enrollment_id: string;
  purpose: string;
  text: string;
  text_version: Defaulted<string | null>;
  captured_at: Date;
  source: string;
  ip: string | null;
  user_agent: string | null;
  withdrawn_at: Date | null;
  created_at: Generated<Date>;
}

export interface PurchaseTable {
  order_id: string;
  /** Null once the buyer was erased. */
  address_hash: string | null;
  campaign_id: string | null;
  purchased_at: Date;
  amount: string | null;
  currency: string | null;
  products: Defaulted<string[] | null>;
  soft_opt_in: JSONColumnType<SoftOptIn> | null;
  enrollment_id: Defaulted<string | null>;
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
  /** Of the file, hex; null for one from before this was kept. */
  sha256: Defaulted<string | null>;
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

export interface SuppressionTable {
  id: string;
  address_hash: string;
  kind: 'objection' | 'complaint' | 'undeliverable' | 'campaign';
  campaign_id: string | null;
  since: Date;
  by: string;
  lifted_at: Defaulted<Date | null>;
  lifted_by: Defaulted<'person' | 'privacy' | 'proof-of-life' | null>;
  lifted_because: Defaulted<string | null>;
}

export interface EvidenceTable {
  lead_id: string;
  seq: number;
  body: string;
  hash: string;
}

export interface SealedEvidenceTable {
  id: string;
  address_hash: string;
  sealed: Buffer;
  sealed_at: Date;
  destroy_at: Date;
}

export interface FormTable {
  id: string;
  campaign_id: string;
  version: number;
  disabled_at: Defaulted<Date | null>;
  created_at: Generated<Date>;
}

export interface FormVersionTable {
  form_id: string;
  version: number;
  definition: JSONColumnType<FormDefinition>;
  created_at: Generated<Date>;
}

export interface FormRequestTable {
  id: string;
  form_id: string | null;
  form_version: number | null;
  campaign_id: string;
  /** Empty once it is nobody's any more. */
  address_hash: string;
  content: JSONColumnType<FormRequestContent> | null;
  purpose: 'opt-in' | 'lift';
  state: Defaulted<'pending' | 'confirmed' | 'expired' | 'withdrawn'>;
  requested_at: Date;
  expires_at: Date;
  remind_at: Date | null;
  ended_at: Defaulted<Date | null>;
  mail_id: Defaulted<string | null>;
  reminder_id: Defaulted<string | null>;
  enrollment_id: Defaulted<string | null>;
  started_at: Defaulted<Date | null>;
  signal_at: Defaulted<Date | null>;
  leased_until: Defaulted<Date | null>;
}

/** What somebody sent by a form. */
export interface FormRequestContent {
  email: string;
  name: string;
  locale: string | null;
  timeZone: string | null;
  attributes: Record<string, string | number | boolean>;
  /** What was ticked, in the words that were shown. */
  consents: { purpose: Purpose; text: string; textVersion: string }[];
  source: RequestSource;
  referralCode: string | null;
  ip: string | null;
  userAgent: string | null;
  /** When, ISO 8601; `submitRequest` sets it. */
  askedAt?: string;
}

export interface PrivacyLinkTable {
  id: string;
  lead_id: string;
  kind: 'access' | 'erasure';
  request_id: string;
  created_at: Date;
  expires_at: Date;
  used_at: Defaulted<Date | null>;
}

export interface JournalOutboxTable {
  id: string;
  seq: Generated<string>;
  entry: JSONColumnType<JournalEntry>;
}

export interface JournalStateTable {
  one: Generated<boolean>;
  turn: ColumnType<string, never, never>;
  turned_at: Date | null;
  restored_at: Date | null;
}

export interface ApiKeyTable {
  id: string;
  name: string;
  prefix: string;
  hash: Buffer;
  scopes: Scope[];
  created_at: Date;
  created_by: string;
  last_used_at: Defaulted<Date | null>;
  revoked_at: Defaulted<Date | null>;
}

export interface StaffUserTable {
  id: string;
  email: string;
  name: Defaulted<string>;
  password_hash: string;
  roles: Scope[];
  created_at: Date;
  changed_at: Date;
  disabled_at: Defaulted<Date | null>;
}

export interface StaffSessionTable {
  hash: Buffer;
  user_id: string;
  created_at: Date;
  last_used_at: Date;
  expires_at: Date;
}

export interface AuditTable {
  id: Generated<string>;
  at: Date;
  actor_kind: 'key' | 'user' | 'cli' | 'system';
  actor: string;
  action: string;
  target: string | null;
  detail: JSONColumnType<Record<string, unknown>>;
}

export interface ThrottleTable {
  bucket: string;
  window_start: Date;
  hits: number;
}

export interface RefundTable {
  order_id: string;
  refunded_at: Date;
  created_at: Generated<Date>;
}

export interface ExclusionListTable {
  id: string;
  name: string;
  entries: Defaulted<number>;
  created_at: Generated<Date>;
  /** Null while it arrives, and once another has taken its place. */
  imported_at: Date | null;
  applied_at: Date | null;
}

export interface ExclusionTable {
  list: string;
  hash: Buffer;
}

export interface ReferralLinkTable {
  code: string;
  campaign_id: string;
  lead_id: string;
  enrollment_id: string;
  created_at: Date;
}

export interface OrderNameTable {
  name: string;
  order_id: string;
}

export interface WebhookSeenTable {
  source: string;
  event_id: string;
  received_at: Date;
}

export interface WebhookEndpointTable {
  id: string;
  url: string;
  events: string[];
  description: Defaulted<string>;
  secret_version: Defaulted<number>;
  signs_from: Defaulted<number>;
  rotated_at: Defaulted<Date | null>;
  disabled_at: Defaulted<Date | null>;
  disabled_because: Defaulted<string | null>;
  created_at: Date;
}

export interface WebhookDeliveryTable {
  id: Generated<string>;
  endpoint_id: string;
  type: string;
  payload: JSONColumnType<Record<string, unknown>>;
  created_at: Generated<Date>;
  tried_since: Generated<Date>;
  state: Defaulted<'pending' | 'delivered' | 'failed'>;
  attempts: Defaulted<number>;
  next_at: Defaulted<Date>;
  leased_until: Defaulted<Date | null>;
  status: Defaulted<number | null>;
  failure: Defaulted<string | null>;
  finished_at: Defaulted<Date | null>;
}

export interface Database {
  address: AddressTable;
  campaign: CampaignTable;
  campaign_version: CampaignVersionTable;
  campaign_migration: CampaignMigrationTable;
  campaign_migration_lead: CampaignMigrationLeadTable;
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
  soft_bounce: SoftBounceTable;
  sending_limit: SendingLimitTable;
  sending_quota: SendingQuotaTable;
  sending_pause: SendingPauseTable;
  sending_fault: SendingFaultTable;
  sending_alert: SendingAlertTable;
  complaint_rate: ComplaintRateTable;
  transactional_template: TransactionalTemplateTable;
  transactional: TransactionalTable;
  transactional_attachment: TransactionalAttachmentTable;
  inbound: InboundTable;
  mailbox_place: MailboxPlaceTable;
  privacy_request: PrivacyRequestTable;
  suppression: SuppressionTable;
  evidence: EvidenceTable;
  sealed_evidence: SealedEvidenceTable;
  form: FormTable;
  form_version: FormVersionTable;
  form_request: FormRequestTable;
  privacy_link: PrivacyLinkTable;
  journal_outbox: JournalOutboxTable;
  journal_state: JournalStateTable;
  api_key: ApiKeyTable;
  staff_user: StaffUserTable;
  staff_session: StaffSessionTable;
  audit: AuditTable;
  throttle: ThrottleTable;
  refund: RefundTable;
  exclusion_list: ExclusionListTable;
  exclusion: ExclusionTable;
  referral_link: ReferralLinkTable;
  order_name: OrderNameTable;
  webhook_seen: WebhookSeenTable;
  webhook_endpoint: WebhookEndpointTable;
  webhook_delivery: WebhookDeliveryTable;
}
