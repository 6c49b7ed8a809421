import {
  type Attributes,
  context,
  DiagLogLevel,
  diag,
  type Link,
  type Context as OtelContext,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  NodeTracerProvider,
  ParentBasedSampler,
  type Sampler,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace-node';
import { Context } from '@temporalio/activity';
import type { WorkflowClientInterceptor } from '@temporalio/client';
import { defaultPayloadConverter, type Headers } from '@temporalio/common';
import { TRACE_HEADER, TRACE_LINK_HEADER } from '../domain/trace-headers';
import { type DeliveryTold, deliveries } from './channels';

// Loaded only where traces are kept: it brings the whole of OpenTelemetry along.

/** Where spans go and how many; see `config.ts`. */
export interface TracingSettings {
  /** OTLP over HTTP. */
  url: string;
  headers: Readonly<Record<string, string>>;
  serviceName: string;
  sampler: string;
  /** Of the samplers that take a share: how many of a hundred traces, divided by a hundred. */
  ratio: number;
}

/** An HTTP request that is being answered. */
export interface RequestSpan {
  /** Does something as a part of it. */
  run<T>(work: () => T): T;
  end(status: number): void;
}

/** The worker's type of the same name, which only what puts a worker together may import. */
interface ActivityInterceptor {
  execute(input: ActivityInput, next: (input: ActivityInput) => Promise<unknown>): Promise<unknown>;
}
interface ActivityInput {
  readonly args: unknown[];
  readonly headers: Headers;
}

export interface Tracing {
  /** @param route the template, never the path, which may hold a token; `traceparent` of W3C Trace Context, as it came */
  beginRequest(method: string, route: string | undefined, traceparent: string | undefined): RequestSpan;
  /** Of a client of Temporal. */
  client: WorkflowClientInterceptor;
  /** Of a worker. */
  activities: () => { inbound: ActivityInterceptor };
  /** What a log line says of the trace that it belongs to. */
  logFields(): Record<string, string>;
  /** Tells, at most once a minute, that spans could not be handed over. */
  onFault(tell: () => void): void;
  /** Hands over what is left, within five seconds. */
  close(): Promise<void>;
}

const FAULT_EVERY_MS = 60_000;
const CLOSE_MS = 5_000;

/** Ids that activities are given, and what a span calls them. */
const IDS: Readonly<Record<string, string>> = {
  enrollmentId: 'recuerda.enrollment_id',
  transactionalId: 'recuerda.transactional_id',
  requestId: 'recuerda.request_id',
  testSendId: 'recuerda.test_send_id',
  importId: 'recuerda.import_id',
};
const MAIL_IDS: Readonly<Record<DeliveryTold['mail'], string>> = {
  enrollment: 'recuerda.enrollment_id',
  transactional: 'recuerda.transactional_id',
  'test-send': 'recuerda.test_send_id',
};
/** What an answer of the engine means when there was nothing to do. */
const NO_FAULTS = ['WorkflowNotFoundError', 'WorkflowExecutionAlreadyStartedError'];

/**
 * Begins to keep traces of this process: of requests, of what Temporal is asked for, of activities, and of deliveries. Spans hold
 * ids, codes and counts, never a person (promise P5): no URL, no body, no address, none of a server's words, no error's message.
 *
 * Once in a process, before anything is traced.
 */
export function createTracing(settings: TracingSettings, version: string): Tracing {
  const { url, headers, serviceName } = settings;
  const exporter = new OTLPTraceExporter({ url, headers: { ...headers } });
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({ 'service.name': serviceName, 'service.version': version }),
    sampler: samplerOf(settings),
    spanProcessors: [new BatchSpanProcessor(exporter)],
  });
  provider.register();
  const tracer = provider.getTracer('recuerda', version);
  const ending = deliveries.subscribe((told) => recordDelivery(tracer, told));
  return {
    beginRequest: (method, route, traceparent) => beginRequest(tracer, method, route, traceparent),
    client: clientInterceptor(tracer),
    activities: () => activityInterceptors(tracer),
    logFields: () => {
      const span = trace.getActiveSpan()?.spanContext();
      return span === undefined ? {} : { trace_id: span.traceId, span_id: span.spanId };
    },
    onFault: (tell) => {
      let told = Number.NEGATIVE_INFINITY;
      // Its words may quote what the other side said.
      const error = () => {
        if (Date.now() - told < FAULT_EVERY_MS) return;
        told = Date.now();
        tell();
      };
      const nothing = () => {};
      const logger = { error, warn: nothing, info: nothing, debug: nothing, verbose: nothing };
      diag.setLogger(logger, { logLevel: DiagLogLevel.ERROR, suppressOverrideMessage: true });
    },
    close: async () => {
      ending();
      let timer: NodeJS.Timeout | undefined;
      const patience = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, CLOSE_MS);
      });
      await Promise.race([provider.shutdown().catch(() => {}), patience]);
      clearTimeout(timer);
    },
  };
}

