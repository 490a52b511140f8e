import { inTerms, leftInTerms, leftToGiveBack, type SoldLine } from '../books';
import { column, table, type Session } from '../database';
import { Decimal, ONE, ZERO, type Instant } from '../kernel';
import {
  addCredits,
  addPendingItems,
  creditsOfChange,
  dropPendingItems,
  findFee,
  type FeeOfPeriod,
  type NewCredit,
} from './pending-items';
import type { OpenPeriod, PeriodName } from './stored-period';
import { takePart } from './proration';
import type { StoredSubscription, SubscriptionName } from './stored-subscription';

/** Periods that end before their time: what they were paid for is given back for the days left. */

/** A period as it was sold. */
export interface SoldPeriod {
  /** The line of the order or the issued invoice, with what is left to give back of it. */
  line: SoldLine;
  /** Nothing of it is left to pay. */
  isPaid: boolean;
}

/** How a period stands that was invoiced; `given_up`: what it asks for was written off. */
export type InvoicedStanding = 'paid' | 'open' | 'given_up';

/** What later rooms know of a period: what it was invoiced for. */
export interface PeriodPorts {
  /** The line of an issued invoice, neither void nor written off, that asks for a period; or null. */
  invoiced(session: Session, period: PeriodName): Promise<SoldPeriod | null>;
  /** Of a subscription how the periods stand that issued invoices, none of them void, ask for, by number. */
  standing(
    session: Session,
    subscription: SubscriptionName,
  ): Promise<Map<number, InvoicedStanding>>;
  /**
   * Takes an item off the draft that it is on, so that it waits as before.
   *
   * @returns whether it was on one
   */
  freeFromDraft(session: Session, item: { payerId: string; itemId: string }): Promise<boolean>;
}

/** What they do for changes that wait for their payment, too. */
export interface SubscriptionPorts extends PeriodPorts {
  /**
   * Takes back the invoices of changes that lapsed, in the names of some payers, which are locked.
   *
   * @returns whether one is left since it is being charged
   */
  withdrawLapsed(session: Session, payerIds: readonly string[], now: Instant): Promise<boolean>;
  /**
   * Of subscriptions of a payer those that owe what was not paid in time, and until when that is borne.
   * The payer is locked.
   */
  stillFailing(
    session: Session,
    payerId: string,
    subscriptionIds: readonly string[],
  ): Promise<ReadonlyMap<string, Instant>>;
}

/** For an engine without the room of invoices. */
export const NO_INVOICES: SubscriptionPorts = {
  invoiced: () => Promise.resolve(null),
  standing: () => Promise.resolve(new Map()),
  freeFromDraft: () => Promise.resolve(false),
  withdrawLapsed: () => Promise.resolve(false),
  stillFailing: () => Promise.resolve(new Map()),
};

const ORDER_LINES = table('order_items', {
  payerId: column.uuid(),
  documentId: column.uuid().named('order_id'),
  position: column.integer(),
  net: column.decimal(),
  tax: column.decimal(),
  inclusive: column.flag(),
});

/** Orders stand under the name that their payer had. */
const FIND_ORDER_LINE = `
select ${ORDER_LINES.select('f')}
from (
  select i.payer_id, i.order_id, i.position, i.net, i.tax,
         coalesce(o.tax_inclusive, false) as inclusive
  from {schema}.order_periods p
  join {schema}.orders o on o.order_id = p.order_id
  join {schema}.order_items i on i.payer_id = o.payer_id and i.order_id = o.order_id
    and i.position = p.position
  where p.payer_id = $1::uuid and p.subscription_id = $2::uuid
    and p.period_number = $3::integer) as f`;

/**
 * What a period was sold for, by an order or on an issued invoice, and what of that has not come back.
 * Null: nothing is asked for it, or not yet. The payer is locked.
 */
export async function soldPeriod(
  session: Session,
  ports: PeriodPorts,
  { payerId, subscriptionId }: StoredSubscription,
  number: number,
): Promise<SoldPeriod | null> {
  const name = [payerId, subscriptionId, number];
  const ordered = await ORDER_LINES.rows(session, FIND_ORDER_LINE, name);
  if (ordered.length === 0) return ports.invoiced(session, { payerId, subscriptionId, number });
  const sold = ordered.map((line) => ({ ...line, soldBy: 'order' as const }));
  const [line] = await leftToGiveBack(session, sold);
  return { line: line!, isPaid: true };
}

/** The fee of a period, where it still waits: one that is on a draft is taken off it. */
export async function waitingFee(
  session: Session,
  ports: PeriodPorts,
  subscription: StoredSubscription,
  number: number,
): Promise<FeeOfPeriod | null> {
  const fee = await findFee(session, subscription, number);
  if (fee === null || !fee.isTaken) return fee;
  return (await ports.freeFromDraft(session, fee)) ? { ...fee, isTaken: false } : null;
}

/** What is given back of periods. */
export interface GivenBack {
  /** The part of each period, by its number. */
  credited: ReadonlyMap<number, Decimal>;
  /** Of the currency. */
  decimals: number;
  /** An invoice that is still to be paid counts for nothing, not as paid. */
  onlyPaid?: boolean;
  /** When credits are invoiced; default now. */
  dueAt?: Instant;
}

/** A fee that waits, and what is left of it when its period is over before its time. */
interface LoweredFee {
  fee: FeeOfPeriod;
  amount: Decimal;
  serviceTo: Instant;
}

/**
 * The fees of periods that still wait, each with what is left of it, and the periods without one; those on
 * drafts are taken off these. The payer is locked.
 */
