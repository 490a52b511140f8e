/**
 * SQL for what was used beyond grants and is on no invoice line yet. By the indexes entries_overage and
 * invoice_usage_pkey, from where invoices have come to: behind the fences (`offset 0`) no plan can be
 * made that reads a whole table, however empty it was when the plan was made.
 */

/** Behind the last line that invoices have come to. */
const markOf = (ledger: string, product: string): string => `1 + coalesce((
        select m.billed_sequence from {schema}.usage_marks m
        where m.payer_id = ${ledger} and m.product = ${product}), 0)`;

/**
 * Entries of one ledger and product, with the moment that says to which period they belong, and the line
 * that does where a period was cut in that very instant: of a restore those of the use it takes back.
 *
 * @param from the first line that may be one of them, where it is known
 */
export const unbilledOf = (
  ledger: string,
  product: string,
  from = markOf(ledger, product),
): string => `
  select e.sequence, e.account_id, e.overage, coalesce(c.effective_at, e.effective_at) as used_at,
         coalesce(c.sequence, e.sequence) as used_sequence
  from (
    select e.* from {schema}.entries e
    where e.payer_id = ${ledger} and e.product = ${product} and e.overage is not null
      and e.sequence >= ${from}
      and not exists (
        select from {schema}.invoice_usage u
        where u.payer_id = e.payer_id and u.entry_sequence = e.sequence)
    offset 0) as e
  left join lateral (
    select c.effective_at, c.sequence from {schema}.entries c
    where e.kind = 'restore' and c.payer_id = e.payer_id and c.sequence = e.cause_sequence
    offset 0) as c on true`;
