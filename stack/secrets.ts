import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { StartError } from './start-error';
import { parseObject, readIfThere, writeWhole } from './whole-file';

/** What this stack must remember for good. */
export interface Secrets {
  /** RECUERDA_SECRET: keys the suppression list and the unsubscribe links. */
  secret: string;
  /** The development API key. */
  apiKey: string;
}

/**
 * The secrets of a home, drawn on the first start and kept, readable by their owner only.
 *
 * @param isNeeded whether the home's data was made with them, so that new ones would do harm
 * @throws StartError when they are needed and lost, or can't be read
 */
export function secretsOf(home: string, isNeeded: boolean): Secrets {
  const file = join(home, 'secrets.json');
  const text = readIfThere(file);
  if (text === undefined) {
    if (isNeeded) {
      throw new StartError(
        `${file} is missing, and the data beside it depends on it: without it nobody who unsubscribed would be known ` +
          'any more. Put it back, or set RECUERDA_SECRET to what it held, or move the whole folder away to start anew.',
      );
    }
    const drawn = { secret: randomBytes(32).toString('hex'), apiKey: `dev_${randomBytes(20).toString('hex')}` };
    writeWhole(file, drawn);
    return drawn;
  }
  const kept = parseObject(text);
  if (typeof kept?.secret !== 'string' || typeof kept.apiKey !== 'string') {
    throw new StartError(
      `${file} can't be read as what it was: {"secret": …, "apiKey": …}. Put it back from a backup.`,
    );
  }
  return { secret: kept.secret, apiKey: kept.apiKey };
}
