import { types } from 'node:util';

import {
  NodeOperationError,
  type IExecuteFunctions,
  type INode,
  type INodeExecutionData,
} from 'n8n-workflow';

import { isBillingError, type BillingErrorData, type ErrorCode } from '../../engine';

/** What went wrong with an item: the engine's refusal in the node's words, or something else. */
export interface ItemError {
  message: string;
  /** One of the engine's codes; null for what is not its, such as a broken expression. */
  code: ErrorCode | null;
  parameter: string | null;
  advice: string | null;
  /** The error itself, where nobody foresaw it: its stack is what helps then. */
  unforeseen?: Error;
}

/** The engine's advice names its own methods; in n8n it is a node that does it. */
const ADVICE_IN_N8N: Partial<Record<ErrorCode, string>> = {
  clock_ahead:
    'Set the clock of the machine right. If the clock of the database is the wrong one, or this is meant, use the option "Catch Up".',
  catch_up_needed:
    'To invoice all that was missed, run Dispatch Invoices once with the option "Catch Up"; to leave it out, cancel the subscription now and start it anew.',
  unknown_account:
    'Put a Billing node with "Account: Identify" before this one: it creates the account of a customer who is new. Check Quota and Consume do it by themselves with the option "Create If New".',
  unknown_product:
    'Pick it from the list, or create it with a Billing node, "Product: Create or Update". Upper and lower case count.',
  unknown_offer:
    'Pick it from the list, or create it with a Billing node, "Offer: Create or Update". Upper and lower case count.',
};

/** The engine's methods that an advice may name, as the nodes that do the same. */
const METHODS_IN_N8N: Record<string, string> = {
  'accounts.get': '"Account: Get"',
  'accounts.identify': '"Account: Identify"',
  'accounts.merge': '"Personal Data: Merge"',
  'accounts.update': '"Account: Update"',
  'catalog.importCatalog': '"Catalog: Import"',
  'catalog.saveCoupon': '"Coupon: Create or Update"',
  'catalog.saveOffer': '"Offer: Create or Update"',
  'catalog.saveProduct': '"Product: Create or Update"',
  'catalog.saveTaxRate': '"Tax Rate: Create or Update"',
  'ledger.check': 'Check Quota',
  'ledger.consume': 'Consume',
  'ledger.deduct': '"Balance: Deduct Units"',
  'ledger.exchange': '"Balance: Exchange"',
  'ledger.grant': '"Balance: Grant Units"',
  'ledger.hold': '"Hold: Create"',
  'ledger.restore': '"Balance: Restore Units"',
  'ledger.settle': '"Hold: Settle"',
  'ledger.transfer': '"Balance: Transfer"',
  'events.poll': 'a Billing Trigger',
  'events.deleteWebhook': '"Webhook: Delete"',
  'events.listWebhooks': '"Webhook: Get Many"',
  'invoicing.createInvoice': '"Invoice: Create"',
  'invoicing.createCreditNote': '"Invoice: Create Credit Note"',
  'invoicing.createInvoices': 'Dispatch Invoices, "Create Invoices",',
  'invoicing.dispatchInvoices': 'Dispatch Invoices',
  'invoicing.finalizeInvoice': '"Invoice: Finalize"',
  'invoicing.getCreditNote': '"Invoice: Get Credit Notes"',
  'invoicing.getInvoice': '"Invoice: Get"',
  'invoicing.listCreditNotes': '"Invoice: Get Credit Notes"',
  'invoicing.listInvoices': '"Invoice: Get Many"',
  'invoicing.markPaid': '"Invoice: Mark Paid"',
  'invoicing.refundInvoice': '"Invoice: Refund"',
  'invoicing.removeItem': '"Invoice: Remove Item"',
  'invoicing.retryInvoice': '"Invoice: Retry Charge"',
  'invoicing.saveSettings': '"Invoice: Save Settings"',
  'invoicing.voidInvoice': '"Invoice: Void"',
  'payments.methods': '"Payment: Get Methods"',
  'payments.checkoutLink': '"Payment: Get Checkout Link"',
  'payments.refundsDue': '"Payment: Get Refunds Due"',
  'payments.saveMethod': '"Payment: Save Method"',
  'sandbox.mark': '"Sandbox: Mark"',
  'sales.cancelOrder': '"Order: Cancel"',
  'sales.claimTrial': '"Trial: Claim"',
  'sales.confirmOrder': '"Order: Confirm"',
  'sales.createOrder': '"Order: Create"',
  'sales.getOrder': '"Order: Get"',
  'sales.grantOffer': 'Grant Offer',
  'sales.listPayouts': '"Referral: Get Payouts"',
  'sales.refundOrder': '"Order: Refund"',
  'sales.setReferralProgram': '"Referral: Set Program"',
  'subscriptions.cancel': '"Subscription: Cancel"',
  'subscriptions.change': '"Subscription: Change"',
  'subscriptions.get': '"Subscription: Get"',
  'subscriptions.list': '"Subscription: Get Many"',
  'subscriptions.pause': '"Subscription: Pause"',
  'subscriptions.reactivate': '"Subscription: Reactivate"',
  'subscriptions.resume': '"Subscription: Resume"',
  'subscriptions.start': '"Subscription: Start"',
  'subscriptions.undo': '"Subscription: Undo"',
};

const USE_A_SANDBOX =
  'Use a credential with "Sandbox" on, whose folder or schema has nothing in it yet.';

