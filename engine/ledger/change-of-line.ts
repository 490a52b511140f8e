import { payersOf, resolveAccount, type ResolvedAccount } from '../accounts';
import { lockAccounts, once, serializationFailure, type Context, type Session } from '../database';
import {
  parseLedgerId,
  readClock,
  type BillingError,
  type Instant,
  type ResolvedReference,
} from '../kernel';

/** A line of a ledger by its id, and whose it is. */
export interface OwnLine {
  payerId: string;
  sequence: string;
}

interface LineChange {
  kind: string;
  /** The id as the caller gave it. */
  id: string;
  /** Whose it must be: the one whose line it is, or who pays for it. */
  account: ResolvedReference | undefined;
  request: Record<string, unknown>;
  idempotencyKey: string | undefined;
  tx: unknown;
  /** The error for an id that leads to no such line of the account. */
  unknown: (id: string) => BillingError;
  /** The account whose line it is; null when there is no such line. That never changes. */
  findAccount: (session: Session, line: OwnLine) => Promise<string | null>;
}

/**
 * Runs a change that names a line of a ledger instead of an account: found, locked, once for its key.
 * The key belongs to the account whose line it is. The ledger is the line's: a child that has another
 * payer by now still settles and restores where it used.
 *
 * @param work reads the line again, under the lock; gets its account with the payer in whose ledger it
 *   stands; its own `replayed` marks an answer that stands with the line and needs no key
 */
export async function changeOfLine<T extends object>(
  context: Context,
  change: LineChange,
  work: (
    session: Session,
    line: OwnLine,
    account: ResolvedAccount,
    now: Instant,
  ) => Promise<{ answer: T; replayed: boolean }>,
): Promise<{ answer: T; replayed: boolean }> {
  const line = parseLedgerId(change.id);
  if (line === null) throw change.unknown(change.id);
  return context.database.transaction(change.tx, async (session) => {
    const accountId = await change.findAccount(session, line);
    if (accountId === null) throw change.unknown(change.id);
    const before = await resolveAccount(session, { accountId });
    if (change.account !== undefined) {
      const named = await resolveAccount(session, change.account);
      const own =
        [before.accountId, line.payerId].includes(named.accountId) ||
        // The ledger's owner may have been merged into another since.
        (await resolveAccount(session, { accountId: line.payerId })).accountId === named.accountId;
      if (!own) throw change.unknown(change.id);
    }
    // The ledger's, and the one under whom the key is kept.
    await lockAccounts(session, [line.payerId, before.payerId]);
    const now = readClock(context.clock);
    const account = await resolveAccount(session, { accountId });
    if (account.payerId !== before.payerId) {
      throw serializationFailure('the account got another payer meanwhile');
    }
    let again = false;
    const { answer, replayed } = await once(
      session,
      {
        kind: change.kind,
        payers: payersOf(account),
        account: account.accountId,
        key: change.idempotencyKey,
        request: { ...change.request, id: change.id },
        now,
        keep: context.keep,
      },
      async () => {
        const done = await work(session, line, await atLine(session, line, account), now);
        again = done.replayed;
        return done.answer;
      },
    );
    return { answer, replayed: replayed || again };
  });
}

async function atLine(
  session: Session,
  { payerId }: OwnLine,
  account: ResolvedAccount,
): Promise<ResolvedAccount> {
  if (payerId === account.payerId) return account;
  const { payerStatus, timeZone } = await resolveAccount(session, { accountId: payerId });
  return { ...account, payerId, payerStatus, timeZone };
}
