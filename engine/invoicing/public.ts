/** What callers of the engine can name of this room. */
export type { RunProblem } from './chunks';
export type { InvoiceRequest, VoidInvoiceRequest } from './closing';
export type { MarkPaidRequest } from './hand-payments';
export type { CollectDueDone } from './collecting/collecting';
export type { Dunning, FinalAction } from './collecting/dunning-settings';
export type { CollectionStep } from './collecting/schedule';
export type {
  CollectionRecord,
  CollectionRequest,
  RetryInvoiceAnswer,
  RetryInvoiceRequest,
} from './collecting/retrying';
export type { TopUp, TopUpPeriod } from './collecting/top-up-records';
export type { SetTopUpRequest, TopUpsDone } from './collecting/top-ups';
export type {
  CreateInvoicesAnswer,
  CreateInvoicesRequest,
  Progress as CreateInvoicesProgress,
} from './creating';
export type { CreditNote } from './credit-note-records';
export type { CreateCreditNoteRequest, ListCreditNotesRequest } from './credit-notes';
export type { CycleProgress, RunBillingCycleAnswer, RunBillingCycleRequest } from './cycle';
export type { WaitingForGateway } from './collecting/waiting-invoices';
export type {
  DispatchInvoicesAnswer,
  DispatchInvoicesRequest,
  DispatchProblem,
  DispatchedInvoice,
} from './dispatch-run';
export type {
  AddItemAnswer,
  AddItemRequest,
  AddItemToDraft,
  AddItemToNextInvoice,
  PendingItem,
  RemoveItemRequest,
  UpdateItemRequest,
} from './draft-items';
export type { AccountCredit, AddCreditRequest } from './giving-credit';
export type { LineKind } from './invoice-lines';
export type { ForgottenPapers } from './invoice-parts';
export type { Invoice, InvoiceLine, InvoiceStatus, LineTax } from './invoice-records';
export type { FreeItem, InvoiceItem, OfferedItem } from './items';
export type { CreateInvoiceRequest, DeletedDraft } from './manual-invoices';
export type { InvoicePreview } from './preview';
export type { OwnRating, UsageToRate } from './rating';
export type { ListInvoicesRequest } from './reading';
export type {
  InvoiceRefund,
  RefundInvoiceAnswer,
  RefundInvoiceRequest,
} from './refunding-invoices';
export type { InvoicingSettings, Numbering, SaveSettingsRequest } from './settings';
export type { HandMethod } from './settling';
export type { LogoType } from './rendering/paper';
export type { Seller } from './rendering/snapshot';
export type { RenderInvoiceRequest, RenderedPaper } from './rendering/papers';
