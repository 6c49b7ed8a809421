import { Type } from 'typebox';
import { retentionOutlook } from '../../db/retention';
import type { Api, ApiContext } from '../context';
import { problemResponses } from '../problems';
import { NullableTime } from '../schemas';

const count = (description: string) => Type.Integer({ minimum: 0, description });

const Retention = Type.Object({
  leads: Type.Object({
    open: count('With a journey that is open: nothing runs out yet.'),
    held: count(
      'Kept because something is still to be decided or answered: an unconfirmed request, a request about their data, a message in doubt.',
    ),
    overdue: count('To be erased by now; the next round of a worker does it.'),
    within7Days: count('To be erased within the next 7 days.'),
    within30Days: count('To be erased within the next 30 days, those within 7 included.'),
    later: count('To be erased later.'),
    erased: count('Erased; only what is counted is left of them.'),
  }),
  sealedEvidence: Type.Object(
    {
      kept: count('Documents that are kept.'),
      overdue: count('To be destroyed by now.'),
      within30Days: count('To be destroyed within the next 30 days.'),
    },
    { description: 'What is kept of erased leads to defend a claim, sealed.' },
  ),
  receivedMail: Type.Object({
    kept: count('Received messages whose text is kept.'),
    oldest: NullableTime('When the oldest of them was received.'),
  }),
});

/** How long what is kept, as it stands. */
export function retentionRoutes(app: Api, { db, config, clock }: ApiContext): void {
  app.get(
    '/retention',
    {
      config: { scopes: ['privacy', 'operator'] },
      schema: {
        operationId: 'getRetention',
        tags: ['privacy'],
        summary: 'See what is erased when',
        description:
          'How many leads, and how much of what is kept besides, fall due when. How long a lead is kept stands in `erasure` of its campaign, for each outcome.',
        response: { 200: { ...Retention, description: 'What is kept, by count.' }, ...problemResponses() },
      },
    },
    async () => {
      const { receivedMail, ...outlook } = await retentionOutlook(db, config.timeFactor, clock());
      return {
        ...outlook,
        receivedMail: { kept: receivedMail.kept, oldest: receivedMail.oldest?.toISOString() ?? null },
      };
    },
  );
}
