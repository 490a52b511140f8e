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
  type ChangeOptions,
  type DenialReason,
  type Instant,
} from '../kernel';
import { changeOfSubscription, subscriptionIdInput, wrongState } from './change-of-subscription';
import { addPendingItems } from './pending-items';
import { stepsBrought } from './period-grants';
import { SUBSCRIPTION_SOURCE, giveUnitsOfPeriods } from './period-units';
import type { Standing } from './planning';
import { readSubscription, type Subscription } from './reading';
import { saveDetails } from './records';
import { reasonOfStatus } from './starting';
import { isInForce } from './stored-subscription';

export interface AddStepsRequest extends ChangeOptions {
  subscriptionId: string;
  /** A product of the offer that is sold in steps. */
  product: string;
  /** How many steps more, for the present period. */
  steps: number | string;
}

export type AddStepsAnswer = Subscription & {
  allowed: boolean;
  reason: DenialReason | null;
  replayed: boolean;
};

const MAX_STEPS = 1_000_000;

const addStepsInput = input({
  subscriptionId: subscriptionIdInput(),
  product: key(),
  steps: integer(1, MAX_STEPS),
  ...changeFields,
});

const STEPS = table('subscription_steps', {
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

export class Steps {
  constructor(private readonly context: Context) {}

  /**
   * Buys extra units on top of the present period, by steps of the offer's item: there at once, gone
   * with the period (unless the item is one that does not come anew with each), and on the invoice at
   * the period's end.
   *
   * @returns the subscription; or `allowed: false` with `payment_overdue`, `account_suspended`,
   *   `account_closed`
   * @throws invalid_input (the product is none of the offer, or not sold in steps),
   *   unknown_subscription, subscription_state (it is not in force), idempotency_conflict
   */
  async addSteps(request: AddStepsRequest): Promise<AddStepsAnswer> {
    const { subscriptionId, idempotencyKey, metadata, tx, ...wanted } = parse(
      addStepsInput,
      request,
    );
    const { answer, replayed } = await changeOfSubscription(
      this.context,
      { kind: 'addSteps', subscriptionId, request: wanted, idempotencyKey, tx },
      async (session, standing, now) => {
        const reason = await this.add(session, standing, wanted, now);
        const { subscription } = standing;
        if (reason === null) await saveDetails(session, subscription, { metadata });
        const record = await readSubscription(session, subscription);
        return { allowed: reason === null, reason, ...record };
      },
    );
    return { ...answer, replayed };
  }

  private async add(
    session: Session,
    { subscription, receiver }: Standing,
    wanted: { product: string; steps: number },
    now: Instant,
  ): Promise<DenialReason | null> {
    const { payerId, subscriptionId, accountId, status, currency, periodNumber } = subscription;
    if (!isInForce(subscription)) {
      throw wrongState(subscriptionId, status, 'steps are added to one that is in force');
    }
    const refused = reasonOfStatus(await resolveAccount(session, { accountId }));
    if (refused !== null) return refused;
    if (subscription.overdue) return 'payment_overdue';

    const offer = await findOfferVersion(session, subscription.sku, subscription.version);
    const item = itemInSteps(offer, wanted.product);
    const { size, price } = item.step!;
    const count = new Decimal(wanted.steps);
    const [itemId] = await addPendingItems(
      session,
      [
        {
          payerId,
          accountId,
          kind: 'step',
          subscriptionId,
          periodNumber,
          sku: offer.sku,
          version: offer.version,
          product: item.product,
          quantity: count,
          unitPrice: new Decimal(price),
          amount: count.times(price),
          currency,
          serviceFrom: now,
          serviceTo: subscription.periodEnd,
          dueAt: subscription.periodEnd,
        },
      ],
      now,
    );
    const { product } = item;
    const { steps } = wanted;
    const bought = { stepId: newId(), periodNumber, product, steps, size, price, addedAt: now };
    await STEPS.write(session, [{ payerId, subscriptionId, itemId: itemId!, ...bought }]);
    const period = { payerId, subscriptionId, number: periodNumber };
    const position = (await stepsBrought(session, period)) + 1;
    const order = {
      product: item.product,
      quantity: count.times(size),
      priority: item.priority,
      ends: item.refill ? { at: subscription.periodEnd } : null,
      value: ZERO,
      currency: null,
      source: SUBSCRIPTION_SOURCE,
      sku: offer.sku,
      offerVersion: offer.version,
    };
    const units = [{ kind: 'step' as const, position, order }];
    await giveUnitsOfPeriods(session, [{ receiver, period, units }], now);
    return null;
  }
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
