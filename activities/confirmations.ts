import type { Db } from '../db/client';
import { abandonRequest, type ComposeConfirmation, lookAtRequest } from '../db/confirmations';
import { currentLimits } from '../db/limits';
import { signConfirmToken } from '../domain/confirm-token';
import type { RequestEnd } from '../domain/confirmation';
import { pageOfOurs } from '../domain/confirmation';
import { weightOf } from '../domain/limits';
import type { TokenKey } from '../domain/signed-token';
import { composeConfirmation } from '../mail/compose/confirmation';
import type { LookAtRequestInput, LookAtRequestResult, TransactionalInput } from '../workflows/contract';

export interface ConfirmationDeps {
  db: Db;
  publicUrl: string;
  tokenKeys: readonly TokenKey[];
}

/**
 * Makes the activity `lookAtRequest`: does what is due for a request that waits for its confirmation, and says when to look
 * again. Looking too often changes nothing.
 */
export function createLookAtRequest(
  deps: ConfirmationDeps,
): (input: LookAtRequestInput) => Promise<LookAtRequestResult> {
  const { db } = deps;
  const compose = composing(deps);
  return async ({ requestId, now: asked }) => {
    // Under a time-skipping server, and on a worker whose clock lags, workflow time is the later one.
    const now = new Date(Math.max(asked, Date.now()));
    const look = await lookAtRequest(db, { requestId, now }, compose);
    if (look.kind === 'ended') return look;
    const { remindAt, expiresAt, mail } = look;
    return {
      kind: 'waits',
      remindAt: remindAt?.getTime() ?? null,
      expiresAt: expiresAt.getTime(),
      mail: mail === null ? null : await withWeight(db, mail),
    };
  };
}

/** Makes the activity `abandonRequest`: ends a request whose workflow was cancelled, unless it has ended. */
export function createAbandonRequest({
  db,
}: Pick<ConfirmationDeps, 'db'>): (input: { requestId: string }) => Promise<{ state: RequestEnd }> {
  return async ({ requestId }) => ({ state: await abandonRequest(db, requestId, new Date()) });
}

function composing({ publicUrl, tokenKeys }: ConfirmationDeps): ComposeConfirmation {
  return (facts, reminder) => {
    const { requestId, formId, addressHash, locale } = facts;
    const link = `${publicUrl}/c/${signConfirmToken({ requestId, formId, addressHash, locale }, tokenKeys)}`;
    return {
      ...composeConfirmation({
        ...facts,
        page: pageOfOurs(facts.page, facts.origins, publicUrl),
        reminder,
        confirmUrl: link,
        neverUrl: `${link}/never`,
      }),
      locale,
    };
  };
}

async function withWeight(db: Db, mail: TransactionalInput): Promise<TransactionalInput> {
  const limits = await currentLimits(db);
  const fairnessWeight = weightOf(limits[mail.stream ?? 'transactional'], mail.fairnessKey);
  return fairnessWeight === undefined ? mail : { ...mail, fairnessWeight };
}
