import { resolveAccount, type ResolvedAccount } from '../accounts';
import { postAll } from '../books';
import { DEFAULT_PRIORITY, decimalsOfCurrency, findOffer, findProducts } from '../catalog';
import { column, lockAccounts, table, type RowOf, type Session } from '../database';
import { Decimal, ZERO, isoTime, newId, parseLedgerId, round, type Instant } from '../kernel';
import { giveUnits, type GrantOrder } from '../ledger';
import { COMMISSIONS } from './commissions';
import { givenContent } from './offer-content';
import type { OrderRefund, PaidOrder } from './order-hooks';
import { FAMILY, referrersOf, type Referrer } from './referral-chain';
import { findProgram, type ReferralBonus, type ReferralProgram } from './referral-program';

/**
 * What referrals bring when an order is paid, and what goes back when it is refunded. In the order's
 * own transaction: an order is never paid without its commission, nor the other way around.
 */

/** To whom fees go that are commissions, in the money book. */
const FEES_OF = 'referrals';
type CommissionLine = RowOf<typeof COMMISSIONS>;

export const REFERRAL_SOURCE = 'referral';

const MARK_REWARDED = `
update {schema}.referrals set first_order_id = $2::uuid, first_paid_at = $3::timestamptz
where payer_id = $1::uuid and first_order_id is null
returning 1 as marked`;

const WRITE_BONUS = `
insert into {schema}.referral_bonuses
  (payer_id, referral_id, side, order_id, program_version, grant_sequences, created_at)
values ($1::uuid, $2::uuid, $3, $4::uuid, $5::integer, $6::bigint[], $7::timestamptz)`;

/** What each receiver has of an order: earned, and taken back so far. */
const RECEIVED = table('commissions', {
  payerId: column.uuid(),
  accountId: column.uuid(),
  referralId: column.uuid(),
  level: column.integer(),
  net: column.decimal(),
  percent: column.amount(),
  earned: column.decimal(),
  reversed: column.decimal(),
});

const FIND_COMMISSIONS = `
select ${RECEIVED.select('c')}
from (
  select payer_id, account_id, referral_id, level, max(net) as net, max(percent) as percent,
         sum(amount) filter (where kind = 'earned') as earned,
         coalesce(-sum(amount) filter (where kind = 'reversed'), 0) as reversed
  from {schema}.commissions
  where order_id = $2::uuid and (order_payer_id in (${FAMILY})
    -- Who paid may have got a parent since, with all that the order brought.
    or order_payer_id = (select o.payer_id from {schema}.orders o where o.order_id = $2::uuid))
  group by payer_id, account_id, referral_id, level) as c
order by c.level`;

async function currencyDecimalsOf(session: Session, currency: string): Promise<number> {
  const products = await findProducts(session, [currency]);
  return decimalsOfCurrency(currency, products, 'currency');
}

/**
 * Writes lines of commission, and posts them: the seller's fees are debited, what is owed to the
 * receiver is credited; the other way around below 0.
 */
async function writeCommissions(
  session: Session,
  lines: readonly CommissionLine[],
  at: Instant,
): Promise<void> {
  await COMMISSIONS.write(session, lines);
  await postAll(
    session,
    lines.map(({ payerId, currency, commissionId, amount }) => ({
      payerId,
      currency,
      at,
      kind: 'commission',
      reference: { type: 'commission', id: commissionId },
      legs: [
        { account: 'fees', gateway: FEES_OF, amount },
        { account: 'commission_payable', amount: amount.negated() },
      ],
    })),
  );
}

async function bonusOrders(
  session: Session,
  bonus: ReferralBonus,
  receiver: ResolvedAccount,
  now: Instant,
): Promise<GrantOrder[]> {
  if ('sku' in bonus) {
    const gift = { quantity: bonus.quantity, source: REFERRAL_SOURCE };
    return givenContent(await findOffer(session, bonus.sku), receiver, gift, now);
  }
  return [
    {
      product: bonus.product,
      quantity: new Decimal(bonus.quantity),
      priority: DEFAULT_PRIORITY,
      ends: bonus.expiresAfter === null ? null : { after: bonus.expiresAfter },
      value: ZERO,
      currency: null,
      source: REFERRAL_SOURCE,
    },
  ];
}

