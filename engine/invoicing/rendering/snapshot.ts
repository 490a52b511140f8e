import type { Address, TaxId, TaxStatus } from '../../accounts';

/** Who issues invoices; all of it optional. */
export interface Seller {
  name: string | null;
  address: Address | null;
  taxIds: TaxId[];
  email: string | null;
  phone: string | null;
  website: string | null;
}

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
  /** Units that each of the steps brought, by the item that bills them. */
  steps?: Record<string, string>;
}

/**
 * What people wrote that stands on a paper, kept as it was when the paper was issued
 * (invoice_details.snapshot, credit_note_details.snapshot). Rendering reads nothing else.
 */
export interface PaperSnapshot {
  seller: Seller | null;
  buyer: Buyer;
  /** How buyers of lines were taxed that are corrected here. */
  correctedAs?: TaxStatus[];
  names: LineNames;
  logoId: string | null;
  /** BCP 47. */
  locale: string;
  /** IANA zone of the payer: in it the dates are. */
  timeZone: string;
  footer: string | null;
  notes: string | null;
}
