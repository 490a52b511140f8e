import { postAll, type Posting } from '../books';
import { findProducts } from '../catalog';
import type { Context, Session } from '../database';
import {
  BillingError,
  Decimal,
  MAX_UNIT_DECIMALS,
  ZERO,
  amount,
  changeFields,
  formatMoney,
  formatUnits,
  formatValue,
  input,
  isoTime,
  key,
  ledgerId,
  newId,
  oneOf,
  parse,
  requireDecimals,
  round,
  split,
  text,
  z,
  type ChangeOptions,
  type Instant,
} from '../kernel';
import { followGrants, readGrantStates, withdrawUnits, type WithdrawnUnits } from '../ledger';
import { changeOfOrder, type OrderAtHand } from './change-of-order';
import { DEFAULT_GATEWAY, moving, paidOrder, takeReference } from './confirming';
import { findOrderGrants, type OrderGrant } from './order-grants';
import type { OrderHooks } from './order-hooks';
import { findOrder, orderRecord, type Order, type StoredOrder } from './order-records';
import { requireAction, statusAfterRefund } from './order-state';
import { orderIdInput } from './orders';
import {
  USED_RULES,
  isDone,
  netAndTax,
  partOf,
  restOf,
  scopeOf,
  valueOfUnits,
  type LineGrant,
  type PlannedLine,
  type RefundLine,
  type UsedRule,
  type WantedUnits,
} from './refund-plan';

export interface RefundOrderRequest extends ChangeOptions {
  orderId: string;
  /** Money to give back, tax included. Default: all that is left, of the item if one is named. */
  amount?: string | number;
  /** The line it is for: its position, or its sku. */
  item?: string | number;
  /**
   * Units used already: `forgive` (default) gives their money back, too; `charge` keeps it; `negative`
   * gives it back and makes them a debt, which the next units pay first.
   */
  used?: UsedRule;
  /** The gateway's id of the refund: the same again is the same refund. */
  refundId?: string;
  /** Why, in your words. */
  reason?: string;
}

/** A refund as it goes out; money of the order's currency. */
export interface Refund {
  refundId: string;
  amount: string;
  net: string;
  tax: string;
  /** Units taken back, with what they had been bought for (8 decimals). */
  units: Array<{ grantId: string; product: string; quantity: string; value: string }>;
  /** What the units given up were worth beyond the net amount, 8 decimals; negative: less. */
  rounding: string;
}

export type RefundOrderAnswer = Order & { refund: Refund; replayed: boolean };

const refundOrderInput = input({
  orderId: orderIdInput(),
  amount: amount({ decimals: MAX_UNIT_DECIMALS }).optional(),
  // A text of digits may be a sku.
  item: z.union([z.number().int().positive(), key()]).optional(),
  used: oneOf(USED_RULES).optional(),
  refundId: text(255).optional(),
  reason: text(1_000).optional(),
  ...changeFields,
});

const WRITE_REFUND = `
insert into {schema}.refunds
  (payer_id, order_id, refund_id, used, amount, net, tax, rounding, refunded_at)
values ($1::uuid, $2::uuid, $3, $4, $5::numeric, $6::numeric, $7::numeric, $8::numeric,
        $9::timestamptz)`;

const WRITE_REFUND_DETAILS = `
insert into {schema}.refund_details (payer_id, order_id, refund_id, reason, metadata)
values ($1::uuid, $2::uuid, $3, $4, $5::jsonb)`;

const WRITE_REFUND_ITEMS = `
insert into {schema}.refund_items (payer_id, order_id, refund_id, position, amount, net, tax)
select $1::uuid, $2::uuid, $3, n.position, n.amount, n.net, n.tax
from unnest($4::smallint[], $5::numeric[], $6::numeric[], $7::numeric[])
       as n (position, amount, net, tax)`;

const WRITE_REFUND_UNITS = `
insert into {schema}.refund_units
  (payer_id, order_id, refund_id, position, ledger_id, grant_sequence, net, units, value, taken,
   taken_value)
select $1::uuid, $2::uuid, $3, n.position, n.ledger_id, n.grant_sequence, n.net, n.units, n.value,
       n.taken, n.taken_value
from unnest($4::smallint[], $5::uuid[], $6::bigint[], $7::numeric[], $8::numeric[], $9::numeric[],
            $10::numeric[], $11::numeric[])
       as n (position, ledger_id, grant_sequence, net, units, value, taken, taken_value)`;

