import { changeOfAccount, type ResolvedAccount } from '../accounts';
import {
  findOffer,
  findProducts,
  findSinglePrices,
  offerPrice,
  requireUnits,
  unknownProduct,
  type Offer,
  type Product,
} from '../catalog';
import type { Context, Session } from '../database';
import {
  BillingError,
  Decimal,
  LIMITS,
  ONE,
  VALUE_DECIMALS,
  ZERO,
  accountReference,
  changeFields,
  formatUnits,
  input,
  integer,
  key,
  ledgerId,
  parse,
  type DenialReason,
  type Instant,
  type RequestOf,
} from '../kernel';
import { accountDenial, standing } from './access';
import { decideOn, type OpenPocket } from './deciding';
import { giveUnits, type GrantOrder } from './grant';
import type { GrantRecord } from './grant-records';
import { pocketOf, type Journal, type Taken } from './journal';
import { writeJournal } from './journal-store';
import { available } from './order-of-use';
import type { Pocket } from './pockets';
import type { LedgerPorts } from './ports';
import { splitAmong } from './spreading';
import { addSuggestions, type SuggestedOffer, type Suggester } from './suggestions';
import type { GrantEnd } from './validity';
import { shareValue } from './value';

/**
 * Units of a currency spent for an offer. Nothing is earned by it: the money that the units were bought
 * for moves on to the goods. Rule: billing-rules.md, Value and Money book.
 */

export interface ExchangeAnswer {
  allowed: boolean;
  reason: DenialReason | null;
  /** Units of the currency spent: the whole price, or '0'. */
  spent: string;
  /** Units of the currency left. */
  remaining: string;
  /** The product that was spent. */
  currency: string;
  /** The ledger line; null when denied, or when the price is 0. */
  entryId: string | null;
  /** What the offer brought. */
  grants: GrantRecord[];
  replayed: boolean;
  /** Offers of the currency, when there was too little of it. */
  suggestedOffers: SuggestedOffer[];
}

type FirstAnswer = Omit<ExchangeAnswer, 'replayed'>;

const exchangeInput = input({
  account: accountReference(),
  /** An offer whose price is in units of a product that is a currency. */
  sku: key(),
  /** How many of the offer. Default 1. */
  quantity: integer(1, 1_000_000).default(1),
  ...changeFields,
});
export type ExchangeRequest = RequestOf<typeof exchangeInput>;

/** What the spent units of one currency (of money) were worth. */
interface Worth {
  currency: string | null;
  units: Decimal;
  value: Decimal;
}

/** The currency product in which an offer is priced. @throws currency_mismatch */
function requireCurrency(offer: Offer, products: ReadonlyMap<string, Product>): Product {
  const currency = products.get(offer.currency);
  if (currency?.isCurrency === true) return currency;
  throw new BillingError(
    'currency_mismatch',
    `The price of ${offer.sku} is in ${offer.currency}, which is no product that can be spent.`,
    {
      parameter: 'sku',
      advice: 'Sell it with sales.createOrder, or price it in a product saved with isCurrency.',
    },
  );
}

function requireExchangeable(offer: Offer, quantity: number): void {
  if (offer.billing === 'recurring') {
    throw new BillingError(
      'invalid_input',
      `${offer.sku} is a recurring offer: it cannot be had by an exchange.`,
      { parameter: 'sku', advice: 'Price a one-time offer in the currency.' },
    );
  }
  if (offer.oncePerAccount && quantity > 1) {
    throw new BillingError(
      'invalid_input',
      `${offer.sku} can be had once, not ${quantity} times.`,
      { parameter: 'quantity' },
    );
  }
}

const mayBuy = (offer: Offer, { accountId, payerId }: ResolvedAccount): boolean =>
  offer.active &&
  (offer.public || (offer.accountId !== null && [accountId, payerId].includes(offer.accountId)));

export class Exchanges {
  constructor(
    private readonly context: Context,
    private readonly suggester: Suggester,
    private readonly ports: Pick<LedgerPorts, 'awaited' | 'eligible' | 'exchanged' | 'refresh'>,
  ) {}

