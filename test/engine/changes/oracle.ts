import Decimal from 'decimal.js';
import { DateTime, type DurationLikeObject } from 'luxon';

/**
 * What billing-rules.md says of one customer's life, and nothing else: written from its text, without
 * a look at how the engine does it. It keeps shares, lines and sums in plain memory, and knows no
 * database, no grants and no queue. What it tells is compared with the engine by changes.test.ts.
 */

export interface Plan {
  sku: string;
  price: string;
  interval: { unit: 'day' | 'week' | 'month' | 'year'; count: number };
  /** Refilled units of MSG for each of it. */
  units: number;
  bill?: 'advance' | 'arrears';
  /** Phases before the first period of the plan itself, in days. */
  phases?: ReadonlyArray<{ price: string; days: number; units: number }>;
  withoutMethod?: 'invoice' | 'cancel' | 'pause';
  access?: 'at_once';
  /** What comes along for free, of GIFT. */
  gift?: number;
  /** Of EXTRA: refilled units, and what a step brings and costs. */
  extra?: { units: number; size: number; price: string };
  /** What a unit of MSG beyond the grants costs. */
  overage?: string;
}

export interface Coupon {
  code: string;
  percent?: number;
  amount?: string;
  /** For how many periods; null: for each of them. */
  periods: number | null;
}

/** Percent of tax, and whether prices hold it; null: none is due. */
export type Tax = { percent: number; inclusive: boolean } | null;

/** Something that was sold, and all that came back of it: with tax, as the customer sees it. */
export interface Line {
  what: string;
  /** As the offer says it, less discount. */
  price: Decimal;
  /** Until it is invoiced: by today's tax. */
  gross: Decimal;
  tax: Tax;
  back: Decimal;
}

export interface Invoice {
  lines: Line[];
  /** What of other lines goes back on it. */
  credits: Credit[];
  /** What is asked for, after account credit. */
  total: Decimal;
  due: Decimal;
  paid: Decimal;
  refunded: Decimal;
  issuedAt: number;
  /** When the card is tried next; null: never again. */
  tryAt: number | null;
  tries: number;
  /** The card that was tried last. */
  triedWith: Card;
  /** When its first attempt failed, or when a sent one fell due. */
  failedAt: number | null;
  how: 'charge' | 'send';
  /** Of account credit, before anything was due. */
  fromCredit: Decimal;
  /** What its payment brings. */
  brings: () => void;
  /** Of a change that came no more, by the clock alone: it stands until a job withdraws it. */
  lapsed: boolean;
  /** What comes of it when nobody pays: the period in force that it is for. */
  isRenewal: boolean;
  /** What it is for. */
  of: ReadonlySet<Subscription | null>;
}

export interface Credit {
  line: Line;
  amount: Decimal;
}

/** One offer in a period, with the share of the period's days for which it was paid. */
interface Segment {
  plan: Plan;
  quantity: number;
  /** Of the period, as it was charged. */
  charged: Decimal;
  /** Of the period, less what was credited. */
  kept: Decimal;
  line: Line | null;
}

interface Subscription {
  plan: Plan;
  quantity: number;
  how: 'charge' | 'send';
  coupon: Coupon | null;
  couponPeriods: number;
  state: 'awaiting' | 'live' | 'paused' | 'over';
  /** Over because its first payment did not come: money that comes later begins it again. */
  lapsed: boolean;
  /** Over because its customer wanted it: what is owed is not tried any more. */
  cancelled: boolean;
  /** What it was begun anew as. */
  anew: Subscription | null;
  phase: number | null;
  anchor: number;
  /** How many periods lie between the anchor and the present one's end. */
  count: number;
  from: number;
  to: number;
  segments: Segment[];
  /** What tells this period from all others. */
  period: object;
  /** Of MSG; of EXTRA nothing is used. */
  used: Decimal;
  /** Offers that were in force: what they bring only once is not given again. */
  had: Set<Plan>;
  /** What is named of the period that follows. */
  queued: { plan?: Plan; quantity?: number };
  /** What its first payment brings. */
  brings: () => void;
  ends: boolean;
  rests: boolean;
}

interface Stay {
  product: 'MSG' | 'EXTRA';
  amount: Decimal;
  until: number;
}

/** What a use was taken of. */
export interface Use {
  amount: Decimal;
  beyond: Decimal;
  stays: Array<[Stay, Decimal]>;
  ofPlan: Decimal;
  packs: Decimal;
  period: object | null;
}

/** What waits for the next invoice: something sold, or what comes back. */
interface Waiting {
  of: Subscription | null;
  /** From when on it is invoiced. */
  due: number;
  line: Line | null;
  back: Credit | null;
  /** Something that has to be paid first has an invoice of its own. */
  brings: (() => void) | null;
}

export const DAY = 86_400_000;
const RETRIES = [3, 5, 7].map((days) => days * DAY);
const GRACE = 7 * DAY;
/** What is sent is due by then. */
const TERM = 14 * DAY;
const CHARGE_WITHIN = (23 * DAY) / 24;
const ZERO = new Decimal(0);
const money = (amount: Decimal): Decimal => amount.toDecimalPlaces(2, Decimal.ROUND_HALF_UP);
const least = (...all: Decimal[]): Decimal => Decimal.min(...all);
const atLeastZero = (amount: Decimal): Decimal => Decimal.max(amount, ZERO);
/** Units are counted whole; divisions leave dust. */
const inWhole = (units: Decimal): Decimal => units.toDecimalPlaces(9).floor();

export const sumOf = (all: readonly Decimal[]): Decimal =>
  all.reduce((sum, one) => sum.plus(one), ZERO);

/** Net prices with their tax on top; prices that hold it stay as they are. */
const withTax = (price: Decimal, tax: Tax): Decimal =>
  tax === null || tax.inclusive
    ? money(price)
    : money(price.times(100 + tax.percent).dividedBy(100));

const taxIn = (gross: Decimal, tax: Tax): Decimal =>
  tax === null ? ZERO : gross.times(tax.percent).dividedBy(100 + tax.percent);

