import { type Static, Type } from 'typebox';
import {
  enterComplaintRates,
  lastAlerts,
  listPauses,
  pauseSending,
  resumeAll,
  resumeSending,
  type SendingPause,
  sendingRates,
} from '../../db/breaker';
import { readLimits, saveLimits } from '../../db/limits';
import { moveUp, quotaOn } from '../../db/quota';
import { isProvider, KNOWN_PROVIDERS } from '../../domain/addresses';
import {
  capsOn,
  isLooser,
  limitsFaults,
  type SendingLimits,
  type StreamLimits,
  WHOLE_STREAM,
} from '../../domain/limits';
import { Problem } from '../../domain/problem';
import { STREAMS, type Stream } from '../../domain/streams';
import { utcDay, type WarmUp } from '../../domain/warm-up';
import { afterAnswer } from '../after-answer';
import type { Api, ApiContext } from '../context';
import { invalidField, invalidFields, problemResponses } from '../problems';
import { Nullable, NullableTime } from '../schemas';

const PerSecond = (description: string) =>
  Type.Optional(Nullable(Type.Number({ exclusiveMinimum: 0, maximum: 10_000, description })));
const PerDay = (description: string) =>
  Type.Optional(Nullable(Type.Integer({ minimum: 1, maximum: 100_000_000, description })));
const Day = (description: string) => Type.String({ format: 'date', description, examples: ['2026-09-01'] });
const MailsOfADay = Type.Integer({ minimum: 1, maximum: 100_000_000 });

const WarmUpSchema = Type.Object(
  {
    startedOn: Day('The first day of the plan, UTC.'),
    firstDay: Type.Optional({ ...MailsOfADay, description: 'How many on the first day; with `growth` and `until`.' }),
    growth: Type.Optional(
      Type.Number({ minimum: 1.01, maximum: 10, description: 'Each day so many times the day before.' }),
    ),
    until: Type.Optional({ ...MailsOfADay, description: 'The warm-up is over once the plan has reached this.' }),
    plan: Type.Optional(
      Type.Array(MailsOfADay, {
        minItems: 1,
        maxItems: 366,
        description: 'Instead of the three: how many on each day. The warm-up is over after the last.',
      }),
    ),
  },
  {
    additionalProperties: false,
    description: 'How a new domain is got used to: how many mails the stream may send a day.',
  },
);

const StreamLimitsSchema = Type.Object(
  {
    perSecond: PerSecond('Mails a second of the whole stream.'),
    perProviderPerSecond: PerSecond('Mails a second to each receiving provider.'),
    perDay: PerDay('Mails a day (UTC) of the whole stream.'),
    perProviderPerDay: PerDay('Mails a day (UTC) to each receiving provider.'),
    providers: Type.Optional(
      Type.Record(
        Type.String({ maxLength: 40 }),
        Type.Object(
          {
            perSecond: PerSecond('In place of `perProviderPerSecond`.'),
            perDay: PerDay('In place of `perProviderPerDay`.'),
          },
          { additionalProperties: false },
        ),
        { description: `What is different for one provider. Known are: ${KNOWN_PROVIDERS.join(', ')}.` },
      ),
    ),
    warmUp: Type.Optional(Nullable(WarmUpSchema)),
  },
  { additionalProperties: false },
);

const LimitsSchema = Type.Object(
  {
    transactional: Type.Optional(StreamLimitsSchema),
    requested: Type.Optional(StreamLimitsSchema),
    marketing: Type.Optional(StreamLimitsSchema),
  },
  {
    additionalProperties: false,
    description: 'The limits of every stream. What is left out, or null, is not limited.',
    examples: [
      {
        marketing: {
          perSecond: 20,
          perProviderPerSecond: 5,
          perDay: 50_000,
          providers: { gmail: { perSecond: 10 } },
          warmUp: { startedOn: '2026-09-01', firstDay: 50, growth: 1.5, until: 50_000 },
        },
      },
    ],
  },
);

