import type { Billing } from '../../engine';
import type { ItemError } from './itemErrors';

/** Tells an error's reader what was probably meant. */
export type Nearest = (error: ItemError) => Promise<ItemError>;

/**
 * For keys and SKUs that differ from what is there by upper and lower case alone. Looks into the
 * catalog once, and only when something is not in it.
 */
export function nearestIn({ catalog }: Billing): Nearest {
  let known: Promise<{ unknown_product: string[]; unknown_offer: string[] }> | undefined;
  const names = async () => {
    const [products, offers] = await Promise.all([
      catalog.listProducts(),
      catalog.listOffers({ includePrivate: true, includeInactive: true }),
    ]);
    return {
      unknown_product: products.map(({ key }) => key),
      unknown_offer: offers.map(({ sku }) => sku),
    };
  };
  return async (error) => {
    if (error.code !== 'unknown_product' && error.code !== 'unknown_offer') return error;
    const [, wanted] = /"([^"]+)"/.exec(error.message) ?? [];
    // Whatever this look-up meets, the error itself is what counts.
    const there = await (known ??= names()).catch(() => null);
    const nearest = there?.[error.code].find(
      (name) => name.toLowerCase() === wanted?.toLowerCase() && name !== wanted,
    );
    if (nearest === undefined) return error;
    return { ...error, message: `${error.message} Did you mean ${nearest}?` };
  };
}
