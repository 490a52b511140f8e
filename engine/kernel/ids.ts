import { v7, validate } from 'uuid';

/** A new id: UUID version 7, so that ids made later sort later and indexes stay compact. */
export function newId(): string {
  return v7();
}

export function isId(text: string): boolean {
  return validate(text);
}

/**
 * The public id of a ledger line: the paying account and the line's number in that account's
 * ledger. It names its account, so a line is found without an index of its own and without asking
 * any other account's rows. Callers treat it as opaque.
 */
export function ledgerId(payerId: string, sequence: string | number | bigint): string {
  return `${payerId}.${sequence}`;
}

/** Takes a ledger id apart; null when it is none. */
export function parseLedgerId(id: string): { payerId: string; sequence: string } | null {
  const match = /^([0-9a-f-]{36})\.([1-9][0-9]{0,17})$/.exec(id);
  if (match === null || !isId(match[1]!)) return null;
  return { payerId: match[1]!, sequence: match[2]! };
}
