import type { ResolvedAccount } from '../accounts';
import { DEFAULT_PRIORITY, type Offer, type OfferItem } from '../catalog';
import { Decimal, ZERO, addDuration, type Duration, type Instant } from '../kernel';
import type { GrantOrder } from '../ledger';

/** What all units of one gift have in common. */
export interface Gift {
  quantity: number;
  source: string;
  metadata?: Record<string, unknown>;
}

/** What an item of a recurring offer's first trial phase is, among the offer's own items. */
export const priorityIn = (offer: Offer, product: string): number =>
  offer.items.find((item) => item.product === product)?.priority ?? DEFAULT_PRIORITY;

/** Of an item of 0 units only steps and use beyond are paid for. */
export const bringsUnits = ({ quantity }: OfferItem): boolean => !new Decimal(quantity).isZero();

/** How long what an item brings lasts; null: without end. */
export function lifeOf(offer: Offer, item: OfferItem): Duration | null {
  if (item.expiresAfter !== null) return item.expiresAfter;
  return offer.collect?.atPeriodEnd === 'expire' ? offer.interval : null;
}

/**
 * All that an offer brings, its bonuses too, to be given without money: worth nothing. Of a recurring
 * offer it is what one period brings.
 */
export function givenContent(
  offer: Offer,
  account: ResolvedAccount,
  gift: Gift,
  now: Instant,
): GrantOrder[] {
  const common = {
    value: ZERO,
    currency: null,
    source: gift.source,
    metadata: gift.metadata,
    sku: offer.sku,
    offerVersion: offer.version,
  };
  const times = (quantity: string): Decimal => new Decimal(quantity).times(gift.quantity);
  const items = offer.items.filter(bringsUnits).map((item) => {
    const life = lifeOf(offer, item);
    // A product counted in months keeps its anchor only when the ledger itself adds the months.
    const ends =
      life === null
        ? null
        : item.leadTime === null
          ? { after: life }
          : {
              at: addDuration(
                addDuration(now, life, account.timeZone),
                item.leadTime,
                account.timeZone,
              ),
            };
    return {
      ...common,
      product: item.product,
      quantity: times(item.quantity),
      priority: item.priority,
      ends,
    };
  });
  const bonuses = offer.bonuses.map((bonus) => ({
    ...common,
    product: bonus.product,
    quantity: times(bonus.quantity),
    priority: bonus.priority,
    ends: bonus.expiresAfter === null ? null : { after: bonus.expiresAfter },
  }));
  return [...items, ...bonuses];
}
