import { changeOfAccount, type ResolvedAccount } from '../accounts';
import {
  DEFAULT_PRIORITY,
  decimalsOfCurrency,
  findProducts,
  markProductsUsed,
  requireUnits,
  unknownProduct,
} from '../catalog';
import { type Context, type Session } from '../database';
import {
  BillingError,
  LIMITS,
  VALUE_DECIMALS,
  ZERO,
  accountReference,
  amount,
  changeFields,
  currency,
  duration,
  flag,
  input,
  instant,
  integer,
  key,
  parse,
  requireDecimals,
  text,
  units,
  type Decimal,
  type Instant,
  type RequestOf,
  type z,
} from '../kernel';
import { grantRecord, type GrantRecord } from './grant-records';
import { pocketOf } from './journal';
import { openJournal, readDebts, writeJournal } from './journal-store';
import type { LedgerPorts } from './ports';
import type { GrantEnd } from './validity';

const givenFields = {
  account: accountReference(),
  product: key(),
  /** Units; for `period` products the level of access. */
  quantity: units(),
  /** The instant from which it does not count. */
  expiresAt: instant().nullable().default(null),
  /** Instead of `expiresAt`: counted from now in the account's time zone. */
  expiresAfter: duration().nullable().default(null),
  /** Smaller is used first. Default 50. */
  priority: integer(-1000, 1000).default(DEFAULT_PRIORITY),
  /** Why it is given, and who says so, when a person does it by hand. */
  reason: text(LIMITS.source).optional(),
  author: text(LIMITS.source).optional(),
  ...changeFields,
};
const bonusInput = input({
  ...givenFields,
  /** Where it comes from: 'referral', 'sorry for last week'. */
  source: text(LIMITS.source),
});
const grantInput = input({
  ...givenFields,
  /** Where it comes from: 'manual', 'order 1234'. Default 'manual'. */
  source: text(LIMITS.source).default('manual'),
  /** The money it was bought for, net of tax and after discount. */
  paid: input({
    amount: amount({ decimals: VALUE_DECIMALS, zero: true }),
    currency: currency(),
  }).optional(),
  /** A bonus is worth nothing, whatever was paid beside it. */
  bonus: flag().default(false),
});
export type GrantRequest = RequestOf<typeof grantInput>;
export type BonusRequest = RequestOf<typeof bonusInput>;

/** One batch of units to give; what sales and subscriptions hand to the ledger. */
export interface GrantOrder {
  product: string;
  quantity: Decimal;
  priority: number;
  ends: GrantEnd;
  value: Decimal;
  currency: string | null;
  source: string;
  metadata?: Record<string, unknown>;
  sku?: string;
  offerVersion?: number;
  reason?: string;
  author?: string;
  /** The exchange that paid for it: its line, in the same ledger. */
  cause?: bigint;
}

/**
 * Gives units to an account, in the session's transaction. The payer must be locked.
 *
 * @throws unknown_product, invalid_input (decimals)
 */
export async function giveUnits(
  session: Session,
  account: ResolvedAccount,
  orders: readonly GrantOrder[],
  now: Instant,
): Promise<GrantRecord[]> {
  const [records] = await giveUnitsToMany(session, [{ account, orders }], now);
  return records!;
}

/** Units for one account among many. */
export interface Gift {
  account: Pick<ResolvedAccount, 'accountId' | 'payerId' | 'timeZone'>;
  orders: readonly GrantOrder[];
}

/**
 * The same for many accounts at once, in as many round trips as for one. All payers must be locked.
 *
 * @returns the grants of each gift, in the order given
 * @throws unknown_product, invalid_input (decimals)
 */