const SET_REFUNDED = `
update {schema}.orders set status = $3, refunded = $4::numeric
where payer_id = $1::uuid and order_id = $2::uuid`;

/** What earlier refunds of an order gave up, by grant. */
const FIND_GIVEN_UP = `
select ledger_id::text as ledger_id, grant_sequence::text as sequence, sum(net)::text as net,
       sum(units)::text as units, sum(value)::text as value,
       sum(greatest(units - taken, 0))::text as unmet
from {schema}.refund_units
where payer_id = $1::uuid and order_id = $2::uuid
group by ledger_id, grant_sequence`;

const FIND_REFUND = `
select r.amount::text as amount, r.net::text as net, r.tax::text as tax, r.rounding::text as rounding,
       (select coalesce(json_agg(json_build_array(
                 u.ledger_id, u.grant_sequence::text, o.product, u.taken::text, u.taken_value::text)
               order by u.position, u.grant_sequence), '[]')::text
        from {schema}.refund_units u
        join {schema}.order_grants o on o.payer_id = u.payer_id and o.order_id = u.order_id
          and o.ledger_id = u.ledger_id and o.grant_sequence = u.grant_sequence
        where u.payer_id = r.payer_id and u.order_id = r.order_id and u.refund_id = r.refund_id
          and u.taken > 0) as units
from {schema}.refunds r
where r.payer_id = $1::uuid and r.order_id = $2::uuid and r.refund_id = $3`;

interface RefundRow {
  amount: string;
  net: string;
  tax: string;
  rounding: string;
  units: string;
}

async function findRefund(
  session: Session,
  order: StoredOrder,
  refundId: string,
): Promise<Refund | null> {
  const { payerId, orderId, decimals } = order;
  const [row] = await session.query<RefundRow>(FIND_REFUND, [payerId, orderId, refundId]);
  if (row === undefined) return null;
  const money = (written: string): string => formatMoney(new Decimal(written), decimals);
  const units = JSON.parse(row.units) as Array<[string, string, string, string, string]>;
  return {
    refundId,
    amount: money(row.amount),
    net: money(row.net),
    tax: money(row.tax),
    units: units.map(([ledger, sequence, product, taken, value]) => ({
      grantId: ledgerId(ledger, sequence),
      product,
      quantity: formatUnits(new Decimal(taken)),
      value: formatValue(new Decimal(value)),
    })),
    rounding: formatValue(new Decimal(row.rounding)),
  };
}

const grantKey = (grant: { ledgerId: string; sequence: bigint }): string =>
  `${grant.ledgerId}.${grant.sequence}`;

/** The lines of an order with their grants, and what was refunded of both. */
async function refundLines(session: Session, order: StoredOrder): Promise<RefundLine[]> {
  const made = await findOrderGrants(session, order);
  const grants = await lineGrants(session, order, made);
  return order.lines.map((line) => ({
    ...line,
    grants: made
      .filter(({ position }) => position === line.position)
      .map((grant) => grants.get(grantKey(grant))!),
  }));
}

async function lineGrants(
  session: Session,
  { payerId, orderId }: StoredOrder,
  made: readonly OrderGrant[],
): Promise<Map<string, LineGrant>> {
  const products = await findProducts(session, [...new Set(made.map(({ product }) => product))]);
  const rows = await session.query<{
    ledger_id: string;
    sequence: string;
    net: string;
    units: string;
    value: string;
    unmet: string;
  }>(FIND_GIVEN_UP, [payerId, orderId]);
  const gone = new Map(rows.map((row) => [`${row.ledger_id}.${row.sequence}`, row]));
  const ledger = made[0]?.ledgerId ?? payerId;
  const sequences = made.map(({ sequence }) => sequence);
  // Only what never changes of them is of interest: the moment is any.
  const states = await readGrantStates(session, ledger, sequences, 0);
  return new Map(
    states.map((state) => {
      const { bonus } = made.find(({ sequence }) => sequence === state.sequence)!;
      const grantName = { ledgerId: ledger, sequence: state.sequence };
      const before = gone.get(grantKey(grantName));
      const { kind, decimals } = products.get(state.product)!;
      const grant: LineGrant = {
        ...grantName,
        product: state.product,
        decimals: kind === 'quantity' ? decimals : null,
        bonus,
        initial: state.initial,
        value: state.value,
        refundedNet: new Decimal(before?.net ?? 0),
        givenUp: new Decimal(before?.units ?? 0),
        givenUpValue: new Decimal(before?.value ?? 0),
        unmet: new Decimal(before?.unmet ?? 0),
      };
      return [grantKey(grantName), grant];
    }),
  );
}

