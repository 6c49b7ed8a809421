import type { Client } from '@temporalio/client';
import { temporal } from '@temporalio/proto';
import { OperatorError } from '../domain/operator-error';
import { CAMPAIGN_ID_ATTRIBUTE, OUTCOME_ATTRIBUTE } from '../workflows/contract';
import { call } from './client';

/** gRPC statuses. */
const INVALID_ARGUMENT = 3;
const ALREADY_EXISTS = 6;
const PERMISSION_DENIED = 7;
const UNIMPLEMENTED = 12;

const ATTRIBUTES = [CAMPAIGN_ID_ATTRIBUTE, OUTCOME_ATTRIBUTE];

/**
 * Registers the search attributes that operators filter by. They must exist before the first journey starts; registering
 * again changes nothing. Where that is not ours to do, as on Temporal Cloud, it is enough that they are there.
 *
 * @throws OperatorError that says how to make them, where they are missing and this may not
 */
export async function registerSearchAttributes(client: Client, namespace: string): Promise<void> {
  const keyword = temporal.api.enums.v1.IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD;
  for (const name of ATTRIBUTES) {
    try {
      await call(client, () =>
        client.connection.operatorService.addSearchAttributes({ namespace, searchAttributes: { [name]: keyword } }),
      );
    } catch (error) {
      const { code } = error as { code?: number };
      if (code === ALREADY_EXISTS) continue;
      if (code !== PERMISSION_DENIED && code !== UNIMPLEMENTED) throw error;
      if (!(await isKnown(client, namespace, name))) throw new OperatorError(howToMake(namespace));
    }
  }
}

/** Asked by a query that names it: that everybody may, who may start a journey. */
async function isKnown(client: Client, namespace: string, name: string): Promise<boolean> {
  try {
    await call(client, () =>
      client.workflowService.countWorkflowExecutions({ namespace, query: `${name} = 'is it known?'` }),
    );
    return true;
  } catch (error) {
    if ((error as { code?: number }).code === INVALID_ARGUMENT) return false;
    throw error;
  }
}

function howToMake(namespace: string): string {
  const cloud = ATTRIBUTES.map((name) => `--search-attribute "${name}=Keyword"`).join(' ');
  const own = ATTRIBUTES.map((name) => `--name ${name} --type Keyword`).join(' ');
  return (
    `The namespace ${namespace} lacks the search attributes ${ATTRIBUTES.join(' and ')}, and these credentials may not make them. ` +
    `On Temporal Cloud: tcld namespace search-attributes add --namespace ${namespace} ${cloud}. ` +
    `On a server of your own: temporal operator search-attribute create --namespace ${namespace} ${own}`
  );
}
