import {
  changeOfAccount,
  concerns,
  resolveAccount,
  resolveAccounts,
  resolveWithAliases,
} from '../../accounts';
import { findOffer, findProducts, requireUnits, unknownProduct } from '../../catalog';
import { lockAccounts, pages, type Session } from '../../database';
import { recordEvents } from '../../events';
import {
  BillingError,
  Decimal,
  accountReference,
  addDuration,
  changeFields,
  dayOfMonth,
  flag,
  formatUnits,
  input,
  integer,
  isBillingError,
  isoTime,
  key,
  localDay,
  oneOf,
  parse,
  readClock,
  startOfDay,
  units,
  type Instant,
  type RequestOf,
} from '../../kernel';
import { isFailed, type Ledger } from '../../ledger';
import {
  NO_METHOD,
  collectPayment,
  defaultMethod,
  listAttempts,
  type Attempt,
  type PaymentContext,
} from '../../payments';
import type { Order, Sales } from '../../sales';
import {
  TOP_UP_PERIODS,
  findActiveTopUps,
  findTopUp,
  listTopUps,
  saveTopUp,
  topUpRecord,
  writeTopUp,
  type StoredTopUp,
  type TopUp,
  type TopUpPeriod,
} from './top-up-records';

/**
 * Offers that are bought by themselves when units run low: ordered under a key made of the payer, the
 * product, the period and the count in it, charged to the default method, confirmed once. A decline
 * stops it for the rest of the period.
 */

const setTopUpInput = input({
  account: accountReference(),
  product: key(),
  /** It is bought when less than so many units are left. */
  below: units(),
  /** The offer, one that is sold and not subscribed to. */
  sku: key(),
  quantity: integer(1, 1_000_000).default(1),
  /** How often within a period at most. Default 5. */
  maxPerPeriod: integer(1, 1_000).default(5),
  /** Default 'month'. */
  period: oneOf(TOP_UP_PERIODS).default('month'),
  /** False switches it off. */
  active: flag().default(true),
  ...changeFields,
});
export type SetTopUpRequest = RequestOf<typeof setTopUpInput>;
const topUpsInput = input({ account: accountReference() });
const runInput = input({ limit: integer(1, 1_000_000).optional() });

const DEFAULT_LIMIT = 10_000;
const PAGE = 200;

/** What of earlier rooms it buys with. */
export interface TopUpPorts {
  sales: Pick<Sales, 'createOrder' | 'cancelOrder' | 'getOrder'>;
  ledger: Pick<Ledger, 'checkMany'>;
}

export interface TopUpsDone {
  topUpsBought: number;
  topUpsFailed: number;
}

export class TopUps {
  constructor(
    private readonly context: PaymentContext,
    private readonly ports: TopUpPorts,
  ) {}

  /**
   * Says what an account buys by itself when units of a product run low; one for each product. A child's
   * is its payer's, and stays that when the child leaves; what an account said before it had a parent
   * rests while it has one. Saving it again lifts a stop after a decline.
   *
   * @throws unknown_account, unknown_product, unknown_offer, invalid_input (an offer that is subscribed
   *   to, or does not hold the product), idempotency_conflict
   */
  async setTopUp(request: SetTopUpRequest): Promise<TopUp & { replayed: boolean }> {
    const {
      account: reference,
      idempotencyKey,
      metadata: _metadata,
      tx,
      ...wanted
    } = parse(setTopUpInput, request);
    return changeOfAccount(
      this.context,
      { kind: 'setTopUp', account: reference, request: wanted, idempotencyKey, tx },
      async (session, { accountId, payerId }, now) => {
        await requireBuyable(session, wanted);
        const topUp = {
          payerId,
          accountId,
          product: wanted.product,
          below: wanted.below,
          sku: wanted.sku,
          quantity: wanted.quantity,
          maxPerPeriod: wanted.maxPerPeriod,
          period: wanted.period,
          active: wanted.active,
          savedAt: now,
        };
        await saveTopUp(session, topUp);
        return topUpRecord((await findTopUp(session, payerId, wanted.product))!);
      },
    );
  }

  /** What an account buys by itself; of a child what was said under its name. @throws unknown_account */
  async topUps(request: RequestOf<typeof topUpsInput>): Promise<TopUp[]> {
    const { account } = parse(topUpsInput, request);
    const { database } = this.context;
    const resolved = await resolveWithAliases(database, account);
    const topUps = await listTopUps(database, resolved.payerId);
    return topUps.filter(concerns(resolved)).map(topUpRecord);
  }

