import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { createEncodingDetector, decodeStream } from '../../../domain/leads-file/encoding';
import { createRecordSplitter } from '../../../domain/leads-file/records';
import { type LeadRow, LeadsFileProblem, type ReadOptions, readLeadRows } from '../../../domain/leads-file/rows';
import { collected, dirtyFile, encode, inPieces } from './dirty-file';

const OPTIONS: ReadOptions = { timeZone: 'Europe/Madrid', now: new Date('2026-03-01T08:00:00Z') };

function rowsOf(text: string, options: Partial<ReadOptions> = {}, sizes: number[] = [11]): Promise<LeadRow[]> {
  return collected(readLeadRows(inPieces(text, sizes), { ...OPTIONS, ...options }));
}

async function rowOf(header: string, line: string, options: Partial<ReadOptions> = {}): Promise<LeadRow> {
  const rows = await rowsOf(`${header}\n${line}\n`, options);
  expect(rows).toHaveLength(1);
  return rows[0] as LeadRow;
}

async function leadOf(header: string, line: string, options: Partial<ReadOptions> = {}) {
  const row = await rowOf(header, line, options);
  if (!row.ok) throw new Error(row.reason);
  return { ...row.lead, warnings: row.warnings };
}

/** [line, what became of it], short. */
function fates(rows: LeadRow[]): [number, string][] {
  return rows.map((row) => [row.line, row.ok ? row.lead.email : row.reason]);
}

describe('a spreadsheet export with every kind of dirt', () => {
  const file = dirtyFile(700);

  test.each(['windows-1252', 'utf-8', 'utf-16le', 'utf-16be'] as const)(
    'in %s, every data line has its one result',
    async (encoding) => {
      const bytes = encode(file.text, encoding);
      const detector = createEncodingDetector();
      detector.push(bytes);
      expect(detector.result()).toBe(encoding);
      const rows = await collected(readLeadRows(decodeStream(encoding)(inPieces(bytes, [1, 1000, 37, 4096])), OPTIONS));
      const seen = rows.map((row) =>
        row.ok
          ? {
              line: row.line,
              ok: true,
              email: row.lead.email,
              ...('observaciones' in row.lead.attributes ? { note: row.lead.attributes.observaciones } : {}),
            }
          : row,
      );
      expect(seen).toEqual(file.lines);
      expect(rows).toHaveLength(700);
      const first = rows[0];
      expect(first).toEqual({
        line: 2,
        ok: true,
        lead: {
          email: 'lead0@gmail.example',
          name: 'Íñigo Núñez «0»',
          timeZone: 'Europe/Madrid',
          requestedAt: '2025-09-03T10:00:00.000Z',
          attributes: { producto: 'Aceite 5 L – 20 €', observaciones: 'Quiere catálogo; llamar' },
        },
        warnings: [],
      });
    },
  );

  test('no reason and no warning quotes the lead', async () => {
    const remarks = (await rowsOf(file.text)).flatMap((row) => (row.ok ? row.warnings : [row]));
    expect(JSON.stringify(remarks)).not.toMatch(/lead\d|Íñigo|Núñez|quizás/);
  });
});

