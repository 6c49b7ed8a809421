import type { Logger } from 'pino';
import type { Config } from '../config';
import { version } from '../package.json';
import { createMetrics, type Metrics } from '../telemetry/metrics';
import { type Readiness, serveTelemetry } from '../telemetry/server';
import type { Tracing } from '../telemetry/tracing';

/** How long another server's metrics may take, ms. */
const MORE_MS = 2_000;

/**
 * Serves metrics and readiness of this process where the settings say so.
 *
 * @param sources `more`: URL of further metrics to be told with ours
 * @returns what metrics can be added to; null where none are served
 * @throws when the port is taken
 */
export async function startTelemetry(
  process: 'api' | 'worker' | 'inbox',
  where: Config['metrics'],
  log: Logger,
  sources: { ready: () => Promise<Readiness>; more?: string | undefined },
): Promise<Metrics | null> {
  if (where === null) return null;
  const metrics = createMetrics(process, version);
  const { port } = await serveTelemetry(where, {
    ready: sources.ready,
    metrics: async () => (await metrics.text()) + (sources.more === undefined ? '' : await fetchText(sources.more)),
  });
  log.info({ metricsPort: port }, 'serving metrics');
  return metrics;
}

/** Begins to keep traces where the settings say so; null, with nothing of OpenTelemetry's SDK loaded, where they don't. */
export function startTracing(process: 'api' | 'worker', settings: Config['tracing']): Tracing | null {
  if (settings === null) return null;
  const { createTracing }: typeof import('../telemetry/tracing') = require('../telemetry/tracing');
  return createTracing({ ...settings, serviceName: settings.serviceName ?? `recuerda-${process}` }, version);
}

/** Has the log tell of spans that could not be handed over. */
export function tellOfLostTraces(tracing: Tracing | null, log: Logger): void {
  tracing?.onFault(() => log.warn({}, 'spans could not be handed over to the collector of traces'));
}

/** Nothing where it does not answer: our own metrics are worth telling without. */
async function fetchText(url: string): Promise<string> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(MORE_MS) });
    return answer.ok ? await answer.text() : '';
  } catch {
    return '';
  }
}
