import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { migrateDatabase } from '../cli/migrate';
import { startCluster } from '../stack/cluster';
import type { MemberKind } from '../stack/member';
import { freePort } from '../stack/ports';
import { startPostgres } from '../stack/postgres';
import { startRecuerda } from '../stack/recuerda-process';
import { resolveTemporalCli } from '../stack/temporal-cli';
import { startTemporal } from '../stack/temporal-server';
import { defaultCacheDir } from '../stack/tool-cache';
import { withoutSettings } from '../stack/without-settings';

/** `cluster`: as in production, Temporal's roles on Postgres, two APIs, two workers. `embedded`: Temporal's dev server on SQLite. */
export type StackKind = 'cluster' | 'embedded';

export interface BenchStackOptions {
  kind: StackKind;
  /** Folder for data and logs. */
  home: string;
  apis: number;
  workers: number;
  /** Settings of every API and worker, over what the benchmark needs. */
  settings: NodeJS.ProcessEnv;
  smtpUrl: string;
  say: (line: string) => void;
}

/** Everything that is measured, running. */
export interface BenchStack {
  kind: StackKind;
  databaseUrl: string;
  temporalAddress: string;
  apiUrls: string[];
  apiKey: string;
  /** What every API and worker was told. */
  settings: NodeJS.ProcessEnv;
  /** Temporal's databases beside ours, on the same server; null where its store is a file. */
  temporalDatabases: string[] | null;
  temporalFile: string | null;
  /** Process ids by what they are: `api`, `worker`, `postgres`, `temporal`. Children are found by their parents. */
  pids(): Record<string, number[]>;
  stop(): Promise<void>;
}

export const DKIM_DOMAIN = 'casabrava.example';
const NAMESPACE = 'default';
const ROOT = join(__dirname, '..');

/** Starts a stack of its own, with nothing in it. Resolves when a lead could be enrolled and mailed. */
export async function startBenchStack(options: BenchStackOptions): Promise<BenchStack> {
  mkdirSync(options.home, { recursive: true });
  return options.kind === 'cluster' ? await startOnCluster(options) : await startEmbedded(options);
}

/** What APIs and workers of both kinds are told: mail is signed, as in production. */
function settingsOf({ home, smtpUrl, settings }: BenchStackOptions): NodeJS.ProcessEnv {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const keyFile = join(home, 'dkim.pem');
  writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  return {
    SMTP_URL: smtpUrl,
    RECUERDA_DKIM_KEYS: `${DKIM_DOMAIN}:s1:${keyFile},info.${DKIM_DOMAIN}:s1:${keyFile}`,
    LOG_LEVEL: 'warn',
    ...settings,
  };
}

async function startOnCluster(options: BenchStackOptions): Promise<BenchStack> {
  const { home, apis, workers, say } = options;
  const cluster = await startCluster({
    home,
    root: ROOT,
    apis,
    workers,
    settings: settingsOf(options),
    env: withoutSettings(process.env, ROOT),
    say,
  });
  const pidsOf = (...kinds: MemberKind[]) =>
    cluster.members.filter(({ kind }) => kinds.includes(kind)).flatMap((member) => member.pid() ?? []);
  return {
    kind: 'cluster',
    databaseUrl: cluster.databaseUrl,
    temporalAddress: cluster.temporalAddress,
    apiUrls: cluster.apiUrls,
    apiKey: cluster.apiKey,
    settings: { ...cluster.settings, DATABASE_URL: cluster.databaseUrl },
    temporalDatabases: ['temporal', 'temporal_visibility'],
    temporalFile: null,
    pids: () => ({
      api: pidsOf('api'),
      worker: pidsOf('worker'),
      postgres: pidsOf('postgres'),
      temporal: pidsOf('frontend', 'history', 'matching', 'internal-worker'),
    }),
    stop: () => cluster.stop(),
  };
}

async function startEmbedded(options: BenchStackOptions): Promise<BenchStack> {
  const { home, say } = options;
  const stops: (() => Promise<void>)[] = [];
  const stop = async () => {
    for (const end of stops.splice(0).reverse()) await end();
  };
  try {
    const postgres = await startPostgres({ dir: join(home, 'postgres'), port: await freePort(), onProgress: say });
    stops.push(() => postgres.stop());
    await migrateDatabase(postgres.url);
    const cli = await resolveTemporalCli({
      ...(process.env.RECUERDA_TEMPORAL_CLI ? { explicitPath: process.env.RECUERDA_TEMPORAL_CLI } : {}),
      cacheDir: defaultCacheDir(process.env),
      path: process.env.PATH ?? '',
      onProgress: say,
      env: process.env,
    });
    const temporal = await startTemporal({
      cli,
      dbFile: join(home, 'temporal.db'),
      logFile: join(home, 'logs', 'temporal.log'),
      port: await freePort(),
    });
    stops.push(() => temporal.stop());
    const journal = join(home, 'journal');
    mkdirSync(journal, { recursive: true });
    const apiKey = randomBytes(24).toString('base64url');
    const env: NodeJS.ProcessEnv = {
      ...withoutSettings(process.env, ROOT),
      DATABASE_URL: postgres.url,
      TEMPORAL_ADDRESS: temporal.address,
      TEMPORAL_NAMESPACE: NAMESPACE,
      RECUERDA_SECRET: randomBytes(32).toString('hex'),
      RECUERDA_API_KEY: apiKey,
      RECUERDA_JOURNAL: journal,
      ...settingsOf(options),
    };
    const start = async (command: 'api' | 'worker', number: number, url: string, own: NodeJS.ProcessEnv = {}) => {
      const running = await startRecuerda({
        command,
        name: `${command}-${number}`,
        root: ROOT,
        logDir: join(home, 'logs'),
        env: { ...env, RECUERDA_PUBLIC_URL: url, ...own },
        url,
        say,
        onExit: (how) => say(`${command}-${number} ended: ${how}`),
        signal: new AbortController().signal,
      });
      stops.push(() => running.stop());
      return running.pid;
    };
    const apiUrls: string[] = [];
    const api: number[] = [];
    for (let number = 1; number <= options.apis; number++) {
      const port = await freePort();
      const url = `http://127.0.0.1:${port}`;
      apiUrls.push(url);
      api.push(await start('api', number, url, { HOST: '127.0.0.1', PORT: String(port) }));
    }
    const [url = ''] = apiUrls;
    const worker = await Promise.all(
      Array.from({ length: options.workers }, (_, index) => start('worker', index + 1, url)),
    );
    return {
      kind: 'embedded',
      settings: { ...env, RECUERDA_PUBLIC_URL: apiUrls[0] },
      temporalDatabases: null,
      temporalFile: join(home, 'temporal.db'),
      databaseUrl: postgres.url,
      temporalAddress: temporal.address,
      apiUrls,
      apiKey,
      pids: () => ({
        api,
        worker,
        postgres: [postgres.pid],
        temporal: [temporal.pid],
      }),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