/** What a refund took of a grant. */
interface TakenUnits extends WantedUnits {
  position: number;
  /** What the units given up had been bought for. */
  value: Decimal;
  taken: Decimal;
  takenValue: Decimal;
}

interface TakenLine {
  line: RefundLine;
  net: Decimal;
  tax: Decimal;
  amount: Decimal;
  units: TakenUnits[];
}

export class Refunds {
  constructor(
    private readonly context: Context,
    private readonly hooks: OrderHooks,
  ) {}

  /**
   * Gives money of a paid order back, and takes back the units that it brought: all that is left, a
   * line, or an amount. Units on hold count as used; bonuses go along and are never paid out. The
   * engine moves no money: refund at the gateway, and say so here with its `refundId`.
   *
   * An amount without an item must be all that is left, or exactly the amount of one item.
   *
   * @returns the order, with the refund
   * @throws unknown_order, order_state, refund_ambiguous, refund_exceeds_paid, payment_mismatch (a
   *   `refundId` of another order or amount), invalid_input, idempotency_conflict
   */
  async refundOrder(request: RefundOrderRequest): Promise<RefundOrderAnswer> {
    return this.refundWanted(parse(refundOrderInput, request));
  }

  /** The same in a transaction of the engine's own, which holds the locks of `locksOfOrder`. */
  async refundWithin(
    session: Session,
    wanted: { orderId: string; refundId: string; amount: Decimal },
  ): Promise<RefundOrderAnswer> {
    return this.refundWanted(wanted, session);
  }

  private async refundWanted(
    wanted: z.output<typeof refundOrderInput>,
    within?: Session,
  ): Promise<RefundOrderAnswer> {
    const { orderId, idempotencyKey, metadata, tx, ...inputs } = wanted;
    const { answer, replayed } = await changeOfOrder(
      this.context,
      this.hooks,
      { kind: 'refundOrder', orderId, request: inputs, idempotencyKey, tx, within },
      async (session, atHand, now) => {
        const { order } = atHand;
        if (wanted.refundId !== undefined) {
          const first = await findRefund(session, order, wanted.refundId);
          if (first !== null) {
            requireSameRefund(first, wanted.amount);
            return { answer: { ...orderRecord(order, now), refund: first }, replayed: true };
          }
        }
        requireAction('refund', order);
        if (wanted.amount !== undefined) {
          requireDecimals(wanted.amount, order.decimals, 'amount', order.currency);
        }
        const refundId = wanted.refundId ?? newId();
        const gateway = order.gateway ?? DEFAULT_GATEWAY;
        await takeReference(session, 'refund', { gateway, id: refundId }, order);
        await this.refund(session, atHand, { ...wanted, refundId, metadata }, now);
        const refunded = await findOrder(session, orderId);
        const refund = (await findRefund(session, refunded, refundId))!;
        return { answer: { ...orderRecord(refunded, now), refund }, replayed: false };
      },
    );
    return { ...answer, replayed };
  }

