import type { Address, TaxId, TaxStatus } from '../../accounts';
import { findOffers, findProducts } from '../../catalog';
import type { Session } from '../../database';
import type { Seller, StoredSettings } from '../settings';

/** Who is billed, as of the moment of issue. */
export interface Buyer {
  name: string | null;
  company: string | null;
  email: string | null;
  address: Address | null;
  taxIds: TaxId[];
  taxStatus: TaxStatus;
}

/** Names of what stands on lines, as of the moment of issue. */
export interface LineNames {
  /** Names of offers, by sku. */
  offers: Record<string, string>;
  /** By key. */
  products: Record<string, { name: string; unit: string | null }>;
  /** Names of accounts other than the payer, by id; null: it has none. */
  accounts: Record<string, string | null>;
}

/**
 * What people wrote that stands on a paper, kept as it was when the paper was issued
 * (invoice_details.snapshot, credit_note_details.snapshot). Rendering reads nothing else.
 */
export interface PaperSnapshot {
  seller: Seller | null;
  buyer: Buyer;
  names: LineNames;
  logoId: string | null;
  /** BCP 47. */
  locale: string;
  /** IANA zone of the payer: in it the dates are. */
  timeZone: string;
  footer: string | null;
  notes: string | null;
}

/** The part of a snapshot that is the seller's. */
export const sellerPart = (
  settings: StoredSettings,
): Pick<PaperSnapshot, 'seller' | 'logoId' | 'locale' | 'footer' | 'notes'> => ({
  seller: settings.seller,
  logoId: settings.logoId,
  locale: settings.locale,
  footer: settings.footer,
  notes: settings.notes,
});

/** The payers, and the accounts that lines name: of one that was merged into another, that one. */
const READ_BUYERS = `
select w.account_id::text as account_id, p.time_zone, d.name, d.email, c.name as contact, c.company,
       case when c.line1 is not null then json_build_object(
         'line1', c.line1, 'line2', c.line2, 'city', c.city, 'postalCode', c.postal_code,
         'region', c.region, 'country', c.country) end::text as address,
       coalesce(t.status, 'normal') as tax_status, coalesce(t.tax_ids, '[]')::text as tax_ids
from unnest($1::uuid[]) as w (account_id)
cross join lateral (
  select a.merged_into from {schema}.accounts a where a.account_id = w.account_id offset 0) as a
cross join lateral (
  select p.account_id, p.time_zone from {schema}.accounts p
  where p.account_id = coalesce(a.merged_into, w.account_id) offset 0) as p
left join lateral (
  select * from {schema}.account_details d where d.account_id = p.account_id offset 0) as d on true
left join lateral (
  select * from {schema}.account_contacts c where c.account_id = p.account_id offset 0) as c on true
left join lateral (
  select * from {schema}.account_taxes t where t.account_id = p.account_id offset 0) as t on true`;

interface BuyerRow {
  account_id: string;
  time_zone: string;
  name: string | null;
  email: string | null;
  contact: string | null;
  company: string | null;
  address: string | null;
  tax_status: TaxStatus;
  tax_ids: string;
}

const buyerOf = (row: BuyerRow): Buyer => ({
  name: row.contact ?? (row.company === null ? row.name : null),
  company: row.company,
  email: row.email,
  address: row.address === null ? null : (JSON.parse(row.address) as Address),
  taxIds: JSON.parse(row.tax_ids) as TaxId[],
  taxStatus: row.tax_status,
});

interface Pictured {
  invoiceId: string;
  payerId: string;
  lines: ReadonlyArray<{ accountId: string; sku: string | null; product: string | null }>;
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
  const buyers = new Map(rows.map((row) => [row.account_id, row]));
  const skus = new Set(lines.flatMap(({ sku }) => sku ?? []));
  const found = skus.size === 0 ? [] : await findOffers(session, [...skus]);
  const offers = new Map(found.map(({ sku, name }) => [sku, name]));
  const keys = new Set(lines.flatMap(({ product }) => product ?? []));
  const products = await findProducts(session, [...keys]);
  const seller = sellerPart(settings);

  const taken = new Map<string, PaperSnapshot>();
  for (const { invoiceId, payerId, lines: own } of invoices) {
    const names: LineNames = { offers: {}, products: {}, accounts: {} };
    for (const { sku, product, accountId } of own) {
      if (sku !== null) names.offers[sku] = offers.get(sku) ?? sku;
      const known = product === null ? undefined : products.get(product);
      if (known !== undefined) names.products[known.key] = { name: known.name, unit: known.unit };
      if (accountId !== payerId) {
        const other = buyers.get(accountId);
        names.accounts[accountId] = other?.name ?? other?.company ?? other?.contact ?? null;
      }
    }
    const row = buyers.get(payerId)!;
    taken.set(invoiceId, { ...seller, buyer: buyerOf(row), names, timeZone: row.time_zone });
  }
  return taken;
}
