import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Config, readConfig } from '../config';
import { type ChildOutput, childOutput } from '../stack/child-output';
import { startMailbox } from '../stack/mailbox';
import { freePort } from '../stack/ports';
import { hasDatabase, startPostgres } from '../stack/postgres';
import { secretsOf } from '../stack/secrets';
import { StartError } from '../stack/start-error';
import { supervise } from '../stack/supervisor';
import { resolveTemporalCli } from '../stack/temporal-cli';
import { startTemporal } from '../stack/temporal-server';
import { defaultCacheDir } from '../stack/tool-cache';
import type { HomeLock, StackInfo } from './home';
import { WORKER_READY } from './log';
import { migrateDatabase } from './migrate';

/** How often ports are chosen anew when another program takes one in the last moment. */
const PORT_ATTEMPTS = 4;

/** What is preferred where it is free. */
const PORTS = { api: 3000, temporal: 7233, temporalUi: 8233, postgres: 54_329, mailboxWeb: 1080, mailboxSmtp: 1025 };

/** A stop ends them in this order: nobody loses what it still needs. */
const STOP_ORDER = ['api', 'inbox', 'worker', 'temporal', 'mailbox', 'postgres'] as const;
type Part = (typeof STOP_ORDER)[number];

/** How long a stop waits before it kills, ms; longer than each needs by itself. */
const GRACE_MS = { api: 30_000, inbox: 15_000, worker: 80_000 };
const READY_TIMEOUT_MS = 120_000;

export interface StackOptions {
  home: string;
  lock: HomeLock;
  /** The checkout. */
  root: string;
  env: NodeJS.ProcessEnv;
  /** One line for the person who waits. */
  say: (line: string) => void;
  /** Aborts the start. */
  signal: AbortSignal;
  /** Called when a server ends without being asked to. */
  onBroken: (why: string) => void;
  /** Told of the processes of the API, the worker and the inbox, for a stop by force. */
  onProcess: (process: Killable) => void;
}

/** A process that may be started anew now and then. */
export interface Killable {
  /** Undefined while there is none. */
  pid(): number | undefined;
}

export interface Stack {
  info: StackInfo;
  config: Config;
  stop(): Promise<void>;
}

/** Starting and stopping share this: what is up, and what is on its way. */
interface Parts {
  start<T extends { stop(): Promise<void> }>(name: Part, start: () => Promise<T>): Promise<T>;
  /** Ends everything that was started, in order, and refuses new ones. */
  stop(): Promise<void>;
}

/**
 * Starts everything on this machine: Postgres, Temporal and the mailbox, each unless the environment names another one to
 * use, then the schema, then the API, a worker and, with IMAP_URL, the inbox as supervised processes. Resolves when a lead
 * could be enrolled and mailed. When it fails, everything that was started is stopped again.
 *
 * @throws ConfigError, StartError, or what a server said that did not come up
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  for (let attempt = 1; ; attempt++) {
    const parts = createParts(options.signal);
    try {
      // A tool that is being built can't be hurried; whoever wants to stop need not wait for it.
      return await Promise.race([startParts(options, parts), whenAborted(options.signal)]);
    } catch (error) {
      await parts.stop();
      if (attempt >= PORT_ATTEMPTS || !isPortTaken(error)) throw error;
      options.say('A port was taken by something else just now; choosing again.');
    }
  }
}

/** Did another program take a port between our look and our listening? Nothing reserves one. */
function isPortTaken(error: unknown): boolean {
  if (error instanceof StartError || !(error instanceof Error)) return false;
  return (
    (error as NodeJS.ErrnoException).code === 'EADDRINUSE' || /^Port \d+ .* is already in use$/.test(error.message)
  );
}

function whenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

