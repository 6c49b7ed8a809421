import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { CHAIN_START, canonicalJson, chainEvidence, EVIDENCE_KINDS, type EvidenceFact } from '../../domain/evidence';
import {
  type EvidenceContent,
  type EvidenceDocument,
  evidencePublicKeyText,
  evidenceSigningKey,
  evidenceText,
  signEvidence,
  verifyEvidence,
} from '../../domain/evidence-document';

const KEY = evidenceSigningKey(Buffer.alloc(32, 9));
const PINNED = evidencePublicKeyText(KEY);
const LEAD = 'c0ffee00-0000-4000-8000-00000000000a';
const OTHER_LEAD = 'c0ffee00-0000-4000-8000-00000000000b';
const AT = new Date('2026-01-10T09:00:00Z');

const consent = (text = 'Sí, escríbanme.'): EvidenceFact => ({
  kind: 'consent',
  at: AT,
  detail: { campaignId: 'c', purpose: 'nudges', text, source: 'form', ip: null, userAgent: 'Mozilla' },
});
const FACTS: EvidenceFact[] = [
  consent(),
  { kind: 'confirmed', at: AT, detail: { requestId: 'r' } },
  { kind: 'withdrawn', at: new Date('2026-03-10T09:00:00Z'), detail: { reason: 'objection' } },
  consent('Sí, otra vez.'),
];

function content(facts = FACTS, leadId = LEAD): EvidenceContent {
  const chain = chainEvidence(leadId, null, facts);
  const mail = (step: number, at: string) => ({
    enrollmentId: 'e',
    campaignId: 'c',
    kind: step === 0 ? 'information' : 'nudge',
    step,
    copy: 0,
    messageId: `<${step}@shop.example>`,
    state: 'accepted',
    claimedAt: at,
    handedOverAt: at,
    settledAt: at,
    report: null,
    reportAt: null,
  });
  return {
    format: 'recuerda-evidence',
    version: 1,
    generatedAt: '2026-04-01T00:00:00.000Z',
    subject: { leadId, email: 'ana@shop.example', name: 'Ana Íñiguez' },
    chain,
    head: chain.at(-1)?.hash ?? CHAIN_START,
    enrollments: [
      {
        enrollmentId: 'e',
        campaignId: 'c',
        campaign: 'Cafeteras',
        version: 1,
        requestedAt: AT.toISOString(),
        enrolledAt: AT.toISOString(),
        endedAt: null,
        outcome: null,
      },
    ],
    mails: [mail(0, '2026-01-10T09:00:01.000Z'), mail(1, '2026-03-09T09:00:01.000Z')],
    suppressions: [],
  };
}

const verify = (document: unknown, key: string | null = PINNED) =>
  verifyEvidence(Buffer.from(typeof document === 'string' ? document : canonicalJson(document)), key);
const signed = signEvidence(content(), KEY);

/** As a forger who has no key would: everything made to fit, but the signature. */
function rechained(
  document: EvidenceDocument,
  links: { kind: EvidenceFact['kind']; at: Date; detail: Record<string, unknown> }[],
) {
  const chain = chainEvidence(document.subject.leadId, null, links);
  return { ...document, chain, head: chain.at(-1)?.hash ?? CHAIN_START };
}

describe('a document that is as it was signed', () => {
  test('is sound, and tells what stands in it', () => {
    const { faults, entries, document } = verify(evidenceText(signed));
    expect(faults).toEqual([]);
    expect(document).toEqual(signed);
    expect(entries.map(({ seq, kind }) => [seq, kind])).toEqual([
      [1, 'consent'],
      [2, 'confirmed'],
      [3, 'withdrawn'],
      [4, 'consent'],
    ]);
    expect(entries[0]?.detail).toMatchObject({ text: 'Sí, escríbanme.', source: 'form' });
  });

  test('is sound with other spaces between its parts, as programs that show JSON put them', () => {
    expect(verify(JSON.stringify(JSON.parse(evidenceText(signed)), null, 2)).faults).toEqual([]);
  });

  test('is sound where nothing was ever agreed to', () => {
    expect(verify(signEvidence(content([]), KEY)).faults).toEqual([]);
  });

  test('whatever the words of a consent are', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            kind: fc.constantFrom(...EVIDENCE_KINDS),
            at: fc.date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true }),
            detail: fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue() as fc.Arbitrary<unknown>),
          }),
          { maxLength: 6 },
        ),
        fc.string({ unit: 'binary' }),
        (facts, name) => {
          const base = content(facts);
          const document = signEvidence({ ...base, subject: { ...base.subject, name } }, KEY);
          expect(verify(evidenceText(document)).faults).toEqual([]);
        },
      ),
    );
  });
});