  /**
   * Spends units of a currency product for an offer, in the order of use, all of the price or nothing,
   * and grants what the offer holds, in one transaction. A denial is an answer.
   *
   * @returns the answer; with the key of an earlier call the first answer, `replayed`
   * @throws currency_mismatch (the price is in no product; or the units spent carry money of several
   *   currencies that the goods cannot be divided between), invalid_input (also for recurring
   *   offers), unknown_account, unknown_offer, idempotency_conflict
   */
  async exchange(request: ExchangeRequest): Promise<ExchangeAnswer> {
    const wanted = parse(exchangeInput, request);
    const { sku, quantity } = wanted;
    return changeOfAccount(
      this.context,
      {
        ...wanted,
        kind: 'exchange',
        request: { sku, quantity },
      },
      async (session, account, now) => {
        const offer = await findOffer(session, wanted.sku);
        const keys = [offer.currency, ...offer.items.map(({ product }) => product)];
        const products = await findProducts(session, keys);
        const currency = requireCurrency(offer, products);
        requireExchangeable(offer, quantity);
        const price = offerPrice(offer, new Decimal(quantity));
        requireUnits(price, currency, 'quantity');
        const sale = { account, offer, quantity, currency, price, products };
        return decideOn(this.ports, session, now, [pocketOf(account, currency)], (open) =>
          this.sell(session, sale, wanted.metadata, now, open),
        );
      },
    );
  }

  private async sell(
    session: Session,
    sale: Sale,
    metadata: Record<string, unknown> | undefined,
    now: Instant,
    { journal, pocket, time, grants: there }: OpenPocket,
  ): Promise<FirstAnswer> {
    const { account, offer, currency, price } = sale;
    const { accountId, payerId } = account;
    const { key: product } = currency;
    const denied = (reason: DenialReason): FirstAnswer => ({
      allowed: false,
      reason,
      spent: '0',
      remaining: formatUnits(available(there, time)),
      currency: product,
      entryId: null,
      grants: [],
      suggestedOffers: [],
    });
    const refused =
      accountDenial(account) ??
      (mayBuy(offer, account)
        ? await this.ports.eligible(session, account, offer, now)
        : 'offer_unavailable');
    if (refused !== null) return denied(refused);
    const wish = { account, product: currency, amount: price };
    const stand = standing(wish, { ...pocket, grants: there, terms: null }, time);
    const note = { source: `exchange ${offer.sku}`.slice(0, LIMITS.source), metadata };
    const taken = stand.allowed ? spend(journal, pocket, accountId, price, note) : null;
    if (taken === null) {
      const answer = denied(stand.reason ?? 'insufficient_balance');
      // Its `currency` is the product that was to be spent.
      const { reason } = answer;
      const said = { reason, suggestedOffers: answer.suggestedOffers };
      const shortage = { answer: said, accountId, product, missing: stand.missing };
      await addSuggestions(session, this.suggester, this.ports, [shortage]);
      return { ...answer, suggestedOffers: said.suggestedOffers };
    }
    await writeJournal(session, journal, [], now);

    const cause = price.isZero() ? undefined : taken.sequence;
    const goods = await goodsOf(session, sale, worthsOf(pocket, taken), { ...note, cause });
    const grants = await giveUnits(session, account, goods, now);
    await this.ports.exchanged(session, account, offer, now);
    return {
      allowed: true,
      reason: null,
      spent: formatUnits(price),
      remaining: formatUnits(
        // The goods may be of the currency themselves.
        grants
          .filter((grant) => grant.product === product)
          .reduce((sum, grant) => sum.plus(grant.remaining), available(pocket.grants, time)),
      ),
      currency: product,
      entryId: price.isZero() ? null : ledgerId(payerId, taken.sequence),
      grants,
      suggestedOffers: [],
    };
  }
}

