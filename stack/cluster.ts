import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { migrateDatabase } from '../cli/migrate';
import { readConfig } from '../config';
import { choosePorts, type PortWishes } from './cluster-ports';
import { createMember, type Member, type MemberKind, type MemberOptions } from './member';
import { hasDatabase, startPostgres } from './postgres';
import { killTree } from './process-tree';
import { startRecuerda } from './recuerda-process';
import { secretsOf } from './secrets';
import { resolveTemporalBinaries } from './temporal-binaries';
import { ROLES, type Role, startRole, writeTemporalConfig } from './temporal-roles';
import { setupTemporalSchema, whenClusterIsNamed } from './temporal-schema';
import { defaultCacheDir } from './tool-cache';

export type { Member } from './member';

export interface ClusterOptions {
  /** Folder for everything: Postgres data, logs, configuration, journal. */
  home: string;
  /** The checkout. */
  root: string;
  /** How many of each; 2 unless told otherwise. */
  apis?: number;
  workers?: number;
  /** Settings for every API and worker process, over the defaults (such as SMTP_URL, RECUERDA_TIME_FACTOR, LOG_LEVEL). */
  settings?: NodeJS.ProcessEnv;
  /** PATH, HOME and what else is needed to find tools; the processes get it too. */
  env: NodeJS.ProcessEnv;
  /** Can never be changed once the home has data; 128 unless told otherwise, as in docker-compose.yml. */
  historyShards?: number;
  /** Start members again when they die, after 1 to 30 s? Yes unless told otherwise. */
  supervised?: boolean;
  /** Ports that are taken where they are free; otherwise those of the last start in this home, or any. */
  ports?: PortWishes;
  /** Told of each server's process, which ends by itself some time after this one was killed. */
  onServer?: (pid: number) => void;
  /** Told of each member before it is started. */
  onMember?: (member: Member) => void;
  /** One line for the person who waits. */
  say: (line: string) => void;
  /** Aborts the start. */
  signal?: AbortSignal;
}

export interface Cluster {
  /** Of the database `recuerda`; the same server holds `temporal` and `temporal_visibility`. */
  databaseUrl: string;
  /** Of the frontend. */
  temporalAddress: string;
  /** Null: the UI is no part of `temporal-server`; docker-compose.yml runs it. */
  temporalUiUrl: string | null;
  apiUrls: string[];
  apiKey: string;
  /** RECUERDA_SECRET in use. */
  secret: string;
  members: Member[];
  /** What every API and worker process got; with them, one can start more. An API gets HOST and PORT too. */
  settings: NodeJS.ProcessEnv;
  /** Ends everything in order; nobody loses what it still needs. Safe to call twice. */
  stop(): Promise<void>;
}

/** What Temporal's four roles, each API and each worker may hold between them; docker-compose.yml allows the same. */
const MAX_CONNECTIONS = 300;
const HISTORY_SHARDS = 128;
const DYNAMIC_CONFIG = join('deploy', 'temporal', 'dynamicconfig.yaml');
/** How long operators can look at journeys that have ended. */
const RETENTION_SECONDS = 30 * 24 * 3_600;
const NAMESPACE_TIMEOUT_MS = 60_000;

/** The internal worker is Temporal's own; ours are called worker-1 and so on. */
const KINDS: Record<Role, MemberKind> = {
  frontend: 'frontend',
  history: 'history',
  matching: 'matching',
  worker: 'internal-worker',
};

