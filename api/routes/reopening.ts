import { Type } from 'typebox';
import { reopenEnrollment, snoozeEnrollment } from '../../db/reopening';
import { afterAnswer } from '../after-answer';
import type { Api, ApiContext } from '../context';
import { invalidField, problemResponses } from '../problems';
import { Id, InFlight, idParams, Time } from '../schemas';

/** Nobody is asked to wait longer than a journey lasts (days). */
const LONGEST_REST_DAYS = 732;

const Until = Time('No mail before this; it goes out in the send window’s first opening afterwards.');

/** "Ask me in autumn": letting an enrollment rest, and going on after an answer. */
export function reopeningRoutes(app: Api, { db, journeys, config, clock }: ApiContext): void {
  app.post(
    '/enrollments/:id/snooze',
    {
      config: { scopes: ['marketing'] },
      schema: {
        operationId: 'snoozeEnrollment',
        tags: ['enrollments'],
        summary: 'Let an enrollment rest until a day',
        description:
          'Its next mail goes out no earlier, inside the send window; never earlier than it was due anyway. From this ' +
          'answer on nothing is handed over before but what `inFlight` names.',
        params: idParams('The enrollment, open.'),
        body: Type.Object({ until: Until }, { additionalProperties: false }),
        response: {
          202: Type.Object(
            {
              enrollmentId: Id('This enrollment.'),
              nextDueAt: Time('When its next mail falls due now.'),
              inFlight: Type.Array(InFlight),
            },
            { description: 'It rests.' },
          ),
          ...problemResponses('not-found', 'already-ended'),
        },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const now = clock();
      const until = futureTime(request.body.until, '/until', now);
      const rest = { enrollmentId: id, until, via: 'api', timeFactor: config.timeFactor, now };
      const { nextDueAt, inFlight } = await snoozeEnrollment(db, rest);
      afterAnswer(reply, () => journeys.tell([id]));
      return await reply.code(202).send({ enrollmentId: id, nextDueAt: nextDueAt.toISOString(), inFlight });
    },
  );

  app.post(
    '/enrollments/:id/reopen',
    {
      config: { scopes: ['marketing'] },
      schema: {
        operationId: 'reopenEnrollment',
        tags: ['enrollments'],
        summary: 'Go on after an enrollment has ended',
        description:
          'As a new enrollment, at the step that comes next, with the consent that was given; nothing that was sent is ' +
          'sent again. For one that ended as `replied` ("ask me in autumn"), `cancelled` or `bounced`, while the person ' +
          'has not bought since and their address is not suppressed.',
        params: idParams('The enrollment, ended.'),
        body: Type.Object(
          {
            until: Type.Optional(
              Time(
                'No mail before this. When left out, the next one falls due when it would have, or in the next send window.',
              ),
            ),
          },
          { additionalProperties: false },
        ),
        response: {
          202: Type.Object(
            {
              enrollmentId: Id('The new enrollment.'),
              reopenedFrom: Id('The one that had ended.'),
              nextDueAt: Time('When its next mail falls due.'),
            },
            { description: 'It goes on.' },
          ),
          ...problemResponses(
            'not-found',
            'not-reopenable',
            'already-open',
            'address-suppressed',
            'campaign-cancelled',
          ),
        },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const now = clock();
      const until = request.body.until === undefined ? undefined : futureTime(request.body.until, '/until', now);
      const { enrollmentId, nextDueAt } = await reopenEnrollment(db, {
        enrollmentId: id,
        until,
        via: 'api',
        timeFactor: config.timeFactor,
        addressKeys: config.addressKeys,
        now,
      });
      afterAnswer(reply, () => journeys.start([enrollmentId]));
      return await reply.code(202).send({ enrollmentId, reopenedFrom: id, nextDueAt: nextDueAt.toISOString() });
    },
  );
}

/** @throws Problem `invalid-request` when it is past, or further away than a journey lasts */
function futureTime(text: string, pointer: string, now: Date): Date {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) throw invalidField(pointer, 'is not a date and time that exists');
  if (at <= now) throw invalidField(pointer, `lies in the past; it is ${now.toISOString()} now`);
  if (at.getTime() - now.getTime() > LONGEST_REST_DAYS * 86_400_000) {
    throw invalidField(pointer, 'lies more than two years ahead');
  }
  return at;
}
