import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { classifyFiles } from '../../cli/classify';
import { ConfigError } from '../../config';
import { TEST_TOKEN_KEYS } from '../support/leads';

const BOUNCE = join(__dirname, '../corpus/bounces/postfix-full.eml');
const KEYS = `1:${TEST_TOKEN_KEYS[0]?.secret.toString('hex')}`;

async function lines(env: Record<string, string>, files: string[]): Promise<Array<Record<string, unknown>>> {
  const output = new PassThrough();
  const printed = text(output);
  await classifyFiles(env, files, output);
  output.end();
  return (await printed)
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

test('one line a file, with these keys in this order, and nothing set in the environment', async () => {
  const [found] = await lines({}, [BOUNCE]);
  expect(Object.keys(found ?? {})).toEqual([
    'file',
    'kind',
    'subtype',
    'bounce',
    'returnDate',
    'requests',
    'matched',
    'needsReview',
    'confidence',
    'evidence',
  ]);
  expect(found).toMatchObject({
    file: BOUNCE,
    kind: 'bounce',
    subtype: null,
    bounce: {
      severity: 'soft',
      cause: 'mailbox',
      code: '5.2.2',
      codeFrom: 'dsn',
      recipient: 'lucia.ferrer@correo.example',
    },
    returnDate: null,
    requests: [],
    matched: null,
  });
  expect(Object.keys(found?.bounce ?? {})).toEqual(['severity', 'cause', 'code', 'codeFrom', 'recipient']);
});

test('with the keys in the environment it is matched', async () => {
  const [found] = await lines({ RECUERDA_TOKEN_KEYS: KEYS }, [BOUNCE]);
  expect(found?.matched).toEqual({ enrollmentId: '6f1d2c3b-4a59-4e68-8b7a-0c1d2e3f4a5b', by: 'verp' });
});

test('files that are away, folders, empty and enormous ones are other or cut, and the rest goes on', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'classify-'));
  try {
    const empty = join(folder, 'empty.eml');
    const large = join(folder, 'large.eml');
    writeFileSync(empty, '');
    writeFileSync(large, Buffer.concat([Buffer.from('From: a@b.example\n\n'), Buffer.alloc(60_000_000, 'x')]));
    const found = await lines({}, [join(folder, 'away.eml'), folder, empty, large, BOUNCE]);
    expect(found.map(({ kind }) => kind)).toEqual(['other', 'other', 'other', 'other', 'bounce']);
    expect(found[0]?.evidence).toEqual(["the file can't be read (ENOENT)"]);
    expect(found[3]?.evidence).toContain('it is too large: only its beginning was read');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('keys that are set but wrong are a mistake in the settings', async () => {
  await expect(lines({ RECUERDA_TOKEN_KEYS: 'nonsense' }, [BOUNCE])).rejects.toThrow(ConfigError);
});