export interface Terms {
  zone: string;
  tax: Tax;
  /** What the card on file does; null: there is none. */
  card: Card;
  now: number;
}

export type Card = 'good' | 'bad' | null;
export type CreditRule = boolean | 'time';
export type Mode = 'prorate' | 'add' | 'full';

/** What is changed to. */
interface Upgrade {
  plan: Plan;
  quantity: number;
  mode: Mode;
  /** What still waits for the end of the period. */
  queued: Subscription['queued'];
}

export class Oracle {
  now: number;
  tax: Tax;
  card: Card;
  readonly zone: string;
  readonly lines: Line[] = [];
  readonly invoices: Invoice[] = [];
  subscription: Subscription | null = null;
  /** Account credit: with tax, as it lowers what is due. */
  credit = ZERO;
  /** Money that came by orders, less what went back of it. */
  byOrder = ZERO;
  packs = ZERO;
  /** Units of periods that a change ended, which were paid for and stay until their end. */
  stays: Stay[] = [];
  gifts = ZERO;
  /** What was bought on top of periods, of EXTRA. */
  private steps: Array<Pick<Stay, 'amount' | 'until'>> = [];
  /** Whether units stayed over two changes that began a period: for how long, the rules leave open. */
  staysTwice = false;
  /** Whether a part of an invoice was taken back: of which line, the rules leave open. */
  hasParts = false;
  /** Roundings so far: each may differ by a cent, and a unit. */
  roundings = 0;
  /** What first payments begin. */
  private readonly firsts = new Map<() => void, Subscription>();
  /** The change that has to be paid before it comes. */
  private awaited: Waiting | null = null;
  private waiting: Waiting[] = [];
  /** What was sent, and given up: once. */
  private readonly givenUp = new Set<Invoice>();
  /** Those of which money came too late. */
  private readonly goesBack = new Set<Invoice>();
  private overageUsed = ZERO;

  constructor({ zone, tax, card, now }: Terms) {
    this.zone = zone;
    this.tax = tax;
    this.card = card;
    this.now = now;
  }

  // --- the calendar ---------------------------------------------------------------------------

  private day(at: number): number {
    const { year, month, day } = DateTime.fromMillis(at, { zone: this.zone });
    return Date.UTC(year, month - 1, day) / DAY;
  }

  private after(at: number, { unit, count }: Plan['interval'], times: number): number {
    const length = { [`${unit}s`]: count * times } as DurationLikeObject;
    return DateTime.fromMillis(at, { zone: this.zone }).plus(length).toMillis();
  }

  /** Days left of a period, the day of now included, and all of its days. */
  private daysLeft({ from, to }: { from: number; to: number }): { left: number; of: number } {
    const of = Math.max(this.day(to) - this.day(from), 1);
    return { left: Math.min(Math.max(this.day(to) - this.day(this.now), 0), of), of };
  }

  // --- what things cost -----------------------------------------------------------------------

  /** Whether its coupon lowers the present period. */
  private couponOf({ coupon, couponPeriods }: Subscription): Coupon | null {
    return coupon?.periods != null && couponPeriods > coupon.periods ? null : coupon;
  }

  /** Less what a coupon of so many per cent takes off something beside the fee. */
  private percentOff(one: Subscription, price: Decimal): Decimal {
    return price.times(100 - (this.couponOf(one)?.percent ?? 0)).dividedBy(100);
  }

  /** Less what the coupon takes, of a share of a period. */
  private lowered(one: Subscription, plan: Plan, quantity: number, share: Decimal): Decimal {
    const price = new Decimal(plan.price).times(quantity).times(share);
    const coupon = this.couponOf(one);
    if (coupon === null) return price;
    if (coupon.percent !== undefined) return price.times(100 - coupon.percent).dividedBy(100);
    return atLeastZero(price.minus(new Decimal(coupon.amount!).times(share)));
  }

  private sell(what: string, amount: Decimal): Line {
    const price = money(amount);
    const line = { what, price, gross: withTax(price, this.tax), tax: this.tax, back: ZERO };
    this.lines.push(line);
    return line;
  }

  /** Puts something on the next invoice. */
  private bill(line: Line, brings: Waiting['brings'] = null, due = this.now): void {
    this.waiting.push({ of: this.subscription, due, line, back: null, brings });
  }

  /** Puts on the next invoice what came back of a line. */
  private owe(line: Line, amount: Decimal, due = this.now): void {
    if (amount.isZero()) return;
    const back = { line, amount };
    this.waiting.push({ of: this.subscription, due, line: null, back, brings: null });
  }

  /** Something comes back of a line: never more than is left. @returns what came */
  private giveBack(line: Line, amount: Decimal): Decimal {
    const back = least(money(amount), line.gross.minus(line.back));
    line.back = line.back.plus(back);
    return back;
  }

  // --- beginning ------------------------------------------------------------------------------

  /** @returns false: another is in force */
  start(plan: Plan, quantity: number, how: 'charge' | 'send', coupon: Coupon | null): boolean {
    if (this.subscription !== null && this.subscription.state !== 'over') return false;
    const phase = plan.phases === undefined || quantity > 1 ? null : 0;
    this.subscription = {
      ...{ plan, quantity, how, coupon, phase, couponPeriods: 0, state: 'live', lapsed: false },
      ...{ cancelled: false, anew: null },
      ...{ anchor: this.now, count: 0, from: this.now, to: this.now, segments: [] },
      ...{ period: {}, used: ZERO, had: new Set<Plan>() },
      ...{ queued: {}, brings: () => undefined, ends: false, rests: false },
    };
    this.openPeriod(true);
    return true;
  }

  /** Begins one that is over anew: as it was, without phases, and whatever it still owes. */
  reactivate(): boolean {
    const one = this.subscription;
    if (one?.state !== 'over') return false;
    const anew: Subscription = {
      ...one,
      ...{ phase: null, state: 'live', lapsed: false, cancelled: false, anew: null },
      ...{ anchor: this.now, count: 0, from: this.now, to: this.now, segments: [] },
      ...{ queued: {}, brings: () => undefined, ends: false, rests: false },
    };
    one.anew = anew;
    this.subscription = anew;
    this.openPeriod(true);
    return true;
  }

