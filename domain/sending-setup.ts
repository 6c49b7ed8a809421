import type { KeyObject } from 'node:crypto';
import type { SendingSetup } from './sending-domain';
import { STREAMS, type Stream } from './streams';

/** The settings that say how mail leaves, as far as the DNS must know of it. */
interface Settings {
  smtp: Readonly<Record<Stream, { url: string; returnPath: string | null }>>;
  dkimKeys: readonly { domain: string; selector: string; privateKey: KeyObject }[];
  replyAddress: string | null;
}

export function sendingSetup({ smtp, dkimKeys, replyAddress }: Settings): SendingSetup {
  return {
    streams: STREAMS.map((stream) => {
      const { hostname } = new URL(smtp[stream].url);
      const smtpHost = hostname.replace(/^\[|\]$/g, '');
      return { stream, smtpHost, local: isLocal(smtpHost), returnPath: smtp[stream].returnPath };
    }),
    dkimKeys,
    replyAddress,
  };
}

/** This very machine, or a name in a private network that the DNS does not know. */
function isLocal(host: string): boolean {
  return host === '::1' || /^127(\.\d{1,3}){3}$/.test(host) || !host.includes('.') || host.endsWith('.localhost');
}
