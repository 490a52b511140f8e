import { findOfferVersion } from '../catalog';
import { column, table, type Session } from '../database';
import { currencyDecimals, formatMoney } from '../kernel';
import type { AwaitedPayment, LedgerPorts } from '../ledger';
import { productsOf } from '../subscriptions';

/** What is to be paid before a product can be used, for denials that say so. */

const AWAITED = table('subscriptions', {
  accountId: column.uuid(),
  sku: column.text(),
  version: column.integer(),
  invoiceId: column.uuid().orNull,
  amount: column.decimal(),
  currency: column.text(),
  own: column.flag(),
});

/** Of who pays for some accounts, the first payments that are awaited. Few; locks nothing. */
const FIND = `
select ${AWAITED.select('w')}
from (
  select a.account_id, s.sku, s.version, s.currency,
         a.account_id = a.payer_id or exists (
           select from {schema}.accounts o
           where o.account_id = s.account_id
             and coalesce(o.merged_into, o.account_id) = a.account_id) as own,
         case when v.status = 'open' then v.invoice_id end as invoice_id,
         case when v.status = 'open' then v.amount_due else i.amount end as amount
  from {schema}.accounts a
  cross join lateral (
    select a.payer_id as account_id
    union all
    select m.account_id from {schema}.accounts m where m.merged_into = a.payer_id) as n
  cross join lateral (
    select * from {schema}.subscriptions s
    where s.payer_id = n.account_id and s.first_unpaid and s.ended_at is null offset 0) as s
  join {schema}.pending_items i
    on i.payer_id = s.payer_id and i.subscription_id = s.subscription_id
   and i.period_number = s.period_number and i.kind = 'fee' and i.dropped_at is null
  left join {schema}.invoices v on v.payer_id = i.payer_id and v.invoice_id = i.invoice_id
  where a.account_id = any($1::uuid[])
  order by s.subscription_id) as w`;

/** Fills the port of the ledger. */
export const awaitedPayments: LedgerPorts['awaited'] = async (session, shortages) => {
  const accountIds = [...new Set(shortages.map(({ accountId }) => accountId))];
  const found = await AWAITED.rows(session, FIND, [accountIds]);
  const payments: Array<AwaitedPayment | null> = [];
  for (const { accountId, product } of shortages) {
    const theirs = found.filter((one) => one.accountId === accountId);
    const bringing = await thoseThatBring(session, theirs, product);
    // What a child began itself it may be told of, whatever else its parent waits for.
    const first = bringing.find(({ own }) => own) ?? bringing[0];
    payments.push(
      first === undefined
        ? null
        : {
            skus: bringing.map(({ sku }) => sku),
            invoiceId: first.invoiceId,
            amount: formatMoney(first.amount, currencyDecimals(first.currency)!),
            currency: first.currency,
            own: first.own,
          },
    );
  }
  return payments;
};

async function thoseThatBring<One extends { sku: string; version: number }>(
  session: Session,
  awaited: readonly One[],
  product: string,
): Promise<One[]> {
  const bringing: One[] = [];
  for (const one of awaited) {
    const offer = await findOfferVersion(session, one.sku, one.version);
    if (productsOf(offer).includes(product)) bringing.push(one);
  }
  return bringing;
}