  /** Begins the next period where the last one ended. */
  private openPeriod(isFirst: boolean): void {
    const one = this.subscription!;
    const phase = one.phase === null ? null : one.plan.phases![one.phase]!;
    this.span(one);
    if (phase === null) one.couponPeriods += 1;
    Object.assign(one, { period: {}, used: ZERO, segments: [] });
    const price =
      phase === null
        ? this.lowered(one, one.plan, one.quantity, new Decimal(1))
        : new Decimal(phase.price);
    this.begin(one, isFirst, money(price));
  }

  /** The days of the next period. */
  private span(one: Subscription): void {
    one.from = one.to;
    if (one.phase === null) {
      one.count += 1;
      one.to = this.after(one.anchor, one.plan.interval, one.count);
    } else {
      const { days } = one.plan.phases![one.phase]!;
      one.to = this.after(one.from, { unit: 'day', count: 1 }, days);
      one.anchor = one.to;
    }
  }

  private begin(one: Subscription, isFirst: boolean, price: Decimal): void {
    const { plan, quantity } = one;
    const isFree = price.isZero();
    const inArrears = plan.bill === 'arrears';
    const units = one.phase === null ? plan.units : plan.phases![one.phase]!.units;
    const whole = new Decimal(1);
    const segment = { plan: { ...plan, units }, quantity, charged: whole, kept: whole, line: null };
    const bring = (line: Line | null): void => {
      one.segments = [{ ...segment, line }];
      if (one.phase !== null) return;
      this.giveOnce(one);
    };
    if (isFree || inArrears) return bring(null);
    const line = this.sell(`${quantity} ${plan.sku}`, price);
    const waits = isFirst && plan.access !== 'at_once' && !(one.how === 'send' && !isFirst);
    if (!waits) {
      bring(line);
      this.bill(line);
      return;
    }
    one.state = 'awaiting';
    one.brings = (): void => {
      if (one.lapsed || one.to <= this.now) {
        Object.assign(one, { anchor: this.now, count: 0, to: this.now });
        this.span(one);
      }
      Object.assign(one, { state: 'live', lapsed: false });
      bring(line);
    };
    this.firsts.set(one.brings, one);
    this.bill(line, one.brings);
  }

  /** A first payment comes too late: another is in its place, it was begun anew, or is not wanted. */
  private isTooLate({ brings }: Invoice): boolean {
    const one = this.firsts.get(brings);
    if (one === undefined) return false;
    return one !== this.subscription || (one.state !== 'awaiting' && !one.lapsed);
  }

  /** What comes along only once with an offer, and stays. */
  private giveOnce({ plan, quantity, had }: Subscription): void {
    if (had.has(plan)) return;
    had.add(plan);
    this.gifts = this.gifts.plus(new Decimal(plan.gift ?? 0).times(quantity));
  }

  // --- time -----------------------------------------------------------------------------------

  /** What the clock alone does. */
  advance(now: number): void {
    this.now = now;
    this.lapseFirst();
    for (let one = this.subscription; one?.state === 'live' && one.to <= now;) this.boundary(one);
  }

  /** A first payment is waited for so long only, from its invoice on. */
  private lapseFirst(): void {
    const one = this.subscription;
    if (one?.state !== 'awaiting') return;
    const invoice = this.invoices.find(({ brings }) => brings === one.brings);
    const within = one.how === 'charge' ? CHARGE_WITHIN : TERM + GRACE;
    const lapses = invoice !== undefined && this.now >= invoice.issuedAt + within;
    if (!lapses && !(one.ends && one.to <= this.now)) return;
    // What its customer had cancelled does not begin any more.
    Object.assign(one, { state: 'over', lapsed: !one.ends, cancelled: one.ends });
  }

  private boundary(one: Subscription): void {
    const wasFree = one.segments.every(({ line }) => line === null) && one.plan.bill !== 'arrears';
    this.billArrears(one, one.to);
    this.lapse('later');
    if (one.ends) {
      Object.assign(one, { state: 'over', cancelled: true });
    } else if (one.rests) {
      Object.assign(one, { state: 'paused', rests: false });
    } else {
      this.goOn(one, wasFree);
    }
  }

  private goOn(one: Subscription, wasFree: boolean): void {
    if (one.phase !== null) {
      one.phase = one.phase + 1 < one.plan.phases!.length ? one.phase + 1 : null;
    }
    const { plan = one.plan, quantity = one.quantity } = one.queued;
    if (plan !== one.plan || quantity !== one.quantity) {
      const isOther = !sameInterval(plan, one.plan);
      Object.assign(one, { plan, quantity, queued: {} });
      if (isOther) Object.assign(one, { anchor: one.to, count: 0 });
    }
    const needsMethod = wasFree && one.how === 'charge' && this.card === null && one.phase === null;
    const { withoutMethod = 'invoice' } = one.plan;
    if (needsMethod && withoutMethod !== 'invoice') {
      one.state = withoutMethod === 'cancel' ? 'over' : 'paused';
      return;
    }
    this.openPeriod(wasFree);
  }

  /** What is billed in arrears, when it is over: the days had, and what was used beyond. */
  private billArrears(one: Subscription, until: number): void {
    for (const segment of one.segments) {
      const { plan, quantity, kept, line } = segment;
      if (plan.bill !== 'arrears' || line !== null) continue;
      const price = money(this.lowered(one, plan, quantity, kept));
      if (price.isZero()) continue;
      segment.line = this.sell(`${plan.sku} until ${new Date(until).toISOString()}`, price);
      this.bill(segment.line);
    }
    this.billOverage(one);
  }

