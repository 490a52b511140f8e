import { resolveAccounts, type ResolvedAccount } from '../accounts';
import type { Session } from '../database';
import { BillingError, isId } from '../kernel';
import { nextDueOf } from './periods';
import {
  NAMES,
  SUBSCRIPTIONS,
  type StoredSubscription,
  type SubscriptionName,
} from './stored-subscription';

/** How subscriptions are found and kept. Everything that may change is written by `saveSubscriptions`. */

const FIND_BY_ID = `
select ${SUBSCRIPTIONS.select('s')} from {schema}.subscriptions s
where s.subscription_id = any($1::uuid[])
order by s.subscription_id`;

/** Those that are not over, of a payer and of accounts that were merged into it. */
const FIND_LIVE = `
select ${SUBSCRIPTIONS.select('s')} from {schema}.subscriptions s
where s.payer_id in (
    select account_id from {schema}.accounts where account_id = $1::uuid or merged_into = $1::uuid)
  and s.ended_at is null
order by s.subscription_id`;

/** By the primary key, under whichever name of their payers they stand. */
const FIND_OF_PAYERS = `
select distinct on (s.subscription_id) ${SUBSCRIPTIONS.select('s')}
from ${NAMES.unnest('w')}
cross join lateral (
  select w.payer_id as account_id
  union all
  select a.account_id from {schema}.accounts a where a.merged_into = w.payer_id) as n
cross join lateral (
  select * from {schema}.subscriptions s
  where s.payer_id = n.account_id and s.subscription_id = w.subscription_id offset 0) as s
order by s.subscription_id`;

/** @throws unknown_subscription */
export async function findSubscription(
  session: Session,
  subscriptionId: string,
): Promise<StoredSubscription> {
  const [found] = isId(subscriptionId) ? await findById(session, [subscriptionId]) : [];
  if (found !== undefined) return found;
  throw new BillingError('unknown_subscription', `There is no subscription "${subscriptionId}".`, {
    parameter: 'subscriptionId',
    advice: 'Pass the subscriptionId that subscriptions.start gave.',
  });
}

/** Some subscriptions by their ids; unknown ones are left out. */
export async function findById(
  session: Session,
  subscriptionIds: readonly string[],
): Promise<StoredSubscription[]> {
  return subscriptionIds.length === 0
    ? []
    : SUBSCRIPTIONS.rows(session, FIND_BY_ID, [subscriptionIds]);
}

/** Some subscriptions of payers, or of accounts merged into them; unknown ones are left out. */
export async function findOfPayers(
  session: Session,
  wanted: readonly SubscriptionName[],
): Promise<StoredSubscription[]> {
  if (wanted.length === 0) return [];
  return SUBSCRIPTIONS.rows(session, FIND_OF_PAYERS, NAMES.values(wanted));
}

/** The subscriptions that a payer has and that are not over, those of accounts merged into it too. */
export const liveSubscriptions = (
  session: Session,
  payerId: string,
): Promise<StoredSubscription[]> => SUBSCRIPTIONS.rows(session, FIND_LIVE, [payerId]);

type Named = Pick<StoredSubscription, 'accountId' | 'payerId'>;

/** Who subscribed, and who pays for it: the account itself, or the one that it was merged into. */
export async function ownerAndPayer(
  session: Session,
  { accountId, payerId }: Named,
): Promise<[owner: ResolvedAccount, payer: ResolvedAccount]> {
  const [owner, payer] = await resolveAccounts(session, [{ accountId }, { accountId: payerId }]);
  return [owner!, payer!];
}

/**
 * Who subscribed, with the ledger that its units are in: its payer's, or that of the account which
 * the payer was merged into.
 */
export async function subscriberOf(session: Session, named: Named): Promise<ResolvedAccount> {
  const [owner, payer] = await ownerAndPayer(session, named);
  if (owner.payerId === payer.payerId) return owner;
  const { payerId: ledgerId, payerStatus, timeZone } = payer;
  return { ...owner, payerId: ledgerId, payerStatus, timeZone };
}

const due = (one: StoredSubscription): StoredSubscription => ({
  ...one,
  nextDueAt: nextDueOf(one),
});

/** Writes a new subscription, due as it stands. The payer is locked. */
export const insertSubscription = (session: Session, one: StoredSubscription): Promise<void> =>
  SUBSCRIPTIONS.write(session, [due(one)]);

/** What may change: whose they are, their currency and age never do. */
const SAVED = SUBSCRIPTIONS.omit('accountId', 'currency', 'createdAt');
/** All of them in one statement, found by the primary key: no other index helps a plan of many rows. */
const SAVE = SAVED.update('payerId', 'subscriptionId');

/** Nobody said that these are sent: nothing could charge them until now. */
const NOW_CHARGED = `
update {schema}.subscriptions set collection = 'charge', sends_by_default = false
where payer_id = any($1::uuid[]) and sends_by_default`;

/**
 * Their payer has something to be charged by from now on: so are invoices that are still to be made.
 * The payer is locked.
 *
 * @param names all under which the payer's subscriptions may stand
 */
export async function nowCharged(session: Session, names: readonly string[]): Promise<void> {
  await session.query(NOW_CHARGED, [names]);
}

/** Writes subscriptions as they are now. The payers are locked. */
export async function saveSubscriptions(
  session: Session,
  all: readonly StoredSubscription[],
): Promise<void> {
  if (all.length > 0) await session.query(SAVE, SAVED.values(all.map(due)));
}

const SAVE_DETAILS = `
insert into {schema}.subscription_details as d (payer_id, subscription_id, cancel_reason, metadata)
values ($1::uuid, $2::uuid, $3, $4::jsonb)
on conflict (payer_id, subscription_id) do update
set cancel_reason = coalesce(excluded.cancel_reason, d.cancel_reason),
    metadata = d.metadata || excluded.metadata`;

const FORGET_CANCEL_REASON = `
update {schema}.subscription_details set cancel_reason = null
where payer_id = $1::uuid and subscription_id = $2::uuid and cancel_reason is not null`;

/** It goes on after all: why it was cancelled is not why it will be another time. */
export async function forgetCancelReason(
  session: Session,
  { payerId, subscriptionId }: SubscriptionName,
): Promise<void> {
  await session.query(FORGET_CANCEL_REASON, [payerId, subscriptionId]);
}

/** What people wrote beside a subscription; metadata is added to what is there. */
export async function saveDetails(
  session: Session,
  { payerId, subscriptionId }: SubscriptionName,
  written: { cancelReason?: string; metadata?: Record<string, unknown> },
): Promise<void> {
  const { cancelReason, metadata } = written;
  if (cancelReason === undefined && metadata === undefined) return;
  await session.query(SAVE_DETAILS, [
    payerId,
    subscriptionId,
    cancelReason ?? null,
    JSON.stringify(metadata ?? {}),
  ]);
}
