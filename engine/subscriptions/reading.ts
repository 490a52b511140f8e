import { decimalsOfPrice, type Offer } from '../catalog';
import type { Session } from '../database';
import {
  Decimal,
  currencyDecimals,
  formatMoney,
  formatUnits,
  isoTime,
  type Duration,
} from '../kernel';
import { awaitingChanges } from './awaiting-records';
import { OfferVersions } from './offer-versions';
import { feeOf, nextPeriod } from './periods';
import { changedTo, queuedChanges, type QueuedChange } from './queued-changes';
import { NAMED } from './stored-period';
import type { EndReason, StoredSubscription, SubscriptionStatus } from './stored-subscription';

/** A subscription as it goes out; amounts are money of its currency. */
export interface Subscription {
  subscriptionId: string;
  /** Who subscribed. */
  account: string;
  /** Who pays: the account itself, or its parent at that time. */
  payer: string;
  sku: string;
  /** Of the offer, as it is in force. */
  version: number;
  name: string;
  quantity: number;
  status: SubscriptionStatus;
  currency: string;
  /** What a whole period of the offer itself costs, before discount and tax. */
  price: string;
  interval: Duration;
  /** Whether a period is billed when it begins or when it ends. */
  bill: 'advance' | 'arrears';
  collection: 'charge' | 'send';
  collectedBy: 'engine' | 'provider';
  renews: boolean;
  /** 1 or 2 in a trial phase, else null. */
  trialPhase: number | null;
  startedAt: string;
  /** Where its own periods are counted from. */
  anchorAt: string;
  /** The period that was opened last; null before the first one begins. */
  period: { number: number; startsAt: string; endsAt: string } | null;
  /** Its units come when it is paid. */
  awaitingPayment: boolean;
  /** Until when its first payment is waited for; null: for none, or nothing was asked for yet. */
  lapsesAt: string | null;
  /** The grace period after a failed payment is over: nothing of it can be used. */
  overdue: boolean;
  cancelAt: string | null;
  pauseAt: string | null;
  resumeAt: string | null;
  endedAt: string | null;
  endReason: EndReason | null;
  /** Why it was cancelled, in your words; null once that person was erased. */
  cancelReason: string | null;
  /** The period that follows, if one does. */
  next: { sku: string; quantity: number; price: string; at: string } | null;
  /** A change that takes force when it is paid; until then all is as it was. */
  awaitingChange: {
    sku: string;
    quantity: number;
    /** From when on it counts once it is paid; the days left are those of then. */
    effectiveAt: string;
    /** From then on it is too late. */
    lapsesAt: string;
    /** What it asks for in all, before discount and tax. */
    amount: string;
    currency: string;
    /** The invoice that asks for it; null: it is not made yet. */
    invoiceId: string | null;
  } | null;
  /** Extra steps of the present period. */
  steps: Array<{ product: string; steps: number; units: string }>;
  coupon: string | null;
  metadata: Record<string, unknown>;
}

const FIND_BESIDE = `
select n.subscription_id::text as subscription_id,
       (select d.metadata::text from {schema}.subscription_details d
        where d.payer_id = n.payer_id and d.subscription_id = n.subscription_id) as metadata,
       (select d.cancel_reason from {schema}.subscription_details d
        where d.payer_id = n.payer_id and d.subscription_id = n.subscription_id) as cancel_reason,
       (select json_agg(json_build_array(t.product, t.steps, t.units) order by t.product)::text
        from (
          select t.product, sum(t.steps)::integer as steps, sum(t.steps * t.size)::text as units
          from {schema}.subscription_steps t
          where t.payer_id = n.payer_id and t.subscription_id = n.subscription_id
            and t.period_number = n.number
          group by t.product) as t) as steps
from ${NAMED.unnest()}`;

interface BesideRow {
  subscription_id: string;
  metadata: string | null;
  cancel_reason: string | null;
  steps: string | null;
}

/** What is over, or is cancelled before, never pauses. */
const isPauseShown = ({ cancelAt, endedAt }: StoredSubscription): boolean =>
  cancelAt === null && endedAt === null;

/** What goes out of a subscription as it is kept. */
export const keptOf = (one: StoredSubscription) => ({
  subscriptionId: one.subscriptionId,
  account: one.accountId,
  payer: one.payerId,
  sku: one.sku,
  version: one.version,
  quantity: one.quantity,
  status: one.status,
  currency: one.currency,
  collection: one.collection,
  collectedBy: one.collectedBy,
  renews: one.renews,
  startedAt: isoTime(one.startedAt),
  cancelAt: isoTime(one.cancelAt),
  pauseAt: isPauseShown(one) ? isoTime(one.pauseAt) : null,
  resumeAt: isPauseShown(one) ? isoTime(one.resumeAt) : null,
  endedAt: isoTime(one.endedAt),
  endReason: one.endReason,
  coupon: one.coupon,
});

