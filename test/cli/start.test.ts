import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readStackInfo, type StackInfo } from '../../cli/home';
import { callApi } from '../../cli/own-api';
import { freePort, steadyPort } from '../../stack/ports';
import { until } from '../stack/waiting';
import { processesOf, type RunningCommand, runCommand } from './running-command';

// One stack for the whole file: the tests are one story, in order.

const onLinux = process.platform === 'linux' ? test : test.skip;

let home: string;
let port: number;
let command: RunningCommand | undefined;
let stack: StackInfo;

interface Enrollment {
  enrollmentId: string;
  outcome: string | null;
  messages: { step: number; state: string }[];
}

/** What goes through every process of the stack, on a machine that may be busy. */
const PATIENCE_MS = 120_000;

interface Mail {
  subject: string;
  to: { address: string }[];
  headers: Record<string, string>;
}

async function up(env: NodeJS.ProcessEnv = {}): Promise<RunningCommand> {
  const started = runCommand(['start'], home, { PORT: String(port), ...env });
  command = started;
  await started.prints('Ready after', 600_000);
  const info = readStackInfo(home);
  if (info === null) throw new Error('a running stack can be found');
  stack = info;
  return started;
}

async function enrolled(email: string): Promise<string> {
  const { items } = await callApi<{ items: { id: string }[] }>(stack, 'GET', '/v1/campaigns');
  const body = {
    lead: { email, name: 'Lucía Gómez' },
    consent: { purpose: 'follow-up', text: 'Sí', capturedAt: new Date().toISOString(), source: 'test' },
  };
  const path = `/v1/campaigns/${items[0]?.id}/enrollments`;
  return (await callApi<{ enrollmentId: string }>(stack, 'POST', path, body)).enrollmentId;
}

async function enrollment(id: string): Promise<Enrollment> {
  return await callApi<Enrollment>(stack, 'GET', `/v1/enrollments/${id}`);
}

async function mailsTo(address: string): Promise<Mail[]> {
  const mails = (await (await fetch(`${stack.mailboxUrl}/email`)).json()) as Mail[];
  return mails.filter(({ to }) => to.some((recipient) => recipient.address === address));
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'recuerda-start-'));
  port = await steadyPort(new Set());
  await up();
}, 30 * 60_000);

afterAll(async () => {
  command?.child.kill('SIGTERM');
  await command?.ends();
  await rm(home, { recursive: true, force: true });
});

let lucia: string;

test('prints where everything is, and it is there', async () => {
  const printed = command?.output() ?? '';
  for (const place of [stack.apiUrl, `${stack.apiUrl}/docs`, stack.temporalUi, stack.mailboxUrl, stack.apiKey, home]) {
    expect(printed).toContain(place);
  }
  expect(stack.apiUrl).toBe(`http://127.0.0.1:${port}`);
  expect(printed).toContain('No mail leaves this machine until SMTP_URL is set.');
  expect(printed).toMatch(/^ *Inbox +none: set IMAP_URL /m);
  for (const page of [`${stack.apiUrl}/docs`, `${stack.apiUrl}/openapi.json`, stack.temporalUi, stack.mailboxUrl]) {
    expect((await fetch(page as string)).status).toBe(200);
  }
  expect((await stat(join(home, 'stack.json'))).mode & 0o777).toBe(0o600);
  expect((await stat(join(home, 'secrets.json'))).mode & 0o777).toBe(0o600);
});

test('offers a published example campaign in Spanish and one in English', async () => {
  const { items } = await callApi<{ items: { id: string; latestVersion: number }[] }>(stack, 'GET', '/v1/campaigns');
  expect(items.map(({ latestVersion }) => latestVersion)).toEqual([1, 1]);
  for (const { id } of items) expect(command?.output()).toContain(id);
});

test('the printed command enrolls a lead, whose mail arrives in the mailbox', async () => {
  const printed = command?.output() ?? '';
  const [, url, key, body] =
    /curl -X POST (\S+) \\\n\s+-H 'Authorization: (\S+ \S+)'.*\\\n\s+-d '(.*)'/.exec(printed) ?? [];
  const answer = await fetch(url as string, {
    method: 'POST',
    headers: { authorization: key as string, 'content-type': 'application/json' },
    body: body as string,
  });
  expect(answer.status).toBe(202);
  const [mail] = await until(
    'the mail',
    async () => {
      const mails = await mailsTo('lucia@example.com');
      return mails.length > 0 ? mails : undefined;
    },
    PATIENCE_MS,
  );
  expect(mail?.headers['list-unsubscribe']).toContain(`${stack.apiUrl}/u/`);
});

