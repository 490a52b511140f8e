import { countedWith, resolveAccounts, changeOfAccount, type ResolvedAccount } from '../accounts';
import {
  ACCESS,
  findOffer,
  findOfferVersion,
  keepCoupon,
  reserveCoupon,
  type Coupon,
  type Offer,
} from '../catalog';
import type { Session } from '../database';
import {
  BillingError,
  accountReference,
  addDuration,
  changeFields,
  currencyDecimals,
  flag,
  input,
  instant,
  integer,
  invalidInput,
  key,
  newId,
  oneOf,
  parse,
  type DenialReason,
  type Instant,
  type RequestOf,
  type z,
} from '../kernel';
import { usualCollections, type PaymentContext } from '../payments';
import { refusalOf, statusReason, placesOf, takePlaces, takenPlaces, type Trying } from '../sales';
import { advancePayers } from './advancing';
import { requireUpToDate } from './brake';
import { readStandings } from './standings';
import { beginSubscription, extendSubscription } from './beginning';
import { wrongState } from './change-of-subscription';
import type { PeriodPorts } from './giving-back';
import type { Standing } from './planning';
import { followsFrom, isOverBy, lastToFollow, planInForce } from './plans-in-force';
import { findSubscription, liveSubscriptions, saveDetails } from './records';
import type { Replaced } from './replaced';
import type { StoredSubscription } from './stored-subscription';
import { readSubscription, type Subscription } from './reading';

export interface DeniedSubscription {
  allowed: false;
  reason: DenialReason;
  subscriptionId: null;
  replayed: boolean;
}

/** A subscription that began, or the one in force that a start changed or made longer. */
type StartedSubscription = Subscription & {
  allowed: true;
  reason: null;
  /** It was there with another plan, and becomes this one: now, when that is paid, or at its period's end. */
  changed: boolean;
  /** What waited of that and does no more. */
  replaced: Replaced | null;
};

export type StartAnswer = (StartedSubscription & { replayed: boolean }) | DeniedSubscription;

type FirstAnswer = StartedSubscription | Omit<DeniedSubscription, 'replayed'>;

export const MAX_QUANTITY = 1_000_000;

const startInput = input({
  account: accountReference(),
  /** A recurring offer. */
  sku: key(),
  /** Default 1; of one in force that it makes longer or changes, as many as before. */
  quantity: integer(1, MAX_QUANTITY).optional(),
  /** Default: with the offer's trial phases, if the account can still have them. True: only with them. */
  trial: flag().optional(),
  /** When its first period begins: now, or later. */
  startAt: instant().optional(),
  /** Code of a coupon, in upper or lower case. */
  coupon: key().nullable().default(null),
  /** Default true. False: it ends with its first period. */
  renew: flag().default(true),
  /**
   * `send`: its invoices are sent and never charged. Default `charge`; where nothing can charge, `send`
   * until the account saves a payment method.
   */
  collection: oneOf(['charge', 'send']).optional(),
  /** `provider`: somebody else collects, and tells when a period is paid. Default `engine`. */
  collectedBy: oneOf(['engine', 'provider']).default('engine'),
  /** `at_once`: units come before they are paid for. Default: as the offer says. */
  access: oneOf(ACCESS).optional(),
  ...changeFields,
});
export type StartRequest = RequestOf<typeof startInput>;

const denied = (reason: DenialReason): FirstAnswer => ({
  allowed: false,
  reason,
  subscriptionId: null,
});

/** Whether an offer is for sale to an account at all; null: it is. */
export async function refusalToSubscribe(
  session: Session,
  { accountId, payerId }: ResolvedAccount,
  offer: Offer,
  quantity: number,
): Promise<DenialReason | null> {
  let owner: string | null = null;
  if (offer.accountId !== null) {
    const [found] = await resolveAccounts(session, [{ accountId: offer.accountId }]);
    owner = found?.accountId ?? offer.accountId;
  }
  return refusalOf({ offer, quantity }, [accountId, payerId], owner);
}

