import type { Session } from '../database';
import { couponPeriods, couponsFreed, cycleOfChange } from '../subscriptions';
import type { StoredInvoice } from './invoice-records';
import { sumTaken } from './reckoning';

/** What coupons took off an invoice that is void, or of a change that lapsed, they can take again. */
export async function freeCoupons(
  session: Session,
  names: readonly string[],
  { lines, changeId }: StoredInvoice,
): Promise<void> {
  const lowered = lines.flatMap(({ coupon, subscriptionId, periodNumber, discount }) =>
    coupon !== null && subscriptionId !== null && periodNumber !== null
      ? { subscriptionId, number: periodNumber, taken: discount }
      : [],
  );
  const periodOf = await couponPeriods(session, names, lowered);
  // Another period has the number by now, if that change never took force.
  const ofChange = changeId === null ? null : await cycleOfChange(session, changeId);
  const taken = lowered.flatMap(({ subscriptionId, number, taken: amount }) => {
    const cycle = ofChange ?? periodOf(subscriptionId, number)?.cycle;
    return cycle === undefined ? [] : { subscriptionId, cycle, taken: amount };
  });
  await couponsFreed(session, names, sumTaken(taken));
}
