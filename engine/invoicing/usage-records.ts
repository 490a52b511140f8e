import { column, table, type RowOf, type Session } from '../database';
import { Decimal, ZERO, isoTime, type Instant } from '../kernel';
import type { PayerNames } from './chunks';
import type { StoredInvoice } from './invoice-records';
import { unbilledOf } from './unbilled';

/** What was used beyond grants, as it is found for a chunk of payers, and marked as billed. */

/** What was used, by account. */
export type UsedByAccount = ReadonlyArray<[accountId: string, quantity: string]>;

/** What is on no line yet, of one ledger and product: from when to when, and from which line to which. */
const UNBILLED = table('entries', {
  payerId: column.uuid(),
  ledgerId: column.uuid(),
  product: column.text(),
  firstAt: column.instant(),
  lastAt: column.instant(),
  firstSequence: column.bigint(),
  lastSequence: column.bigint(),
  used: column.json<UsedByAccount>(),
});
export type FoundUsage = RowOf<typeof UNBILLED>;

/** Where there is something. $1 payers, $2 the names under which something of each may stand. */
const FIND_UNBILLED = `
select ${UNBILLED.select('f')}
from (
  select n.payer_id, n.name as ledger_id, t.product, f.*
  from unnest($1::uuid[], $2::uuid[]) as n (payer_id, name)
  cross join lateral (
    select t.product from {schema}.overage_terms t where t.payer_id = n.name offset 0) as t
  cross join lateral (
    select min(a.first_at) as first_at, max(a.last_at) as last_at,
           min(a.first_sequence) as first_sequence, max(a.last_sequence) as last_sequence,
           json_agg(json_build_array(a.account_id, a.quantity::text)) as used
    from (
      select u.account_id, min(u.used_at) as first_at, max(u.used_at) as last_at,
             min(u.sequence) as first_sequence, max(u.sequence) as last_sequence,
             sum(u.overage) as quantity
      from (${unbilledOf('n.name', 't.product')}) as u group by u.account_id) as a) as f
  where f.first_at is not null
) as f`;

const PERIODS = table('subscription_periods', {
  payerId: column.uuid(),
  subscriptionId: column.uuid(),
  number: column.integer(),
  sku: column.text(),
  version: column.integer(),
  currency: column.text(),
  startsAt: column.instant(),
  endsAt: column.instant(),
  cutLedgerId: column.uuid().orNull,
  cutSequence: column.bigint().orNull,
  collection: column.text<StoredInvoice['collection']>(),
  collectedBy: column.text<StoredInvoice['collectedBy']>(),
});
/** A period, under the name that its payer had. */
export type FoundPeriod = RowOf<typeof PERIODS>;

/** $1 payers as they stand in rows, $2 since when, of each. */
const FIND_PERIODS = `
select ${PERIODS.select('f')}
from (
  select p.*, s.collection, s.collected_by
  from unnest($1::uuid[], $2::timestamptz[]) as w (payer_id, since)
  cross join lateral (
    select p.payer_id, p.subscription_id, p.number, p.sku, p.version, p.currency, p.starts_at,
           p.ends_at, p.cut_ledger_id, p.cut_sequence
    from {schema}.subscription_periods p
    where p.payer_id = w.payer_id and p.ends_at >= w.since offset 0) as p
  cross join lateral (
    select s.collection, s.collected_by from {schema}.subscriptions s
    where s.payer_id = p.payer_id and s.subscription_id = p.subscription_id offset 0) as s
) as f`;

/** A span of a ledger's use of a product, and the invoice on which it is billed. Lines tell apart what is of one instant. */
const BILLED_WINDOWS = table('invoice_usage', {
  ledgerId: column.uuid(),
  product: column.text(),
  firstSequence: column.bigint(),
  /** Null: all that is on no line yet lies in it. */
  from: column.instant().orNull.named('from_at'),
  to: column.instant().orNull.named('to_at'),
  /** Behind this line of that instant. */
  fromLine: column.bigint(),
  /** Up to this line of that instant; 0: none of it. */
  toLine: column.bigint(),
  /** Which of the groups. */
  place: column.integer(),
  invoicePayerId: column.uuid(),
  invoiceId: column.uuid(),
});
export type BilledWindow = RowOf<typeof BILLED_WINDOWS>;

const WINDOWS = BILLED_WINDOWS.omit('invoicePayerId', 'invoiceId');
export type UsageWindow = RowOf<typeof WINDOWS>;

const inWindow = `
cross join lateral (${unbilledOf('w.ledger_id', 'w.product', 'w.first_sequence')}) as u`;
const WITHIN = `
where (w.from_at is null or (u.used_at, u.used_sequence) > (w.from_at, w.from_line))
  and (w.to_at is null or (u.used_at, u.used_sequence) <= (w.to_at, w.to_line))`;

/** What was used in windows, by account. */
const SUM_WINDOWS = `
select w.place, u.account_id::text as account_id, sum(u.overage)::text as quantity
from ${WINDOWS.unnest('w')}${inWindow}${WITHIN}
group by w.place, u.account_id`;

/** $11 to $13: the line of each account in a group. */
const WRITE_USAGE = `
insert into {schema}.invoice_usage
  (payer_id, entry_sequence, invoice_payer_id, invoice_id, position)
select w.ledger_id, u.sequence, w.invoice_payer_id, w.invoice_id, l.position
from ${BILLED_WINDOWS.unnest('w')}${inWindow}
left join unnest($11::integer[], $12::uuid[], $13::integer[]) as l (place, account_id, position)
  on l.place = w.place and l.account_id = u.account_id${WITHIN}`;

/**
 * What is on lines of a period already, by the index invoice_lines_usage. A void invoice counts as long
 * as its entries were not freed.
 */
