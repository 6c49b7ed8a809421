import { pauseSending, resumeAll, resumeSending } from '../db/breaker';
import { WHOLE_STREAM } from '../domain/limits';
import { STREAMS, type Stream } from '../domain/streams';
import { CommandRefused, type DatabaseCommand, onDatabase } from './database';

export interface PauseOptions {
  stream?: string;
}

/** `recuerda pause`: once it has ended, nothing is handed over any more but the mails that it names, and test sends. */
export async function pauseAll(command: DatabaseCommand, { stream }: PauseOptions): Promise<number> {
  return await onDatabase(command, async (db) => {
    const streams = stream === undefined ? STREAMS : [streamNamed(stream)];
    const leaving = await pauseSending(db, { streams, provider: WHOLE_STREAM, now: new Date() });
    command.output.write(`Paused: ${streams.join(', ')}. Nothing of that is handed over any more, test sends aside.\n`);
    for (const { messageId, enrollmentId, transactionalId } of leaving) {
      const what = enrollmentId === null ? `transactional ${transactionalId}` : `enrollment ${enrollmentId}`;
      command.output.write(`May still arrive: ${messageId} (${what})\n`);
    }
  });
}

/** `recuerda resume`: what fell due meanwhile goes out, nudges within their send window. */
export async function resumeAllPaused(command: DatabaseCommand, { stream }: PauseOptions): Promise<number> {
  return await onDatabase(command, async (db) => {
    const now = new Date();
    if (stream === undefined) {
      const resumed = await resumeAll(db, now);
      command.output.write(
        resumed.length === 0 ? 'Nothing was paused by hand.\n' : `Goes on: ${resumed.join(', ')}.\n`,
      );
      return;
    }
    const named = streamNamed(stream);
    const was = await resumeSending(db, { stream: named, provider: WHOLE_STREAM, now });
    command.output.write(was ? `Goes on: ${named}.\n` : `${named} was not paused.\n`);
  });
}

function streamNamed(name: string): Stream {
  const stream = STREAMS.find((one) => one === name);
  if (stream === undefined) throw new CommandRefused(`${name}: there are ${STREAMS.join(', ')}.`);
  return stream;
}
