import { DateTime } from 'luxon';
import type {
  ILoadOptionsFunctions,
  INodeListSearchResult,
  INodePropertyOptions,
} from 'n8n-workflow';

import type {
  Account,
  Billing,
  Coupon,
  HoldRecord,
  Invoice,
  Offer,
  Order,
  PaymentMethod,
  Product,
  Subscription,
} from '../../engine';
import { accountInEditor, orderInEditor } from './accountParameters';
import { itemError, nodeError } from './itemErrors';
import { withBilling } from './withBilling';

/** What the pickers show. Accounts may be many and come by pages; a catalog is small. */

const ACCOUNTS_A_PAGE = 50;
const ORDERS_A_PAGE = 100;
const INVOICES_A_PAGE = 100;
const SUBSCRIPTIONS_A_PAGE = 100;

function labelOfAccount({ name, email, identities, accountId }: Account): string {
  const known = identities.map(({ provider, externalId }) => `${provider}: ${externalId}`);
  const [title = accountId, ...rest] = [name, email, ...known].filter((part) => part !== null);
  return rest.length === 0 ? title : `${title} (${rest.join(', ')})`;
}

/** With its unit: the label is also what an agent reads of a tool. */
function labelOfProduct({ name, key, kind, unit }: Product): string {
  const named = name === key ? name : `${name} (${key})`;
  return kind === 'quantity' ? `${named}, unit: ${unit}` : named;
}

function labelOfOffer({ name, price, currency, ...offer }: Offer): string {
  const remarks = [offer.public ? null : 'private', offer.active ? null : 'inactive'];
  return [`${name}, ${price} ${currency}`, ...remarks].filter((part) => part !== null).join(', ');
}

/** In the workflow's time zone, to the second: two holds mostly differ by no more. */
function labelOfHold({ amount, product, expiresAt }: HoldRecord, timeZone: string): string {
  const ends = DateTime.fromISO(expiresAt, { zone: timeZone });
  return `${amount} of ${product}, until ${ends.toFormat('yyyy-MM-dd HH:mm:ss')}`;
}

function labelOfCoupon({ code, name, active }: Coupon): string {
  const named = name === null ? code : `${code} (${name})`;
  return active ? named : `${named}, inactive`;
}

function labelOfOrder(order: Order, timeZone: string): string {
  const made = DateTime.fromISO(order.createdAt, { zone: timeZone });
  const lines = order.items.map(({ quantity, sku }) => `${quantity} × ${sku}`).join(', ');
  const status = order.lapsed ? 'lapsed' : order.status.replaceAll('_', ' ');
  return `${order.total} ${order.currency}, ${status}, ${made.toFormat('yyyy-MM-dd HH:mm:ss')}: ${lines}`;
}

function labelOfInvoice({ number, total, currency, status, createdAt }: Invoice, zone: string) {
  const made = DateTime.fromISO(createdAt, { zone }).toFormat('yyyy-MM-dd');
  return `${number ?? 'draft'}, ${total} ${currency}, ${status}, ${made}`;
}

function labelOfSubscription(
  { name, quantity, status, period, subscriptionId }: Subscription,
  zone: string,
): string {
  const ends =
    period === null
      ? ''
      : ` until ${DateTime.fromISO(period.endsAt, { zone }).toFormat('yyyy-MM-dd')}`;
  const what = quantity === 1 ? name : `${quantity} × ${name}`;
  return `${what}, ${status.replaceAll('_', ' ')}${ends} (…${subscriptionId.slice(-4)})`;
}

function labelOfMethod({ brand, kind, last4, expMonth, expYear, isDefault }: PaymentMethod) {
  const expires = expMonth === null ? null : `${String(expMonth).padStart(2, '0')}/${expYear}`;
  const title = [brand ?? kind, last4 === null ? null : `…${last4}`].filter(Boolean).join(' ');
  return [title, expires, isDefault ? 'default' : null].filter(Boolean).join(', ');
}

function matches(filter: string | undefined, ...texts: string[]): boolean {
  const wanted = filter?.trim().toLowerCase() ?? '';
  return texts.some((text) => text.toLowerCase().includes(wanted));
}

/** Reads for a picker. What fails is shown in the picker's place, so it speaks as a node does. */
async function read<T>(
  context: ILoadOptionsFunctions,
  work: (billing: Billing) => Promise<T>,
): Promise<T> {
  try {
    return await withBilling(context, work);
  } catch (error) {
    throw nodeError(context, itemError(error));
  }
}

export async function searchAccounts(
  this: ILoadOptionsFunctions,
  filter?: string,
  paginationToken?: string,
): Promise<INodeListSearchResult> {
  const { items, nextCursor } = await read(this, (billing) =>
    billing.accounts.list({
      search: filter?.trim() || undefined,
      limit: ACCOUNTS_A_PAGE,
      cursor: paginationToken,
    }),
  );
  return {
    results: items.map((account) => ({ name: labelOfAccount(account), value: account.accountId })),
    paginationToken: nextCursor ?? undefined,
  };
}

export async function searchProducts(
  this: ILoadOptionsFunctions,
  filter?: string,
): Promise<INodeListSearchResult> {
  const products = await read(this, (billing) => billing.catalog.listProducts());
  return {
    results: products
      .filter((product) => matches(filter, product.key, product.name))
      .map((product) => ({ name: labelOfProduct(product), value: product.key })),
  };
}

