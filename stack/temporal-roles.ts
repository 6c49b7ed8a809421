import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { endChild, isRunning, spawnLeashed } from './leash';
import type { OnExit, RunningProcess } from './member';
import { killTree } from './process-tree';
import { closeServerLog, endOfServerLog, lastLinesOf, openServerLog } from './server-log';
import { parseObject } from './whole-file';

/** What a Temporal server consists of, each a process of its own; docker-compose.yml runs the same. */
export const ROLES = ['frontend', 'history', 'matching', 'worker'] as const;
export type Role = (typeof ROLES)[number];

/** Where a role listens, on 127.0.0.1. */
export interface RolePorts {
  grpc: number;
  /** By which the roles find each other. */
  membership: number;
}

export interface TemporalConfigOptions {
  /** Folder for it; made where it is missing. */
  dir: string;
  /** Of any database of the server that holds `temporal` and `temporal_visibility`. */
  databaseUrl: string;
  ports: Record<Role, RolePorts>;
  /** File of settings that may change while the server runs. */
  dynamicConfig: string;
  /** Can never be changed once the databases are in use. */
  historyShards: number;
}

/** Connections that each role may hold to `temporal`, and to `temporal_visibility`. */
const STORE_CONNECTIONS = { temporal: 20, temporal_visibility: 10 };
const CONFIG_NAME = 'cluster';
const START_TIMEOUT_MS = 180_000;
const STOP_TIMEOUT_MS = 20_000;

/** Writes the configuration that all roles share, readable by its owner only, since it holds the database's password. */
export function writeTemporalConfig(options: TemporalConfigOptions): void {
  const { dir, ports, dynamicConfig, historyShards } = options;
  const { host, username, password } = new URL(options.databaseUrl);
  const store = (databaseName: keyof typeof STORE_CONNECTIONS) => ({
    sql: {
      pluginName: 'postgres12',
      databaseName,
      connectAddr: host,
      connectProtocol: 'tcp',
      user: username,
      password: decodeURIComponent(password),
      maxConns: STORE_CONNECTIONS[databaseName],
      maxIdleConns: STORE_CONNECTIONS[databaseName],
      maxConnLifetime: '1h',
    },
  });
  const rpcOf = ({ grpc, membership }: RolePorts) => ({
    rpc: { grpcPort: grpc, membershipPort: membership, bindOnIP: '127.0.0.1' },
  });
  const archival = { state: 'disabled', enableRead: false };
  const config = {
    log: { stdout: true, level: 'warn' },
    persistence: {
      defaultStore: 'default',
      visibilityStore: 'visibility',
      numHistoryShards: historyShards,
      datastores: { default: store('temporal'), visibility: store('temporal_visibility') },
    },
    global: { membership: { maxJoinDuration: '30s', broadcastAddress: '127.0.0.1' } },
    services: Object.fromEntries(ROLES.map((role) => [role, rpcOf(ports[role])])),
    clusterMetadata: {
      enableGlobalNamespace: false,
      failoverVersionIncrement: 10,
      masterClusterName: 'active',
      currentClusterName: 'active',
      clusterInformation: {
        active: {
          enabled: true,
          initialFailoverVersion: 1,
          rpcName: 'frontend',
          rpcAddress: `127.0.0.1:${ports.frontend.grpc}`,
        },
      },
    },
    dcRedirectionPolicy: { policy: 'noop' },
    archival: { history: archival, visibility: archival },
    namespaceDefaults: { archival: { history: { state: 'disabled' }, visibility: { state: 'disabled' } } },
    publicClient: { hostPort: `127.0.0.1:${ports.frontend.grpc}` },
    dynamicConfigClient: { filepath: dynamicConfig, pollInterval: '60s' },
  };
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  // Every JSON is YAML.
  writeFileSync(join(dir, `${CONFIG_NAME}.yaml`), `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
}

export interface RoleOptions {
  /** Path of `temporal-server`; see `resolveTemporalBinaries`. */
  server: string;
  role: Role;
  /** Folder that `writeTemporalConfig` wrote into. */
  configDir: string;
  ports: RolePorts;
  /** `host:port` of the frontend. */
  frontend: string;
  /** File for its log lines. */
  logFile: string;
  env: NodeJS.ProcessEnv;
  onExit: OnExit;
  /** Gives the start up. */
  signal: AbortSignal;
}

/**
 * Starts one role and waits until it answers. It ends with this process, however that ends. Throws with its last log lines
 * when it does not come up.
 */
export async function startRole(options: RoleOptions): Promise<RunningProcess> {
  const { server, role, configDir, logFile, env, onExit, signal: givenUp } = options;
  const outputFd = openServerLog(logFile);
  const logStart = endOfServerLog(outputFd);
  const child = spawnLeashed({
    command: server,
    args: ['--root', configDir, '--config', '.', '--env', CONFIG_NAME, '--allow-no-auth', 'start', '--service', role],
    signal: 'SIGTERM',
    env,
    outputFd,
  });
  closeServerLog(outputFd);
  let ended: string | undefined;
  child.once('error', (error) => {
    ended ??= error.message;
  });
  child.once('exit', (code, signal) => {
    ended ??= signal ?? `code ${code}`;
  });
  const stop = () => endChild(child, [['SIGTERM', STOP_TIMEOUT_MS]]);
  const startedAt = Date.now();
  const deadline = startedAt + START_TIMEOUT_MS;
  for (;;) {
    if (await answers(options, startedAt)) break;
    if (ended !== undefined || givenUp.aborted || Date.now() > deadline) {
      await stop();
      if (givenUp.aborted) throw new Error('the start was given up');
      const why = ended === undefined ? 'no answer' : `ended with ${ended}`;
      throw new Error(`Temporal's ${role} did not start (${why})\n${withoutStacks(lastLinesOf(logFile, logStart))}`);
    }
    await sleep(100);
  }
  const { pid } = child;
  if (pid === undefined || !isRunning(child)) throw new Error(`Temporal's ${role} ended at once with ${ended}`);
  child.once('exit', (code, signal) => onExit(signal ?? `code ${code}`));
  return { pid, stop, kill: () => killTree(pid) };
}

