import Decimal from 'decimal.js';
import type { Knex } from 'knex';

import { isFailed, type Billing } from '../../../engine';

/** What the engine says of many accounts at once. */

export interface Standing {
  MSG: Decimal;
  GIFT: Decimal;
  EXTRA: Decimal;
  /** Money that came, less what went back. */
  kept: Decimal;
  due: Decimal;
  credit: Decimal;
  /** By percent. */
  taxes: Map<string, Decimal>;
}

const PRODUCTS = ['MSG', 'GIFT', 'EXTRA'] as const;

const moneyOf = (schema: string): string => `
select a.account_id::text as account,
  (select coalesce(sum(l.amount), 0)::text from "${schema}".postings p
   cross join unnest(p.accounts, p.amounts) as l (account, amount)
   where p.payer_id = a.account_id and l.account = 'cash') as kept,
  (select coalesce(sum(i.amount_due), 0)::text from "${schema}".invoices i
   where i.payer_id = a.account_id and i.status not in ('draft', 'void')) as due,
  (select coalesce(sum(c.amount), 0)::text from "${schema}".account_credits c
   where c.payer_id = a.account_id) as credit,
  (select json_object_agg(t.percent, t.tax)::text from (
     select s.percent::text as percent, sum(s.tax)::text as tax from (
       select trim_scale(l.tax_percent) as percent, l.tax from "${schema}".invoice_lines l
         join "${schema}".invoices i using (payer_id, invoice_id)
         where l.payer_id = a.account_id and i.status not in ('draft', 'void')
       union all
       select trim_scale(l.tax_percent), -n.tax from "${schema}".credit_note_lines n
         join "${schema}".credit_notes c using (payer_id, credit_note_id)
         join "${schema}".invoice_lines l
           on l.payer_id = c.payer_id and l.invoice_id = c.invoice_id and l.position = n.position
         join "${schema}".invoices i on i.payer_id = c.payer_id and i.invoice_id = c.invoice_id
         where n.payer_id = a.account_id and i.status <> 'void'
       union all
       select trim_scale(o.tax_percent), o.tax from "${schema}".orders o
         where o.payer_id = a.account_id and o.paid > 0
       union all
       select trim_scale(o.tax_percent), -r.tax from "${schema}".refunds r
         join "${schema}".orders o using (payer_id, order_id)
         where r.payer_id = a.account_id
     ) as s where s.percent is not null group by s.percent) as t) as taxes
from unnest(?::uuid[]) as a (account_id)`;

interface MoneyRow {
  account: string;
  kept: string;
  due: string;
  credit: string;
  taxes: string | null;
}

/** How accounts stand: money of them all, units by what `check` allows. */
export async function standingsOf(
  billing: Billing,
  knex: Knex,
  schema: string,
  accounts: readonly string[],
): Promise<Map<string, Standing>> {
  const { rows } = await knex.raw<{ rows: MoneyRow[] }>(moneyOf(schema), [accounts as string[]]);
  const asked = accounts.flatMap((account) => PRODUCTS.map((product) => ({ account, product })));
  const answers = await billing.ledger.checkMany(asked);
  const units = new Map<string, Decimal>();
  for (const [index, answer] of answers.entries()) {
    if (isFailed(answer)) throw new Error(answer.error.message);
    const { account, product } = asked[index]!;
    units.set(`${account} ${product}`, new Decimal(answer.allowed ? answer.remaining! : 0));
  }
  return new Map(
    rows.map(({ account, kept, due, credit, taxes }) => [
      account,
      {
        MSG: units.get(`${account} MSG`)!,
        GIFT: units.get(`${account} GIFT`)!,
        EXTRA: units.get(`${account} EXTRA`)!,
        kept: new Decimal(kept),
        due: new Decimal(due),
        credit: new Decimal(credit),
        taxes: new Map(
          Object.entries(JSON.parse(taxes ?? '{}') as Record<string, string>).map(
            ([percent, tax]) => [percent, new Decimal(tax)],
          ),
        ),
      },
    ]),
  );
}