  private async refund(
    session: Session,
    atHand: OrderAtHand,
    wanted: {
      refundId: string;
      amount?: Decimal;
      item?: string | number;
      used?: UsedRule;
      reason?: string;
      metadata?: Record<string, unknown>;
    },
    now: Instant,
  ): Promise<void> {
    const { order } = atHand;
    const used = wanted.used ?? 'forgive';
    const lines = await refundLines(session, order);
    const wish = { amount: wanted.amount ?? null, item: wanted.item ?? null };
    const scope = scopeOf(lines, wish, order.decimals);
    const planned =
      'part' in scope
        ? [partOf(scope.part, scope.amount, order.decimals)]
        : scope.whole.map((line) => restOf(line, order.decimals));
    const withdrawn = await this.withdraw(session, atHand, planned, used, wanted.refundId, now);
    const taken = planned.map((line) => takenLine(line, withdrawn));
    const settled =
      used === 'charge' ? taken.map((line) => charged(line, wish.amount, order)) : taken;

    const sum = (pick: (line: TakenLine) => Decimal): Decimal =>
      settled.reduce((all, line) => all.plus(pick(line)), ZERO);
    const money = {
      amount: sum((line) => line.amount),
      net: sum((line) => line.net),
      tax: sum((line) => line.tax),
    };
    if (used === 'charge' && money.amount.isZero() && !order.total.isZero()) {
      throw new BillingError(
        'refund_exceeds_paid',
        'All that was paid for has been used: with used "charge" nothing goes back.',
        { parameter: 'used', advice: 'Use "forgive", or "negative".' },
      );
    }
    const all = settled.flatMap(({ units }) => units);
    const rounding = all
      .filter(({ grant }) => grant.decimals !== null)
      .reduce((surplus, one) => surplus.plus(one.value).minus(one.net), ZERO);
    await writeRefund(session, order, { ...wanted, used, ...money, rounding }, settled, now);
    await postRefund(session, atHand, { refundId: wanted.refundId, ...money, rounding }, all, now);

    const refunded = order.refunded.plus(money.amount);
    const covered = 'part' in scope ? [] : scope.whole;
    const isAll = order.total.isZero()
      ? lines.every((line) => covered.includes(line) || isDone(line))
      : refunded.equals(order.paid);
    // A free line goes back without money; the order stays as it is until nothing is left of it.
    if (!money.amount.isZero() || (order.total.isZero() && isAll)) {
      const status = statusAfterRefund(isAll);
      await session.query(SET_REFUNDED, [order.payerId, order.orderId, status, refunded.toFixed()]);
    }
    const netBack = order.lines.reduce((back, line) => back.plus(line.refundedNet), money.net);
    const part = order.net.isZero() ? new Decimal(1) : netBack.dividedBy(order.net);
    const paid = { ...paidOrder(atHand), isFirst: false };
    const refund = { refundId: wanted.refundId, amount: money.amount, part };
    for (const hook of this.hooks.refunded) await hook(session, paid, refund, now);
    const positions = covered.map(({ position }) => position);
    const { orderId } = order;
    const at = { orderId, account: atHand.account };
    await this.hooks.subscriptions.refunded(session, at, positions, now);
  }

  /**
   * Takes the units back, as far as they are there; by grant of the order. A grant of which nothing is
   * left is over, but not one whose used units are charged: held ones may come back to it.
   */
  private async withdraw(
    session: Session,
    { order, account }: OrderAtHand,
    planned: readonly PlannedLine[],
    used: UsedRule,
    refundId: string,
    now: Instant,
  ): Promise<Map<string, { taken: Decimal; value: Decimal }>> {
    const wanted = planned.flatMap((line) => line.wanted);
    const present = await presentGrants(session, wanted);
    const done = new Map<string, { taken: Decimal; value: Decimal }>();
    const take = async (some: readonly WantedUnits[], how: 'owe' | 'end' | 'take') => {
      for (const [ledger, ofLedger] of groupBy(some, (one) => present.get(one)!.ledgerId)) {
        const found = await withdrawUnits(session, {
          payerId: ledger,
          accountId: account.accountId,
          grants: ofLedger.map((one) => ({
            sequence: present.get(one)!.sequence,
            ...(how === 'end' ? {} : { amount: one.units }),
            ...(how === 'owe' ? { owed: one.grant.unmet } : {}),
          })),
          kind: 'refund',
          note: { source: `refund ${refundId} of order ${order.orderId}` },
          now,
          debt: how === 'owe',
        });
        const bySequence = new Map(found.map((one) => [one.sequence, one]));
        for (const one of ofLedger) {
          const { taken, value } = bySequence.get(present.get(one)!.sequence)!;
          const before = done.get(grantKey(one.grant)) ?? { taken: ZERO, value: ZERO };
          done.set(grantKey(one.grant), {
            taken: before.taken.plus(taken),
            value: before.value.plus(value),
          });
        }
      }
    };
    const some = wanted.filter(({ units }) => !units.isZero());
    // Bonuses that were used are nobody's loss: no debt comes of them.
    const isOwed = ({ grant }: WantedUnits): boolean => used === 'negative' && !grant.bonus;
    const isOver = ({ ends }: WantedUnits): boolean => ends && used !== 'charge';
    await take(some.filter(isOwed), 'owe');
    await take(wanted.filter(isOver), 'end');
    await take(
      some.filter((one) => !isOwed(one) && !isOver(one)),
      'take',
    );
    return done;
  }
}