describe('round trip', () => {
  const cell = fc
    .string({
      unit: fc.oneof(
        fc.constantFrom('"', ',', ';', '\t', '|', '\n', '\r\n', ' ', 'ñ', '€', '='),
        fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }),
      ),
    })
    .map((text) => text.normalize('NFC').replaceAll('\0', '').replaceAll('\ufeff', '').trim());

  test('records written by the rules of CSV come back identical, in any delimiter, encoding and chunks', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(cell, cell), { minLength: 1, maxLength: 20 }),
        fc.constantFrom(',', ';', '\t', '|'),
        fc.constantFrom('utf-8', 'utf-16le', 'utf-16be'),
        fc.constantFrom('\n', '\r\n'),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
        async (cells, delimiter, encoding, lineEnd, sizes) => {
          const written = (value: string) => (/["\r\n,;\t|]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
          let line = 2;
          const expected: [number, string, string][] = [];
          let text = ['email', 'a', 'b'].join(delimiter) + lineEnd;
          for (const [at, [a, b]] of cells.entries()) {
            const record = [`x${at}@y.test`, written(a), written(b)].join(delimiter) + lineEnd;
            expected.push([line, a, b]);
            line += record.split('\n').length - 1;
            text += record;
          }
          const bytes = encode(text, encoding, true);
          const rows = await collected(readLeadRows(decodeStream(encoding)(inPieces(bytes, sizes)), OPTIONS));
          expect(
            rows.map((row) => row.ok && [row.line, row.lead.attributes.a ?? '', row.lead.attributes.b ?? '']),
          ).toEqual(expected);
          expect(rows.map((row) => row.ok && row.lead.email)).toEqual(cells.map((_, at) => `x${at}@y.test`));
        },
      ),
      { numRuns: 300 },
    );
  });

  test('any text at all: results in order, at most one a line, whatever the chunks', async () => {
    const soup = fc
      .array(fc.constantFrom('"', ';', '\n', '\r\n', '\r', 'a@b.test', 'x', ' ', '\0', '""', ';"', '";'), {
        maxLength: 200,
      })
      .map((parts) => `email;a;b\n${parts.join('')}`);
    await fc.assert(
      fc.asyncProperty(soup, fc.integer({ min: 1, max: 30 }), async (text, size) => {
        const rows = await rowsOf(text, {}, [size]);
        expect(rows).toEqual(await rowsOf(text, {}, [1_000_000]));
        const lines = rows.map((row) => row.line);
        expect(lines).toEqual([...new Set(lines)].sort((a, b) => a - b));
        expect(lines.at(-1) ?? 2).toBeLessThanOrEqual(text.split('\n').length);
      }),
      { numRuns: 500 },
    );
  });
});

describe('a quote that is never closed', () => {
  const good = (from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, at) => `x${from + at}@y.test;Ana;"nota; y ""más"""\n`).join('');
  const goodFates = (from: number, to: number): [number, string][] =>
    Array.from({ length: to - from + 1 }, (_, at) => [from + at, `x${from + at}@y.test`]);
  const NEVER = 'a quote opened here is never closed';

  test('costs its own line only, with quotes in the lines below', async () => {
    const rows = await rowsOf(`email;name;nota\n${good(2, 9)}x10@y.test;Ana;"sin cerrar\n${good(11, 200)}`);
    expect(fates(rows)).toEqual([...goodFates(2, 9), [10, NEVER], ...goodFates(11, 200)]);
    expect(rows[8]).toEqual({ line: 10, ok: false, column: 'nota', reason: NEVER });
  });

  test.each([
    ['no quotes below', 'x{n}@y.test;Ana;nota\n'],
    ['inch marks below, that would close it', 'x{n}@y.test;Tubo 5";3/4"\n'],
    ['empty quotes below', 'x{n}@y.test;Ana;""\n'],
    ['the same mistake on every line below', 'x{n}@y.test;"Ana";nota\n'],
  ])('costs its own line only, with %s', async (_, pattern) => {
    const below = Array.from({ length: 300 }, (_, at) => pattern.replace('{n}', String(at + 3))).join('');
    const rows = await rowsOf(`email;name;nota\nx2@y.test;Ana;"sin cerrar\n${below}`, {}, [997]);
    expect(fates(rows)).toEqual([[2, NEVER], ...goodFates(3, 302)]);
  });

  test('on the last line', async () => {
    expect(fates(await rowsOf('email;nota\nx2@y.test;"a\nx3@y.test;"b'))).toEqual([
      [2, NEVER],
      [3, NEVER],
    ]);
  });

  test('on every line', async () => {
    const all = Array.from({ length: 500 }, (_, at) => `x${at}@y.test;"nota\n`).join('');
    const rows = await rowsOf(`email;nota\n${all}`);
    expect(fates(rows)).toEqual(Array.from({ length: 500 }, (_, at) => [at + 2, NEVER]));
  });

  test('is not seen in a note of several lines that mentions an address', async () => {
    const note = 'dijo;\nescribir a otra@y.test;urge;\n\notra@y.test';
    const rows = await rowsOf(`email;name;nota\nx2@y.test;Ana;"${note}"\nx6@y.test;Eva;\n`);
    expect(fates(rows)).toEqual([
      [2, 'x2@y.test'],
      [6, 'x6@y.test'],
    ]);
    expect(rows[0]).toMatchObject({ lead: { attributes: { nota: note } } });
  });

  test('is never looked for further than 50 lines', () => {
    const splitter = createRecordSplitter(',');
    const records = [
      ...splitter.push(`a,"b\n${'c\n'.repeat(48)}d"\n`),
      ...splitter.push(`a,"b\n${'c\n'.repeat(49)}d"\n`),
      ...splitter.end(),
    ];
    expect(records[0]).toMatchObject({ line: 1, text: `a,"b\n${'c\n'.repeat(48)}d"` });
    expect(records[1]).toEqual({ line: 51, text: '', problem: 'unclosed-quote', column: 1 });
    expect(records).toHaveLength(2 + 50);
  });

  test('a line that is too long costs itself only, and no memory', async () => {
    const rows = await rowsOf(
      `email;nota\nx2@y.test;a\n${'z'.repeat(300_000)}\nx4@y.test;b\nx5@y.test;"${'z'.repeat(70_000)}`,
      {},
      [5_000],
    );
    expect(fates(rows)).toEqual([
      [2, 'x2@y.test'],
      [3, 'the line is longer than 65536 characters'],
      [4, 'x4@y.test'],
      [5, 'the line is longer than 65536 characters'],
    ]);
  });

  test('a cell that is too long is refused, naming its column', async () => {
    expect(await rowOf('email;nota', `x@y.test;${'z'.repeat(10_001)}`)).toEqual({
      line: 2,
      ok: false,
      column: 'nota',
      reason: 'longer than 10000 characters',
    });
  });
});

