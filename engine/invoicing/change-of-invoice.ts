import { resolveAccount, changeOf, type Changed, type ResolvedAccount } from '../accounts';
import { type Context, type Session } from '../database';
import type { ChangeOptions, Instant } from '../kernel';
import {
  findInvoiceOwner,
  invoiceRecord,
  requireInvoice,
  wrongState,
  type Invoice,
  type StoredInvoice,
} from './invoice-records';

/** An invoice that a change works on, under the locks. */
export interface InvoiceAtHand {
  invoice: StoredInvoice;
  /** Who pays by now: another than the invoice names, if that one was merged into it since. */
  payer: ResolvedAccount;
}

/** What a change is asked with, as it was parsed; the rest of it is what tells it from another one. */
type Asked = ChangeOptions & { invoiceId: string };

type Work<T> = (session: Session, atHand: InvoiceAtHand, now: Instant) => Promise<T>;

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
 * @throws unknown_invoice, idempotency_conflict
 */
export function changeOfInvoice<T extends object>(
  context: Context,
  kind: string,
  { invoiceId, idempotencyKey, metadata: _metadata, tx, ...request }: Asked,
  work: Work<{ answer: T; replayed?: boolean }>,
): Promise<Changed<T>> {
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

/** Only a draft is edited. @throws invoice_state */
export function requireDraft(invoice: StoredInvoice): void {
  if (invoice.status === 'draft') return;
  const advice = 'What was issued never changes: correct it by a credit note.';
  throw wrongState(invoice, 'was issued', advice);
}

/** A change of a draft, which answers with the invoice as it is then. @throws invoice_state, too */
export const changeOfDraft = (
  context: Context,
  kind: string,
  asked: Asked,
  work: Work<void>,
): Promise<Changed<Invoice>> =>
  changeOfInvoice(context, kind, asked, async (session, atHand, now) => {
    requireDraft(atHand.invoice);
    await work(session, atHand, now);
    return { answer: invoiceRecord(await requireInvoice(session, asked.invoiceId)) };
  });