/** What each grant of an order is by now: itself, or the one as which it lives on. */
async function presentGrants(
  session: Session,
  wanted: readonly WantedUnits[],
): Promise<Map<WantedUnits, { ledgerId: string; sequence: bigint }>> {
  const present = new Map<WantedUnits, { ledgerId: string; sequence: bigint }>();
  for (const [ledger, ofLedger] of groupBy(wanted, ({ grant }) => grant.ledgerId)) {
    const steps = await followGrants(
      session,
      ledger,
      ofLedger.map(({ grant }) => grant.sequence),
    );
    for (const one of ofLedger) {
      // In the order in which it moved: the last is where it is.
      const last = steps.filter(({ origin }) => origin === one.grant.sequence).at(-1)!;
      present.set(one, { ledgerId: last.payerId, sequence: last.sequence });
    }
  }
  return present;
}

/** Money went back for units that no part can be taken of: nobody can say that they were not used. */
const isTooCoarse = ({ units, net, grant }: WantedUnits): boolean =>
  units.isZero() && !net.isZero() && !grant.bonus;

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}

function takenLine(
  { line, net, tax, amount: whole, wanted }: PlannedLine,
  withdrawn: ReadonlyMap<string, Pick<WithdrawnUnits, 'taken' | 'value'>>,
): TakenLine {
  const units = wanted.map((one): TakenUnits => {
    const { grant } = one;
    const { taken, value: takenValue } = withdrawn.get(grantKey(grant)) ?? {
      taken: ZERO,
      value: ZERO,
    };
    // All that was wanted was there: it is worth what the ledger says that it took along. There may be
    // more when used units came back for which money had been given back before.
    const value = taken.equals(one.units) ? takenValue : valueOfUnits(grant, one.units);
    return { ...one, position: line.position, value, taken, takenValue };
  });
  return { line, net, tax, amount: whole, units };
}

/**
 * What goes back when used units are charged: what was paid and not earned, rounded down to the
 * currency. Only units that were still there are given up.
 *
 * @throws refund_exceeds_paid when an amount was asked for that is not there unused
 */
function charged(taken: TakenLine, asked: Decimal | null, order: StoredOrder): TakenLine {
  const isThere = taken.units.every((one) => one.taken.equals(one.units));
  if (isThere && asked === null) return taken;
  if (asked !== null) {
    // Bonuses cost nothing: that they were used is not charged.
    const paidFor = taken.units.filter(({ grant }) => !grant.bonus);
    if (paidFor.every((one) => one.taken.equals(one.units) && !isTooCoarse(one))) return taken;
    throw new BillingError(
      'refund_exceeds_paid',
      'Part of what this amount paid for has been used, or cannot be taken back in part.',
      {
        parameter: 'amount',
        advice: 'Leave "amount" out to give back all that was not used.',
      },
    );
  }
  const { decimals } = order;
  const left = taken.units.reduce((sum, one) => sum.plus(one.takenValue), ZERO);
  const all = taken.units.reduce((sum, one) => sum.plus(one.value), ZERO);
  const unearned = Decimal.max(ZERO, taken.net.minus(all).plus(left));
  const most = taken.net.isZero()
    ? ZERO
    : round(taken.amount.times(unearned).dividedBy(taken.net), decimals, 'down');
  const money = netAndTax(most, taken, decimals);
  // The money follows the units that went back.
  const values = taken.units.map((one) => one.takenValue);
  const nets = left.isZero() ? values : split(money.net, values, decimals);
  const units = taken.units.map((one, index) => ({
    ...one,
    net: nets[index]!,
    units: one.taken,
    value: one.takenValue,
  }));
  return { line: taken.line, ...money, units };
}

