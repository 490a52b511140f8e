/** The tables that a catalog is imported from and exported to, in the order of the editor's lists. */
export const TABLES = ['coupons', 'offers', 'products', 'taxRates'] as const;
export type Table = (typeof TABLES)[number];

export const TABLE_NAMES: Record<Table, string> = {
  coupons: 'Coupons',
  offers: 'Offers',
  products: 'Products',
  taxRates: 'Tax Rates',
};

/** What the files are called that the engine names in its errors. */
export const FILE_NAMES: Record<Table, string> = {
  coupons: 'coupons.csv',
  offers: 'offers.csv',
  products: 'products.csv',
  taxRates: 'tax-rates.csv',
};
