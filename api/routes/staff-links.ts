import type { FastifyRequest } from 'fastify';
import { DateTime } from 'luxon';
import { Type } from 'typebox';
import { decideInbound } from '../../db/decisions';
import { reopenEnrollment, snoozeEnrollment } from '../../db/reopening';
import { noteLeftEnded, type StaffView, staffView } from '../../db/staff-links';
import type { InboundKind } from '../../domain/inbound';
import { Problem } from '../../domain/problem';
import { readStaffToken, type StaffToken } from '../../domain/staff-token';
import { composeForward } from '../../mail/compose/forward';
import type { Api, ApiContext } from '../context';
import { sendPage } from '../pages/html';
import { answerErrorsWithPage, htmlAnswer, takeForms } from '../pages/scope';
import {
  type StaffResult,
  staffLanguage,
  staffPage,
  staffResultPage,
  staffUnavailablePage,
  staffUnknownPage,
} from '../pages/staff-link';
import { tellOf } from './inbox';

const BODY_LIMIT_BYTES = 16 * 1024;
const LONGEST_REST_DAYS = 732;
const PARAMS = Type.Object({ token: Type.String({ description: 'From the link in the forwarded mail.' }) });
const RESPONSES = {
  404: htmlAnswer('The link was not made by us, was cut short, or has expired. Nothing was changed.'),
  503: htmlAnswer('Postgres can not be reached. Nothing was changed; try again.'),
};

/**
 * The link in a forwarded answer, for salespeople: write again from a day on, or leave it. No key: the signed token, which
 * expires, is what allows it. Opening it changes nothing.
 */
export function staffLinkRoutes(app: Api, context: ApiContext): void {
  const { db, config, clock } = context;
  app.register(async (scope) => {
    takeForms(scope, BODY_LIMIT_BYTES);
    answerErrorsWithPage(scope, (request) => staffUnavailablePage(browserLanguage(request)));

    scope.get<{ Params: { token: string } }>(
      '/s/:token',
      {
        schema: {
          operationId: 'showStaffPage',
          tags: ['public'],
          summary: 'The page of a forwarded answer',
          description:
            'For salespeople, in the language of the campaign. Opening it, as link scanners do, changes nothing.',
          security: [],
          params: PARAMS,
          response: { 200: htmlAnswer('Asks what shall be done.'), ...RESPONSES },
        },
      },
      async (request, reply) => {
        const found = await find(request);
        if (found === null) return await sendPage(reply, 404, staffUnknownPage(browserLanguage(request)));
        const { view } = found;
        const tomorrow = DateTime.fromJSDate(clock(), { zone: view.timeZone }).plus({ days: 1 }).toISODate() ?? '';
        return await sendPage(reply, 200, staffPage(staffLanguage(view.locale), view, tomorrow));
      },
    );

    scope.post<{ Params: { token: string } }>(
      '/s/:token',
      {
        schema: {
          operationId: 'actByStaffLink',
          tags: ['public'],
          summary: 'Write again later, or leave it',
          description:
            'A form: `action=later` with `until` (`YYYY-MM-DD`), `action=leave`, or for a message in doubt `action=stop` or ' +
            '`action=go-on`.',
          security: [],
          params: PARAMS,
          response: { 200: htmlAnswer('Says what was done, or why it was not.'), ...RESPONSES },
        },
      },
      async (request, reply) => {
        const found = await find(request);
        if (found === null) return await sendPage(reply, 404, staffUnknownPage(browserLanguage(request)));
        const { token, view } = found;
        const form = request.body instanceof URLSearchParams ? request.body : new URLSearchParams();
        const result = await act(context, token, view, form);
        return await sendPage(reply, 200, staffResultPage(staffLanguage(view.locale), view, result));
      },
    );
  });

  async function find(request: FastifyRequest): Promise<{ token: StaffToken; view: StaffView } | null> {
    const { token: text } = request.params as { token: string };
    const token = readStaffToken(text, config.tokenKeys, clock());
    if (token === null) return null;
    const view = await staffView(db, token);
    return view === null ? null : { token, view };
  }
}

function browserLanguage(request: FastifyRequest) {
  return staffLanguage(request.headers['accept-language'] ?? '');
}

async function act(
  context: ApiContext,
  token: StaffToken,
  view: StaffView,
  form: URLSearchParams,
): Promise<StaffResult> {
  switch (form.get('action')) {
    case 'later':
      return await later(context, token, view, form.get('until') ?? '');
    case 'stop':
      await decide(context, token, view, 'reply');
      return { done: 'stopped' };
    case 'go-on':
      await decide(context, token, view, 'other');
      return { done: 'goes-on' };
    default:
      await noteLeftEnded(context.db, token, context.clock());
      return { done: 'left' };
  }
}

/** Whoever asks to be written to later has answered: what was in doubt is decided by it. */
async function later(context: ApiContext, token: StaffToken, view: StaffView, text: string): Promise<StaffResult> {
  const { db, config, clock, journeys } = context;
  const now = clock();
  const day = DateTime.fromISO(/^\d{4}-\d{2}-\d{2}$/.test(text) ? text : '', { zone: view.timeZone });
  const until = day.toJSDate();
  const farthest = now.getTime() + LONGEST_REST_DAYS * 86_400_000;
  if (!day.isValid || until <= now || until.getTime() > farthest) return { refused: 'no-date' };
  try {
    await decide(context, token, view, 'reply');
    const settings = { until, via: 'staff-link', timeFactor: config.timeFactor, now };
    const open = view.inReview ? null : view.openEnrollmentId;
    if (open !== null) {
      await snoozeEnrollment(db, { enrollmentId: open, ...settings });
      journeys.tell([open]);
    } else {
      const { addressKeys } = config;
      const reopening = { enrollmentId: token.enrollmentId, addressKeys, ...settings };
      const { enrollmentId } = await reopenEnrollment(db, reopening);
      journeys.start([enrollmentId]);
    }
    return { done: 'later', from: day.setLocale(staffLanguage(view.locale)).toLocaleString(DateTime.DATE_FULL) };
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return { refused: error.code === 'address-suppressed' ? 'suppressed' : 'not-possible' };
  }
}

/** Only what is still in doubt: a decision that somebody has made stays. */
async function decide(context: ApiContext, token: StaffToken, view: StaffView, kind: InboundKind): Promise<void> {
  if (!view.inReview) return;
  const { db, config, clock, journeys } = context;
  const acted = await decideInbound(
    db,
    { ...config, composeForward },
    token.inboundId,
    { kind, by: 'person' },
    clock(),
  );
  tellOf(acted, journeys);
}