const ProviderName = Type.String({
  pattern: '^(\\*|[a-z0-9-]{1,40})$',
  description: 'A receiving provider, such as `gmail`; `*` is the whole stream.',
});
const StreamName = Type.Enum(STREAMS, { description: 'Which stream of mail.' });

const Pause = Type.Object({
  provider: ProviderName,
  reason: Type.String({
    description:
      '`by-hand`; `refused` and `refusal-storm`: servers refuse us; `complaint-rate`, `hard-bounce-rate` and ' +
      '`policy-bounce-rate`: too much came back.',
  }),
  code: Nullable(Type.String({ description: 'What the server answered, as codes.' })),
  pausedAt: Type.String({ format: 'date-time' }),
  probeAt: NullableTime('When one mail may try whether it goes on; null: it waits for a person.'),
  probes: Type.Integer({ description: 'How often that was tried.' }),
});

const Count = (description: string) => Type.Integer({ minimum: 0, description });
const Use = Type.Object({
  provider: ProviderName,
  cap: Nullable(Type.Integer({ description: 'How many mails may go today; null: not limited today.' })),
  taken: Count('Places that were made use of today: what was sent, and attempts that got as far as the recipient.'),
  reserved: Count('Places that are kept for mails of today that have not gone yet.'),
});
const Rates = Type.Object({
  provider: ProviderName,
  delivered: Count('Mails that were accepted.'),
  complaints: Count('Of those, marked as spam.'),
  hardBounces: Count('Addresses that do not exist.'),
  policyBounces: Count('Came back because of who we are, or what we wrote.'),
  refusals: Count('Refusals that were about us and not about a recipient.'),
  complaintRate: Nullable(Type.Number({ description: 'Share of the delivered; null while nothing was delivered.' })),
  hardBounceRate: Nullable(Type.Number({ description: 'Share of the delivered; null while nothing was delivered.' })),
  entered: Nullable(
    Type.Object(
      { day: Type.String(), rate: Type.Number() },
      { description: 'The last complaint rate that was entered for it.' },
    ),
  ),
});
const Alert = Type.Object({
  at: Type.String({ format: 'date-time' }),
  stream: StreamName,
  provider: ProviderName,
  kind: Type.Enum(['warned', 'stopped', 'resumed']),
  reason: Type.String(),
  detail: Type.Record(Type.String(), Type.Unknown(), { description: 'Codes and counts.' }),
});
const StreamState = Type.Object({
  stream: StreamName,
  state: Type.Enum(['sending', 'partly-paused', 'paused'], {
    description: '`partly-paused`: to some providers only.',
  }),
  limits: StreamLimitsSchema,
  today: Type.Array(Use, { description: 'The day’s quotas, as far as there are any.' }),
  pauses: Type.Array(Pause),
  rates: Type.Array(Rates, { description: 'Of the last seven days, the whole stream (`*`) first.' }),
});

const PauseBody = Type.Object(
  { stream: StreamName, provider: Type.Optional(ProviderName) },
  { additionalProperties: false, examples: [{ stream: 'marketing', provider: 'gmail' }] },
);
const InFlight = Type.Array(
  Type.Object({
    enrollmentId: Nullable(Type.String({ format: 'uuid' })),
    step: Nullable(Type.Integer()),
    transactionalId: Nullable(Type.String({ format: 'uuid', description: 'A mail outside any journey.' })),
    messageId: Type.String(),
  }),
  { description: 'Mails that the mail server was receiving at that moment: they may still arrive.' },
);
const PausePath = Type.Object({ stream: StreamName, provider: ProviderName });

const RatesBody = Type.Object(
  {
    rates: Type.Array(
      Type.Object(
        {
          stream: Type.Optional({ ...StreamName, default: 'marketing' }),
          provider: Type.String({ maxLength: 40, description: 'Whose page shows it.', examples: ['gmail'] }),
          day: Day('The day that it is for.'),
          rate: Type.Number({ minimum: 0, maximum: 1, description: 'A share: 0.001 is 0.1 %.', examples: [0.0008] }),
        },
        { additionalProperties: false },
      ),
      { minItems: 1, maxItems: 1_000 },
    ),
  },
  {
    additionalProperties: false,
    examples: [{ rates: [{ provider: 'gmail', day: '2026-09-14', rate: 0.0008 }] }],
  },
);

