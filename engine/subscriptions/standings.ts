import type { Session } from '../database';
import { isoTime, type Instant } from '../kernel';
import type { Standing } from './planning';
import { NAMES, SUBSCRIPTIONS, presentPayer, type SubscriptionName } from './stored-subscription';

/** Subscriptions with all that decides about them. */

/** Each found by its primary key. With $3 only those that are due then. */
const READ = `
select ${SUBSCRIPTIONS.select('s')}, m.payer_id::text as "ledgerId", p.time_zone as "timeZone",
       w.account_id::text as "receiverId",
       (p.status = 'closed' or w.status = 'closed') as "isClosed"
from ${NAMES.unnest()}
cross join lateral (
  select s.* from {schema}.subscriptions s
  where s.payer_id = n.payer_id and s.subscription_id = n.subscription_id
    and ($3::timestamptz is null or s.next_due_at <= $3::timestamptz)
  offset 0) as s ${presentPayer('s')}
join {schema}.accounts p on p.account_id = m.payer_id
join {schema}.accounts o on o.account_id = s.account_id
join {schema}.accounts w on w.account_id = coalesce(o.merged_into, o.account_id)`;

interface StandingRow {
  ledgerId: string;
  timeZone: string;
  receiverId: string;
  isClosed: boolean;
}

/**
 * Subscriptions as they stand, with who gets their units. The payers are locked.
 *
 * @param dueAt only those that are due then
 */
export async function readStandings(
  session: Session,
  names: readonly SubscriptionName[],
  dueAt: Instant | null = null,
): Promise<Standing[]> {
  if (names.length === 0) return [];
  const rows = await session.query<StandingRow>(READ, [...NAMES.values(names), isoTime(dueAt)]);
  return rows.map(({ receiverId, ledgerId, timeZone, isClosed, ...row }) => ({
    subscription: SUBSCRIPTIONS.read(row),
    receiver: { accountId: receiverId, payerId: ledgerId, timeZone },
    isClosed,
  }));
}
