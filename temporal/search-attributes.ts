import type { Client } from '@temporalio/client';
import { temporal } from '@temporalio/proto';
import { OperatorError } from '../domain/operator-error';
import { ATTRIBUTE_TYPES } from '../workflows/contract';
import { call } from './client';

/** gRPC statuses. */
const INVALID_ARGUMENT = 3;
const ALREADY_EXISTS = 6;
const PERMISSION_DENIED = 7;
const UNIMPLEMENTED = 12;

const { INDEXED_VALUE_TYPE_BOOL, INDEXED_VALUE_TYPE_KEYWORD } = temporal.api.enums.v1.IndexedValueType;
const VALUE_TYPES = { Keyword: INDEXED_VALUE_TYPE_KEYWORD, Bool: INDEXED_VALUE_TYPE_BOOL };
const ATTRIBUTES = Object.entries(ATTRIBUTE_TYPES);

/**
 * Registers the search attributes that operators filter by. They must exist before a worker polls: a workflow task that names one
 * which the server does not know fails, and is tried again until it does. Registering again changes nothing. Where that is not
 * ours to do, as on Temporal Cloud, it is enough that they are there.
 *
 * @throws OperatorError that says how to make them, where they are missing and this may not
 */
export async function registerSearchAttributes(client: Client, namespace: string): Promise<void> {
  for (const [name, type] of ATTRIBUTES) {
    const searchAttributes = { [name]: VALUE_TYPES[type] };
    try {
      await call(client, () => client.connection.operatorService.addSearchAttributes({ namespace, searchAttributes }));
    } catch (error) {
      const { code } = error as { code?: number };
      if (code === ALREADY_EXISTS) continue;
      if (code !== PERMISSION_DENIED && code !== UNIMPLEMENTED) throw error;
      if (!(await isKnown(client, namespace, name, type))) throw new OperatorError(howToMake(namespace));
    }
  }
}

/** Asked by a query that names it: that everybody may, who may start a journey. */
async function isKnown(client: Client, namespace: string, name: string, type: 'Keyword' | 'Bool'): Promise<boolean> {
  const value = type === 'Bool' ? 'true' : "'is it known?'";
  try {
    await call(client, () =>
      client.workflowService.countWorkflowExecutions({ namespace, query: `${name} = ${value}` }),
    );
    return true;
  } catch (error) {
    if ((error as { code?: number }).code === INVALID_ARGUMENT) return false;
    throw error;
  }
}

function howToMake(namespace: string): string {
  const names = ATTRIBUTES.map(([name]) => name).join(', ');
  const cloud = ATTRIBUTES.map(([name, type]) => `--search-attribute "${name}=${type}"`).join(' ');
  const own = ATTRIBUTES.map(([name, type]) => `--name ${name} --type ${type}`).join(' ');
  return (
    `The namespace ${namespace} lacks search attributes, and these credentials may not make them. It needs ${names}. ` +
    `On Temporal Cloud: tcld namespace search-attributes add --namespace ${namespace} ${cloud}. ` +
    `On a server of your own: temporal operator search-attribute create --namespace ${namespace} ${own}`
  );
}
