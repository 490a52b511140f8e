import type { Context } from '../database';
import { GrantedOffers } from './granted-offers';

export type { GrantOfferRequest } from './granted-offers';
export { suggestOffers } from './suggesting';

/** `billing.sales`: how units come to accounts. */
export interface Sales {
  grantOffer: GrantedOffers['grantOffer'];
}

export function openSales(context: Context): Sales {
  const grantedOffers = new GrantedOffers(context);
  return { grantOffer: grantedOffers.grantOffer.bind(grantedOffers) };
}
