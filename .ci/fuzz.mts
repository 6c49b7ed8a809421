import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from './eventually.mjs';

// Starts the product and throws schemathesis at the whole OpenAPI document: as a caller with a key that may do everything, as
// nobody, and as one with a key that is none. One line `ok` or `not ok` for each thing that must hold. FUZZ_SECONDS bounds each run;
// SCHEMATHESIS names the program.

interface Stack {
  apiUrl: string;
  apiKey: string;
}
interface Har {
  log: { entries: { request: { method: string; url: string }; response: { status: number } }[] };
}
interface OpenApi {
  paths: Record<string, Record<string, { security?: unknown[]; operationId?: string }>>;
  security?: unknown[];
}

const SECONDS = Number(process.env.FUZZ_SECONDS ?? '120');
const PROGRAM = process.env.SCHEMATHESIS ?? 'schemathesis';
/** What breaks a promise of the document. What it says of good and bad data is finer than a schema can be. */
const CHECKS = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
].join(',');

const home = await mkdtemp(join(tmpdir(), 'recuerda-fuzz-'));
let failures = 0;
function see(what: string, seen: boolean): void {
  if (!seen) failures += 1;
  console.log(`${seen ? 'ok' : 'not ok'} ${what}`);
}

const npm = spawn('npm', ['start'], {
  env: { ...process.env, RECUERDA_HOME: home, PORT: '', LOG_LEVEL: 'error' },
  stdio: ['ignore', 'ignore', 'inherit'],
  detached: true,
});
const ended = new Promise<void>((resolve) => npm.once('exit', () => resolve()));

try {
  const stack = await eventually('the stack to start', 600, async () => {
    const told = JSON.parse(await readFile(join(home, 'stack.json'), 'utf8')) as Stack;
    return (await fetch(`${told.apiUrl}/readyz`)).ok ? told : null;
  });
  const document = (await (await fetch(`${stack.apiUrl}/openapi.json`)).json()) as OpenApi;
  see(
    'with a key: no 5xx, no breach of the schemas',
    (await fuzz(stack, 'key', ['--header', `Authorization: Bearer ${stack.apiKey}`])) === 0,
  );
  const strangers = {
    nobody: [],
    'a wrong key': ['--header', 'Authorization: Bearer a-key-that-nobody-was-ever-given'],
  };
  for (const [name, options] of Object.entries(strangers)) {
    see(`as ${name}: no 5xx, no breach of the schemas`, (await fuzz(stack, name, options)) === 0);
    const { log } = JSON.parse(await readFile(join(home, `${name}.har`), 'utf8')) as Har;
    const letIn = log.entries.filter(
      ({ request, response }) => response.status < 400 && isProtected(document, request.method, request.url),
    );
    for (const { request, response } of letIn.slice(0, 10)) {
      console.log(`${request.method} ${request.url} answered ${response.status}`);
    }
    see(
      `as ${name}: no unauthorised success in ${log.entries.length} calls`,
      log.entries.length > 0 && letIn.length === 0,
    );
  }
  // What it looks at may be busy for a moment after all those calls.
  const alive = eventually('it to be ready', 30, async () =>
    (await fetch(`${stack.apiUrl}/readyz`)).ok ? true : null,
  );
  see('it is alive afterwards', await alive.catch(() => false));
} catch (error) {
  console.log(String(error));
  see('the fuzzing could be done', false);
} finally {
  if (npm.pid !== undefined) process.kill(-npm.pid, 'SIGTERM');
  await Promise.race([ended, sleep(60_000)]);
  await rm(home, { recursive: true, force: true });
}
process.exit(failures === 0 ? 0 : 1);

/** @returns the program's exit code */
async function fuzz(stack: Stack, name: string, options: string[]): Promise<number | null> {
  const child = spawn(
    PROGRAM,
    [
      'run',
      `${stack.apiUrl}/openapi.json`,
      '--phases',
      'examples,coverage,fuzzing',
      '--max-time',
      String(SECONDS),
      '--max-examples',
      '40',
      // Two threads of it trip over a fault of Python 3.11 (a recursion depth that is counted for both).
      '--workers',
      '1',
      '--request-timeout',
      '60',
      '--suppress-health-check',
      'all',
      '--warnings',
      'off',
      '--seed',
      '1',
      '--report-har-path',
      join(home, `${name}.har`),
      '--checks',
      CHECKS,
      ...options,
    ],
    { stdio: ['ignore', 'inherit', 'inherit'], cwd: home, env: { ...process.env, NO_COLOR: '1' } },
  );
  return await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', resolve);
  });
}

/** Whether the document says that a call needs a key. What it does not know is no success that could be unauthorised. */
function isProtected(document: OpenApi, method: string, url: string): boolean {
  const { pathname } = new URL(url);
  for (const [template, operations] of Object.entries(document.paths)) {
    const pattern = new RegExp(`^${template.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replace(/\{[^}]+\}/g, '[^/]+')}$`);
    const operation = pattern.test(pathname) ? operations[method.toLowerCase()] : undefined;
    if (operation !== undefined) return (operation.security ?? document.security ?? []).length > 0;
  }
  return pathname.startsWith('/v1/');
}
