import type { ErasePart, ExportPart, MergePart } from '../accounts';
import { atTime, column, readTime, table, type Session } from '../database';
import {
  Decimal,
  currencyDecimals,
  formatMoney,
  formatUnits,
  isoTime,
  type Instant,
} from '../kernel';
import { refreshAccess } from './access';
import { SUBSCRIPTIONS } from './stored-subscription';

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
select ${SUBSCRIPTIONS.select('s')}, d.cancel_reason, coalesce(d.metadata, '{}')::text as metadata,
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

interface ExportedRow {
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

const ITEMS = table('pending_items', {
  itemId: column.uuid(),
  account: column.uuid().named('account_id'),
  subscriptionId: column.uuid().orNull,
  periodNumber: column.integer().orNull,
  kind: column.text(),
  sku: column.text().orNull,
  product: column.text().orNull,
  description: column.text().orNull,
  quantity: column.amount(),
  amount: column.decimal(),
  currency: column.text(),
  serviceFrom: column.time(),
  serviceTo: column.time(),
  dueAt: column.time(),
});

const LIST_ITEMS = `
select ${ITEMS.select('i')} from {schema}.pending_items i
where (i.account_id = any($1::uuid[]) or i.payer_id = any($2::uuid[]))
  and i.invoice_id is null and i.dropped_at is null
order by i.due_at, i.item_id`;

const PAGE = 500;

const time = (instant: Instant | null): string | null =>
  instant === null ? null : isoTime(instant);

function exported(row: ExportedRow): object {
  const one = SUBSCRIPTIONS.read(row);
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
    startedAt: time(one.startedAt),
    cancelAt: time(one.cancelAt),
    pauseAt: time(one.pauseAt),
    resumeAt: time(one.resumeAt),
    endedAt: time(one.endedAt),
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
    after = SUBSCRIPTIONS.read(page.at(-1)!).subscriptionId;
  }
  const items = await ITEMS.rows(session, LIST_ITEMS, [names, payers]);
  return {
    subscriptions,
    pendingItems: items.map((item) => ({
      ...item,
      amount: formatMoney(item.amount, currencyDecimals(item.currency)!),
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
  await refreshAccess(session, [{ payerId: into.payerId, joining: from.payerId }]);
  return { ...counted! };
};
