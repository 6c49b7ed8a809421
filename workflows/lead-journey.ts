import type { JourneyInput, JourneyResult } from './contract';
import { followJourney } from './journey';

/** Follows one lead: the information, then nudges, until they buy, reply or unsubscribe. */
export async function leadJourney(input: JourneyInput): Promise<JourneyResult> {
  return await followJourney(input);
}
