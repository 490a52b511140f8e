import { translate, tryLockAccounts, type FailedPayer, type Session } from '../database';
import { isBillingError, isoTime, readClock, type Instant } from '../kernel';
import type { PaymentContext } from './ports';
import { isInHand, latestLease, leaseFrom, type Transfer } from './transfers';

/** What nobody knows the outcome of is in the hands of one process at a time, by a lease. */

/** What became of transfers that were left without an outcome; of each kind the payers. */
export interface LookedUp {
  /** How many have an outcome now. */
  decided: number;
  /** Somebody is writing these accounts just now: left to the next run. */
  busy: string[];
  /** What failed, by what was to be paid. */
  failed: Array<FailedPayer & { purposeId: string }>;
}

/** How transfers of a kind are found, leased and looked up. */
export interface Kind<T extends Transfer> {
  /** Of `findingLeft`. */
  left: string;
  find(session: Session, id: string): Promise<T | null>;
  lease(session: Session, transfer: T, until: Instant): Promise<void>;
  /** Asks the gateway, outside any transaction. */
  lookUp(transfer: T): Promise<{ finishedAt: Instant | null }>;
}

/**
 * A statement that finds transfers whose process did not come back, longest first, by the indexes of
 * leases that are there. Locks nothing.
 *
 * @param only the column by whose values some may be picked
 */
export const findingLeft = (table: string, id: string, only: string): string => `
select t.${id}::text as id, t.payer_id::text as payer_id, t.purpose_id::text as purpose_id
from {schema}.${table} t
where t.finished_at is null
  and (t.leased_until <= $1::timestamptz or t.leased_until > $2::timestamptz)
  and t.gateway = any($3::text[])
  and ($4::uuid[] is null or t.${only} = any($4::uuid[]))
order by t.leased_until limit $5::integer`;

/**
 * Takes transfers in hand that were left, one after the other, and looks each up. One that is busy, or
 * that fails, keeps no other from its turn; nothing is under way any more when this has answered.
 *
 * @param wanted `only`: those with one of these ids alone
 * @throws database_unavailable, which concerns all
 */
export async function lookUpLeft<T extends Transfer>(
  context: PaymentContext,
  kind: Kind<T>,
  wanted: { gateways: readonly string[]; only: readonly string[] | undefined; limit: number },
): Promise<LookedUp> {
  const now = readClock(context.clock);
  const left = await context.database.query<{ id: string; payer_id: string; purpose_id: string }>(
    kind.left,
    [isoTime(now), isoTime(latestLease(now)), wanted.gateways, wanted.only ?? null, wanted.limit],
  );
  const done: LookedUp = { decided: 0, busy: [], failed: [] };
  for (const { id, payer_id: payerId, purpose_id: purposeId } of left) {
    try {
      const claimed = await claim(context, id, kind);
      if (claimed === 'busy') done.busy.push(payerId);
      if (claimed === 'busy' || claimed === null) continue;
      const after = await kind.lookUp(claimed);
      if (after.finishedAt !== null) done.decided += 1;
    } catch (error) {
      const told = translate(error);
      const code = isBillingError(told) ? told.code : null;
      if (code?.startsWith('database_') === true) throw error;
      if (code === 'lock_timeout' || code === 'retry_transaction') done.busy.push(payerId);
      else done.failed.push({ payerId, purposeId, error: told });
    }
  }
  return done;
}

/** Takes a transfer in hand, as it was; null when another process has it, or it is decided by now. */
async function claim<T extends Transfer>(
  { database, clock }: PaymentContext,
  id: string,
  { find, lease }: Kind<T>,
): Promise<T | 'busy' | null> {
  return database.transaction(undefined, async (session) => {
    const before = await find(session, id);
    if (before === null) return null;
    const locked = await tryLockAccounts(session, [before.payerId]);
    if (locked.size === 0) return 'busy';
    const now = readClock(clock);
    const transfer = (await find(session, id))!;
    if (transfer.leasedUntil === null || isInHand(transfer, now)) return null;
    await lease(session, transfer, leaseFrom(now));
    return transfer;
  });
}
