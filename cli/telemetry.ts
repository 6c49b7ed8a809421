import type { Logger } from 'pino';
import type { Config } from '../config';
import { version } from '../package.json';
import { createMetrics, type Metrics } from '../telemetry/metrics';
import { type Readiness, serveTelemetry } from '../telemetry/server';

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

/** Nothing where it does not answer: our own metrics are worth telling without. */
async function fetchText(url: string): Promise<string> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(MORE_MS) });
    return answer.ok ? await answer.text() : '';
  } catch {
    return '';
  }
}
