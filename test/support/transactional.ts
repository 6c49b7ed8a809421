import type { NewTransactional } from '../../db/transactional';
import { hashAddress } from '../../domain/address-hash';
import { normaliseAddress } from '../../domain/addresses';
import { TEST_ADDRESS_KEYS } from './leads';

type ShopMail = Extract<NewTransactional, { kind: 'shop' }>;
type StaffMail = Extract<NewTransactional, { attachInboundId: string | null }>;
type PageMail = Extract<NewTransactional, { kind: 'confirmation' | 'link' }>;

/** An invoice, its template as if compiled. */
export function shopMail(email: string, change: Partial<ShopMail> = {}): ShopMail {
  return {
    kind: 'shop',
    to: { email, name: 'Ana' },
    hashes: hashAddress(normaliseAddress(email), TEST_ADDRESS_KEYS),
    template: 'invoice',
    content: {
      from: { name: 'Facturas', address: 'facturas@pedidos.shop.example' },
      replyTo: null,
      compiled: {
        subject: 'Factura {{ data.number }}',
        html: '<p>Hola {{ to.firstName }}: {{ data.number }}</p>',
        text: 'Hola {{ to.firstName }}: {{ data.number }}',
      },
      data: { number: 17 },
      locale: 'es',
      timeZone: 'Europe/Madrid',
    },
    attachments: [],
    ...change,
  };
}

/** A mail to our own staff. */
export function alertMail(email: string, change: Partial<StaffMail> = {}): StaffMail {
  return {
    kind: 'alert',
    to: { email },
    from: { name: 'Recuerda', address: 'recuerda@shop.example' },
    replyTo: null,
    subject: 'Aviso',
    text: 'Algo ha pasado.',
    html: null,
    attachInboundId: null,
    ...change,
  };
}

/** A mail to a person who asked for it by a page. */
export function pageMail(email: string, change: Partial<PageMail> = {}): PageMail {
  return {
    kind: 'link',
    to: { email },
    hashes: hashAddress(normaliseAddress(email), TEST_ADDRESS_KEYS),
    from: { name: 'Lucía de Casa Brava', address: 'lucia@shop.example' },
    replyTo: 'lucia@shop.example',
    subject: 'Su enlace',
    text: 'Aquí está.',
    html: '<p>Aquí está.</p>',
    locale: 'es',
    ...change,
  };
}
