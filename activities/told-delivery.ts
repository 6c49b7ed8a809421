import type { SmtpLink } from '../mail/deliver/connections';
import type { SmtpRefusal } from '../mail/deliver/refusal';
import { type Delivery, type DeliveryRequest, deliver } from '../mail/deliver/send';
import { type DeliveryResult, type DeliveryTold, deliveries } from '../telemetry/channels';

/** Tells of one delivery once it is over, whatever became of it, to whoever keeps metrics or traces. */
export interface ToldDelivery {
  /** A connection was had. */
  connected(): void;
  /** None was had: the server's no, or none came free. */
  noConnection(refusal: SmtpRefusal | null): void;
  /** `deliver`, told of. */
  deliver(link: SmtpLink, request: DeliveryRequest): Promise<Delivery>;
}

/** To be called when a connection is about to be asked for. */
export function toldDelivery(about: Pick<DeliveryTold, 'stream' | 'mail' | 'id' | 'step'>): ToldDelivery {
  const at: Omit<DeliveryTold['at'], 'ended'> = { asked: Date.now() };
  const tell = (result: DeliveryResult, phase: string | null, code: string | null) =>
    deliveries.publish({ ...about, result, phase, code, at: { ...at, ended: Date.now() } });
  return {
    connected: () => {
      at.connected = Date.now();
    },
    noConnection: (refusal) => {
      if (refusal === null) tell('no-connection', 'connect', 'busy');
      else tell('no-connection', refusal.phase, wordsOf(refusal));
    },
    async deliver(link, request) {
      at.mail = Date.now();
      const gate = async () => {
        at.data = Date.now();
        try {
          return await request.gate();
        } finally {
          at.gate = Date.now();
        }
      };
      const delivery = await deliver(link, { ...request, gate });
      tell(...fateOf(delivery));
      return delivery;
    },
  };
}

function fateOf(delivery: Delivery): [DeliveryResult, phase: string | null, code: string | null] {
  switch (delivery.kind) {
    case 'accepted':
      return ['accepted', null, wordsOf(delivery)];
    case 'refused':
      return [delivery.judgement.verdict, delivery.phase, wordsOf(delivery)];
    case 'unsent':
      return ['unsent', delivery.phase, delivery.reason];
    case 'unknown':
      return ['unknown', 'message', delivery.reason];
    case 'withdrawn':
    case 'gate-failed':
      return [delivery.kind, null, null];
  }
}

function wordsOf({ code, enhanced }: { code: number | null; enhanced: string | null }): string | null {
  return code === null ? null : [code, enhanced].filter((part) => part !== null).join(' ');
}
