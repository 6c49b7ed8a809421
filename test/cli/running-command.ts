import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../stack/waiting';

const ROOT = join(__dirname, '..', '..');

/** Settings that a developer may have, in the environment or in `.env`; here none of them counts. */
const NO_SETTINGS = {
  ...Object.fromEntries(mailSettings().map((name) => [name, ''])),
  DATABASE_URL: '',
  TEMPORAL_ADDRESS: '',
  SMTP_URL: '',
  IMAP_URL: '',
  RECUERDA_SECRET: '',
  RECUERDA_API_KEY: '',
  RECUERDA_PUBLIC_URL: '',
  RECUERDA_ADDRESS_KEYS: '',
  RECUERDA_TOKEN_KEYS: '',
  RECUERDA_TIME_FACTOR: '',
  HOST: '',
  PORT: '',
  LOG_LEVEL: 'info',
};

/** Everything about mail, also for one stream, as `.env.example` lists it. */
function mailSettings(): string[] {
  const text = readFileSync(join(ROOT, '.env.example'), 'utf8');
  return [
    ...text.matchAll(
      /^# ((?:SMTP|IMAP|WEBHOOK)_[A-Z0-9_]+|RECUERDA_[A-Z_]*(?:PATH|ADDRESS|DKIM_KEYS|FROM|OPERATORS)[A-Z_]*)=/gm,
    ),
  ].map(([, name]) => name ?? '');
}

/** A `recuerda` command that runs as a process of its own, from a folder that is not the checkout. */
export interface RunningCommand {
  child: ChildProcess;
  /** What it has printed so far. */
  output(): string;
  /** Resolves with what it printed once that contains the text. Fails when it ends before. */
  prints(text: string, timeoutMs?: number): Promise<string>;
  /** Resolves with the exit code, or the signal that ended it. */
  ends(timeoutMs?: number): Promise<number | NodeJS.Signals>;
}

export function runCommand(args: string[], home: string, env: NodeJS.ProcessEnv = {}): RunningCommand {
  const child = spawn(process.execPath, [join(ROOT, 'cli', 'recuerda.js'), ...args], {
    cwd: home,
    env: { ...process.env, ...NO_SETTINGS, RECUERDA_HOME: home, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      printed += chunk.toString('utf8');
    });
  }
  const ended = () => child.exitCode ?? child.signalCode;
  return {
    child,
    output: () => printed,
    prints: async (text, timeoutMs = 120_000) => {
      try {
        await until(`"${text}"`, () => printed.includes(text) || ended() !== null, timeoutMs);
      } catch (error) {
        throw new Error(`${(error as Error).message}\n${printed}`);
      }
      if (!printed.includes(text)) throw new Error(`It ended with ${ended()} and never printed "${text}"\n${printed}`);
      return printed;
    },
    ends: async (timeoutMs = 60_000) => {
      await until('the end of the command', () => ended() !== null, timeoutMs);
      return ended() as number | NodeJS.Signals;
    },
  };
}

/** Every process that was started with this home, whoever its parent is by now. Linux only. */
export function processesOf(home: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`RECUERDA_HOME=${home}`);
      } catch {
        return false;
      }
    });
}
