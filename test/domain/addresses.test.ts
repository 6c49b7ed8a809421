import fc from 'fast-check';
import { normaliseAddress, parseAddress, providerOf } from '../../domain/addresses';

describe('parseAddress', () => {
  test.each([
    ['ana@correo.test', { address: 'ana@correo.test' }],
    ['  ANA.Peña+x@Correo.TEST ', { address: 'ANA.Peña+x@Correo.TEST' }],
    ['ana @ correo.test', { address: 'ana@correo.test' }],
    ['ana@\u00a0correo.test', { address: 'ana@correo.test' }],
    ['\u200bana@correo.test\ufeff', { address: 'ana@correo.test' }],
    ['Ana  Peña <ana@correo.test>', { address: 'ana@correo.test', name: 'Ana Peña' }],
    ['"Peña, Ana" <ana@correo.test>;', { address: 'ana@correo.test', name: 'Peña, Ana' }],
    ["'Ana' < ana @ correo.test >", { address: 'ana@correo.test', name: 'Ana' }],
    ['"La \\"jefa\\"" <ana@correo.test>', { address: 'ana@correo.test', name: 'La "jefa"' }],
    ['ana@correo.test <ana@correo.test>', { address: 'ana@correo.test' }],
    ['<ana@correo.test>', { address: 'ana@correo.test' }],
    ['mailto:ana@correo.test?subject=Hola', { address: 'ana@correo.test' }],
    ['Ana <mailto:ana%2Bshop@correo.test>', { address: 'ana+shop@correo.test', name: 'Ana' }],
    ['"ana@correo.test".', { address: 'ana@correo.test' }],
    ['(ana@correo.test),', { address: 'ana@correo.test' }],
    ['ana@muñoz.test', { address: 'ana@muñoz.test' }],
    [`${'a'.repeat(64)}@correo.test`, { address: `${'a'.repeat(64)}@correo.test` }],
  ])('%j is accepted', (raw, expected) => {
    expect(parseAddress(raw)).toEqual(expected);
  });

  test.each([
    ['', 'the address is empty'],
    [' ; ', 'the address is empty'],
    ['Ana <>', 'the address is empty'],
    ['anacorreo.test', 'the @ is missing'],
    ['@correo.test', 'nothing stands before the @'],
    ['ana@', 'nothing stands after the @'],
    ['ana@@correo.test', 'there is more than one @'],
    ['ana@correo.test@correo.test', 'there is more than one @'],
    ['ana@correo.test, luis@correo.test', 'several addresses in one field'],
    ['ana@correo.test;luis@correo.test', 'several addresses in one field'],
    ['Ana <ana@correo.test>, Luis <luis@correo.test>', 'several addresses in one field'],
    ['ana@gmail,example', 'comma in the domain: did you mean gmail.example?'],
    ['ana@Gmail,,example', 'comma in the domain: did you mean gmail.example?'],
    ['ana@,,-', 'comma in the domain, after the @'],
    ['ana@localhost', 'the domain has no dot'],
    ['ana@correo..test', 'misplaced dot in the domain, after the @'],
    ['ana@.correo.test', 'misplaced dot in the domain, after the @'],
    ['ana@-correo.test', 'the domain is not valid'],
    ['ana@10.0.0.1', 'the domain has no valid ending'],
    ['ana@[10.0.0.1]', 'illegal characters in the domain, after the @'],
    ['ana@corr%41eo.test', 'illegal characters in the domain, after the @'],
    ['ana@corr_eo.test', 'illegal characters in the domain, after the @'],
    ['a..na@correo.test', 'misplaced dot before the @'],
    ['ana(x@correo.test', 'illegal characters before the @'],
    ['ana\nx@correo.test', 'illegal characters: a line break or another control character'],
    ['ana x@correo.test', 'space inside the address'],
    [`${'a'.repeat(65)}@correo.test`, 'too long: more than 64 characters before the @'],
    [`${'ñ'.repeat(33)}@correo.test`, 'too long: more than 64 characters before the @'],
    [`ana@${'abcdefgh.'.repeat(28)}test`, 'too long: more than 254 characters'],
    [`"${'Peña '.repeat(200)}" <ana@correo.test>`, 'too long: more than 1000 characters'],
  ])('%j is refused', (raw, problem) => {
    expect(parseAddress(raw)).toEqual({ problem });
  });

  test('any text gives an address that parses to itself, or a problem', () => {
    const dirty = fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc
        .array(fc.constantFrom('a', 'ñ', '@', '.', ',', ' ', '<', '>', '"', ';', '-', 'mailto:', 'test', '\n'))
        .map((x) => x.join('')),
    );
    fc.assert(
      fc.property(dirty, (raw) => {
        const parsed = parseAddress(raw);
        if ('problem' in parsed) {
          expect(parsed.problem).not.toBe('');
        } else {
          expect(parseAddress(parsed.address)).toEqual({ address: parsed.address });
          expect(parsed.address).not.toMatch(/[\s<>,;"]/);
          expect(parsed.address.split('@')).toHaveLength(2);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('normaliseAddress', () => {
  test('one person has one key, however the address is written', () => {
    const key = 'ana.peña@xn--muoz-hqa.test';
    expect(normaliseAddress('Ana.Peña@MUÑOZ.test')).toBe(key);
    expect(normaliseAddress('ana.pen\u0303a@mun\u0303oz.test')).toBe(key);
    expect(normaliseAddress('ana.peña@xn--muoz-hqa.TEST')).toBe(key);
  });

  test('dots and tags are kept, since only some providers ignore them', () => {
    expect(normaliseAddress('A.n.a+shop@gmail.com')).toBe('a.n.a+shop@gmail.com');
  });

  test('a key is its own key', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.domain(), (local, domain) => {
        const key = normaliseAddress(`${local}@${domain}`);
        expect(normaliseAddress(key)).toBe(key);
      }),
    );
  });
});

describe('what strangers send', () => {
  // Each of these took half a minute once: the time that a pattern needs grows with the square of what it reads.
  test.each([
    ['full stops', `ana@correo${'.'.repeat(120_000)}test`],
    ['spaces', `ana${' '.repeat(120_000)}correo`],
  ])('a hundred thousand %s hold nobody up', (_, raw) => {
    expect(parseAddress(raw)).toEqual({ problem: 'too long: more than 1000 characters' });
  });
});

describe('providerOf', () => {
  test.each([
    ['a@gmail.com', 'gmail'],
    ['a@GoogleMail.com', 'gmail'],
    ['a@hotmail.es', 'outlook'],
    ['a@live.co.uk', 'outlook'],
    ['a@msn.com', 'outlook'],
    ['a@yahoo.es', 'yahoo'],
    ['a@yahoo.com.mx', 'yahoo'],
    ['a@me.com', 'icloud'],
    ['a@web.de', 'gmx'],
    ['a@wanadoo.fr', 'orange'],
    ['a@movistar.es', 'telefonica'],
    ['a@pm.me', 'proton'],
  ])('%s is received by %s', (address, provider) => {
    expect(providerOf(address)).toBe(provider);
  });

  test('other domains share 64 buckets that never change', () => {
    expect(providerOf('ana@empresa.test')).toBe(providerOf('LUIS@EMPRESA.TEST'));
    // Limits are kept per bucket across releases: these are the answers for ever.
    expect(['empresa.test', 'tienda.test', 'muñoz.test'].map((domain) => providerOf(`a@${domain}`))).toEqual([
      'other-50',
      'other-36',
      'other-25',
    ]);
    const buckets = new Set(Array.from({ length: 2000 }, (_, at) => providerOf(`a@firma${at}.test`)));
    expect(buckets.size).toBe(64);
    for (const bucket of buckets) expect(bucket).toMatch(/^other-([0-9]|[1-5][0-9]|6[0-3])$/);
  });

  test('look-alikes of a provider are not the provider', () => {
    expect(providerOf('a@gmail.com.evil.test')).toMatch(/^other-/);
    expect(providerOf('a@notgmail.com')).toMatch(/^other-/);
  });
});
