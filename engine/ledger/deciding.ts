import type { Session } from '../database';
import type { DenialReason, Instant } from '../kernel';
import { isCurable } from './access';
import type { Journal, WantedPocket } from './journal';
import { openJournal } from './journal-store';
import { withFreed } from './order-of-use';
import { isDue, type Grant, type Pocket } from './pockets';
import type { LedgerPorts } from './ports';

/** What a change is decided on that takes units out of a pocket. */
export interface OpenPocket {
  journal: Journal;
  pocket: Pocket;
  /** The time that counts in the ledgers concerned. */
  time: Instant;
  /** The pocket's grants as they count then. */
  grants: readonly Grant[];
}

/**
 * Decides about the first of some pockets, whose payers must be locked: where a period is due, once it
 * has been opened; and once more when a denial may be cured and one was due that was not seen here.
 *
 * @param decide writes nothing when it denies
 */
export async function decideOn<T extends { reason: DenialReason | null }>(
  { refresh }: Pick<LedgerPorts, 'refresh'>,
  session: Session,
  now: Instant,
  pockets: readonly [WantedPocket, ...WantedPocket[]],
  decide: (open: OpenPocket) => Promise<T>,
): Promise<T> {
  const [{ payerId, product }] = pockets;
  const open = async (): Promise<OpenPocket> => {
    const journal = await openJournal(session, now, pockets);
    const pocket = journal.pocket(payerId, product);
    const time = Math.max(...pockets.map((one) => journal.now(one.payerId)));
    return { journal, pocket, time, grants: withFreed(pocket.grants, pocket.holds, time) };
  };
  const first = await open();
  const answer = isDue(first.pocket, first.time) ? null : await decide(first);
  if (answer !== null && !isCurable(answer)) return answer;
  const isFresh = await refresh(session, [payerId], now);
  return answer === null || isFresh ? decide(await open()) : answer;
}
