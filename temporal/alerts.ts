import { type SendingAlert, tellAlerts } from '../db/breaker';
import type { Db } from '../db/client';
import { enqueueTransactional } from '../db/transactional';
import { parseAddress } from '../domain/addresses';
import { WHOLE_STREAM } from '../domain/limits';
import type { Log } from './log';

/** Who is told by mail when sending is stopped, and from whom that comes. */
export interface AlertMail {
  operators: readonly string[];
  /** `Name <address>` or an address; null: the first operator's. */
  from: string | null;
}

const BATCH = 100;

/** Tells operators what the circuit breaker did: a line in the log and, where they are set, a mail to each; once. */
export async function tellOperators(db: Db, log: Log, mail: AlertMail | undefined): Promise<number> {
  const told = await tellAlerts(db, BATCH, new Date(), async (tx, alert) => {
    for (const operator of mail?.operators ?? []) {
      const from = parseAddress(mail?.from ?? operator);
      if (!('address' in from)) continue;
      await enqueueTransactional(tx, {
        kind: 'alert',
        to: { email: operator },
        from: { name: from.name ?? 'Recuerda', address: from.address },
        replyTo: null,
        subject: headline(alert),
        text: textOf(alert),
        html: null,
        attachInboundId: null,
      });
    }
  });
  for (const { stream, provider, kind, reason, detail } of told) {
    const line = { stream, provider, kind, reason, ...detail };
    if (kind === 'stopped') log.error(line, 'sending was stopped');
    else if (kind === 'warned') log.warn(line, 'sending is close to being stopped');
    else log.info(line, 'sending goes on');
  }
  return told.length;
}

function headline({ stream, provider, kind, reason }: SendingAlert): string {
  const what = provider === WHOLE_STREAM ? `${stream} mail` : `${stream} mail to ${provider}`;
  const happened = { stopped: 'was stopped', warned: 'is close to being stopped', resumed: 'goes on' }[kind];
  return `Recuerda: ${what} ${happened} (${reason})`;
}

function textOf(alert: SendingAlert): string {
  const facts = Object.entries(alert.detail).map(([name, value]) => `${name}: ${String(value)}`);
  const next = {
    stopped:
      'Nobody loses their place: what is due waits. GET /v1/sending tells whether it goes on by itself; otherwise ' +
      `DELETE /v1/sending/pauses/${alert.stream}/${alert.provider} lets it go on, once the cause is mended.`,
    warned: 'Find out why before it is stopped: GET /v1/sending has the numbers.',
    resumed: 'There is nothing to do.',
  }[alert.kind];
  return [headline(alert), '', `at: ${alert.at.toISOString()}`, ...facts, '', next, ''].join('\n');
}