export async function waitingFees(
  session: Session,
  ports: PeriodPorts,
  subscription: StoredSubscription,
  periods: readonly OpenPeriod[],
  { credited, decimals }: Pick<GivenBack, 'credited' | 'decimals'>,
  now: Instant,
): Promise<{ lowered: LoweredFee[]; sold: OpenPeriod[] }> {
  const lowered: LoweredFee[] = [];
  const sold: OpenPeriod[] = [];
  for (const period of periods) {
    const fee = await waitingFee(session, ports, subscription, period.number);
    if (fee === null) {
      sold.push(period);
      continue;
    }
    const part = credited.get(period.number) ?? ZERO;
    const amount = fee.amount.minus(takePart(fee.amount, part, decimals));
    lowered.push({ fee, amount, serviceTo: Math.max(now, period.startsAt) });
  }
  return { lowered, sold };
}

/** Lowers fees where they wait; nothing is asked for where nothing is left. The payer is locked. */
export async function lowerFees(
  session: Session,
  { payerId }: StoredSubscription,
  lowered: readonly LoweredFee[],
  now: Instant,
): Promise<void> {
  const itemIds = lowered.map(({ fee }) => fee.itemId);
  await dropPendingItems(session, payerId, itemIds, now);
  await addPendingItems(
    session,
    lowered.flatMap(({ fee, amount, serviceTo }) =>
      amount.isZero() ? [] : [{ ...fee, amount, serviceTo }],
    ),
    now,
  );
}

/**
 * Gives back parts of what periods cost. What is on no issued invoice yet is lowered where it
 * waits; of what is, a credit goes on the next one. An invoice that is still to be paid counts as paid,
 * since it goes on being collected, unless `onlyPaid` says otherwise.
 *
 * @returns the numbers of those of which something goes back
 */
export async function giveBackRest(
  session: Session,
  ports: PeriodPorts,
  subscription: StoredSubscription,
  periods: readonly OpenPeriod[],
  of: GivenBack,
  now: Instant,
): Promise<Set<number>> {
  const { lowered, sold } = await waitingFees(session, ports, subscription, periods, of, now);
  const credits = await soldCredits(session, ports, subscription, sold, of, now);
  const given = new Set(lowered.map(({ fee }) => fee.periodNumber!));
  for (const { item } of credits) given.add(item.periodNumber!);
  await lowerFees(session, subscription, lowered, now);
  await addCredits(session, credits, of.decimals, now);
  return given;
}

const creditItem = (
  { payerId, subscriptionId, accountId, currency }: StoredSubscription,
  { number, sku, version, startsAt, endsAt }: OpenPeriod,
  { dueAt }: Pick<GivenBack, 'dueAt'>,
  now: Instant,
): NewCredit['item'] => ({
  payerId,
  accountId,
  subscriptionId,
  periodNumber: number,
  sku,
  version,
  quantity: ONE,
  currency,
  serviceFrom: Math.max(now, startsAt),
  serviceTo: endsAt,
  dueAt: dueAt ?? now,
});

/** Credits for parts of periods that were sold by an order or an issued invoice; nothing is written. */
export async function soldCredits(
  session: Session,
  ports: PeriodPorts,
  subscription: StoredSubscription,
  periods: readonly OpenPeriod[],
  of: GivenBack,
  now: Instant,
): Promise<NewCredit[]> {
  const credits: NewCredit[] = [];
  for (const period of periods) {
    const { number } = period;
    const sold = await soldPeriod(session, ports, subscription, number);
    if (sold === null || (of.onlyPaid === true && !sold.isPaid)) continue;
    const part = of.credited.get(number) ?? ZERO;
    // A part of all that it was sold for: whatever came back by other ways, and in whatever order.
    const { line } = sold;
    const amount = Decimal.min(takePart(inTerms(line, line), part, of.decimals), leftInTerms(line));
    if (!amount.greaterThan(0)) continue;
    credits.push({ item: creditItem(subscription, period, of, now), amount, line });
  }
  return credits;
}

/**
 * A change gave back on its invoice what was used before that was paid: so much of it is asked for again,
 * on the next invoice, as the line was taxed.
 *
 * @param lowered the periods of which less goes back than was given
 */
export async function takeBackCredits(
  session: Session,
  ports: PeriodPorts,
  subscription: StoredSubscription,
  lowered: { change: { payerId: string; changeId: string }; periods: readonly OpenPeriod[] },
  of: GivenBack,
  now: Instant,
): Promise<void> {
  if (lowered.periods.length === 0) return;
  const given = await creditsOfChange(session, lowered.change);
  const credits: NewCredit[] = [];
  for (const period of lowered.periods) {
    const back = given.get(period.number);
    const sold = await soldPeriod(session, ports, subscription, period.number);
    if (back === undefined || sold === null || sold.line.documentId !== back.documentId) continue;
    const line = { ...sold.line, left: { net: back.net, tax: back.tax } };
    const stays = takePart(inTerms(line, line), of.credited.get(period.number)!, of.decimals);
    const amount = Decimal.min(stays.minus(leftInTerms(line)), ZERO);
    if (!amount.isZero())
      credits.push({ item: creditItem(subscription, period, of, now), amount, line });
  }
  await addCredits(session, credits, of.decimals, now);
}

/** Takes back what periods of some numbers cost, as far as it is on no invoice yet. The payer is locked. */
export async function dropFees(
  session: Session,
  subscription: StoredSubscription,
  numbers: readonly number[],
  now: Instant,
): Promise<void> {
  const waiting: string[] = [];
  for (const number of numbers) {
    const item = await findFee(session, subscription, number);
    if (item?.isTaken === false) waiting.push(item.itemId);
  }
  await dropPendingItems(session, subscription.payerId, waiting, now);
}
