import type { Context } from '../database';
import { bound } from '../kernel';
import { Coupons } from './coupons';
import { CatalogFiles } from './import-export';
import { Offers } from './offers';
import { Products } from './products';
import { TaxRates } from './tax-rates';

export * from './public';
export {
  decimalsOfPrice,
  findFreeTier,
  findOffer,
  findOfferVersion,
  findOffers,
  offerPrice,
  unitPriceOf,
  unknownOffer,
} from './offer-records';
export { ACCESS, DEFAULT_PRIORITY, PRORATIONS, WHEN_IN_FORCE } from './offer-terms';
export { areAlternatives } from './plans';
export { PRICING_MODELS, formatUnitPrice, priceOf } from './pricing';
export {
  decimalsOfCurrency,
  findProduct,
  findProducts,
  markProductsUsed,
  requireUnits,
  unknownProduct,
} from './products';
export { couponCovers, discountOf, findCoupon } from './coupon-records';
export {
  couponStays,
  keepCoupon,
  lapseCoupon,
  releaseCoupon,
  reserveCoupon,
  type CouponUse,
} from './coupon-uses';
export { taxRateFor } from './tax-rates';
export {
  totals,
  type Totals,
  type TotalsLine,
  type TotalsOfLine,
  type TotalsRequest,
} from './totals';
export { findSinglePrices } from './single-prices';

/** `billing.catalog`: what can be used, and what is sold. */
export interface Catalog
  extends
    Pick<Products, 'saveProduct' | 'getProduct' | 'listProducts'>,
    Pick<Offers, 'saveOffer' | 'getOffer' | 'listOffers'>,
    Pick<Coupons, 'saveCoupon' | 'getCoupon' | 'listCoupons'>,
    Pick<TaxRates, 'saveTaxRate' | 'listTaxRates'>,
    Pick<CatalogFiles, 'exportCatalog' | 'importCatalog'> {}

/** Opens the room. */
export function openCatalog(context: Context): { calls: Catalog } {
  return {
    calls: {
      ...bound(new Products(context), 'saveProduct', 'getProduct', 'listProducts'),
      ...bound(new Offers(context), 'saveOffer', 'getOffer', 'listOffers'),
      ...bound(new Coupons(context), 'saveCoupon', 'getCoupon', 'listCoupons'),
      ...bound(new TaxRates(context), 'saveTaxRate', 'listTaxRates'),
      ...bound(new CatalogFiles(context), 'exportCatalog', 'importCatalog'),
    },
  };
}
