import type { Session } from '../database';
import { ZERO, type Decimal, type Instant } from '../kernel';
import { followGrants, withdrawUnits } from '../ledger';
import type { OrderAtHand } from './change-of-order';
import { grantKey, type PlannedLine, type UsedRule, type WantedUnits } from './refund-plan';

/** Takes units back that an order brought, wherever they are by now. */

/**
 * Takes the units back, as far as they are there; by grant of the order. A grant of which nothing is
 * left is over, but not one whose used units are charged: held ones may come back to it.
 */
export async function takeBack(
  session: Session,
  { order, account }: OrderAtHand,
  planned: readonly PlannedLine[],
  used: UsedRule,
  refundId: string,
  now: Instant,
): Promise<Map<string, { taken: Decimal; value: Decimal }>> {
  const wanted = planned.flatMap((line) => line.wanted);
  const present = await presentGrants(session, wanted);
  const done = new Map<string, { taken: Decimal; value: Decimal }>();
  const take = async (some: readonly WantedUnits[], how: 'owe' | 'end' | 'take'): Promise<void> => {
    for (const [ledger, ofLedger] of groupBy(some, (one) => present.get(one)!.ledgerId)) {
      const found = await withdrawUnits(session, {
        payerId: ledger,
        accountId: account.accountId,
        grants: ofLedger.map((one) => ({
          sequence: present.get(one)!.sequence,
          ...(how === 'end' ? {} : { amount: one.units }),
          ...(how === 'owe' ? { owed: one.grant.unmet } : {}),
        })),
        kind: 'refund',
        note: { source: `refund ${refundId} of order ${order.orderId}` },
        now,
        debt: how === 'owe',
      });
      const bySequence = new Map(found.map((one) => [one.sequence, one]));
      for (const one of ofLedger) {
        const { taken, value } = bySequence.get(present.get(one)!.sequence)!;
        const before = done.get(grantKey(one.grant)) ?? { taken: ZERO, value: ZERO };
        done.set(grantKey(one.grant), {
          taken: before.taken.plus(taken),
          value: before.value.plus(value),
        });
      }
    }
  };
  const some = wanted.filter(({ units }) => !units.isZero());
  // Bonuses that were used are nobody's loss: no debt comes of them.
  const isOwed = ({ grant }: WantedUnits): boolean => used === 'negative' && !grant.bonus;
  const isOver = ({ ends }: WantedUnits): boolean => ends && used !== 'charge';
  await take(some.filter(isOwed), 'owe');
  await take(wanted.filter(isOver), 'end');
  await take(
    some.filter((one) => !isOwed(one) && !isOver(one)),
    'take',
  );
  return done;
}

/** What each grant of an order is by now: itself, or the one as which it lives on. */
async function presentGrants(
  session: Session,
  wanted: readonly WantedUnits[],
): Promise<Map<WantedUnits, { ledgerId: string; sequence: bigint }>> {
  const present = new Map<WantedUnits, { ledgerId: string; sequence: bigint }>();
  for (const [ledger, ofLedger] of groupBy(wanted, ({ grant }) => grant.ledgerId)) {
    const steps = await followGrants(
      session,
      ledger,
      ofLedger.map(({ grant }) => grant.sequence),
    );
    for (const one of ofLedger) {
      // In the order in which it moved: the last is where it is.
      const last = steps.filter(({ origin }) => origin === one.grant.sequence).at(-1)!;
      present.set(one, { ledgerId: last.payerId, sequence: last.sequence });
    }
  }
  return present;
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}