/** Private and inactive offers too: they can be granted and edited. */
export async function searchOffers(
  this: ILoadOptionsFunctions,
  filter?: string,
): Promise<INodeListSearchResult> {
  const offers = await read(this, (billing) =>
    billing.catalog.listOffers({ includePrivate: true, includeInactive: true }),
  );
  return {
    results: offers
      .filter((offer) => matches(filter, offer.sku, offer.name))
      .map((offer) => ({ name: labelOfOffer(offer), value: offer.sku })),
  };
}

/** The same for a list in which several can be chosen. */
export async function getOffers(this: ILoadOptionsFunctions): Promise<INodePropertyOptions[]> {
  return (await searchOffers.call(this)).results;
}

export async function searchTaxRates(
  this: ILoadOptionsFunctions,
  filter?: string,
): Promise<INodeListSearchResult> {
  const rates = await read(this, (billing) => billing.catalog.listTaxRates());
  return {
    results: rates
      .map(({ key, name, percent }) => ({ name: `${name} (${key}), ${percent} %`, value: key }))
      .filter(({ name }) => matches(filter, name)),
  };
}

/** Those that can still be settled, of the account chosen in the same node. */
export async function searchHolds(
  this: ILoadOptionsFunctions,
  filter?: string,
): Promise<INodeListSearchResult> {
  const open = await read(this, (billing) =>
    billing.ledger.holds({ account: accountInEditor(this) }),
  );
  return {
    results: open
      .map((hold) => ({ name: labelOfHold(hold, this.getTimezone()), value: hold.holdId }))
      .filter(({ name, value }) => matches(filter, name, value)),
  };
}

/** Those that are not active too: they can be edited. */
export async function searchCoupons(
  this: ILoadOptionsFunctions,
  filter?: string,
): Promise<INodeListSearchResult> {
  const coupons = await read(this, (billing) => billing.catalog.listCoupons());
  return {
    results: coupons
      .map((coupon) => ({ name: labelOfCoupon(coupon), value: coupon.code }))
      .filter(({ name }) => matches(filter, name)),
  };
}

/** The newest, of all accounts: a payment or a complaint names an order, seldom its account. */
export async function searchOrders(
  this: ILoadOptionsFunctions,
  filter?: string,
  paginationToken?: string,
): Promise<INodeListSearchResult> {
  const { items, nextCursor } = await read(this, (billing) =>
    billing.sales.listOrders({ limit: ORDERS_A_PAGE, cursor: paginationToken }),
  );
  return {
    results: items
      .map((order) => ({ name: labelOfOrder(order, this.getTimezone()), value: order.orderId }))
      .filter(({ name, value }) => matches(filter, name, value)),
    paginationToken: nextCursor ?? undefined,
  };
}

/** The newest, of all accounts, by number or amount. */
export async function searchInvoices(
  this: ILoadOptionsFunctions,
  filter?: string,
  paginationToken?: string,
): Promise<INodeListSearchResult> {
  const { items, nextCursor } = await read(this, (billing) =>
    billing.invoicing.listInvoices({ limit: INVOICES_A_PAGE, cursor: paginationToken }),
  );
  return {
    results: items
      .map((one) => ({ name: labelOfInvoice(one, this.getTimezone()), value: one.invoiceId }))
      .filter(({ name, value }) => matches(filter, name, value)),
    paginationToken: nextCursor ?? undefined,
  };
}

export async function searchSubscriptions(
  this: ILoadOptionsFunctions,
  filter?: string,
  paginationToken?: string,
): Promise<INodeListSearchResult> {
  const { items, nextCursor } = await read(this, (billing) =>
    billing.subscriptions.list({ limit: SUBSCRIPTIONS_A_PAGE, cursor: paginationToken }),
  );
  return {
    results: items
      .map((one) => ({
        name: labelOfSubscription(one, this.getTimezone()),
        value: one.subscriptionId,
      }))
      .filter(({ name, value }) => matches(filter, name, value)),
    paginationToken: nextCursor ?? undefined,
  };
}

const listOfMethods = (
  methods: PaymentMethod[],
  filter: string | undefined,
): INodeListSearchResult => ({
  results: methods
    .map((method) => ({ name: labelOfMethod(method), value: method.methodId }))
    .filter(({ name, value }) => matches(filter, name, value)),
});

/** Of the account chosen in the same node. */
export async function searchPaymentMethods(
  this: ILoadOptionsFunctions,
  filter?: string,
): Promise<INodeListSearchResult> {
  const methods = await read(this, (billing) =>
    billing.payments.methods({ account: accountInEditor(this) }),
  );
  return listOfMethods(methods, filter);
}

/** Of who pays the order chosen in the same node. */
export async function searchPaymentMethodsOfOrder(
  this: ILoadOptionsFunctions,
  filter?: string,
): Promise<INodeListSearchResult> {
  const methods = await read(this, async (billing) => {
    const { payer } = await billing.sales.getOrder({ orderId: orderInEditor(this) });
    return billing.payments.methods({ account: payer });
  });
  return listOfMethods(methods, filter);
}

const GATEWAYS: Readonly<Record<string, string>> = {
  manual: 'Manual: paid by other ways, such as a bank transfer',
  test: 'Test: moves no money, for sandboxes',
};

/** Those that can be used with the credential; of others than ours the name says all. */
export async function searchGateways(
  this: ILoadOptionsFunctions,
  filter?: string,
): Promise<INodeListSearchResult> {
  const gateways = await read(this, (billing) => billing.payments.gateways());
  return {
    results: gateways
      .map(({ name }) => ({ name: GATEWAYS[name] ?? name, value: name }))
      .filter(({ name }) => matches(filter, name)),
  };
}
