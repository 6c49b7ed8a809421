import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, createWriteStream, statSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { homeOf, readStackInfo } from './home';
import { type ApiAccess, callApi } from './own-api';
import { rows } from './table';

export interface ImportOptions {
  campaign: string;
  purpose: string;
  consentText: string;
  source: string;
  /** `key=column`, any number of them. */
  mapping?: string[];
  timeZone?: string;
  url?: string;
  key?: string;
  /** Where to write every rejected line, as CSV. */
  errors?: string;
}

/** Where lines and the progress bar go. */
export interface Terminal {
  write(text: string): unknown;
  isTTY?: boolean;
}

/** So many rejected lines are shown; a file with more has one thing wrong with it, or needs `--errors`. */
const SHOWN = 20;
/** Between two looks at the import, ms. */
const LOOK_EVERY_MS = 500;
/** Without a terminal: between two lines about the progress, ms. */
const LINE_EVERY_MS = 5_000;
/** For how long the API may be away meanwhile, ms. */
const AWAY_MS = 60_000;
const PAGE = 1_000;

interface Import {
  state: 'running' | 'completed' | 'failed';
  total: number;
  created: number;
  existing: number;
  rejected: number;
  warningCount: number;
  failure: string | null;
  errors: Issue[];
}

interface Issue {
  line: number;
  column: string | null;
  reason: string;
}

/**
 * `recuerda import FILE`: hands a file of leads to the API, watches until it is dealt with and tells what became of it.
 *
 * @param root the checkout, where a stack of this machine keeps its home
 * @returns the exit code: 0 when every line was dealt with, 1 when the file was refused or the import failed
 */
export async function importFile(
  env: NodeJS.ProcessEnv,
  root: string,
  file: string,
  options: ImportOptions,
  terminal: Terminal,
): Promise<number> {
  const say = (line: string) => terminal.write(`${line}\n`);
  const progress = createProgress(terminal);
  try {
    const api = accessOf(env, root, options);
    const { importId, lines } = await upload(api, file, options, progress);
    progress.end();
    say(`Import ${importId} is accepted; it goes on even when this command ends.`);
    const done = await watch(api, importId, lines, progress);
    progress.end();
    await tell(api, importId, done, options.errors, say);
    return done.state === 'completed' ? 0 : 1;
  } catch (error) {
    progress.end();
    say(`The file was not imported: ${(error as Error).message}`);
    return 1;
  }
}

function accessOf(env: NodeJS.ProcessEnv, root: string, options: ImportOptions): ApiAccess {
  const home = homeOf(env, root);
  const stack = readStackInfo(home);
  const apiUrl = options.url ?? stack?.apiUrl;
  const ownKey = options.url === undefined ? stack?.apiKey : undefined;
  const apiKey = options.key || env.RECUERDA_API_KEY?.split(',')[0] || ownKey;
  if (apiUrl === undefined) {
    throw new Error(`nothing is running in ${home}. Start it with "npm start", or say --url and --key of another API.`);
  }
  if (apiKey === undefined) throw new Error('say the API key with --key, or in RECUERDA_API_KEY.');
  return { apiUrl: apiUrl.replace(/\/+$/, ''), apiKey };
}

