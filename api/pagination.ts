import { type Static, type TSchema, Type } from 'typebox';
import { Check } from 'typebox/value';
import { Problem } from '../domain/problem';

/** The query parameters of every list. */
export const PAGE_QUERY = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100, default: 20, description: 'How many at most.' })),
  cursor: Type.Optional(
    Type.String({ maxLength: 500, description: '`nextCursor` of the page before; leave it out for the first page.' }),
  ),
};

export const DEFAULT_LIMIT = 20;

/** The shape of every list. */
export function Page<T extends TSchema>(item: T) {
  return Type.Object({
    items: Type.Array(item),
    nextCursor: Type.Union([Type.String(), Type.Null()], {
      description: 'Give it as `cursor` to get the next page; null on the last one.',
    }),
  });
}

/**
 * Cuts a page from rows that were read with a limit of one more than is shown.
 *
 * @param positionOf where the next page goes on, after this row; what `readCursor` gives back
 */
export function pageOf<Row, Item>(
  rows: readonly Row[],
  limit: number,
  itemOf: (row: Row) => Item,
  positionOf: (row: Row) => unknown,
): { items: Item[]; nextCursor: string | null } {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const more = rows.length > limit && last !== undefined;
  return {
    items: shown.map(itemOf),
    nextCursor: more ? Buffer.from(JSON.stringify(positionOf(last))).toString('base64url') : null,
  };
}

/**
 * Reads a cursor back; null when there is none, which means the first page.
 *
 * @throws Problem `invalid-request` when it is not one that this list gave out
 */
export function readCursor<T extends TSchema>(cursor: string | undefined, schema: T): Static<T> | null {
  if (cursor === undefined) return null;
  try {
    const position: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    if (Check(schema, position)) return position;
  } catch {
    // not ours either
  }
  throw notOurCursor();
}

const NewestFirst = Type.Object({
  createdAt: Type.String({ format: 'date-time' }),
  id: Type.String({ format: 'uuid' }),
});

/** `readCursor` of lists that begin with the newest. */
export function readNewestFirst(cursor: string | undefined): { createdAt: Date; id: string } | null {
  const position = readCursor(cursor, NewestFirst);
  if (position === null) return null;
  const createdAt = new Date(position.createdAt);
  // A leap second is of the right form, and no date.
  if (Number.isNaN(createdAt.getTime())) throw notOurCursor();
  return { createdAt, id: position.id };
}

function notOurCursor(): Problem {
  const detail = 'is not a cursor of this list; leave it out to begin at the first page';
  return new Problem('invalid-request', `cursor ${detail}`, { errors: [{ pointer: '/cursor', in: 'query', detail }] });
}
