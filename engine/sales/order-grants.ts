import type { ResolvedAccount } from '../accounts';
import { findProducts, findSinglePrices, type Offer } from '../catalog';
import { column, table, type RowOf, type Session } from '../database';
import {
  Decimal,
  ZERO,
  addDuration,
  isoTime,
  parseLedgerId,
  type Duration,
  type Instant,
} from '../kernel';
import { endGrants, giveUnits, shareValue, type GrantEnd, type GrantRecord } from '../ledger';
import { bringsUnits, lifeOf, priorityIn } from './offer-content';
import type { StoredLine, StoredOrder } from './order-records';

/** What a line of an order brings: a grant for each item, and one for each bonus. */

/** Something a line brings, before it is given. */
interface Brought {
  position: number;
  product: string;
  quantity: Decimal;
  priority: number;
  ends: GrantEnd;
  value: Decimal;
  bonus: boolean;
  sku: string;
  offerVersion: number;
  /** It ends when the account pays for the product again, `lead` after; undefined: it does not. */
  untilNextPayment?: { lead: Duration | null };
}

const ORDER_GRANTS = table('order_grants', {
  payerId: column.uuid(),
  orderId: column.uuid(),
  ledgerId: column.uuid(),
  position: column.integer(),
  sequence: column.sequence().named('grant_sequence'),
  product: column.text(),
  bonus: column.flag(),
  untilNextPayment: column.flag(),
  leadUnit: column.text<Duration['unit']>().orNull,
  leadCount: column.integer().orNull,
});
const MADE = ORDER_GRANTS.pick('position', 'ledgerId', 'sequence', 'product', 'bonus');

/** A grant that an order made. */
export type OrderGrant = RowOf<typeof MADE>;

const FIND_ORDER_GRANTS = `
select ${MADE.select('o')} from {schema}.order_grants o
where o.payer_id = $1::uuid and o.order_id = $2::uuid
order by o.position, o.grant_sequence`;

/**
 * Grants in force that end when a product is paid for again, by the numbers they have after merges.
 * Read under the ledger's lock, so that none is added meanwhile.
 */
const FIND_UNTIL_NEXT_PAYMENT = `
with recursive waiting as (
  select o.ledger_id, o.grant_sequence, o.lead_unit, o.lead_count
  from {schema}.order_grants o
  where o.ledger_id in (
      select account_id from {schema}.accounts where account_id = $1::uuid or merged_into = $1::uuid)
    and o.product = any($2::text[]) and o.until_next_payment
  union all
  select p.other_payer_id, p.other_sequence, w.lead_unit, w.lead_count
  from waiting w
  join {schema}.entry_pairs p
    on p.payer_id = w.ledger_id and p.grant_sequence = w.grant_sequence and p.kind = 'merge'
)
select w.grant_sequence::text as sequence, w.lead_unit, w.lead_count
from waiting w
join {schema}.grants g on g.payer_id = w.ledger_id and g.sequence = w.grant_sequence
where w.ledger_id = $1::uuid and g.ended_at is null
  and (g.expires_at is null or g.expires_at > $3::timestamptz)
order by w.grant_sequence`;

/** The items of a line with how long they last, before money is shared among them. */
function itemsOf(
  offer: Offer,
  line: StoredLine,
): Array<Omit<Brought, 'value'> & { share: string | null }> {
  const common = {
    position: line.position,
    bonus: false,
    sku: offer.sku,
    offerVersion: offer.version,
  };
  if (line.phase !== null) {
    const phase = offer.trialPhases[line.phase - 1]!;
    return phase.items.map((item) => ({
      ...common,
      product: item.product,
      quantity: new Decimal(item.quantity).times(line.quantity),
      priority: priorityIn(offer, item.product),
      ends: { after: phase.length },
      share: offer.items.find(({ product }) => product === item.product)?.share ?? null,
    }));
  }
  return offer.items.filter(bringsUnits).map((item) => {
    // One that lasts until the next payment lasts no shorter for being of a period.
    const life = item.expiresAtNextPayment ? item.expiresAfter : lifeOf(offer, item);
    return {
      ...common,
      product: item.product,
      quantity: new Decimal(item.quantity).times(line.quantity),
      priority: item.priority,
      ends: life === null ? null : { after: life, lead: item.leadTime },
      share: item.share,
      ...(item.expiresAtNextPayment && { untilNextPayment: { lead: item.leadTime } }),
    };
  });
}

/** Bonuses of each package, worth nothing. A trial phase brings none: they come with the offer itself. */
function bonusesOf(offer: Offer, line: StoredLine): Brought[] {
  if (line.phase !== null) return [];
  return offer.bonuses.map((bonus) => ({
    position: line.position,
    product: bonus.product,
    quantity: new Decimal(bonus.quantity).times(line.quantity),
    priority: bonus.priority,
    ends: bonus.expiresAfter === null ? null : { after: bonus.expiresAfter },
    value: ZERO,
    bonus: true,
    sku: offer.sku,
    offerVersion: offer.version,
  }));
}