/** Streams the file to the API. @returns the import and about how many lines it has */
async function upload(
  { apiUrl, apiKey }: ApiAccess,
  file: string,
  options: ImportOptions,
  progress: Progress,
): Promise<{ importId: string; lines: number }> {
  const { size } = statSync(file);
  const url = new URL(`${apiUrl}/v1/campaigns/${encodeURIComponent(options.campaign)}/imports`);
  url.search = parametersOf(options).toString();
  const request = url.protocol === 'https:' ? httpsRequest : httpRequest;
  const sending = request(url, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${apiKey}`,
      'content-type': 'text/csv',
      'content-length': size,
      'idempotency-key': randomUUID(),
    },
  });
  // It may answer, with a refusal, before all of the file is there.
  const answered = once(sending, 'response') as Promise<[IncomingMessage]>;
  let refused = false;
  answered.then(
    () => {
      refused = true;
    },
    () => {},
  );
  let sent = 0;
  let lines = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 256 * 1024 }) as AsyncIterable<Buffer>) {
    if (refused) break;
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) lines += 1;
    if (!sending.write(chunk)) await Promise.race([once(sending, 'drain'), answered]);
    sent += chunk.length;
    progress.show('Sending', sent / size, `${megabytes(sent)} of ${megabytes(size)}`);
  }
  if (!refused) sending.end();
  const [response] = await answered;
  let text = '';
  for await (const piece of response.setEncoding('utf8')) text += piece;
  if (refused) sending.destroy();
  if (response.statusCode !== 202) throw new Error(refusal(response.statusCode ?? 0, text));
  return { importId: (JSON.parse(text) as { importId: string }).importId, lines };
}

function parametersOf(options: ImportOptions): URLSearchParams {
  const { purpose, consentText, source, mapping = [], timeZone } = options;
  const parameters = new URLSearchParams({ purpose, consentText, source });
  if (timeZone !== undefined) parameters.set('timeZone', timeZone);
  if (mapping.length > 0) {
    const columns = mapping.map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1) throw new Error(`--mapping ${pair}: say it as email=Correo.`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    });
    parameters.set('mapping', JSON.stringify(Object.fromEntries(columns)));
  }
  return parameters;
}

function refusal(status: number, text: string): string {
  try {
    const {
      title,
      detail,
      errors = [],
    } = JSON.parse(text) as {
      title?: string;
      detail?: string;
      errors?: { pointer: string; detail: string }[];
    };
    const faults = errors.length > 1 ? errors.map((error) => `\n  ${error.pointer.slice(1)}: ${error.detail}`) : [];
    return `${detail ?? title ?? status}${faults.join('')}`;
  } catch {
    return `the API answered ${status}`;
  }
}

/** Looks at the import until it has ended, over short times without the API too. */
async function watch(api: ApiAccess, importId: string, lines: number, progress: Progress): Promise<Import> {
  let heard = Date.now();
  for (;;) {
    try {
      const now = await callApi<Import>(api, 'GET', `/v1/imports/${importId}?limit=${SHOWN}`);
      heard = Date.now();
      const { total, created, existing, rejected } = now;
      // Line breaks in quotes make the number of lines an estimate until the end.
      const share = now.state === 'completed' ? 1 : Math.min(0.99, total / Math.max(lines, 1));
      progress.show('Importing', share, `${total} lines: ${created} new, ${existing} known, ${rejected} rejected`);
      if (now.state !== 'running') return now;
    } catch (error) {
      if (Date.now() - heard > AWAY_MS) throw error;
    }
    await sleep(LOOK_EVERY_MS);
  }
}

async function tell(
  api: ApiAccess,
  importId: string,
  done: Import,
  errorsFile: string | undefined,
  say: (line: string) => void,
): Promise<void> {
  say(
    `\n${rows([
      ['State', done.state],
      ['Lines', String(done.total)],
      ['New leads', String(done.created)],
      ['Known already', String(done.existing)],
      ['Rejected', String(done.rejected)],
      ['Warnings', String(done.warningCount)],
    ])}`,
  );
  if (done.failure !== null) say(`\nThe import failed: ${done.failure}`);
  if (done.errors.length > 0)
    say(`\nRejected:\n${rows(done.errors.map(({ line, ...why }) => [`line ${line}`, told(why)]))}`);
  if (done.rejected > done.errors.length && errorsFile === undefined) {
    say(`  … and ${done.rejected - done.errors.length} more; --errors FILE writes all of them.`);
  }
  if (errorsFile !== undefined)
    say(`\n${await writeErrors(api, importId, errorsFile)} rejected lines are in ${errorsFile}.`);
}

function told({ column, reason }: Omit<Issue, 'line'>): string {
  return column === null ? reason : `${column}: ${reason}`;
}

/** @returns how many */
async function writeErrors(api: ApiAccess, importId: string, file: string): Promise<number> {
  const out = createWriteStream(file);
  const opened = once(out, 'open');
  let count = 0;
  await opened;
  out.write('line,column,reason\r\n');
  for (let cursor: string | null = ''; cursor !== null; ) {
    const query: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const page: { items: Issue[]; nextCursor: string | null } = await callApi(
      api,
      'GET',
      `/v1/imports/${importId}/errors?limit=${PAGE}${query}`,
    );
    const text = page.items.map(({ line, column, reason }) => `${line},${cell(column ?? '')},${cell(reason)}\r\n`);
    if (!out.write(text.join(''))) await once(out, 'drain');
    count += page.items.length;
    cursor = page.nextCursor;
  }
  out.end();
  await once(out, 'close');
  return count;
}

/** RFC 4180. */
function cell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

interface Progress {
  /** @param share 0 to 1 */
  show(what: string, share: number, details: string): void;
  end(): void;
}

/** A bar where there is a terminal, otherwise a line now and then. */
function createProgress(terminal: Terminal): Progress {
  const width = 30;
  let shown = '';
  let said = Date.now();
  return {
    show(what, share, details) {
      if (terminal.isTTY !== true) {
        if (Date.now() - said < LINE_EVERY_MS) return;
        said = Date.now();
        terminal.write(`${what}: ${Math.floor(share * 100)} %, ${details}\n`);
        return;
      }
      const full = Math.round(share * width);
      const line = `${what.padEnd(9)} ${'█'.repeat(full)}${'░'.repeat(width - full)} ${String(Math.floor(share * 100)).padStart(3)} %  ${details}`;
      terminal.write(`\r${line.padEnd(shown.length)}`);
      shown = line;
    },
    end() {
      if (shown !== '') terminal.write('\n');
      shown = '';
    },
  };
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