describe('a document that was tampered with fails', () => {
  const bytes = Buffer.from(evidenceText(signed));

  test('in any byte', () => {
    fc.assert(
      fc.property(fc.nat(bytes.length - 2), fc.integer({ min: 1, max: 255 }), (at, difference) => {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] as number) ^ difference;
        expect(verifyEvidence(changed, PINNED).faults).not.toEqual([]);
      }),
      { numRuns: 3000 },
    );
  });

  test('by bytes taken out, doubled or put in, or an end cut off', () => {
    fc.assert(
      fc.property(fc.nat(bytes.length - 3), fc.integer({ min: 1, max: 200 }), (at, length) => {
        const out = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
        const doubled = Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
        expect(verifyEvidence(out, PINNED).faults).not.toEqual([]);
        // A piece that is doubled at the very end may be its line break alone.
        if (at + length < bytes.length) expect(verifyEvidence(doubled, PINNED).faults).not.toEqual([]);
      }),
      { numRuns: 1000 },
    );
  });

  const mutations: [string, (document: EvidenceDocument) => unknown, RegExp][] = [
    ['a consent in other words', (d) => withBody(d, 0, (body) => body.replace('escríbanme', 'llámenme')), /chain 1/],
    ['a consent of another day', (d) => withBody(d, 0, (body) => body.replace('2026-01-10', '2026-01-09')), /chain 1/],
    ['links in another order', (d) => ({ ...d, chain: [d.chain[1], d.chain[0], ...d.chain.slice(2)] }), /chain 1/],
    ['a withdrawal left out', (d) => ({ ...d, chain: d.chain.filter(({ seq }) => seq !== 3) }), /chain 3/],
    ['a link twice', (d) => ({ ...d, chain: [d.chain[0], ...d.chain] }), /chain 2/],
    ['its end left out', (d) => ({ ...d, chain: d.chain.slice(0, 2) }), /head/],
    [
      'its end left out, and its head with it',
      (d) => ({ ...d, chain: d.chain.slice(0, 2), head: d.chain[1]?.hash }),
      /signature/,
    ],
    ['another lead', (d) => ({ ...d, subject: { ...d.subject, leadId: OTHER_LEAD } }), /chain 1.*chain 2/s],
    ['another address', (d) => ({ ...d, subject: { ...d.subject, email: 'bea@shop.example' } }), /signature/],
    ["somebody else's chain", (d) => ({ ...d, chain: content(FACTS, OTHER_LEAD).chain }), /chain 1/],
    [
      'the day of a mail',
      (d) => ({ ...d, mails: [{ ...d.mails[0], handedOverAt: '2026-02-10T09:00:01.000Z' }, d.mails[1]] }),
      /signature/,
    ],
    ['a mail left out', (d) => ({ ...d, mails: d.mails.slice(1) }), /signature/],
    [
      'a suppression put in',
      (d) => ({
        ...d,
        suppressions: [
          {
            kind: 'objection',
            campaignId: null,
            since: AT.toISOString(),
            by: 'page',
            liftedAt: null,
            liftedBy: null,
            liftedBecause: null,
          },
        ],
      }),
      /signature/,
    ],
    ['the date of the document', (d) => ({ ...d, generatedAt: '2025-04-01T00:00:00.000Z' }), /signature/],
    ['a whole new chain', (d) => rechained(d, [consent('Sí a todo.')]), /signature/],
    ['a field that nobody signed', (d) => ({ ...d, note: 'x' }), /file/],
  ];
  test.each(mutations)('by %s', (_what, mutate, where) => {
    const { faults } = verify(mutate(structuredClone(signed)));
    expect(faults.map((fault) => fault.where).join('\n')).toMatch(where);
  });

  test('by a name that is given twice, of which programs see the last and people the first', () => {
    const text = evidenceText(signed).replace('"email":', '"email":"bea@shop.example","email":');
    expect(verify(text).faults).toEqual([expect.objectContaining({ where: 'file' })]);
  });

  test('by the same letters spelt in another way', () => {
    const text = evidenceText(signed).replace('Ana', '\\u0041na');
    expect(verify(text).faults).toEqual([expect.objectContaining({ where: 'file' })]);
  });

  test('signed anew by somebody else, where the key is known; without it nothing shows', () => {
    const forged = signEvidence(content([consent('Sí a todo.')]), evidenceSigningKey(Buffer.alloc(32, 1)));
    expect(verify(forged).faults).toEqual([expect.objectContaining({ where: 'signature' })]);
    expect(verify(forged, null).faults).toEqual([]);
  });

  test('the key that it names exchanged, with the key that was asked for', () => {
    const { signature } = signEvidence(content([]), evidenceSigningKey(Buffer.alloc(32, 1)));
    expect(verify({ ...signed, signature }).faults).toEqual([expect.objectContaining({ where: 'signature' })]);
  });

  test.each(['', '{}', 'null', '[]', 'x', '{"format":"recuerda-evidence","version":2}'])(
    '%j is no document',
    (text) => {
      expect(verify(text)).toMatchObject({ faults: [{ where: 'file' }], document: null, entries: [] });
    },
  );
});

/** Changes the text of a link, and makes its own hash fit. */
function withBody(document: EvidenceDocument, index: number, change: (body: string) => string) {
  const chain = document.chain.map((link, at) => (at === index ? { ...link, body: change(link.body) } : link));
  return { ...document, chain };
}

test('a link whose own hash was made to fit breaks the one after it', () => {
  const changed = withBody(signed, 0, (body) => body.replace('escríbanme', 'llámenme'));
  const [first] = changed.chain;
  const hash = createHash('sha256')
    .update(first?.body ?? '')
    .digest('hex');
  const chain = [{ ...first, hash }, ...changed.chain.slice(1)];
  expect(verify({ ...changed, chain }).faults.map(({ where }) => where)).toEqual(['signature', 'chain 2']);
});

test('the key is made of its seed alone, so that every process signs with the same', () => {
  expect(evidencePublicKeyText(evidenceSigningKey(Buffer.alloc(32, 9)))).toBe(PINNED);
  // RFC 8032, section 7.1, test 1.
  const seed = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex');
  expect(Buffer.from(evidencePublicKeyText(evidenceSigningKey(seed)), 'base64url').toString('hex')).toBe(
    'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
  );
});