describe('lines', () => {
  test('are physical, through CRLF, LF, blank lines and line breaks in quotes', async () => {
    const text = 'email;nota\r\nx2@y.test;"a\r\nb\n\nc"\n\r\n;;\nx8@y.test;\r\n"";""\nx10@y.test;"d"\n\n;\n';
    expect(fates(await rowsOf(text, {}, [1]))).toEqual([
      [2, 'x2@y.test'],
      [8, 'x8@y.test'],
      [10, 'x10@y.test'],
    ]);
  });

  test('end with a lone CR in files of old Macs', async () => {
    expect(fates(await rowsOf('email;nota\rx2@y.test;a\rx3@y.test;"b\rc"\rx5@y.test;', {}, [1]))).toEqual([
      [2, 'x2@y.test'],
      [3, 'x3@y.test'],
      [5, 'x5@y.test'],
    ]);
  });

  test('count the sep= line and blank lines before the header', async () => {
    expect(fates(await rowsOf('\ufeffsep=;\r\n\r\nemail;nota\r\nx4@y.test;a\r\n'))).toEqual([[4, 'x4@y.test']]);
  });

  test('of a file without a header start at 1, and columns go by number', async () => {
    const rows = await rowsOf('x1@y.test;sí\nx2@y.test;no\ny.test;sí\n');
    expect(rows.map((row) => [row.line, row.ok ? '' : row.column])).toEqual([
      [1, ''],
      [2, 'column 2'],
      [3, 'column 1'],
    ]);
  });

  test('with too few cells are whole, with too many are accepted and told', async () => {
    expect(await leadOf('email;name;nota', 'x@y.test')).toMatchObject({ email: 'x@y.test', name: '', warnings: [] });
    expect(await leadOf('email;name', 'x@y.test;Ana;;;')).toMatchObject({ name: 'Ana', warnings: [] });
    expect(await leadOf('email;name', 'x@y.test;Ana;more')).toMatchObject({
      name: 'Ana',
      attributes: {},
      warnings: [{ column: '', reason: 'more cells than columns: the ones at the end were left out' }],
    });
  });

  test('with stray quotes and with blanks before a quote', async () => {
    expect((await leadOf('email;a;b', 'x@y.test;dijo "sí" ayer; "con; punto"')).attributes).toEqual({
      a: 'dijo "sí" ayer',
      b: 'con; punto',
    });
    expect((await leadOf('email;a;b', 'x@y.test;"dijo" ella;5"')).attributes).toEqual({ a: '"dijo" ella', b: '5"' });
  });

  test('with NUL characters lose them, and say so', async () => {
    expect(await leadOf('email;a', 'x@y.test;u\0n')).toMatchObject({
      attributes: { a: 'un' },
      warnings: [{ column: '', reason: 'NUL characters were removed' }],
    });
  });
});