/** The server adds a stack of several thousand characters to each line. */
function withoutStacks(lines: string): string {
  return lines
    .split('\n')
    .map((line) => {
      const { msg, error } = parseObject(line) ?? { msg: line };
      return [msg, error]
        .filter((part) => part !== undefined)
        .join(': ')
        .slice(0, 300);
    })
    .join('\n');
}

/** Under which name each role tells of its health, by gRPC; the internal worker serves none. */
const HEALTH: Partial<Record<Role, string>> = {
  frontend: 'temporal.api.workflowservice.v1.WorkflowService',
  history: 'temporal.api.workflowservice.v1.HistoryService',
  matching: 'temporal.api.workflowservice.v1.MatchingService',
};

async function answers({ role, ports, frontend }: RoleOptions, startedAt: number): Promise<boolean> {
  const service = HEALTH[role];
  if (!(await listens(service === undefined ? ports.membership : ports.grpc))) return false;
  const connection = Connection.lazy({ address: service === undefined ? frontend : `127.0.0.1:${ports.grpc}` });
  try {
    return await connection.withDeadline(Date.now() + 2_000, async () => {
      if (service === undefined) return await polls(connection, startedAt);
      return (await connection.healthService.check({ service })).status === SERVING;
    });
  } catch {
    return false;
  } finally {
    await connection.close();
  }
}

/** Has somebody asked for tasks of Temporal's own since then? Until it does, the internal worker ends where Postgres is away. */
async function polls({ workflowService }: Connection, since: number): Promise<boolean> {
  const { pollers } = await workflowService.describeTaskQueue({
    namespace: 'temporal-system',
    taskQueue: { name: 'default-worker-tq' },
    taskQueueType: TASK_QUEUE_OF_WORKFLOWS,
  });
  return (pollers ?? []).some(({ lastAccessTime }) => Number(lastAccessTime?.seconds ?? 0) * 1_000 > since);
}

/** Of temporal.api.enums.v1.TaskQueueType. */
const TASK_QUEUE_OF_WORKFLOWS = 1;
/** Of grpc.health.v1. */
const SERVING = 1;

/** Does somebody listen there? */
function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', timeout: 1_000 });
    const settle = (is: boolean) => {
      socket.destroy();
      resolve(is);
    };
    socket.once('connect', () => settle(true));
    socket.once('error', () => settle(false));
    socket.once('timeout', () => settle(false));
  });
}
