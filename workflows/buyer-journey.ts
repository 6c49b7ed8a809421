import type { JourneyInput, JourneyResult } from './contract';
import { followJourney } from './journey';

/** Follows one buyer after the purchase: thanks, then what the campaign has for buyers, until they reply or unsubscribe. */
export async function buyerJourney(input: JourneyInput): Promise<JourneyResult> {
  return await followJourney(input);
}