  private billOverage(one: Subscription): void {
    if (this.overageUsed.isZero()) return;
    const price = money(this.overageUsed.times(one.plan.overage ?? 0));
    this.overageUsed = ZERO;
    this.bill(this.sell('overage', price));
  }

  // --- changes --------------------------------------------------------------------------------

  private isDearer(plan: Plan, quantity: number): boolean {
    const one = this.subscription!;
    const fresh = new Decimal(plan.price).times(quantity);
    const old = new Decimal(one.plan.price).times(one.quantity);
    if (sameInterval(plan, one.plan)) return fresh.greaterThan(old);
    const days = ({ interval }: Plan): number =>
      Math.max(this.day(this.after(this.now, interval, 1)) - this.day(this.now), 1);
    return fresh.times(days(one.plan)).greaterThan(old.times(days(plan)));
  }

  /**
   * The share of the period that goes back, of the offer in force. `least`: no more than the share of
   * units left. `covered`: the time, as far as what was used is paid for by what is kept and by what
   * comes, since nothing may give more than was paid for.
   */
  private shareBack(rule: 'time' | 'least' | 'covered', coming = ZERO): Decimal {
    const one = this.subscription!;
    const { left, of } = this.daysLeft(one);
    const segment = one.segments.at(-1)!;
    const time = least(new Decimal(left).dividedBy(of), segment.kept);
    if (rule === 'time') return time;
    const units = new Decimal(segment.plan.units).times(segment.quantity);
    const room =
      rule === 'least' ? inWhole(this.planUnits()) : atLeastZero(this.restOf('MSG').plus(coming));
    return least(time, room.dividedBy(units));
  }

  /** What goes back of the offer in force; nothing was paid for what is free, or not paid yet. */
  private creditOf(share: Decimal): Decimal {
    const { line, charged } = this.subscription!.segments.at(-1)!;
    if (line === null) return ZERO;
    const amount = money(line.gross.times(share).dividedBy(charged));
    return least(amount, line.gross.minus(line.back));
  }

  /** Whether an invoice asks for it that is still to be paid. */
  private isOpen(line: Line): boolean {
    return this.invoices.some(({ lines, due }) => !due.isZero() && lines.includes(line));
  }

  /** What is on no invoice yet is lowered where it waits. @returns whether that is so */
  private lower(segment: Segment, share: Decimal): boolean {
    const { line } = segment;
    if (line === null || !this.waiting.some((one) => one.line === line)) return false;
    line.price = line.price.minus(this.loweringOf(segment, share));
    line.gross = withTax(line.price, this.tax);
    return true;
  }

  /** By how much, without tax. */
  private loweringOf({ line, charged }: Segment, share: Decimal): Decimal {
    const { price } = line!;
    return price.minus(money(price.times(new Decimal(1).minus(share.dividedBy(charged)))));
  }

  /** @returns false: the state does not allow it, and nothing happens */
  change(wanted: {
    plan?: Plan;
    quantity?: number;
    when?: 'now' | 'period_end';
    mode?: Mode;
    prorations?: 'period_end';
  }): boolean {
    const one = this.subscription;
    const { plan = one?.plan, quantity = one?.quantity ?? 1, mode = 'prorate' } = wanted;
    if (one?.state !== 'live' || one.ends || one.rests) return false;
    if (plan === undefined || (one.plan === plan && one.quantity === quantity)) return false;
    const when = wanted.when ?? (this.isDearer(plan, quantity) ? 'now' : 'period_end');
    if (when === 'period_end') {
      this.lapse();
      if (wanted.plan !== undefined) one.queued.plan = plan;
      if (wanted.quantity !== undefined) one.queued.quantity = quantity;
      return true;
    }
    if (this.isPastDue()) return false;
    const queued = {
      plan: wanted.plan === undefined ? one.queued.plan : undefined,
      quantity: wanted.quantity === undefined ? one.queued.quantity : undefined,
    };
    this.lapse();
    this.changeNow({ plan, quantity, mode, queued }, wanted.prorations === 'period_end');
    return true;
  }

  /** A change that waits for its payment comes no more: nothing is asked for it, and nothing goes back. */
  private lapse(withdrawn: 'now' | 'later' = 'now'): void {
    const { awaited } = this;
    if (awaited === null) return;
    this.awaited = null;
    const { back } = awaited;
    if (back !== null) back.line.back = back.line.back.minus(back.amount);
    this.waiting = this.waiting.filter((one) => one !== awaited);
    this.lines.splice(this.lines.indexOf(awaited.line!), 1);
    const invoice = this.invoices.find(({ brings }) => brings === awaited.brings);
    if (invoice === undefined) return;
    this.credit = this.credit.plus(invoice.fromCredit);
    Object.assign(invoice, { lapsed: true, tryAt: null, lines: [], credits: [] });
    if (withdrawn === 'now') invoice.due = ZERO;
    invoice.brings = () => undefined;
  }

  /** Whether what pays for what is in force is on an invoice. */
  private paysPresent({ lines }: Invoice): boolean {
    return lines.some((line) => this.isPresent(line));
  }

  /** Whether nothing was paid for what is in force. */
  isFree(): boolean {
    const one = this.subscription;
    return (
      one?.state === 'live' && one.plan.bill !== 'arrears' && one.segments.at(-1)?.line === null
    );
  }

  private isPresent(line: Line): boolean {
    const one = this.subscription;
    return one?.state === 'live' && one.segments.at(-1)?.line === line;
  }

