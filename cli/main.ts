import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { ConfigError } from '../config';
import { version } from '../package.json';
import type { DkimKeyOptions } from './dkim-key';
import type { DnsCheckOptions } from './dns-check';
import type { ImportOptions } from './import';
import type { InboxOptions } from './inbox';

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
  const plain = error instanceof ConfigError || !(error instanceof Error);
  console.error(plain ? String((error as Error).message ?? error) : (error as Error).stack);
  process.exit(1);
});
