import type { Session } from '../database';
import type { Decimal } from '../kernel';

/** Something the customer could buy to get what was denied. */
export interface SuggestedOffer {
  sku: string;
  name: string;
  /** In `currency`, with its decimals. */
  price: string;
  listPrice: string | null;
  currency: string;
  /** The product that was missing, and how much of it the offer brings. */
  product: string;
  quantity: string;
  /** What the first time costs, for an account that has had no trial; left out otherwise. */
  trialPrice?: string;
}

/** What was missing in a denial. */
export interface Shortage {
  accountId: string;
  product: string;
  missing: Decimal;
}

/**
 * A port that the sales room fills when the engine opens: asked only after a denial, once for all
 * denials of a batch. Gives a list for each shortage, in order.
 */
export type Suggester = (
  session: Session,
  shortages: readonly Shortage[],
) => Promise<SuggestedOffer[][]>;

/** Puts suggestions into the answers of denials in which something was missing; asks nobody when there are none. */
export async function addSuggestions(
  session: Session,
  suggester: Suggester,
  denied: ReadonlyArray<Shortage & { answer: { suggestedOffers: SuggestedOffer[] } }>,
): Promise<void> {
  const short = denied.filter(({ missing }) => missing.greaterThan(0));
  if (short.length === 0) return;
  const offers = await suggester(session, short);
  short.forEach(({ answer }, index) => (answer.suggestedOffers = offers[index] ?? []));
}