  /**
   * Buys for all whose units have run low, for `runDue`. Safe in parallel, and when killed: each
   * purchase is one order, paid once.
   *
   * @param request how many it tries to buy at most
   * @throws invalid_input, database_unavailable
   */
  async runTopUps(request: { limit?: number } = {}): Promise<TopUpsDone> {
    const { limit = DEFAULT_LIMIT } = parse(runInput, request);
    const done: TopUpsDone = { topUpsBought: 0, topUpsFailed: 0 };
    const { database, clock } = this.context;
    const due = pages({
      key: { payerId: 'uuid', product: 'text' },
      size: PAGE,
      find: (after, size) => findActiveTopUps(database, readClock(clock), after, size),
    });
    for await (const page of due) {
      for (const topUp of await this.thoseToBuy(await this.asTheyStand(page))) {
        const became = await this.buy(topUp);
        if (became === 'bought') done.topUpsBought += 1;
        if (became === 'failed') done.topUpsFailed += 1;
        // Those that have enough do not count, or the ones behind them would never be looked at.
        if (done.topUpsBought + done.topUpsFailed >= limit) return done;
      }
    }
    return done;
  }

  /** A child that left its payer buys no more for it: the payer does. */
  private async asTheyStand(page: readonly StoredTopUp[]): Promise<StoredTopUp[]> {
    const references = page.map(({ accountId }) => ({ accountId }));
    const buyers = await resolveAccounts(this.context.database, references);
    return page.map((topUp, index) => {
      const isTheirs = buyers[index]?.payerId === topUp.payerId;
      return isTheirs ? topUp : { ...topUp, accountId: topUp.payerId };
    });
  }

  /** Those that wait on an order, and those that have too little: asked for together. */
  private async thoseToBuy(page: readonly StoredTopUp[]): Promise<StoredTopUp[]> {
    if (page.length === 0) return [];
    const answers = await this.ports.ledger.checkMany(
      page.map(({ accountId, product, below }) => ({
        account: accountId,
        product,
        amount: formatUnits(below),
      })),
    );
    return page.filter(({ orderId, below }, index) => {
      const answer = answers[index]!;
      if (orderId !== null) return true;
      if (isFailed(answer) || answer.remaining === null) return false;
      return below.greaterThan(answer.remaining);
    });
  }

  private async buy(topUp: StoredTopUp): Promise<'bought' | 'failed' | null> {
    const method = await defaultMethod(this.context.database, topUp.payerId);
    // What another process has the gateway for is left to that one.
    if (method !== null && !this.context.gateways.canCharge(method.gateway)) return null;
    const orderId = topUp.orderId ?? (await this.order(topUp));
    if (orderId === null) return null;
    if (typeof orderId !== 'string') return this.stop(topUp, null, orderId);
    const attempt = await this.charge(topUp, orderId);
    const order = await this.ports.sales.getOrder({ orderId });
    if (order.paidAt !== null) return this.count(topUp, order);
    if (attempt !== null && attempt.finishedAt === null) return null;
    if (order.status === 'pending') await this.cancel(orderId);
    return this.stop(topUp, orderId, {
      code: attempt?.code ?? null,
      rejectReason: attempt?.rejectReason ?? null,
    });
  }

  /** The id of the order; null: the cap is reached; a code: it cannot be ordered. */
  private async order(
    topUp: StoredTopUp,
  ): Promise<string | null | { code: string; rejectReason: null }> {
    const { payerId, accountId, product, sku, quantity, savedAt } = topUp;
    const now = readClock(this.context.clock);
    const { start } = await this.periodOf(this.context.database, topUp, now);
    const bought = topUp.periodStart === start ? topUp.bought : 0;
    if (bought >= topUp.maxPerPeriod) return null;
    let created;
    try {
      created = await this.ports.sales.createOrder({
        account: accountId,
        items: [{ sku, quantity }],
        // Saving the terms again makes a purchase that failed one that may be tried again.
        idempotencyKey: `top-up ${payerId} ${product} ${isoTime(start)} ${bought} ${isoTime(savedAt)}`,
      });
    } catch (error) {
      // Terms that were changed in mid-purchase, or an offer that is no more.
      if (!isBillingError(error)) throw error;
      return { code: error.code, rejectReason: null };
    }
    if (!created.allowed) return { code: created.reason, rejectReason: null };
    const { orderId } = created;
    const isOurs = await this.change(topUp, (session, current) => {
      if (current.orderId !== null) return Promise.resolve(current.orderId === orderId);
      const next = { ...current, periodStart: start, bought, orderId };
      return writeTopUp(session, next).then(() => true);
    });
    return isOurs === true ? orderId : null;
  }

