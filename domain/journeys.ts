/** Whom a journey is with: a lead, or a buyer after the purchase. */
export const JOURNEY_KINDS = ['lead', 'buyer'] as const;
export type JourneyKind = (typeof JOURNEY_KINDS)[number];
