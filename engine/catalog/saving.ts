import { isUniqueViolation, sharedChange, type Context, type Session } from '../database';
import { invalidInput, isoTime, parse, type ChangeOptions, type z } from '../kernel';

/** One kind of record of the catalog: saved by a call of its own, or by an import. */
export interface RecordKind<Change extends ChangeOptions, Saved extends object> {
  /** The field that names a record. */
  name: keyof Change & string;
  input: z.ZodType<Change>;
  find(session: Session, name: string): Promise<object | null | undefined>;
  /** Within a transaction. @throws as the call does */
  save(session: Session, change: Change, now: string): Promise<Saved>;
}

/**
 * Saves a record, once for its key. Of two first saves at once that differ by upper and lower case
 * alone the unique index refuses one.
 */
export async function saveOnce<Change extends ChangeOptions, Saved extends object>(
  context: Context,
  kind: string,
  { name, input, save }: RecordKind<Change, Saved>,
  given: unknown,
): Promise<Saved & { replayed: boolean }> {
  const change = parse(input, given);
  const { idempotencyKey, metadata: _metadata, tx, ...request } = change;
  return sharedChange(context, { kind, request, idempotencyKey, tx }, async (session, now) => {
    try {
      return await save(session, change, isoTime(now));
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      throw invalidInput(
        name,
        `"${name}" ${String(change[name])} differs from one that was just saved by upper and lower case alone.`,
      );
    }
  });
}

/** All that was found, or what was asked for by name, in the order asked for. */
export function inOrder<T>(
  found: readonly T[],
  wanted: readonly string[] | undefined,
  nameOf: (record: T) => string,
): T[] {
  if (wanted === undefined) return [...found];
  const byName = new Map(found.map((record) => [nameOf(record), record]));
  return wanted.flatMap((name) => byName.get(name) ?? []);
}
