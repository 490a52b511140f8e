import { DEFAULT_PROVIDER, Decimal, ONE, type AccountReference } from '../kernel';
import type { KnownAccount, KnownPayer, KnownPayers, KnownPocket } from './known-payers';

/**
 * A request of which every part is known needs no parsing: parsing would give what is known. Most
 * requests are so. Whatever is not is left to the schema, which says what is wrong with it.
 */

export interface Recognised {
  account: KnownAccount;
  payer: KnownPayer;
  pocket: KnownPocket;
  amount: Decimal;
  key: string | undefined;
}

/** Printable, no blank at either end, not too long: text that parsing leaves as it is. */
const PLAIN_KEY = /^[!-~](?:[ -~]{0,253}[!-~])?$/;
/** Fields that a request may have; those that are false must be undefined, if they are there. */
type Fields = ReadonlyMap<string, boolean>;

const CHECK: Fields = new Map([
  ['account', true],
  ['product', true],
  ['amount', true],
  ['createIfNew', true],
]);
const USE: Fields = new Map([
  ...CHECK,
  ['idempotencyKey', true],
  ['metadata', false],
  ['tx', false],
]);

/** Null: parse it. */
export const recogniseUse = (request: unknown, known: KnownPayers): Recognised | null =>
  recognise(request, USE, known);

/** Null: parse it. */
export const recogniseCheck = (request: unknown, known: KnownPayers): Recognised | null =>
  recognise(request, CHECK, known);

function recognise(request: unknown, fields: Fields, known: KnownPayers): Recognised | null {
  if (typeof request !== 'object' || request === null) return null;
  const given = request as Record<string, unknown>;
  for (const name in given) {
    const mayBeThere = fields.get(name);
    if (mayBeThere === undefined || (!mayBeThere && given[name] !== undefined)) return null;
  }
  const { account: reference, product, amount = 1, idempotencyKey: key, createIfNew } = given;
  if (createIfNew !== undefined && typeof createIfNew !== 'boolean') return null;
  if (key !== undefined && (typeof key !== 'string' || !PLAIN_KEY.test(key))) return null;
  if (typeof amount !== 'number' || !Number.isSafeInteger(amount)) return null;
  if (amount <= 0 || amount >= 1e15 || typeof product !== 'string') return null;
  const text = plainReference(reference as AccountReference);
  const account = text === null ? undefined : known.accountByKey(text);
  if (account?.mayBePlain !== true) return null;
  const payer = known.payer(account.payerId);
  const pocket = payer?.pockets.get(product);
  if (payer === undefined || pocket === undefined) return null;
  return { account, payer, pocket, amount: amount === 1 ? ONE : new Decimal(amount), key };
}

/** The text of `referenceKey` for a reference that is written as it is stored; else some other text. */
function plainReference(reference: AccountReference): string | null {
  if (typeof reference === 'string') return `id ${reference}`;
  if (typeof reference !== 'object' || reference === null) return null;
  for (const name in reference) if (name !== 'provider' && name !== 'externalId') return null;
  const { provider = DEFAULT_PROVIDER, externalId } = reference;
  // A blank would make one text of two references.
  if (typeof provider !== 'string' || provider.includes(' ')) return null;
  return typeof externalId === 'string' ? `identity ${provider} ${externalId}` : null;
}
