import type { Session } from '../database';
import { foldCase, refused } from '../kernel';

/**
 * The one rule for names. Keys of products and skus of offers keep the case they are written in, and
 * case counts when something is looked up. But no name may differ from another, key or sku, by case
 * alone, and no sku may be the key of a product.
 */

/** The primary key makes two who claim one name at once take turns: the second waits for the first. */
const CLAIM_NAME = `
insert into {schema}.catalog_names (folded, kind, name) values ($1, $2, $3)
on conflict (folded) do nothing
returning folded`;
const FIND_NAME = `select kind, name from {schema}.catalog_names where folded = $1`;

const KINDS = {
  product: { parameter: 'key', word: 'a key' },
  offer: { parameter: 'sku', word: 'a sku' },
} as const;

/**
 * Takes a name for a product or an offer that does not exist yet.
 *
 * @returns false when it was just created by somebody else
 * @throws invalid_input when a product or an offer of another spelling or kind has the name
 */
export async function claimName(
  session: Session,
  kind: keyof typeof KINDS,
  name: string,
): Promise<boolean> {
  const folded = foldCase(name);
  const claimed = await session.query(CLAIM_NAME, [folded, kind, name]);
  if (claimed.length > 0) return true;
  const found = await session.query<{ kind: keyof typeof KINDS; name: string }>(FIND_NAME, [
    folded,
  ]);
  const owner = found[0]!;
  if (owner.kind === kind && owner.name === name) return false;
  const { parameter, word } = KINDS[kind];
  const theirs = `the ${owner.kind} ${owner.name}`;
  if (owner.kind === kind) {
    throw refused(
      parameter,
      `${name} differs from ${theirs} by upper and lower case alone`,
      `Use ${owner.name}, or ${word} that differs by more.`,
    );
  }
  throw refused(
    parameter,
    `${name} is the name of ${theirs}`,
    `Keys and skus share one name space, in which case does not count. Choose ${word} that differs by more.`,
  );
}
