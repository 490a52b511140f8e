import {
  MAX_LOCKED_ACCOUNTS,
  isOutOfLocks,
  lockAccounts,
  tryLockAccounts,
  type Context,
  type Session,
} from '../database';
import { isoTime, readClock, type Instant } from '../kernel';
import { planAdvance, type Standing } from './planning';
import { queuedChanges } from './queued-changes';
import {
  SUBSCRIPTION_COLUMNS,
  subscriptionOf,
  type StoredSubscription,
  type SubscriptionRow,
} from './records';
import { OfferVersions, writeOutcomes } from './writing';

/**
 * Brings subscriptions up to date: set-based, a chunk of payers in each transaction. It may be killed
 * between any two, and any number of processes may do it at once: a period is opened once, by its
 * number, and whatever belongs to it is written in the same transaction.
 */

export interface AdvanceRequest {
  /** At most so many subscriptions; default all that are due. */
  limit?: number;
  /** Only those that these accounts pay for, or that were theirs before a merge. */
  payerIds?: readonly string[];
}

export interface AdvanceDone {
  /** Subscriptions that were due and are up to date now. */
  subscriptions: number;
  /** Periods opened. */
  periods: number;
  /** Due ones that were passed over since somebody was writing their account: for the next run. */
  left: number;
}

/** The account that a subscription's payer is by now: another one after a merge. */
const PRESENT_PAYER = `
join {schema}.accounts b on b.account_id = s.payer_id
join {schema}.accounts m on m.account_id = coalesce(b.merged_into, b.account_id)`;

/**
 * What has been due for longest, by the index subscriptions_due. Locks nothing: what was written
 * meanwhile is seen once the payers are locked. $2 to $4 go on behind what was looked at.
 */
const FIND_DUE = `
select s.payer_id::text as payer_id, s.subscription_id::text as subscription_id,
       m.payer_id::text as ledger_id, s.next_due_at::text as due_at
from (
  select * from {schema}.subscriptions s
  where s.next_due_at <= $1::timestamptz and s.next_due_at >= $2::timestamptz
    and (s.next_due_at, s.payer_id, s.subscription_id) > ($2::timestamptz, $3::uuid, $4::uuid)
  order by s.next_due_at, s.payer_id, s.subscription_id limit $5::integer
) as s ${PRESENT_PAYER}
order by s.next_due_at, s.payer_id, s.subscription_id`;

/** Some payers, and the accounts that were merged into them. */
const NAMES = `(
  select unnest($2::uuid[]) as account_id
  union all
  select a.account_id from {schema}.accounts a where a.merged_into = any($2::uuid[]))`;

/** The same of some payers: along the primary key, few rows each. */
const FIND_DUE_OF = `
select s.payer_id::text as payer_id, s.subscription_id::text as subscription_id,
       m.payer_id::text as ledger_id, s.next_due_at::text as due_at
from ${NAMES} as n
cross join lateral (
  select s.* from {schema}.subscriptions s
  where s.payer_id = n.account_id and s.next_due_at <= $1::timestamptz
  offset 0) as s ${PRESENT_PAYER}
order by s.next_due_at, s.payer_id, s.subscription_id
limit $3::integer`;

/** Subscriptions with all that decides about them, each found by its primary key. */
const readThese = (named: string, condition: string): string => `
select ${SUBSCRIPTION_COLUMNS}, m.payer_id::text as ledger_id, p.time_zone,
       w.account_id::text as receiver_id,
       (p.status = 'closed' or w.status = 'closed') as is_closed
from ${named} as n (payer_id, subscription_id)
cross join lateral (
  select s.* from {schema}.subscriptions s
  where s.payer_id = n.payer_id and s.subscription_id = n.subscription_id ${condition}
  offset 0) as s ${PRESENT_PAYER}
join {schema}.accounts p on p.account_id = m.payer_id
join {schema}.accounts o on o.account_id = s.account_id
join {schema}.accounts w on w.account_id = coalesce(o.merged_into, o.account_id)`;

/** Under the locks: those that are still due. */
const READ_DUE = readThese(
  'unnest($1::uuid[], $2::uuid[])',
  'and s.next_due_at <= $3::timestamptz',
);
const READ_STANDINGS = readThese('unnest($1::uuid[], $2::uuid[])', '');

interface DueRow {
  payer_id: string;
  subscription_id: string;
  ledger_id: string;
  due_at: string;
}

type StandingRow = SubscriptionRow & {
  ledger_id: string;
  time_zone: string;
  receiver_id: string;
  is_closed: boolean;
};

const standingOf = (row: StandingRow): Standing => ({
  subscription: subscriptionOf(row),
  receiver: { accountId: row.receiver_id, payerId: row.ledger_id, timeZone: row.time_zone },
  isClosed: row.is_closed,
});

/** Before everything. */
const NIL = '00000000-0000-0000-0000-000000000000';
const START: DueRow = { due_at: '-infinity', payer_id: NIL, subscription_id: NIL, ledger_id: NIL };

/**
 * Opens the periods that have begun, ends and pauses what has come to its end, and reminds of what is
 * to come. Subscriptions of accounts that somebody is writing just now are left to the next run.
 */
