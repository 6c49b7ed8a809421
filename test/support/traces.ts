import { sql } from 'kysely';
import type { Db } from '../../db/client';

/** Everything that a database holds, as text; what it keeps as bytes as it is (Latin-1). */
export async function dumpOf(db: Db): Promise<string> {
  const { rows: tables } = await sql<{ name: string; bytes: string[] }>`
    select table_name as name, coalesce(array_agg(column_name) filter (where data_type = 'bytea'), '{}')::text[] as bytes
    from information_schema.columns where table_schema = 'public' group by table_name`.execute(db);
  const parts: string[] = [];
  for (const { name, bytes } of tables) {
    const { rows } = await sql<{ text: string }>`select t::text as text from ${sql.table(name)} t`.execute(db);
    parts.push(`\n== ${name}\n`, ...rows.map((row) => `${Buffer.from(row.text, 'utf8').toString('latin1')}\n`));
    for (const column of bytes) {
      const found = await sql<{
        value: Buffer | null;
      }>`select ${sql.ref(column)} as value from ${sql.table(name)}`.execute(db);
      parts.push(...found.rows.map((row) => `${row.value?.toString('latin1') ?? ''}\n`));
    }
  }
  return parts.join('');
}

/**
 * The ways in which a text may hold the needle, beside the plain one: in UTF-16, in hexadecimal, percent-encoded, in
 * quoted-printable, as JSON writes it, and in base64 wherever it begins.
 */
export function disguises(needle: string): string[] {
  const bytes = Buffer.from(needle, 'utf8');
  const base64 = [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes])
      .toString('base64')
      .replace(/=+$/, '');
    // The first and the last character also depend on what stands beside.
    return text.slice(Math.ceil((offset * 8) / 6), Math.floor(((offset + bytes.length) * 8) / 6));
  });
  const quoted = [...bytes].map((byte) => (byte < 128 ? String.fromCharCode(byte) : `=${hex(byte)}`)).join('');
  return [
    ...new Set([
      Buffer.from(needle, 'utf16le').toString('latin1'),
      bytes.toString('hex'),
      encodeURIComponent(needle),
      quoted,
      quoted.replaceAll('@', '=40'),
      ...base64,
    ]),
  ];
}

/** Which of these a text (read as Latin-1) holds, in whatever disguise; upper and lower case are one for the plain ones. */
export function tracesOf(needles: readonly string[], text: string): string[] {
  const lower = text.toLowerCase();
  return needles.filter((needle) => {
    const spellings = [...new Set([needle, needle.toLowerCase()])];
    return (
      lower.includes(Buffer.from(needle, 'utf8').toString('latin1').toLowerCase()) ||
      spellings.flatMap(disguises).some((disguise) => text.includes(disguise))
    );
  });
}

function hex(byte: number): string {
  return byte.toString(16).toUpperCase().padStart(2, '0');
}
