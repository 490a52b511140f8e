import { leftToGiveBack, writeReturns } from '../books';
import { findProducts } from '../catalog';
import { column, table, type Session } from '../database';
import {
  ZERO,
  formatMoney,
  formatUnits,
  formatValue,
  isoTime,
  ledgerId,
  type Instant,
} from '../kernel';
import { readGrantStates } from '../ledger';
import { findOrderGrants, type OrderGrant } from './order-grants';
import type { StoredOrder } from './order-records';
import { grantKey, type LineGrant, type RefundLine, type UsedRule } from './refund-plan';
import type { RefundMoney, TakenLine } from './refund-settlement';

/** Refunds of orders as they are kept, and what earlier ones gave up. */

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

const ID = { payerId: column.uuid(), orderId: column.uuid(), refundId: column.text() };
const MONEY = { amount: column.decimal(), net: column.decimal(), tax: column.decimal() };

const REFUNDS = table('refunds', {
  ...ID,
  used: column.text<UsedRule>(),
  ...MONEY,
  rounding: column.decimal(),
  refundedAt: column.instant(),
});

const DETAILS = table('refund_details', {
  ...ID,
  reason: column.text().orNull,
  metadata: column.json<Record<string, unknown>>(),
});

const ITEMS = table('refund_items', { ...ID, position: column.integer(), ...MONEY });

const UNITS = table('refund_units', {
  ...ID,
  position: column.integer(),
  ledgerId: column.uuid(),
  grantSequence: column.sequence(),
  net: column.decimal(),
  units: column.decimal(),
  value: column.decimal(),
  taken: column.decimal(),
  takenValue: column.decimal(),
});

const SAID = REFUNDS.pick('refundId', 'used', 'amount', 'net', 'tax', 'refundedAt');
const PAID_BACK = REFUNDS.pick('amount', 'net', 'tax', 'rounding');
const TAKEN = UNITS.pick('ledgerId', 'grantSequence', 'taken', 'takenValue');

const FIND_REFUND = `
select ${PAID_BACK.select('r')},
       (select coalesce(json_agg(json_build_array(${TAKEN.selectArray('u')}, o.product)
                                 order by u.position, u.grant_sequence), '[]')::text
        from {schema}.refund_units u
        join {schema}.order_grants o on o.payer_id = u.payer_id and o.order_id = u.order_id
          and o.ledger_id = u.ledger_id and o.grant_sequence = u.grant_sequence
        where u.payer_id = r.payer_id and u.order_id = r.order_id and u.refund_id = r.refund_id
          and u.taken > 0) as units
from {schema}.refunds r
where r.payer_id = $1::uuid and r.order_id = $2::uuid and r.refund_id = $3`;

export async function findRefund(
  session: Session,
  { payerId, orderId, decimals }: StoredOrder,
  refundId: string,
): Promise<Refund | null> {
  const values = [payerId, orderId, refundId];
  const [row] = await session.query<{ units: string }>(FIND_REFUND, values);
  if (row === undefined) return null;
  const { amount, net, tax, rounding } = PAID_BACK.read(row);
  const units = JSON.parse(row.units) as Array<[taken: unknown[], product: string]>;
  return {
    refundId,
    amount: formatMoney(amount, decimals),
    net: formatMoney(net, decimals),
    tax: formatMoney(tax, decimals),
    units: units.map(([values_, product]) => {
      const one = TAKEN.readArray(values_);
      return {
        grantId: ledgerId(one.ledgerId, one.grantSequence),
        product,
        quantity: formatUnits(one.taken),
        value: formatValue(one.takenValue),
      };
    }),
    rounding: formatValue(rounding),
  };
}

/** What earlier refunds of an order gave up of a grant. */
const GIVEN_UP = table('refund_units', {
  ledgerId: column.uuid(),
  sequence: column.sequence().named('grant_sequence'),
  refundedNet: column.decimal().named('net'),
  givenUp: column.decimal().named('units'),
  givenUpValue: column.decimal().named('value'),
  unmet: column.decimal(),
});

const FIND_GIVEN_UP = `
select ${GIVEN_UP.select('g')}
from (
  select ledger_id, grant_sequence, sum(net) as net, sum(units) as units, sum(value) as value,
         sum(greatest(units - taken, 0)) as unmet
  from {schema}.refund_units
  where payer_id = $1::uuid and order_id = $2::uuid
  group by ledger_id, grant_sequence) as g`;

