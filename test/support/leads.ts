import type { Db } from '../../db/client';
import { type EnrollOptions, type EnrollRequest, type EnrollResult, enroll } from '../../db/enrollments';
import { hashAddress } from '../../domain/address-hash';
import { normaliseAddress } from '../../domain/addresses';

export const TEST_ADDRESS_KEYS = [{ version: 1, secret: Buffer.alloc(32, 1) }];
export const TEST_TOKEN_KEYS = [{ version: 1, secret: Buffer.alloc(32, 2) }];

/** A request for information by somebody who agreed to nudges, unless told otherwise. */
export function requestBy(email: string, change: Partial<EnrollRequest> = {}): EnrollRequest {
  return {
    hashes: hashAddress(normaliseAddress(email), TEST_ADDRESS_KEYS),
    email,
    name: 'Íñigo Núñez',
    requestedAt: new Date(),
    consent: {
      purpose: 'nudges',
      text: 'Sí, escríbanme hasta siete veces en dos años sobre la cafetera.',
      capturedAt: new Date(),
      source: 'formulario de la web',
    },
    ...change,
  };
}

/** Enrolls one lead as the API does. @returns the enrollment's id */
export async function enrollForTests(
  db: Db,
  campaignId: string,
  request: EnrollRequest,
  options: Partial<EnrollOptions> = {},
): Promise<string> {
  const [result] = await enrollAll(db, campaignId, [request], options);
  if (result === undefined || !('enrollmentId' in result)) throw new Error(`not enrolled: ${JSON.stringify(result)}`);
  return result.enrollmentId;
}

export async function enrollAll(
  db: Db,
  campaignId: string,
  requests: EnrollRequest[],
  options: Partial<EnrollOptions> = {},
): Promise<EnrollResult[]> {
  return await enroll(db, requests, {
    campaignId,
    now: new Date(),
    priority: 2,
    via: 'api',
    asksInPerson: true,
    timeFactor: 1,
    ...options,
  });
}

/** Makes sleeping leads due now, and has their journeys look. */
export async function fallDue(db: Db, ...enrollmentIds: string[]): Promise<void> {
  const change = { next_due_at: new Date(), signal_at: new Date(), leased_until: null };
  await db.updateTable('enrollment').set(change).where('id', 'in', enrollmentIds).execute();
}
