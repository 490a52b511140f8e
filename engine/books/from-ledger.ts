import type { Session } from '../database';
import type { LedgerPorts, MovedValue, PaidOutside } from '../ledger';
import { movePostings, post, postAll } from './posting';

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

async function movedValue(
  session: Session,
  { fromPayerId, intoPayerId, currency, value, entryId, at }: MovedValue,
): Promise<void> {
  const payers = { from: fromPayerId, into: intoPayerId };
  const reference = { type: 'entry', id: entryId };
  await postAll(session, movePostings(payers, { currency, amount: value, at, reference }));
}

export const bookPorts: Pick<LedgerPorts, 'paidOutside' | 'movedValue'> = {
  paidOutside,
  movedValue,
};
