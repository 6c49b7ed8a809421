import { type FormToken, readFormToken, signFormToken } from '../../domain/form-token';
import { signStaffToken } from '../../domain/staff-token';

const KEYS = [{ version: 1, secret: Buffer.alloc(32, 2) }];
const TOKEN: FormToken = {
  kind: 'page',
  formId: '6f2a4b1c-52d4-4f0c-9a3e-6a1f5d8e2b47',
  version: 70_000,
  language: 'ca',
  issuedAt: new Date('2026-03-01T10:00:00.123Z'),
};

test('what was signed is read back', () => {
  for (const token of [TOKEN, { ...TOKEN, kind: 'snippet', language: 'es', version: 1 }] as const) {
    expect(readFormToken(signFormToken(token, KEYS), KEYS)).toEqual(token);
  }
});

test('a token with any bit changed, cut, lengthened or spelt otherwise is none', () => {
  const text = signFormToken(TOKEN, KEYS);
  const bytes = Buffer.from(text, 'base64url');
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const copy = Buffer.from(bytes);
    copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(readFormToken(copy.toString('base64url'), KEYS)).toBeNull();
  }
  for (const bad of ['', 'x', text.slice(0, -1), `${text}A`, `${text}=`, ` ${text}`, text.slice(4)]) {
    expect(readFormToken(bad, KEYS)).toBeNull();
  }
});

test('keys may be rotated; a stranger’s key, and a token for something else, are worth nothing', () => {
  const rotated = [{ version: 2, secret: Buffer.alloc(32, 9) }, ...KEYS];
  expect(readFormToken(signFormToken(TOKEN, KEYS), rotated)).toEqual(TOKEN);
  expect(readFormToken(signFormToken(TOKEN, rotated), KEYS)).toBeNull();
  expect(readFormToken(signFormToken(TOKEN, [{ version: 1, secret: Buffer.alloc(32, 3) }]), KEYS)).toBeNull();
  const staff = { enrollmentId: TOKEN.formId, inboundId: TOKEN.formId, expiresAt: new Date() };
  expect(readFormToken(signStaffToken(staff, KEYS), KEYS)).toBeNull();
});
