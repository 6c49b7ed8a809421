import { sql } from 'kysely';
import { readConfig } from '../config';
import { inTransaction } from '../db/client';
import { enrollIn } from '../db/enrollments';
import { hashAddress } from '../domain/address-hash';
import { normaliseAddress } from '../domain/addresses';
import { unlimited } from '../domain/limits';
import {
  campaignIdAttribute,
  doingAttribute,
  JOURNEY_WORKFLOWS,
  JOURNEYS_QUEUE,
  journeyWorkflowId,
  type LeadJourney,
  routeOf,
} from '../workflows/contract';
import type { Bench } from './bench';
import { acceptedOf, until } from './ledger';
import { CONSENT_SOURCE, CONSENT_TEXT, importLeads, inParallel, newAddress } from './shop';

// Leads as they are two months after their information went out. Their rows are written here, since nobody can wait so long.

const BATCH = 500;
const TWO_MONTHS_MS = 60 * 24 * 60 * 60_000;

export interface InformedLead {
  id: string;
  email: string;
}

/** Writes the rows of leads who wait for their first nudge, and whose journeys whoever calls this starts. */
async function enrollInformed(
  { db, stack }: Pick<Bench, 'db' | 'stack'>,
  campaignId: string,
  options: { count: number; dueAt: (number: number) => Date },
): Promise<InformedLead[]> {
  const { addressKeys } = readConfig(stack.settings);
  const leads: InformedLead[] = [];
  for (let from = 0; from < options.count; from += BATCH) {
    const emails = Array.from({ length: Math.min(BATCH, options.count - from) }, newAddress);
    const requestedAt = new Date(Date.now() - TWO_MONTHS_MS);
    const requests = emails.map((email) => ({
      hashes: hashAddress(normaliseAddress(email), addressKeys),
      email,
      name: 'Ana Ibáñez',
      requestedAt,
      consent: {
        purpose: 'nudges' as const,
        text: CONSENT_TEXT,
        capturedAt: requestedAt,
        source: CONSENT_SOURCE,
      },
    }));
    leads.push(
      ...(await inTransaction(db, async (tx) => {
        const results = await enrollIn(tx, requests, {
          campaignId,
          now: new Date(),
          priority: 4,
          via: 'bench',
          asksInPerson: false,
          timeFactor: 1,
        });
        const ids = results.flatMap((result) => ('enrollmentId' in result ? [result.enrollmentId] : []));
        const due = ids.map((_, index) => options.dueAt(from + index));
        await sql`
          update enrollment e set step = 1, next_due_at = d.at, last_info_at = ${requestedAt},
            started_at = now()
          from unnest(${ids}::uuid[], ${due}::timestamptz[]) as d (id, at) where e.id = d.id`.execute(tx);
        return ids.map((id, index) => ({ id, email: emails[index] ?? '' }));
      })),
    );
  }
  return leads;
}

/** Imports one lead, waits until the information was sent to it, and gives its enrollment's id. */
export async function informOne({ shop, db }: Pick<Bench, 'shop' | 'db'>, campaignId: string): Promise<string> {
  const already = await acceptedOf(db, campaignId);
  await importLeads(shop, campaignId, 1);
  await until(already + 1, () => acceptedOf(db, campaignId), { everyMs: 1_000, patienceMs: 120_000 });
  const { id } = await db
    .selectFrom('enrollment')
    .select('id')
    .where('campaign_id', '=', campaignId)
    .orderBy('enrolled_at', 'desc')
    .limit(1)
    .executeTakeFirstOrThrow();
  return id;
}

/**
 * Leads who sleep until their first nudge, without a mail for each: rows as above, with the message and the events that `like`, a
 * lead of the same campaign who was sent the information, has; and journeys that begin as a run does whose wait was split, so that they
 * sleep at once.
 *
 * @param dueAt when the nudge of each falls due, by their number from 0
 * @returns the leads, in that order
 */
export async function putToSleep(
  bench: Bench,
  campaignId: string,
  { count, dueAt, like }: { count: number; dueAt: (number: number) => Date; like: string },
): Promise<InformedLead[]> {
  const { db, client, sizes } = bench;
  const leads = await enrollInformed(bench, campaignId, { count, dueAt });
  const ids = leads.map(({ id }) => id);
  for (let from = 0; from < ids.length; from += BATCH) {
    const some = ids.slice(from, from + BATCH);
    await sql`
      insert into message select (jsonb_populate_record(m, jsonb_build_object(
        'enrollment_id', id, 'token', gen_random_uuid(), 'message_id', replace(m.message_id, ${like}, id::text)))).*
      from message m cross join unnest(${some}::uuid[]) as id where m.enrollment_id = ${like}`.execute(db);
    await sql`
      insert into event (at, lead_id, enrollment_id, kind, step, detail)
      select v.at, e.lead_id, e.id, v.kind, v.step, v.detail from event v cross join enrollment e
      where v.enrollment_id = ${like} and v.kind <> 'enrolled' and e.id = any(${some}::uuid[])`.execute(db);
  }
  const touch = { step: 1, steps: 8, infoAgain: false, priority: 4, fairnessKey: 'correo.example' };
  await inParallel(sizes.width, [...ids.entries()], async ([number, enrollmentId]) => {
    await client.workflow.start<LeadJourney>(JOURNEY_WORKFLOWS.lead, {
      workflowId: journeyWorkflowId(enrollmentId),
      taskQueue: JOURNEYS_QUEUE,
      args: [{ enrollmentId, step: 1, waitUntil: dueAt(number).getTime(), route: routeOf(touch, unlimited()) }],
      memo: { step: 1 },
      typedSearchAttributes: [
        { key: campaignIdAttribute, value: campaignId },
        { key: doingAttribute, value: 'waiting' },
      ],
    });
  });
  return leads;
}
