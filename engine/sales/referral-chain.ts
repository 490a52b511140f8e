import { column, table, type RowOf, type Session } from '../database';

/**
 * Who brought a payer, and who brought that one. Of a payer that others were merged into the
 * referral counts that it has itself, else the first of theirs.
 */

const REFERRERS = table('referrals', {
  referralId: column.uuid(),
  /** The row's key: the payer that was brought, by the name it had then. */
  rowPayerId: column.uuid(),
  /** The account that was brought. */
  broughtId: column.uuid(),
  referrerId: column.uuid(),
  /** Who pays for the referrer by now. */
  referrerPayerId: column.uuid(),
  /** Whether an order was paid since. */
  rewarded: column.flag(),
});

export type Referrer = RowOf<typeof REFERRERS>;

/** An account as which payer $1 answers by now, and all that were merged into that one. */
export const FAMILY = `
  select f.account_id
  from {schema}.accounts p
  join {schema}.accounts f on f.account_id = coalesce(p.merged_into, p.account_id)
    or f.merged_into = coalesce(p.merged_into, p.account_id)
  where p.account_id = $1::uuid`;

/** $2: payers that cannot be who brought it. Nobody earns by themselves. */
const FIND_REFERRER = `
select r.referral_id::text as referral_id, r.payer_id::text as row_payer_id,
       r.account_id::text as brought_id, coalesce(a.merged_into, a.account_id)::text as referrer_id,
       a.payer_id::text as referrer_payer_id, r.first_order_id is not null as rewarded
from {schema}.referrals r
join {schema}.accounts a on a.account_id = r.referrer_id
where r.payer_id in (${FAMILY})
  and a.payer_id not in (${FAMILY})
  and a.payer_id <> all($2::uuid[])
order by r.payer_id <> $1::uuid, r.created_at, r.payer_id
limit 1`;

async function referrerOf(
  session: Session,
  payerId: string,
  others: readonly string[],
): Promise<Referrer | null> {
  return (await REFERRERS.rows(session, FIND_REFERRER, [payerId, others]))[0] ?? null;
}

const FIND_PRESENT_PAYER = `
select coalesce(merged_into, account_id)::text as payer_id
from {schema}.accounts where account_id = $1::uuid`;

/** The referrer, then the referrer's referrer; shorter when there is none. */
export async function referrersOf(session: Session, payerId: string): Promise<Referrer[]> {
  const first = await referrerOf(session, payerId, []);
  if (first === null) return [];
  const [buyer] = await session.query<{ payer_id: string }>(FIND_PRESENT_PAYER, [payerId]);
  const second = await referrerOf(session, first.referrerPayerId, [buyer!.payer_id]);
  return second === null ? [first] : [first, second];
}

const FIND_RECEIVERS = `
select distinct payer_id::text as payer_id from {schema}.commissions
where order_payer_id in (${FAMILY})`;

/**
 * In whose ledgers and books an order of this payer writes beside its own: the referrer's and the
 * referrer's referrer's, as it stands now and as it stood when commission was earned.
 */
export async function payersToLockForOrder(session: Session, payerId: string): Promise<string[]> {
  const referrers = await referrersOf(session, payerId);
  const receivers = await session.query<{ payer_id: string }>(FIND_RECEIVERS, [payerId]);
  return [
    ...new Set([
      ...referrers.map((referrer) => referrer.referrerPayerId),
      ...receivers.map((row) => row.payer_id),
    ]),
  ];
}
