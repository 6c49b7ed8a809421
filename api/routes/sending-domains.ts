import { Type } from 'typebox';
import { domainNameOf } from '../../domain/dns';
import { checkSendingDomain } from '../../domain/sending-domain';
import { sendingSetup } from '../../domain/sending-setup';
import type { Api, ApiContext } from '../context';
import { invalidFields, problemResponses } from '../problems';
import { Nullable } from '../schemas';

const Finding = Type.Object({
  severity: Type.Enum(['wrong', 'warning', 'note']),
  code: Type.String({ description: 'What it is, for programs.' }),
  text: Type.String({ description: 'What it means and what to do.' }),
});

const RecordReport = Type.Object({
  record: Type.Enum(['spf', 'dkim', 'dmarc', 'mx']),
  purpose: Type.String({ description: 'What it is for.' }),
  name: Type.String({ description: 'The name in the DNS.' }),
  type: Type.Enum(['TXT', 'MX']),
  status: Type.Enum(['ok', 'warning', 'wrong', 'missing', 'unknown'], {
    description: '`unknown`: the DNS could not be asked; that is not the same as `missing`.',
  }),
  is: Type.Array(Type.String(), { description: 'What is published.' }),
  shouldBe: Nullable(
    Type.String({
      description: 'To be published word for word; null where nothing needs to change, or only you can know.',
    }),
  ),
  findings: Type.Array(Finding),
});

/** Domains that mail is from. */
export function sendingDomainRoutes(app: Api, { config, dns }: ApiContext): void {
  const setup = sendingSetup(config);
  app.get(
    '/sending/domains/:domain',
    {
      config: { scopes: ['operator'] },
      schema: {
        operationId: 'checkSendingDomain',
        tags: ['sending'],
        summary: 'See whether a domain is set up for sending',
        description:
          'SPF, DKIM, DMARC and MX records as they are in the DNS now, and as they should be for the way this server sends. ' +
          '`npx recuerda dns-check` says the same.',
        params: Type.Object({
          domain: Type.String({ description: 'A domain that mail is From, such as shop.example.' }),
        }),
        response: {
          200: Type.Object(
            {
              domain: Type.String(),
              verdict: Type.Enum(['good', 'needs-work', 'incomplete'], {
                description: '`incomplete`: nothing is wrong as far as the DNS could be asked.',
              }),
              records: Type.Array(RecordReport),
            },
            { description: 'What was found.' },
          ),
          ...problemResponses(),
        },
      },
    },
    async (request) => {
      const domain = domainNameOf(request.params.domain);
      if (domain === null) {
        throw invalidFields([{ pointer: '/domain', in: 'path', detail: 'is no domain name, such as shop.example' }]);
      }
      return await checkSendingDomain(domain, setup, dns);
    },
  );
}
