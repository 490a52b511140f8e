import type { Session } from '../database';
import { foldCase, refused } from '../kernel';

/**
 * The one rule for names. Keys of products and skus of offers keep the case they are written in, and
 * case counts when something is looked up. But no key may differ from another by case alone, and no sku
 * from another. A product and the offer that sells it may have one name: nothing is looked up by both.
 */

/** The primary key makes two who claim one name at once take turns: the second waits for the first. */
const CLAIM_NAME = `
insert into {schema}.catalog_names (folded, kind, name) values ($1, $2, $3)
on conflict (folded) do nothing
returning folded`;
const FIND_NAME = `select name from {schema}.catalog_names where folded = $1`;

const KINDS = {
  product: { parameter: 'key', word: 'a key' },
  offer: { parameter: 'sku', word: 'a sku' },
} as const;

/** Under which a name is kept: keys and skus apart, since no key holds a blank. */
const rowOf = (kind: keyof typeof KINDS, name: string): string =>
  kind === 'product' ? foldCase(name) : `offer ${foldCase(name)}`;

/**
 * Takes a name for a product or an offer that does not exist yet.
 *
 * @returns false when it was just created by somebody else
 * @throws invalid_input when another of the kind has the name in another spelling
 */
export async function claimName(
  session: Session,
  kind: keyof typeof KINDS,
  name: string,
): Promise<boolean> {
  const row = rowOf(kind, name);
  const claimed = await session.query(CLAIM_NAME, [row, kind, name]);
  if (claimed.length > 0) return true;
  const [owner] = await session.query<{ name: string }>(FIND_NAME, [row]);
  if (owner!.name === name) return false;
  const { parameter, word } = KINDS[kind];
  throw refused(
    parameter,
    `${name} differs from the ${kind} ${owner!.name} by upper and lower case alone`,
    `Use ${owner!.name}, or ${word} that differs by more.`,
  );
}