/** Takes the place of an offer that is sold once to an account; false: it was taken before. */
export async function takePlaceOf(
  session: Session,
  account: ResolvedAccount,
  offer: Offer,
  now: Instant,
): Promise<boolean> {
  const places = placesOf([offer]);
  if (places.length === 0) return true;
  if ((await takenPlaces(session, account, [offer.sku], now)).skus.has(offer.sku)) return false;
  await takePlaces(session, places, account, now);
  return true;
}

/** @throws invalid_input, currency_mismatch when there is no subscribing to an offer */
export function requireRecurring(offer: Offer): void {
  if (offer.billing !== 'recurring') {
    throw invalidInput(
      'sku',
      `Offer ${offer.sku} is sold once: there is no subscribing to it.`,
      'Sell it with sales.createOrder, or save it with billing: "recurring".',
    );
  }
  if (currencyDecimals(offer.currency) === null) {
    throw new BillingError(
      'currency_mismatch',
      `Offer ${offer.sku} costs ${offer.currency}, which is a product and no money.`,
      { parameter: 'sku', advice: 'Subscriptions are invoiced: give it a price in money.' },
    );
  }
}

type Wanted = Omit<z.output<typeof startInput>, 'account'>;

/** How what is in force is changed by a start. */
interface PlanChanges {
  changeWithin(
    session: Session,
    standing: Standing,
    to: Pick<Wanted, 'sku' | 'quantity' | 'access'>,
    clock: Instant,
  ): Promise<{ reason: DenialReason | null; replaced: Replaced | null }>;
}

/** For as long as its first payment may take: whatever ends the waiting frees the place. */
const RESERVED: { unit: 'year'; count: number } = { unit: 'year', count: 100 };

export class Starts {
  constructor(
    private readonly context: PaymentContext,
    private readonly ports: PeriodPorts,
    private readonly trials: Trying,
    private readonly changes: PlanChanges,
  ) {}

  /**
   * Subscribes an account to a recurring offer, at its price now. With trial phases first, if the offer
   * has some, one of it is wanted, and the account can still have them; they are spent with that.
   *
   * What is paid in advance brings its units with its first payment, until then it is
   * `awaitingPayment`; free phases and what is billed in arrears bring them at once. To subscribe again
   * to an offer that is in force makes that subscription an interval longer.
   *
   * Where the account has another plan that brings a same counted product, `collect.whenInForce` says
   * what happens: by default (`change`) that subscription is changed as by `change`, and is the answer,
   * with `changed`; a cheaper one begins when the other is over, where that ends by itself.
   *
   * @returns the subscription; or `allowed: false` with `offer_unavailable` (not on sale, private,
   *   another account's), `already_purchased` (sold once per account, or refused beside another plan),
   *   `trial_already_used` (only with `trial: true`), `coupon_unavailable`, `account_suspended`,
   *   `account_closed`
   * @throws invalid_input (a one-time offer, a start in the past), unknown_account, unknown_offer,
   *   currency_mismatch, subscription_state (the one in force cannot be made longer, or changed, now),
   *   idempotency_conflict
   */
  async start(asked: StartRequest): Promise<StartAnswer> {
    const { account, ...wanted } = parse(startInput, asked);
    const { idempotencyKey, metadata: _metadata, tx, ...inputs } = wanted;
    // What is at hand may decide otherwise: under a key the usual is as good as left out.
    const { quantity = 1, collection = 'charge' } = wanted;
    const request = { ...inputs, quantity, collection };
    return changeOfAccount(
      this.context,
      { kind: 'startSubscription', account, request, idempotencyKey, tx },
      (session, resolved, now) => this.begin(session, resolved, wanted, now),
    );
  }

