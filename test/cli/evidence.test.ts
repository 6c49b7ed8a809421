import { createPrivateKey, createPublicKey } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { makeEvidenceKey } from '../../cli/evidence-key';
import { openEvidence } from '../../cli/unseal-evidence';
import { checkEvidence } from '../../cli/verify-evidence';
import { deriveKey, readConfig, readMasterKey } from '../../config';
import { CHAIN_START, chainEvidence } from '../../domain/evidence';
import { evidencePublicKeyText, evidenceSigningKey, evidenceText, signEvidence } from '../../domain/evidence-document';
import { sealEvidence } from '../../domain/sealing';

const SECRET = { RECUERDA_SECRET: 'a secret of the tests, long enough to be one' };
const KEY = evidenceSigningKey(deriveKey(readMasterKey(SECRET) as Buffer, 'evidence signatures'));
const LEAD = 'c0ffee00-0000-4000-8000-00000000000a';
const CAMPAIGN = 'c0ffee00-0000-4000-8000-00000000000c';

let dir: string;
let complaints: string[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'evidence-'));
  complaints = [];
  jest.spyOn(console, 'error').mockImplementation((text: string) => void complaints.push(text));
});
afterEach(() => {
  jest.restoreAllMocks();
  rmSync(dir, { recursive: true });
});

function document(key = KEY): string {
  const at = new Date('2026-01-10T09:00:00Z');
  const chain = chainEvidence(LEAD, null, [
    {
      kind: 'consent',
      at,
      detail: {
        campaignId: CAMPAIGN,
        purpose: 'nudges',
        text: 'Sí,\u001b[2J escríbanme.',
        source: 'ficha de la feria',
        file: { importId: 'i-1', line: 7, sha256: 'ab' },
      },
    },
    { kind: 'withdrawn', at: new Date('2026-05-01T00:00:00Z'), detail: { reason: 'objection', via: 'one-click' } },
  ]);
  const mail = { enrollmentId: 'e', campaignId: CAMPAIGN, copy: 0, messageId: '<x@y>', report: null, reportAt: null };
  const times = { claimedAt: at.toISOString(), handedOverAt: at.toISOString(), settledAt: at.toISOString() };
  return evidenceText(
    signEvidence(
      {
        format: 'recuerda-evidence',
        version: 1,
        generatedAt: '2026-06-01T00:00:00.000Z',
        subject: { leadId: LEAD, email: 'ana@shop.example', name: 'Ana' },
        chain,
        head: chain.at(-1)?.hash ?? CHAIN_START,
        enrollments: [
          {
            enrollmentId: 'e',
            campaignId: CAMPAIGN,
            campaign: 'Cafeteras',
            version: 1,
            requestedAt: at.toISOString(),
            enrolledAt: at.toISOString(),
            endedAt: null,
            outcome: null,
          },
        ],
        mails: [{ ...mail, ...times, kind: 'information', step: 0, state: 'accepted' }],
        suppressions: [],
      },
      key,
    ),
  );
}

function file(text: string | Buffer, name = 'evidence.json'): string {
  writeFileSync(join(dir, name), text);
  return join(dir, name);
}

async function verify(path: string, env: Record<string, string> = {}, key?: string) {
  let printed = '';
  const write = (text: string) => {
    printed += text;
  };
  const code = await checkEvidence(env, path, key === undefined ? {} : { key }, { write });
  return { code, printed };
}