const NOTHING_GIVEN_UP = { refundedNet: ZERO, givenUp: ZERO, givenUpValue: ZERO, unmet: ZERO };

/** The lines of an order as what was sold; what of them is left is to be looked up. */
export const soldLines = ({ payerId, orderId, taxRate, lines }: StoredOrder) =>
  lines.map((line) => ({
    ...line,
    payerId,
    soldBy: 'order' as const,
    documentId: orderId,
    inclusive: taxRate?.inclusive ?? false,
    left: { net: line.net, tax: line.tax },
  }));

/** The lines of an order with their grants, and what was refunded of both. */
export async function refundLines(session: Session, order: StoredOrder): Promise<RefundLine[]> {
  const made = await findOrderGrants(session, order);
  const grants = await lineGrants(session, order, made);
  const lines = await leftToGiveBack(session, soldLines(order));
  return lines.map(({ refundedNet, ...line }) => ({
    ...line,
    credited: line.net.minus(line.left.net).minus(refundedNet),
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
  const rows = await GIVEN_UP.rows(session, FIND_GIVEN_UP, [payerId, orderId]);
  const gone = new Map(rows.map((row) => [grantKey(row), row]));
  const ledger = made[0]?.ledgerId ?? payerId;
  const sequences = made.map(({ sequence }) => sequence);
  // Only what never changes of them is of interest: the moment is any.
  const states = await readGrantStates(session, ledger, sequences, 0);
  return new Map(
    states.map((state) => {
      const { bonus } = made.find(({ sequence }) => sequence === state.sequence)!;
      const grantName = { ledgerId: ledger, sequence: state.sequence };
      const { kind, decimals } = products.get(state.product)!;
      const grant: LineGrant = {
        ...(gone.get(grantKey(grantName)) ?? NOTHING_GIVEN_UP),
        ...grantName,
        product: state.product,
        decimals: kind === 'quantity' ? decimals : null,
        bonus,
        initial: state.initial,
        value: state.value,
      };
      return [grantKey(grantName), grant];
    }),
  );
}

/** Writes a refund, with what goes back of each line and of each grant. The payer is locked. */
export async function writeRefund(
  session: Session,
  { payerId, orderId }: StoredOrder,
  refund: RefundMoney & {
    refundId: string;
    used: UsedRule;
    reason?: string;
    metadata?: Record<string, unknown>;
  },
  lines: readonly TakenLine[],
  refundedAt: Instant,
): Promise<void> {
  const { refundId, reason = null, metadata = {} } = refund;
  const id = { payerId, orderId, refundId };
  await REFUNDS.write(session, [{ ...refund, ...id, refundedAt }]);
  await DETAILS.write(session, [{ ...id, reason, metadata }]);
  await ITEMS.write(
    session,
    lines.map((line) => ({ ...line, ...id, position: line.line.position })),
  );
  await writeReturns(
    session,
    lines.map(({ line: { position }, net, tax }) => {
      const name = { payerId, soldBy: 'order' as const, documentId: orderId, position };
      return { ...name, net, tax, kind: 'refund', refundId };
    }),
    refundedAt,
  );
  await UNITS.write(
    session,
    lines.flatMap(({ units }) =>
      units.map((one) => ({
        ...one,
        ...id,
        ledgerId: one.grant.ledgerId,
        grantSequence: one.grant.sequence,
      })),
    ),
  );
}

const READ_REFUNDS = `
select ${SAID.select('r')}, d.reason, coalesce(d.metadata, '{}')::text as metadata
from {schema}.refunds r
left join {schema}.refund_details d
  on d.payer_id = r.payer_id and d.order_id = r.order_id and d.refund_id = r.refund_id
where r.payer_id = $1::uuid and r.order_id = $2::uuid
order by r.refunded_at, r.refund_id`;

/** All refunds of an order, for an export. */
export async function exportRefunds(
  session: Session,
  { payerId, orderId, decimals }: StoredOrder,
): Promise<object[]> {
  const values = [payerId, orderId];
  const rows = await session.query<{ reason: string; metadata: string }>(READ_REFUNDS, values);
  return rows.map((row) => {
    const { amount, net, tax, refundedAt, ...refund } = SAID.read(row);
    return {
      ...refund,
      amount: formatMoney(amount, decimals),
      net: formatMoney(net, decimals),
      tax: formatMoney(tax, decimals),
      refundedAt: isoTime(refundedAt),
      reason: row.reason,
      metadata: JSON.parse(row.metadata) as Record<string, unknown>,
    };
  });
}
