import { Type } from 'typebox';
import { listReferrers, REFERRAL_CODE, type Referrer, referralTarget, referralTotals } from '../../db/referrals';
import type { Api, ApiContext } from '../context';
import { sendPage } from '../pages/html';
import { pageLanguage, unknownLinkPage } from '../pages/unsubscribe';
import { DEFAULT_LIMIT, PAGE_QUERY, Page, pageOf, readCursor } from '../pagination';
import { problemResponses } from '../problems';
import { Id, idParams, Time } from '../schemas';

const ReferrerSchema = Type.Object({
  leadId: Id('The buyer whose link it is.'),
  code: Type.String({ description: 'What the link ends with.' }),
  leads: Type.Integer({ description: 'Who came by it.' }),
  bought: Type.Integer({ description: 'How many of them have bought.' }),
  createdAt: Time('When the buyer was given it.'),
});

const CURSOR = Type.Object({
  leads: Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }),
  code: Type.String({ pattern: REFERRAL_CODE.source }),
});

/** The personal link of a buyer (`/r/{code}`). It names nobody, and sets no cookie. */
export function referralLinkRoutes(app: Api, { db, config }: ApiContext): void {
  app.get(
    '/r/:code',
    {
      schema: {
        operationId: 'followReferralLink',
        tags: ['public'],
        summary: 'A buyer’s personal link',
        description:
          'Leads to the form of the campaign, or where there is none to its product, with the code as `ref`. A form passes it on; ' +
          'a page of the shop’s own hands it over as `referralCode`.',
        security: [],
        params: Type.Object({ code: Type.String() }),
        response: {
          303: Type.Null({ description: 'The header `Location` says where to go.' }),
          404: {
            description: 'There is no such link, or its campaign is over.',
            content: { 'text/html': { schema: Type.String() } },
          },
        },
      },
    },
    async (request, reply) => {
      const { code } = request.params;
      const target = await referralTarget(db, code);
      if (target === null) {
        const language = pageLanguage(request.headers['accept-language']?.trim() ?? '');
        return await sendPage(reply, 404, unknownLinkPage(language));
      }
      const url = new URL('formId' in target ? `${config.publicUrl}/f/${target.formId}` : target.productUrl);
      url.searchParams.set('ref', code);
      return await reply
        .headers({ 'referrer-policy': 'no-referrer', 'cache-control': 'no-store' })
        .redirect(url.href, 303);
    },
  );
}

/** What referrals have brought. */
export function referralRoutes(app: Api, { db }: ApiContext): void {
  app.get(
    '/campaigns/:id/referrals',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'listReferrals',
        tags: ['campaigns'],
        summary: 'See what referrals have brought',
        description: 'In all, and for each buyer’s link, the most successful first.',
        params: idParams('The campaign.'),
        querystring: Type.Object(PAGE_QUERY, { additionalProperties: false }),
        response: {
          200: Type.Object(
            {
              totals: Type.Object({ links: Type.Integer(), leads: Type.Integer(), bought: Type.Integer() }),
              ...Page(ReferrerSchema).properties,
            },
            { description: 'The links.' },
          ),
          ...problemResponses('not-found'),
        },
      },
    },
    async (request) => {
      const { limit = DEFAULT_LIMIT, cursor } = request.query;
      const after = readCursor(cursor, CURSOR);
      const totals = await referralTotals(db, request.params.id);
      const rows = await listReferrers(db, request.params.id, limit + 1, after);
      const itemOf = (row: Referrer) => ({ ...row, createdAt: row.createdAt.toISOString() });
      return { totals, ...pageOf(rows, limit, itemOf, ({ leads, code }) => ({ leads, code })) };
    },
  );
}