  private changeNow(upgrade: Upgrade, later: boolean): void {
    const one = this.subscription!;
    const { plan, quantity, mode } = upgrade;
    const rest = mode === 'prorate' && this.isPartOfPeriod(plan);
    const { left, of } = this.daysLeft(one);
    const share = rest ? new Decimal(left).dividedBy(of) : new Decimal(1);
    const inArrears = plan.bill === 'arrears';
    // What is billed afterwards is not paid for yet: it covers nothing.
    const coming = inArrears ? ZERO : share.times(plan.units).times(quantity);
    const back = this.shareBack(this.isDearer(plan, quantity) ? 'covered' : 'least', coming);
    this.roundings += 1;
    const price = inArrears ? ZERO : money(this.lowered(one, plan, quantity, share));
    const old = one.segments.at(-1)!;
    // What is invoiced with the next period costs nothing now, and waits for no payment.
    const isLater = later && rest;
    const due = isLater ? one.to : this.now;
    const line = price.isZero() ? null : this.sell(plan.sku, price);
    // What is on no invoice yet goes on as it was until the change takes force.
    const isBilled = !this.waiting.some((waiting) => waiting.line === old.line);
    const credit = mode === 'prorate' && isBilled ? this.creditOf(back) : ZERO;
    const apply = (): void => {
      if (mode === 'prorate' && !isBilled && !this.lower(old, back)) {
        this.owe(old.line!, this.giveBack(old.line!, this.creditOf(back)), due);
      }
      if (mode === 'prorate' || old.plan.bill === 'arrears') old.kept = old.kept.minus(back);
      if (old.plan.bill === 'arrears' && !rest) this.billArrears(one, this.now);
      this.takeOver(upgrade, rest, share, line);
    };
    // What goes back goes back of nothing else, also while the change waits.
    if (old.line !== null && isBilled) this.giveBack(old.line, credit);
    // What it takes off a fee that is on no invoice yet costs so much less.
    const lowered = mode === 'prorate' && !isBilled ? this.loweringOf(old, back) : ZERO;
    const waits =
      !isLater &&
      one.how === 'charge' &&
      plan.access !== 'at_once' &&
      line?.gross.greaterThan(credit.plus(withTax(lowered, this.tax))) === true;
    if (!waits) {
      if (old.line !== null) this.owe(old.line, credit, due);
      apply();
      if (line !== null) this.bill(line, null, due);
      return;
    }
    this.awaited = {
      of: one,
      due: this.now,
      line,
      back: old.line === null || credit.isZero() ? null : { line: old.line, amount: credit },
      brings: () => {
        this.awaited = null;
        apply();
      },
    };
    this.waiting.push(this.awaited);
  }

  /** Whether a change shares the period that is running, or begins one of its own. */
  private isPartOfPeriod(plan: Plan): boolean {
    const one = this.subscription!;
    const isFree = one.segments.at(-1)!.line === null && one.plan.bill !== 'arrears';
    return one.phase === null && !isFree && sameInterval(plan, one.plan);
  }

  private takeOver(
    { plan, quantity, mode, queued }: Upgrade,
    rest: boolean,
    share: Decimal,
    line: Line | null,
  ): void {
    const one = this.subscription!;
    const segment = { plan, quantity, charged: share, kept: share, line };
    Object.assign(one, { plan, quantity, queued, phase: null });
    if (rest) {
      one.segments.push(segment);
    } else {
      const to = this.after(this.now, plan.interval, 1);
      const ends = mode === 'add' ? Math.max(one.to, to) : one.to;
      const left = (['MSG', 'EXTRA'] as const).map((product) => ({
        ...{ product, amount: inWhole(atLeastZero(this.restOf(product))), until: ends },
      }));
      const beyond = atLeastZero(this.restOf('MSG').negated());
      const hasStays = this.stays.some(({ amount }) => !amount.isZero());
      if (hasStays || (mode === 'add' && one.segments.length > 1)) this.staysTwice = true;
      const earlier = this.stays.map((stay) =>
        mode === 'add' ? { ...stay, until: Math.max(stay.until, to) } : stay,
      );
      this.stays = mode === 'full' ? earlier : [...earlier, ...left];
      Object.assign(one, { anchor: this.now, count: 1, from: this.now, to, segments: [segment] });
      Object.assign(one, { period: {}, used: beyond });
      one.couponPeriods += 1;
    }
    this.giveOnce(one);
  }

  // --- the end --------------------------------------------------------------------------------

  cancel(when: 'now' | 'period_end', credit: CreditRule = false): boolean {
    const one = this.subscription;
    if (one === null || one.state === 'over') return false;
    if (when === 'period_end' && isInForce(one)) {
      if (one.ends) return false;
      one.ends = true;
      return true;
    }
    if (one.state === 'live') this.endNow(one, credit);
    this.end(one);
    one.cancelled = true;
    return true;
  }

  private end(one: Subscription): void {
    one.state = 'over';
    this.stays = [];
    this.lapse();
    // What waited for its payment, and is on no invoice yet, is dropped.
    this.waiting = this.waiting.filter(({ brings, line }) => {
      if (brings !== null && line !== null) this.lines.splice(this.lines.indexOf(line), 1);
      return brings === null;
    });
    // What was to come later comes now; with it ends what was bought on top.
    for (const waiting of this.waiting) waiting.due = Math.min(waiting.due, this.now);
    this.steps = [];
  }

  private endNow(one: Subscription, credit: CreditRule): void {
    const segment = one.segments.at(-1)!;
    if (one.plan.bill === 'arrears') {
      segment.kept = segment.kept.minus(this.shareBack('time'));
      this.billArrears(one, this.now);
      return;
    }
    if (credit === false || segment.line === null || this.isOpen(segment.line)) return;
    const share = this.shareBack(credit === 'time' ? 'time' : 'least');
    this.roundings += 1;
    if (!this.lower(segment, share))
      this.owe(segment.line, this.giveBack(segment.line, this.creditOf(share)));
  }

  /** Units on top of those of the period, which end with it, and are paid for then. */
  addSteps(steps: number): boolean {
    const one = this.subscription;
    const extra = one?.plan.extra;
    if (one?.state !== 'live' || extra === undefined || this.isOverdue()) return false;
    this.steps.push({ amount: new Decimal(extra.size).times(steps), until: one.to });
    const price = new Decimal(extra.price).times(steps);
    this.bill(this.sell('steps', this.percentOff(one, price)), null, one.to);
    return true;
  }

