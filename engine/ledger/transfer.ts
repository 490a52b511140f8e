import { changeOf, resolveAccount, type ResolvedAccount } from '../accounts';
import {
  findProducts,
  markProductsUsed,
  requireUnits,
  unknownProduct,
  type Product,
} from '../catalog';
import type { Context, Session } from '../database';
import {
  BillingError,
  Decimal,
  LIMITS,
  ONE,
  ZERO,
  accountReference,
  changeFields,
  formatUnits,
  input,
  key,
  ledgerId,
  parse,
  round,
  split,
  text,
  units,
  invalidInput,
  sumOf,
  type DenialReason,
  type Instant,
  type RequestOf,
  type z,
} from '../kernel';
import { accountDenial, requireCounted } from './access';
import { decideOn, type OpenPocket } from './deciding';
import { isHard, shortReason } from './gates';
import { grantRecord, type GrantRecord } from './grant-records';
import { pocketOf, type Moved } from './journal';
import { readDebts, writeJournal } from './journal-store';
import { tellBook } from './moving';
import { available, draw, isInForce, type Draw } from './order-of-use';
import type { Grant, Pocket } from './pockets';
import type { LedgerPorts } from './ports';
import { splitAmong } from './spreading';
import { valueLeft, valueMoved } from './value';

/**
 * Units of one product become units of another, or of another account. The money that they were bought
 * for moves with them, all of it. Rule: billing-rules.md, Transfer.
 */

export interface TransferAnswer {
  allowed: boolean;
  reason: DenialReason | null;
  /** Units that left: all that was asked for, or '0'. */
  amount: string;
  /** Units that came of it. */
  received: string;
  /** The ledger lines, two and two: units left, units came. */
  entries: Array<{ entryId: string; pairedEntryId: string }>;
  /** What came: one for each grant that gave. */
  grants: GrantRecord[];
  /** Units left of the product. */
  remaining: string;
  replayed: boolean;
}

type FirstAnswer = Omit<TransferAnswer, 'replayed'>;

const transferInput = input({
  account: accountReference(),
  product: key(),
  /** Units to move. */
  amount: units(),
  /** Default: the same account. */
  toAccount: accountReference().optional(),
  /** Default: the same product, one for one. */
  toProduct: key().optional(),
  /** What a unit of the other product is worth. Default: of its newest live grant that was paid for. */
  unitValue: units().optional(),
  /** Instead of it: how many units of the other product there will be. Units worth nothing need it. */
  quantity: units().optional(),
  /** Why, when a person does it by hand. */
  reason: text(LIMITS.source).optional(),
  ...changeFields,
});
export type TransferRequest = RequestOf<typeof transferInput>;
type Wanted = z.output<typeof transferInput>;

/** Units that will leave a grant, and the value that goes with them. */
interface Share {
  draw: Draw<Grant>;
  value: Decimal;
  /** Null: worth nothing. */
  currency: string | null;
  /** Units of the other product that it makes, before rounding. */
  exact: Decimal;
}

/** Units that go into one new grant; the last gives it its end and priority. */
interface Parcel {
  draws: Array<Draw<Grant>>;
  quantity: Decimal;
}

interface Way {
  from: ResolvedAccount;
  into: ResolvedAccount;
  product: Product;
  toProduct: Product;
}

export class Transfers {
  constructor(
    private readonly context: Context,
    private readonly ports: Pick<LedgerPorts, 'movedValue' | 'refresh'>,
  ) {}

  /**
   * Moves units to another product, to another account, or both: all of the amount or nothing, in the
   * order of use and never as overage. Each grant that gives makes a new one with its expiry, its
   * priority and all the value that moves. The key belongs to the account that gives.
   *
   * @returns the answer; with the key of an earlier call the first answer, `replayed`
   * @throws invalid_input (also for products that are not counted, a rate that is not known, units
   *   worth nothing without `quantity`), currency_mismatch (one `unitValue` for money of several
   *   currencies), unknown_account, unknown_product, idempotency_conflict
   */
  async transfer(request: TransferRequest): Promise<TransferAnswer> {
    const wanted = parse(transferInput, request);
    requireRate(wanted);
    const { account, toAccount = account, product, toProduct = product } = wanted;
    const { amount, unitValue, quantity, reason } = wanted;
    return changeOf(
      this.context,
      {
        ...wanted,
        kind: 'transfer',
        parties: async (session) => {
          const owner = await resolveAccount(session, account);
          const into = await resolveAccount(session, toAccount, 'toAccount');
          return { owner, into, locks: [into.payerId] };
        },
        request: ({ owner, into }) => ({
          account: owner.accountId,
          toAccount: into.accountId,
          ...{ product, toProduct, amount, unitValue, quantity, reason },
        }),
      },
      async (session, { owner: from, into }, now) => {
        const way = { from, into, ...(await readProducts(session, product, toProduct)) };
        requireSound(way, wanted);
        const pockets = [pocketOf(from, way.product), pocketOf(into, way.toProduct)] as const;
        const moved = await decideOn(this.ports, session, now, pockets, (open) =>
          this.move(session, way, wanted, now, open),
        );
        return { answer: moved };
      },
    );
  }

