import { withoutSettings } from '../stack/without-settings';
import { demoPeople } from './demo-people';
import { tellStory } from './demo-story';
import { type ListedCampaign, offerExamples } from './example-campaigns';
import { runInForeground, say } from './foreground';
import { type FunnelStats, funnel } from './funnel';
import { emptyHome, homeOf } from './home';
import { callApi } from './own-api';
import { type Stack, startStack } from './stack';
import { rows } from './table';

/** Planned time per real time: a day passes in 0.43 s, two years in some five minutes. */
const TIME_FACTOR = 200_000;
const SEED = 1;

/**
 * `recuerda demo`: a stack of its own, fresh each time, where two years pass in a few minutes before your eyes.
 *
 * @returns the exit code
 */
export async function demo(env: NodeJS.ProcessEnv, root: string, options: { exit?: boolean }): Promise<number> {
  const home = `${homeOf(env, root)}-demo`;
  const { HOST, PORT, RECUERDA_HOME } = env;
  const factor = env.RECUERDA_TIME_FACTOR || String(TIME_FACTOR);
  // A demonstration must never touch a real installation, nor mail through it.
  const own = { ...withoutSettings(env, root), HOST, PORT, RECUERDA_HOME, RECUERDA_TIME_FACTOR: factor };
  return await runInForeground({
    home,
    root,
    env: own,
    farewell: `Stopped. Until the next demo its mails stay in ${home}.`,
    prepare: () => emptyHome(home),
    launch: startStack,
    work: async (stack, signal) => {
      const campaigns = await offerExamples(stack.info, signal);
      await play(stack, campaigns, signal);
      if (options.exit !== true) say('\nEverything stays up for you to look around. Stop with Ctrl-C.');
      return options.exit === true;
    },
  });
}

async function play({ info, config }: Stack, campaigns: ListedCampaign[], signal: AbortSignal): Promise<void> {
  const { timeFactor } = config;
  const day = ((24 * 60 * 60) / timeFactor).toFixed(2);
  const places: [string, string][] = [
    ['Mailbox', info.mailboxUrl ?? ''],
    ['Temporal UI', info.temporalUi ?? ''],
    ['API docs', `${info.apiUrl}/docs`],
    ['API key', info.apiKey],
  ];
  say(`\n${rows(places)}\n`);
  const people = demoPeople(SEED);
  say(
    `${people.length} example leads ask for information. Time is compressed ${timeFactor} times: a day passes in ${day} s.\n` +
      'No mail leaves this machine.\n',
  );
  const ending = await tellStory({
    stack: info,
    people,
    campaigns: { es: idFor('es', campaigns), en: idFor('en', campaigns) },
    timeFactor,
    say,
    signal,
  });
  say(`\nAfter ${ending.days} days every journey has ended: ${ending.mails} mails to ${people.length} people.`);
  say(`Mails handed over after a lead had bought, replied or unsubscribed: ${ending.mailsAfterStop}.\n`);
  for (const { id, name } of campaigns) {
    const stats = await callApi<FunnelStats>(info, 'GET', `/v1/campaigns/${id}/stats`, undefined, signal);
    say(`${name}\n${funnel(stats)}\n`);
  }
}

function idFor(language: string, campaigns: readonly ListedCampaign[]): string {
  const campaign = campaigns.find(({ locale }) => locale?.split('-')[0] === language);
  if (campaign === undefined) throw new Error(`There is no example campaign in ${language}`);
  return campaign.id;
}
