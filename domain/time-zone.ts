import { IANAZone, type Zone } from 'luxon';

const DAY_MS = 86_400_000;
/** Days that one zone remembers; planning looks a few months ahead. */
const MAX_DAYS = 2_000;
const MAX_ZONES = 500;

/** Luxon asks Intl for every offset, which is most of what planning a mail costs; an offset holds for a day nearly always. */
class RememberingZone extends IANAZone {
  /** Offset (minutes) by day since the epoch, UTC; null for a day on which it changes. */
  readonly #days = new Map<number, number | null>();

  override offset(at: number): number {
    const day = Math.floor(at / DAY_MS);
    let offset = this.#days.get(day);
    if (offset === undefined) {
      const atStart = super.offset(day * DAY_MS);
      offset = atStart === super.offset((day + 1) * DAY_MS - 1) ? atStart : null;
      if (this.#days.size >= MAX_DAYS) this.#days.clear();
      this.#days.set(day, offset);
    }
    return offset ?? super.offset(at);
  }
}

const zones = new Map<string, Zone>();

/** A time zone of IANA's list? Offsets such as +01:00, which Intl takes as well, are none: they know no summer time. */
export function isTimeZone(text: string): boolean {
  return /^[A-Za-z]/.test(text) && typeof zoneOf(text) !== 'string';
}

/** The zone of this name for luxon, one that remembers its offsets; the name itself where IANA has none of that name. */
export function zoneOf(name: string): Zone | string {
  let zone = zones.get(name);
  if (zone === undefined) {
    if (!IANAZone.isValidZone(name)) return name;
    zone = new RememberingZone(name);
    if (zones.size >= MAX_ZONES) zones.clear();
    zones.set(name, zone);
  }
  return zone;
}
