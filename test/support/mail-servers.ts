import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImapFlow } from 'imapflow';
import { createTransport } from 'nodemailer';
import { endChild, spawnLeashed } from '../../stack/leash';
import { freePort } from '../../stack/ports';
import { describeWith } from './installed';
import { eventually } from './waiting';

/** Debian keeps Dovecot's parts in packages of their own: dovecot-imapd, dovecot-lmtpd. */
const PROGRAMS = ['postfix', 'dovecot', '/usr/lib/dovecot/imap', '/usr/lib/dovecot/lmtp'];

/** `describe` for tests that need these servers: skipped, and told, where they are missing or may not be run. */
export function describeWithMailServers(title: string, tests: () => void): void {
  // Servers change their user, which only root may do.
  if (process.getuid?.() === 0) describeWith(PROGRAMS, title, tests);
  else describe.skip(`${title} (skipped: needs root to run ${PROGRAMS.join(' and ')})`, tests);
}

/** The folder for junk, which only its special use (RFC 6154) tells. */
export const JUNK = 'Correo no deseado';

/** Password of every mailbox. */
export const PASSWORD = 'secret+/ñ';

/** Mailboxes. Anything after a `+` in their local parts is taken as well; any other name at these domains bounces. */
export const MAILBOXES = {
  /** Where delivery reports of the tests go. */
  bounces: 'bounces@our.test',
  ventas: 'ventas@our.test',
  ana: 'ana@box.test',
  /** Takes nothing: its quota is used up by any message. */
  full: 'full@box.test',
} as const;

/**
 * Debian's Postfix and Dovecot, running from a folder of their own on loopback ports that nobody else uses. No DNS is asked.
 * What becomes of a mail depends on its recipient:
 *
 * | recipient | what comes back to the envelope sender |
 * |---|---|
 * | a mailbox of MAILBOXES | nothing: it is delivered |
 * | anybody else at box.test or our.test | failed 5.1.1, from Dovecot |
 * | full@box.test | failed 5.2.2 |
 * | gone@reject.test | failed 5.1.1, from another server |
 * | policy@reject.test | failed 5.7.1 |
 * | grey@reject.test | delayed 4.2.1 after 3 s, failed 4.2.1 after 20 s |
 * | anybody at down.test | delayed 4.4.1 after 3 s, failed 4.4.1 after 20 s |
 * | any other domain | nothing: refused with 550 5.1.2 at RCPT |
 * | anybody at pipe.test | handed to `options.pipe`, if there is one |
 */
export interface MailServers {
  /** Where mail is handed over: `smtp://127.0.0.1:…`. */
  smtpUrl: string;
  /** For IMAP_URL. */
  imapUrl(mailbox: string, port?: number): string;
  imapPort: number;
  /** Sends through Postfix; resolves when it has taken all of them. */
  send(messages: readonly { from: string; to: string; raw: Buffer | string }[]): Promise<void>;
  /** Puts a message into a folder, as another mail program would. */
  append(
    mailbox: string,
    raw: Buffer | string,
    options?: { folder?: string; flags?: string[]; at?: Date },
  ): Promise<void>;
  /** An IMAP connection of the test's own; closed by `stop`. */
  connectTo(mailbox: string): Promise<ImapFlow>;
  /** Kills every process of Dovecot that serves an IMAP connection. @returns how many */
  killImapProcesses(): number;
  /** What Postfix has written into its log until now. */
  mailLog(): Promise<string>;
  /** Takes away what Dovecot knows of a mailbox's UIDs: every message gets a new one, under another UIDVALIDITY. */
  forgetUids(mailbox: string): Promise<void>;
  /** Ends both and removes the folder. */
  stop(): Promise<void>;
}

export interface MailServerOptions {
  /** Command of Postfix's pipe(8) for mail to pipe.test, as it stands after `argv=`. */
  pipe?: string;
}

const PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`;
const READY_MS = 120_000;
const STOP_MS = 60_000;

/** Starts the servers and resolves when they answer. They end with this process, however that ends. */
export async function startMailServers(options: MailServerOptions = {}): Promise<MailServers> {
  const dir = await mkdtemp(join(tmpdir(), 'recuerda-mail-'));
  const ports = await distinctPorts(4);
  const [smtpPort, imapPort, lmtpPort, remotePort] = ports as [number, number, number, number];
  const etc = join(dir, 'pf', 'etc');
  for (const folder of [etc, 'pf/queue', 'pf/data', 'dc/run', 'dc/state', 'mail']) {
    await mkdir(folder.startsWith('/') ? folder : join(dir, folder), { recursive: true });
  }
  await command('chown', ['postfix', join(dir, 'pf', 'data')]);
  await command('chown', ['mail:mail', join(dir, 'mail')]);
  await chmod(dir, 0o755);
  await writeFile(join(etc, 'main.cf'), mainCf(dir, lmtpPort, remotePort));
  await writeFile(join(etc, 'master.cf'), masterCf(smtpPort, remotePort, options.pipe));
  await writeFile(join(dir, 'dc', 'dovecot.conf'), dovecotConf(dir, imapPort, lmtpPort));
  await writeFile(join(dir, 'dc', 'users'), users());

  const env = { ...process.env, PATH };
  const dovecot = spawnLeashed({
    command: 'dovecot',
    args: ['-c', join(dir, 'dc', 'dovecot.conf'), '-F'],
    signal: 'SIGTERM',
    env,
  });
  // `start-fg` itself does not pass a SIGTERM on to the servers.
  const script = 'postfix -c "$0" start-fg & trap \'postfix -c "$0" stop; exit 0\' TERM; wait';
  const postfix = spawnLeashed({ command: 'sh', args: ['-c', script, etc], signal: 'SIGTERM', env });
  let output = '';
  for (const child of [dovecot, postfix]) {
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        output += chunk.toString('utf8');
      });
    }
  }
  const clients = new Set<ImapFlow>();
  const mailLog = () => readFile(join(dir, 'pf', 'mail.log'), 'utf8').catch(() => '');
  const stop = async () => {
    for (const client of clients) client.close();
    await Promise.all([endChild(dovecot, [['SIGTERM', STOP_MS]]), endChild(postfix, [['SIGTERM', STOP_MS]])]);
    await eventually(async () => !(await Promise.all(ports.map(answers))).includes(true), STOP_MS);
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await eventually(async () => !(await Promise.all(ports.map(answers))).includes(false), READY_MS);
  } catch {
    const log = await mailLog();
    const dovecotLog = await readFile(join(dir, 'dc', 'dovecot.log'), 'utf8').catch(() => '');
    await stop().catch(() => {});
    throw new Error(`the mail servers did not start:\n${output}\n${log}\n${dovecotLog}`);
  }

  const connectTo = async (mailbox: string) => {
    const client = new ImapFlow({
      host: '127.0.0.1',
      port: imapPort,
      secure: false,
      doSTARTTLS: false,
      auth: { user: mailbox, pass: PASSWORD },
      logger: false,
      disableAutoIdle: true,
    });
    client.on('error', () => {});
    client.on('close', () => clients.delete(client));
    clients.add(client);
    await client.connect();
    return client;
  };
  return {
    smtpUrl: `smtp://127.0.0.1:${smtpPort}`,
    imapPort,
    imapUrl: (mailbox, port = imapPort) =>
      `imap://${encodeURIComponent(mailbox)}:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}`,
    send: async (messages) => {
      const transport = createTransport({ host: '127.0.0.1', port: smtpPort, pool: true, ignoreTLS: true });
      await Promise.all(
        messages.map(({ from, to, raw }) => transport.sendMail({ envelope: { from, to: [to] }, raw })),
      ).finally(() => transport.close());
    },
    append: async (mailbox, raw, { folder = 'INBOX', flags = [], at } = {}) => {
      const client = await connectTo(mailbox);
      await client.append(folder, Buffer.from(raw), flags, at);
      await client.logout();
    },
    connectTo,
    mailLog,
    killImapProcesses: () => {
      const serving = childrenOf(dovecot.pid as number).filter(({ name }) => name === 'imap');
      return serving.filter(({ pid }) => {
        try {
          return process.kill(pid, 'SIGKILL');
        } catch {
          return false; // it has ended by itself
        }
      }).length;
    },
    forgetUids: async (mailbox) => {
      const folder = join(dir, 'mail', mailbox);
      for (const name of await readdir(folder)) {
        if (/^dovecot(\.index|-uidlist)/.test(name)) await rm(join(folder, name), { force: true });
      }
    },
    stop,
  };
}