test('P2 a purchase ends the journey', async () => {
  lucia = await enrolled('lucia.gomez@example.com');
  await until('the information', async () => (await mailsTo('lucia.gomez@example.com')).length === 1, PATIENCE_MS);
  await callApi(stack, 'POST', '/v1/purchases', { email: 'lucia.gomez@example.com', orderId: 'A-1' });
  expect((await enrollment(lucia)).outcome).toBe('purchased');
});

test('a second start in the same home is refused in words, and harms nothing', async () => {
  const second = runCommand(['start'], home);
  expect(await second.ends()).toBe(1);
  expect(second.output()).toContain(`already running in ${home} (process ${command?.child.pid})`);
  expect((await fetch(`${stack.apiUrl}/readyz`)).status).toBe(200);
});

onLinux('P5 no log line of the API or the worker names a person', async () => {
  for (const name of ['api', 'worker']) {
    const log = await readFile(join(home, 'logs', `${name}.log`), 'utf8');
    expect(log).toContain('"msg"');
    expect(log).not.toMatch(/lucia|gómez|example\.com/i);
  }
});

onLinux('Ctrl-C stops everything, with exit code 0, and leaves nothing running', async () => {
  expect(processesOf(home).length).toBeGreaterThan(4);
  command?.child.kill('SIGINT');
  expect(await command?.ends()).toBe(0);
  expect(command?.output()).toContain('Stopped. Your data is kept');
  await until('the last process to end', () => processesOf(home).length === 0, PATIENCE_MS);
  expect(readStackInfo(home)).toBeNull();
  expect(await stat(join(home, 'stack.json')).catch(() => null)).toBeNull();
});

test('the next start finds keys, campaigns, leads and mail again', async () => {
  const before = stack;
  const campaignsBefore = command?.output().match(/[0-9a-f-]{36} {2}/g);
  const again = await up({ IMAP_URL: `imap://shop:password@127.0.0.1:${await freePort()}` });
  // Its mail server is away: that keeps nothing else from running.
  expect(again.output()).toMatch(/^ *Inbox +one mailbox is watched/m);
  await again.prints('inbox: reading a mailbox failed; will try again (code ECONNREFUSED)');
  expect(stack.apiKey).toBe(before.apiKey);
  expect(again.output().match(/[0-9a-f-]{36} {2}/g)).toEqual(campaignsBefore);
  expect((await enrollment(lucia)).outcome).toBe('purchased');
  expect(await mailsTo('lucia.gomez@example.com')).toHaveLength(1);
  const mateo = await enrolled('mateo@example.com');
  await until('mail after the restart', async () => (await mailsTo('mateo@example.com')).length === 1, PATIENCE_MS);
  await until('its record', async () => (await enrollment(mateo)).messages[0]?.state === 'accepted', PATIENCE_MS);
});

onLinux(
  'a supervisor that is killed leaves no orphans, and the next start goes on',
  async () => {
    command?.child.kill('SIGKILL');
    expect(await command?.ends()).toBe('SIGKILL');
    const next = await up();
    const alive = processesOf(home).length;
    expect((await enrollment(lucia)).outcome).toBe('purchased');
    next.child.kill('SIGKILL');
    await next.ends();
    expect(alive).toBeGreaterThan(4);
    await until('the last process to end', () => processesOf(home).length === 0, PATIENCE_MS);
  },
  900_000,
);

test('a PORT that is taken is an error in words', async () => {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(port, '127.0.0.1', resolve));
  const refused = runCommand(['start'], home, { PORT: String(port) });
  expect(await refused.ends()).toBe(1);
  expect(refused.output()).toContain(`Port ${port} (PORT) on 127.0.0.1 is already in use`);
  await new Promise((resolve) => taken.close(resolve));
});

test('wrong settings are told before anything is started', async () => {
  const refused = runCommand(['start'], home, { RECUERDA_SMTP_CONNECTIONS: 'many', RECUERDA_API_KEY: 'short' });
  expect(await refused.ends()).toBe(1);
  expect(refused.output()).toContain('RECUERDA_SMTP_CONNECTIONS must be');
  expect(refused.output()).toContain('RECUERDA_API_KEY must have at least 16 characters');
  expect(refused.output()).not.toContain('Starting');
});