function requireSameRefund(first: Refund, asked: Decimal | undefined): void {
  if (asked === undefined || asked.equals(first.amount)) return;
  throw new BillingError(
    'payment_mismatch',
    `The refund ${first.refundId} was one of ${first.amount}.`,
    { parameter: 'refundId', advice: 'Each refund has an id of its own.' },
  );
}

async function writeRefund(
  session: Session,
  { payerId, orderId }: StoredOrder,
  refund: {
    refundId: string;
    used: UsedRule;
    amount: Decimal;
    net: Decimal;
    tax: Decimal;
    rounding: Decimal;
    reason?: string;
    metadata?: Record<string, unknown>;
  },
  lines: readonly TakenLine[],
  now: Instant,
): Promise<void> {
  const id = [payerId, orderId, refund.refundId];
  await session.query(WRITE_REFUND, [
    ...id,
    refund.used,
    refund.amount.toFixed(),
    refund.net.toFixed(),
    refund.tax.toFixed(),
    refund.rounding.toFixed(),
    isoTime(now),
  ]);
  await session.query(WRITE_REFUND_DETAILS, [
    ...id,
    refund.reason ?? null,
    JSON.stringify(refund.metadata ?? {}),
  ]);
  await session.query(WRITE_REFUND_ITEMS, [
    ...id,
    lines.map(({ line }) => line.position),
    lines.map((line) => line.amount.toFixed()),
    lines.map((line) => line.net.toFixed()),
    lines.map((line) => line.tax.toFixed()),
  ]);
  const units = lines.flatMap((line) => line.units);
  await session.query(WRITE_REFUND_UNITS, [
    ...id,
    units.map(({ position }) => position),
    units.map(({ grant }) => grant.ledgerId),
    units.map(({ grant }) => grant.sequence.toString()),
    units.map((one) => one.net.toFixed()),
    units.map((one) => one.units.toFixed()),
    units.map((one) => one.value.toFixed()),
    units.map((one) => one.taken.toFixed()),
    units.map((one) => one.takenValue.toFixed()),
  ]);
}

/**
 * The money book of a refund. What units took along comes out of deferred, what was earned with them
 * out of revenue, tax out of tax payable; what rounding to whole units left over is a posting of its own.
 */
async function postRefund(
  session: Session,
  { order, account }: OrderAtHand,
  refund: { refundId: string; amount: Decimal; net: Decimal; tax: Decimal; rounding: Decimal },
  units: readonly TakenUnits[],
  at: Instant,
): Promise<void> {
  const takenValue = units.reduce((sum, one) => sum.plus(one.takenValue), ZERO);
  // For each grant that can be counted: net = taken value + earned - rounding.
  const deferred = takenValue.minus(refund.rounding);
  const revenue = refund.net.minus(deferred);
  const common = {
    payerId: account.payerId,
    currency: order.currency,
    at,
    // Two gateways may give the same id.
    reference: { type: 'refund', id: `${order.orderId}.${refund.refundId}` },
  };
  const postings: Posting[] = [
    {
      ...common,
      kind: 'refund',
      legs: moving([
        { account: 'deferred', amount: deferred },
        { account: 'revenue', amount: revenue },
        { account: 'tax_payable', amount: refund.tax },
        {
          account: 'cash',
          gateway: order.gateway ?? DEFAULT_GATEWAY,
          amount: refund.amount.negated(),
        },
      ]),
    },
    {
      ...common,
      kind: 'rounding',
      legs: moving([
        { account: 'deferred', amount: refund.rounding },
        { account: 'rounding', amount: refund.rounding.negated() },
      ]),
    },
  ];
  await postAll(
    session,
    postings.filter(({ legs }) => legs.length > 0),
  );
}
