import { namesOfPayer } from '../accounts';
import { inTerms, returnsOfItems } from '../books';
import type { Session } from '../database';
import { ZERO, type Instant } from '../kernel';
import { PENDING_ITEMS, addCredits, addPendingItems, type NewCredit } from '../subscriptions';
import type { PlannedCredit } from './credit-plan';
import type { StoredInvoice } from './invoice-records';

/** Credits that paid for what is not to be had, on an invoice that is taken back: they are given again. */

const ITEM = PENDING_ITEMS.omit('itemId', 'kind', 'discountable', 'createdAt');
const FOUND = PENDING_ITEMS.pick('itemId');

const FIND_ITEMS = `
select ${FOUND.select('i')}, ${ITEM.select('i')} from {schema}.pending_items i
where i.payer_id = any($1::uuid[]) and i.item_id = any($2::uuid[])`;

/** A credit as it goes on the next invoice: of a line that was sold before, or by hand. */
type Again = Omit<NewCredit, 'line'> & { line: NewCredit['line'] | null };

/** What is to be given again of credits that are about to be taken back. The payer is locked. */
export async function creditsAgain(
  session: Session,
  { payerId }: StoredInvoice,
  lowering: readonly PlannedCredit[],
): Promise<Again[]> {
  if (lowering.length === 0) return [];
  const itemIds = lowering.map(({ line }) => line.itemId!);
  const names = await namesOfPayer(session, payerId);
  const rows = await session.query<object>(FIND_ITEMS, [names, itemIds]);
  const items = new Map(rows.map((row) => [FOUND.read(row).itemId, ITEM.read(row)]));
  const given = new Map((await returnsOfItems(session, itemIds)).map((one) => [one.itemId, one]));
  return lowering.map(({ line: { itemId, inclusive }, net, tax }) => {
    const left = { net: net.negated(), tax: tax.negated() };
    const of = given.get(itemId!);
    const line = of === undefined ? null : { ...of, inclusive, left };
    return { item: items.get(itemId!)!, amount: inTerms({ inclusive }, left), line };
  });
}

/** Gives them again, once they were taken back. The payer is locked. */
export async function giveAgain(
  session: Session,
  { decimals }: StoredInvoice,
  again: readonly Again[],
  now: Instant,
): Promise<void> {
  for (const { item, amount, line } of again) {
    const next = { ...item, changeId: null, dueAt: now };
    if (line !== null) await addCredits(session, [{ item: next, amount, line }], decimals, now);
    else {
      const byHand = { ...next, kind: 'one_off' as const, discountable: false, unitPrice: null };
      await addPendingItems(session, [{ ...byHand, amount: ZERO.minus(amount) }], now);
    }
  }
}