  undo(): boolean {
    const one = this.subscription;
    if (one === null || one.state === 'over') return false;
    const waits = Object.values(one.queued).some((named) => named !== undefined);
    if (!one.ends && !one.rests && this.awaited === null && !waits) return false;
    if (one.ends) one.ends = false;
    else if (one.rests) one.rests = false;
    else if (this.awaited !== null) this.lapse();
    else one.queued = {};
    return true;
  }

  pause(): boolean {
    const one = this.subscription;
    if (one?.state === 'paused') return true;
    if (one === null || !isInForce(one) || one.ends) return false;
    one.rests = true;
    return true;
  }

  resume(): boolean {
    const one = this.subscription;
    if (one !== null && isInForce(one) && one.rests && !one.ends) {
      one.rests = false;
      return true;
    }
    if (one?.state !== 'paused') return false;
    Object.assign(one, { state: 'live', anchor: this.now, count: 0, to: this.now });
    this.goOn(one, false);
    return true;
  }

  // --- units ----------------------------------------------------------------------------------

  /** The shares of the period's offers in sum, less what was used; below 0 where more was. */
  private restOf(product: 'MSG' | 'EXTRA'): Decimal {
    const { segments, used } = this.subscription!;
    const allowance = sumOf(
      segments.map(({ plan, quantity, kept }) =>
        kept.times(product === 'MSG' ? plan.units : (plan.extra?.units ?? 0)).times(quantity),
      ),
    );
    return product === 'MSG' ? allowance.minus(used) : allowance;
  }

  /** What the plan itself still brings. */
  private planUnits(product: 'MSG' | 'EXTRA' = 'MSG'): Decimal {
    if (this.subscription?.state !== 'live') return ZERO;
    return atLeastZero(this.restOf(product));
  }

  /** What stays of earlier periods. */
  private staying(product: 'MSG' | 'EXTRA'): Stay[] {
    return this.stays.filter((stay) => stay.product === product && stay.until > this.now);
  }

  usable(): { MSG: Decimal; GIFT: Decimal; EXTRA: Decimal } {
    if (this.isOverdue()) return { MSG: ZERO, GIFT: ZERO, EXTRA: ZERO };
    const all = (product: 'MSG' | 'EXTRA'): Decimal =>
      sumOf(this.staying(product).map(({ amount }) => amount)).plus(this.planUnits(product));
    const steps = this.steps.filter(({ until }) => until > this.now);
    const extra = all('EXTRA').plus(sumOf(steps.map(({ amount }) => amount)));
    return { MSG: all('MSG').plus(this.packs), GIFT: this.gifts, EXTRA: extra };
  }

  /** @returns of what the units were taken; null: it was not allowed */
  use(amount: Decimal): Use | null {
    const one = this.subscription?.state === 'live' ? this.subscription : null;
    const missing = atLeastZero(amount.minus(this.usable().MSG));
    const isBilled = one?.plan.overage !== undefined;
    // What is there may be rounded up, by less than a unit each time.
    const isRounded = missing.lessThanOrEqualTo(this.roundings) && one !== null;
    if (this.isOverdue() || (missing.greaterThan(0) && !isBilled && !isRounded)) return null;
    const beyond = isBilled ? missing : ZERO;
    this.overageUsed = this.overageUsed.plus(beyond);
    let rest = amount.minus(beyond);
    const take = (there: Decimal): Decimal => {
      const taken = least(there, rest);
      rest = rest.minus(taken);
      return taken;
    };
    // In the order of their ends; the plan's own after those that end with them.
    const stays: Use['stays'] = [];
    const takeStays = (until: (at: number) => boolean): void => {
      for (const stay of this.staying('MSG').sort((a, b) => a.until - b.until)) {
        if (until(stay.until)) stays.push([stay, take(stay.amount)]);
      }
    };
    takeStays((at) => at <= (one?.to ?? 0));
    let ofPlan = take(this.planUnits());
    takeStays((at) => at > (one?.to ?? 0));
    const packs = take(this.packs);
    if (one !== null) ofPlan = ofPlan.plus(rest);
    if (one !== null) one.used = one.used.plus(ofPlan);
    for (const [stay, taken] of stays) stay.amount = stay.amount.minus(taken);
    this.packs = this.packs.minus(packs);
    return { amount, beyond, stays, ofPlan, packs, period: one?.period ?? null };
  }

  /**
   * Units come back, those that were taken last first: to the plan only while their period lasts.
   *
   * @param amount of a use, or of a hold
   */
  restore({ beyond, stays, ofPlan, packs, period }: Use, amount: Decimal): void {
    let rest = amount;
    const give = (most: Decimal): Decimal => {
      const given = least(most, rest);
      rest = rest.minus(given);
      return given;
    };
    this.overageUsed = this.overageUsed.minus(give(beyond));
    this.packs = this.packs.plus(give(packs));
    const one = this.subscription;
    const backToPlan = give(ofPlan);
    if (one?.period === period && one.state === 'live') one.used = one.used.minus(backToPlan);
    for (const [stay, taken] of stays) stay.amount = stay.amount.plus(give(taken));
  }

  // --- invoices and money ---------------------------------------------------------------------

  private issue(
    of: Pick<Invoice, 'lines' | 'credits'>,
    asked: Decimal,
    how: 'charge' | 'send',
    isRenewal: boolean,
    subscriptions: Invoice['of'],
  ): Invoice {
    const fromCredit = least(this.credit, atLeastZero(asked));
    this.credit = this.credit.minus(fromCredit).plus(atLeastZero(asked.negated()));
    const total = atLeastZero(asked).minus(fromCredit);
    const invoice: Invoice = {
      ...{ ...of, total, due: total, paid: ZERO, refunded: ZERO, issuedAt: this.now },
      ...{ tryAt: how === 'charge' ? this.now : null, tries: 0, failedAt: null, triedWith: null },
      ...{ how, fromCredit, brings: () => undefined, lapsed: false, isRenewal, of: subscriptions },
    };
    this.invoices.push(invoice);
    return invoice;
  }

