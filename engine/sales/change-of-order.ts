import {
  changeOf,
  resolveAccount,
  type Answered,
  type Changed,
  type Parties,
  type ResolvedAccount,
} from '../accounts';
import type { Context, Session } from '../database';
import type { Instant } from '../kernel';
import { followGrants } from '../ledger';
import { findOrderGrants } from './order-grants';
import type { OrderHooks, PaidOrder } from './order-hooks';
import { findOrder, findOwner, type StoredOrder } from './order-records';

/** An order that a change works on, under the locks. */
export interface OrderAtHand {
  order: StoredOrder;
  /**
   * Who ordered, with the ledger and the book that the order's units and money are in: its payer's, or
   * the account's to which all that the order brought has moved since. That a child got another payer
   * without its units changes nothing of it.
   */
  account: ResolvedAccount;
  /** Under whose names places of the order may stand. */
  payers: string[];
}

interface OrderChange {
  kind: string;
  orderId: string;
  request: Record<string, unknown>;
  idempotencyKey: string | undefined;
  tx: unknown;
  /** A transaction of the engine's own to join, which holds the locks of `locksOfOrder`. */
  within?: Session;
}

interface OrderParties extends Parties {
  /** Who ordered, in the order's ledger. */
  account: ResolvedAccount;
  payers: string[];
}

async function partiesOf(
  session: Session,
  hooks: OrderHooks,
  orderId: string,
): Promise<OrderParties> {
  const { payerId, accountId } = await findOwner(session, orderId);
  const owner = await resolveAccount(session, { accountId });
  const payer = await resolveAccount(session, { accountId: payerId });
  const ledgers = await ledgersOf(session, payerId, orderId);
  const ledgerId = ledgers.length === 1 ? ledgers[0]! : payer.payerId;
  const { payerStatus, timeZone } = payer;
  const account = { ...owner, payerId: ledgerId, payerStatus, timeZone };
  const others = [...ledgers];
  for (const payersToLock of hooks.payersToLock) {
    for (const concerned of new Set([payerId, ledgerId])) {
      others.push(...(await payersToLock(session, concerned)));
    }
  }
  return {
    owner,
    account,
    payers: [...new Set([payerId, ledgerId])],
    locks: [payerId, ledgerId, owner.payerId, ...others],
  };
}

/** In whose ledgers the units are that an order brought; none before it was paid. */
async function ledgersOf(session: Session, payerId: string, orderId: string): Promise<string[]> {
  const made = await findOrderGrants(session, { payerId, orderId });
  const [first] = made;
  if (first === undefined) return [];
  const sequences = made.map(({ sequence }) => sequence);
  const steps = await followGrants(session, first.ledgerId, sequences);
  const last = new Map(steps.map((step) => [step.origin, step.payerId]));
  return [...new Set(last.values())];
}

/**
 * Runs a change that names an order: found, all concerned locked together, once for its key, which
 * belongs to who ordered.
 *
 * @param work its own `replayed` marks an answer that stands with the order and needs no key
 * @throws unknown_order
 */
export async function changeOfOrder<T extends object>(
  context: Context,
  hooks: OrderHooks,
  change: OrderChange,
  work: (session: Session, atHand: OrderAtHand, now: Instant) => Promise<Answered<T>>,
): Promise<Changed<T>> {
  const { kind, orderId, request, ...joined } = change;
  return changeOf(
    context,
    {
      ...joined,
      kind,
      parties: (session) => partiesOf(session, hooks, orderId),
      request: () => ({ ...request, orderId }),
    },
    async (session, { account, payers }, now) =>
      work(session, { order: await findOrder(session, orderId), account, payers }, now),
  );
}

/** Whose rows a change of an order may write. @throws unknown_order */
export async function locksOfOrder(
  session: Session,
  hooks: OrderHooks,
  orderId: string,
): Promise<string[]> {
  return [...(await partiesOf(session, hooks, orderId)).locks];
}

/** An order as hooks see it. */
export const paidOrder = ({ order, account }: OrderAtHand): Omit<PaidOrder, 'isFirst'> => ({
  orderId: order.orderId,
  accountId: order.accountId,
  payerId: account.payerId,
  currency: order.currency,
  net: order.net,
  total: order.total,
});
