import type { Client } from '@temporalio/client';
import { temporal } from '@temporalio/proto';
import { CAMPAIGN_ID_ATTRIBUTE, OUTCOME_ATTRIBUTE } from '../workflows/contract';
import { call } from './client';

/** gRPC status ALREADY_EXISTS. */
const ALREADY_EXISTS = 6;

/**
 * Registers the search attributes that operators filter by. They must exist before the first journey starts; registering
 * again changes nothing.
 */
export async function registerSearchAttributes(client: Client, namespace: string): Promise<void> {
  const keyword = temporal.api.enums.v1.IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD;
  for (const name of [CAMPAIGN_ID_ATTRIBUTE, OUTCOME_ATTRIBUTE]) {
    try {
      await call(client, () =>
        client.connection.operatorService.addSearchAttributes({ namespace, searchAttributes: { [name]: keyword } }),
      );
    } catch (error) {
      if ((error as { code?: number }).code !== ALREADY_EXISTS) throw error;
    }
  }
}