  /** What the billing cycle does, whenever it runs. */
  settle(): void {
    for (const one of this.invoices) {
      if (one.lapsed) one.due = ZERO;
      const isSent = one.how === 'send' && one.isRenewal && !one.due.isZero();
      if (isSent && this.now >= one.issuedAt + TERM) one.failedAt ??= one.issuedAt + TERM;
    }
    do this.invoiceAll();
    while (this.waiting.some(({ due }) => due <= this.now));
  }

  private invoiceAll(): void {
    const isDue = ({ due }: Waiting): boolean => due <= this.now;
    const waiting = this.waiting.filter(isDue);
    this.waiting = this.waiting.filter((one) => !isDue(one));
    const how = this.subscription?.how ?? 'charge';
    for (const { line } of waiting) {
      if (line !== null) {
        Object.assign(line, { gross: withTax(line.price, this.tax), tax: this.tax });
      }
    }
    const asked = (all: readonly Waiting[]): Decimal =>
      sumOf(all.map(({ line, back }) => (line?.gross ?? ZERO).minus(back?.amount ?? 0)));
    const of = (all: readonly Waiting[]): Pick<Invoice, 'lines' | 'credits'> => ({
      lines: all.flatMap(({ line }) => line ?? []),
      credits: all.flatMap(({ back }) => back ?? []),
    });
    const shared = waiting.filter(({ brings }) => brings === null);
    const whose = (all: readonly Waiting[]): Invoice['of'] => new Set(all.map((one) => one.of));
    if (shared.length > 0) this.issue(of(shared), asked(shared), how, true, whose(shared));
    for (const one of waiting.filter(({ brings }) => brings !== null)) {
      this.issue(of([one]), asked([one]), how, false, whose([one])).brings = one.brings!;
    }
    for (const invoice of this.invoices) this.collect(invoice);
    for (const one of this.invoices) {
      if (one.how !== 'send' || !this.isFinal(one) || this.givenUp.has(one)) continue;
      this.givenUp.add(one);
      this.giveUp(one);
    }
  }

  private collect(invoice: Invoice): void {
    if (invoice.due.isZero()) {
      invoice.tryAt = null;
      this.bring(invoice);
      return;
    }
    if (invoice.tryAt === null || invoice.tryAt > this.now) return;
    if (this.isTooLate(invoice) || (invoice.tries > 0 && isCancelled(invoice))) {
      invoice.tryAt = null;
      return;
    }
    if (this.card === 'good') {
      this.pay(invoice);
      return;
    }
    invoice.failedAt ??= this.now;
    invoice.triedWith = this.card;
    // An attempt within a day of its time counts from its time.
    const from = this.now - invoice.tryAt < DAY ? invoice.tryAt : this.now;
    const next = RETRIES[invoice.tries];
    invoice.tries += 1;
    invoice.tryAt = next === undefined ? null : from + next;
    if (next !== undefined) return;
    if (invoice.brings === this.awaited?.brings) this.lapse();
    if (invoice.isRenewal) this.giveUp(invoice);
  }

  /** What is sent is given up when it would have been tried as often. */
  private isFinal({ due, failedAt, isRenewal }: Invoice): boolean {
    if (!isRenewal || due.isZero() || failedAt === null) return false;
    return this.now >= RETRIES.reduce((at, days) => at + days, failedAt);
  }

  /** Nobody pays what is in force, or was before it was begun anew: it ends. */
  private giveUp(invoice: Invoice): void {
    const one = this.subscription;
    if (one === null || one.state === 'over') return;
    if (!this.isOwedBy(invoice.of)) return;
    if (one.state === 'live') this.endNow(one, false);
    this.end(one);
  }

  /** Another card is tried at once for what failed; the one that was tried last has its days. */
  saveCard(card: Card): void {
    this.card = card;
    for (const invoice of this.invoices) {
      if (invoice.tryAt === null || invoice.tries === 0 || invoice.triedWith === card) continue;
      invoice.tryAt = Math.min(invoice.tryAt, this.now);
    }
  }

  private bring(invoice: Invoice): void {
    invoice.brings();
    invoice.brings = () => undefined;
  }

  /** What comes too late is not counted, and is due to go back; no more comes of it. @returns false: refused */
  pay(invoice: Invoice): boolean {
    if (this.isTooLate(invoice)) {
      const isFirst = !this.goesBack.has(invoice);
      this.goesBack.add(invoice);
      return isFirst;
    }
    if (invoice.lapsed) return false;
    invoice.paid = invoice.paid.plus(invoice.due);
    Object.assign(invoice, { due: ZERO, tryAt: null });
    this.bring(invoice);
    return true;
  }

  /** What is owed of before it was begun anew is owed still. */
  private isOwedBy(of: Invoice['of']): boolean {
    return [...of].some((owing) => owing !== null && lastOf(owing) === this.subscription);
  }

  private isPastDue(): boolean {
    return this.invoices.some(
      ({ isRenewal, due, failedAt, of }) =>
        isRenewal && !due.isZero() && failedAt !== null && this.isOwedBy(of),
    );
  }

  isOverdue(): boolean {
    return (
      this.subscription?.state === 'live' &&
      this.invoices.some(
        ({ isRenewal, due, failedAt, of }) =>
          isRenewal &&
          !due.isZero() &&
          failedAt !== null &&
          this.isOwedBy(of) &&
          this.now >= failedAt + GRACE,
      )
    );
  }

  // --- what comes back ------------------------------------------------------------------------

  /** What is left of an invoice; below 0 where it gave back more than it sold. */
  private leftOf({ lines, credits }: Invoice): Decimal {
    return sumOf(lines.map(({ gross, back }) => gross.minus(back))).minus(
      sumOf(credits.map(({ amount }) => amount)),
    );
  }

  /**
   * A credit note of all that is left of an invoice, as money or as account credit.
   *
   * @returns what came back; 0: it is refused, since less was paid in that way
   */
  note(invoice: Invoice, to: 'refund' | 'credit'): Decimal {
    const { paid, refunded, fromCredit } = invoice;
    const most = paid.minus(refunded).plus(to === 'credit' ? fromCredit : 0);
    return this.leftOf(invoice).greaterThan(most) ? ZERO : this.takeBack(invoice, to, most);
  }

