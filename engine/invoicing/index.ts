import type { Room } from '../accounts';
import type { PaymentContext } from '../payments';
import { Closings } from './closing';
import {
  Retries,
  TopUps,
  collectDue,
  invoicePayments,
  methodSaved,
  type CollectDueDone,
  type TopUpPorts,
  type TopUpsDone,
} from './collecting';
import { Creating } from './creating';
import { CreditNotes } from './credit-notes';
import { BillingCycle } from './cycle';
import { Dispatching } from './dispatching';
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
import { ManualInvoices } from './manual-invoices';
import { Previews } from './preview';
import type { OwnRating } from './rating';
import { InvoiceReading } from './reading';
import { InvoiceRefunds, giveBack } from './refunding-invoices';
import { Papers } from './rendering/papers';
import { Settings } from './settings';
import { verifyInvoices } from './verify-invoices';

export * from './public';
export { invoicedPeriods } from './invoiced-periods';
export { standingOf, type TopUpPorts } from './collecting';
export type { InvoicingContext } from './finalizing';
export { INVOICE_STATUSES } from './invoice-records';

/** `billing.invoicing`: what customers owe, and how it comes to be paid. */
export interface Invoicing {
  createInvoices: Creating['createInvoices'];
  dispatchInvoices: Dispatching['dispatchInvoices'];
  runBillingCycle: BillingCycle['runBillingCycle'];
  resetProducts: BillingCycle['resetProducts'];
  restoreProducts: BillingCycle['restoreProducts'];
  previewInvoice: Previews['previewInvoice'];
  getInvoice: InvoiceReading['getInvoice'];
  listInvoices: InvoiceReading['listInvoices'];
  createInvoice: ManualInvoices['createInvoice'];
  addItem: ManualInvoices['addItem'];
  updateItem: ManualInvoices['updateItem'];
  removeItem: ManualInvoices['removeItem'];
  deleteDraft: ManualInvoices['deleteDraft'];
  finalizeInvoice: ManualInvoices['finalizeInvoice'];
  voidInvoice: Closings['voidInvoice'];
  markUncollectible: Closings['markUncollectible'];
  markPaid: Closings['markPaid'];
  addCredit: AccountCredits['addCredit'];
  accountCredit: AccountCredits['accountCredit'];
  createCreditNote: CreditNotes['createCreditNote'];
  getCreditNote: CreditNotes['getCreditNote'];
  listCreditNotes: CreditNotes['listCreditNotes'];
  refundInvoice: InvoiceRefunds['refundInvoice'];
  renderInvoice: Papers['renderInvoice'];
  retryInvoice: Retries['retryInvoice'];
  attempts: Retries['attempts'];
  collection: Retries['collection'];
  setTopUp: TopUps['setTopUp'];
  topUps: TopUps['topUps'];
  settings: Settings['settings'];
  saveSettings: Settings['saveSettings'];
}

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
  const creating = new Creating(context);
  const dispatching = new Dispatching(context);
  const cycle = new BillingCycle(context);
  const previews = new Previews(context);
  const reading = new InvoiceReading(context);
  const byHand = new ManualInvoices(context);
  const closings = new Closings(context);
  const credits = new AccountCredits(context);
  const creditNotes: CreditNotes = new CreditNotes(context, {
    giveBack: (session, invoice, note, now) => giveBack(context, session, invoice, note, now),
    executeRefunds: (refundIds) => refunds.execute(refundIds),
  });
  const refunds: InvoiceRefunds = new InvoiceRefunds(context, creditNotes);
  const papers = new Papers(context);
  const retries = new Retries(context);
  const topUps = new TopUps(context, ports);
  const settings = new Settings(context);
  paying.purposes.set('invoice', invoicePayments(refunds));
  paying.onMethodSaved.push(methodSaved);
  const calls: Invoicing = {
    createInvoices: creating.createInvoices.bind(creating),
    dispatchInvoices: dispatching.dispatchInvoices.bind(dispatching),
    runBillingCycle: cycle.runBillingCycle.bind(cycle),
    resetProducts: cycle.resetProducts.bind(cycle),
    restoreProducts: cycle.restoreProducts.bind(cycle),
    previewInvoice: previews.previewInvoice.bind(previews),
    getInvoice: reading.getInvoice.bind(reading),
    listInvoices: reading.listInvoices.bind(reading),
    createInvoice: byHand.createInvoice.bind(byHand),
    addItem: byHand.addItem.bind(byHand),
    updateItem: byHand.updateItem.bind(byHand),
    removeItem: byHand.removeItem.bind(byHand),
    deleteDraft: byHand.deleteDraft.bind(byHand),
    finalizeInvoice: byHand.finalizeInvoice.bind(byHand),
    voidInvoice: closings.voidInvoice.bind(closings),
    markUncollectible: closings.markUncollectible.bind(closings),
    markPaid: closings.markPaid.bind(closings),
    addCredit: credits.addCredit.bind(credits),
    accountCredit: credits.accountCredit.bind(credits),
    createCreditNote: creditNotes.createCreditNote.bind(creditNotes),
    getCreditNote: creditNotes.getCreditNote.bind(creditNotes),
    listCreditNotes: creditNotes.listCreditNotes.bind(creditNotes),
    refundInvoice: refunds.refundInvoice.bind(refunds),
    renderInvoice: papers.renderInvoice.bind(papers),
    retryInvoice: retries.retryInvoice.bind(retries),
    attempts: retries.attempts.bind(retries),
    collection: retries.collection.bind(retries),
    setTopUp: topUps.setTopUp.bind(topUps),
    topUps: topUps.topUps.bind(topUps),
    settings: settings.settings.bind(settings),
    saveSettings: settings.saveSettings.bind(settings),
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
