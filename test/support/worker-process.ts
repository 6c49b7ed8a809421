import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { TEST_ADDRESS_KEYS, TEST_TOKEN_KEYS } from './leads';

/** A worker in a process of its own, which a test may kill. */
export interface WorkerProcess {
  pid: number;
  /** Everything it has written so far. */
  output(): string;
  isRunning(): boolean;
  /** SIGKILL, at once: nothing of it runs any more when this resolves. */
  kill(): Promise<void>;
  /** SIGTERM: lets deliveries finish. SIGKILL after 20 s. */
  stop(): Promise<void>;
}

export interface WorkerSettings {
  databaseUrl: string;
  temporalAddress: string;
  smtpUrl: string;
  smtpConnections?: number;
  timeFactor?: number;
  /** File of its workflow code; otherwise the bundle that the test run has made. */
  bundle?: string;
  /** Worker deployment versioning. */
  deployment?: { name: string; buildId: string };
  /** Directory of its journal; none when left out. */
  journal?: string;
  /** Its versioned keys; those of the tests when left out. */
  addressKeys?: readonly VersionedKey[];
  tokenKeys?: readonly VersionedKey[];
}

interface VersionedKey {
  version: number;
  secret: Buffer;
}

/** The environment of a command that works with these. */
export function environmentOf(settings: WorkerSettings): Record<string, string> {
  return {
    DATABASE_URL: settings.databaseUrl,
    TEMPORAL_ADDRESS: settings.temporalAddress,
    SMTP_URL: settings.smtpUrl,
    RECUERDA_PUBLIC_URL: 'http://localhost:3000',
    RECUERDA_SMTP_CONNECTIONS: String(settings.smtpConnections ?? 5),
    RECUERDA_TIME_FACTOR: String(settings.timeFactor ?? 1),
    RECUERDA_ADDRESS_KEYS: keyList(settings.addressKeys ?? TEST_ADDRESS_KEYS),
    RECUERDA_TOKEN_KEYS: keyList(settings.tokenKeys ?? TEST_TOKEN_KEYS),
    RECUERDA_JOURNAL: settings.journal ?? '',
  };
}

const ROOT = join(__dirname, '..', '..');
const START_MS = 120_000;
const STOP_MS = 60_000;

/**
 * Starts a worker and resolves when it takes tasks. It ends with this process, however that ends.
 *
 * @throws Error with its last words when it ends before
 */
export async function startWorkerProcess(settings: WorkerSettings): Promise<WorkerProcess> {
  const child = spawn(process.execPath, ['--import', 'tsx', join(__dirname, 'fixtures', 'worker.ts')], {
    cwd: ROOT,
    env: {
      PATH: process.env.PATH,
      ...environmentOf(settings),
      TEST_WORKFLOW_BUNDLE: settings.bundle ?? process.env.TEST_WORKFLOW_BUNDLE,
      RECUERDA_DEPLOYMENT: settings.deployment?.name,
      RECUERDA_BUILD_ID: settings.deployment?.buildId,
    },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let output = '';
  const collect = (chunk: Buffer) => {
    output += chunk.toString('utf8');
  };
  child.stdout?.on('data', collect);
  child.stderr?.on('data', collect);
  const exited = once(child, 'exit');
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  const kill = async () => {
    if (isRunning()) child.kill('SIGKILL');
    await exited;
  };

  const timer = setTimeout(() => void kill(), START_MS);
  const ready = once(child, 'message').then(() => true);
  const started = await Promise.race([ready, exited.then(() => false)]);
  clearTimeout(timer);
  if (!started || child.pid === undefined) throw new Error(`the worker did not start:\n${output}`);
  return {
    pid: child.pid,
    output: () => output,
    isRunning,
    kill,
    stop: async () => {
      if (isRunning()) child.kill('SIGTERM');
      const patience = setTimeout(() => void kill(), STOP_MS);
      await exited;
      clearTimeout(patience);
    },
  };
}

function keyList(keys: readonly VersionedKey[]): string {
  return keys.map((key) => `${key.version}:${key.secret.toString('hex')}`).join(',');
}