/** The offers of an order's lines, by position, and when the periods end that they pay for. */
export interface Ordered {
  offers: ReadonlyMap<number, Offer>;
  /** Only of recurring offers. */
  ends: ReadonlyMap<number, Instant>;
}

/**
 * Units that would end with a period from now end with the one that is paid for, which may be later
 * where one in force is extended. Access by time extends itself.
 */
async function endWithPeriods(
  session: Session,
  brought: readonly Brought[],
  { offers, ends }: Ordered,
  zone: string,
): Promise<Brought[]> {
  const products = await findProducts(session, [...new Set(brought.map(({ product }) => product))]);
  return brought.map((one) => {
    const end = ends.get(one.position);
    const offer = offers.get(one.position)!;
    const item = offer.items.find(({ product }) => product === one.product);
    const isOfPeriod =
      end !== undefined &&
      !one.bonus &&
      one.ends !== null &&
      item?.expiresAfter == null &&
      item?.expiresAtNextPayment !== true &&
      products.get(one.product)!.kind !== 'period';
    if (!isOfPeriod) return one;
    const lead = 'lead' in one.ends! ? (one.ends.lead ?? null) : null;
    return { ...one, ends: { at: lead === null ? end : addDuration(end, lead, zone) } };
  });
}

/** All that an order brings; the net amount of each line is the value of what it brings. */
async function broughtBy(
  session: Session,
  order: StoredOrder,
  offers: ReadonlyMap<number, Offer>,
): Promise<Brought[]> {
  const items = order.lines.map((line) => itemsOf(offers.get(line.position)!, line));
  const products = items.flat().map(({ product }) => product);
  const prices = await findSinglePrices(session, products, order.currency);
  return order.lines.flatMap((line, index) => {
    const ofLine = items[index]!;
    const values = shareValue(
      ofLine.map(({ product, quantity, share }) => ({
        share: share === null ? null : new Decimal(share),
        price: prices.get(product)?.times(quantity) ?? null,
      })),
      line.net,
      order.decimals,
    );
    const valued = ofLine.map(({ share: _share, ...item }, at) => ({
      ...item,
      value: values[at]!,
    }));
    return [...valued, ...bonusesOf(offers.get(line.position)!, line)];
  });
}

/** Ends what was to last until the products are paid for again. */
async function endUntilNextPayment(
  session: Session,
  account: ResolvedAccount,
  products: readonly string[],
  now: Instant,
): Promise<void> {
  const rows = await session.query<{
    sequence: string;
    lead_unit: Duration['unit'] | null;
    lead_count: number | null;
  }>(FIND_UNTIL_NEXT_PAYMENT, [account.payerId, products, isoTime(now)]);
  const ends = rows.map(({ sequence, lead_unit: unit, lead_count: count }) => ({
    payerId: account.payerId,
    sequence: BigInt(sequence),
    at: unit === null || count === null ? now : addDuration(now, { unit, count }, account.timeZone),
  }));
  await endGrants(session, ends, now);
}

/**
 * Gives what an order brings, once it is paid. The payer must be locked.
 *
 * @param ordered the versions that were ordered, by position
 */
export async function giveOrder(
  session: Session,
  order: StoredOrder,
  account: ResolvedAccount,
  ordered: Ordered,
  now: Instant,
): Promise<GrantRecord[]> {
  const all = await broughtBy(session, order, ordered.offers);
  const brought = await endWithPeriods(session, all, ordered, account.timeZone);
  const products = [...new Set(brought.map(({ product }) => product))];
  await endUntilNextPayment(session, account, products, now);
  const grants = await giveUnits(
    session,
    account,
    brought.map(({ position: _position, bonus: _bonus, untilNextPayment: _until, ...one }) => ({
      ...one,
      currency: one.value.isZero() ? null : order.currency,
      source: `order ${order.orderId}`,
    })),
    now,
  );
  await ORDER_GRANTS.write(
    session,
    brought.map(({ position, product, bonus, untilNextPayment }, index) => ({
      payerId: order.payerId,
      orderId: order.orderId,
      ledgerId: account.payerId,
      position,
      sequence: BigInt(parseLedgerId(grants[index]!.grantId)!.sequence),
      product,
      bonus,
      untilNextPayment: untilNextPayment !== undefined,
      leadUnit: untilNextPayment?.lead?.unit ?? null,
      leadCount: untilNextPayment?.lead?.count ?? null,
    })),
  );
  return grants;
}

/** The grants that an order made, in order. */
export const findOrderGrants = (
  session: Session,
  { payerId, orderId }: Pick<StoredOrder, 'payerId' | 'orderId'>,
): Promise<OrderGrant[]> => MADE.rows(session, FIND_ORDER_GRANTS, [payerId, orderId]);