export async function giveUnitsToMany(
  session: Session,
  gifts: readonly Gift[],
  now: Instant,
): Promise<GrantRecord[][]> {
  const keys = [...new Set(gifts.flatMap(({ orders }) => orders.map(({ product }) => product)))];
  // First: a product's kind must not change between our reading it and our using it.
  await markProductsUsed(session, keys);
  const products = await findProducts(session, keys);
  const journal = await openJournal(
    session,
    now,
    gifts.flatMap(({ account, orders }) =>
      orders.map((order) => {
        const product = products.get(order.product);
        if (product === undefined) throw unknownProduct(order.product);
        requireUnits(order.quantity, product, 'quantity');
        return pocketOf(account, product);
      }),
    ),
  );
  await readDebts(session, journal);
  const records = gifts.map(({ account, orders }) => {
    const time = orders.length === 0 ? now : journal.now(account.payerId);
    return orders.map((order) => {
      if (order.ends !== null && 'at' in order.ends && order.ends.at <= time) {
        throw new BillingError('invalid_input', '"expiresAt" must lie in the future.', {
          parameter: 'expiresAt',
        });
      }
      const pocket = journal.pocket(account.payerId, order.product);
      return grantRecord(journal.grant(pocket, { ...account, ...order }), order.source, time);
    });
  });
  await writeJournal(session, journal, [], now);
  return records;
}

type ParsedGrant = z.output<typeof grantInput>;

function orderOf(request: ParsedGrant): GrantOrder {
  const { expiresAt, expiresAfter } = request;
  if (expiresAt !== null && expiresAfter !== null) {
    throw new BillingError('invalid_input', '"expiresAt" and "expiresAfter" exclude each other.', {
      parameter: 'expiresAfter',
    });
  }
  if (request.bonus && request.paid !== undefined) {
    throw new BillingError('invalid_input', 'A bonus is free: "paid" must be left out.', {
      parameter: 'paid',
      advice: 'Grant what was paid for and the bonus in two calls.',
    });
  }
  return {
    product: request.product,
    quantity: request.quantity,
    priority: request.priority,
    ends: expiresAt !== null ? { at: expiresAt } : expiresAfter && { after: expiresAfter },
    value: request.paid?.amount ?? ZERO,
    currency: request.paid?.currency ?? null,
    source: request.source,
    metadata: request.metadata,
    reason: request.reason,
    author: request.author,
  };
}

/** Refuses money of a currency that does not exist, or finer than it. */
async function requireMoney(
  session: Session,
  paid: { amount: Decimal; currency: string },
): Promise<void> {
  const products = await findProducts(session, [paid.currency]);
  const decimals = decimalsOfCurrency(paid.currency, products, 'paid.currency');
  requireDecimals(paid.amount, decimals, 'paid.amount', paid.currency);
}

export class Grants {
  constructor(
    private readonly context: Context,
    private readonly ports: Pick<LedgerPorts, 'paidOutside'>,
  ) {}

  /**
   * Gives units of a product to an account (or, for a child, to its parent).
   *
   * @returns the grants made, each with `replayed`
   * @throws invalid_input, unknown_account, unknown_product, idempotency_conflict
   */
  async grant(request: GrantRequest): Promise<Array<GrantRecord & { replayed: boolean }>> {
    return this.give('grant', parse(grantInput, request));
  }

  /**
   * Gives units that are worth nothing, whatever was paid beside them, and says where they come from.
   *
   * @returns the grants made, each with `replayed`
   * @throws invalid_input, unknown_account, unknown_product, idempotency_conflict
   */
  async bonus(request: BonusRequest): Promise<Array<GrantRecord & { replayed: boolean }>> {
    return this.give('bonus', { ...parse(bonusInput, request), bonus: true });
  }

  private async give(
    kind: 'grant' | 'bonus',
    wanted: ParsedGrant,
  ): Promise<Array<GrantRecord & { replayed: boolean }>> {
    const order = orderOf(wanted);
    const { grants: given, replayed } = await changeOfAccount(
      this.context,
      {
        ...wanted,
        kind,
        request: { ...order, metadata: undefined, bonus: wanted.bonus },
      },
      async (session, account, now) => {
        if (wanted.paid !== undefined) await requireMoney(session, wanted.paid);
        const grants = await giveUnits(session, account, [order], now);
        if (order.currency !== null && !order.value.isZero()) {
          await this.ports.paidOutside(session, {
            payerId: account.payerId,
            grantId: grants[0]!.grantId,
            currency: order.currency,
            amount: order.value,
            at: now,
          });
        }
        return { grants };
      },
    );
    return given.map((grant) => ({ ...grant, replayed }));
  }
}
