import type { Session } from '../database';
import type { Decimal, DenialReason } from '../kernel';
import type { LedgerPorts } from './ports';

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

/** The first payment of a subscription, which would bring what is missing. */
export interface AwaitedPayment {
  /** What it is for, and what else waits for its own: not to be bought once more. */
  skus: string[];
  /** The invoice to pay; null: there is none yet. */
  invoiceId: string | null;
  /** What is due; without an invoice, the fee before discount and tax. Money of `currency`. */
  amount: string;
  currency: string;
  /** False: a child waits for what its parent, or another child, began. */
  own: boolean;
}

/** What a denial says beside its reason, where a first payment is awaited: to who pays, or began it. */
export type AwaitedFields = Partial<Omit<AwaitedPayment, 'skus' | 'own'>>;

interface DeniedAnswer extends AwaitedFields {
  reason: DenialReason | null;
  suggestedOffers: SuggestedOffer[];
}

/**
 * Puts suggestions into the answers of denials in which something was missing, and what is to be paid
 * where that is awaited; asks nobody when there are none.
 */
export async function addSuggestions(
  session: Session,
  suggester: Suggester,
  ports: Pick<LedgerPorts, 'awaited'>,
  denied: ReadonlyArray<Shortage & { answer: DeniedAnswer }>,
): Promise<void> {
  const short = denied.filter(({ missing }) => missing.greaterThan(0));
  if (short.length === 0) return;
  const offers = await suggester(session, short);
  short.forEach(({ answer }, index) => (answer.suggestedOffers = offers[index] ?? []));
  const waiting = short.filter(({ answer }) => answer.reason === 'payment_awaited');
  if (waiting.length === 0) return;
  const payments = await ports.awaited(session, waiting);
  waiting.forEach(({ answer }, index) => {
    const payment = payments[index] ?? null;
    if (payment === null) return;
    const { skus, own, ...fields } = payment;
    if (own) Object.assign(answer, fields);
    answer.suggestedOffers = answer.suggestedOffers.filter(({ sku }) => !skus.includes(sku));
  });
}