describe('cells', () => {
  test.each([
    'Sí',
    'SI',
    'si',
    '1',
    'x',
    'TRUE',
    'Verdadero',
    'Acepto',
    'Yes',
    'Y',
    'ok',
    'checked',
    'on',
    'Oui',
    'ja',
    '✔',
    '1.0',
  ])('P7 %s in the consent column is a yes', async (word) => {
    expect(await rowOf('email;consent', `x@y.test;${word}`)).toMatchObject({ ok: true });
  });

  test.each([
    ['No', 'no consent: it says no'],
    ['0', 'no consent: it says no'],
    ['FALSO', 'no consent: it says no'],
    ['no acepto', 'no consent: it says no'],
    ['', 'no consent: it is empty'],
    ['  ', 'no consent: it is empty'],
    ['quizás', 'no consent: neither a yes nor a no that we know'],
    ['?', 'no consent: neither a yes nor a no that we know'],
    ['sí pero no', 'no consent: neither a yes nor a no that we know'],
  ])('P7 %j in the consent column is refused', async (word, reason) => {
    expect(await rowOf('email;consent;a', `x@y.test;${word};b`)).toEqual({
      line: 2,
      ok: false,
      column: 'consent',
      reason,
    });
  });

  test.each([
    ['03/09/2025', '2025-09-03T10:00:00.000Z'],
    ['3-9-25', '2025-09-03T10:00:00.000Z'],
    ['03.01.2025', '2025-01-03T11:00:00.000Z'],
    ['2025-09-03', '2025-09-03T10:00:00.000Z'],
    ['20250903', '2025-09-03T10:00:00.000Z'],
    ['45903', '2025-09-03T10:00:00.000Z'],
    ['09/23/2025', '2025-09-23T10:00:00.000Z'],
    ['2025-09-03T08:30:00Z', '2025-09-03T08:30:00.000Z'],
    ['2025-09-03 08:30:00 -0500', '2025-09-03T13:30:00.000Z'],
    ['2025-09-03 08:30', '2025-09-03T06:30:00.000Z'],
    ['3/9/2025 8:30:15', '2025-09-03T06:30:15.000Z'],
    ['3/9/2025 8:30 PM', '2025-09-03T18:30:00.000Z'],
    ['29/02/2024', '2024-02-29T11:00:00.000Z'],
    // Today, whose noon is still to come.
    ['01/03/2026', '2026-03-01T08:00:00.000Z'],
  ])('the date %s', async (cell, requestedAt) => {
    expect(await leadOf('email;fecha', `x@y.test;${cell}`)).toMatchObject({ requestedAt, warnings: [] });
  });

  test.each([
    ['29/02/2025', 'not a date: left out'],
    ['31/04/2025', 'not a date: left out'],
    ['13/13/2025', 'not a date: left out'],
    ['ayer', 'not a date: left out'],
    ['00/00/0000', 'not a date: left out'],
    ['02/03/2026', 'in the future: left out'],
    ['2026-03-01 12:00', 'in the future: left out'],
  ])('the date %s is left out, the lead is kept', async (cell, reason) => {
    const lead = await leadOf('email;fecha', `x@y.test;${cell}`);
    expect(lead).not.toHaveProperty('requestedAt');
    expect(lead.warnings).toEqual([{ column: 'fecha', reason }]);
  });

  test('month first, where the file is said to be so, and only where it can be', async () => {
    expect(await leadOf('email;fecha', 'x@y.test;03/09/2025', { dateOrder: 'mdy' })).toMatchObject({
      requestedAt: '2025-03-09T11:00:00.000Z',
    });
    expect(await leadOf('email;fecha', 'x@y.test;23/09/2025', { dateOrder: 'mdy' })).toMatchObject({
      requestedAt: '2025-09-23T10:00:00.000Z',
    });
  });

  test("a day is noon in the lead's own zone", async () => {
    expect(await leadOf('email;fecha;tz', 'x@y.test;03/09/2025;america/bogota')).toMatchObject({
      timeZone: 'America/Bogota',
      requestedAt: '2025-09-03T17:00:00.000Z',
    });
  });

  test.each(['Madrid', '+02:00', 'Europe/Nowhere'])('the zone %s is left out', async (zone) => {
    const lead = await leadOf('email;tz', `x@y.test;${zone}`);
    expect(lead).not.toHaveProperty('timeZone');
    expect(lead.warnings).toEqual([{ column: 'tz', reason: 'not an IANA time zone: left out' }]);
  });

  test.each([
    ['es', 'es'],
    ['es_ES', 'es-ES'],
    ['EN-gb', 'en-GB'],
    ['Español', 'es'],
    ['English (UK)', 'en'],
    ['catalán', 'ca'],
    ['zh-hant-tw', 'zh-Hant-TW'],
    ['es_MX.UTF-8', 'es-MX'],
  ])('the language %s is %s', async (cell, locale) => {
    expect(await leadOf('email;idioma', `x@y.test;${cell}`)).toMatchObject({ locale, warnings: [] });
  });

  test.each(['klingonés', 'xx', 'constructor', '-'])('the language %s is left out', async (cell) => {
    const lead = await leadOf('email;idioma', `x@y.test;${cell}`);
    expect(lead).not.toHaveProperty('locale');
    expect(lead.warnings).toEqual([{ column: 'idioma', reason: 'not a language: left out' }]);
  });

  test('names are tidied, joined, and taken from the address where the column is empty', async () => {
    expect((await leadOf('email;nombre;apellidos', 'x@y.test;  Ana\t María ;Peña\u200b')).name).toBe('Ana María Peña');
    expect((await leadOf('email;nombre', 'Eva Luz <x@y.test>;')).name).toBe('Eva Luz');
    expect((await leadOf('email;nombre', 'Eva Luz <x@y.test>;Ana')).name).toBe('Ana');
    expect(await leadOf('email;nombre', `x@y.test;${'á'.repeat(300)}`)).toMatchObject({
      name: 'á'.repeat(200),
      warnings: [{ column: 'nombre', reason: 'cut to 200 characters' }],
    });
  });

  test('a mapping by hand is followed', async () => {
    const rows = await rowsOf('Quién;Vía;Otra\nAna;x@y.test;z@y.test\n', {
      mapping: { email: 'Otra', name: 'Quién', via: 'Vía' },
    });
    expect(rows).toEqual([
      { line: 2, ok: true, lead: { email: 'z@y.test', name: 'Ana', attributes: { via: 'x@y.test' } }, warnings: [] },
    ]);
  });
});