  private async move(
    session: Session,
    way: Way,
    wanted: Wanted,
    now: Instant,
    { journal, pocket: source, time, grants: counting }: OpenPocket,
  ): Promise<FirstAnswer> {
    const { from, into, product, toProduct } = way;
    const { amount, reason, metadata } = wanted;
    await readDebts(session, journal);
    const target = journal.pocket(into.payerId, toProduct.key);
    const denied = (why: DenialReason): FirstAnswer => ({
      allowed: false,
      reason: why,
      amount: '0',
      received: '0',
      entries: [],
      grants: [],
      remaining: formatUnits(available(counting, time)),
    });
    const { gate } = source;
    const refused = accountDenial(from) ?? closed(into) ?? (isHard(gate) ? gate : null);
    if (refused !== null) return denied(refused);
    if (!covers(counting, way, wanted, time)) return denied(shortReason(gate));

    journal.writeDue(source);
    journal.writeDue(target);
    const { draws, missing } = draw(movable(source.grants, way, wanted), amount, time);
    // The other ledger may be ahead of this one, where a hold is not over yet. Nothing is written.
    if (missing.greaterThan(0)) return denied(shortReason(gate));
    const parcels =
      product.key === toProduct.key
        ? draws.map((one) => ({ draws: [one], quantity: one.amount }))
        : parcelsOf(draws, target, toProduct, wanted, time);
    await markProductsUsed(session, [toProduct.key]);
    const note = { source: 'transfer', reason, metadata };
    const moves = parcels.map((parcel): Moved => {
      const { expiresAt } = parcel.draws.at(-1)!.grant;
      const validity = { validFrom: time, expiresAt, anchorAt: null, anchorMonths: null };
      const terms = { accountId: into.accountId, quantity: parcel.quantity, validity };
      const why = { ...terms, why: 'transfer' } as const;
      return journal.moveUnits(source, from.accountId, parcel.draws, target, why, note);
    });
    await writeJournal(session, journal, [], now);
    const ledgers = { from: from.payerId, into: into.payerId, now };
    await tellBook(session, this.ports, moves, ledgers);
    return {
      allowed: true,
      reason: null,
      amount: formatUnits(amount),
      received: formatUnits(sumOf(parcels.map(({ quantity }) => quantity))),
      entries: moves.map(({ out, grant }) => ({
        entryId: ledgerId(from.payerId, out),
        pairedEntryId: ledgerId(into.payerId, grant.sequence),
      })),
      grants: moves.map(({ grant }) => grantRecord(grant, note.source, time)),
      remaining: formatUnits(available(source.grants, time)),
    };
  }
}

/** What a rate is needed for, and that only one is given. */
function requireRate({ product, toProduct = product, unitValue, quantity }: Wanted): void {
  if (unitValue !== undefined && quantity !== undefined) {
    throw invalidInput('quantity', '"unitValue" and "quantity" exclude each other.');
  }
  if (product !== toProduct) return;
  const given = unitValue !== undefined ? 'unitValue' : quantity !== undefined ? 'quantity' : null;
  if (given === null) return;
  throw invalidInput(
    given,
    `"${given}" has no meaning here: units of one product move one for one.`,
  );
}

/** @throws invalid_input for units that are too fine, or that would stay where they are */
function requireSound({ from, into, product, toProduct }: Way, { amount, quantity }: Wanted): void {
  requireUnits(amount, product, 'amount');
  if (quantity !== undefined) requireUnits(quantity, toProduct, 'quantity');
  if (from.payerId === into.payerId && product.key === toProduct.key) {
    throw invalidInput(
      'toAccount',
      'The units are where they would go: of this product, in this ledger.',
      'Name another product by "toProduct", or an account that another one pays for by "toAccount".',
    );
  }
}

async function readProducts(
  session: Session,
  productKey: string,
  toProductKey: string,
): Promise<Pick<Way, 'product' | 'toProduct'>> {
  const found = await findProducts(session, [productKey, toProductKey]);
  const counted = (wanted: string, parameter: string): Product => {
    const product = found.get(wanted);
    if (product === undefined) throw unknownProduct(wanted, parameter);
    requireCounted(product, 'only counted units can be transferred', { parameter });
    return product;
  };
  const product = counted(productKey, 'product');
  return { product, toProduct: counted(toProductKey, 'toProduct') };
}

/** A suspended account may receive; a closed one is nobody's any more. */
const closed = (account: ResolvedAccount): DenialReason | null =>
  [account.status, account.payerStatus].includes('closed') ? 'account_closed' : null;

