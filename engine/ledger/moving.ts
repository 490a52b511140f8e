import type { Merge } from '../accounts';
import { findProducts } from '../catalog';
import type { Session } from '../database';
import { BillingError, ZERO, isoTime, ledgerId, type Instant } from '../kernel';
import { moveGates } from './gates';
import { pocketOf, type Journal, type Moved } from './journal';
import { openJournal, readDebts, writeJournal } from './journal-store';
import { isOver, type Draw } from './order-of-use';
import type { Grant, Pocket } from './pockets';
import type { LedgerPorts } from './ports';

/** All that an account has moves to another: when they are merged, or a child is attached with it. */

/** Products of which an account has units, holds, debts or overage terms. */
const FIND_POCKETS = `
select product from {schema}.grants where payer_id = $1::uuid and live
union
select product from {schema}.holds where payer_id = $1::uuid and outcome is null
union
select product from {schema}.unit_debts where payer_id = $1::uuid and paid + moved < amount`;

/**
 * Used up ones, too: what comes back to them is in a ledger that nobody uses any more. A child may leave its
 * parent, and until then what comes back goes on to the parent (restore.ts): its grants stay.
 */
const END_ALL_GRANTS = `
update {schema}.grants set ended_at = $2::timestamptz
where payer_id = $1::uuid and least(expires_at, ended_at) > $2::timestamptz
  or payer_id = $1::uuid and expires_at is null and ended_at is null`;

/** Under the payers' locks. What the other account was told already stays. */
const COPY_TERMS = `
insert into {schema}.overage_terms (payer_id, product, unit_limit)
select $2::uuid, t.product,
       -- What was used of it is in the other ledger.
       case when t.unit_limit is not null then greatest(0, t.unit_limit - t.used) end
from {schema}.overage_terms t where t.payer_id = $1::uuid
on conflict (payer_id, product) do nothing
returning 1 as copied`;

const COUNT_TERMS = `
select 1 as counted from {schema}.overage_terms t
where t.payer_id = $1::uuid and not exists (
  select 1 from {schema}.overage_terms o where o.payer_id = $2::uuid and o.product = t.product)`;

/** How much moved: grants, debts of units, terms of overage. */
export interface MovedAll extends Record<string, number> {
  grants: number;
  debts: number;
  overageTerms: number;
}

/**
 * Moves everything in one ledger to another payer by pairs of lines: units with their value, expiry and
 * priority, times of access with their anchors, debts. Both payers must be locked.
 *
 * @param what `all`: terms of overage and gates, too; `units`: what was agreed with the one stays with it,
 *   since the other keeps its own for all whose uses it pays
 * @throws merge_conflict when units are on hold
 */
export async function moveAllUnits(
  session: Session,
  { from, into, now, dryRun }: Merge,
  ports: Pick<LedgerPorts, 'movedValue'>,
  what: 'all' | 'units' = 'all',
): Promise<MovedAll> {
  const rows = await session.query<{ product: string }>(FIND_POCKETS, [from.payerId]);
  const keys = rows.map(({ product }) => product).sort();
  const products = await findProducts(session, keys);
  const wanted = [...products.values()].flatMap((product) => [
    pocketOf(from, product),
    pocketOf(into, product),
  ]);
  const journal = await openJournal(session, now, wanted);
  await readDebts(session, journal);
  const pockets = keys.map((key) => ({
    source: journal.pocket(from.payerId, key),
    target: journal.pocket(into.payerId, key),
  }));
  refuseHolds(
    pockets.map(({ source }) => source),
    now,
  );

  const moves: Moved[] = [];
  let debts = 0;
  const accounts = { from: from.accountId, into: into.accountId };
  for (const { source, target } of pockets) {
    journal.writeDue(source);
    journal.writeDue(target);
    const units = source.grants.filter((grant) => grant.remaining.greaterThan(0));
    for (const grant of units) {
      const draw = { grant, amount: grant.remaining };
      moves.push(moveOn(journal, { source, target }, draw, accounts));
    }
    debts += journal.moveDebts(source, target, into.accountId);
  }
  const payers = [from.payerId, into.payerId];
  if (dryRun) {
    const terms = what === 'all' ? await session.query(COUNT_TERMS, payers) : [];
    return { grants: moves.length, debts, overageTerms: terms.length };
  }
  await writeJournal(session, journal, [], now);
  await tellBook(session, ports, moves, { from: from.payerId, into: into.payerId, now });
  if (what === 'units') return { grants: moves.length, debts, overageTerms: 0 };
  const time = keys.length === 0 ? now : journal.now(from.payerId);
  await session.query(END_ALL_GRANTS, [from.payerId, isoTime(time)]);
  const terms = await session.query(COPY_TERMS, payers);
  await moveGates(session, { from, into });
  return { grants: moves.length, debts, overageTerms: terms.length };
}

/** Units of a grant go on in another ledger, with their value, expiry and priority. */
export function moveOn(
  journal: Journal,
  { source, target }: { source: Pocket; target: Pocket },
  draw: Draw<Grant>,
  accounts: { from: string; into: string },
): Moved {
  const { validFrom, expiresAt, anchorAt, anchorMonths } = draw.grant;
  const validity = { validFrom, expiresAt, anchorAt, anchorMonths };
  const given = { accountId: accounts.into, quantity: draw.amount, validity };
  const terms = { ...given, why: 'merge' } as const;
  return journal.moveUnits(source, accounts.from, [draw], target, terms, {});
}

function refuseHolds(pockets: readonly Pocket[], now: Instant): void {
  const open = pockets.flatMap(({ holds }) => holds.filter((hold) => !isOver(hold, now)));
  if (open.length === 0) return;
  const names = open.slice(0, 5).map((hold) => ledgerId(hold.payerId, hold.sequence));
  throw new BillingError(
    'merge_conflict',
    `The account has units on hold: ${names.join(', ')}${open.length > 5 ? ` and ${open.length - 5} more` : ''}.`,
    { advice: 'Settle or release them first.' },
  );
}

/** Value that went from one payer's ledger to another's is owed to the other now. */
export async function tellBook(
  session: Session,
  ports: Pick<LedgerPorts, 'movedValue'>,
  moves: readonly Moved[],
  { from, into, now }: { from: string; into: string; now: Instant },
): Promise<void> {
  if (from === into) return;
  for (const { out, grant, value } of moves) {
    if (value.equals(ZERO)) continue;
    await ports.movedValue(session, {
      fromPayerId: from,
      intoPayerId: into,
      currency: grant.currency!,
      value,
      entryId: ledgerId(from, out),
      at: now,
    });
  }
}
