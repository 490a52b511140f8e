import { namesOfPayer } from '../accounts';
import type { Session } from '../database';

/**
 * Of subscriptions that are over nothing falls due any more: the periods of some uses ($2 the ledger, $3
 * their lines) are looked at once again, so that what was billed and restored is credited. Those that
 * are not over come by it with their next invoice.
 */
const REOPEN = `
update {schema}.subscription_periods p set drafted_at = null
from unnest($3::bigint[]) as w (sequence)
join {schema}.entries e on e.payer_id = $2::uuid and e.sequence = w.sequence,
  {schema}.subscriptions s
where p.payer_id = any($1::uuid[]) and p.drafted_at is not null
  and p.starts_at <= e.effective_at and p.ends_at >= e.effective_at
  and s.payer_id = p.payer_id and s.subscription_id = p.subscription_id and s.ended_at is not null`;

/** Use beyond grants was restored. The payer is locked. */
export async function useRestored(
  session: Session,
  payerId: string,
  sequences: readonly bigint[],
): Promise<void> {
  if (sequences.length === 0) return;
  const names = await namesOfPayer(session, payerId);
  await session.query(REOPEN, [names, payerId, sequences.map(String)]);
}
