import type { StreamExit } from '../../activities/send-message';
import type { Stream } from '../../domain/streams';
import type { Carrier } from '../../mail/deliver/connections';
import { createSigner } from '../../mail/deliver/signing';

/** A stream's way out over this carrier, unsigned as mail on this machine may be. */
export function exitForTests(stream: Stream, carrier: Carrier): StreamExit {
  return { stream, carrier, sign: createSigner([], 'smtp://127.0.0.1'), returnPath: null };
}
