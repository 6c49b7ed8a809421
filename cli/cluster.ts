import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Cluster, startCluster } from '../stack/cluster';
import { type Mailbox, startMailbox } from '../stack/mailbox';
import { freePort } from '../stack/ports';
import { offerExamples } from './example-campaigns';
import { runInForeground, say } from './foreground';
import { homeOf, type StackInfo } from './home';
import type { StackOptions } from './stack';
import { enrollCommand } from './start';
import { rows } from './table';

/** What is taken where it is free. */
const PORTS = { api: 3000, temporal: 7233, postgres: 54_329 };
const MAILBOX_PORTS = { webPort: 1080, smtpPort: 1025 };

/** A cluster with its mailbox. */
interface RunningCluster {
  info: StackInfo;
  cluster: Cluster;
  stop(): Promise<void>;
}

/**
 * `recuerda cluster`: the topology of docker-compose.yml as plain processes on this machine, until Ctrl-C: Postgres, a
 * process for each role of Temporal, two APIs and two workers, each started again when it dies.
 *
 * @returns the exit code
 */
export async function runCluster(env: NodeJS.ProcessEnv, root: string): Promise<number> {
  const home = join(homeOf(env, root), 'cluster');
  for (const name of ['DATABASE_URL', 'TEMPORAL_ADDRESS']) {
    if (env[name]) say(`${name} is not used here: a cluster has its own.`);
  }
  return await runInForeground({
    home,
    root,
    env,
    farewell: 'Stopped. Your data is kept for the next start.',
    launch,
    work: async ({ info, cluster }, signal) => {
      const campaigns = await offerExamples(info, signal);
      say(`\n${overview(info, cluster, home)}\n`);
      const published = campaigns.find(({ state }) => state === 'published');
      if (published !== undefined) say(`Enroll a lead:\n\n${enrollCommand(info, published.id)}\n`);
      say(`Ready after ${process.uptime().toFixed(1)} s. Stop with Ctrl-C.\n`);
      return false;
    },
  });
}

async function launch({ home, lock, root, env, signal, onProcess }: StackOptions): Promise<RunningCluster> {
  const mailbox = env.SMTP_URL ? undefined : await openMailbox(home);
  try {
    const cluster = await startCluster({
      home,
      root,
      env,
      settings: mailbox === undefined ? {} : { SMTP_URL: mailbox.smtpUrl },
      ports: { ...PORTS, ...(env.PORT ? { api: Number(env.PORT) } : {}) },
      onServer: (pid) => lock.note(pid),
      onMember: (member) => {
        if (member.kind === 'api' || member.kind === 'worker') onProcess(member);
      },
      say,
      signal,
    });
    const info: StackInfo = {
      apiUrl: cluster.apiUrls[0] ?? '',
      apiKey: cluster.apiKey,
      temporalUi: cluster.temporalUiUrl,
      mailboxUrl: mailbox?.webUrl ?? null,
      smtpUrl: cluster.settings.SMTP_URL ?? '',
      databaseUrl: cluster.databaseUrl,
      temporalAddress: cluster.temporalAddress,
    };
    const stop = async () => {
      await cluster.stop();
      await mailbox?.stop();
    };
    return { info, cluster, stop };
  } catch (error) {
    await mailbox?.stop();
    throw error;
  }
}

async function openMailbox(home: string): Promise<Mailbox> {
  const dir = join(home, 'mailbox');
  // It holds people's addresses.
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const { webPort, smtpPort } = MAILBOX_PORTS;
  return await startMailbox({ dir, webPort: await freePort(webPort), smtpPort: await freePort(smtpPort) });
}

function overview(info: StackInfo, cluster: Cluster, home: string): string {
  return rows([
    ...cluster.apiUrls.map((url, index): [string, string] => [index === 0 ? 'APIs' : '', url]),
    ['API docs', `${info.apiUrl}/docs`],
    ['API key', info.apiKey],
    ['Temporal', info.temporalAddress],
    ['Temporal UI', info.temporalUi ?? 'none: docker-compose.yml has one'],
    ['Mailbox', info.mailboxUrl ?? 'none: mail goes to SMTP_URL'],
    ...cluster.members.map((member, index): [string, string] => [
      index === 0 ? 'Processes' : '',
      `${member.name} (${member.pid() ?? 'being started again'})`,
    ]),
    ['Data', home],
  ]);
}
