import {
  findCoupon,
  findOfferVersion,
  findProducts,
  taxRateFor,
  type Coupon,
  type Offer,
  type Pricing,
  type Product,
  type TaxRate,
} from '../catalog';
import type { TaxStatus } from '../accounts';
import type { Session } from '../database';
import { BillingError } from '../kernel';

/**
 * What a run has looked up in the catalog: few offers and rates, named by many invoices. For the time
 * of one call; versions of offers never change.
 */
export class CatalogMemory {
  private readonly offers = new Map<string, Offer>();
  private readonly products = new Map<string, Product>();
  private readonly coupons = new Map<string, Coupon | null>();
  private readonly rates = new Map<string, TaxRate | null | BillingError>();

  async offer(session: Session, sku: string, version: number): Promise<Offer> {
    const key = `${version} ${sku}`;
    let offer = this.offers.get(key);
    if (offer === undefined) {
      offer = await findOfferVersion(session, sku, version);
      this.offers.set(key, offer);
    }
    return offer;
  }

  /** How a version of an offer prices use beyond what it grants; null: it does not. */
  async overagePricing(
    session: Session,
    sku: string,
    version: number,
    product: string,
  ): Promise<Pricing | null> {
    const { items } = await this.offer(session, sku, version);
    return items.find((item) => item.product === product && item.overage)?.overage?.pricing ?? null;
  }

  async productsOf(session: Session, keys: Iterable<string>): Promise<Map<string, Product>> {
    const wanted = [...new Set(keys)];
    const missing = wanted.filter((key) => !this.products.has(key));
    if (missing.length > 0) {
      for (const [key, product] of await findProducts(session, missing)) {
        this.products.set(key, product);
      }
    }
    return new Map(
      wanted.flatMap((key) => {
        const product = this.products.get(key);
        return product === undefined ? [] : [[key, product] as const];
      }),
    );
  }

  async coupon(session: Session, code: string): Promise<Coupon | null> {
    let coupon = this.coupons.get(code);
    if (coupon === undefined) {
      coupon = await findCoupon(session, code);
      this.coupons.set(code, coupon);
    }
    return coupon;
  }

  /** @throws invalid_input: the rate named does not exist or is not active */
  async rate(
    session: Session,
    of: { country: string | null; taxRate: string | null; taxStatus: TaxStatus },
  ): Promise<TaxRate | null> {
    const key = JSON.stringify([of.country, of.taxRate, of.taxStatus]);
    let rate = this.rates.get(key);
    if (rate === undefined) {
      try {
        rate = await taxRateFor(session, of);
      } catch (error) {
        if (!(error instanceof BillingError)) throw error;
        rate = error;
      }
      this.rates.set(key, rate);
    }
    if (rate instanceof BillingError) throw rate;
    return rate;
  }
}