/**
 * Starts, as plain processes, what docker-compose.yml starts as containers: Postgres, Temporal with a process for each role
 * on Postgres persistence, and some API and worker processes. Resolves when a lead could be enrolled and mailed. Everything
 * ends with this process, however that ends.
 *
 * @throws StartError, ConfigError, or what did not come up; nothing is left running then
 */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const { home, root, env, say } = options;
  const signal = options.signal ?? new AbortController().signal;
  mkdirSync(home, { recursive: true });
  const secrets = secretsOf(home, hasDatabase(join(home, 'postgres')) && !env.RECUERDA_SECRET);
  const apis = numbered('api', options.apis ?? 2);
  const workers = numbered('worker', options.workers ?? 2);
  const ports = await choosePorts(home, apis, options.ports ?? {});
  const apiUrls = apis.map((name) => `http://127.0.0.1:${ports.apis[name]}`);
  const temporalAddress = `127.0.0.1:${ports.roles.frontend.grpc}`;
  const settings: NodeJS.ProcessEnv = {
    ...env,
    RECUERDA_SECRET: env.RECUERDA_SECRET || secrets.secret,
    RECUERDA_API_KEY: env.RECUERDA_API_KEY || secrets.apiKey,
    RECUERDA_PUBLIC_URL: env.RECUERDA_PUBLIC_URL || apiUrls[0],
    RECUERDA_JOURNAL: env.RECUERDA_JOURNAL || join(home, 'journal'),
    ...options.settings,
    // Nothing of another server's.
    ...Object.fromEntries(
      Object.keys(env)
        .filter((name) => name.startsWith('TEMPORAL_'))
        .map((name) => [name, '']),
    ),
    TEMPORAL_ADDRESS: temporalAddress,
    TEMPORAL_NAMESPACE: 'default',
  };
  // Wrong settings are told before anything is started.
  readConfig({ ...settings, DATABASE_URL: 'postgres://127.0.0.1/recuerda' });
  mkdirSync(settings.RECUERDA_JOURNAL ?? '', { recursive: true, mode: 0o700 });

  const members: Member[] = [];
  let stopped: Promise<void> | undefined;
  /** The last that was started is the first to stop. */
  const stop = (): Promise<void> => {
    stopped ??= (async () => {
      for (const kind of STOP_ORDER) {
        await Promise.all(members.filter((member) => member.kind === kind).map((member) => member.stop()));
      }
    })();
    return stopped;
  };
  signal.addEventListener('abort', () => void stop(), { once: true });
  const up = async (batch: Member[]): Promise<void> => {
    signal.throwIfAborted();
    members.push(...batch);
    for (const started of batch) options.onMember?.(started);
    await Promise.all(batch.map((member) => member.start()));
  };
  const member = (name: string, kind: MemberKind, launch: MemberOptions['launch']) =>
    createMember({ name, kind, launch, supervised: options.supervised ?? true, say });

  try {
    const tools = await resolveTemporalBinaries({
      ...(env.RECUERDA_TEMPORAL_SERVER ? { explicitServer: env.RECUERDA_TEMPORAL_SERVER } : {}),
      ...(env.RECUERDA_TEMPORAL_SQL_TOOL ? { explicitSqlTool: env.RECUERDA_TEMPORAL_SQL_TOOL } : {}),
      cacheDir: defaultCacheDir(env),
      path: env.PATH ?? '',
      onProgress: say,
      env,
    });

    say('Starting Postgres …');
    let databaseUrl = '';
    const postgres = member('postgres', 'postgres', async (onExit) => {
      const server = await startPostgres({
        dir: join(home, 'postgres'),
        port: ports.postgres,
        maxConnections: MAX_CONNECTIONS,
        onProgress: say,
        onExit,
      });
      options.onServer?.(server.pid);
      databaseUrl = server.url;
      return { pid: server.pid, stop: server.stop, kill: () => killTree(server.pid) };
    });
    await up([postgres]);
    await Promise.all([
      setupTemporalSchema({ sqlTool: tools.sqlTool, databaseUrl, env, onProgress: say }),
      migrateDatabase(databaseUrl),
    ]);

    say('Starting Temporal …');
    const configDir = join(home, 'temporal');
    writeTemporalConfig({
      dir: configDir,
      databaseUrl,
      ports: ports.roles,
      dynamicConfig: join(root, DYNAMIC_CONFIG),
      historyShards: options.historyShards ?? HISTORY_SHARDS,
    });
    const roleOf = (role: Role) =>
      member(`temporal-${role}`, KINDS[role], async (onExit, launchSignal) => {
        const running = await startRole({
          server: tools.server,
          role,
          configDir,
          ports: ports.roles[role],
          frontend: temporalAddress,
          logFile: join(home, 'logs', `temporal-${role}.log`),
          env,
          onExit,
          signal: launchSignal,
        });
        options.onServer?.(running.pid);
        return running;
      });
    // On an empty database the first role writes who the cluster is, and two at once fail at it.
    const [first, ...others] = ROLES.map(roleOf) as [Member, ...Member[]];
    await Promise.all([up([first]), whenClusterIsNamed(databaseUrl, signal).then(() => up(others))]);
    await registerNamespace(temporalAddress, signal);

    say(`Starting ${apis.length} API and ${workers.length} worker processes …`);
    const recuerda = (command: 'api' | 'worker', name: string, more: NodeJS.ProcessEnv, url?: string) =>
      member(name, command, (onExit, launchSignal) =>
        startRecuerda({
          command,
          name,
          root,
          logDir: join(home, 'logs'),
          env: { ...settings, DATABASE_URL: databaseUrl, ...more },
          ...(url === undefined ? {} : { url }),
          say,
          onExit,
          signal: launchSignal,
        }),
      );
    await up([
      ...apis.map((name, index) =>
        recuerda(
          'api',
          name,
          { HOST: '127.0.0.1', PORT: String(ports.apis[name]), ...metricsPort(settings, index) },
          apiUrls[index],
        ),
      ),
      ...workers.map((name, index) => recuerda('worker', name, metricsPort(settings, apis.length + index))),
    ]);
    return {
      databaseUrl,
      temporalAddress,
      temporalUiUrl: null,
      apiUrls,
      apiKey: (settings.RECUERDA_API_KEY ?? '').split(',')[0] ?? '',
      secret: settings.RECUERDA_SECRET ?? '',
      members,
      settings: { ...settings, DATABASE_URL: databaseUrl },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Nobody loses what it still needs. */
const STOP_ORDER: MemberKind[] = ['api', 'worker', 'frontend', 'internal-worker', 'matching', 'history', 'postgres'];

/** They share a machine, so each takes a port of its own, counted from RECUERDA_METRICS_PORT: the APIs first. */
function metricsPort({ RECUERDA_METRICS_PORT: first }: NodeJS.ProcessEnv, index: number): NodeJS.ProcessEnv {
  return first ? { RECUERDA_METRICS_PORT: String(Number(first) + index) } : {};
}

function numbered(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${name}-${index + 1}`);
}

/** Registers the namespace `default` where it is missing, as deploy/temporal/create-namespace.sh does. */
async function registerNamespace(address: string, signal: AbortSignal): Promise<void> {
  const connection = Connection.lazy({ address });
  const { workflowService } = connection;
  const deadline = Date.now() + NAMESPACE_TIMEOUT_MS;
  try {
    for (;;) {
      signal.throwIfAborted();
      try {
        await connection.withDeadline(Date.now() + 10_000, async () => {
          await workflowService
            .registerNamespace({
              namespace: 'default',
              workflowExecutionRetentionPeriod: { seconds: RETENTION_SECONDS as never },
            })
            .catch((error: { code?: number }) => {
              if (error.code !== ALREADY_EXISTS) throw error;
            });
          // Every role has to have heard of it.
          await workflowService.listWorkflowExecutions({ namespace: 'default', pageSize: 1 });
        });
        return;
      } catch (error) {
        if (Date.now() > deadline) throw error;
      }
      await sleep(200, undefined, { signal });
    }
  } finally {
    await connection.close();
  }
}

/** Of gRPC. */
const ALREADY_EXISTS = 6;
