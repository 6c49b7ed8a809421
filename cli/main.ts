import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { ConfigError } from '../config';
import { OperatorError } from '../domain/operator-error';
import { version } from '../package.json';
import type { AuditCommandOptions } from './audit';
import type { DkimKeyOptions } from './dkim-key';
import type { DnsCheckOptions } from './dns-check';
import type { EvidenceKeyOptions } from './evidence-key';
import type { ImportOptions } from './import';
import type { InboxOptions } from './inbox';
import type { KeyOptions } from './keys';
import type { PauseOptions } from './pause';
import type { HistoryOptions } from './replay';
import type { ReplayOptions } from './replay-journal';
import type { UnsealOptions } from './unseal-evidence';
import type { UserOptions } from './users';
import type { VerifyEvidenceOptions } from './verify-evidence';

/** The checkout that this command runs from, whatever the working directory. */
const ROOT = join(__dirname, '..');

/**
 * The `recuerda` command. Each subcommand is a file of its own, loaded only when it is the one: the API need not hold the
 * mailbox in memory, nor the worker the API.
 */
function commands(env: NodeJS.ProcessEnv): Command {
  const program = new Command('recuerda')
    .description('Drip campaigns that stop the moment a lead buys, replies or unsubscribes.')
    .version(version)
    .showHelpAfterError();

  program
    .command('start')
    .description('start everything on this machine: Postgres, Temporal, a mailbox, the API and a worker')
    .action(async () => {
      const { start }: typeof import('./start') = require('./start');
      process.exit(await start(env, ROOT));
    });
  program
    .command('demo')
    .description('the same with example leads and time compressed: two years in a few minutes')
    .option('--exit', 'stop when the last journey has ended, instead of waiting for Ctrl-C')
    .action(async (options: { exit?: boolean }) => {
      const { demo }: typeof import('./demo') = require('./demo');
      process.exit(await demo(env, ROOT, options));
    });
  program
    .command('cluster')
    .description('start what docker-compose.yml starts, without containers: Temporal by roles, two APIs, two workers')
    .action(async () => {
      const { runCluster }: typeof import('./cluster') = require('./cluster');
      process.exit(await runCluster(env, ROOT));
    });
  program
    .command('api')
    .description('run the HTTP API')
    .action(async () => {
      const { runApi }: typeof import('./api') = require('./api');
      await runApi(env);
    });
  program
    .command('worker')
    .description('run a worker: it sends what is due')
    .action(async () => {
      const { runWorker }: typeof import('./worker') = require('./worker');
      await runWorker(env);
    });
  program
    .command('inbox')
    .description(
      'watch the mailboxes of IMAP_URL: replies, bounces and complaints are kept, and acted on by the workers',
    )
    .option('--once', 'read what is there and stop')
    .option(
      '--since <date>',
      'a folder that was never read is read from this day on (YYYY-MM-DD), in place of from now on',
    )
    .action(async (options: InboxOptions) => {
      const { runInbox }: typeof import('./inbox') = require('./inbox');
      await runInbox(env, options);
    });
  program
    .command('migrate')
    .description("bring the database to this release's schema")
    .action(async () => {
      const { runMigrate }: typeof import('./migrate') = require('./migrate');
      await runMigrate(env);
    });
  program
    .command('replay')
    .description('before a deploy: replay runs that the engine has recorded with the workflow code of this release')
    .option('--query <query>', 'which runs, as a visibility query; otherwise some of every type, state and age')
    .option('--limit <number>', 'how many at most', '500')
    .action(async (options: HistoryOptions) => {
      const { runReplay }: typeof import('./replay') = require('./replay');
      process.exitCode = await runReplay(env, options, process.stdout);
    });
  program
    .command('replay-journal')
    .description(
      'after a restore, before any worker starts: stop, suppress and erase again what the backup does not know',
    )
    .argument('[directory]', 'of the journal; otherwise RECUERDA_JOURNAL')
    .option('--since <time>', 'leave out what is older (ISO 8601), such as the time of the backup')
    .action(async (directory: string | undefined, options: ReplayOptions) => {
      const { runReplayJournal }: typeof import('./replay-journal') = require('./replay-journal');
      process.exitCode = await runReplayJournal(env, directory, options, process.stdout);
    });
  program
    .command('audit')
    .description(
      'compare what Postgres and Temporal know of every journey; after a restore, before any worker starts, mend it',
    )
    .option('--mend', 'make them agree, and not only tell; no worker may run')
    .option('--restored', 'Postgres comes from a backup: what was being sent when everything stopped counts as sent')
    .option('--force', 'mend although workers run, or the backup is older than what Temporal remembers')
    .option('--json', 'print it as JSON')
    .action(async (options: AuditCommandOptions) => {
      const { runAudit }: typeof import('./audit') = require('./audit');
      process.exitCode = await runAudit(env, options, process.stdout);
    });
  program
    .command('import')
    .description('hand over a file of leads, as CSV')
    .argument('<file>', 'the file')
    .requiredOption('--campaign <id>', 'the campaign that the leads enter')
    .requiredOption('--purpose <purpose>', 'what they agreed to, such as nudges')
    .requiredOption('--consent-text <text>', 'the exact words that they agreed to')
    .requiredOption('--source <source>', 'which form or occasion it came from')
    .option('--mapping <field=column...>', 'which column holds what, such as email=Correo; guessed where left out')
    .option('--time-zone <zone>', "IANA zone for leads that bring none; otherwise the campaign's")
    .option('--errors <file>', 'write every rejected line to this file')
    .option('--url <url>', 'where the API is; otherwise the stack that runs on this machine')
    .option('--key <key>', 'its API key; otherwise RECUERDA_API_KEY')
    .action(async (file: string, options: ImportOptions) => {
      const { importFile }: typeof import('./import') = require('./import');
      process.exit(await importFile(env, ROOT, file, options, process.stdout));
    });
  const database = { env, root: ROOT, output: process.stdout };
  program
    .command('pause')
    .description('pause sending: everything, or one stream; on the database itself, so it works with the API down')
    .option('--stream <stream>', 'transactional, requested or marketing only')
    .action(async (options: PauseOptions) => {
      const { pauseAll }: typeof import('./pause') = require('./pause');
      process.exitCode = await pauseAll(database, options);
    });
  program
    .command('resume')
    .description('let go on what was paused by hand: every stream, or one')
    .option('--stream <stream>', 'this one only, whatever has paused it')
    .action(async (options: PauseOptions) => {
      const { resumeAllPaused }: typeof import('./pause') = require('./pause');
      process.exitCode = await resumeAllPaused(database, options);
    });
  const keys = program.command('keys').description('API keys: make, list and revoke them, on the database itself');
  keys
    .command('create')
    .description('make a key and print it; it is not shown again')
    .requiredOption('--name <name>', 'what it is for, such as checkout')
    .requiredOption(
      '--scopes <scopes>',
      'what it may do, separated by commas: marketing,checkout,forms,operator,privacy',
    )
    .action(async (options: KeyOptions) => {
      const { createKey }: typeof import('./keys') = require('./keys');
      process.exitCode = await createKey(database, options);
    });
  keys
    .command('list')
    .description('list the keys, revoked ones too')
    .action(async () => {
      const { listKeys }: typeof import('./keys') = require('./keys');
      process.exitCode = await listKeys(database);
    });
  keys
    .command('revoke')
    .description('refuse a key from now on')
    .argument('<id>', 'as keys list shows it')
    .action(async (id: string) => {
      const { revokeKey }: typeof import('./keys') = require('./keys');
      process.exitCode = await revokeKey(database, id);
    });
  const users = program.command('users').description('people who sign in under /login, on the database itself');
  const asking = { ...database, input: process.stdin };
  users
    .command('create')
    .description('let somebody sign in; the password is asked for, or read from stdin')
    .argument('<address>', 'what they sign in with')
    .requiredOption(
      '--roles <roles>',
      'what they may do, separated by commas: marketing,checkout,forms,operator,privacy',
    )
    .option('--name <name>', 'how they are called')
    .action(async (email: string, options: UserOptions) => {
      const { createUser }: typeof import('./users') = require('./users');
      process.exitCode = await createUser(asking, email, options);
    });
  users
    .command('list')
    .description('list who may sign in, disabled ones too')
    .action(async () => {
      const { listUsers }: typeof import('./users') = require('./users');
      process.exitCode = await listUsers(database);
    });
  users
    .command('disable')
    .description('let somebody sign in no more, and sign them out everywhere')
    .argument('<address>', 'what they sign in with')
    .action(async (email: string) => {
      const { disableUser }: typeof import('./users') = require('./users');
      process.exitCode = await disableUser(database, email);
    });
  users
    .command('password')
    .description('give somebody a new password, asked for or read from stdin, and sign them out everywhere')
    .argument('<address>', 'what they sign in with')
    .action(async (email: string) => {
      const { setUserPassword }: typeof import('./users') = require('./users');
      process.exitCode = await setUserPassword(asking, email);
    });
  program
    .command('classify')
    .description('say what received mails are: one line of JSON for each file; needs no database and no settings')
    .argument('<file...>', 'raw messages, as they were received')
    .action(async (files: string[]) => {
      const { classifyFiles }: typeof import('./classify') = require('./classify');
      await classifyFiles(env, files, process.stdout);
    });
  program
    .command('dns-check')
    .description('say what is published about a domain that mail is from, and what should be')
    .argument('<domain>', 'the domain, such as shop.example')
    .option('--json', 'print it as JSON')
    .option('--server <address...>', "name servers to ask; otherwise this machine's")
    .action(async (domain: string, options: DnsCheckOptions) => {
      const { dnsCheck }: typeof import('./dns-check') = require('./dns-check');
      process.exitCode = await dnsCheck(env, domain, options, process.stdout);
    });
  program
    .command('dkim-key')
    .description('make a key that signs the mail of a domain, and say what to publish')
    .argument('<domain>', 'the domain, such as shop.example')
    .option('--selector <name>', 'under which the key is published; a new one for each key', 's1')
    .option('--out <file>', 'where to write the private key; never overwritten')
    .action(async (domain: string, options: DkimKeyOptions) => {
      const { makeDkimKey }: typeof import('./dkim-key') = require('./dkim-key');
      process.exitCode = await makeDkimKey(env, domain, options, process.stdout);
    });
  program
    .command('verify-evidence')
    .description('check a document of what a lead agreed to, and say what is in it; needs no server')
    .argument('<file>', 'as GET /v1/leads/{id}/evidence gave it')
    .option('--key <key>', "who must have signed it, as GET /v1/evidence-key tells; otherwise this machine's settings")
    .action(async (file: string, options: VerifyEvidenceOptions) => {
      const { checkEvidence }: typeof import('./verify-evidence') = require('./verify-evidence');
      process.exitCode = await checkEvidence(env, file, options, process.stdout);
    });
  program
    .command('evidence-key')
    .description('make the keys that evidence of erased people is sealed to')
    .requiredOption('--out <file>', 'where to write the private key; never overwritten')
    .option('--passphrase', 'ask for a passphrase that protects it')
    .option('--passphrase-file <file>', 'a file whose first line is the passphrase')
    .action(async (options: EvidenceKeyOptions) => {
      const { makeEvidenceKey }: typeof import('./evidence-key') = require('./evidence-key');
      process.exitCode = await makeEvidenceKey(options, process.stdout);
    });
  program
    .command('unseal-evidence')
    .description('open what is kept of somebody who was erased; needs no server, but the private key')
    .argument('[file]', 'the answer of GET /v1/sealed-evidence; otherwise standard input')
    .requiredOption('--key <file>', 'the private key that `evidence-key` wrote')
    .option('--passphrase-file <file>', 'a file whose first line is the passphrase; otherwise it is asked for')
    .option('--item <number>', 'which one, where they were erased more than once: 1 is the latest')
    .option('--out <file>', 'where to write the document; otherwise it is printed')
    .action(async (file: string | undefined, options: UnsealOptions) => {
      const { openEvidence }: typeof import('./unseal-evidence') = require('./unseal-evidence');
      process.exitCode = await openEvidence(file ?? null, options, process.stdin, process.stdout);
    });
  program
    .command('bundle', { hidden: true })
    .description('put the workflow code together in one file')
    .argument('<file>', 'where to write it')
    .action(async (file: string) => {
      const { runBundle }: typeof import('./bundle') = require('./bundle');
      await runBundle(file);
    });
  return program;
}

async function main(): Promise<void> {
  const settings = join(ROOT, '.env');
  // What the environment says already stays.
  if (existsSync(settings)) process.loadEnvFile(settings);
  await commands(process.env).parseAsync();
}

main().catch((error: unknown) => {
  const plain = error instanceof ConfigError || error instanceof OperatorError || !(error instanceof Error);
  console.error(plain ? String((error as Error).message ?? error) : (error as Error).stack);
  process.exit(1);
});
