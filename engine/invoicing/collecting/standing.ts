import { NO_STANDING, type AccountStanding } from '../../accounts';
import { atTime, readTime, type Session } from '../../database';
import { isoTime, type Instant } from '../../kernel';
import { ledgerTimeSql } from '../../ledger';

/**
 * How an account stands with its subscriptions and invoices: derived, beside the status that people set.
 * $1 the account that pays; of those merged into it, too. $2 the clock: a grace is over
 * by the time that counts in the ledger.
 */
const READ_STANDING = `
with names as (
  select account_id from {schema}.accounts where account_id = $1::uuid or merged_into = $1::uuid
), clock as (select ${ledgerTimeSql('$1::uuid', '$2::timestamptz')} as now)
select coalesce(bool_or(s.status = 'trialing'), false) as trialing,
       coalesce(bool_or(s.status = 'past_due'), false) as "pastDue",
       coalesce(bool_or(s.overdue or (s.grace_until <= (select now from clock) and not s.first_unpaid)), false)
         as overdue,
       (select ${atTime('min(c.grace_until)')} from {schema}.collections c
        where c.payer_id in (select account_id from names) and c.closed_at is null) as "graceUntil"
from names n
join {schema}.subscriptions s on s.payer_id = n.account_id and s.ended_at is null`;

/** @param payerId who pays for the account */
export async function standingOf(
  session: Session,
  payerId: string,
  now: Instant,
): Promise<AccountStanding> {
  const [found] = await session.query<AccountStanding>(READ_STANDING, [payerId, isoTime(now)]);
  if (found === undefined) return NO_STANDING;
  return { ...found, graceUntil: found.pastDue ? readTime(found.graceUntil) : null };
}
