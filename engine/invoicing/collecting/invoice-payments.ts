import { namesOfPayer, resolveAccount } from '../../accounts';
import type { Session } from '../../database';
import { isId, type Instant } from '../../kernel';
import { NOT_SENT, type PurposeHandlers, type StoredRefund } from '../../payments';
import { moveCredits } from '../account-credit';
import { findInvoiceOwner, requireInvoice, type InvoiceName } from '../invoice-records';
import { settleInvoice } from '../settling';
import { whyRefused } from '../when-paid';
import { countAttempt, findCollections } from './collections';
import { attemptFailed } from './dunning';

/** What payments through gateways mean to invoices. */

export interface InvoicePaymentPorts {
  /** An invoice was paid, at least in part: what of it came too late goes back. */
  giveBackLate(session: Session, invoice: InvoiceName, now: Instant): Promise<unknown>;
  /** What nobody can have any more of what an invoice asks for, and a part that was paid of it, is taken back. */
  withdrawRefused(session: Session, invoice: InvoiceName, now: Instant): Promise<void>;
  /** Money of an invoice went back: asked for by a credit note, or done by the gateway itself. */
  refunded(session: Session, refund: StoredRefund, now: Instant): Promise<void>;
}

/** Whoever pays by now, the one named on the invoice first, and all that were merged into them. */
async function payersOf(session: Session, invoiceId: string): Promise<string[]> {
  const { payerId } = await findInvoiceOwner(session, invoiceId);
  return namesOfPayer(session, payerId);
}

export const invoicePayments = (ports: InvoicePaymentPorts): PurposeHandlers => ({
  payersToLock: payersOf,

  async payable(session, invoiceId, now) {
    if (!isId(invoiceId)) return null;
    const invoice = await requireInvoice(session, invoiceId);
    if (invoice.status !== 'open' || !invoice.amountDue.greaterThan(0)) return null;
    if ((await whyRefused(session, invoice, now)) !== null) return null;
    const { payerId, accountId, currency, decimals, amountDue: amount, number } = invoice;
    return { payerId, accountId, currency, decimals, amount, description: number ?? invoiceId };
  },

  /** What was written off can still be paid; money for what is paid, void, lapsed or came too late goes back. */
  async settled(session, settlement, now) {
    const { payerId, purposeId: invoiceId, attemptId, gateway, reference, amount } = settlement;
    const invoice = await requireInvoice(session, invoiceId);
    const { status, currency } = invoice;
    if (currency !== settlement.currency) return 'wrong_currency';
    if (status === 'paid') return 'paid_twice';
    if (status !== 'open' && status !== 'uncollectible') return `invoice_${status}`;
    const refused = await whyRefused(session, invoice, now);
    if (refused !== null) {
      await ports.withdrawRefused(session, invoice, now);
      return refused;
    }
    const payment = { payerId, invoiceId, attemptId, gateway, reference, amount, paidAt: now };
    if (settlement.isFirstOutcome) await countAttempt(session, payment);
    const { excess, replayed } = await settleInvoice(session, payment, now);
    if (!replayed) {
      // Credit of an account that was merged since is that of the one it was merged into.
      const { payerId: into } = await resolveAccount(session, { accountId: payerId });
      await moveCredits(session, [{ from: payerId, into, currency, amount: excess }], now);
    }
    return null;
  },

  async kept(session, invoiceId, now) {
    const { payerId } = await findInvoiceOwner(session, invoiceId);
    await ports.giveBackLate(session, { payerId, invoiceId }, now);
  },

  async failed(session, attempt, now) {
    if (attempt.code === NOT_SENT) return;
    const { payerId, purposeId: invoiceId } = attempt;
    const invoice = await requireInvoice(session, invoiceId);
    const collection = (await findCollections(session, [{ payerId, invoiceId }])).get(invoiceId);
    if (invoice.status !== 'open' || collection === undefined) return;
    const withdraw = ports.withdrawRefused.bind(ports);
    await attemptFailed(session, invoice, collection, attempt, withdraw, now);
  },

  refunded: (session, refund, now) => ports.refunded(session, refund, now),
});
