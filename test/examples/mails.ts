import { fromOfStep, type PublishedCampaign } from '../../domain/campaign';
import type { TokenKey } from '../../domain/signed-token';
import { streamOfStep } from '../../domain/streams';
import { signUnsubscribeToken } from '../../domain/unsubscribe-token';
import { loadExample } from '../../examples/load';
import { preparePublication } from '../../mail/compose/compile';
import { mailIdentity } from '../../mail/compose/identity';
import { type ComposedMessage, composeMessage, type MessageInput } from '../../mail/compose/message';

export const LANGUAGES = ['es', 'en'] as const;
export const TOKEN_KEYS: readonly TokenKey[] = [{ version: 1, secret: Buffer.alloc(32, 7) }];

const CAMPAIGN_ID = '6e1c8f0a-0000-4000-8000-000000000001';
const ENROLLMENT_ID = 'c0ffee00-0000-4000-8000-00000000000a';
const UNSUBSCRIBE_URL = `https://cartas.casabrava.example/u/${signUnsubscribeToken(
  {
    addressHash: `1.${Buffer.alloc(32, 0xab).toString('base64url')}`,
    campaignId: CAMPAIGN_ID,
    enrollmentId: ENROLLMENT_ID,
    locale: 'es',
  },
  TOKEN_KEYS,
)}`;

export interface ExampleMail {
  step: number;
  /** Header From, which decides about the key that signs. */
  from: string;
  unsubscribeUrl: string;
  message: ComposedMessage;
  /** What it was made of, to make another like it. */
  input: MessageInput;
  campaign: Pick<PublishedCampaign, 'definition' | 'steps'>;
}

/** Every mail of a shipped campaign, as one lead gets it, before it is signed. */
export async function exampleMails(
  language: (typeof LANGUAGES)[number],
  lead: { name?: string | null; consentSource?: string | null } = {},
): Promise<ExampleMail[]> {
  const campaign = await preparePublication(loadExample(language));
  if ('problems' in campaign) throw new Error(`the example in ${language} can not be published`);
  const { definition, steps } = campaign;
  return Promise.all(
    steps.map(async (compiled, step) => {
      const identity = mailIdentity(
        { kind: 'enrollment', id: ENROLLMENT_ID, step, copy: 0 },
        { from: fromOfStep(definition.sender, step), replyTo: definition.sender.replyTo },
        {
          returnPath: 'bounces@casabrava.example',
          replyAddress: 'replies@casabrava.example',
          tokenKeys: TOKEN_KEYS,
        },
      );
      const input: MessageInput = {
        compiled,
        definition,
        step,
        stepCount: steps.length,
        campaignId: CAMPAIGN_ID,
        lead: {
          email: 'ana.ibanez@correo.example',
          name: lead.name === undefined ? 'Ana Ibáñez' : lead.name,
          locale: definition.locale,
          timeZone: definition.timeZone,
          attributes: {},
        },
        requestedAt: new Date('2025-09-03T10:00:00Z'),
        consentSource: lead.consentSource === undefined ? 'https://casabrava.example/cafetera' : lead.consentSource,
        unsubscribeUrl: UNSUBSCRIBE_URL,
        identity,
        stream: streamOfStep(step),
        date: new Date('2025-12-10T09:15:00Z'),
      };
      const message = await composeMessage(input);
      return { step, from: identity.from.address, unsubscribeUrl: UNSUBSCRIBE_URL, message, input, campaign };
    }),
  );
}