/** As the specification of OpenTelemetry names them. */
function samplerOf({ sampler, ratio }: TracingSettings): Sampler {
  const root = sampler.endsWith('always_off')
    ? new AlwaysOffSampler()
    : sampler.endsWith('traceidratio')
      ? new TraceIdRatioBasedSampler(ratio)
      : new AlwaysOnSampler();
  return sampler.startsWith('parentbased_') ? new ParentBasedSampler({ root }) : root;
}

function beginRequest(
  tracer: Tracer,
  method: string,
  route: string | undefined,
  traceparent: string | undefined,
): RequestSpan {
  const span = tracer.startSpan(
    route === undefined ? method : `${method} ${route}`,
    {
      kind: SpanKind.SERVER,
      attributes: { 'http.request.method': method, ...(route === undefined ? {} : { 'http.route': route }) },
    },
    contextOf(traceparent) ?? ROOT_CONTEXT,
  );
  const within = trace.setSpan(ROOT_CONTEXT, span);
  return {
    run: (work) => context.with(within, work),
    end: (status) => {
      span.setAttribute('http.response.status_code', status);
      if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
      span.end();
    },
  };
}

/** Starts carry the trace on in a header; whoever else is told of something has a trace already. */
function clientInterceptor(tracer: Tracer): WorkflowClientInterceptor {
  return {
    startWithDetails: (input, next) =>
      traced(
        tracer.startSpan(`start ${input.workflowType}`, {
          kind: SpanKind.CLIENT,
          attributes: { 'temporal.workflow_id': input.options.workflowId },
        }),
        () => next({ ...input, headers: { ...input.headers, ...headerOfActive() } }),
      ),
    signal: (input, next) =>
      traced(
        tracer.startSpan(`signal ${input.signalName}`, {
          kind: SpanKind.CLIENT,
          attributes: { 'temporal.workflow_id': input.workflowExecution.workflowId ?? '' },
        }),
        () => next(input),
      ),
  };
}

function activityInterceptors(tracer: Tracer): { inbound: ActivityInterceptor } {
  return {
    inbound: {
      execute: (input, next) => {
        const { activityType, attempt, workflowExecution } = Context.current().info;
        const parent = contextIn(input.headers, TRACE_HEADER);
        const cause = contextIn(input.headers, TRACE_LINK_HEADER);
        const span = tracer.startSpan(
          activityType,
          {
            kind: SpanKind.CONSUMER,
            links: linksTo(cause),
            attributes: {
              ...idsIn(input.args[0]),
              'recuerda.attempt': attempt,
              ...(workflowExecution === undefined ? {} : { 'temporal.workflow_id': workflowExecution.workflowId }),
            },
          },
          parent ?? ROOT_CONTEXT,
        );
        return traced(span, async () => {
          const result = await next(input);
          const { kind, state } = (result ?? {}) as { kind?: unknown; state?: unknown };
          const word = kind === 'settled' ? state : (kind ?? state);
          if (typeof word === 'string') span.setAttribute('recuerda.result', word);
          return result;
        });
      },
    },
  };
}

/** Does the work as a part of the span, and ends it; of a fault its kind and its code are told. */
async function traced<T>(span: Span, work: () => Promise<T>): Promise<T> {
  try {
    return await context.with(trace.setSpan(context.active(), span), work);
  } catch (error) {
    const { name, type } = (error ?? {}) as { name?: unknown; type?: unknown };
    const kind = typeof type === 'string' ? type : typeof name === 'string' ? name : typeof error;
    span.setAttribute('error.type', kind);
    if (!NO_FAULTS.includes(kind)) span.setStatus({ code: SpanStatusCode.ERROR });
    throw error;
  } finally {
    span.end();
  }
}

