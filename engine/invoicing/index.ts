import type { Room } from '../accounts';
import { bound } from '../kernel';
import type { PaymentContext } from '../payments';
import { Closings } from './closing';
import { collectDue, type CollectDueDone } from './collecting/collecting';
import { invoicePayments } from './collecting/invoice-payments';
import { methodSaved } from './collecting/method-saved';
import { Retries } from './collecting/retrying';
import { TopUps, type TopUpPorts, type TopUpsDone } from './collecting/top-ups';
import { Creating } from './creating';
import { CreditNotes } from './credit-notes';
import { BillingCycle } from './cycle';
import { Dispatching } from './dispatching';
import { DraftItems } from './draft-items';
import type { InvoicingContext } from './finalizing';
import { AccountCredits } from './giving-credit';
import {
  eraseInvoices,
  exportInvoices,
  forgetInvoices,
  mergeInvoices,
  openInvoicesObstacle,
  type ForgottenPapers,
} from './invoice-parts';
import { HandPayments } from './hand-payments';
import { ManualInvoices } from './manual-invoices';
import { Previews } from './preview';
import type { OwnRating } from './rating';
import { InvoiceReading } from './reading';
import { giveBack } from './refund-shares';
import { InvoiceRefunds } from './refunding-invoices';
import { Papers } from './rendering/papers';
import { Settings } from './settings';
import { verifyInvoices } from './verify-invoices';
import { withdrawRefused } from './withdrawing-changes';

export * from './public';
export { awaitedPayments } from './awaited-payments';
export { subscriptionPorts } from './withdrawing-changes';
export { moneyTakenBack } from './taken-back';
export { standingOf } from './collecting/standing';
export type { TopUpPorts } from './collecting/top-ups';
export type { InvoicingContext } from './finalizing';
export { INVOICE_STATUSES } from './invoice-records';

/** `billing.invoicing`: what customers owe, and how it comes to be paid. */
export interface Invoicing
  extends
    Pick<Creating, 'createInvoices'>,
    Pick<Dispatching, 'dispatchInvoices'>,
    Pick<BillingCycle, 'runBillingCycle' | 'resetProducts' | 'restoreProducts'>,
    Pick<Previews, 'previewInvoice'>,
    Pick<InvoiceReading, 'getInvoice' | 'listInvoices'>,
    Pick<ManualInvoices, 'createInvoice' | 'deleteDraft' | 'finalizeInvoice'>,
    Pick<DraftItems, 'addItem' | 'updateItem' | 'removeItem'>,
    Pick<Closings, 'voidInvoice' | 'markUncollectible'>,
    Pick<HandPayments, 'markPaid'>,
    Pick<AccountCredits, 'addCredit' | 'accountCredit'>,
    Pick<CreditNotes, 'createCreditNote' | 'getCreditNote' | 'listCreditNotes'>,
    Pick<InvoiceRefunds, 'refundInvoice'>,
    Pick<Papers, 'renderInvoice'>,
    Pick<Retries, 'retryInvoice' | 'attempts' | 'collection'>,
    Pick<TopUps, 'setTopUp' | 'topUps'>,
    Pick<Settings, 'settings' | 'saveSettings'> {}

export interface InvoicingOptions {
  /** What the use of products costs, by product, instead of what offers say of it. */
  rating?: OwnRating;
}

/** Opens the room, and tells the one of payments what it has to do with them. */
export function openInvoicing(
  paying: PaymentContext,
  ports: TopUpPorts,
  { rating = {} }: InvoicingOptions = {},
): Room<Invoicing, CollectDueDone | TopUpsDone | ForgottenPapers> {
  // What the context shows may change while the engine is open: it is asked, not copied.
  const context: InvoicingContext = Object.assign(Object.create(paying) as PaymentContext, {
    rating,
  });
  const creditNotes: CreditNotes = new CreditNotes(context, {
    giveBack: (session, invoice, note, now) => giveBack(context, session, invoice, note, now),
    executeRefunds: (refundIds) => refunds.execute(refundIds),
  });
  const refunds: InvoiceRefunds = new InvoiceRefunds(context, creditNotes);
  const topUps = new TopUps(context, ports);
  paying.purposes.set(
    'invoice',
    invoicePayments({
      giveBackLate: (...paid) => creditNotes.giveBackLate(...paid),
      withdrawRefused: (...ended) => withdrawRefused(context, ...ended),
      refunded: (...refund) => refunds.refunded(...refund),
    }),
  );
  paying.onMethodSaved.push((...saved) => methodSaved(paying, ...saved));
  const byHand = new ManualInvoices(context);
  const calls: Invoicing = {
    ...bound(new Creating(context), 'createInvoices'),
    ...bound(new Dispatching(context), 'dispatchInvoices'),
    ...bound(new BillingCycle(context), 'runBillingCycle', 'resetProducts', 'restoreProducts'),
    ...bound(new Previews(context), 'previewInvoice'),
    ...bound(new InvoiceReading(context), 'getInvoice', 'listInvoices'),
    ...bound(byHand, 'createInvoice', 'deleteDraft', 'finalizeInvoice'),
    ...bound(new DraftItems(context), 'addItem', 'updateItem', 'removeItem'),
    ...bound(new Closings(context), 'voidInvoice', 'markUncollectible'),
    ...bound(new HandPayments(context, creditNotes), 'markPaid'),
    ...bound(new AccountCredits(context), 'addCredit', 'accountCredit'),
    ...bound(creditNotes, 'createCreditNote', 'getCreditNote', 'listCreditNotes'),
    ...bound(refunds, 'refundInvoice'),
    ...bound(new Papers(context), 'renderInvoice'),
    ...bound(new Retries(context), 'retryInvoice', 'attempts', 'collection'),
    ...bound(topUps, 'setTopUp', 'topUps'),
    ...bound(new Settings(context), 'settings', 'saveSettings'),
  };
  return {
    calls,
    verify: [verifyInvoices],
    merge: [mergeInvoices],
    export: [exportInvoices],
    erase: [eraseInvoices],
    obstacles: [openInvoicesObstacle],
    due: [
      { part: 'collecting', run: (limit) => collectDue(paying, { limit }) },
      { part: 'top-ups', run: (limit) => topUps.runTopUps({ limit }) },
      { part: 'papers', run: (limit) => forgetInvoices(paying, { limit }) },
    ],
  };
}
