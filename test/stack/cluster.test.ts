import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { offerExamples } from '../../cli/example-campaigns';
import { callApi } from '../../cli/own-api';
import { type Cluster, startCluster } from '../../stack/cluster';
import { describeCluster } from '../support/cluster';
import { type SmtpSink, startSmtpSink } from '../support/smtp-sink';
import { isAlive, until } from './waiting';

const ROOT = join(__dirname, '..', '..');
/** Starting takes a busy machine minutes: the workers put the workflow code together. */
const START_MS = 10 * 60_000;

describeCluster('a cluster: Temporal by roles on Postgres, two APIs, two workers', (env) => {
  let home: string;
  let sink: SmtpSink;
  let cluster: Cluster;
  let campaignId: string;

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'recuerda-cluster-'));
    sink = await startSmtpSink();
    cluster = await startCluster({
      home,
      root: ROOT,
      env: { ...env, RECUERDA_SECRET: '', RECUERDA_API_KEY: '', RECUERDA_PUBLIC_URL: '', IMAP_URL: '' },
      settings: { SMTP_URL: sink.url },
      historyShards: 4,
      supervised: false,
      say: () => {},
    });
    const campaigns = await offerExamples(api(0), new AbortController().signal);
    campaignId = campaigns.find(({ state }) => state === 'published')?.id ?? '';
  }, START_MS);

  afterAll(async () => {
    await cluster?.stop();
    await sink?.close();
    await rm(home, { recursive: true, force: true });
  }, START_MS);

  const api = (index: number) => ({ apiUrl: cluster.apiUrls[index] ?? '', apiKey: cluster.apiKey });

  function memberOf(name: string) {
    const found = cluster.members.find((member) => member.name === name);
    if (found === undefined) throw new Error(`there is no member ${name}`);
    return found;
  }

  async function enrolled(index: number, email: string): Promise<void> {
    await callApi(api(index), 'POST', `/v1/campaigns/${campaignId}/enrollments`, {
      lead: { email, name: 'Lucía Gómez' },
      consent: { purpose: 'follow-up', text: 'Sí', capturedAt: new Date().toISOString(), source: 'test' },
    });
  }

  const mailed = (email: string) =>
    until(`a mail to ${email}`, () => sink.messages.some(({ to }) => to === email), START_MS);

  test('every part is a process of its own', () => {
    expect(cluster.members.map(({ name }) => name).sort()).toEqual(
      [
        ...['api-1', 'api-2', 'postgres', 'worker-1', 'worker-2'],
        ...['temporal-frontend', 'temporal-history', 'temporal-matching', 'temporal-worker'],
      ].sort(),
    );
    expect(new Set(cluster.members.map((member) => member.pid())).size).toBe(cluster.members.length);
  });

  test('a lead that one API takes is mailed', async () => {
    await enrolled(0, 'uno@correo.example');
    await mailed('uno@correo.example');
  });

  test.each(['temporal-frontend', 'temporal-history', 'temporal-matching', 'temporal-worker', 'postgres'])(
    'P4: %s is killed and started again, and a lead that the other API takes is mailed',
    async (name) => {
      const member = memberOf(name);
      const before = member.pid() ?? 0;
      await member.kill();
      expect({ running: member.isRunning(), pid: member.pid() }).toEqual({ running: false, pid: undefined });
      expect(await isAlive(before)).toBe(false);
      await member.start();
      expect(member.pid()).not.toBe(before);
      const email = `${name}@correo.example`;
      // Connections of the API's that Postgres has taken along are told by the first who asks.
      await until(
        'an API that answers',
        () =>
          enrolled(1, email).then(
            () => true,
            () => false,
          ),
        START_MS,
      );
      await mailed(email);
    },
    START_MS,
  );

  test('nobody else has died meanwhile', () => {
    expect(cluster.members.filter((member) => !member.isRunning()).map(({ name }) => name)).toEqual([]);
  });

  test(
    'a stop leaves no process behind',
    async () => {
      const pids = cluster.members.flatMap((member) => member.pid() ?? []);
      expect(pids).toHaveLength(cluster.members.length);
      await cluster.stop();
      for (const pid of pids) expect(await isAlive(pid)).toBe(false);
    },
    START_MS,
  );
});
