import { INBOUND_KINDS } from '../../../domain/inbound';
import { type Classified, classifyRaw } from '../../../mail/receive/classify';
import { TEST_TOKEN_KEYS } from '../../support/leads';
import { filesInCorpus, type Label, labelledMessages } from './corpus';

interface Judged {
  file: string;
  label: Label;
  found: Classified['classification'];
}

/** The enrollment whose tokens stand in the corpus. */
const ENROLLMENT = '6f1d2c3b-4a59-4e68-8b7a-0c1d2e3f4a5b';

let judged: Judged[] = [];

beforeAll(async () => {
  for (const { file, label, raw } of labelledMessages()) {
    judged.push({ file, label, found: (await classifyRaw(raw, { keys: TEST_TOKEN_KEYS })).classification });
  }
});

afterAll(() => {
  judged = [];
});

/** Share of those that agree, and the files that don't. */
function agreement<T>(among: readonly Judged[], wanted: (one: Judged) => T, got: (one: Judged) => T) {
  const wrong = among.filter((one) => JSON.stringify(wanted(one)) !== JSON.stringify(got(one)));
  return { share: among.length === 0 ? 1 : 1 - wrong.length / among.length, wrong: wrong.map(({ file }) => file) };
}

test('every message of the corpus has a label, and there are enough of them', () => {
  expect(judged.map(({ file }) => file).sort()).toEqual(filesInCorpus().sort());
  expect(judged.length).toBeGreaterThanOrEqual(120);
});

test('precision and recall of each kind', () => {
  const rows = INBOUND_KINDS.map((kind) => {
    const labelled = judged.filter(({ label }) => label.kind === kind).length;
    const called = judged.filter(({ found }) => found.kind === kind).length;
    const right = judged.filter(({ label, found }) => label.kind === kind && found.kind === kind).length;
    return {
      kind,
      messages: labelled,
      precision: called === 0 ? 1 : right / called,
      recall: labelled === 0 ? 1 : right / labelled,
    };
  });
  const wrong = judged.filter(({ label, found }) => label.kind !== found.kind);
  const lines = rows.map(
    ({ kind, messages, precision, recall }) =>
      `${kind.padEnd(12)}${String(messages).padStart(9)}${precision.toFixed(3).padStart(11)}${recall.toFixed(3).padStart(9)}`,
  );
  process.stdout.write(
    `${['kind         messages  precision   recall', ...lines].join('\n')}\n` +
      wrong.map(({ file, label, found }) => `  ${file}: ${label.kind} taken for ${found.kind}\n`).join(''),
  );
  for (const { kind, precision, recall } of rows) {
    expect({ kind, enough: precision >= 0.97 && recall >= 0.97 }).toEqual({ kind, enough: true });
  }
});

test('the traps are all right', () => {
  const traps = judged.filter(({ label }) => label.trap);
  expect(traps.length).toBeGreaterThanOrEqual(20);
  const { wrong } = agreement(
    traps,
    ({ label, found }) => [label.kind, label.subtype === undefined ? found.subtype : label.subtype],
    ({ found }) => [found.kind, found.subtype],
  );
  expect(wrong).toEqual([]);
});

test('bounces: severity, cause, code and the address that we mailed', () => {
  const bounces = judged.filter(({ label, found }) => label.bounce !== undefined && found.bounce !== null);
  const fields = (['severity', 'cause', 'code', 'recipient'] as const).map((field) => {
    const labelled = bounces.filter(({ label }) => label.bounce?.[field] !== undefined);
    return {
      field,
      messages: labelled.length,
      ...agreement(
        labelled,
        ({ label }) => label.bounce?.[field] ?? null,
        ({ found }) => found.bounce?.[field] ?? null,
      ),
    };
  });
  process.stdout.write(
    fields
      .map(
        ({ field, messages, share, wrong }) =>
          `${field.padEnd(12)}${String(messages).padStart(9)}${share.toFixed(3).padStart(11)}  ${wrong.join(' ')}\n`,
      )
      .join(''),
  );
  expect(bounces.length).toBeGreaterThanOrEqual(60);
  for (const { field, share } of fields) expect({ field, enough: share >= 0.95 }).toEqual({ field, enough: true });
  // A wrong hard verdict silences somebody for good.
  expect(
    bounces.filter(({ label, found }) => label.bounce?.severity === 'soft' && found.bounce?.severity === 'hard'),
  ).toEqual([]);
});

test('subtypes, return dates, requests and reviews agree with the labels', () => {
  for (const field of ['subtype', 'returnDate', 'requests', 'needsReview'] as const) {
    const labelled = judged.filter(({ label }) => label[field] !== undefined);
    const { share, wrong } = agreement(
      labelled,
      ({ label }) => label[field],
      ({ found }) => found[field],
    );
    process.stdout.write(
      `${field.padEnd(12)}${String(labelled.length).padStart(9)}${share.toFixed(3).padStart(11)}  ${wrong.join(' ')}\n`,
    );
    expect({ field, enough: share >= 0.95 }).toEqual({ field, enough: true });
  }
});

test('a token of ours matches; a forged report has none', () => {
  const labelled = judged.filter(({ label }) => label.matched !== undefined);
  expect(labelled.length).toBeGreaterThanOrEqual(15);
  const { wrong } = agreement(
    labelled,
    ({ label }) => (label.matched == null ? null : { enrollmentId: ENROLLMENT, by: label.matched }),
    ({ found }) => found.matched,
  );
  expect(wrong).toEqual([]);
});

test('all languages occur', () => {
  const count = new Map<string, number>();
  for (const { label } of judged) if (label.lang !== undefined) count.set(label.lang, (count.get(label.lang) ?? 0) + 1);
  process.stdout.write(`languages: ${[...count].map(([lang, messages]) => `${lang} ${messages}`).join(', ')}\n`);
  expect([...count.keys()]).toEqual(expect.arrayContaining(['es', 'en', 'fr', 'de', 'it', 'pt', 'ca', 'nl']));
});

test('everything found says why, in words', () => {
  for (const { found } of judged) {
    expect(found.evidence.length).toBeGreaterThan(0);
    expect(found.evidence.every((line) => line.trim() !== '')).toBe(true);
    expect(found.confidence).toBeGreaterThanOrEqual(0);
    expect(found.confidence).toBeLessThanOrEqual(1);
  }
});
