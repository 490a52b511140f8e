import {
  countedWith,
  readTaxDetails,
  resolveAccount,
  resolveAccounts,
  changeOfAccount,
  type ResolvedAccount,
} from '../accounts';
import {
  findOffers,
  releaseCoupon,
  reserveCoupon,
  taxRateFor,
  unknownOffer,
  type Coupon,
  type TaxRate,
  type Totals,
} from '../catalog';
import type { Context, Session } from '../database';
import {
  ZERO,
  accountReference,
  addDuration,
  changeFields,
  duration,
  flag,
  input,
  integer,
  key,
  list,
  newId,
  oneOf,
  pageFields,
  pageOf,
  parse,
  readClock,
  recordId,
  type DenialReason,
  type Duration,
  type Instant,
  type RequestOf,
  type z,
} from '../kernel';
import { type SuggestedOffer } from '../ledger';
import { changeOfOrder } from './change-of-order';
import { statusReason } from './eligibility';
import type { OrderHooks } from './order-hooks';
import {
  currencyOf,
  pricedLines,
  refusalOf,
  refusedBeside,
  requireContent,
  requireOnce,
  requireOnePlan,
  requireRenewable,
  totalsOf,
  trialLine,
  type PricedLine,
  type WantedLine,
} from './order-lines';
import {
  findOrder,
  listOrders,
  moveOrder,
  namesOf,
  noteOnOrder,
  orderRecord,
  writeOrder,
  type LineRow,
  type Order,
  type OrderRow,
} from './order-records';
import { ORDER_STATUSES, requireAction } from './order-state';
import { freePlaces, takePlaces, takenPlaces, type Place } from './purchase-marks';

export interface DeniedOrder {
  allowed: false;
  reason: DenialReason;
  /** The offer that cannot be had; null when it is not about one. */
  sku: string | null;
  orderId: null;
  suggestedOffers: SuggestedOffer[];
  replayed: boolean;
}

export type CreateOrderAnswer =
  (Order & { allowed: true; reason: null; replayed: boolean }) | DeniedOrder;

type FirstAnswer = (Order & { allowed: true; reason: null }) | Omit<DeniedOrder, 'replayed'>;

const DEFAULT_EXPIRY: Duration = { unit: 'hour', count: 24 };
const MAX_LINES = 100;
const MAX_QUANTITY = 1_000_000;

const createOrderInput = input({
  account: accountReference(),
  /** What is ordered, all in one currency. A sku may come more than once. */
  items: list(input({ sku: key(), quantity: integer(1, MAX_QUANTITY).default(1) }), MAX_LINES, 1),
  /** Code of a coupon, in upper or lower case. */
  coupon: key().nullable().default(null),
  /** Key of a tax rate. Default: what the account's tax details say. */
  taxRate: key().nullable().default(null),
  /** How long it keeps its places unpaid. Default 24 hours. */
  expiresIn: duration().default(DEFAULT_EXPIRY),
  /**
   * Whether the subscriptions that it begins renew by themselves, on invoices, after the period that it
   * pays for. Default: only one that begins with a trial phase.
   */
  renew: flag().optional(),
  ...changeFields,
});
export type CreateOrderRequest = RequestOf<typeof createOrderInput>;

const cancelOrderInput = input({ orderId: recordId(), ...changeFields });
const getOrderInput = input({ orderId: recordId() });
const listOrdersInput = input({
  account: accountReference().optional(),
  status: oneOf(ORDER_STATUSES).optional(),
  ...pageFields,
});

/** Offers for lines, in their present version. @throws unknown_offer */
async function wantedLines(
  session: Session,
  items: ReadonlyArray<{ sku: string; quantity: number }>,
): Promise<WantedLine[]> {
  const found = await findOffers(session, [...new Set(items.map(({ sku }) => sku))]);
  const offers = new Map(found.map((offer) => [offer.sku, offer]));
  return items.map(({ sku, quantity }, index) => {
    const offer = offers.get(sku);
    if (offer !== undefined) return { offer, quantity };
    throw unknownOffer(sku, `items[${index}].sku`);
  });
}

/** For whom custom plans are, by the names those accounts have now. */
async function ownersOf(
  session: Session,
  lines: readonly WantedLine[],
): Promise<Map<string, string>> {
  const ids = lines.flatMap(({ offer }) => offer.accountId ?? []);
  if (ids.length === 0) return new Map();
  const accounts = await resolveAccounts(
    session,
    ids.map((accountId) => ({ accountId })),
  );
  return new Map(ids.map((id, index) => [id, accounts[index]?.accountId ?? id]));
}

