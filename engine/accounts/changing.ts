import type { Context, Session } from '../database';
import { BillingError, type Instant } from '../kernel';
import { changeOf, type Change, type Changed, type Parties } from './change-of';

/** Runs a change of an account (see `changeOf`), and tells who keeps accounts in mind. */
export async function changeAccount<P extends Parties, T extends { accountId: string }>(
  context: Context,
  change: Change<P>,
  work: (session: Session, parties: P, now: Instant) => Promise<T>,
): Promise<Changed<T>> {
  const answer = await changeOf(context, change, async (session, parties, now) => ({
    answer: await work(session, parties, now),
  }));
  tellOf(context, [answer.accountId]);
  return answer;
}

/** Tells who keeps accounts in mind that these have changed. */
export function tellOf(context: Context, accountIds: readonly string[]): void {
  for (const tell of context.onAccountChange) accountIds.forEach(tell);
}

export const REOPEN_FIRST = 'Set its status to active first.';

/** Why two accounts cannot be joined. */
export const mergeConflict = (message: string, parameter: string, advice?: string): BillingError =>
  new BillingError('merge_conflict', message, { parameter, advice });
