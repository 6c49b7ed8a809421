import argon2 from 'argon2';
import { hashPassword, passwordFault, verifyPassword } from '../../domain/passwords';

test.each([
  ['elevenchars', /at least 12 characters; it has 11/],
  ['', /it has 0/],
  // One character each, whatever UTF-16 makes of them.
  ['🔑'.repeat(11), /it has 11/],
  ['x'.repeat(257), /at most 256 characters; it has 257/],
])('%s is not taken', (password, words) => {
  expect(passwordFault(password)).toMatch(words);
});

test.each(['twelve chars', 'x'.repeat(256), '🔑'.repeat(12), ' '.repeat(12)])('%s is taken', (password) => {
  expect(passwordFault(password)).toBeNull();
});

test('a hash is argon2id with at least what OWASP asks for, and salted', async () => {
  const hash = await hashPassword('correct horse battery');
  const [, algorithm, , settings = ''] = hash.split('$');
  const { m, t, p } = Object.fromEntries(settings.split(',').map((pair) => pair.split('=')));
  expect([algorithm, Number(m) >= 19 * 1024, Number(t) >= 2, Number(p)]).toEqual(['argon2id', true, true, 1]);
  expect(await hashPassword('correct horse battery')).not.toBe(hash);
  expect(hash).not.toContain('horse');
});

test('a password is verified whole, however its letters are composed', async () => {
  const hash = await hashPassword('contraseña de Íñigo');
  expect(await verifyPassword(hash, 'contraseña de Íñigo'.normalize('NFD'))).toBe(true);
  expect(await verifyPassword(hash, 'contraseña de Íñig')).toBe(false);
  expect(await verifyPassword(hash, 'contraseña de Íñigo ')).toBe(false);
});

test('for nobody the same work is done, and nothing matches', async () => {
  const verify = jest.spyOn(argon2, 'verify');
  const hash = await hashPassword('correct horse battery');
  expect(await verifyPassword(hash, 'wrong')).toBe(false);
  expect(await verifyPassword(null, 'wrong')).toBe(false);
  expect(await verifyPassword(null, '')).toBe(false);
  const parameters = verify.mock.calls.map(([digest]) => digest.split('$').slice(1, 4));
  expect(parameters).toHaveLength(3);
  expect(new Set(parameters.map(String)).size).toBe(1);
  verify.mockRestore();
});
