import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { STREAMS } from '../domain/streams';
import {
  claims,
  DELIVERY_RESULTS,
  deliveries,
  inboundRounds,
  RECONCILER_WORK,
  reconcilerRounds,
  requestsBegun,
  requestsEnded,
  webhookTries,
} from './channels';

/** What one process can tell of itself, in Prometheus' text format. */
export interface Metrics {
  registry: Registry;
  /** Done before each answer: sets what is looked up rather than counted. Must not reject. */
  refreshers: (() => Promise<void> | void)[];
  /** The text of all of it. */
  text(): Promise<string>;
  /** No longer listens. */
  close(): void;
}

/** From a fast answer to the longest wait for one, s. */
const REQUEST_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** From a mail server beside us to the end of a delivery's patience, s. */
const DELIVERY_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** The metrics of any process: memory, CPU, event loop, garbage collection, and which release it runs. */
export function createMetrics(process: 'api' | 'worker' | 'inbox', version: string): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const info = gauge(registry, 'recuerda_info', 'Which process this is, and of which release', ['process', 'version']);
  info.set({ process, version }, 1);
  const refreshers: Metrics['refreshers'] = [];
  return {
    registry,
    refreshers,
    text: async () => {
      await Promise.all(refreshers.map(async (refresh) => await refresh()));
      return await registry.metrics();
    },
    close: () => registry.clear(),
  };
}

/** Adds what the API tells of its requests. */
export function addRequestMetrics({ registry }: Metrics): void {
  const durations = new Histogram({
    name: 'recuerda_http_request_duration_seconds',
    help: 'Time to answer a request, by template of its route and class of its status',
    labelNames: ['method', 'route', 'status'],
    buckets: REQUEST_BUCKETS,
    registers: [registry],
  });
  const inFlight = gauge(registry, 'recuerda_http_requests_in_flight', 'Requests that are being answered', []);
  requestsBegun.subscribe(() => inFlight.inc());
  requestsEnded.subscribe(({ method, route, status, ms }) => {
    inFlight.dec();
    durations.observe({ method, route, status: `${Math.floor(status / 100)}xx` }, ms / 1000);
  });
}

const kebab = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** Adds what a worker tells of its deliveries, of the reconciler's rounds, of what was received, and of webhooks. */
export function addWorkerMetrics({ registry }: Metrics): void {
  const sends = counter(registry, 'recuerda_deliveries_total', 'Tries to hand a mail over, by what became of them', [
    'stream',
    'result',
  ]);
  for (const stream of STREAMS) for (const result of DELIVERY_RESULTS) sends.inc({ stream, result }, 0);
  const phases = new Histogram({
    name: 'recuerda_delivery_phase_duration_seconds',
    help: 'Time for a connection, for MAIL to 354, for our own gate, and for the body to the last answer',
    labelNames: ['stream', 'phase'],
    buckets: DELIVERY_BUCKETS,
    registers: [registry],
  });
  const refusals = counter(
    registry,
    'recuerda_smtp_refusals_total',
    'What mail servers said no to, by phase and class',
    ['stream', 'phase', 'class'],
  );
  deliveries.subscribe(({ stream, result, phase, code, at }) => {
    sends.inc({ stream, result });
    for (const [name, from, to] of phasesOf(at)) phases.observe({ stream, phase: name }, Math.max(0, to - from) / 1000);
    if (phase !== null) refusals.inc({ stream, phase, class: classOf(code) });
  });

  const claimed = counter(registry, 'recuerda_claims_total', 'Claims of a mail, by whether something forbade it', [
    'stream',
    'granted',
  ]);
  for (const stream of STREAMS) for (const granted of ['true', 'false']) claimed.inc({ stream, granted }, 0);
  claims.subscribe(({ stream, granted }) => claimed.inc({ stream, granted: String(granted) }));

  const rounds = counter(registry, 'recuerda_reconciler_rounds_total', 'Rounds of the reconciler', ['result']);
  for (const result of ['ok', 'failed']) rounds.inc({ result }, 0);
  const work = counter(registry, 'recuerda_reconciler_work_total', 'What the reconciler had to do', ['kind']);
  for (const kind of RECONCILER_WORK) work.inc({ kind: kebab(kind) }, 0);
  const roundTimes = new Histogram({
    name: 'recuerda_reconciler_round_duration_seconds',
    help: 'Time that a round of the reconciler took',
    buckets: REQUEST_BUCKETS,
    registers: [registry],
  });
  const lastRound = gauge(
    registry,
    'recuerda_reconciler_last_round_timestamp_seconds',
    'When a round of the reconciler last went through, s since the epoch',
    [],
  );
  // Before the first round: the age that is alerted on counts from the start.
  lastRound.setToCurrentTime();
  reconcilerRounds.subscribe(({ ms, done }) => {
    rounds.inc({ result: done === null ? 'failed' : 'ok' });
    roundTimes.observe(ms / 1000);
    if (done === null) return;
    lastRound.setToCurrentTime();
    for (const kind of RECONCILER_WORK) work.inc({ kind: kebab(kind) }, done[kind]);
  });

  const received = counter(registry, 'recuerda_inbound_total', 'Received mail and events that were dealt with', [
    'result',
  ]);
  for (const result of ['done', 'failed', 'decided']) received.inc({ result }, 0);
  inboundRounds.subscribe((round) => {
    for (const [result, count] of Object.entries(round)) received.inc({ result }, count);
  });

  const webhooks = counter(registry, 'recuerda_webhook_tries_total', 'Tries to deliver a webhook', ['result']);
  for (const result of ['delivered', 'again', 'failed', 'disabled']) webhooks.inc({ result }, 0);
  webhookTries.subscribe(({ result }) => webhooks.inc({ result }));
}

