import { NO_ACCOUNT, atTime, toInstant, type Context, type Session } from '../database';
import { recordEvents } from '../events';
import { BillingError, isoTime, readClock, type Instant } from '../kernel';
import { catchUpEventOf, type Outcome } from './planning';
import { type StoredSubscription } from './stored-subscription';

/**
 * What keeps a clock that is wrong from doing at once what should come with the time: renewals of a year,
 * each charged. A process whose clock is far ahead of the database's own does nothing that comes due by
 * time; and a subscription that has missed many periods is left alone, since nobody can tell a clock that
 * is wrong on the database's machine, too, from an n8n that was off for months. Both until somebody says
 * `catchUp: true`.
 */

const DAY = 86_400_000;

/** So far a process may be ahead of the database: further than any mistaken time zone. */
const MOST_AHEAD = DAY;

/** What was missed is made up for as long as it is no more than so many periods that are over by now, */
const MOST_MISSED = 3;
/** or began no longer ago: a plan of days is not left alone after a long week-end. */
const MISSED_FOR = 31 * DAY;

/** What a subscription would have to make up for, and is not unless somebody says so. */
export interface LeftBehind {
  payerId: string;
  subscriptionId: string;
  /** Periods that are over and were never opened. */
  missed: number;
}

/** Whether this transaction holds back; database.ts sets it where the engine's clock is the real one. */
const IS_BRAKED = `select coalesce(current_setting('billing.brake', true), '') = 'on' as "isBraked"`;
const RELEASE = `select set_config('billing.brake', 'off', true)`;

/** Somebody wants all that was missed, in the rest of this transaction. */
export async function releaseBrake(session: Session): Promise<void> {
  await session.query(RELEASE);
}

/** The one place where the time is the database's: to be compared with. */
const READ_CLOCK = `select ${atTime('clock_timestamp()')} as at`;

/** Told once a day, by the index events_type. */
const TOLD_OF_CLOCK = `
select 1 from {schema}.events
where type = 'clock.ahead' and recorded_at > $1::timestamptz limit 1`;

/**
 * Before anything that comes due by time is done: that it is not done by a clock which is far ahead.
 *
 * @throws clock_ahead
 */
export async function requireClock(context: Context, catchUp = false): Promise<void> {
  if (!context.isBraked || catchUp) return;
  const now = readClock(context.clock);
  const [row] = await context.database.query<{ at: string }>(READ_CLOCK);
  const there = toInstant(row!.at);
  if (now - there <= MOST_AHEAD) return;
  const clock = isoTime(now);
  const database = isoTime(there);
  await context.database.transaction(undefined, async (session) => {
    const told = await session.query(TOLD_OF_CLOCK, [isoTime(there - DAY)]);
    if (told.length > 0) return;
    const of = { payerId: NO_ACCOUNT, accountId: NO_ACCOUNT, at: there };
    await recordEvents(session, [{ type: 'clock.ahead', ...of, data: { clock, database } }]);
  });
  throw new BillingError(
    'clock_ahead',
    `The clock of this process shows ${clock}, that of the database ${database}: what comes due by time is not done.`,
    {
      parameter: 'catchUp',
      advice:
        'Set the clock of the machine right. If that of the database is the wrong one, or this is meant, say catchUp: true.',
    },
  );
}

/** Periods that would be opened though they are over by now. */
const missedOf = ({ openings }: Outcome, now: Instant): number =>
  openings.filter(({ period }) => period.endsAt <= now).length;

/** Whether more was missed than is made up for unasked. */
const isFarBehind = ({ openings }: Outcome, missed: number, now: Instant): boolean =>
  missed > MOST_MISSED && openings[0]!.period.startsAt < now - MISSED_FOR;

/** Those of which it was told already, each at the boundary from which on it missed its periods. */
const TOLD_OF_MISSED = `
select n.subscription_id::text as "subscriptionId"
from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as n (account_id, subscription_id, at)
where exists (
  select from {schema}.events e
  where e.account_id = n.account_id and e.type = 'subscription.catch_up_needed'
    and e.occurred_at = n.at and e.data ->> 'subscriptionId' = n.subscription_id::text)`;

/**
 * Those of some outcomes that are not to be written, which is told once of each. The payers are locked.
 *
 * @param planned each with the subscription as it stood before
 */
export async function leftBehind(
  session: Session,
  planned: ReadonlyArray<{ before: StoredSubscription; outcome: Outcome }>,
  now: Instant,
): Promise<Map<Outcome, LeftBehind>> {
  const far = planned
    .map((one) => ({ ...one, missed: missedOf(one.outcome, now) }))
    .filter(({ outcome, missed }) => isFarBehind(outcome, missed, now));
  if (far.length === 0) return new Map();
  const [row] = await session.query<{ isBraked: boolean }>(IS_BRAKED);
  if (!row!.isBraked) return new Map();
  const rows = await session.query<{ subscriptionId: string }>(TOLD_OF_MISSED, [
    far.map(({ before }) => before.accountId),
    far.map(({ before }) => before.subscriptionId),
    far.map(({ before }) => isoTime(before.periodEnd)),
  ]);
  const told = new Set(rows.map(({ subscriptionId }) => subscriptionId));
  await recordEvents(
    session,
    far.flatMap(({ before, missed }) =>
      told.has(before.subscriptionId) ? [] : [catchUpEventOf(before, missed, now)],
    ),
  );
  return new Map(
    far.map(({ before: { subscriptionId }, outcome, missed }) => [
      outcome,
      { payerId: outcome.receiver.payerId, subscriptionId, missed },
    ]),
  );
}

const catchUpNeeded = (subscriptionId: string, missed: string): BillingError =>
  new BillingError(
    'catch_up_needed',
    `Subscription ${subscriptionId} has missed ${missed}: they are not opened, and not invoiced, until a run is told to catch up (catchUp).`,
    {
      parameter: 'catchUp',
      advice:
        'To invoice them all run createInvoices, for this account or for all, with catchUp: true; to leave them out cancel the subscription now and start it anew.',
    },
  );

/** What was left behind, as it is told beside what was done. */
export const problemOfMissed = ({ subscriptionId, missed }: LeftBehind) => {
  const { code, message } = catchUpNeeded(subscriptionId, `${missed} periods`);
  return { code, message };
};

/**
 * After it was brought up to date: that it was.
 *
 * @throws catch_up_needed
 */
export function requireUpToDate(one: StoredSubscription, now: Instant): void {
  const isOpen = one.endedAt === null && one.status !== 'paused' && !one.firstUnpaid;
  if (isOpen && one.periodEnd <= now) throw catchUpNeeded(one.subscriptionId, 'periods');
}
