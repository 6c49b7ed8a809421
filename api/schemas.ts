import { type TSchema, Type } from 'typebox';
import { hashAddress } from '../domain/address-hash';
import { normaliseAddress, parseAddress } from '../domain/addresses';
import { OUTCOMES } from '../domain/outcomes';
import { isTimeZone } from '../domain/time-zone';
import type { ApiContext } from './context';
import { invalidField, invalidFields, type RequestFault } from './problems';

// Pieces that the schemas of several routes share, and the checks that a schema can't make.

export const Id = (description: string) => Type.String({ format: 'uuid', description });
export const Time = (description: string) => Type.String({ format: 'date-time', description });
export const Nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
export const NullableTime = (description: string) =>
  Type.Union([Type.String({ format: 'date-time' }), Type.Null()], { description });
export const OutcomeSchema = Type.Enum(OUTCOMES);

/** Path parameters of everything about one thing. */
export const idParams = (description: string) => Type.Object({ id: Id(description) });

export const InFlight = Type.Object(
  {
    enrollmentId: Id('Whose message it is.'),
    step: Type.Integer({ description: '0 is the initial information, 1 to 7 are the nudges.' }),
    messageId: Type.String({ description: 'Its Message-ID.' }),
  },
  { description: 'A message that was already being handed over to the mail server; it alone may still arrive.' },
);

/** A clock that is ahead of ours by no more than this (ms) counts as right. */
const SKEW_MS = 5 * 60_000;

const EARLIEST = new Date('1980-01-01T00:00:00Z');

/**
 * Reads a time that has passed; one within the tolerated difference between two clocks counts as `now`.
 *
 * @throws Problem `invalid-request`
 */
export function pastTime(text: string, pointer: string, now: Date): Date {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) throw invalidField(pointer, 'is not a date and time that exists');
  // The beginning of some programs' calendar stands for a time that they don't have.
  if (at < EARLIEST) throw invalidField(pointer, 'lies before 1980, which can not be when it happened');
  if (at.getTime() > now.getTime() + SKEW_MS)
    throw invalidField(pointer, `lies in the future; it is ${now.toISOString()} now`);
  return at > now ? now : at;
}

/** `pastTime` of a field that may be left out. */
export function optionalPastTime(text: string | undefined, pointer: string, now: Date): Date | undefined {
  return text === undefined ? undefined : pastTime(text, pointer, now);
}

/**
 * @param where a pointer into the body, or into another part of the request
 * @throws Problem `invalid-request` when it is no address, saying how to mend it
 */
export function addressOf(
  email: string,
  where: string | Pick<RequestFault, 'in' | 'pointer'>,
): { address: string; name?: string } {
  const parsed = parseAddress(email);
  if ('problem' in parsed) {
    const place = typeof where === 'string' ? { in: 'body' as const, pointer: where } : where;
    throw invalidFields([{ ...place, detail: parsed.problem }]);
  }
  return parsed;
}

/** The hashes under which an address may be known, newest first. */
export function hashesOf(address: string, config: ApiContext['config']): [string, ...string[]] {
  return hashAddress(normaliseAddress(address), config.addressKeys);
}

/** @throws Problem `invalid-request` */
export function timeZoneOf(timeZone: string, pointer: string): string {
  if (isTimeZone(timeZone)) return timeZone;
  throw invalidField(pointer, 'is not an IANA time zone, such as Europe/Madrid');
}

/** A language tag (BCP 47) in its canonical form. @throws Problem `invalid-request` */
export function localeOf(locale: string, pointer: string): string {
  try {
    const [canonical] = Intl.getCanonicalLocales(locale);
    if (canonical !== undefined) return canonical;
  } catch {
    // said below
  }
  throw invalidField(pointer, 'is not a language tag (BCP 47), such as es or en-GB');
}