const denied = (reason: DenialReason, sku: string | null = null): FirstAnswer => ({
  allowed: false,
  reason,
  sku,
  orderId: null,
  suggestedOffers: [],
});

type WantedOrder = Omit<z.output<typeof createOrderInput>, 'account'>;

export class Orders {
  constructor(
    private readonly context: Context,
    private readonly hooks: OrderHooks,
  ) {}

  /**
   * Orders offers at the prices they have now, with coupon and tax. The order is pending until it is
   * confirmed; it keeps its places (once per account, coupon, trial) until it lapses. Nothing is
   * granted yet. An order of a child is its parent's to pay.
   *
   * @returns the order; or `allowed: false` with `offer_unavailable` (not on sale, private, another
   *   account's), `already_purchased`, `coupon_unavailable`, `account_suspended`, `account_closed`
   * @throws invalid_input, unknown_account, unknown_offer, currency_mismatch, idempotency_conflict
   */
  async createOrder(request: CreateOrderRequest): Promise<CreateOrderAnswer> {
    const { account: reference, ...wanted } = parse(createOrderInput, request);
    const { idempotencyKey, metadata: _metadata, tx, ...inputs } = wanted;
    return changeOfAccount(
      this.context,
      { kind: 'createOrder', account: reference, request: inputs, idempotencyKey, tx },
      (session, account, now) => this.create(session, account, wanted, now),
    );
  }

  private async create(
    session: Session,
    account: ResolvedAccount,
    wanted: WantedOrder,
    now: Instant,
  ): Promise<FirstAnswer> {
    const { accountId, payerId, timeZone } = account;
    const lines = await wantedLines(session, wanted.items);
    const { currency, decimals } = currencyOf(lines);
    requireOnce(lines);
    requireContent(lines);
    await requireOnePlan(session, lines);
    requireRenewable(lines, wanted.renew);
    const details = await readTaxDetails(session, payerId);
    const rate = await taxRateFor(session, {
      country: details.country,
      taxRate: wanted.taxRate ?? details.taxRate,
      taxStatus: details.taxStatus,
    });

    const refused = statusReason(account);
    if (refused !== null) return denied(refused);
    const owners = await ownersOf(session, lines);
    for (const line of lines) {
      const owner = line.offer.accountId === null ? null : owners.get(line.offer.accountId)!;
      const reason = refusalOf(line, [accountId, payerId], owner);
      if (reason !== null) return denied(reason, line.offer.sku);
    }
    const once = lines.filter(({ offer }) => offer.oncePerAccount).map(({ offer }) => offer.sku);
    const taken = await takenPlaces(session, account, once, now);
    const blocked = once.find((sku) => taken.skus.has(sku));
    if (blocked !== undefined) return denied('already_purchased', blocked);
    const offers = lines.map(({ offer }) => offer);
    const met = await this.hooks.subscriptions.meeting(session, account, offers, now);
    const beside = refusedBeside(offers, met);
    if (beside !== null) return denied('already_purchased', beside);

    const had = { trial: taken.trial, met };
    const trial = await this.trialFor(session, account, lines, had, now);
    const orderId = newId();
    const expiresAt = addDuration(now, wanted.expiresIn, timeZone);
    let coupon: Coupon | null = null;
    if (wanted.coupon !== null) {
      coupon = await reserveCoupon(session, {
        code: wanted.coupon,
        payerId,
        accountId,
        orderId,
        skus: lines.map(({ offer }) => offer.sku),
        currency,
        now,
        lapsesAt: expiresAt,
        counted: await countedWith(session, accountId),
      });
      if (coupon === null) return denied('coupon_unavailable');
    }
    const places: Place[] = once.map((sku) => ({ kind: 'offer', sku }));
    if (trial !== -1) places.push({ kind: 'trial', sku: lines[trial]!.offer.sku });
    await takePlaces(session, places, { payerId, accountId, orderId, lapsesAt: expiresAt }, now);

    const priced = pricedLines(lines, trial);
    const sums = totalsOf(priced, coupon, rate, decimals);
    const terms = { orderId, currency, createdAt: now, expiresAt, renews: wanted.renew ?? null };
    const order = newOrder(terms, account, coupon, rate, sums);
    await writeOrder(session, order, newLines(priced, sums), wanted.metadata ?? {});
    const record = orderRecord(await findOrder(session, orderId), now);
    return { allowed: true, reason: null, ...record };
  }