describe('recuerda verify-evidence', () => {
  test('a sound document: what they agreed to and when, and who has signed it', async () => {
    const { code, printed } = await verify(file(document()), {}, evidencePublicKeyText(KEY));
    expect(code).toBe(0);
    for (const part of [
      LEAD,
      'ana@shop.example',
      '1  2026-01-10T09:00:00.000Z  agreed to nudges for Cafeteras, by ficha de la feria',
      'line 7 of the file ab, import i-1',
      'escríbanme.',
      '2  2026-05-01T00:00:00.000Z  took it back for all campaigns: objection, by one-click',
      'Mails: 1 handed over',
      `Sound: the chain is whole, and signed by ${evidencePublicKeyText(KEY)} (the key that you gave).`,
    ]) {
      expect(printed).toContain(part);
    }
    expect(printed).not.toContain('WARNING');
    expect(printed).not.toContain('\u001b');
  });

  test('without --key it must be signed by the key of the settings, where there are any', async () => {
    expect(await verify(file(document()), SECRET)).toMatchObject({
      code: 0,
      printed: expect.stringContaining('the key of these settings'),
    });
    const other = await verify(file(document(evidenceSigningKey(Buffer.alloc(32, 1)))), SECRET);
    expect([other.code, other.printed]).toEqual([1, expect.stringContaining('another key')]);
  });

  test('where no key is known it warns that anybody could have signed', async () => {
    const { code, printed } = await verify(file(document()));
    expect([code, printed]).toEqual([0, expect.stringContaining('WARNING')]);
  });

  test('a tampered one fails, and is told what is broken and where', async () => {
    const changed = document().replace('escríbanme', 'llámenme');
    const { code, printed } = await verify(file(changed), SECRET);
    expect(code).toBe(1);
    expect(printed).toMatch(/NOT SOUND/);
    expect(printed).toMatch(/chain 1 +its text is not what was hashed/);
    expect(printed).toMatch(/signature +does not fit/);
    expect(printed).not.toContain('Sound:');
  });

  test('what is no document, no file or no key is told in words', async () => {
    expect((await verify(file('{}'))).printed).toContain('is no evidence document');
    expect((await verify(join(dir, 'none'))).code).toBe(1);
    expect((await verify(file(document()), {}, 'abc')).code).toBe(1);
    expect(complaints).toEqual([expect.stringContaining('ENOENT'), expect.stringContaining('--key')]);
  });
});

