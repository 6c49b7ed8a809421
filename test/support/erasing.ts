import type { Db } from '../../db/client';
import { type Erasure, eraseLead } from '../../db/erasure';
import { evidenceSigningKey } from '../../domain/evidence-document';
import { TEST_ADDRESS_KEYS } from './leads';

export const TEST_SIGNING_KEY = evidenceSigningKey(Buffer.alloc(32, 9));

/** What erasing takes besides the database; nothing is sealed. */
export const ERASING: Omit<Erasure, 'leadId' | 'by' | 'now'> = {
  sealTo: null,
  sealedFor: 'P3Y',
  signingKey: TEST_SIGNING_KEY,
  addressKeys: TEST_ADDRESS_KEYS,
};

export async function eraseForTests(db: Db, leadId: string, change: Partial<Erasure> = {}) {
  return await eraseLead(db, { ...ERASING, leadId, by: 'staff', now: new Date(), ...change });
}