async function startParts(options: StackOptions, parts: Parts): Promise<Stack> {
  const { home, lock, env, say, onBroken, signal } = options;
  const secrets = secretsOf(home, hasDatabase(join(home, 'postgres')) && !env.RECUERDA_SECRET);
  const host = env.HOST || '127.0.0.1';
  const ports = await choosePorts(env, host, say);
  const apiUrl = `http://${reachable(host)}:${ports.api}`;
  const settings: NodeJS.ProcessEnv = {
    ...env,
    HOST: host,
    PORT: String(ports.api),
    RECUERDA_SECRET: env.RECUERDA_SECRET || secrets.secret,
    RECUERDA_API_KEY: env.RECUERDA_API_KEY || secrets.apiKey,
    RECUERDA_PUBLIC_URL: env.RECUERDA_PUBLIC_URL || apiUrl,
    TEMPORAL_ADDRESS: env.TEMPORAL_ADDRESS || `127.0.0.1:${ports.temporal}`,
    // Ours has one namespace only.
    TEMPORAL_NAMESPACE: (env.TEMPORAL_ADDRESS && env.TEMPORAL_NAMESPACE) || 'default',
    SMTP_URL: env.SMTP_URL || `smtp://127.0.0.1:${ports.mailboxSmtp}`,
    RECUERDA_JOURNAL: env.RECUERDA_JOURNAL || join(home, 'journal'),
  };
  // Wrong settings are told before anything is started.
  readConfig({ ...settings, DATABASE_URL: env.DATABASE_URL || 'postgres://127.0.0.1/recuerda' });

  if (!env.RECUERDA_JOURNAL) mkdirSync(join(home, 'journal'), { recursive: true, mode: 0o700 });

  const broken = (what: string) => (how: string) => onBroken(`${what} ended unexpectedly (${how})`);
  const database = async () => {
    let url = env.DATABASE_URL;
    if (!url) {
      say('Starting Postgres …');
      const dir = join(home, 'postgres');
      const server = await parts.start('postgres', () =>
        startPostgres({ dir, port: ports.postgres, onProgress: say, onExit: broken('Postgres') }),
      );
      lock.note(server.pid);
      url = server.url;
    }
    const applied = await migrateDatabase(url);
    if (applied.length > 0) say(`Brought the database to this release's schema (${applied.join(', ')}).`);
    return url;
  };
  const temporal = async () => {
    if (env.TEMPORAL_ADDRESS) return null;
    const cli = await resolveTemporalCli({
      ...(env.RECUERDA_TEMPORAL_CLI ? { explicitPath: env.RECUERDA_TEMPORAL_CLI } : {}),
      cacheDir: defaultCacheDir(env),
      path: env.PATH ?? '',
      onProgress: say,
      env,
    });
    say('Starting Temporal …');
    const server = await parts.start('temporal', () =>
      startTemporal({
        cli,
        dbFile: join(home, 'temporal.db'),
        logFile: join(home, 'logs', 'temporal.log'),
        port: ports.temporal,
        uiPort: ports.temporalUi,
        onExit: broken('The Temporal server'),
      }),
    );
    lock.note(server.pid);
    return server.uiUrl ?? null;
  };
  const mailbox = async () => {
    if (env.SMTP_URL) return null;
    const dir = join(home, 'mailbox');
    // It holds people's addresses.
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const { mailboxWeb: webPort, mailboxSmtp: smtpPort } = ports;
    return (await parts.start('mailbox', () => startMailbox({ dir, webPort, smtpPort }))).webUrl;
  };
  const [databaseUrl, temporalUi, mailboxUrl] = await Promise.all([database(), temporal(), mailbox()]);

  const config = readConfig({ ...settings, DATABASE_URL: databaseUrl });
  say('Starting the API and a worker …');
  const withInbox = config.inboxes.length > 0;
  const workerReady = startProcesses(options, parts, { ...settings, DATABASE_URL: databaseUrl }, withInbox);
  await Promise.all([
    apiReady(apiUrl, config.apiKeys[0] ?? '', signal),
    inTime('The worker', workerReady, home, signal),
  ]);
  return {
    info: {
      apiUrl,
      apiKey: config.apiKeys[0] ?? '',
      temporalUi,
      mailboxUrl,
      smtpUrl: config.smtp.marketing.url,
      databaseUrl,
      temporalAddress: config.temporalAddress,
    },
    config,
    stop: () => parts.stop(),
  };
}

/**
 * Keeps the API, a worker and perhaps the inbox running; resolves when the worker takes tasks for the first time. The inbox
 * is not waited for: a mail server that can't be reached now is tried again.
 */
function startProcesses(
  { home, root, say, onProcess }: StackOptions,
  parts: Parts,
  env: NodeJS.ProcessEnv,
  withInbox: boolean,
): Promise<void> {
  const run = (name: 'api' | 'inbox' | 'worker', onMessage: (message: string) => void) =>
    parts.start(name, async () => {
      const output: ChildOutput = childOutput(name, join(home, 'logs', `${name}.log`), say, onMessage);
      const child = supervise({
        name,
        command: process.execPath,
        args: [join(root, 'cli', 'recuerda.js'), name],
        env: { ...env, ...metricsPort(env, name) },
        cwd: root,
        onLine: output.onLine,
      });
      onProcess(child);
      return {
        stop: async () => {
          await child.stop(GRACE_MS[name]);
          output.close();
        },
      };
    });
  return new Promise((resolve, reject) => {
    const onMessage = (message: string) => {
      if (message === WORKER_READY) resolve();
    };
    const others = withInbox ? (['api', 'inbox'] as const) : (['api'] as const);
    Promise.all([run('worker', onMessage), ...others.map((name) => run(name, () => {}))]).catch(reject);
  });
}