  /** The line at the price of a trial phase; -1 when there is none, or the trial was had. */
  private async trialFor(
    session: Session,
    account: ResolvedAccount,
    lines: readonly WantedLine[],
    had: { trial: boolean; met: readonly string[] },
    now: Instant,
  ): Promise<number> {
    const trial = trialLine(lines);
    // In the place of another plan no trial phase comes first.
    if (trial === -1 || had.trial || had.met.includes(lines[trial]!.offer.sku)) return -1;
    return (await this.hooks.trials.trialSpent(session, account, now)) ? -1 : trial;
  }

  /**
   * Cancels an order that was not paid; its places are free again. Metadata is added to the order's.
   *
   * @throws unknown_order, order_state, idempotency_conflict
   */
  async cancelOrder(
    request: RequestOf<typeof cancelOrderInput>,
  ): Promise<Order & { replayed: boolean }> {
    const { orderId, idempotencyKey, metadata, tx } = parse(cancelOrderInput, request);
    return changeOfOrder(
      this.context,
      this.hooks,
      { kind: 'cancelOrder', orderId, request: {}, idempotencyKey, tx },
      async (session, { order, payers }, now) => {
        requireAction('cancel', order);
        await moveOrder(session, { ...order, status: 'cancelled', cancelledAt: now });
        await freePlaces(session, payers, orderId, now);
        await releaseCoupon(session, order.payerId, orderId, now);
        if (metadata !== undefined) await noteOnOrder(session, order, metadata);
        return { answer: orderRecord(await findOrder(session, orderId), now) };
      },
    );
  }

  /** @throws unknown_order */
  async getOrder(request: { orderId: string }): Promise<Order> {
    const { orderId } = parse(getOrderInput, request);
    const order = await findOrder(this.context.database, orderId);
    return orderRecord(order, readClock(this.context.clock));
  }

  /**
   * Orders, newest first, by pages: all; those that an account pays for, its children's among them;
   * or those that a child ordered. Orders of accounts that were merged into it are its own.
   *
   * @param request `limit` up to 500 (default 50); `cursor` the `nextCursor` of the page before
   * @throws invalid_input, unknown_account
   */
  async listOrders(
    request: RequestOf<typeof listOrdersInput> = {},
  ): Promise<{ items: Order[]; nextCursor: string | null }> {
    const { account, status, limit = 50, cursor } = parse(listOrdersInput, request);
    const { database } = this.context;
    const named = account && (await resolveAccount(database, account));
    const accounts = named && (await namesOf(database, named.accountId));
    const payers = named?.payerId === named?.accountId ? accounts : undefined;
    const page = { after: cursor, limit: limit + 1 };
    const found = await listOrders(database, { accounts, payers, status, ...page });
    const now = readClock(this.context.clock);
    const records = found.map((order) => orderRecord(order, now));
    return pageOf(records, limit, ({ orderId }) => orderId);
  }
}

/** An order as it is when it was just made. */
const newOrder = (
  terms: Pick<OrderRow, 'orderId' | 'currency' | 'createdAt' | 'expiresAt' | 'renews'>,
  { payerId, accountId }: ResolvedAccount,
  coupon: Coupon | null,
  rate: TaxRate | null,
  sums: Totals,
): OrderRow => ({
  ...terms,
  ...sums,
  payerId,
  accountId,
  status: 'pending',
  paid: ZERO,
  refunded: ZERO,
  coupon: coupon?.code ?? null,
  taxKey: rate?.key ?? null,
  taxName: rate?.name ?? null,
  taxPercent: rate?.percent ?? null,
  taxInclusive: rate?.inclusive ?? null,
  gateway: null,
  paymentId: null,
  paidAt: null,
  cancelledAt: null,
});

const newLines = (lines: readonly PricedLine[], sums: Totals): LineRow[] =>
  lines.map(({ offer, quantity, unitPrice, phase }, index) => ({
    position: index + 1,
    sku: offer.sku,
    version: offer.version,
    name: offer.name,
    quantity,
    unitPrice,
    phase,
    ...sums.lines[index]!,
  }));
