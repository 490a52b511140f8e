import type {
  Billing,
  Invoice,
  MarkPaidRequest,
  SaveOfferRequest,
  StartRequest,
  Subscription,
} from '../../../engine';

/** Plans of a month: what suites of subscriptions and their invoices begin with. */

/** An offer of a month in USD, unless its terms say otherwise; named as its sku. */
export const monthlyPlan = (
  sku: string,
  price: string,
  terms: Pick<SaveOfferRequest, 'items'> & Partial<SaveOfferRequest>,
): SaveOfferRequest => ({
  sku,
  name: sku,
  price,
  currency: 'USD',
  billing: 'recurring',
  interval: { unit: 'month', count: 1 },
  ...terms,
});

/** Starts what has to be allowed. */
export async function startPlan(billing: Billing, request: StartRequest): Promise<Subscription> {
  const answer = await billing.subscriptions.start(request);
  if (!answer.allowed) throw new Error(`denied: ${answer.reason}`);
  return answer;
}

/** Invoices what is due of an account by now, and charges or sends it. */
export async function bill(billing: Billing, account: string): Promise<void> {
  await billing.invoicing.createInvoices({ account });
  await billing.invoicing.dispatchInvoices({ account });
}

/** All invoices of an account, the oldest first. */
export const invoicesOf = async (billing: Billing, account: string): Promise<Invoice[]> =>
  (await billing.invoicing.listInvoices({ account })).items.toReversed();

/** Pays what is open of an account, outside of the engine. */
export async function payOpen(
  billing: Billing,
  account: string,
  method: MarkPaidRequest['method'],
): Promise<void> {
  for (const { invoiceId, status } of await invoicesOf(billing, account)) {
    if (status === 'open') await billing.invoicing.markPaid({ invoiceId, method });
  }
}
