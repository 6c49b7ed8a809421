import type { Readable } from 'node:stream';
import { CommandRefused } from './database';

/** A terminal, or a pipe. */
export type PasswordInput = Readable & { isTTY?: boolean; setRawMode?(raw: boolean): unknown };

const ENTER = /[\r\n]/;
const LONGEST = 4096;

/**
 * Reads a password: from a terminal what is typed until Enter, without showing it; from a pipe the first line.
 *
 * @throws CommandRefused when it ends before, or is broken off with Ctrl-C
 */
export async function readPassword(
  input: PasswordInput,
  prompts: { write(text: string): unknown },
  prompt: string,
): Promise<string> {
  if (input.isTTY !== true) return await firstLine(input);
  prompts.write(prompt);
  input.setRawMode?.(true);
  try {
    return await typedLine(input);
  } finally {
    input.setRawMode?.(false);
    prompts.write('\n');
  }
}

async function firstLine(input: PasswordInput): Promise<string> {
  let text = '';
  input.setEncoding('utf8');
  for await (const chunk of input) {
    text += String(chunk);
    if (ENTER.test(text) || text.length > LONGEST) break;
  }
  return text.split(ENTER)[0] ?? '';
}

/** In raw mode the terminal neither shows nor edits: taking back and breaking off are ours. */
async function typedLine(input: PasswordInput): Promise<string> {
  input.setEncoding('utf8');
  return await new Promise<string>((resolve, reject) => {
    const typed: string[] = [];
    const end = (settle: () => void) => {
      input.off('data', onData);
      input.off('end', onEnd);
      input.pause();
      settle();
    };
    const onEnd = () => end(() => reject(new CommandRefused('No password was given.')));
    const onData = (chunk: string) => {
      for (const character of chunk) {
        if (ENTER.test(character)) return end(() => resolve(typed.join('')));
        if (character === '\u0003' || character === '\u0004') return onEnd();
        if (character === '\u007f' || character === '\b') typed.pop();
        else typed.push(character);
      }
    };
    input.on('data', onData);
    input.on('end', onEnd);
    input.resume();
  });
}
