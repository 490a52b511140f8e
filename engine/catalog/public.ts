/** What callers of the engine can name of this room. */
export type { Coupon, CouponDuration, CouponRecord } from './coupon-records';
export type { SaveCouponRequest } from './coupons';
export type {
  CatalogChange,
  CatalogDocument,
  ExportedCatalog,
  ImportCatalogAnswer,
  ImportCatalogRequest,
} from './import-export';
export type { Offer, OfferItem } from './offer-records';
export type { Collect, ItemTerms, OfferBonus, OfferTerms, TrialPhase } from './offer-terms';
export type { SaveOfferRequest } from './offers';
export type { Pricing, PricingModel, PricingRequest, Tier } from './pricing';
export type { Product, ProductKind, SaveProductRequest } from './products';
export type { SaveTaxRateRequest, TaxRate } from './tax-rates';
