import type { ErasePart, ExportPart, MergePart } from '../accounts';
import { atTime, readTime } from '../database';
import { allCommissions, allPayouts } from './commissions';
import { FAMILY } from './referral-chain';

/** What trials and referrals have to say when accounts are exported, erased or merged. */

const READ_TRIALS = `
select sku, order_id::text as order_id, ${atTime('started_at')} as started_at,
       ${atTime('ends_at')} as ends_at
from {schema}.trial_marks
where account_id = any($1::uuid[])
order by started_at`;

const READ_REFERRALS = `
select referral_id::text as referral_id, account_id::text as account_id,
       referrer_id::text as referrer_id, ${atTime('created_at')} as created_at,
       ${atTime('first_paid_at')} as first_paid_at
from {schema}.referrals
where account_id = any($1::uuid[]) or referrer_id = any($1::uuid[])
order by referral_id`;

interface TrialRow {
  sku: string;
  order_id: string | null;
  started_at: string;
  ends_at: string | null;
}

interface ReferralRow {
  referral_id: string;
  account_id: string;
  referrer_id: string;
  created_at: string;
  first_paid_at: string | null;
}

export const exportReferrals: ExportPart = async (session, account) => {
  const ids = [account.accountId, ...account.aliases];
  const trials = await session.query<TrialRow>(READ_TRIALS, [ids]);
  const referrals = await session.query<ReferralRow>(READ_REFERRALS, [ids]);
  return {
    trials: trials.map((row) => ({
      sku: row.sku,
      orderId: row.order_id,
      startedAt: readTime(row.started_at),
      endsAt: readTime(row.ends_at),
    })),
    referrals: referrals.map((row) => ({
      referralId: row.referral_id,
      account: row.account_id,
      referrer: row.referrer_id,
      createdAt: readTime(row.created_at),
      firstPaidAt: readTime(row.first_paid_at),
    })),
    commissions: await allCommissions(session, account.accountId),
    payouts: await allPayouts(session, account.accountId),
  };
};

/** Found by who asked for them: the payer of a row may be the parent of that time. */
const ERASE_DETAILS = `
update {schema}.payout_details d
set reference = null, reason = null, metadata = '{}'
from {schema}.payouts p
where p.account_id = any($1::uuid[]) and d.payer_id = p.payer_id and d.payout_id = p.payout_id`;

/** Marks, hashes and amounts stay: they name nobody, and who comes back has had the trial. */
export const eraseReferrals: ErasePart = async (session, account) => {
  await session.query(ERASE_DETAILS, [[account.accountId, ...account.aliases]]);
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

export const mergeReferrals: MergePart = async (session, { into, from, dryRun }) => {
  const [counts] = await session.query<Record<string, number>>(COUNT_OF_FAMILY, [from.accountId]);
  if (!dryRun) {
    await session.query(COPY_MARK, [into.payerId, into.accountId, from.accountId]);
  }
  return counts!;
};
