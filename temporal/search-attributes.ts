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
  const { customAttributes } = await call(client, () =>
    client.connection.operatorService.listSearchAttributes({ namespace }),
  );
  const missing = [CAMPAIGN_ID_ATTRIBUTE, OUTCOME_ATTRIBUTE].filter((name) => !(name in (customAttributes ?? {})));
  if (missing.length === 0) return;
  const keyword = temporal.api.enums.v1.IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD;
  try {
    await call(client, () =>
      client.connection.operatorService.addSearchAttributes({
        namespace,
        searchAttributes: Object.fromEntries(missing.map((name) => [name, keyword])),
      }),
    );
  } catch (error) {
    // Another worker that starts at the same time was quicker.
    if ((error as { code?: number }).code !== ALREADY_EXISTS) throw error;
  }
}
