import type { Session } from '../database';
import type { LedgerPorts, MovedValue, PaidOutside } from '../ledger';
import { post, postAll } from './posting';

/** What happens in the ledger and is money at once; what units earn follows later (earned.ts). */

/** Units paid for outside any order: the money is here, and nothing of it is earned. */
async function paidOutside(
  session: Session,
  { payerId, grantId, currency, amount, at }: PaidOutside,
): Promise<void> {
  await post(session, {
    payerId,
    currency,
    at,
    kind: 'outside_grant',
    reference: { type: 'grant', id: grantId },
    legs: [
      { account: 'cash', gateway: 'manual', amount },
      { account: 'deferred', amount: amount.negated() },
    ],
  });
}

/** Each posting is of one payer: over all of them, what is on its way sums to 0. */
async function movedValue(
  session: Session,
  { fromPayerId, intoPayerId, currency, value, entryId, at }: MovedValue,
): Promise<void> {
  const moved = {
    currency,
    at,
    kind: 'transfer',
    reference: { type: 'entry', id: entryId },
  } as const;
  await postAll(session, [
    {
      ...moved,
      payerId: fromPayerId,
      legs: [
        { account: 'deferred', amount: value },
        { account: 'transfer', amount: value.negated() },
      ],
    },
    {
      ...moved,
      payerId: intoPayerId,
      legs: [
        { account: 'transfer', amount: value },
        { account: 'deferred', amount: value.negated() },
      ],
    },
  ]);
}

export const bookPorts: Pick<LedgerPorts, 'paidOutside' | 'movedValue'> = {
  paidOutside,
  movedValue,
};