/** What follows the present period. */
function nextOf(
  one: StoredSubscription,
  offer: Offer,
  change: QueuedChange | undefined,
  fresh: Offer | undefined,
): Subscription['next'] {
  const isLast =
    one.endedAt !== null ||
    one.status === 'paused' ||
    one.cancelAt !== null ||
    one.pauseAt !== null ||
    (!one.renews && one.periodNumber > 0);
  if (isLast) return null;
  const then =
    change === undefined || fresh === undefined
      ? { subscription: one, anew: false }
      : changedTo(one, fresh, change.quantity, offer);
  const { period } = nextPeriod(then.subscription, fresh ?? offer, one.anchorZone, {
    anew: then.anew,
  });
  return {
    sku: period.sku,
    quantity: period.quantity,
    price: formatMoney(period.fee, decimalsOfPrice(offer)),
    at: isoTime(one.periodEnd),
  };
}

const FIND_INVOICES = `
select distinct i.change_id::text as "changeId", i.invoice_id::text as "invoiceId"
from {schema}.pending_items i
where i.payer_id = any($1::uuid[]) and i.change_id = any($2::uuid[]) and i.invoice_id is not null`;

/** Changes that wait for their payment as they go out, by the ids of their subscriptions. */
async function awaitingOf(
  session: Session,
  all: readonly StoredSubscription[],
): Promise<Map<string, NonNullable<Subscription['awaitingChange']>>> {
  const changes = [...(await awaitingChanges(session, all)).values()];
  if (changes.length === 0) return new Map();
  const rows = await session.query<{ changeId: string; invoiceId: string }>(FIND_INVOICES, [
    changes.map(({ payerId }) => payerId),
    changes.map(({ changeId }) => changeId),
  ]);
  const invoices = new Map(rows.map(({ changeId, invoiceId }) => [changeId, invoiceId]));
  const currencies = new Map(all.map((one) => [one.subscriptionId, one.currency]));
  return new Map(
    changes.map(({ subscriptionId, changeId, amount, ...change }) => {
      const currency = currencies.get(subscriptionId)!;
      const record = {
        sku: change.sku,
        quantity: change.quantity,
        effectiveAt: isoTime(change.effectiveAt),
        lapsesAt: isoTime(change.lapsesAt),
        amount: formatMoney(amount, currencyDecimals(currency)!),
        currency,
        invoiceId: invoices.get(changeId) ?? null,
      };
      return [subscriptionId, record];
    }),
  );
}

/** Subscriptions as they go out, in the order given. */
export async function readSubscriptions(
  session: Session,
  all: readonly StoredSubscription[],
): Promise<Subscription[]> {
  if (all.length === 0) return [];
  const names = all.map(({ periodNumber, ...one }) => ({ ...one, number: periodNumber }));
  const rows = await session.query<BesideRow>(FIND_BESIDE, NAMED.values(names));
  const beside = new Map(rows.map((row) => [row.subscription_id, row]));
  const changes = await queuedChanges(session, all);
  const awaiting = await awaitingOf(session, all);
  const offers = new OfferVersions();
  await offers.load(session, [...all, ...changes.values()]);
  const records: Subscription[] = [];
  for (const one of all) {
    const offer = offers.of(one.sku, one.version);
    const change = changes.get(one.subscriptionId);
    const fresh = change === undefined ? undefined : offers.of(change.sku, change.version);
    const row = beside.get(one.subscriptionId)!;
    const steps = JSON.parse(row.steps ?? '[]') as Array<[string, number, string]>;
    records.push({
      ...keptOf(one),
      name: offer.name,
      price: formatMoney(feeOf(offer, null, one.quantity), decimalsOfPrice(offer)),
      interval: offer.interval!,
      bill: offer.collect?.bill ?? 'advance',
      trialPhase: one.phase,
      anchorAt: isoTime(one.anchorAt),
      period:
        one.periodNumber === 0
          ? null
          : {
              number: one.periodNumber,
              startsAt: isoTime(one.periodStart),
              endsAt: isoTime(one.periodEnd),
            },
      awaitingPayment: one.awaitingPayment,
      lapsesAt: isoTime(one.lapsesAt),
      overdue: one.overdue,
      // One that goes on after all is not cancelled any more.
      cancelReason: one.cancelAt === null && one.endedAt === null ? null : row.cancel_reason,
      next: nextOf(one, offer, change, fresh),
      awaitingChange: awaiting.get(one.subscriptionId) ?? null,
      steps: steps.map(([product, count, units]) => ({
        product,
        steps: count,
        units: formatUnits(new Decimal(units)),
      })),
      metadata: JSON.parse(row.metadata ?? '{}') as Record<string, unknown>,
    });
  }
  return records;
}

/** One subscription as it goes out. */
export async function readSubscription(
  session: Session,
  one: StoredSubscription,
): Promise<Subscription> {
  const [record] = await readSubscriptions(session, [one]);
  return record!;
}
