import { lockAccounts, once, serializationFailure, type Context, type Session } from '../database';
import { readClock, type Instant, type ResolvedReference } from '../kernel';
import { aliasesOf } from './aliases';
import { payersOf, resolveAccount, type ResolvedAccount } from './resolving';

/** Whom a change concerns. */
export interface Parties {
  /** To whom the idempotency key belongs. */
  owner: ResolvedAccount;
  /** Paying accounts whose rows may be written beside those of the owner's payer. */
  locks: readonly string[];
}

export interface Change<P extends Parties> {
  kind: string;
  /** Finds the parties: once to know whom to lock, once more under the locks. */
  parties: (session: Session) => Promise<P>;
  /** What tells this request from another under its key: all inputs but metadata, tx and the key. */
  request: (parties: P) => Record<string, unknown>;
  idempotencyKey?: string;
  tx?: unknown;
  /** A transaction of the engine's own to join, which holds the locks of these parties. */
  within?: Session;
}

/** What work gives. Its own `replayed` marks an answer that stands with its record and needs no key. */
export interface Answered<T> {
  answer: T;
  replayed?: boolean;
}

/** What a change came to; `replayed`: the first answer once more. */
export type Changed<T> = T & { replayed: boolean };

/**
 * Runs a change: finds whom it concerns, locks their payers, finds again, and works once for its key.
 *
 * The order of locks, everywhere: first the advisory locks of paying accounts, all of a transaction
 * in one statement and ascending (database/locks.ts); then rows, of which only those that no account's lock covers
 * matter: the catalog's, and the row of an invoice series last of all. No change takes an account's
 * lock while it holds a row that others wait for. A key needs no lock of its own here: who asks
 * under it holds the owner's.
 *
 * @throws retry_transaction, inside a caller's transaction, when the parties changed meanwhile;
 *   idempotency_conflict; whatever the parties or the work throw
 */
export function changeOf<P extends Parties, T extends object>(
  context: Context,
  change: Change<P>,
  work: (session: Session, parties: P, now: Instant) => Promise<Answered<T>>,
): Promise<Changed<T>> {
  const run = async (session: Session): Promise<Changed<T>> => {
    const locked = locksOf(await change.parties(session));
    await lockAccounts(session, locked);
    const now = readClock(context.clock);
    const parties = await change.parties(session);
    if (locksOf(parties).some((payerId) => !locked.includes(payerId))) {
      throw serializationFailure('the change came to concern another account meanwhile');
    }
    let again = false;
    const { answer, replayed } = await once(
      session,
      {
        kind: change.kind,
        payers: payersOf(parties.owner),
        account: parties.owner.accountId,
        key: change.idempotencyKey,
        request: change.request(parties),
        earlier: async (owner) =>
          (await earlierNames(session, parties, owner)).map((named) => change.request(named)),
        now,
        keep: context.keep,
        isLocked: true,
      },
      async () => {
        const done = await work(session, parties, now);
        again = done.replayed === true;
        return done.answer;
      },
    );
    return { ...answer, replayed: replayed || again };
  };
  return change.within === undefined
    ? context.database.transaction(change.tx, run)
    : run(change.within);
}

const isAccount = (party: unknown): party is ResolvedAccount =>
  typeof party === 'object' && party !== null && 'earlierPayers' in party;

/**
 * The parties by the names that they may have had when somebody asked: each that is an account by all
 * that were merged into it.
 *
 * @param owner under which name the owner was asked of, if another
 */
async function earlierNames<P extends Parties>(
  session: Session,
  parties: P,
  owner: string | undefined,
): Promise<P[]> {
  let named = [parties];
  for (const [field, party] of Object.entries(parties) as Array<[string, unknown]>) {
    if (!isAccount(party)) continue;
    const { accountId } = party;
    const names =
      field === 'owner'
        ? [owner ?? accountId]
        : [accountId, ...(await aliasesOf(session, accountId))];
    named = named.flatMap((one) =>
      names.map((name) => ({ ...one, [field]: { ...party, accountId: name } })),
    );
  }
  return named;
}

const locksOf = ({ owner, locks }: Parties): string[] => [...new Set([owner.payerId, ...locks])];

/** Runs a change of one account and what its payer keeps of it. @throws unknown_account */
export function changeOfAccount<T extends object>(
  context: Context,
  options: {
    kind: string;
    account: ResolvedReference;
    request: Record<string, unknown>;
    idempotencyKey?: string;
    tx?: unknown;
  },
  work: (session: Session, account: ResolvedAccount, now: Instant) => Promise<T>,
): Promise<Changed<T>> {
  return changeOf(
    context,
    {
      ...options,
      parties: async (session) => ({
        owner: await resolveAccount(session, options.account),
        locks: [],
      }),
      request: ({ owner }) => ({ ...options.request, account: owner.accountId }),
    },
    async (session, { owner }, now) => ({ answer: await work(session, owner, now) }),
  );
}
