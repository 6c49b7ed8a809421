import { runAudit } from '../../cli/audit';
import type { AuditReport } from '../../temporal/audit';
import { environmentOf, type WorkerSettings } from '../support/worker-process';

/** `recuerda audit`: its exit code, and its answer as text and as the JSON that it is. */
export async function audited(
  settings: WorkerSettings,
  options: { mend?: boolean; force?: boolean; restored?: boolean } = {},
): Promise<{ code: number; text: string; report: AuditReport & { left: number } }> {
  const said: string[] = [];
  const out = { write: (text: string) => said.push(text) };
  const code = await runAudit(environmentOf(settings), { ...options, json: true }, out);
  const text = said.join('');
  return { code, text, report: JSON.parse(text) as AuditReport & { left: number } };
}
