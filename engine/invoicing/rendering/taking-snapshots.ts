import type { Address, TaxId, TaxStatus } from '../../accounts';
import { findOffers, findProducts } from '../../catalog';
import type { Session } from '../../database';
import { sizesOfSteps } from '../../subscriptions';
import type { StoredInvoiceLine } from '../invoice-lines';
import type { StoredSettings } from '../settings';
import { FROM_PRESENT } from '../taxed-payers';
import type { Buyer, LineNames, PaperSnapshot } from './snapshot';

/** What stands on papers, taken from what accounts and the catalog say now. */

/** The part of a snapshot that is the seller's. */
export const sellerPart = ({ seller, logoId, locale, footer, notes }: StoredSettings) =>
  ({ seller, logoId, locale, footer, notes }) satisfies Partial<PaperSnapshot>;

/** The payers, and the accounts that lines name: of one that was merged into another, that one. */
const READ_BUYERS = `
select w.account_id::text as id, p.time_zone as "timeZone", d.name, d.email, c.name as contact, c.company,
       case when c.line1 is not null then json_build_object(
         'line1', c.line1, 'line2', c.line2, 'city', c.city, 'postalCode', c.postal_code,
         'region', c.region, 'country', c.country) end::text as address,
       coalesce(t.status, 'normal') as "taxStatus", coalesce(t.tax_ids, '[]')::text as "taxIds"
${FROM_PRESENT}
left join lateral (
  select * from {schema}.account_details d where d.account_id = p.account_id offset 0) as d on true
left join lateral (
  select * from {schema}.account_contacts c where c.account_id = p.account_id offset 0) as c on true
left join lateral (
  select * from {schema}.account_taxes t where t.account_id = p.account_id offset 0) as t on true`;

interface BuyerRow extends Pick<Buyer, 'name' | 'email' | 'company' | 'taxStatus'> {
  id: string;
  timeZone: string;
  contact: string | null;
  address: string | null;
  taxIds: string;
}

const buyerOf = ({ name, contact, company, email, taxStatus, ...row }: BuyerRow): Buyer => ({
  name: contact ?? (company === null ? name : null),
  company,
  email,
  address: row.address === null ? null : (JSON.parse(row.address) as Address),
  taxIds: JSON.parse(row.taxIds) as TaxId[],
  taxStatus,
});

const READ_STATUSES = `
select i.invoice_id::text as id, i.tax_status as status
from {schema}.invoices i where i.invoice_id = any($1::uuid[])`;

/** How the invoices were taxed whose lines are corrected, by their ids. */
async function correctedStatuses(
  session: Session,
  lines: ReadonlyArray<Pick<StoredInvoiceLine, 'correctsInvoiceId'>>,
): Promise<Map<string, TaxStatus>> {
  const ids = new Set(lines.flatMap(({ correctsInvoiceId }) => correctsInvoiceId ?? []));
  if (ids.size === 0) return new Map();
  const rows = await session.query<{ id: string; status: TaxStatus }>(READ_STATUSES, [[...ids]]);
  return new Map(rows.map(({ id, status }) => [id, status]));
}

interface Pictured {
  invoiceId: string;
  payerId: string;
  lines: ReadonlyArray<
    Pick<
      StoredInvoiceLine,
      'accountId' | 'sku' | 'product' | 'kind' | 'itemId' | 'correctsInvoiceId'
    >
  >;
}

/**
 * What stands on papers that are issued now, by invoice; for drafts, what would. A few statements,
 * however many there are.
 */
export async function takeSnapshots(
  session: Session,
  settings: StoredSettings,
  invoices: readonly Pictured[],
): Promise<Map<string, PaperSnapshot>> {
  const lines = invoices.flatMap((invoice) => invoice.lines);
  const accountIds = new Set([
    ...invoices.map(({ payerId }) => payerId),
    ...lines.map(({ accountId }) => accountId),
  ]);
  const rows = await session.query<BuyerRow>(READ_BUYERS, [[...accountIds]]);
  const buyers = new Map(rows.map((row) => [row.id, row]));
  const skus = new Set(lines.flatMap(({ sku }) => sku ?? []));
  const found = skus.size === 0 ? [] : await findOffers(session, [...skus]);
  const offers = new Map(found.map(({ sku, name }) => [sku, name]));
  const keys = new Set(lines.flatMap(({ product }) => product ?? []));
  const products = await findProducts(session, [...keys]);
  const items = lines.flatMap(({ kind, itemId }) => (kind === 'step' ? (itemId ?? []) : []));
  const sizes = await sizesOfSteps(session, [...accountIds], items);
  const statuses = await correctedStatuses(session, lines);
  const seller = sellerPart(settings);

  const taken = new Map<string, PaperSnapshot>();
  for (const { invoiceId, payerId, lines: own } of invoices) {
    const names: LineNames = { offers: {}, products: {}, accounts: {} };
    for (const { sku, product, accountId, itemId } of own) {
      const size = itemId === null ? undefined : sizes.get(itemId);
      if (size !== undefined) names.steps = { ...names.steps, [itemId!]: size };
      if (sku !== null) names.offers[sku] = offers.get(sku) ?? sku;
      const known = product === null ? undefined : products.get(product);
      if (known !== undefined) names.products[known.key] = { name: known.name, unit: known.unit };
      if (accountId !== payerId) {
        const other = buyers.get(accountId);
        names.accounts[accountId] = other?.name ?? other?.company ?? other?.contact ?? null;
      }
    }
    const row = buyers.get(payerId)!;
    const corrected = own.flatMap(({ correctsInvoiceId: id }) => statuses.get(id ?? '') ?? []);
    taken.set(invoiceId, {
      ...seller,
      buyer: buyerOf(row),
      ...(corrected.length === 0 ? {} : { correctedAs: [...new Set(corrected)] }),
      names,
      timeZone: row.timeZone,
    });
  }
  return taken;
}
