import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from './eventually.mjs';

// Starts the product with the README's command and uses it as a newcomer would: leads in over HTTP, mail in the mailbox,
// a purchase that stops one, and a clean end. One line `ok` or `not ok` for each thing seen.

interface Stack {
  apiUrl: string;
  apiKey: string;
  mailboxUrl: string;
}
interface Mail {
  subject: string;
  to: { address: string }[];
  headers: Record<string, string>;
}

const home = await mkdtemp(join(tmpdir(), 'recuerda-smoke-'));
let failures = 0;
function see(what: string, seen: boolean): void {
  if (!seen) failures += 1;
  console.log(`${seen ? 'ok' : 'not ok'} ${what}`);
}

const npm = spawn('npm', ['start'], {
  env: { ...process.env, RECUERDA_HOME: home, PORT: '' },
  stdio: ['ignore', 'pipe', 'inherit'],
  detached: true,
});
let printed = '';
npm.stdout.on('data', (chunk: Buffer) => {
  printed += chunk.toString();
  process.stdout.write(chunk);
});
// npm ends itself with the signal that it was sent, once its script has ended.
const ended = new Promise<string>((resolve) => npm.once('exit', (code, signal) => resolve(signal ?? String(code))));

try {
  const stack = await eventually('the stack to start', 600, async () => {
    return JSON.parse(await readFile(join(home, 'stack.json'), 'utf8')) as Stack;
  });
  see('npm start brings the stack up', true);
  await eventually('the API to be ready', 180, async () => ((await fetch(`${stack.apiUrl}/readyz`)).ok ? true : null));
  see('the API is ready', true);

  const campaigns = await eventually('example campaigns', 180, async () => {
    const listed = await api<{ items: { id: string; latestVersion: number | null }[] }>(stack, 'GET', '/v1/campaigns');
    const published = listed.items.filter((campaign) => campaign.latestVersion !== null);
    return published.length >= 2 ? { items: published } : null;
  });
  see('a first start offers example campaigns', campaigns.items.length >= 2);
  const campaignId = campaigns.items[0]?.id ?? '';

  const emails = ['ana.iglesias@correo.example', 'jose.munoz@correo.example', 'zoe.perez@correo.example'];
  const enrolled: { enrollmentId: string; leadId: string; created: boolean }[] = [];
  for (const email of emails) {
    enrolled.push(
      await api(stack, 'POST', `/v1/campaigns/${campaignId}/enrollments`, {
        lead: { email, name: 'Ana Iglesias', timeZone: 'Europe/Madrid' },
        consent: {
          purpose: 'nudges',
          text: 'Sí, escríbanme hasta siete veces en dos años.',
          capturedAt: new Date().toISOString(),
          source: 'formulario web',
        },
      }),
    );
  }
  see(
    'three leads are enrolled',
    enrolled.every((lead) => lead.created),
  );

  const mails = await eventually('three mails in the mailbox', 180, async () => {
    const all = (await (await fetch(`${stack.mailboxUrl}/email`)).json()) as Mail[];
    const ours = all.filter((mail) => mail.to.some((to) => emails.includes(to.address)));
    return ours.length >= emails.length ? ours : null;
  });
  see('each gets exactly one mail', mails.length === emails.length);
  see(
    'with one-click unsubscribe',
    mails.every((mail) => mail.headers['list-unsubscribe-post'] !== undefined),
  );

  const bought = await api<{ stopped: { enrollmentId: string; outcome: string }[] }>(stack, 'POST', '/v1/purchases', {
    email: emails[0],
    orderId: 'A-1001',
  });
  see('a purchase stops its lead', bought.stopped.length === 1 && bought.stopped[0]?.outcome === 'purchased');
  const first = await api<{ state: string; outcome: string }>(
    stack,
    'GET',
    `/v1/enrollments/${enrolled[0]?.enrollmentId}`,
  );
  see('the enrollment has ended as purchased', first.state === 'ended' && first.outcome === 'purchased');
  const second = await eventually('the second lead to wait for its nudge', 180, async () => {
    const enrollment = await api<{ state: string; step: number; nextDueAt: string }>(
      stack,
      'GET',
      `/v1/enrollments/${enrolled[1]?.enrollmentId}`,
    );
    return enrollment.step === 1 ? enrollment : null;
  });
  const days = (Date.parse(second.nextDueAt) - Date.now()) / 86_400_000;
  see('the others wait two to three months', second.state === 'active' && days > 58 && days < 120);
} catch (error) {
  see(String(error), false);
} finally {
  if (npm.pid !== undefined && npm.exitCode === null) process.kill(-npm.pid, 'SIGINT');
  const how = await Promise.race([ended, sleep(120_000, 'late')]);
  see('Ctrl-C ends everything cleanly', (how === 'SIGINT' || how === '0') && printed.includes('Stopped.'));
  const gone = eventually('every process to be gone', 30, async () => ((await stillRunning(home)) ? null : true));
  see('and leaves nothing running', await gone.catch(() => false));
  if (how === 'late' && npm.pid !== undefined) process.kill(-npm.pid, 'SIGKILL');
  await rm(home, { recursive: true, force: true });
}
process.exit(failures === 0 ? 0 : 1);

/** Does any process still work in this folder? */
async function stillRunning(folder: string): Promise<boolean> {
  const processes = await new Promise<string>((resolve) => {
    const ps = spawn('ps', ['-eo', 'args']);
    let text = '';
    ps.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    ps.once('close', () => resolve(text));
    ps.once('error', () => resolve(''));
  });
  return processes.includes(folder);
}

async function api<T>(stack: Stack, method: string, path: string, body?: unknown): Promise<T> {
  const response = await fetch(`${stack.apiUrl}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${stack.apiKey}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return JSON.parse(text) as T;
}