/** One exchange that is under way. */
interface Sale {
  account: ResolvedAccount;
  offer: Offer;
  quantity: number;
  currency: Product;
  price: Decimal;
  products: ReadonlyMap<string, Product>;
}

/** A price of 0 takes nothing, and there is no line for it. */
function spend(
  journal: Journal,
  pocket: Pocket,
  accountId: string,
  price: Decimal,
  note: { source: string; metadata?: Record<string, unknown> },
): Taken | null {
  if (price.isZero()) return { sequence: 0n, traces: [] };
  return journal.spend(pocket, 'exchange', accountId, price, note);
}

/** What the spent units carried, by currency, the most units first; one without currency if nothing. */
function worthsOf(pocket: Pocket, { traces }: Taken): Worth[] {
  const worths = new Map<string, Worth>();
  for (const { sequence, amount, value } of traces) {
    if (value.isZero()) continue;
    const { currency } = pocket.grants.find((grant) => grant.sequence === sequence)!;
    const before = worths.get(currency!) ?? { currency, units: ZERO, value: ZERO };
    worths.set(currency!, {
      currency,
      units: before.units.minus(amount),
      value: before.value.minus(value),
    });
  }
  if (worths.size === 0) return [{ currency: null, units: ONE, value: ZERO }];
  return [...worths.values()].sort((a, b) => b.units.comparedTo(a.units));
}

/**
 * What the offer brings, with the value of the units that were spent for it. If those carried money of
 * several currencies, each item is divided between them by units spent; an item that cannot be divided
 * carries the first one's.
 */
async function goodsOf(
  session: Session,
  { offer, quantity, products }: Sale,
  worths: readonly Worth[],
  origin: Pick<GrantOrder, 'source' | 'metadata' | 'cause'>,
): Promise<GrantOrder[]> {
  const items = offer.items.map((item) => {
    const product = products.get(item.product);
    if (product === undefined) throw unknownProduct(item.product, 'sku');
    const units = new Decimal(item.quantity).times(quantity);
    const weights = worths.map((worth) => worth.units);
    const parts = product.kind === 'quantity' ? splitAmong(units, weights, product.decimals) : null;
    return { item, units, parts };
  });
  const prices = await findSinglePrices(
    session,
    items.map(({ item }) => item.product),
    offer.currency,
  );
  const common = { sku: offer.sku, offerVersion: offer.version, ...origin };
  const goods = worths.flatMap(({ currency, value }, turn) => {
    const carriers = items.filter(({ parts }) => turn === 0 || parts !== null);
    if (carriers.length === 0) throw indivisible(offer, worths);
    const shares = shareValue(
      carriers.map(({ item, units }) => ({
        share: item.share === null ? null : new Decimal(item.share),
        price: prices.get(item.product)?.times(units) ?? null,
      })),
      value,
      VALUE_DECIMALS,
    );
    return carriers.map(({ item, units, parts }, index) => ({
      ...common,
      product: item.product,
      quantity: parts === null ? units : parts[turn]!,
      priority: item.priority,
      ends: lifeOf(item),
      value: shares[index]!,
      currency: shares[index]!.isZero() ? null : currency,
    }));
  });
  const bonuses = offer.bonuses.map((bonus) => ({
    ...common,
    product: bonus.product,
    quantity: new Decimal(bonus.quantity).times(quantity),
    priority: bonus.priority,
    ends: bonus.expiresAfter === null ? null : { after: bonus.expiresAfter },
    value: ZERO,
    currency: null,
  }));
  return [...goods, ...bonuses];
}

const lifeOf = ({ expiresAfter, leadTime }: Offer['items'][number]): GrantEnd =>
  expiresAfter === null ? null : { after: expiresAfter, lead: leadTime };

const indivisible = (offer: Offer, worths: readonly Worth[]): BillingError =>
  new BillingError(
    'currency_mismatch',
    `The units to be spent were bought for ${worths.map(({ currency }) => currency).join(' and ')}, and what ${offer.sku} brings cannot be divided between them.`,
    { parameter: 'sku', advice: 'Exchange what units bought for one currency cover.' },
  );