/** The API's is the one that is set; the worker and the inbox, on the same machine, take the ones after it. */
function metricsPort(env: NodeJS.ProcessEnv, name: 'api' | 'inbox' | 'worker'): NodeJS.ProcessEnv {
  const first = Number(env.RECUERDA_METRICS_PORT || 0);
  return first === 0 ? {} : { RECUERDA_METRICS_PORT: String(first + { api: 0, worker: 1, inbox: 2 }[name]) };
}

function createParts(signal: AbortSignal): Parts {
  const underWay = new Set<Promise<unknown>>();
  const stops = new Map<Part, () => Promise<void>>();
  let stopped: Promise<void> | undefined;
  return {
    start: async (name, start) => {
      signal.throwIfAborted();
      if (stopped !== undefined) throw new StartError('The start was given up.');
      const starting = start().then((part) => {
        stops.set(name, () => part.stop());
        return part;
      });
      const settled = starting.catch(() => {}).finally(() => underWay.delete(settled));
      underWay.add(settled);
      return await starting;
    },
    stop: () => {
      stopped ??= (async () => {
        await Promise.all(underWay);
        for (const name of STOP_ORDER) await stops.get(name)?.();
      })();
      return stopped;
    },
  };
}

/** Asked with our key, so that another program that has just taken the port is not taken for our API. */
async function apiReady(apiUrl: string, apiKey: string, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  for (;;) {
    signal.throwIfAborted();
    const ready = await fetch(`${apiUrl}/v1/campaigns?limit=1`, {
      headers: { authorization: `Bearer ${apiKey}` },
      signal: AbortSignal.timeout(5_000),
    }).then(
      (answer) => answer.ok,
      () => false,
    );
    if (ready) return;
    if (Date.now() > deadline) throw new StartError(`The API did not come up at ${apiUrl}.`);
    await sleep(50);
  }
}

async function inTime(what: string, ready: Promise<void>, home: string, signal: AbortSignal): Promise<void> {
  const overdue = new AbortController();
  const either = AbortSignal.any([signal, overdue.signal]);
  try {
    await Promise.race([
      ready,
      sleep(READY_TIMEOUT_MS, undefined, { signal: either }).then(() => {
        throw new StartError(`${what} did not come up; see ${join(home, 'logs')}.`);
      }),
    ]);
  } finally {
    overdue.abort();
  }
}

type Ports = typeof PORTS;

/** Free ports, those that are preferred where possible; says where not. @throws StartError when PORT is set and taken */
async function choosePorts(env: NodeJS.ProcessEnv, host: string, say: (line: string) => void): Promise<Ports> {
  const wanted: Partial<Ports> = {
    ...(env.DATABASE_URL ? {} : { postgres: PORTS.postgres }),
    ...(env.TEMPORAL_ADDRESS ? {} : { temporal: PORTS.temporal, temporalUi: PORTS.temporalUi }),
    ...(env.SMTP_URL ? {} : { mailboxWeb: PORTS.mailboxWeb, mailboxSmtp: PORTS.mailboxSmtp }),
  };
  const ports = { ...PORTS };
  const given = new Set<number>();
  const choose = async (preferred: number): Promise<number> => {
    let port = await freePort(preferred);
    while (given.has(port)) port = await freePort();
    given.add(port);
    return port;
  };

  const asked = env.PORT ? Number(env.PORT) : undefined;
  if (asked !== undefined && Number.isInteger(asked) && asked > 0 && asked < 65_536) {
    if ((await freePort(asked)) !== asked) {
      throw new StartError(`Port ${asked} (PORT) on ${host} is already in use. Set PORT to another one, or free it.`);
    }
    ports.api = asked;
    given.add(asked);
  } else if (asked === undefined || asked === 0) {
    ports.api = await choose(asked ?? PORTS.api);
    if (asked === undefined && ports.api !== PORTS.api) {
      say(`Port ${PORTS.api} is in use by something else; the API takes ${ports.api}.`);
    }
  }
  for (const [name, preferred] of Object.entries(wanted) as [keyof Ports, number][]) {
    ports[name] = await choose(preferred);
    if (ports[name] !== preferred)
      say(`Port ${preferred} is in use by something else; ${LABELS[name]} takes ${ports[name]}.`);
  }
  return ports;
}

const LABELS: Record<keyof Ports, string> = {
  api: 'the API',
  temporal: 'Temporal',
  temporalUi: 'the Temporal UI',
  postgres: 'Postgres',
  mailboxWeb: "the mailbox's page",
  mailboxSmtp: "the mailbox's SMTP",
};

/** An address under which this machine reaches what listens on `host`. */
function reachable(host: string): string {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1';
  return host.includes(':') ? `[${host}]` : host;
}