  /**
   * All that is left of an invoice goes back, and so much of it at most.
   *
   * @returns what came back
   */
  private takeBack(invoice: Invoice, to: 'refund' | 'credit', atMost: Decimal): Decimal {
    const { lines, credits } = invoice;
    const left = this.leftOf(invoice);
    const most = atLeastZero(least(left, atMost));
    if (most.equals(left)) {
      // What it gave back of other lines is not given back any more.
      for (const line of lines) line.back = line.gross;
      for (const { line, amount } of credits) line.back = line.back.minus(amount);
      invoice.credits = [];
    } else {
      this.hasParts = true;
      let rest = most;
      for (const line of lines) rest = rest.minus(this.giveBack(line, rest));
    }
    if (to === 'refund') invoice.refunded = invoice.refunded.plus(most);
    else this.credit = this.credit.plus(most);
    return most;
  }

  /** A part of a line comes back, as money or as account credit. */
  takePart(invoice: Invoice, line: Line, amount: Decimal, to: 'refund' | 'credit'): void {
    line.back = line.back.plus(amount);
    if (to === 'refund') invoice.refunded = invoice.refunded.plus(amount);
    else this.credit = this.credit.plus(amount);
  }

  /** The same as a refund: with the whole of what pays for what is in force that ends. */
  refundPart(invoice: Invoice, line: Line, share: number): Decimal {
    if (share === 1 && this.isPresent(line)) this.lapse();
    const amount = money(line.gross.minus(line.back).times(share));
    if (amount.isZero()) return amount;
    this.takePart(invoice, line, amount, 'refund');
    if (this.isPresent(line)) this.endIfRefunded(invoice);
    return amount;
  }

  /** A refund: all that paid for what is in force ends it. */
  refund(invoice: Invoice): Decimal {
    const { paid, refunded, lines } = invoice;
    const back = this.awaited?.back;
    const kept = this.paysPresent(invoice) && back != null && lines.includes(back.line);
    const left = this.leftOf(invoice).plus(kept ? back.amount : 0);
    if (left.greaterThan(paid.minus(refunded))) return ZERO;
    if (this.paysPresent(invoice)) this.lapse();
    const came = this.note(invoice, 'refund');
    if (!came.isZero()) this.endIfRefunded(invoice);
    return came;
  }

  private endIfRefunded(invoice: Invoice): void {
    if (!this.paysPresent(invoice)) return;
    const one = this.subscription!;
    const { gross, back } = one.segments.at(-1)!.line!;
    if (back.equals(gross)) this.end(one);
  }

  /** The gateway took back what it had paid out, whatever came back of it before: that is no credit. */
  dispute(invoice: Invoice): void {
    if (this.paysPresent(invoice)) this.lapse();
    const amount = invoice.paid.minus(invoice.refunded);
    this.lowerCredits(invoice, amount);
    const came = this.takeBack(invoice, 'refund', amount);
    invoice.refunded = invoice.refunded.plus(amount.minus(came));
    this.credit = atLeastZero(this.credit.minus(amount.minus(came)));
    if (!came.isZero()) this.endIfRefunded(invoice);
  }

  /** Credits that wait for an invoice become less where so much goes back by itself. */
  private lowerCredits(invoice: Invoice, amount: Decimal): void {
    const { lines } = invoice;
    const left = this.leftOf(invoice);
    let missing = atLeastZero(amount.minus(left));
    for (const { back } of this.waiting) {
      if (back === null || !lines.includes(back.line)) continue;
      const taken = least(missing, back.amount);
      missing = missing.minus(taken);
      back.amount = back.amount.minus(taken);
      back.line.back = back.line.back.minus(taken);
    }
  }

  order(price: string, units: number): Line {
    const line = this.sell('pack', new Decimal(price));
    this.byOrder = this.byOrder.plus(line.gross);
    this.packs = this.packs.plus(units);
    return line;
  }

  /** Of an order: how much money goes back, and what is left of packs, is Refund's to say. */
  refundPack(line: Line, refunded: Decimal, packs: Decimal): void {
    this.byOrder = this.byOrder.minus(refunded.minus(line.back));
    line.back = refunded;
    this.packs = packs;
  }

  // --- what is told ---------------------------------------------------------------------------

  /** Money that came, less what went back. */
  kept(): Decimal {
    return sumOf(this.invoices.map(({ paid, refunded }) => paid.minus(refunded))).plus(
      this.byOrder,
    );
  }

  due(): Decimal {
    return sumOf(this.invoices.map(({ due }) => due));
  }

  /** Tax on what was invoiced or ordered, and did not come back, by percent. */
  taxes(): Map<string, Decimal> {
    const all = new Map<string, Decimal>();
    const waits = new Set(this.waiting.map(({ line }) => line));
    for (const line of this.lines) {
      const { gross, back, tax } = line;
      if (tax === null || waits.has(line)) continue;
      const key = String(tax.percent);
      all.set(key, (all.get(key) ?? ZERO).plus(taxIn(gross.minus(back), tax)));
    }
    return all;
  }
}

/** Running, or waiting for what it is to be paid by. */
const isInForce = ({ state }: Subscription): boolean => state === 'live' || state === 'awaiting';

/** All that an invoice is for was ended by its customer, and is not wanted again. */
const isCancelled = ({ of }: Invoice): boolean => [...of].every((one) => isOverByWish(one));

/** As what it goes on by now. */
const lastOf = (one: Subscription | null): Subscription | null =>
  one?.anew == null ? one : lastOf(one.anew);

const isOverByWish = (one: Subscription | null): boolean =>
  one !== null && (one.anew === null ? one.cancelled : isOverByWish(one.anew));

const sameInterval = (one: Plan, other: Plan): boolean =>
  one.interval.unit === other.interval.unit && one.interval.count === other.interval.count;