/** Gives one side's bonus. A closed account gets nothing. */
async function giveBonus(
  session: Session,
  side: 'referrer' | 'referred',
  accountId: string,
  bonus: ReferralBonus | null,
  reason: { referral: Referrer; order: PaidOrder; program: ReferralProgram },
  now: Instant,
): Promise<void> {
  if (bonus === null) return;
  const receiver = await resolveAccount(session, { accountId });
  if (receiver.status === 'closed' || receiver.payerStatus === 'closed') return;
  const orders = await bonusOrders(session, bonus, receiver, now);
  const grants = await giveUnits(session, receiver, orders, now);
  await session.query(WRITE_BONUS, [
    receiver.payerId,
    reason.referral.referralId,
    side,
    reason.order.orderId,
    reason.program.version,
    grants.map((grant) => parseLedgerId(grant.grantId)!.sequence),
    isoTime(now),
  ]);
}

async function earnCommission(
  session: Session,
  referrers: readonly Referrer[],
  order: PaidOrder,
  program: ReferralProgram,
  now: Instant,
): Promise<void> {
  if (program.commission === null) return;
  const decimals = await currencyDecimalsOf(session, order.currency);
  const lines: CommissionLine[] = [];
  for (const [index, percent] of program.commission.levels.entries()) {
    const referrer = referrers[index];
    if (referrer === undefined) break;
    const receiver = await resolveAccount(session, { accountId: referrer.referrerId });
    if (receiver.status === 'closed') continue;
    // Down: all levels together never come to more than their percentages.
    const earned = round(order.net.times(percent).dividedBy(100), decimals, 'down');
    if (earned.isZero()) continue;
    lines.push({
      payerId: receiver.payerId,
      commissionId: newId(),
      accountId: receiver.accountId,
      referralId: referrer.referralId,
      orderPayerId: order.payerId,
      orderId: order.orderId,
      level: index + 1,
      kind: 'earned',
      refundId: null,
      currency: order.currency,
      net: order.net,
      percent,
      amount: earned,
      createdAt: isoTime(now),
    });
  }
  await writeCommissions(session, lines, now);
}

/**
 * An order was paid: bonuses if it is the first one, and commission. An order of 0 is none that was
 * paid. The receivers are locked: the order's own call has locked them with its payer
 * (payersToLockForOrder); asked for again, a lock that is held costs nothing.
 */
export async function rewardReferral(
  session: Session,
  order: PaidOrder,
  now: Instant,
): Promise<void> {
  if (order.total.isZero()) return;
  const referrers = await referrersOf(session, order.payerId);
  const referral = referrers[0];
  if (referral === undefined) return;
  const receivers = referrers.map((referrer) => referrer.referrerPayerId);
  await lockAccounts(session, receivers);
  const program = await findProgram(session);
  const marks = [referral.rowPayerId, order.orderId, isoTime(now)];
  const marked = await session.query(MARK_REWARDED, marks);
  if (program?.active !== true) return;
  if (marked.length > 0 && order.isFirst) {
    const reason = { referral, order, program };
    await giveBonus(session, 'referrer', referral.referrerId, program.referrerBonus, reason, now);
    await giveBonus(session, 'referred', order.accountId, program.referredBonus, reason, now);
  }
  if (order.net.greaterThan(0)) await earnCommission(session, referrers, order, program, now);
}

/** An order was refunded: commission goes back in proportion, all of it when all was refunded. */
export async function reverseCommission(
  session: Session,
  order: PaidOrder,
  refund: OrderRefund,
  now: Instant,
): Promise<void> {
  const received = await RECEIVED.rows(session, FIND_COMMISSIONS, [order.payerId, order.orderId]);
  if (received.length === 0) return;
  const decimals = await currencyDecimalsOf(session, order.currency);
  const part = Decimal.min(refund.part, 1);
  const lines = received.flatMap(({ earned, reversed, ...row }): CommissionLine[] => {
    // From the whole each time, so that many small refunds come to what one large one does.
    const back = round(earned.times(part), decimals).minus(reversed);
    if (back.lessThanOrEqualTo(0)) return [];
    return [
      {
        ...row,
        commissionId: newId(),
        orderPayerId: order.payerId,
        orderId: order.orderId,
        kind: 'reversed',
        refundId: refund.refundId,
        currency: order.currency,
        amount: back.negated(),
        createdAt: isoTime(now),
      },
    ];
  });
  await writeCommissions(session, lines, now);
}
