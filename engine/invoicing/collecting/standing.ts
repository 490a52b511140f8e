import { NO_STANDING, type AccountStanding } from '../../accounts';
import { atTime, readTime, type Session } from '../../database';
import { isoTime, type Instant } from '../../kernel';

/**
 * How an account stands with its subscriptions and invoices: derived, beside the status that people set.
 * $1 the account that pays; of those merged into it, too. $2 now: a grace is over by the clock.
 */
const READ_STANDING = `
with names as (
  select account_id from {schema}.accounts where account_id = $1::uuid or merged_into = $1::uuid
)
select coalesce(bool_or(s.status = 'trialing'), false) as trialing,
       coalesce(bool_or(s.status = 'past_due'), false) as past_due,
       coalesce(bool_or(s.overdue or s.grace_until <= $2::timestamptz), false) as overdue,
       (select ${atTime('min(c.grace_until)')} from {schema}.collections c
        where c.payer_id in (select account_id from names) and c.closed_at is null) as grace_until
from names n
join {schema}.subscriptions s on s.payer_id = n.account_id and s.ended_at is null`;

interface StandingRow {
  trialing: boolean;
  past_due: boolean;
  overdue: boolean;
  grace_until: string | null;
}

/** @param payerId who pays for the account */
export async function standingOf(
  session: Session,
  payerId: string,
  now: Instant,
): Promise<AccountStanding> {
  const [row] = await session.query<StandingRow>(READ_STANDING, [payerId, isoTime(now)]);
  if (row === undefined) return NO_STANDING;
  return {
    trialing: row.trialing,
    pastDue: row.past_due,
    overdue: row.overdue,
    graceUntil: row.past_due ? readTime(row.grace_until) : null,
  };
}
