import type { Merge } from '../accounts';
import { column, table, type Session } from '../database';
import type { DenialReason } from '../kernel';

/**
 * Gates: what subscriptions have to say about the use of a product. Kept by payer and product, so that
 * a use is decided with what is read for it anyway.
 */

export const GATE_REASONS = [
  'no_subscription',
  'subscription_ended',
  'subscription_cancelled',
  'subscription_paused',
  'payment_overdue',
  'payment_awaited',
] as const;
export type GateReason = (typeof GATE_REASONS)[number];

/** Denies every use, whatever there is; the others only say why there is not enough. */
export const isHard = (gate: GateReason | null): boolean => gate === 'payment_overdue';

/** Why there is not enough. */
export const shortReason = (gate: GateReason | null): DenialReason =>
  gate === null || isHard(gate) ? 'insufficient_balance' : gate;

const LIFT_GATES = `
delete from {schema}.access_gates a
using unnest($1::uuid[], $2::text[]) as n (payer_id, product)
where a.payer_id = n.payer_id and a.product = n.product`;

const GATES = table('access_gates', {
  payerId: column.uuid(),
  product: column.text(),
  reason: column.text<GateReason>().orNull,
});

const SET_GATES = GATES.insert(`
on conflict (payer_id, product) do update set reason = excluded.reason
where t.reason <> excluded.reason`);

/** Every use that another process takes for plain is confirmed against it (migrations/0005-ledger-calls.ts). */
const MARK_GATED = `
update {schema}.accounts a set gated = n.gated
from (
  select p.id, exists (
    select 1 from {schema}.access_gates g
    where g.payer_id = p.id and g.reason = 'payment_overdue') as gated
  from unnest($1::uuid[]) as p (id)) as n
where a.account_id = n.id and a.gated <> n.gated`;

/** A gate that denies wins over one that only says why. */
const COPY_GATES = `
insert into {schema}.access_gates as a (payer_id, product, reason)
select $2::uuid, g.product, g.reason
from {schema}.access_gates g where g.payer_id = $1::uuid
on conflict (payer_id, product) do update set reason = excluded.reason
where excluded.reason = 'payment_overdue' and a.reason <> excluded.reason`;

const DROP_GATES = `delete from {schema}.access_gates where payer_id = $1::uuid`;

/**
 * Sets or lifts what is said about the use of products, for payers and all whose uses they pay. The payers
 * must be locked; uses see it from the end of the transaction on.
 *
 * @param gates each product of a payer once; `payment_overdue` denies every use, hold and check of it
 *   (what is on hold is settled, released and restored all the same); the other reasons are given in the
 *   place of `insufficient_balance`, and only there; null: nothing is said any more
 */
export async function setGates(
  session: Session,
  gates: ReadonlyArray<{ payerId: string; product: string; reason: GateReason | null }>,
): Promise<void> {
  const lifted = gates.filter(({ reason }) => reason === null);
  const set = gates.filter(({ reason }) => reason !== null);
  if (lifted.length > 0) {
    await session.query(LIFT_GATES, GATES.omit('reason').values(lifted));
  }
  if (set.length > 0) await session.query(SET_GATES, GATES.values(set));
  if (gates.length > 0)
    await session.query(MARK_GATED, [[...new Set(gates.map(({ payerId }) => payerId))]]);
}

/** What was said to one payer is said to another from now on. Both must be locked. */
export async function moveGates(
  session: Session,
  { from, into }: Pick<Merge, 'from' | 'into'>,
): Promise<void> {
  await session.query(COPY_GATES, [from.payerId, into.payerId]);
  await session.query(DROP_GATES, [from.payerId]);
  await session.query(MARK_GATED, [[from.payerId, into.payerId]]);
}