  private async begin(
    session: Session,
    account: ResolvedAccount,
    wanted: Wanted,
    now: Instant,
  ): Promise<FirstAnswer> {
    const offer = await findOffer(session, wanted.sku);
    const { quantity = 1 } = wanted;
    let { startAt = now } = wanted;
    requireRecurring(offer);
    if (startAt < now) {
      throw invalidInput('startAt', '"startAt" lies in the past.', 'Leave it out to begin now.');
    }
    if (offer.oncePerAccount && quantity > 1) {
      throw invalidInput('quantity', `Offer ${offer.sku} is sold once per account.`);
    }
    requireTrial(offer, quantity, wanted.trial);
    const refused =
      statusReason(account) ?? (await refusalToSubscribe(session, account, offer, quantity));
    if (refused !== null) return denied(refused);

    await advancePayers(session, this.ports, [account.payerId], now);
    const inForce = await ownSubscriptionTo(session, account, offer.sku);
    const other = inForce === null ? await planInForce(session, account, offer, now) : null;
    for (const had of [inForce, other]) if (had !== null) requireUpToDate(had.subscription, now);
    if (other !== null && !isOverBy(other.subscription, startAt)) {
      if (offer.collect?.whenInForce === 'refuse') return denied('already_purchased');
      const after = await followsFrom(session, other, offer, wanted.quantity, now);
      if (after === null) return this.change(session, other, wanted, now);
      startAt = after;
    }
    const taken = await takenPlaces(session, account, [offer.sku], now);
    if (offer.oncePerAccount && taken.skus.has(offer.sku)) return denied('already_purchased');
    if (inForce !== null) return this.extend(session, account, inForce, wanted, now);

    const trialPhases = await this.phasesFor(session, account, offer, wanted, taken.trial, now);
    if (trialPhases === null) return denied('trial_already_used');
    const subscriptionId = newId();
    let coupon: Coupon | null = null;
    if (wanted.coupon !== null) {
      const reserving = { orderId: subscriptionId, code: wanted.coupon };
      coupon = await this.reserve(session, account, offer, reserving, now);
      if (coupon === null) return denied('coupon_unavailable');
    }
    const places = placesOf([offer]);
    if (trialPhases > 0) {
      places.push({ kind: 'trial', sku: offer.sku });
      const endsAt = addDuration(startAt, offer.trialPhases[0]!.length, account.timeZone);
      await this.trials.spendTrial(session, account, { sku: offer.sku, endsAt }, now);
    }
    await takePlaces(session, places, account, now);
    const { payerId } = account;
    const usual = await usualCollections(session, this.context.gateways, [payerId]);
    const begun = await beginSubscription(
      session,
      account,
      {
        subscriptionId,
        offer,
        quantity,
        startsAt: startAt,
        trialPhases,
        renews: wanted.renew,
        collection: wanted.collection,
        usualCollection: usual(payerId),
        collectedBy: wanted.collectedBy,
        access: wanted.access,
        coupon,
        metadata: wanted.metadata,
      },
      now,
    );
    const waits = begun.firstUnpaid || begun.periodNumber === 0 || begun.phase !== null;
    if (!waits) await keepCoupon(session, account.payerId, subscriptionId, now);
    return answerFor(session, begun);
  }

  /** How many trial phases come first; null: they are wanted, and were had. */
  private async phasesFor(
    session: Session,
    account: ResolvedAccount,
    offer: Offer,
    { trial, quantity = 1 }: Wanted,
    isTaken: boolean,
    now: Instant,
  ): Promise<number | null> {
    if (offer.trialPhases.length === 0 || quantity > 1 || trial === false) return 0;
    const isSpent = isTaken || (await this.trials.trialSpent(session, account, now));
    if (isSpent) return trial === true ? null : 0;
    return offer.trialPhases.length;
  }

  /** Takes a place of a coupon, which is free again if the subscription is never paid. */
  private async reserve(
    session: Session,
    { accountId, payerId }: ResolvedAccount,
    offer: Offer,
    { orderId, code }: { orderId: string; code: string },
    now: Instant,
  ): Promise<Coupon | null> {
    return reserveCoupon(session, {
      code,
      counted: await countedWith(session, accountId),
      payerId,
      accountId,
      orderId,
      skus: [offer.sku],
      currency: offer.currency,
      now,
      lapsesAt: addDuration(now, RESERVED, 'UTC'),
    });
  }

  private async extend(
    session: Session,
    account: ResolvedAccount,
    standing: Standing,
    wanted: Wanted,
    now: Instant,
  ): Promise<FirstAnswer> {
    const { subscription } = standing;
    requireExtendable(subscription, now);
    await requireLast(session, account, subscription, now);
    if (wanted.startAt !== undefined && wanted.startAt > now) {
      throw invalidInput('startAt', `Offer ${wanted.sku} is in force: it is made longer at once.`);
    }
    if (wanted.coupon !== null) {
      throw invalidInput(
        'coupon',
        'A coupon is for subscriptions that begin; this one is in force.',
      );
    }
    const { sku, version, quantity } = subscription;
    const offer = await findOfferVersion(session, sku, version);
    const extended = await extendSubscription(
      session,
      standing,
      offer,
      { quantity: wanted.quantity ?? quantity },
      now,
    );
    return answerFor(session, extended);
  }

