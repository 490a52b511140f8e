import {
  resolveAccount,
  changeOf,
  type Answered,
  type Changed,
  type ResolvedAccount,
} from '../accounts';
import { type Context, type Session } from '../database';
import { text, type Instant } from '../kernel';
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
  work: (session: Session, atHand: InvoiceAtHand, now: Instant) => Promise<Answered<T>>,
): Promise<Changed<T>> {
  const { kind, invoiceId, request, idempotencyKey, tx } = change;
  return changeOf(
    context,
    {
      kind,
      parties: (session) => partiesOf(session, invoiceId),
      request: () => ({ ...request, invoiceId }),
      idempotencyKey,
      tx,
    },
    async (session, { payer }, now) =>
      work(session, { invoice: await requireInvoice(session, invoiceId), payer }, now),
  );
}
