import { isoTime } from './clock';
import { refused } from './errors';
import { isId } from './ids';

/** Places in lists, as callers carry them from one page to the next. */

export const writeCursor = (place: unknown): string =>
  Buffer.from(JSON.stringify(place)).toString('base64url');

/**
 * @param placeOf gives the place; null for one that the list never wrote
 * @throws invalid_input
 */
export function readCursor<T>(cursor: string, placeOf: (written: unknown) => T | null): T {
  let place: T | null = null;
  try {
    place = placeOf(JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8')));
  } catch {
    // Refused below.
  }
  if (place !== null) return place;
  throw refused(
    'cursor',
    'is none that this list gave',
    'Pass the nextCursor of the page before, and the same filters.',
  );
}

/** A place in a list by time: the time of a record, as it goes out, and its id. */
export function timeAndId(written: unknown): [at: string, id: string] | null {
  if (!Array.isArray(written) || written.length !== 2) return null;
  const [at, id] = written.map(String) as [string, string];
  const time = Date.parse(at);
  // As it was written, and not what only JavaScript reads as a time.
  return isId(id) && Number.isFinite(time) && isoTime(time) === at ? [at, id] : null;
}