  /** Changes the other plan that is there, as `change` does. */
  private async change(
    session: Session,
    standing: Standing,
    wanted: Wanted,
    now: Instant,
  ): Promise<FirstAnswer> {
    const { subscription } = standing;
    requireChange(wanted, subscription.sku, now);
    const { reason, replaced } = await this.changes.changeWithin(session, standing, wanted, now);
    if (reason !== null) return denied(reason);
    await saveDetails(session, subscription, { metadata: wanted.metadata });
    return { ...(await answerFor(session, subscription)), changed: true, replaced };
  }
}

/** @throws invalid_input when what is said is only for a subscription that begins */
function requireChange({ startAt, trial, renew, coupon }: Wanted, had: string, now: Instant): void {
  const only: Array<[parameter: string, isSaid: boolean]> = [
    ['startAt', startAt !== undefined && startAt > now],
    ['trial', trial === true],
    ['renew', !renew],
    ['coupon', coupon !== null],
  ];
  const parameter = only.find(([, isSaid]) => isSaid)?.[0];
  if (parameter === undefined) return;
  throw invalidInput(
    parameter,
    `Offer ${had} is in force and is changed: "${parameter}" is for what begins.`,
    'Leave it out; or cancel the other one first, or save the offer with whenInForce: "beside".',
  );
}

/** @throws invalid_input when trial phases are wanted that there are not */
function requireTrial(offer: Offer, quantity: number, trial: boolean | undefined): void {
  if (trial !== true) return;
  if (offer.trialPhases.length === 0) {
    throw invalidInput('trial', `Offer ${offer.sku} has no trial phase.`);
  }
  if (quantity > 1) throw invalidInput('quantity', 'Only a single one of an offer can be tried.');
}

/** The account's own subscription to an offer that is not over; the latest, if there are more. */
export async function ownSubscriptionTo(
  session: Session,
  account: ResolvedAccount,
  sku: string,
): Promise<Standing | null> {
  const live = await liveSubscriptions(session, account.payerId);
  const standings = await readStandings(
    session,
    live.filter((one) => one.sku === sku),
  );
  const own = standings.filter(({ receiver }) => receiver.accountId === account.accountId);
  return own.at(-1) ?? null;
}

/** @throws subscription_state when another plan is bought to follow one, which may go on no longer than that */
export async function requireLast(
  session: Session,
  account: ResolvedAccount,
  one: StoredSubscription,
  now: Instant,
): Promise<void> {
  const other = await lastToFollow(session, account, one, now);
  if (other === null) return;
  const { sku, subscriptionId } = other.subscription;
  throw wrongState(
    one,
    `${sku} is bought to follow it`,
    `Refund the order of that, or cancel ${subscriptionId} now, first.`,
  );
}

/** @throws subscription_state when what is in force cannot be made longer now */
function requireExtendable(one: StoredSubscription, now: Instant): void {
  const { status } = one;
  const no = (because: string, advice: string): BillingError => wrongState(one, because, advice);
  if (one.periodNumber === 0) {
    throw no('it has not begun yet', 'Wait until it begins, or cancel it.');
  }
  if (status === 'paused') {
    throw no('it cannot be made longer', 'Let it go on with subscriptions.resume.');
  }
  if (status === 'past_due') {
    throw no('it cannot be made longer before it is paid', 'Collect its invoice first.');
  }
  if (one.awaitingPayment && one.periodStart <= now) {
    throw no('its first period is not paid yet', 'Collect its invoice first.');
  }
}

async function answerFor(session: Session, one: StoredSubscription): Promise<StartedSubscription> {
  const stored = await findSubscription(session, one.subscriptionId);
  const record = await readSubscription(session, stored);
  return { allowed: true, reason: null, ...record, changed: false, replaced: null };
}
