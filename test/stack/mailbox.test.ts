import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createTransport } from 'nodemailer';
import { type Mailbox, startMailbox } from '../../stack/mailbox';
import { freePort } from '../../stack/ports';
import { until } from './waiting';

interface ListedMail {
  subject: string;
  text: string;
  to: { address: string }[];
  headers: Record<string, string>;
}

let dir: string;
let mailbox: Mailbox | undefined;

async function start(keep?: number): Promise<Mailbox> {
  const ports = { smtpPort: await freePort(), webPort: await freePort() };
  mailbox = await startMailbox({ ...ports, dir, ...(keep === undefined ? {} : { keep }) });
  return mailbox;
}

async function send(smtpUrl: string, subject: string): Promise<void> {
  const transport = createTransport(smtpUrl);
  try {
    await transport.sendMail({
      from: 'ventas@tienda.example',
      to: 'ana@example.com',
      subject,
      text: '¿Aún me recuerda?',
      html: '<p>¿Aún me recuerda?</p>',
      headers: { 'List-Unsubscribe': '<https://tienda.example/u/1>' },
    });
  } finally {
    transport.close();
  }
}

async function list(webUrl: string): Promise<ListedMail[]> {
  return (await (await fetch(`${webUrl}/email`)).json()) as ListedMail[];
}

async function listed(webUrl: string, count: number): Promise<ListedMail[]> {
  return until(`${count} mails`, async () => {
    const mails = await list(webUrl);
    return mails.length === count ? mails : undefined;
  });
}

/** The status of a GET with headers that `fetch` would not let us set. */
async function statusOf(webUrl: string, headers: Record<string, string>): Promise<number | undefined> {
  return new Promise((done, fail) => {
    request(`${webUrl}/email`, { headers }, (response) => {
      response.resume();
      done(response.statusCode);
    })
      .on('error', fail)
      .end();
  });
}

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'recuerda-mailbox-'));
});

afterEach(async () => {
  await mailbox?.stop();
  mailbox = undefined;
  await rm(dir, { recursive: true, force: true });
});

test('takes a mail over SMTP, lists it, shows a web page, and passes nothing on', async () => {
  const { smtpUrl, webUrl } = await start();
  await send(smtpUrl, '¡Hola de nuevo!');
  const [mail] = await listed(webUrl, 1);
  expect(mail).toMatchObject({ subject: '¡Hola de nuevo!', to: [{ address: 'ana@example.com' }] });
  expect(mail?.text).toContain('¿Aún me recuerda?');
  expect(mail?.headers['list-unsubscribe']).toBe('<https://tienda.example/u/1>');
  const page = await fetch(webUrl);
  expect(page.status).toBe(200);
  expect(await page.text()).toContain('MailDev');
  const config = (await (await fetch(`${webUrl}/config`)).json()) as { isOutgoingEnabled: boolean };
  expect(config.isOutgoingEnabled).toBe(false);
});

test('keeps the mails between starts in their order, the newest ones only, and stops with a pool still open', async () => {
  const first = await start(2);
  const pool = createTransport({ url: first.smtpUrl, pool: true } as never);
  for (const subject of ['one', 'two', 'three']) {
    await pool.sendMail({ from: 'a@example.com', to: 'b@example.com', subject, text: subject });
    await until(subject, async () => (await list(first.webUrl)).some((mail) => mail.subject === subject));
  }
  expect((await listed(first.webUrl, 2)).map((mail) => mail.subject)).toEqual(['two', 'three']);
  await first.stop();
  pool.close();
  await expect(fetch(first.webUrl)).rejects.toThrow();

  const second = await start(2);
  expect((await list(second.webUrl)).map((mail) => mail.subject)).toEqual(['two', 'three']);
  await until('the oldest file is gone', async () => (await readdir(dir)).length === 2);
});

test('shows nothing to pages of other sites, nor under another name', async () => {
  const { webUrl } = await start();
  expect(await statusOf(webUrl, {})).toBe(200);
  expect(await statusOf(webUrl, { origin: webUrl })).toBe(200);
  expect(await statusOf(webUrl, { origin: 'https://attacker.example' })).toBe(403);
  expect(await statusOf(webUrl, { host: 'attacker.example' })).toBe(403);
});

test('leaves the signals of the process alone and prints nothing', async () => {
  const script = `
    const { startMailbox } = require('./stack/mailbox');
    const { freePort } = require('./stack/ports');
    (async () => {
      const mailbox = await startMailbox({ smtpPort: await freePort(), webPort: await freePort(), dir: process.argv[1] });
      const counts = ['SIGINT', 'SIGTERM'].map((signal) => process.listenerCount(signal));
      await mailbox.stop();
      process.stdout.write(JSON.stringify(counts));
    })();`;
  const args = ['--import', 'tsx', '--eval', script, dir];
  const result = spawnSync(process.execPath, args, {
    cwd: join(__dirname, '..', '..'),
    encoding: 'utf8',
    timeout: 120_000,
  });
  expect(result.stderr).toBe('');
  expect(result.stdout).toBe('[0,0]');
});
