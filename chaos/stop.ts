import { type Answer, type Apis, type CallOptions, call } from './client';
import type { AcknowledgedStop } from './facts';
import type { StopKind } from './script';

interface Stopped {
  /** Of a stop by address: objects; of an erasure: ids; a pause has none. */
  stopped?: ({ enrollmentId: string } | string)[];
  inFlight?: { messageId: string }[];
}

export interface Person {
  email: string;
  enrollmentId: string;
  leadId: string;
}

/**
 * Stops a lead through the API, in one of the five ways.
 *
 * @returns null when the API said that the journey had ended before
 * @throws Error when it refused for another reason, or gave no final answer in time
 */
export async function stopLead(
  apis: Apis,
  kind: StopKind,
  person: Person,
  options: Pick<CallOptions, 'patienceMs' | 'longestPauseMs' | 'signal'> = {},
): Promise<{ stop: AcknowledgedStop; answer: Answer<Stopped> } | null> {
  const { enrollmentId } = person;
  const answer = await call<Stopped>(apis, ...requestOf(kind, person, options));
  if (answer.status === 409) return null;
  if (!answer.ok) throw new Error(`a ${kind} was refused: ${answer.status} ${JSON.stringify(answer.body)}`);
  const { stopped = [], inFlight = [] } = answer.body;
  return {
    stop: {
      kind,
      enrollmentId,
      at: answer.at,
      liftedAt: null,
      named: inFlight.map(({ messageId }) => messageId),
      ended: stopped.some((one) => (typeof one === 'string' ? one : one.enrollmentId) === enrollmentId),
    },
    answer,
  };
}

function requestOf(
  kind: StopKind,
  { email, enrollmentId, leadId }: Person,
  options: Pick<CallOptions, 'patienceMs' | 'longestPauseMs' | 'signal'>,
): [path: string, options: CallOptions] {
  switch (kind) {
    case 'purchase': {
      const body = { email, orderId: `order-${enrollmentId}`, amount: '349.00', currency: 'EUR' };
      return ['/v1/purchases', { ...options, method: 'POST', body }];
    }
    case 'reply':
      return ['/v1/replies', { ...options, method: 'POST', body: { enrollmentId } }];
    case 'unsubscribe':
      return ['/v1/unsubscribes', { ...options, method: 'POST', body: { email } }];
    case 'pause':
      return [`/v1/enrollments/${enrollmentId}/pause`, { ...options, method: 'POST' }];
    case 'erasure':
      return [`/v1/leads/${leadId}`, { ...options, method: 'DELETE' }];
  }
}
