import { Problem } from './problem';
import type { Scope } from './scopes';

/** Nobody gives others more than they have themselves. @throws Problem `forbidden`, naming what they lack */
export function mayGrant(own: readonly Scope[], given: readonly Scope[]): void {
  const beyond = given.filter((scope) => !own.includes(scope));
  if (beyond.length > 0) {
    throw new Problem('forbidden', `Nobody gives more than they have themselves; you lack ${beyond.join(', ')}.`);
  }
}
