import {
  MAX_LOCKED_ACCOUNTS,
  atTime,
  grouped,
  lockAccounts,
  sweep,
  toInstant,
  type Context,
  type Session,
} from '../database';
import { isoTime, readClock, type Instant } from '../kernel';
import { ledgerTimeSql } from '../ledger';
import { defaultGateways } from '../payments';
import { leftBehind, releaseBrake, type LeftBehind } from './brake';
import type { PeriodPorts } from './giving-back';
import { asksForMethod, planAdvance, type Outcome, type Standing } from './planning';
import { queuedChanges } from './queued-changes';
import { findOfPayers } from './records';
import { readStandings } from './standings';
import { presentPayer, type SubscriptionName } from './stored-subscription';
import { OfferVersions } from './offer-versions';
import { endUnpaidUnits, isGraceOver } from './unpaid-units';
import { writeOutcomes } from './writing';

/**
 * Brings subscriptions up to date: set-based, a chunk of payers in each transaction. It may be killed
 * between any two, and any number of processes may do it at once: a period is opened once, by its
 * number, and whatever belongs to it is written in the same transaction.
 */

export interface AdvanceRequest {
  /** At most so many subscriptions, those left behind not counted; default all that are due. */
  limit?: number;
  /** Only those that these accounts pay for, or that were theirs before a merge. */
  payerIds?: readonly string[];
  /** All that was missed, too. */
  catchUp?: boolean;
}

export interface AdvanceDone {
  /** Subscriptions that were due and are up to date now. */
  subscriptions: number;
  /** Periods opened. */
  periods: number;
  /** Due ones that were passed over since somebody was writing their account: for the next run. */
  left: number;
  /** Those that have missed more than is made up for unasked. */
  behind: LeftBehind[];
}

interface Due extends SubscriptionName {
  ledgerId: string;
  dueAt: string;
}

const DUE_COLUMNS = `
s.payer_id::text as "payerId", s.subscription_id::text as "subscriptionId",
m.payer_id::text as "ledgerId", s.next_due_at::text as "dueAt"`;

/**
 * What has been due for longest, by the index subscriptions_due. Locks nothing: what was written
 * meanwhile is seen once the payers are locked. $2 to $4 go on behind what was looked at.
 */
const FIND_DUE = `
select ${DUE_COLUMNS}
from (
  select * from {schema}.subscriptions s
  where s.next_due_at <= $1::timestamptz and s.next_due_at >= $2::timestamptz
    and (s.next_due_at, s.payer_id, s.subscription_id) > ($2::timestamptz, $3::uuid, $4::uuid)
  order by s.next_due_at, s.payer_id, s.subscription_id limit $5::integer
) as s ${presentPayer('s')}
order by s.next_due_at, s.payer_id, s.subscription_id`;

/** Some payers, and the accounts that were merged into them. */
const NAMES = `(
  select unnest($2::uuid[]) as account_id
  union all
  select a.account_id from {schema}.accounts a where a.merged_into = any($2::uuid[]))`;

/** The same of some payers: along the primary key, few rows each. */
const FIND_DUE_OF = `
select ${DUE_COLUMNS}
from ${NAMES} as n
cross join lateral (
  select s.* from {schema}.subscriptions s
  where s.payer_id = n.account_id and s.next_due_at <= $1::timestamptz
  offset 0) as s ${presentPayer('s')}
order by s.next_due_at, s.payer_id, s.subscription_id`;

const dueOf = (session: Session, payerIds: readonly string[], now: Instant): Promise<Due[]> =>
  session.query<Due>(FIND_DUE_OF, [isoTime(now), payerIds]);

/**
 * Opens the periods that have begun, ends and pauses what has come to its end, and reminds of what is
 * to come. Subscriptions of accounts that somebody is writing just now are left to the next run.
 *
 * @throws what the first account threw whose subscriptions could not be brought up to date; those of
 *   the others are
 */
export async function advanceSubscriptions(
  context: Context,
  ports: PeriodPorts,
  { limit, payerIds, catchUp = false }: AdvanceRequest = {},
): Promise<AdvanceDone> {
  const { database } = context;
  const now = readClock(context.clock);
  /** By subscription, so that a chunk that is tried again counts once. */
  const opened = new Map<string, number>();
  const behind = new Map<string, LeftBehind>();
  const offers = new OfferVersions();
  const named = payerIds === undefined ? null : await dueOf(database, payerIds, now);
  const { found, failed } = await sweep<Due>(database, {
    key: { dueAt: 'instant', payerId: 'uuid', subscriptionId: 'uuid' },
    limit,
    passedOver: () => behind.size,
    find: async (after, size) =>
      named?.splice(0, size) ?? database.query(FIND_DUE, [isoTime(now), ...after, size]),
    payerOf: ({ ledgerId }) => ledgerId,
    work: async (session, due) => {
      if (catchUp) await releaseBrake(session);
      const done = await advanceThese(session, ports, due, offers, now);
      for (const { subscription, openings } of done.outcomes) {
        opened.set(subscription.subscriptionId, openings.length);
      }
      for (const one of done.behind) behind.set(one.subscriptionId, one);
    },
  });
  if (failed.length > 0) throw failed[0]!.error;
  const periods = [...opened.values()].reduce((sum, count) => sum + count, 0);
  const left = found - opened.size - behind.size;
  return { subscriptions: opened.size, periods, left, behind: [...behind.values()] };
}

