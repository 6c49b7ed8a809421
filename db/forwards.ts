import { normaliseAddress } from '../domain/addresses';
import { type CampaignDefinition, partiesOf } from '../domain/campaign';
import type { RequestKind } from '../domain/inbound';
import type { ComposeForward, ForwardStory } from '../domain/inbound-actions';
import type { JourneyKind } from '../domain/journeys';
import type { TokenKey } from '../domain/signed-token';
import { STAFF_LINK_DAYS, signStaffToken } from '../domain/staff-token';
import { versionOf } from './campaigns';
import type { Tx } from './client';
import { enqueueTransactional } from './transactional';

export interface ForwardDeps {
  composeForward: ComposeForward;
  tokenKeys: readonly TokenKey[];
  publicUrl: string;
  /** From of mail to our own staff, `Name <address>` or an address; null: the lead's name via the campaign's address. */
  staffFrom: string | null;
}

export interface ForwardRequest {
  as: ForwardStory['as'];
  inboundId: string;
  /** Enrollments that it is about; whose salespeople are the same get one mail. */
  enrollmentIds: readonly string[];
  answerTo: string;
  recipients: readonly string[];
  requests: readonly RequestKind[];
  message: ForwardStory['message'];
  now: Date;
}

/** Any step: where answers go does not depend on it. */
const FOLLOW_UP = 1;

/** What became of a forward: its mail, or that the salespeople have the message already. */
export type Forwarded =
  | { do: 'forwarded'; enrollmentId: string; transactionalId: string }
  | { do: 'not-forwarded'; enrollmentId: string; why: 'already-there' };

/**
 * Hands an answer to the salespeople of the campaigns that it is about, a buyer's to those who help with orders: a new mail
 * of ours with the person's story. Where the
 * answer went straight to their own mailbox, nothing is sent: they have it, and would get it twice.
 */
export async function forwardToSalespeople(tx: Tx, deps: ForwardDeps, request: ForwardRequest): Promise<Forwarded[]> {
  const done = new Set<string>();
  const forwarded: Forwarded[] = [];
  const had = new Set(request.recipients.map(normaliseAddress));
  for (const enrollmentId of request.enrollmentIds) {
    const about = await storyOf(tx, enrollmentId);
    if (about === null) continue;
    const { definition } = about;
    const { journey } = about;
    const { replyTo: to } = partiesOf(definition, journey, FOLLOW_UP);
    const key = normaliseAddress(to);
    if (done.has(key)) continue;
    done.add(key);
    if (had.has(key)) {
      forwarded.push({ do: 'not-forwarded', enrollmentId, why: 'already-there' });
      continue;
    }
    const expiresAt = new Date(request.now.getTime() + STAFF_LINK_DAYS * 86_400_000);
    const token = signStaffToken({ enrollmentId, inboundId: request.inboundId, expiresAt }, deps.tokenKeys);
    const content = deps.composeForward({
      as: request.as,
      ...about.story,
      requests: request.requests,
      message: request.message,
      link: journey === 'lead' ? `${deps.publicUrl}/s/${token}` : null,
    });
    const transactionalId = await enqueueTransactional(tx, {
      kind: 'forward',
      to: { email: to },
      from: fromOf(definition, about.story.lead, deps.staffFrom),
      replyTo: request.answerTo,
      ...content,
      attachInboundId: request.inboundId,
    });
    forwarded.push({ do: 'forwarded', enrollmentId, transactionalId });
  }
  return forwarded;
}

/** Our own domain sends it, so that it passes DMARC; the name says whom it is from. */
function fromOf(
  { sender }: CampaignDefinition,
  lead: { name: string; email: string },
  staffFrom: string | null,
): { name: string; address: string } {
  const [, name, address] = /^\s*"?([^"<]*?)"?\s*<([^<>]+)>\s*$/.exec(staffFrom ?? '') ?? [];
  if (staffFrom !== null && address === undefined) return { name: '', address: staffFrom.trim() };
  if (address !== undefined) return { name: name ?? '', address };
  return { name: `${lead.name || lead.email} via ${sender.legalName}`, address: sender.address };
}

type Story = Omit<ForwardStory, 'as' | 'requests' | 'message' | 'link'>;

async function storyOf(
  tx: Tx,
  enrollmentId: string,
): Promise<{ definition: CampaignDefinition; journey: JourneyKind; story: Story } | null> {
  const row = await tx
    .selectFrom('enrollment as e')
    .innerJoin('lead as l', 'l.id', 'e.lead_id')
    .select([
      'e.campaign_id',
      'e.version',
      'e.requested_at',
      'e.outcome',
      'e.journey',
      'e.order_id',
      'l.name',
      'l.email',
    ])
    .where('e.id', '=', enrollmentId)
    .executeTakeFirst();
  if (row === undefined || row.email === null) return null;
  const { definition } = await versionOf(tx, row.campaign_id, row.version);
  return {
    definition,
    journey: row.journey,
    story: {
      locale: definition.locale,
      timeZone: definition.timeZone,
      company: definition.sender.legalName,
      product: definition.product.name,
      campaign: definition.name,
      lead: { name: row.name, email: row.email },
      requestedAt: row.requested_at,
      order: row.order_id === null ? null : { number: row.order_id, purchasedAt: row.requested_at },
      sent: await sentMails(tx, enrollmentId),
      outcome: row.outcome,
    },
  };
}

/** Also of the enrollments that this one goes on from. */
async function sentMails(tx: Tx, enrollmentId: string): Promise<{ step: number; at: Date }[]> {
  const rows = await tx
    .withRecursive('line', (db) =>
      db
        .selectFrom('enrollment')
        .select(['id', 'reopened_from'])
        .where('id', '=', enrollmentId)
        .unionAll((more) =>
          more
            .selectFrom('enrollment as e')
            .innerJoin('line', 'line.reopened_from', 'e.id')
            .select(['e.id', 'e.reopened_from']),
        ),
    )
    .selectFrom('message as m')
    .innerJoin('line', 'line.id', 'm.enrollment_id')
    .select((eb) => ['m.step', eb.fn.coalesce('m.settled_at', 'm.first_claimed_at').as('at')])
    .where('m.state', 'in', ['accepted', 'unknown'])
    .orderBy('at')
    .execute();
  return rows;
}
