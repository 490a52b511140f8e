import type { ErasePart, ExportPart, Merge, MergePart } from '../accounts';
import { column, table, type Session } from '../database';
import { readCommissions } from './commissions';
import { allPayouts } from './payouts';
import { FAMILY } from './referral-chain';

/** What trials and referrals have to say when accounts are exported, erased or merged. */

const TRIALS = table('trial_marks', {
  sku: column.text(),
  orderId: column.uuid().orNull,
  startedAt: column.time(),
  endsAt: column.time().orNull,
});
const READ_TRIALS = `
select ${TRIALS.select('m')} from {schema}.trial_marks m
where m.account_id = any($1::uuid[])
order by m.started_at`;

const REFERRALS = table('referrals', {
  referralId: column.uuid(),
  account: column.uuid().named('account_id'),
  referrer: column.uuid().named('referrer_id'),
  createdAt: column.time(),
  firstPaidAt: column.time().orNull,
});
const READ_REFERRALS = `
select ${REFERRALS.select('r')} from {schema}.referrals r
where r.account_id = any($1::uuid[]) or r.referrer_id = any($1::uuid[])
order by r.referral_id`;

export const exportReferrals: ExportPart = async (session, { accountId, names }) => ({
  trials: await TRIALS.rows(session, READ_TRIALS, [names]),
  referrals: await REFERRALS.rows(session, READ_REFERRALS, [names]),
  commissions: await readCommissions(session, accountId, null, null),
  payouts: await allPayouts(session, accountId),
});

/** Found by who asked for them: the payer of a row may be the parent of that time. */
const ERASE_DETAILS = `
update {schema}.payout_details d
set reference = null, reason = null, metadata = '{}'
from {schema}.payouts p
where p.account_id = any($1::uuid[]) and d.payer_id = p.payer_id and d.payout_id = p.payout_id`;

/** Marks, hashes and amounts stay: they name nobody, and who comes back has had the trial. */
export const eraseReferrals: ErasePart = async (session, { names }) => {
  await session.query(ERASE_DETAILS, [names]);
};

/** What is counted under the account that is merged from now on; it is found through the accounts. */
const COUNT_OF_FAMILY = `
select (select count(*)::int from {schema}.referrals where referrer_id in (${FAMILY})) as referrals,
       (select count(*)::int from {schema}.commissions where account_id in (${FAMILY})) as commissions,
       (select count(*)::int from {schema}.payouts where account_id in (${FAMILY})) as payouts,
       (select count(*)::int from {schema}.trial_marks
        where payer_id in (${FAMILY}) or account_id in (${FAMILY})) as trials`;

/** Trials are looked up in the payer's own rows alone, so that its mark is written there. */
const COPY_MARK = `
insert into {schema}.trial_marks (payer_id, account_id, sku, order_id, started_at, ends_at)
select $1::uuid, $2::uuid, sku, order_id, started_at, ends_at
from {schema}.trial_marks
where payer_id in (${FAMILY.replaceAll('$1', '$3')})
   or account_id in (${FAMILY.replaceAll('$1', '$3')})
order by started_at
limit 1
on conflict (payer_id, account_id) do nothing`;

/** Who pays for somebody that had a trial has had one, too: a family has one together. Both are locked. */
export async function shareTrial(
  session: Session,
  { into, from }: Pick<Merge, 'into' | 'from'>,
): Promise<void> {
  await session.query(COPY_MARK, [into.payerId, into.accountId, from.accountId]);
}

export const mergeReferrals: MergePart = async (session, merge) => {
  const { from, dryRun } = merge;
  const [counts] = await session.query<Record<string, number>>(COUNT_OF_FAMILY, [from.accountId]);
  if (!dryRun) await shareTrial(session, merge);
  return counts!;
};