const SUM_BILLED = `
select w.place::int as place, sum(l.quantity)::text as quantity, sum(l.subtotal)::text as amount
from unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::integer[])
     as w (payer_id, subscription_id, number, product, place)
cross join lateral (
  select l.* from {schema}.invoice_lines l
  where l.payer_id = w.payer_id and l.subscription_id = w.subscription_id
    and l.period_number = w.number and l.kind = 'usage' and l.product = w.product
  offset 0) as l
cross join lateral (
  select i.status from {schema}.invoices i
  where i.payer_id = l.payer_id and i.invoice_id = l.invoice_id offset 0) as i
where i.status <> 'void' or exists (
  select from {schema}.invoice_usage u
  where u.invoice_payer_id = l.payer_id and u.invoice_id = l.invoice_id)
group by w.place`;

const MARKS = table('usage_marks', {
  ledgerId: column.uuid(),
  product: column.text(),
  /** The last line, where nothing of it is billed another time; else it is looked for. */
  lastSequence: column.bigint().orNull,
  /** What lies in a period from there on is billed another time. */
  holdFrom: column.instant().orNull,
});
export type UsageMark = RowOf<typeof MARKS>;

const MOVE_MARKS = `
insert into {schema}.usage_marks as m (payer_id, product, billed_sequence)
select w.ledger_id, w.product, coalesce(
  w.last_sequence,
  (select min(u.sequence) - 1 from (${unbilledOf('w.ledger_id', 'w.product')}) as u
   where u.used_at >= w.hold_from),
  (select e.sequence from {schema}.entries e
   where e.payer_id = w.ledger_id and e.product = w.product and e.overage is not null
   order by e.sequence desc limit 1))
from ${MARKS.unnest('w')}
on conflict (payer_id, product) do update
set billed_sequence = greatest(m.billed_sequence, excluded.billed_sequence)`;

/** What payers, who are locked, used beyond their grants and was billed nowhere. */
export async function findUnbilled(
  session: Session,
  payers: readonly PayerNames[],
): Promise<FoundUsage[]> {
  const named = payers.flatMap(({ payerId, names }) => names.map((name) => [payerId, name]));
  return UNBILLED.rows(session, FIND_UNBILLED, [
    named.map(([payerId]) => payerId),
    named.map(([, name]) => name),
  ]);
}

/** Periods that end at moments or behind them, of each payer under all its names. */
export async function findPeriodsSince(
  session: Session,
  payers: readonly PayerNames[],
  since: ReadonlyMap<string, Instant>,
): Promise<Map<string, FoundPeriod[]>> {
  const wanted = payers.flatMap(({ payerId, names }) =>
    since.has(payerId) ? names.map((name) => ({ payerId, name, since: since.get(payerId)! })) : [],
  );
  const rows = await PERIODS.rows(session, FIND_PERIODS, [
    wanted.map(({ name }) => name),
    wanted.map((one) => isoTime(one.since)),
  ]);
  const payerOf = new Map(wanted.map(({ name, payerId }) => [name, payerId]));
  const periods = new Map<string, FoundPeriod[]>();
  for (const period of rows) {
    const payerId = payerOf.get(period.payerId)!;
    const ofPayer = periods.get(payerId);
    if (ofPayer === undefined) periods.set(payerId, [period]);
    else ofPayer.push(period);
  }
  return periods;
}

/** What was used in windows, by account. */
export async function sumWindows(
  session: Session,
  windows: readonly UsageWindow[],
): Promise<Array<{ place: number; accountId: string; quantity: string }>> {
  if (windows.length === 0) return [];
  const rows = await session.query<{ place: number; account_id: string; quantity: string }>(
    SUM_WINDOWS,
    WINDOWS.values(windows),
  );
  return rows.map(({ place, account_id, quantity }) => ({
    place,
    accountId: account_id,
    quantity,
  }));
}

/** What is billed of the use of a product in a period. */
export interface Billed {
  quantity: Decimal;
  amount: Decimal;
}

/** What is on lines already, by place in the list. */
export async function sumBilled(
  session: Session,
  looked: ReadonlyArray<{
    name: string;
    usage: { subscriptionId: string; periodNumber: number; product: string };
    place: number;
  }>,
): Promise<(place: number) => Billed> {
  const rows = await session.query<{ place: number; quantity: string; amount: string }>(
    SUM_BILLED,
    [
      looked.map(({ name }) => name),
      looked.map(({ usage }) => usage.subscriptionId),
      looked.map(({ usage }) => usage.periodNumber),
      looked.map(({ usage }) => usage.product),
      looked.map(({ place }) => place),
    ],
  );
  const none = { quantity: ZERO, amount: ZERO };
  const billed = new Map(
    rows.map(({ place, quantity, amount }) => [
      place,
      { quantity: new Decimal(quantity), amount: new Decimal(amount) },
    ]),
  );
  return (place) => billed.get(place) ?? none;
}

/** Remembers which entries windows bill, on the lines of their accounts. The payers are locked. */
export async function writeUsage(
  session: Session,
  windows: readonly BilledWindow[],
  lines: ReadonlyArray<{ place: number; line: { accountId: string; position: number } }>,
): Promise<void> {
  await session.query(WRITE_USAGE, [
    ...BILLED_WINDOWS.values(windows),
    lines.map(({ place }) => place),
    lines.map(({ line }) => line.accountId),
    lines.map(({ line }) => line.position),
  ]);
}

/** Remembers how far invoices have come. The payers are locked. */
export async function moveMarks(session: Session, marks: readonly UsageMark[]): Promise<void> {
  await session.query(MOVE_MARKS, MARKS.values(marks));
}
