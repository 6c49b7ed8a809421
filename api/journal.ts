import type { Db } from '../db/client';
import { journalIn } from '../db/journal-file';
import type { Api } from './context';

/**
 * Writes what a request has stopped, suppressed, lifted or erased into the journal before it is answered, so that a restored
 * backup can be brought up to date with everything that was confirmed. Whatever the request was: no route can be forgotten.
 * A journal that can't be written holds nobody up; what is missing follows.
 */
export function journalBeforeAnswers(app: Api, db: Db, directory: string | null): void {
  if (directory === null) return;
  const journal = journalIn(db, directory, app.log, false);
  app.addHook('onSend', async (request, reply) => {
    const changesNothing = request.method === 'GET' || request.method === 'HEAD' || request.method === 'OPTIONS';
    if (!changesNothing && reply.statusCode < 400) await journal.keep();
  });
  app.addHook('onClose', async () => await journal.close());
}