/** How else the engine speaks of what it is asked, and what it is called in the editor. */
const WORDS_IN_N8N: ReadonlyArray<[engine: string, editor: string]> = [
  ['Mark an empty schema as a sandbox, or open the engine with testGateway: true.', USE_A_SANDBOX],
  ['Open a schema of its own with sandbox: true, before anything is in it.', USE_A_SANDBOX],
  ['save it with billing: "recurring"', 'save it with "Sold: Recurring"'],
  ['whose billing is "recurring"', 'with "Sold: Recurring"'],
  ['saved with isCurrency', 'with "Is Currency" on'],
  ['with collect: { whenInForce: "beside" }', 'with "When in Force: Beside"'],
  ['with whenInForce: "beside"', 'with "When in Force: Beside"'],
];

/** Its methods, its words, and its parameters such as "unitValue", as the editor has them. */
const withNodeNames = (advice: string): string =>
  WORDS_IN_N8N.reduce((text, [engine, editor]) => text.replaceAll(engine, editor), advice)
    .replace(
      /\b(?:accounts|catalog|events|invoicing|ledger|payments|sales|sandbox|subscriptions)\.[a-z]+\b/gi,
      (method) => METHODS_IN_N8N[method] ?? method,
    )
    .replace(/"([a-z]+[A-Z][A-Za-z]*)"/g, (_, parameter: string) => `"${fieldName(parameter)}"`);

/** Parameters whose field is not called as they are. */
const FIELD_NAMES: Record<string, string> = {
  'connection.embedded': 'Folder',
  'expiresIn.count': 'Expires In',
  methodId: 'Payment Method',
  'pricing.size': 'Package Size',
  sku: 'SKU',
  toAccount: 'Target Account',
  toProduct: 'Target Product',
};

/**
 * `externalId` and `account.externalId` are the field "External ID", `items[1].product` is "Product"
 * of item 2, `trialPhases[0].price` is "Price" of the first phase.
 */
export function fieldName(parameter: string): string {
  const known = FIELD_NAMES[parameter];
  if (known !== undefined) return known;
  const [all, listed, position] = /^(\w+)\[(\d+)\]/.exec(parameter) ?? [];
  const path = parameter.split('.');
  const name = FIELD_NAMES[path.slice(-2).join('.')] ?? inWords(path.at(-1)!);
  if (listed === undefined) return name;
  const place = `${inWords(listed)}: ${Number(position) + 1}`;
  return all === parameter ? place : `${place}: ${name}`;
}

const inWords = (parameter: string): string =>
  FIELD_NAMES[parameter] ??
  parameter
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .replace(/^./, (first) => first.toUpperCase())
    .replace(/\b(Id|Url)\b/g, (word) => word.toUpperCase());

function inNodeWords({ code, message, parameter, advice }: BillingErrorData): ItemError {
  const quoted = `"${parameter}"`;
  return {
    message:
      parameter !== null && message.startsWith(quoted)
        ? `"${fieldName(parameter)}"${message.slice(quoted.length)}`
        : message,
    code,
    parameter,
    advice: ADVICE_IN_N8N[code] ?? (advice === null ? null : withNodeNames(advice)),
  };
}

/** Anything thrown, as the error of an item. */
export function itemError(error: unknown): ItemError {
  if (isBillingError(error)) return inNodeWords(error.toJSON());
  // Not instanceof: an error may come from another realm, such as that of an expression's sandbox.
  const unforeseen = types.isNativeError(error) ? error : undefined;
  const description = (error as { description?: unknown } | null)?.description;
  return {
    message: unforeseen?.message ?? String(error),
    code: null,
    parameter: null,
    advice: typeof description === 'string' ? description : null,
    unforeseen,
  };
}

/** What the engine reported for one item of a batch. */
export const reportedError = (data: BillingErrorData): ItemError => inNodeWords(data);

/** The error that stops the workflow. Without an item when it is not about one. */
export function nodeError(
  context: { getNode(): INode },
  error: ItemError,
  itemIndex?: number,
): NodeOperationError {
  const thrown = new NodeOperationError(context.getNode(), error.unforeseen ?? error.message, {
    description: error.advice ?? undefined,
    itemIndex,
  });
  // n8n replaces messages that hold words like ECONNREFUSED by general ones; ours say more.
  thrown.message = error.message;
  Object.assign(thrown.context, { code: error.code, parameter: error.parameter });
  return thrown;
}

/**
 * What an item that failed leaves behind under "On Error: Continue". For "Continue (using error
 * output)" n8n itself moves it to the error output and adds the input item's fields: it knows such
 * an item by having no other field than these two.
 */
export function errorItem(
  error: ItemError,
  itemIndex: number,
  input: Pick<INodeExecutionData, 'json' | 'binary'> = { json: {} },
): INodeExecutionData {
  const { message, code, parameter, advice } = error;
  return {
    json: { ...input.json, error: message, details: { code, parameter, advice } },
    ...(input.binary !== undefined && { binary: input.binary }),
    pairedItem: { item: itemIndex },
  };
}

/**
 * The items of a node that has an output for a no, as they came: one that failed keeps its fields
 * there, so that the customer can be told. Not for the error output: n8n adds them itself.
 */
export function inputsOfFailed(context: IExecuteFunctions): INodeExecutionData[] {
  return context.getNode().onError === 'continueErrorOutput' ? [] : context.getInputData();
}
