import { namesOfPayer, resolveAccount } from '../accounts';
import { SOLD_LINES, leftToGiveBack, post, type Leg, type SoldLine } from '../books';
import { column, table } from '../database';
import { Decimal, ZERO, currencyDecimals, split } from '../kernel';
import type { MoneyTakenBack } from '../sales';
import { addCredits, dropPendingItems, PENDING_ITEMS } from '../subscriptions';
import { creditOf, moveCredits, writeCredits } from './account-credit';
import { invoicedPeriods } from './invoiced-periods';

/**
 * Money that a gateway took back by itself, as after a lost dispute, beyond what was left to give back of
 * what was sold: the customer has it twice by then, as a credit and as money.
 */

const WAITING = table('line_returns', {
  documentId: column.uuid(),
  position: column.integer(),
  net: column.decimal(),
  tax: column.decimal(),
});
const ITEM = PENDING_ITEMS.omit('kind', 'amount', 'discountable', 'createdAt');

/** Credits for lines that are on no issued invoice yet, the latest first. $5: names of the payer. */
const FIND_WAITING = `
select ${ITEM.select('p')}, ${WAITING.select('w')}
from (
  select r.item_id, r.document_id, r.position, sum(r.net) as net, sum(r.tax) as tax
  from ${SOLD_LINES.lookedUp()}
  join {schema}.line_returns r on r.payer_id = n.payer_id and r.document_id = n.document_id
    and r.position = n.position
  where r.item_id is not null group by 1, 2, 3) as w
join {schema}.pending_items p on p.payer_id = any($5::uuid[]) and p.item_id = w.item_id
left join {schema}.invoices v on v.invoice_id = p.invoice_id
where p.dropped_at is null and (v.status is null or v.status = 'draft') and w.net + w.tax > 0
order by w.item_id desc`;

/** What stays of a credit when a part of it, tax included, goes; in the terms of its line. */
function restOf(
  { inclusive }: SoldLine,
  { net, tax }: { net: Decimal; tax: Decimal },
  gone: Decimal,
  decimals: number,
): Decimal {
  const kept = net.plus(tax).minus(gone);
  return inclusive || kept.isZero() ? kept : split(kept, [net, tax], decimals)[0]!;
}

/** Fills the port of orders; for invoices it is the same. */
export const moneyTakenBack: MoneyTakenBack = {
  async lowerCredits(session, lines, { currency, amount }, now) {
    const [first] = lines;
    if (first === undefined || !amount.greaterThan(ZERO)) return;
    const names = await namesOfPayer(session, first.payerId);
    const decimals = currencyDecimals(currency)!;
    const rows = await session.query<object>(FIND_WAITING, [...SOLD_LINES.values(lines), names]);
    let left = amount;
    for (const row of rows) {
      if (!left.greaterThan(ZERO)) break;
      const back = WAITING.read(row);
      const item = ITEM.read(row);
      const gone = Decimal.min(left, back.net.plus(back.tax));
      left = left.minus(gone);
      await invoicedPeriods.freeFromDraft(session, item);
      await dropPendingItems(session, item.payerId, [item.itemId], now);
      const sold = lines.find(
        (line) => line.documentId === back.documentId && line.position === back.position,
      )!;
      const [line] = await leftToGiveBack(session, [sold]);
      const kept = restOf(line!, back, gone, decimals);
      if (kept.isZero()) continue;
      await addCredits(session, [{ item, amount: kept, line: line! }], decimals, now);
    }
  },

  async takeBeyond(session, { payerId, currency, amount, gateway, refundId }, now) {
    if (!amount.greaterThan(ZERO)) return;
    const { payerId: holder } = await resolveAccount(session, { accountId: payerId });
    const there = Decimal.max(await creditOf(session, holder, currency), ZERO);
    const taken = Decimal.min(there, amount);
    await moveCredits(session, [{ from: holder, into: payerId, currency, amount: taken }], now);
    const credit = { payerId, currency, amount: taken.negated(), reason: 'taken' as const };
    await writeCredits(session, [credit], now);
    const legs: Leg[] = [
      { account: 'customer_credit', amount: taken },
      // It was used by then: nobody owes it.
      { account: 'written_off', amount: amount.minus(taken) },
      { account: 'cash', gateway, amount: amount.negated() },
    ];
    await post(session, {
      payerId,
      currency,
      at: now,
      kind: 'refund',
      reference: { type: 'payment_refund', id: refundId },
      legs: legs.filter((one) => !one.amount.isZero()),
    });
  },
};
