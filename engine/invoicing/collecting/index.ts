export { closeCollections } from './closing-collections';
export {
  collectDue,
  collectInvoices,
  type CollectDone,
  type CollectDueDone,
  type CollectRequest,
} from './collecting';
export { findCollections, openCollection, type Collectable, type Collection } from './collections';
export {
  DEFAULT_DUNNING,
  dunningInput,
  readDunning,
  saveDunning,
  type Dunning,
  type FinalAction,
} from './dunning-settings';
export { invoicePayments, type InvoicePaymentPorts } from './invoice-payments';
export { methodSaved } from './method-saved';
export {
  Retries,
  type CollectionRecord,
  type RetryInvoiceAnswer,
  type RetryInvoiceRequest,
} from './retrying';
export { TopUps, type SetTopUpRequest, type TopUpPorts, type TopUpsDone } from './top-ups';
export type { TopUp, TopUpPeriod } from './top-up-records';
export { standingOf } from './standing';
