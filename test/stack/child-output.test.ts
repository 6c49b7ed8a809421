import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { childOutput } from '../../stack/child-output';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'recuerda-output-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test('keeps every line, shows warnings and what is no log line, and the same only once in a row', () => {
  const file = join(dir, 'logs', 'api.log');
  const shown: string[] = [];
  const messages: string[] = [];
  const output = childOutput(
    'api',
    file,
    (line) => shown.push(line),
    (message) => messages.push(message),
  );
  const lines = [
    '{"level":30,"msg":"serving","port":3000}',
    '{"level":40,"msg":"left to the reconciler","what":"start","code":14}',
    '{"level":40,"msg":"left to the reconciler","what":"start","code":14}',
    '{"level":50,"msg":"a request failed","err":{"message":"broken\\nin two"}}',
    'node:internal/errors: no memory',
    '',
    '{"half":',
  ];
  for (const line of lines) output.onLine(line);
  output.close();
  output.onLine('after the end');
  expect(readFileSync(file, 'utf8')).toBe(`${lines.join('\n')}\n`);
  expect(messages).toEqual(['serving', 'left to the reconciler', 'left to the reconciler', 'a request failed']);
  expect(shown).toEqual([
    'api: left to the reconciler (code 14, what start)',
    'api: a request failed (broken)',
    'api: node:internal/errors: no memory',
    'api: {"half":',
  ]);
});

test('puts a log that has grown too big aside', () => {
  const file = join(dir, 'api.log');
  writeFileSync(file, Buffer.alloc(10_000_001, 'x'));
  childOutput(
    'api',
    file,
    () => {},
    () => {},
  ).close();
  expect(readFileSync(file, 'utf8')).toBe('');
  expect(readFileSync(`${file}.old`).length).toBe(10_000_001);
});