/** One span for a try to hand a mail over, made once it is over, with the times that were noted on the way. */
function recordDelivery(tracer: Tracer, told: DeliveryTold): void {
  const { stream, mail, id, step, result, phase, code, at } = told;
  const span = tracer.startSpan('SMTP', {
    kind: SpanKind.CLIENT,
    startTime: at.asked,
    attributes: {
      [MAIL_IDS[mail]]: id,
      'recuerda.stream': stream,
      'recuerda.result': result,
      ...(step === undefined ? {} : { 'recuerda.step': step }),
    },
  });
  for (const [name, codes, time] of conversationOf(phase, code, at)) span.addEvent(name, codes, time);
  if (result !== 'accepted' && result !== 'withdrawn') span.setStatus({ code: SpanStatusCode.ERROR });
  span.end(at.ended);
}

/** Commands of SMTP, each with its answer's codes where they are known. */
function conversationOf(
  phase: string | null,
  code: string | null,
  at: DeliveryTold['at'],
): [name: string, codes: Attributes, time: number][] {
  const said: [string, Attributes, number][] = [];
  if (at.connected !== undefined) said.push(['connected', {}, at.connected]);
  if (at.mail !== undefined && phase !== 'mail') said.push(['MAIL', {}, at.mail]);
  // When RCPT was answered nobody notes; by 354 it was.
  if (at.data !== undefined) said.push(['RCPT', {}, at.data], ['DATA', { 'smtp.code': 354 }, at.data]);
  if (at.gate !== undefined) said.push(['gate', {}, at.gate]);
  const last = { mail: 'MAIL', rcpt: 'RCPT', data: 'DATA', message: 'end of DATA' }[phase ?? 'message'] ?? phase;
  if (code !== null && last !== null) said.push([last, codesOf(code), at.ended]);
  return said;
}

/** `250 2.0.0` as two numbers; a word of ours, where there was no answer, as what went wrong. */
function codesOf(code: string): Attributes {
  const [, reply, enhanced] = /^([2-5]\d\d)(?: (\d\.\d+\.\d+))?$/.exec(code) ?? [];
  if (reply === undefined) return { 'error.type': code };
  return { 'smtp.code': Number(reply), ...(enhanced === undefined ? {} : { 'smtp.enhanced_code': enhanced }) };
}

function idsIn(argument: unknown): Attributes {
  const given = (argument ?? {}) as Record<string, unknown>;
  const ids = Object.entries(IDS).filter(([name]) => typeof given[name] === 'string');
  return {
    ...Object.fromEntries(ids.map(([name, attribute]) => [attribute, given[name] as string])),
    ...(typeof given.step === 'number' ? { 'recuerda.step': given.step } : {}),
  };
}

function linksTo(cause: OtelContext | null): Link[] {
  const span = cause === null ? undefined : trace.getSpanContext(cause);
  return span === undefined ? [] : [{ context: span }];
}

function headerOfActive(): Headers {
  const carrier: { traceparent?: string } = {};
  propagation.inject(context.active(), carrier);
  const { traceparent } = carrier;
  return traceparent === undefined ? {} : { [TRACE_HEADER]: defaultPayloadConverter.toPayload({ traceparent }) };
}

/** Null where there is none, or what is there can't be read. */
function contextIn(headers: Headers, name: string): OtelContext | null {
  const header = headers[name];
  if (header === undefined) return null;
  try {
    const { traceparent } = defaultPayloadConverter.fromPayload<{ traceparent?: unknown }>(header);
    return typeof traceparent === 'string' ? contextOf(traceparent) : null;
  } catch {
    return null;
  }
}

/** Only this: what others put into `tracestate` and `baggage` may be anything, and would go on to the engine. */
function contextOf(traceparent: string | undefined): OtelContext | null {
  if (traceparent === undefined) return null;
  const found = propagation.extract(ROOT_CONTEXT, { traceparent });
  return trace.getSpanContext(found) === undefined ? null : found;
}
