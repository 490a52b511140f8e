import type { ErasePart, ExportPart, MergePart } from '../accounts';
import { atTime, readTime, type Session } from '../database';
import { Decimal, currencyDecimals, formatMoney, formatUnits } from '../kernel';
import { refreshAccess } from './access';
import { SUBSCRIPTION_COLUMNS, subscriptionOf, type SubscriptionRow } from './records';

/** What subscriptions have to say when accounts are attached, exported, erased or merged. */

const HAS_LIVE = `
select 1 as found from {schema}.subscriptions
where payer_id = $1::uuid and ended_at is null limit 1`;

const HAS_ITEMS = `
select 1 as found from {schema}.pending_items
where payer_id = $1::uuid and invoice_id is null and dropped_at is null limit 1`;

/** Why an account cannot become somebody's child: what it subscribed to is its own to pay. */
export async function openSubscriptionsObstacle(
  session: Session,
  accountId: string,
): Promise<string | null> {
  if ((await session.query(HAS_LIVE, [accountId])).length > 0) {
    return 'The child has a subscription of its own.';
  }
  const items = await session.query(HAS_ITEMS, [accountId]);
  return items.length === 0 ? null : 'The child has items that are not invoiced yet.';
}

/** Subscriptions by age: $1 who subscribed, $2 who paid (null: they do not matter), $3 to go on after. */
const LIST = `
select ${SUBSCRIPTION_COLUMNS}, d.cancel_reason, coalesce(d.metadata, '{}')::text as metadata,
       (select coalesce(json_agg(json_build_object(
                 'number', p.number, 'phase', p.phase, 'sku', p.sku, 'version', p.version,
                 'quantity', p.quantity, 'fee', p.fee::text, 'orderId', p.order_id,
                 'startsAt', ${atTime('p.starts_at')}, 'endsAt', ${atTime('p.ends_at')})
               order by p.number), '[]')::text
        from {schema}.subscription_periods p
        where p.payer_id = s.payer_id and p.subscription_id = s.subscription_id) as periods,
       (select coalesce(json_agg(json_build_object(
                 'periodNumber', t.period_number, 'product', t.product, 'steps', t.steps,
                 'size', t.size::text, 'price', t.price::text,
                 'addedAt', ${atTime('t.added_at')})
               order by t.added_at, t.step_id), '[]')::text
        from {schema}.subscription_steps t
        where t.payer_id = s.payer_id and t.subscription_id = s.subscription_id) as steps
from {schema}.subscriptions s
left join {schema}.subscription_details d
  on d.payer_id = s.payer_id and d.subscription_id = s.subscription_id
where (s.account_id = any($1::uuid[]) or s.payer_id = any($2::uuid[]))
  and ($3::uuid is null or s.subscription_id > $3::uuid)
order by s.subscription_id
limit $4::integer`;

interface ExportedRow extends SubscriptionRow {
  cancel_reason: string | null;
  metadata: string;
  periods: string;
  steps: string;
}

interface PeriodJson {
  number: number;
  phase: number | null;
  sku: string;
  version: number;
  quantity: number;
  fee: string;
  orderId: string | null;
  startsAt: string;
  endsAt: string;
}

interface StepJson {
  periodNumber: number;
  product: string;
  steps: number;
  size: string;
  price: string;
  addedAt: string;
}

const LIST_ITEMS = `
select i.item_id::text as item_id, i.account_id::text as account_id,
       i.subscription_id::text as subscription_id, i.period_number, i.kind, i.sku, i.product,
       i.description, i.quantity::text as quantity, i.amount::text as amount, i.currency,
       ${atTime('i.service_from')} as service_from, ${atTime('i.service_to')} as service_to,
       ${atTime('i.due_at')} as due_at
from {schema}.pending_items i
where (i.account_id = any($1::uuid[]) or i.payer_id = any($2::uuid[]))
  and i.invoice_id is null and i.dropped_at is null
order by i.due_at, i.item_id`;

interface ItemRow {
  item_id: string;
  account_id: string;
  subscription_id: string | null;
  period_number: number | null;
  kind: string;
  sku: string | null;
  product: string | null;
  description: string | null;
  quantity: string;
  amount: string;
  currency: string;
  service_from: string;
  service_to: string;
  due_at: string;
}

const PAGE = 500;

