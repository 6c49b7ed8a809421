import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { type OnProgress, run } from './tool-cache';

/** Temporal's databases, and where `temporal-sql-tool` has their schema inside. */
const DATABASES = {
  temporal: 'postgresql/v12/temporal',
  temporal_visibility: 'postgresql/v12/visibility',
} as const;

const TOOL_TIMEOUT_MS = 120_000;
const NAMED_TIMEOUT_MS = 120_000;

export interface TemporalSchemaOptions {
  /** Path of `temporal-sql-tool`; see `resolveTemporalBinaries`. */
  sqlTool: string;
  /** Of any database of the server, as a user who may make databases. */
  databaseUrl: string;
  env: NodeJS.ProcessEnv;
  onProgress: OnProgress;
}

/**
 * Makes Temporal's two databases where they are missing, and brings their schema to the tool's version, as
 * deploy/temporal/setup-schema.sh does for docker-compose.yml. Safe to run again.
 */
export async function setupTemporalSchema(options: TemporalSchemaOptions): Promise<void> {
  const { sqlTool, env, onProgress } = options;
  const { hostname, port, username, password } = new URL(options.databaseUrl);
  const connection = ['--plugin', 'postgres12', '--ep', hostname, '-p', port, '-u', username];
  const toolEnv = { ...env, SQL_PASSWORD: decodeURIComponent(password) };
  for (const [database, schema] of Object.entries(DATABASES)) {
    if (await createDatabase(options.databaseUrl, database)) onProgress(`Making the database ${database} …`);
    const tool = (...args: string[]) =>
      run(sqlTool, [...connection, '--db', database, ...args], { env: toolEnv, timeoutMs: TOOL_TIMEOUT_MS });
    await tool('setup-schema', '-v', '0.0');
    await tool('update-schema', '--schema-name', schema);
  }
}

/** @returns false where there is one of that name */
async function createDatabase(url: string, name: string): Promise<boolean> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [name]);
    if (rowCount !== 0) return false;
    await client.query(`create database ${name}`);
    return true;
  } finally {
    await client.end();
  }
}

/** Resolves once a role of Temporal has written who the cluster is, which the first one does at its start. */
export async function whenClusterIsNamed(databaseUrl: string, signal: AbortSignal): Promise<void> {
  const url = new URL(databaseUrl);
  url.pathname = '/temporal';
  const client = new Client({ connectionString: url.href });
  await client.connect();
  try {
    const deadline = Date.now() + NAMED_TIMEOUT_MS;
    while ((await client.query('select 1 from cluster_metadata_info limit 1')).rowCount === 0) {
      if (Date.now() > deadline) throw new Error('No role of Temporal has begun its work');
      await sleep(50, undefined, { signal });
    }
  } finally {
    await client.end();
  }
}
