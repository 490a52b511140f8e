import {
  resolveAccount,
  changeOf,
  type Answered,
  type Changed,
  type ResolvedAccount,
} from '../accounts';
import { type Context, type Session } from '../database';
import { parseLedgerId, type BillingError, type Instant, type ResolvedReference } from '../kernel';

/** A line of a ledger by its id, and whose it is. */
export interface OwnLine {
  payerId: string;
  sequence: string;
}

/** The account whose line it is, with the payer in whose ledger it stands. */
interface AccountAtLine extends ResolvedAccount {
  /** Who pays by now for whose ledger that is: another, if that account got a parent or was merged. */
  home: string;
}

interface LineChange<Found extends { accountId: string }> {
  kind: string;
  /** The id as the caller gave it. */
  id: string;
  /** Whose it must be: the one whose line it is, or who pays for it. */
  account?: ResolvedReference;
  /** Its inputs, with the defaults that the line as it was made gives them. */
  request: (found: Found) => Record<string, unknown>;
  idempotencyKey?: string;
  tx?: unknown;
  /** The error for an id that leads to no such line of the account. */
  unknown: (id: string) => BillingError;
  /** The line, and the account whose it is, which never changes; null when there is no such line. */
  find: (session: Session, line: OwnLine) => Promise<Found | null>;
}

/**
 * Runs a change that names a line of a ledger instead of an account: found, locked, once for its key.
 * The key belongs to the account whose line it is. The ledger is the line's: a child that has another
 * payer by now still settles and restores where it used.
 *
 * @param work gets the line as it stands under the lock; its own `replayed` marks an answer that stands
 *   with the line and needs no key
 */
export async function changeOfLine<T extends object, Found extends { accountId: string }>(
  context: Context,
  change: LineChange<Found>,
  work: (
    session: Session,
    found: Found,
    account: AccountAtLine,
    now: Instant,
  ) => Promise<Answered<T>>,
): Promise<Changed<T>> {
  const line = parseLedgerId(change.id);
  if (line === null) throw change.unknown(change.id);
  const parties = async (session: Session) => {
    const found = await change.find(session, line);
    if (found === null) throw change.unknown(change.id);
    const owner = await resolveAccount(session, { accountId: found.accountId });
    const ledger =
      line.payerId === owner.payerId
        ? owner
        : await resolveAccount(session, { accountId: line.payerId });
    if (change.account !== undefined) {
      const named = await resolveAccount(session, change.account);
      // The ledger's owner may have been merged into another since.
      const own = [owner.accountId, line.payerId, ledger.accountId];
      if (!own.includes(named.accountId)) throw change.unknown(change.id);
    }
    const { payerId: home, payerStatus, timeZone } = ledger;
    const place = { payerId: line.payerId, payerStatus, timeZone, home };
    return { owner, found, place, locks: [line.payerId, home] };
  };
  return changeOf(
    context,
    {
      ...change,
      parties,
      request: ({ found }) => ({ ...change.request(found), id: change.id }),
    },
    async (session, { owner, found, place }, now) =>
      work(session, found, { ...owner, ...place }, now),
  );
}