/** Adds how busy a pool of connections to Postgres is. */
export function addPoolMetrics(
  { registry, refreshers }: Metrics,
  load: () => { inUse: number; idle: number; most: number; waiting: number },
): void {
  const connections = gauge(registry, 'recuerda_db_pool_connections', 'Connections to Postgres', ['state']);
  const most = gauge(registry, 'recuerda_db_pool_connections_max', 'Connections to Postgres allowed at most', []);
  const waiting = gauge(registry, 'recuerda_db_pool_waiting', 'Callers in line for a connection to Postgres', []);
  refreshers.push(() => {
    const now = load();
    connections.set({ state: 'in-use' }, now.inUse);
    connections.set({ state: 'idle' }, now.idle);
    most.set(now.most);
    waiting.set(now.waiting);
  });
}

/** Adds whether each mailbox is read by this process. @param read in the order of IMAP_URL */
export function addMailboxMetrics({ registry, refreshers }: Metrics, read: () => boolean[]): void {
  const up = gauge(registry, 'recuerda_mailbox_up', 'Whether this process reads a mailbox', ['inbox']);
  refreshers.push(() => {
    for (const [index, isRead] of read().entries()) up.set({ inbox: String(index + 1) }, isRead ? 1 : 0);
  });
}

/** Adds how busy the SMTP connections of each stream are. */
export function addConnectionMetrics(
  { registry, refreshers }: Metrics,
  stats: () => { stream: string; inUse: number; idle: number; waiting: number }[],
): void {
  const connections = gauge(registry, 'recuerda_smtp_connections', 'SMTP connections; waiting: in line for one', [
    'stream',
    'state',
  ]);
  refreshers.push(() => {
    for (const { stream, inUse, idle, waiting } of stats()) {
      connections.set({ stream, state: 'in-use' }, inUse);
      connections.set({ stream, state: 'idle' }, idle);
      connections.set({ stream, state: 'waiting' }, waiting);
    }
  });
}

/** Which stretch of a delivery lies between two of its times. */
export function phasesOf({
  asked,
  connected,
  mail,
  data,
  gate,
  ended,
}: {
  asked: number;
  connected?: number;
  mail?: number;
  data?: number;
  gate?: number;
  ended: number;
}): [name: 'connection' | 'envelope' | 'gate' | 'message', from: number, to: number][] {
  return [
    ['connection', asked, connected ?? ended],
    ...(mail === undefined ? [] : [['envelope', mail, data ?? ended] as ['envelope', number, number]]),
    ...(data === undefined ? [] : [['gate', data, gate ?? ended] as ['gate', number, number]]),
    ...(gate === undefined ? [] : [['message', gate, ended] as ['message', number, number]]),
  ];
}

/** `4xx` and `5xx`; `none` where no answer came. */
function classOf(code: string | null): string {
  const first = /^([245])\d\d/.exec(code ?? '')?.[1];
  return first === undefined ? 'none' : `${first}xx`;
}

export function gauge(registry: Registry, name: string, help: string, labelNames: string[]): Gauge {
  return new Gauge({ name, help, labelNames, registers: [registry] });
}

function counter(registry: Registry, name: string, help: string, labelNames: string[]): Counter {
  return new Counter({ name, help, labelNames, registers: [registry] });
}