export async function advanceSubscriptions(
  context: Context,
  request: AdvanceRequest = {},
): Promise<AdvanceDone> {
  const now = readClock(context.clock);
  const done: AdvanceDone = { subscriptions: 0, periods: 0, left: 0 };
  const offers = new OfferVersions();
  let most = MAX_LOCKED_ACCOUNTS;
  let left = request.limit ?? Number.POSITIVE_INFINITY;
  let after = START;
  const payers = request.payerIds?.slice() ?? null;
  while (left > 0) {
    const size = Math.min(left, most);
    const ofPayers = payers?.slice(0, MAX_LOCKED_ACCOUNTS) ?? null;
    try {
      const chunk = await context.database.transaction(undefined, async (session) => {
        const due = await session.query<DueRow>(
          ofPayers === null ? FIND_DUE : FIND_DUE_OF,
          ofPayers === null
            ? [isoTime(now), after.due_at, after.payer_id, after.subscription_id, size]
            : [isoTime(now), ofPayers, size],
        );
        if (due.length === 0) return { due, subscriptions: 0, periods: 0 };
        const locked = await tryLockAccounts(
          session,
          due.map((row) => row.ledger_id),
        );
        const mine = due.filter((row) => locked.has(row.ledger_id));
        return { due, ...(await advanceThese(session, mine, offers, now)) };
      });
      const found = chunk.due.length;
      done.subscriptions += chunk.subscriptions;
      done.periods += chunk.periods;
      done.left += found - chunk.subscriptions;
      left -= found;
      if (payers !== null) {
        // Looked at again until nothing more of them can be done.
        if (found < size || chunk.subscriptions === 0) payers.splice(0, MAX_LOCKED_ACCOUNTS);
        if (payers.length === 0) break;
      } else {
        if (found < size) break;
        after = chunk.due.at(-1)!;
      }
    } catch (error) {
      if (!isOutOfLocks(error) || most === 1) throw error;
      most = Math.ceil(most / 2);
    }
  }
  return done;
}

/** Brings due subscriptions up to date. Their payers are locked. */
async function advanceThese(
  session: Session,
  due: ReadonlyArray<Pick<DueRow, 'payer_id' | 'subscription_id'>>,
  offers: OfferVersions,
  now: Instant,
): Promise<{ subscriptions: number; periods: number }> {
  if (due.length === 0) return { subscriptions: 0, periods: 0 };
  const rows = await session.query<StandingRow>(READ_DUE, [
    due.map((row) => row.payer_id),
    due.map((row) => row.subscription_id),
    isoTime(now),
  ]);
  if (rows.length === 0) return { subscriptions: 0, periods: 0 };
  const standings = rows.map(standingOf);
  const subscriptions = standings.map(({ subscription }) => subscription);
  const queued = await queuedChanges(
    session,
    [...new Set(subscriptions.map(({ payerId }) => payerId))],
    subscriptions.map(({ subscriptionId }) => subscriptionId),
  );
  await offers.load(session, [...subscriptions, ...queued.values()]);
  const outcomes = standings.map((standing) =>
    planAdvance(standing, offers.of, queued.get(standing.subscription.subscriptionId), now),
  );
  await writeOutcomes(session, outcomes, now);
  const periods = outcomes.reduce((sum, { openings }) => sum + openings.length, 0);
  return { subscriptions: outcomes.length, periods };
}

/**
 * The same for payers that are locked already, in their transaction.
 *
 * @returns whether anything changed
 */
export async function advancePayers(
  session: Session,
  payerIds: readonly string[],
  now: Instant,
): Promise<boolean> {
  const due = await session.query<DueRow>(FIND_DUE_OF, [isoTime(now), payerIds, 1_000_000]);
  if (due.length === 0) return false;
  const done = await advanceThese(session, due, new OfferVersions(), now);
  return done.subscriptions > 0;
}

/** What is due of some payers, and what was given to them since $3. */
const FIND_FRESH = `
select s.is_due from ${NAMES} as n
cross join lateral (
  select s.next_due_at <= $1::timestamptz as is_due
  from {schema}.subscriptions s
  where s.payer_id = n.account_id and (
    s.next_due_at <= $1::timestamptz or exists (
      select 1 from {schema}.subscription_periods p
      where p.payer_id = s.payer_id and p.subscription_id = s.subscription_id
        and p.number = s.period_number and p.granted_at >= $3::timestamptz))
  offset 0) as s
order by s.is_due desc nulls last
limit 1`;

/** Longer than a reader takes from reading what there is to asking whether there is more. */
const JUST_NOW = 60_000;

/**
 * Opens what is due of payers whose balance is asked for: the first reader does what a job would do.
 *
 * @param session of a change that holds the payers' locks; null for a reader
 * @returns whether there may be more than was read before: something was done now, or, for a reader
 *   who holds no locks, by somebody else just before
 */
export async function refreshPayers(
  context: Context,
  session: Session | null,
  payerIds: readonly string[],
  now: Instant,
): Promise<boolean> {
  const [found] = await (session ?? context.database).query<{ is_due: boolean | null }>(
    FIND_FRESH,
    [isoTime(now), payerIds, isoTime(now - JUST_NOW)],
  );
  if (found === undefined) return false;
  if (found.is_due !== true) return session === null;
  if (session !== null) return advancePayers(session, payerIds, now);
  for (let from = 0; from < payerIds.length; from += MAX_LOCKED_ACCOUNTS) {
    const some = payerIds.slice(from, from + MAX_LOCKED_ACCOUNTS);
    // Waits for who does it just now: whoever asks must not be told of the period before.
    await context.database.transaction(undefined, async (own) => {
      await lockAccounts(own, some);
      await advancePayers(own, some, now);
    });
  }
  return true;
}

/** Subscriptions as they stand, with who gets their units. The payers are locked. */
export async function readStandings(
  session: Session,
  names: ReadonlyArray<Pick<StoredSubscription, 'payerId' | 'subscriptionId'>>,
): Promise<Standing[]> {
  if (names.length === 0) return [];
  const rows = await session.query<StandingRow>(READ_STANDINGS, [
    names.map(({ payerId }) => payerId),
    names.map(({ subscriptionId }) => subscriptionId),
  ]);
  return rows.map(standingOf);
}
