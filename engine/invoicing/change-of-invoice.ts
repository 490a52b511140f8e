import { payersOf, resolveAccount, type ResolvedAccount } from '../accounts';
import { lockAccounts, once, serializationFailure, type Context, type Session } from '../database';
import { readClock, text, type Instant } from '../kernel';
import { findInvoiceOwner, requireInvoice, type StoredInvoice } from './invoice-records';

/** An invoice is named by its id; what is none is nobody's. */
export const invoiceIdInput = () => text(100).transform((id) => id.toLowerCase());

/** An invoice that a change works on, under the locks. */
export interface InvoiceAtHand {
  invoice: StoredInvoice;
  /** Who pays by now: another than the invoice names, if that one was merged into it since. */
  payer: ResolvedAccount;
}

interface InvoiceChange {
  kind: string;
  invoiceId: string;
  request: Record<string, unknown>;
  idempotencyKey: string | undefined;
  tx: unknown;
}

async function partiesOf(session: Session, invoiceId: string) {
  const { payerId, accountId } = await findInvoiceOwner(session, invoiceId);
  const owner = await resolveAccount(session, { accountId });
  const payer = await resolveAccount(session, { accountId: payerId });
  return { owner, payer, locks: [payerId, payer.payerId, owner.payerId] };
}

/**
 * Runs a change that names an invoice: found, its payer locked, once for its key, which belongs to the
 * account that the invoice is for.
 *
 * @param work its own `replayed` marks an answer that stands with the invoice and needs no key
 * @throws unknown_invoice
 */
export async function changeOfInvoice<T extends object>(
  context: Context,
  change: InvoiceChange,
  work: (
    session: Session,
    atHand: InvoiceAtHand,
    now: Instant,
  ) => Promise<{ answer: T; replayed?: boolean }>,
): Promise<{ answer: T; replayed: boolean }> {
  return context.database.transaction(change.tx, async (session) => {
    const before = await partiesOf(session, change.invoiceId);
    await lockAccounts(session, before.locks);
    const now = readClock(context.clock);
    const { owner, payer, locks } = await partiesOf(session, change.invoiceId);
    if (!locks.every((payerId) => before.locks.includes(payerId))) {
      throw serializationFailure('the invoice came to concern another account meanwhile');
    }
    let again = false;
    const { answer, replayed } = await once(
      session,
      {
        kind: change.kind,
        payers: payersOf(owner),
        account: owner.accountId,
        key: change.idempotencyKey,
        request: { ...change.request, invoiceId: change.invoiceId },
        now,
        keep: context.keep,
      },
      async () => {
        const invoice = await requireInvoice(session, change.invoiceId);
        const done = await work(session, { invoice, payer }, now);
        again = done.replayed === true;
        return done.answer;
      },
    );
    return { answer, replayed: replayed || again };
  });
}
