import type { Merge } from '../accounts';
import type { RowOf, Session } from '../database';
import { isoTime, type Decimal, type Instant } from '../kernel';
import { HELD_FEES } from './tables';

/**
 * Fees for a time that begins when they are paid: they stand on `deferred` from the sale on, and nothing
 * of them is earned before it is known when their time is.
 */

/** A fee that whoever calls has posted on `deferred`, in the same transaction. */
export interface HeldFee {
  payerId: string;
  /** A uuid, by which the fee can be ended. */
  feeId: string;
  currency: string;
  /** Net, with at most 8 decimals; below 0 for time that is credited. One of 0 is left out. */
  amount: Decimal;
  reference: { type: string; id: string };
}

/** Remembers fees that wait. As `deferFees`, but for their time. */
export async function holdFees(session: Session, fees: readonly HeldFee[]): Promise<void> {
  const rows = fees
    .filter(({ amount }) => !amount.isZero())
    .map(({ reference, ...fee }) => ({
      ...fee,
      referenceType: reference.type,
      referenceId: reference.id,
    }));
  await HELD_FEES.write(session, rows);
}

/** Along the primary key; the payers are locked. */
const RELEASE = `
update {schema}.held_fees f set released_at = $3::timestamptz
where f.payer_id = any($1::uuid[]) and f.fee_id = any($2::uuid[]) and f.released_at is null
returning ${HELD_FEES.select('f')}`;

/** Takes fees out of waiting. @returns those that waited: nothing of them was earned */
export const takeHeldFees = (
  session: Session,
  payerIds: readonly string[],
  feeIds: readonly string[],
  now: Instant,
) => HELD_FEES.rows(session, RELEASE, [payerIds, feeIds, isoTime(now)]);

const FIND_OPEN = `
select ${HELD_FEES.select('f')} from {schema}.held_fees f
where f.payer_id = $1::uuid and f.released_at is null
order by f.fee_id`;

/**
 * Fees that wait go to another payer, under the same ids. Both are locked.
 *
 * @returns what went along
 */
export async function moveHeldFees(
  session: Session,
  { from, into, now, dryRun }: Pick<Merge, 'from' | 'into' | 'now' | 'dryRun'>,
): Promise<Array<RowOf<typeof HELD_FEES>>> {
  const open = await HELD_FEES.rows(session, FIND_OPEN, [from.payerId]);
  const moved = open.map((fee) => ({ ...fee, payerId: into.payerId }));
  if (dryRun || open.length === 0) return moved;
  const ids = open.map(({ feeId }) => feeId);
  await takeHeldFees(session, [from.payerId], ids, now);
  await HELD_FEES.write(session, moved);
  return moved;
}