async function distinctPorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await freePort());
  return [...ports];
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function childrenOf(parent: number): { pid: number; name: string }[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => {
      try {
        const stat = readFileSync(`/proc/${entry}/stat`, 'utf8');
        const [, name = '', , ppid] = /\((.*)\) (\S) (\d+)/.exec(stat) ?? [];
        return Number(ppid) === parent ? [{ pid: Number(entry), name }] : [];
      } catch {
        return [];
      }
    });
}

function command(name: string, args: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(name, args, { stdio: 'ignore' });
    child.once('error', reject);
    child.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`${name} ended with ${code}`))));
  });
}

function mainCf(dir: string, lmtpPort: number, remotePort: number): string {
  return `
compatibility_level = 3.6
config_directory = ${dir}/pf/etc
queue_directory = ${dir}/pf/queue
data_directory = ${dir}/pf/data
maillog_file = ${dir}/pf/mail.log
maillog_file_prefixes = ${dir}
myhostname = mx.our.test
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtp_dns_support_level = disabled
smtp_host_lookup = native
recipient_delimiter = +
virtual_mailbox_domains = our.test box.test
virtual_transport = lmtp:inet:127.0.0.1:${lmtpPort}
transport_maps = inline:{ { reject.test = smtp:[127.0.0.1]:${remotePort} }, { down.test = smtp:[127.0.0.1]:1 }, { pipe.test = toprogram: } }
default_transport = error:5.1.2 no such domain in this test
smtpd_relay_restrictions = permit_mynetworks, reject
remote_rules = check_recipient_access inline:{ { gone@reject.test = 550 5.1.1 no such user }, { policy@reject.test = 550 5.7.1 message blocked by policy }, { grey@reject.test = 450 4.2.1 try later } }
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
delay_warning_time = 3s
maximal_queue_lifetime = 20s
bounce_queue_lifetime = 20s
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
toprogram_destination_recipient_limit = 1
`;
}

function masterCf(smtpPort: number, remotePort: number, pipe: string | undefined): string {
  return `
127.0.0.1:${smtpPort} inet n - n - - smtpd
127.0.0.1:${remotePort} inet n - n - - smtpd
  -o syslog_name=remote -o myhostname=mx.reject.test
  -o smtpd_recipient_restrictions=$remote_rules,permit_mynetworks -o transport_maps=
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
${pipe === undefined ? '' : `toprogram unix - n n - - pipe\n  user=nobody null_sender= argv=${pipe}\n`}`;
}

function dovecotConf(dir: string, imapPort: number, lmtpPort: number): string {
  return `
base_dir = ${dir}/dc/run
state_dir = ${dir}/dc/state
instance_name = recuerda-${imapPort}
log_path = ${dir}/dc/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
mail_uid = mail
mail_gid = mail
mail_location = maildir:${dir}/mail/%u
mail_plugins = quota
recipient_delimiter = +
auth_username_format = %Lu
auth_failure_delay = 0
namespace inbox {
  inbox = yes
  mailbox "Correo no deseado" {
    special_use = \\Junk
    auto = subscribe
  }
}
passdb {
  driver = passwd-file
  args = ${dir}/dc/users
}
userdb {
  driver = passwd-file
  args = ${dir}/dc/users
  default_fields = home=${dir}/mail/%u
}
service imap-login {
  chroot =
  inet_listener imap {
    port = ${imapPort}
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = ${lmtpPort}
  }
}
service anvil {
  chroot =
}
plugin {
  quota = maildir:User quota
}
protocol lmtp {
  mail_plugins = quota
}
`;
}

function users(): string {
  return Object.values(MAILBOXES)
    .map((mailbox) => {
      const quota = mailbox === MAILBOXES.full ? 'userdb_quota_rule=*:bytes=1000' : '';
      return `${mailbox}:{PLAIN}${PASSWORD}::::::${quota}\n`;
    })
    .join('');
}