/** How many alerts are shown. */
const ALERTS = 50;

/** The streams of mail: what they may send, what they do send, and what stands in their way. */
export function sendingRoutes(app: Api, { db, journeys, clock }: ApiContext): void {
  app.get(
    '/sending',
    {
      config: { scopes: ['operator'] },
      schema: {
        operationId: 'getSending',
        tags: ['sending'],
        summary: 'See how sending stands',
        description: 'Limits, use, pauses and rates of every stream, and what operators were told last.',
        response: {
          200: Type.Object(
            { at: Type.String({ format: 'date-time' }), streams: Type.Array(StreamState), alerts: Type.Array(Alert) },
            { description: 'How it stands.' },
          ),
          ...problemResponses(),
        },
      },
    },
    async () => {
      const now = clock();
      const [limits, pauses, quota, rates, alerts] = await Promise.all([
        readLimits(db),
        listPauses(db),
        quotaOn(db, utcDay(now)),
        sendingRates(db, now),
        lastAlerts(db, ALERTS),
      ]);
      const streams = STREAMS.map((stream) => {
        const own = pauses.filter((pause) => pause.stream === stream);
        return {
          stream,
          state: stateOf(own),
          limits: limits[stream],
          today: useOf(
            limits[stream],
            quota.filter((row) => row.stream === stream),
            utcDay(now),
          ),
          pauses: own.map(pauseAnswer),
          rates: rates
            .filter((row) => row.stream === stream)
            .map(({ stream: _, ...row }) => ({
              ...row,
              complaintRate: row.delivered === 0 ? null : row.complaints / row.delivered,
              hardBounceRate: row.delivered === 0 ? null : row.hardBounces / row.delivered,
            })),
        };
      });
      return {
        at: now.toISOString(),
        streams,
        alerts: alerts.map(({ id: _, at, ...rest }) => ({ ...rest, at: at.toISOString() })),
      };
    },
  );

  app.get(
    '/sending/limits',
    {
      config: { scopes: ['operator'] },
      schema: {
        operationId: 'getSendingLimits',
        tags: ['sending'],
        summary: 'See the limits',
        description: 'Of every stream, in full: null is not limited.',
        response: { 200: { ...LimitsSchema, description: 'All of them.' }, ...problemResponses() },
      },
    },
    async () => await readLimits(db),
  );

  app.put(
    '/sending/limits',
    {
      config: { scopes: ['operator'] },
      schema: {
        operationId: 'putSendingLimits',
        tags: ['sending'],
        summary: 'Set the limits',
        description:
          'Puts the whole document in place of the old one, while mail is being sent. Limits a second count at once, for ' +
          'mail that is queued already too; only a provider’s own one counts for what is queued from now on. Daily caps ' +
          'count within seconds. Where they are raised, those who wait for their day come at once.',
        body: LimitsSchema,
        response: { 200: { ...LimitsSchema, description: 'They are kept, and set.' }, ...problemResponses() },
      },
    },
    async (request, reply) => {
      const limits = limitsOf(request.body);
      const now = clock();
      const before = await saveLimits(db, limits, now);
      for (const stream of STREAMS) {
        if (isLooser(limits[stream], before[stream], utcDay(now))) await moveUp(db, stream, now);
      }
      afterAnswer(reply, () => journeys.applyLimits());
      return limits;
    },
  );

  app.put(
    '/sending/complaint-rates',
    {
      config: { scopes: ['operator'] },
      schema: {
        operationId: 'putComplaintRates',
        tags: ['sending'],
        summary: 'Enter complaint rates',
        description:
          'For providers that send no reports but show a rate on a page of their own, such as Gmail’s Postmaster Tools. ' +
          'From 0.1 % on operators are warned, from 0.3 % on the stream’s mail to that provider is stopped.',
        body: RatesBody,
        response: {
          200: Type.Object({ pauses: Type.Array(Pause) }, { description: 'They are kept. What is paused by now.' }),
          ...problemResponses(),
        },
      },
    },
    async (request) => {
      const now = clock();
      const rates = request.body.rates.map((rate, index) => ({
        ...rate,
        stream: rate.stream ?? ('marketing' as const),
        provider: knownProvider(rate.provider, `/rates/${index}/provider`),
        day: pastDay(rate.day, `/rates/${index}/day`, now),
      }));
      await enterComplaintRates(db, rates, now);
      return { pauses: (await listPauses(db)).map(pauseAnswer) };
    },
  );

  app.post(
    '/sending/pauses',
    {
      config: { scopes: ['operator'] },
      schema: {
        operationId: 'pauseSending',
        tags: ['sending'],
        summary: 'Pause a stream, or its mail to one provider',
        description:
          'Nobody loses their place: what is due waits. Once this is answered nothing of it is handed over any more but what ' +
          '`inFlight` names. Pausing again changes nothing, except that the pause no longer ends by itself. ' +
          '`POST /v1/sending/pause-all` pauses everything.',
        body: PauseBody,
        response: {
          201: Type.Object({ ...Pause.properties, inFlight: InFlight }, { description: 'It is paused.' }),
          ...problemResponses(),
        },
      },
    },
    async (request, reply) => {
      const { stream, provider = WHOLE_STREAM } = request.body;
      if (provider !== WHOLE_STREAM) knownProvider(provider, '/provider');
      const inFlight = await pauseSending(db, { streams: [stream], provider, now: clock() });
      const pause = (await listPauses(db)).find((each) => each.stream === stream && each.provider === provider);
      // Somebody may have resumed it in between.
      if (pause === undefined) throw notPaused(stream, provider);
      return await reply.code(201).send({ ...pauseAnswer(pause), inFlight });
    },
  );

  app.post(
    '/sending/pause-all',
    {
      config: { scopes: ['operator'] },
      schema: {
        operationId: 'pauseAllSending',
        tags: ['sending'],
        summary: 'Pause everything',
        description:
          'All three streams, invoices too. Nobody loses their place, and leads, purchases and opt-outs are taken as ever. Once ' +
          'this is answered nothing is handed over any more but what `inFlight` names. Test sends are not held.',
        response: { 200: Type.Object({ inFlight: InFlight }, { description: 'It is paused.' }), ...problemResponses() },
      },
    },
    async () => ({ inFlight: await pauseSending(db, { streams: STREAMS, provider: WHOLE_STREAM, now: clock() }) }),
  );

  app.post(
    '/sending/resume-all',
    {
      config: { scopes: ['operator'] },
      schema: {
        operationId: 'resumeAllSending',
        tags: ['sending'],
        summary: 'Let everything go on that was paused by hand',
        description:
          'Whole streams only. What the circuit breaker has stopped, and single providers, stay paused: they are resumed one ' +
          'by one. A stream that was paused by hand after the breaker had stopped it counts as paused by hand, unless it was ' +
          'stopped for its rates.',
        response: {
          200: Type.Object(
            { resumed: Type.Array(StreamName) },
            { description: 'What goes on; empty where nothing was paused by hand.' },
          ),
          ...problemResponses(),
        },
      },
    },
    async () => ({ resumed: await resumeAll(db, clock()) }),
  );

  app.delete(
    '/sending/pauses/:stream/:provider',
    {
      config: { scopes: ['operator'] },
      schema: {
        operationId: 'resumeSending',
        tags: ['sending'],
        summary: 'Let it go on',
        description:
          'What was held goes out, nudges within their send window. The rates that led to a stop are counted anew from here.',
        params: PausePath,
        response: { 204: Type.Null({ description: 'It goes on.' }), ...problemResponses('not-found') },
      },
    },
    async (request, reply) => {
      const { stream, provider } = request.params;
      if (!(await resumeSending(db, { stream, provider, now: clock() }))) throw notPaused(stream, provider);
      return await reply.code(204).send(null);
    },
  );
}

