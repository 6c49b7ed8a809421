import type { Encoding } from '../../../domain/leads-file/encoding';

/** A list of leads as shops really export them, with what reading it must say. */
export interface DirtyFile {
  text: string;
  lines: { line: number; ok: boolean; column?: string; reason?: string; email?: string; note?: string }[];
}

const NOTES = [
  { cell: '"Quiere catálogo; llamar"', value: 'Quiere catálogo; llamar' },
  { cell: '"línea 1\nlínea 2"', value: 'línea 1\nlínea 2' },
  { cell: '"dijo ""más adelante"""', value: 'dijo "más adelante"' },
  { cell: '"=HYPERLINK(""x"")"', value: '=HYPERLINK("x")' },
  { cell: '', value: undefined },
];

/** Semicolons, CRLF and LF mixed, line breaks in quotes, blank and delimiter-only lines at the end. */
export function dirtyFile(leads: number): DirtyFile {
  let text =
    'Nombre;Apellidos;Correo electrónico;Fecha de solicitud;Producto;Zona horaria;Acepta publicidad;Observaciones\r\n';
  let line = 2;
  const lines: DirtyFile['lines'] = [];
  const consents = ['Sí', 'SI', 'sí', '1', 'No', '', 'Sí', 'quizás'];
  for (let at = 0; at < leads; at++) {
    const note = NOTES[at % NOTES.length] as (typeof NOTES)[number];
    const consent = consents[at % consents.length] as string;
    const clean = `lead${at}@gmail.example`;
    let [cell, email, problem]: [string, string, string | undefined] = [clean, clean, undefined];
    if (at % 31 === 3) [cell, problem] = [`lead${at}gmail.example`, 'the @ is missing'];
    else if (at % 37 === 4)
      [cell, problem] = [`lead${at}@gmail,example`, 'comma in the domain: did you mean gmail.example?'];
    else if (at % 41 === 5) [cell, problem] = ['', 'the address is empty'];
    else if (at % 43 === 6) cell = `lead${at} @ gmail.example`;
    else if (at % 47 === 7) cell = `Íñigo Núñez <${clean}>`;
    else if (at % 53 === 8) [cell, email] = ['LEAD0@GMAIL.EXAMPLE', 'LEAD0@GMAIL.EXAMPLE'];
    const start = line;
    const record = `Íñigo;Núñez «${at}»;${cell};03/09/2025;Aceite 5 L – 20 €;Europe/Madrid;${consent};${note.cell}`;
    text += record + (at % 3 === 0 ? '\n' : '\r\n');
    line += record.split('\n').length;
    if (problem !== undefined) {
      lines.push({ line: start, ok: false, column: 'Correo electrónico', reason: problem });
    } else if (!['Sí', 'SI', 'sí', '1'].includes(consent)) {
      const reason = consent === 'No' ? 'no consent: it says no' : consent === '' ? 'no consent: it is empty' : UNKNOWN;
      lines.push({ line: start, ok: false, column: 'Acepta publicidad', reason });
    } else {
      lines.push({ line: start, ok: true, email, ...(note.value === undefined ? {} : { note: note.value }) });
    }
  }
  return { text: `${text}\r\n;;;;;;;\r\n \r\n;;;;;;;`, lines };
}

const UNKNOWN = 'no consent: neither a yes nor a no that we know';

const WINDOWS_1252: Readonly<Record<string, number>> = {
  '€': 0x80,
  '–': 0x96,
  '’': 0x92,
  '“': 0x93,
  '”': 0x94,
  Œ: 0x8c,
};

/** The bytes of a text; with a byte order mark where `mark` says so. */
export function encode(text: string, encoding: Encoding, mark = false): Buffer {
  const marked = mark ? `\ufeff${text}` : text;
  if (encoding === 'utf-8') return Buffer.from(marked);
  if (encoding === 'utf-16le') return Buffer.from(marked, 'utf16le');
  if (encoding === 'utf-16be') return Buffer.from(marked, 'utf16le').swap16();
  return Buffer.from([...text].map((char) => WINDOWS_1252[char] ?? char.charCodeAt(0)));
}

/** Pieces of something, as long as `sizes` say, over and over. */
export async function* inPieces<T extends { length: number; slice(from: number, to: number): T }>(
  whole: T,
  sizes: readonly number[] = [65_536],
): AsyncGenerator<T> {
  for (let from = 0, turn = 0; from < whole.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    yield whole.slice(from, from + size);
    from += size;
  }
}

export async function collected<T>(from: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of from) all.push(one);
  return all;
}