function exported(row: ExportedRow): object {
  const one = subscriptionOf(row);
  const decimals = currencyDecimals(one.currency)!;
  const money = (written: string): string => formatMoney(new Decimal(written), decimals);
  return {
    subscriptionId: one.subscriptionId,
    account: one.accountId,
    payer: one.payerId,
    sku: one.sku,
    version: one.version,
    quantity: one.quantity,
    status: one.status,
    currency: one.currency,
    renews: one.renews,
    collection: one.collection,
    collectedBy: one.collectedBy,
    coupon: one.coupon,
    startedAt: readTime(row.started_at),
    cancelAt: readTime(row.cancel_at),
    pauseAt: readTime(row.pause_at),
    resumeAt: readTime(row.resume_at),
    endedAt: readTime(row.ended_at),
    endReason: one.endReason,
    cancelReason: row.cancel_reason,
    periods: (JSON.parse(row.periods) as PeriodJson[]).map((period) => ({
      ...period,
      fee: money(period.fee),
      startsAt: readTime(period.startsAt),
      endsAt: readTime(period.endsAt),
    })),
    steps: (JSON.parse(row.steps) as StepJson[]).map((step) => ({
      ...step,
      size: formatUnits(new Decimal(step.size)),
      price: money(step.price),
      addedAt: readTime(step.addedAt),
    })),
    metadata: JSON.parse(row.metadata) as Record<string, unknown>,
  };
}

/** Subscriptions that the account has or pays for, and what waits for an invoice. */
export const exportSubscriptions: ExportPart = async (session, { accountId, payerId, aliases }) => {
  const names = [accountId, ...aliases];
  const payers = payerId === accountId ? names : null;
  const subscriptions: object[] = [];
  let after: string | null = null;
  for (;;) {
    const page: ExportedRow[] = await session.query<ExportedRow>(LIST, [
      names,
      payers,
      after,
      PAGE,
    ]);
    subscriptions.push(...page.map(exported));
    if (page.length < PAGE) break;
    after = page.at(-1)!.subscription_id;
  }
  const items = await session.query<ItemRow>(LIST_ITEMS, [names, payers]);
  return {
    subscriptions,
    pendingItems: items.map((row) => ({
      itemId: row.item_id,
      account: row.account_id,
      subscriptionId: row.subscription_id,
      periodNumber: row.period_number,
      kind: row.kind,
      sku: row.sku,
      product: row.product,
      description: row.description,
      quantity: formatUnits(new Decimal(row.quantity)),
      amount: formatMoney(new Decimal(row.amount), currencyDecimals(row.currency)!),
      currency: row.currency,
      serviceFrom: readTime(row.service_from),
      serviceTo: readTime(row.service_to),
      dueAt: readTime(row.due_at),
    })),
  };
};

/** Found by who subscribed: the payer of a row may be the parent of that time, or of this. */
const ERASE_DETAILS = `
delete from {schema}.subscription_details d
using {schema}.subscriptions s
where (s.account_id = any($1::uuid[]) or s.payer_id = any($1::uuid[]))
  and d.payer_id = s.payer_id and d.subscription_id = s.subscription_id`;

/** Also of items that are on an invoice: the invoice has its own copy for as long as it is kept. */
const ERASE_DESCRIPTIONS = `
update {schema}.pending_items set description = null
where (account_id = any($1::uuid[]) or payer_id = any($1::uuid[])) and description is not null`;

/** Reasons, metadata and free texts go; what was subscribed to for how much stays. */
export const eraseSubscriptions: ErasePart = async (session, { accountId, aliases }) => {
  const names = [accountId, ...aliases];
  await session.query(ERASE_DETAILS, [names]);
  await session.query(ERASE_DESCRIPTIONS, [names]);
};

const COUNT = `
select (select count(*)::int from {schema}.subscriptions where payer_id = $1::uuid) as subscriptions,
       (select count(*)::int from {schema}.pending_items
        where payer_id = $1::uuid and invoice_id is null and dropped_at is null) as "pendingItems"`;

/**
 * Subscriptions keep the payer they had and are found through the alias; from now on their units come
 * to the account that stays, and all of them together say what may be used.
 */
export const mergeSubscriptions: MergePart = async (session, { from, into }) => {
  const [counted] = await session.query<{ subscriptions: number; pendingItems: number }>(COUNT, [
    from.payerId,
  ]);
  await refreshAccess(session, into.payerId, from.payerId);
  return { ...counted! };
};