/** Brings due subscriptions up to date. Their payers are locked. */
async function advanceThese(
  session: Session,
  ports: PeriodPorts,
  due: readonly SubscriptionName[],
  offers: OfferVersions,
  now: Instant,
): Promise<{ outcomes: Outcome[]; behind: LeftBehind[] }> {
  const standings = await readStandings(session, due, now);
  if (standings.length === 0) return { outcomes: [], behind: [] };
  const subscriptions = standings.map(({ subscription }) => subscription);
  const queued = await queuedChanges(session, subscriptions);
  await offers.load(session, [...subscriptions, ...queued.values()]);
  const planned = (await withMethods(session, standings, offers)).map((standing) => {
    const { subscription: before } = standing;
    const change = queued.get(before.subscriptionId);
    return { before, outcome: planAdvance(standing, offers.of, change, now) };
  });
  const behind = await leftBehind(session, planned, now);
  const outcomes = planned.flatMap(({ outcome }) => (behind.has(outcome) ? [] : outcome));
  if (outcomes.length > 0) await writeOutcomes(session, outcomes, now);
  for (const { before, outcome } of planned) {
    const isOver = !behind.has(outcome) && outcome.subscription.endedAt !== null;
    if (isOver && isGraceOver(before, now)) await endUnpaidUnits(session, ports, outcome, now);
  }
  return { outcomes, behind: [...behind.values()] };
}

/** Says of those for which it matters that there is nothing to charge. */
async function withMethods(
  session: Session,
  standings: readonly Standing[],
  offers: OfferVersions,
): Promise<readonly Standing[]> {
  const asking = new Set(
    standings.filter(({ subscription }) =>
      asksForMethod(subscription, offers.of(subscription.sku, subscription.version)),
    ),
  );
  if (asking.size === 0) return standings;
  const ledgers = [...asking].map(({ receiver }) => receiver.payerId);
  const able = await defaultGateways(session, ledgers);
  return standings.map((standing) =>
    asking.has(standing) && !able.has(standing.receiver.payerId)
      ? { ...standing, lacksMethod: true }
      : standing,
  );
}

/**
 * The same for payers that are locked already, in their transaction.
 *
 * @returns whether anything changed
 */
export async function advancePayers(
  session: Session,
  ports: PeriodPorts,
  payerIds: readonly string[],
  now: Instant,
): Promise<boolean> {
  const due = await dueOf(session, payerIds, now);
  const done = await advanceThese(session, ports, due, new OfferVersions(), now);
  return done.outcomes.length > 0;
}

/**
 * Subscriptions as they stand now, all boundaries that were passed behind them.
 *
 * @param wanted with who pays for each: whoever did when it was billed, perhaps merged away since
 */
export async function broughtUpToDate(
  session: Session,
  ports: PeriodPorts,
  wanted: readonly SubscriptionName[],
  now: Instant,
): Promise<Standing[]> {
  const found = await readStandings(session, await findOfPayers(session, wanted));
  const ledgers = [...new Set(found.map(({ receiver }) => receiver.payerId))];
  if (!(await advancePayers(session, ports, ledgers, now))) return found;
  return readStandings(
    session,
    found.map(({ subscription }) => subscription),
  );
}

/**
 * Of each of some payers whether something is due by the time that counts in its ledger, which comes
 * with it, or was given to it since $3; the others are missing. Few rows each, along primary keys.
 */
const FIND_FRESH = `
select w.payer_id::text as "payerId", ${atTime('w.now')} as now, bool_or(s.is_due) as "isDue"
from (
  select l.payer_id, ${ledgerTimeSql('l.payer_id', '$1::timestamptz')} as now
  from unnest($2::uuid[]) as l (payer_id)
  offset 0) as w
cross join lateral (
  select w.payer_id as account_id
  union all
  select a.account_id from {schema}.accounts a where a.merged_into = w.payer_id) as n
cross join lateral (
  select coalesce(s.next_due_at <= w.now, false) as is_due
  from {schema}.subscriptions s
  where s.payer_id = n.account_id and (
    s.next_due_at <= w.now or exists (
      select 1 from {schema}.subscription_periods p
      where p.payer_id = s.payer_id and p.subscription_id = s.subscription_id
        and p.number = s.period_number and p.granted_at >= $3::timestamptz))
  offset 0) as s
group by w.payer_id, w.now`;

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
  ports: PeriodPorts,
  session: Session | null,
  payerIds: readonly string[],
  clock: Instant,
): Promise<boolean> {
  const found = await (session ?? context.database).query<Fresh>(FIND_FRESH, [
    isoTime(clock),
    payerIds,
    isoTime(clock - JUST_NOW),
  ]);
  const due = found.filter(({ isDue }) => isDue);
  // The clock says for nearly all; each whose ledger is ahead of it has a time of its own.
  const byTime = grouped(due, ({ now }) => now);
  let changed = false;
  for (const [now, of] of byTime) {
    const ids = of.map(({ payerId }) => payerId);
    const at = toInstant(now);
    if (session !== null) changed = (await advancePayers(session, ports, ids, at)) || changed;
    else await openDue(context, ports, ids, at);
  }
  return session === null ? found.length > 0 : changed;
}

interface Fresh {
  payerId: string;
  /** In milliseconds. */
  now: string;
  isDue: boolean;
}

/** Waits for who does it just now: whoever asks must not be told of the period before. */
async function openDue(
  { database }: Context,
  ports: PeriodPorts,
  payerIds: readonly string[],
  now: Instant,
): Promise<void> {
  for (let from = 0; from < payerIds.length; from += MAX_LOCKED_ACCOUNTS) {
    const some = payerIds.slice(from, from + MAX_LOCKED_ACCOUNTS);
    await database.transaction(undefined, async (session) => {
      await lockAccounts(session, some);
      await advancePayers(session, ports, some, now);
    });
  }
}