describe('recuerda evidence-key and unseal-evidence', () => {
  async function makeKey(options: { passphraseFile?: string } = {}) {
    let printed = '';
    const out = join(dir, 'evidence.pem');
    const write = (text: string) => {
      printed += text;
    };
    const code = await makeEvidenceKey({ out, ...options }, { write });
    const line = /^RECUERDA_EVIDENCE_PUBLIC_KEY=(.*)$/m.exec(printed)?.[1] ?? '';
    return { code, out, line };
  }

  /** The key as the settings read it. */
  function publicKeyFrom(line: string) {
    const config = readConfig({
      ...SECRET,
      RECUERDA_EVIDENCE_PUBLIC_KEY: line,
      DATABASE_URL: 'postgres://localhost/x',
      TEMPORAL_ADDRESS: 'localhost:7233',
      SMTP_URL: 'smtp://localhost',
      RECUERDA_PUBLIC_URL: 'https://recuerda.test',
      RECUERDA_API_KEY: 'a-key-of-the-tests-0123456789',
    });
    if (config.evidencePublicKey === null) throw new Error('not read');
    return config.evidencePublicKey;
  }

  async function unseal(
    options: Parameters<typeof openEvidence>[1],
    path: string | null,
    input: Buffer = Buffer.alloc(0),
  ) {
    const parts: Buffer[] = [];
    const write = (part: string | Buffer) => void parts.push(Buffer.from(part));
    const code = await openEvidence(path, options, Readable.from([input]), { write });
    return { code, printed: Buffer.concat(parts).toString() };
  }

  const answer = (...sealed: Buffer[]) =>
    JSON.stringify({ items: sealed.map((one) => ({ sealedId: 'x', sealed: one.toString('base64') })) });

  test('what is sealed with the line that it prints opens with the file that it wrote, and verifies', async () => {
    const { code, out, line } = await makeKey();
    expect(code).toBe(0);
    expect(statSync(out).mode & 0o777).toBe(0o600);
    const sealed = sealEvidence(Buffer.from(document()), publicKeyFrom(line));

    const to = join(dir, 'opened.json');
    expect((await unseal({ key: out, out: to }, file(answer(sealed), 'answer.json'))).code).toBe(0);
    expect(readFileSync(to, 'utf8')).toBe(document());
    expect(statSync(to).mode & 0o777).toBe(0o600);
    expect((await verify(to, SECRET)).code).toBe(0);

    for (const [path, input] of [
      [null, Buffer.from(answer(sealed))],
      [file(sealed, 'sealed.bin'), Buffer.alloc(0)],
      [file(`${sealed.toString('base64')}\n`, 'sealed.txt'), Buffer.alloc(0)],
    ] as const) {
      expect(await unseal({ key: out }, path, input)).toEqual({ code: 0, printed: document() });
    }
  });

  test('a key is never overwritten', async () => {
    const first = await makeKey();
    const before = readFileSync(first.out);
    expect((await makeKey()).code).toBe(1);
    expect(readFileSync(first.out).equals(before)).toBe(true);
    expect(complaints).toEqual([expect.stringContaining('never overwritten')]);
  });

  test('with a passphrase the file alone opens nothing', async () => {
    const passphraseFile = file('correct horse\nsecond line\n', 'passphrase');
    const { out, line } = await makeKey({ passphraseFile });
    expect(readFileSync(out, 'utf8')).toContain('ENCRYPTED PRIVATE KEY');
    const sealed = file(sealEvidence(Buffer.from('x'), publicKeyFrom(line)), 'sealed.bin');
    expect((await unseal({ key: out, passphraseFile }, sealed)).printed).toBe('x');
    expect((await unseal({ key: out }, sealed)).code).toBe(1);
    expect((await unseal({ key: out, passphraseFile: file('wrong\n', 'wrong') }, sealed)).code).toBe(1);
    expect((await makeKey({ passphraseFile: file('\n', 'empty') })).code).toBe(1);
    expect(complaints).toEqual([
      expect.stringContaining('--passphrase-file'),
      expect.stringContaining('does not open with this passphrase'),
      expect.stringContaining('holds no passphrase'),
    ]);
  });

  test('of several it opens the one that is named, and does not guess', async () => {
    const { out, line } = await makeKey();
    const [one, two] = ['one', 'two'].map((text) => sealEvidence(Buffer.from(text), publicKeyFrom(line)));
    const path = file(answer(one as Buffer, two as Buffer), 'answer.json');
    expect((await unseal({ key: out, item: '2' }, path)).printed).toBe('two');
    for (const item of [undefined, '0', '3', 'x']) {
      expect((await unseal({ key: out, ...(item === undefined ? {} : { item }) }, path)).code).toBe(1);
    }
    expect((await unseal({ key: out }, file(answer(), 'none.json'))).code).toBe(1);
    expect(complaints[0]).toContain('there are 2 of them');
    expect(complaints.at(-1)).toContain('nothing is kept');
  });

  test('another key, other files and changed bytes are refused in words', async () => {
    const { out, line } = await makeKey();
    const sealed = sealEvidence(Buffer.from('x'), publicKeyFrom(line));
    const other = join(dir, 'other.pem');
    await makeEvidenceKey({ out: other }, { write: () => {} });
    const changed = Buffer.from(sealed);
    changed[70] = (changed[70] as number) ^ 1;
    const signing = file(KEY.export({ format: 'pem', type: 'pkcs8' }), 'ed25519.pem');
    const good = file(sealed, 'sealed.bin');
    for (const [key, path] of [
      [other, good],
      [out, file(changed, 'changed.bin')],
      [out, file('{"items":', 'half.json')],
      [out, file('hello', 'text')],
      [out, join(dir, 'missing')],
      [join(dir, 'missing.pem'), good],
      [file('no key', 'no.pem'), good],
      [signing, good],
    ] as const) {
      expect(await unseal({ key }, path)).toEqual({ code: 1, printed: '' });
    }
    expect(complaints).toHaveLength(8);
    expect(createPublicKey(createPrivateKey(readFileSync(out))).asymmetricKeyType).toBe('x25519');
  });
});
