import type { TaxStatus } from '../accounts';
import type { Session } from '../database';

/** How a payer is taxed, and in which zone its days are: of one that was merged into another, that one's. */
export interface TaxedPayer {
  taxStatus: TaxStatus;
  /** Where the payer is taxed. */
  country: string | null;
  /** The key of the rate that was set for the account. */
  taxRate: string | null;
  timeZone: string;
}

/** Accounts ($1) as `w`, and as `p` the ones that they are by now: those they were merged into. */
export const FROM_PRESENT = `
from unnest($1::uuid[]) as w (account_id)
cross join lateral (
  select a.merged_into from {schema}.accounts a where a.account_id = w.account_id offset 0) as a
cross join lateral (
  select p.account_id, p.time_zone from {schema}.accounts p
  where p.account_id = coalesce(a.merged_into, w.account_id) offset 0) as p`;

const READ = `
select w.account_id::text as account_id, p.time_zone, coalesce(t.status, 'normal') as tax_status,
       coalesce(t.country, c.country) as country, t.tax_rate
${FROM_PRESENT}
left join lateral (
  select c.country from {schema}.account_contacts c
  where c.account_id = p.account_id offset 0) as c on true
left join lateral (
  select t.status, t.country, t.tax_rate from {schema}.account_taxes t
  where t.account_id = p.account_id offset 0) as t on true`;

export async function readTaxedPayers(
  session: Session,
  payerIds: Iterable<string>,
): Promise<Map<string, TaxedPayer>> {
  const rows = await session.query<{
    account_id: string;
    time_zone: string;
    tax_status: TaxStatus;
    country: string | null;
    tax_rate: string | null;
  }>(READ, [[...new Set(payerIds)]]);
  return new Map(
    rows.map((row) => [
      row.account_id,
      {
        taxStatus: row.tax_status,
        country: row.country,
        taxRate: row.tax_rate,
        timeZone: row.time_zone,
      },
    ]),
  );
}
