import type { Context } from '../database';
import { Coupons } from './coupons';
import { CatalogFiles } from './import-export';
import { Offers } from './offers';
import { Products } from './products';
import { TaxRates } from './tax-rates';

export * from './public';
export {
  findFreeTier,
  findOffer,
  findOfferVersion,
  findOffers,
  offerPrice,
  unknownOffer,
} from './offer-records';
export { DEFAULT_PRIORITY } from './offer-terms';
export { PRICING_MODELS, priceOf } from './pricing';
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
export interface Catalog {
  saveProduct: Products['saveProduct'];
  getProduct: Products['getProduct'];
  listProducts: Products['listProducts'];
  saveOffer: Offers['saveOffer'];
  getOffer: Offers['getOffer'];
  listOffers: Offers['listOffers'];
  saveCoupon: Coupons['saveCoupon'];
  getCoupon: Coupons['getCoupon'];
  listCoupons: Coupons['listCoupons'];
  saveTaxRate: TaxRates['saveTaxRate'];
  listTaxRates: TaxRates['listTaxRates'];
  exportCatalog: CatalogFiles['exportCatalog'];
  importCatalog: CatalogFiles['importCatalog'];
}

/** Opens the room. */
export function openCatalog(context: Context): { calls: Catalog } {
  const products = new Products(context);
  const offers = new Offers(context);
  const coupons = new Coupons(context);
  const taxRates = new TaxRates(context);
  const files = new CatalogFiles(context);
  const calls: Catalog = {
    saveProduct: products.saveProduct.bind(products),
    getProduct: products.getProduct.bind(products),
    listProducts: products.listProducts.bind(products),
    saveOffer: offers.saveOffer.bind(offers),
    getOffer: offers.getOffer.bind(offers),
    listOffers: offers.listOffers.bind(offers),
    saveCoupon: coupons.saveCoupon.bind(coupons),
    getCoupon: coupons.getCoupon.bind(coupons),
    listCoupons: coupons.listCoupons.bind(coupons),
    saveTaxRate: taxRates.saveTaxRate.bind(taxRates),
    listTaxRates: taxRates.listTaxRates.bind(taxRates),
    exportCatalog: files.exportCatalog.bind(files),
    importCatalog: files.importCatalog.bind(files),
  };
  return { calls };
}
