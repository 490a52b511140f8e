import { resolveAccount } from '../accounts';
import { findOfferVersion, type Offer, type OfferItem } from '../catalog';
import { column, table, type Context, type Session } from '../database';
import {
  BillingError,
  Decimal,
  ZERO,
  changeFields,
  input,
  integer,
  key,
  newId,
  parse,
  recordId,
  type DenialReason,
  type Instant,
  type RequestOf,
} from '../kernel';
import { statusReason } from '../sales';
import { deniableChange, wrongState, type ChangedAnswer } from './change-of-subscription';
import type { PeriodPorts } from './giving-back';
import { addPendingItems } from './pending-items';
import { stepsBrought } from './period-grants';
import { SUBSCRIPTION_SOURCE, giveUnitsOfPeriods } from './period-units';
import type { Standing } from './planning';
import { isInForce } from './stored-subscription';

export type AddStepsAnswer = ChangedAnswer;

const MAX_STEPS = 1_000_000;

const addStepsInput = input({
  subscriptionId: recordId(),
  /** A product of the offer that is sold in steps. */
  product: key(),
  /** How many steps more, for the present period. */
  steps: integer(1, MAX_STEPS),
  ...changeFields,
});
export type AddStepsRequest = RequestOf<typeof addStepsInput>;

export const STEPS = table('subscription_steps', {
  payerId: column.uuid(),
  subscriptionId: column.uuid(),
  stepId: column.uuid(),
  periodNumber: column.integer(),
  product: column.text(),
  steps: column.integer(),
  size: column.amount(),
  price: column.amount(),
  itemId: column.uuid(),
  addedAt: column.instant(),
});

const SIZES = STEPS.pick('itemId', 'size');
const READ_SIZES = `
select ${SIZES.select('t')} from {schema}.subscription_steps t
where t.payer_id = any($1::uuid[]) and t.item_id = any($2::uuid[])`;

/** @returns the units that a step brought, by the item that bills it */
export async function sizesOfSteps(
  session: Session,
  payerIds: readonly string[],
  itemIds: readonly string[],
): Promise<Map<string, string>> {
  if (itemIds.length === 0) return new Map();
  const rows = await SIZES.rows(session, READ_SIZES, [payerIds, itemIds]);
  return new Map(rows.map(({ itemId, size }) => [itemId, size]));
}

export class Steps {
  constructor(
    private readonly context: Context,
    private readonly ports: PeriodPorts,
  ) {}

  /**
   * Buys extra units on top of the present period, by steps of the offer's item: there at once, gone
   * with the period (unless the item is one that does not come anew with each), and on the invoice at
   * the period's end.
   *
   * @returns the subscription; or `allowed: false` with `payment_overdue`, `account_suspended`,
   *   `account_closed`
   * @throws invalid_input (the product is none of the offer, or not sold in steps),
   *   unknown_subscription, subscription_state (it is not in force, or its first payment is awaited),
   *   idempotency_conflict
   */
  async addSteps(request: AddStepsRequest): Promise<AddStepsAnswer> {
    const wanted = parse(addStepsInput, request);
    return deniableChange(this.context, this.ports, 'addSteps', wanted, (session, standing, now) =>
      add(session, standing, wanted, now),
    );
  }
}

/** Why steps are denied; null: they are there. */
async function add(
  session: Session,
  { subscription, receiver }: Standing,
  wanted: { product: string; steps: number },
  now: Instant,
): Promise<DenialReason | null> {
  const { payerId, subscriptionId, accountId, currency, periodNumber, periodEnd } = subscription;
  if (!isInForce(subscription)) {
    throw wrongState(subscription, 'steps are added to one that is in force');
  }
  if (subscription.firstUnpaid) {
    throw wrongState(
      subscription,
      'its first period is not paid yet',
      'Collect its invoice first.',
    );
  }
  const refused = statusReason(await resolveAccount(session, { accountId }));
  if (refused !== null) return refused;
  if (subscription.overdue) return 'payment_overdue';

  const offer = await findOfferVersion(session, subscription.sku, subscription.version);
  const { sku, version } = offer;
  const { product, priority, refill, step } = itemInSteps(offer, wanted.product);
  const { size, price } = step!;
  const { steps } = wanted;
  const count = new Decimal(steps);
  const name = { payerId, subscriptionId, periodNumber };
  const [itemId] = await addPendingItems(
    session,
    [
      {
        ...name,
        accountId,
        kind: 'step',
        sku,
        version,
        product,
        quantity: count,
        unitPrice: new Decimal(price),
        amount: count.times(price),
        currency,
        serviceFrom: now,
        serviceTo: periodEnd,
        dueAt: periodEnd,
      },
    ],
    now,
  );
  const bought = { stepId: newId(), itemId: itemId!, product, steps, size, price, addedAt: now };
  await STEPS.write(session, [{ ...name, ...bought }]);
  const period = { payerId, subscriptionId, number: periodNumber };
  const position = (await stepsBrought(session, period)) + 1;
  const order = {
    product,
    quantity: count.times(size),
    priority,
    ends: refill ? { at: periodEnd } : null,
    value: ZERO,
    currency: null,
    source: SUBSCRIPTION_SOURCE,
    sku,
    offerVersion: version,
  };
  const units = [{ kind: 'step' as const, position, order }];
  await giveUnitsOfPeriods(session, [{ receiver, period, units }], now);
  return null;
}

/** @throws invalid_input */
function itemInSteps(offer: Offer, product: string): OfferItem {
  const items = offer.items.filter((item) => item.product === product);
  const item = items.find(({ step }) => step !== null);
  if (item !== undefined) return item;
  throw new BillingError(
    'invalid_input',
    items.length === 0
      ? `Offer ${offer.sku} has no product "${product}".`
      : `Offer ${offer.sku} does not sell ${product} in steps.`,
    { parameter: 'product', advice: 'Give the item of the offer a step: { size, price }.' },
  );
}