test.each([
  ['', {}, 'the file holds no lines'],
  ['a;b\n1;2\n', {}, 'no column holds e-mail addresses, going by its name: the file has "a", "b"'],
  [
    'email;b\nx@y.test;2\n',
    { name: 'c' },
    'the mapping of "name" names a column that is not there: the file has "email", "b"',
  ],
])('%j with %j can not be read as a whole', async (text, mapping, message) => {
  await expect(rowsOf(text, { mapping })).rejects.toEqual(new LeadsFileProblem(message));
});

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

test('200,000 lines pass through a memory that stays flat', async () => {
  const record = (at: number) =>
    `Íñigo;Núñez;lead${at}@gmail.example;03/09/2025;Aceite;Europe/Madrid;Sí;"línea 1\nlínea ""2"""\r\n`;
  async function* bytes() {
    yield encode(
      'Nombre;Apellidos;Correo;Fecha;Producto;Zona horaria;Consentimiento;Observaciones\r\n',
      'windows-1252',
    );
    for (let from = 0; from < 200_000; from += 1_000) {
      yield encode(Array.from({ length: 1_000 }, (_, at) => record(from + at)).join(''), 'windows-1252');
    }
  }
  let count = 0;
  const held: number[] = [];
  for await (const row of readLeadRows(decodeStream('windows-1252')(bytes()), OPTIONS)) {
    if (!row.ok || row.line !== 2 + 2 * count) throw new Error(`line ${row.line}`);
    count++;
    if (count % 20_000 === 0) {
      collectGarbage();
      held.push(process.memoryUsage().heapUsed);
    }
  }
  expect(count).toBe(200_000);
  // Holding on to the lines in between would take more than 100 MB.
  expect((held.at(-1) ?? 0) - (held[0] ?? 0)).toBeLessThan(15 * 1024 * 1024);
});
