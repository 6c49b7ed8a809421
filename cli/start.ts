import { isLoopbackUrl } from '../config';
import { type ListedCampaign, offerExamples } from './example-campaigns';
import { runInForeground, say } from './foreground';
import { homeOf } from './home';
import type { ApiAccess } from './own-api';
import { type Stack, startStack } from './stack';
import { rows } from './table';

/**
 * `recuerda start`: everything on this machine under one process, until Ctrl-C.
 *
 * @returns the exit code
 */
export async function start(env: NodeJS.ProcessEnv, root: string): Promise<number> {
  const home = homeOf(env, root);
  return await runInForeground({
    home,
    root,
    env,
    farewell: 'Stopped. Your data is kept for the next start.',
    launch: startStack,
    work: async (stack, signal) => {
      const campaigns = await offerExamples(stack.info, signal);
      say(`\n${overview(stack, home, campaigns)}\n`);
      // From the start of this process, so that what loading took counts too.
      say(`Ready after ${process.uptime().toFixed(1)} s. Stop with Ctrl-C.\n`);
      return false;
    },
  });
}

/** Everything that a person needs to begin, in one table. */
function overview({ info, config }: Stack, home: string, campaigns: readonly ListedCampaign[]): string {
  const published = campaigns.find(({ state }) => state === 'published');
  const table: [string, string][] = [
    ['API', info.apiUrl],
    ['API docs', `${info.apiUrl}/docs`],
    ['API key', info.apiKey],
    ['Temporal UI', info.temporalUi ?? `that of your own Temporal at ${info.temporalAddress}`],
    ['Mailbox', info.mailboxUrl ?? 'none: mail goes to SMTP_URL'],
    ['Inbox', inboxNote(config.inboxes.length)],
    ...campaigns.map((campaign, index): [string, string] => [
      index === 0 ? 'Campaigns' : '',
      `${campaign.id}  ${campaign.name}${campaign.locale === undefined ? '' : ` (${campaign.locale})`}`,
    ]),
    ['Data', home],
  ];
  return [
    rows(table),
    '',
    mailNote(config.mailBlocked, info.smtpUrl),
    ...(published === undefined ? [] : ['', 'Enroll a lead:', '', enrollCommand(info, published.id)]),
  ].join('\n');
}

function inboxNote(count: number): string {
  if (count === 0) return 'none: set IMAP_URL to a mailbox, and its replies and bounces are read';
  return count === 1 ? 'one mailbox is watched' : `${count} mailboxes are watched`;
}

function mailNote(mailBlocked: string | null, smtpUrl: string): string {
  if (mailBlocked !== null) return `${mailBlocked}.`;
  if (isLoopbackUrl(smtpUrl)) return 'No mail leaves this machine until SMTP_URL is set.';
  return `Mail leaves this machine, through ${new URL(smtpUrl).hostname}.`;
}

/** A command to be pasted as it is. */
export function enrollCommand({ apiUrl, apiKey }: ApiAccess, campaignId: string): string {
  const consent = {
    purpose: 'nudges',
    text: 'Yes, you may write to me about this product again.',
    capturedAt: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
    source: 'command line',
  };
  const body = JSON.stringify({ lead: { email: 'lucia@example.com', name: 'Lucía Gómez' }, consent });
  return [
    `  curl -X POST ${apiUrl}/v1/campaigns/${campaignId}/enrollments \\`,
    `    -H 'Authorization: Bearer ${apiKey}' -H 'Content-Type: application/json' \\`,
    `    -d '${body}'`,
  ].join('\n');
}