  /**
   * One attempt an order, whatever dies, and nobody else is charged than whose top-up it is; null: none was
   * made, since it was paid otherwise.
   */
  private async charge({ payerId: whose }: StoredTopUp, orderId: string): Promise<Attempt | null> {
    await collectPayment(this.context, {
      purpose: 'order',
      purposeId: orderId,
      plan: async (session, { payerId }) => {
        if ((await latestAttempt(session, orderId)) !== null) return null;
        const method = payerId === whose ? await defaultMethod(session, payerId) : null;
        return method === null ? NO_METHOD : { charge: method };
      },
    });
    return latestAttempt(this.context.database, orderId);
  }

  private async cancel(orderId: string): Promise<void> {
    try {
      await this.ports.sales.cancelOrder({ orderId });
    } catch (error) {
      // Somebody else was faster: what became of it is read again by the next run.
      if (!isBillingError(error) || error.code !== 'order_state') throw error;
    }
  }

  private async count(topUp: StoredTopUp, order: Order): Promise<'bought' | null> {
    const counted = await this.change(topUp, async (session, current, now) => {
      if (current.orderId !== order.orderId) return false;
      await writeTopUp(session, { ...current, bought: current.bought + 1, orderId: null });
      const { product, sku, payerId } = current;
      const { accountId } = topUp;
      const { orderId, total, currency } = order;
      await recordEvents(session, [
        {
          type: 'top_up.bought',
          payerId,
          accountId,
          at: now,
          data: { product, sku, orderId, amount: total, currency },
        },
      ]);
      return true;
    });
    return counted === true ? 'bought' : null;
  }

  private async stop(
    topUp: StoredTopUp,
    orderId: string | null,
    why: { code: string | null; rejectReason: string | null },
  ): Promise<'failed' | null> {
    const stopped = await this.change(topUp, async (session, current, now) => {
      const isStopped = current.stoppedUntil !== null && current.stoppedUntil > now;
      if (current.orderId !== orderId || isStopped) return false;
      const { end } = await this.periodOf(session, current, now);
      await writeTopUp(session, { ...current, orderId: null, stoppedUntil: end });
      const { product, sku, payerId } = current;
      const { accountId } = topUp;
      await recordEvents(session, [
        { type: 'top_up.failed', payerId, accountId, at: now, data: { product, sku, ...why } },
      ]);
      return true;
    });
    return stopped === true ? 'failed' : null;
  }

  /** Works on a top-up as it is under the payer's lock; null: it is gone. */
  private async change<T>(
    { payerId, product }: StoredTopUp,
    work: (session: Session, current: StoredTopUp, now: Instant) => Promise<T>,
  ): Promise<T | null> {
    return this.context.database.transaction(undefined, async (session) => {
      await lockAccounts(session, [payerId]);
      const current = await findTopUp(session, payerId, product);
      return current === null ? null : work(session, current, readClock(this.context.clock));
    });
  }

  private async periodOf(
    session: Session,
    { payerId, period }: StoredTopUp,
    now: Instant,
  ): Promise<{ start: Instant; end: Instant }> {
    const { timeZone } = await resolveAccount(session, { accountId: payerId });
    const start = startOfPeriod(now, period, timeZone);
    return { start, end: addDuration(start, { unit: period, count: 1 }, timeZone) };
  }
}

/** Weeks begin on Monday; 1 January 1970 was a Thursday. */
function startOfPeriod(now: Instant, period: TopUpPeriod, zone: string): Instant {
  if (period === 'day') return startOfDay(now, zone);
  if (period === 'month') return startOfDay(dayOfMonth(now, 1, 0, zone).at, zone);
  const sinceMonday = (localDay(now, zone) + 3) % 7;
  const today = startOfDay(now, zone);
  return startOfDay(addDuration(today, { unit: 'day', count: -sinceMonday }, zone), zone);
}

async function latestAttempt(session: Session, orderId: string): Promise<Attempt | null> {
  const [latest] = await listAttempts(session, { orderId, limit: 1 });
  return latest ?? null;
}

/** @throws unknown_product, unknown_offer, invalid_input */
async function requireBuyable(
  session: Session,
  { product: wanted, sku, below }: { product: string; sku: string; below: Decimal },
): Promise<void> {
  const product = (await findProducts(session, [wanted])).get(wanted);
  if (product === undefined) throw unknownProduct(wanted);
  requireUnits(below, product, 'below');
  const offer = await findOffer(session, sku);
  const refuse = (why: string): never => {
    throw new BillingError('invalid_input', `The offer ${sku} ${why}.`, {
      parameter: 'sku',
      advice: 'Name an offer that is sold once and holds units of the product.',
    });
  };
  if (offer.billing === 'recurring') refuse('is subscribed to, not bought again and again');
  if (!offer.items.some((item) => item.product === wanted)) refuse(`holds no ${wanted}`);
  if (offer.oncePerAccount) refuse('is sold once to an account');
  if (product.kind !== 'quantity') refuse('would add to what is not counted');
}