function notPaused(stream: Stream, provider: string): Problem {
  const what = provider === WHOLE_STREAM ? `the stream ${stream}` : `mail of the stream ${stream} to ${provider}`;
  return new Problem('not-found', `${what} is not paused`);
}

function limitsOf(body: Static<typeof LimitsSchema>): SendingLimits {
  const faults: { pointer: string; in: 'body'; detail: string }[] = [];
  const entries = STREAMS.map((stream): [Stream, StreamLimits] => {
    const given = body[stream] ?? {};
    const warmUp = given.warmUp == null ? null : warmUpOf(given.warmUp);
    if (warmUp === 'unclear') {
      const detail = 'needs either `plan`, or `firstDay`, `growth` and `until`';
      faults.push({ pointer: `/${stream}/warmUp`, in: 'body', detail });
    }
    const limits: StreamLimits = {
      perSecond: given.perSecond ?? null,
      perProviderPerSecond: given.perProviderPerSecond ?? null,
      perDay: given.perDay ?? null,
      perProviderPerDay: given.perProviderPerDay ?? null,
      providers: Object.fromEntries(
        Object.entries(given.providers ?? {}).map(([name, own]) => [
          name,
          { perSecond: own.perSecond ?? null, perDay: own.perDay ?? null },
        ]),
      ),
      warmUp: warmUp === 'unclear' ? null : warmUp,
    };
    for (const { pointer, detail } of limitsFaults(limits, KNOWN_PROVIDERS)) {
      faults.push({ pointer: `/${stream}${pointer}`, in: 'body', detail });
    }
    return [stream, limits];
  });
  if (faults.length > 0) throw invalidFields(faults);
  return Object.fromEntries(entries) as SendingLimits;
}