const worthOf = (grant: Grant): Decimal =>
  valueLeft(grant.value, grant.remaining.plus(grant.held), grant.initial);

/** Units worth nothing make nothing at any rate: they move one for one, or by an explicit quantity. */
const movable = (grants: readonly Grant[], way: Way, { quantity }: Wanted): readonly Grant[] =>
  way.product.key === way.toProduct.key || quantity !== undefined
    ? grants
    : grants.filter((grant) => !worthOf(grant).isZero());

/** @throws invalid_input when only units worth nothing are missing */
function covers(grants: readonly Grant[], way: Way, wanted: Wanted, time: Instant): boolean {
  const { amount } = wanted;
  if (available(movable(grants, way, wanted), time).greaterThanOrEqualTo(amount)) return true;
  if (available(grants, time).lessThan(amount)) return false;
  throw invalidInput(
    'quantity',
    `Some of the ${formatUnits(amount)} of ${wanted.product} are worth nothing: no rate says how many of ${way.toProduct.key} they make.`,
    'Pass "quantity", the units of the other product that there will be, or move fewer.',
  );
}

function parcelsOf(
  draws: ReadonlyArray<Draw<Grant>>,
  target: Pocket,
  toProduct: Product,
  wanted: Wanted,
  time: Instant,
): Parcel[] {
  const shares = draws.map((one): Share => {
    const { grant, amount } = one;
    const before = grant.remaining.plus(grant.held);
    const value = valueMoved(grant, before, before.minus(amount)).negated();
    const currency = value.isZero() ? null : grant.currency;
    return { draw: one, value, currency, exact: amount };
  });
  const currencies = [...new Set(shares.flatMap(({ currency }) => currency ?? []))];
  if (wanted.quantity === undefined) {
    const rates = ratesOf(currencies, target, toProduct, wanted, time);
    for (const share of shares) {
      const rate = share.currency === null ? undefined : rates.get(share.currency);
      share.exact = rate === undefined ? ZERO : share.value.times(rate.units).dividedBy(rate.value);
    }
  }
  const sum = (some: readonly Share[]): Decimal => sumOf(some.map(({ exact }) => exact));
  const { decimals } = toProduct;
  const total = wanted.quantity ?? round(sum(shares), decimals, 'down');
  // What is worth nothing goes with the first: it may lie in any grant.
  const groups = (currencies.length === 0 ? [null] : currencies).map((currency, index) =>
    shares.filter(
      (share) => share.currency === currency || (index === 0 && share.currency === null),
    ),
  );
  const totals = splitAmong(total, groups.map(sum), decimals);
  if (totals === null) {
    throw invalidInput(
      wanted.quantity === undefined ? 'amount' : 'quantity',
      `That makes ${formatUnits(total)} of ${toProduct.key}: too little for the value to lie in.`,
    );
  }
  return groups.flatMap((group, index) => parcelsOfGroup(group, totals[index]!, decimals));
}

/** A share that would make no unit goes with the next one, and its value with it. */
function parcelsOfGroup(shares: readonly Share[], total: Decimal, decimals: number): Parcel[] {
  const exact = shares.map((share) => share.exact);
  const parcels: Parcel[] = [];
  let waiting: Array<Draw<Grant>> = [];
  split(total, exact, decimals).forEach((quantity, index) => {
    waiting.push(shares[index]!.draw);
    if (quantity.isZero()) return;
    parcels.push({ draws: waiting, quantity });
    waiting = [];
  });
  parcels.at(-1)!.draws.unshift(...waiting);
  return parcels;
}

/** So many units for so much value, by currency. Kept as a fraction: a unit value is never multiplied. */
function ratesOf(
  currencies: readonly string[],
  target: Pocket,
  toProduct: Product,
  { unitValue }: Wanted,
  time: Instant,
): Map<string, { units: Decimal; value: Decimal }> {
  if (unitValue !== undefined && currencies.length > 1) {
    throw new BillingError(
      'currency_mismatch',
      `The units were bought for ${currencies.join(' and ')}: one "unitValue" cannot be in both.`,
      { parameter: 'unitValue', advice: 'Pass "quantity" instead, or move fewer.' },
    );
  }
  return new Map(
    currencies.map((currency) => {
      if (unitValue !== undefined) return [currency, { units: ONE, value: unitValue }];
      const [newest] = target.grants
        .filter((grant) => grant.currency === currency && !grant.value.isZero())
        .filter((grant) => isInForce(grant, time) && grant.remaining.greaterThan(0))
        .sort((a, b) => Number(b.sequence - a.sequence));
      if (newest === undefined) {
        throw invalidInput(
          'unitValue',
          `Nothing says what a unit of ${toProduct.key} is worth in ${currency}: the account has none that was paid for.`,
          'Pass "unitValue" or "quantity".',
        );
      }
      return [currency, { units: newest.initial, value: newest.value }];
    }),
  );
}