function warmUpOf({ startedOn, firstDay, growth, until, plan }: Static<typeof WarmUpSchema>): WarmUp | 'unclear' {
  const grows = firstDay !== undefined && growth !== undefined && until !== undefined;
  if (plan !== undefined) {
    return firstDay === undefined && growth === undefined && until === undefined ? { startedOn, plan } : 'unclear';
  }
  return grows ? { startedOn, firstDay, growth, until } : 'unclear';
}

function knownProvider(name: string, pointer: string): string {
  if (isProvider(name)) return name;
  throw invalidField(pointer, `is not a provider that is known here; those are ${KNOWN_PROVIDERS.join(', ')}`);
}

function pastDay(day: string, pointer: string, now: Date): string {
  if (day > utcDay(now)) throw invalidField(pointer, `lies in the future; it is ${utcDay(now)} now`);
  return day;
}

function stateOf(pauses: readonly SendingPause[]): 'sending' | 'partly-paused' | 'paused' {
  if (pauses.some((pause) => pause.provider === WHOLE_STREAM)) return 'paused';
  return pauses.length > 0 ? 'partly-paused' : 'sending';
}

function pauseAnswer({ stream: _, pausedAt, probeAt, ...rest }: SendingPause): Static<typeof Pause> {
  return { ...rest, pausedAt: pausedAt.toISOString(), probeAt: probeAt?.toISOString() ?? null };
}

function useOf(
  limits: StreamLimits,
  rows: readonly { provider: string; used: number; taken: number }[],
  day: string,
): Static<typeof Use>[] {
  const providers = new Set([WHOLE_STREAM, ...Object.keys(limits.providers), ...rows.map((row) => row.provider)]);
  return [...providers].flatMap((provider) => {
    const cap = capsOn(limits, provider, day).find((each) => each.provider === provider)?.cap ?? null;
    const row = rows.find((each) => each.provider === provider);
    if (cap === null && row === undefined) return [];
    const taken = row?.taken ?? 0;
    return [{ provider, cap, taken, reserved: Math.max((row?.used ?? 0) - taken, 0) }];
  });
}
