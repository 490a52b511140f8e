import Decimal from 'decimal.js';

import { isBillingError, signTestNotice, type Billing, type Invoice } from '../../../engine';
import type { Standing } from './standings';
import { Oracle, sumOf, type Invoice as Sold, type Line, type Use } from './oracle';
import {
  PACK,
  couponOf,
  planOf,
  taxOf,
  type Action,
  type Part,
  type Program,
  type Step,
  type TaxName,
} from './programs';

/** One customer of the engine beside the oracle's: does the same to both, and compares. */

const TOKENS = { good: 'test_ok', bad: 'test_declined' } as const;

/** What the engine may refuse because of how things stand; anything else is a fault. */
const REFUSALS = [
  'subscription_state',
  'invoice_state',
  'order_state',
  'invalid_input',
  'refund_exceeds_paid',
  'hold_not_open',
  'restore_exceeds_use',
];

const ON_SUBSCRIPTION = ['change', 'cancel', 'undo', 'pause', 'resume', 'reactivate', 'steps'];

/** Of the programs of a run; each is told by this name. */
export interface Setting {
  billing: Billing;
  webhookSecret: string;
}

export class Disagreement extends Error {}

const REFUSED = Symbol('refused');

/** What a request came to: its answer, or that it was refused. */
async function outcomeOf<T>(work: () => Promise<T>): Promise<T | typeof REFUSED> {
  try {
    const answer = await work();
    const isDenied = (answer as { allowed?: boolean } | null)?.allowed === false;
    return isDenied ? REFUSED : answer;
  } catch (error) {
    if (isBillingError(error) && REFUSALS.includes(error.code)) return REFUSED;
    throw error;
  }
}

const taxDetails = (name: TaxName) => ({
  status:
    name === 'reverse'
      ? ('reverse_charge' as const)
      : name === 'exempt'
        ? name
        : ('normal' as const),
  taxRate: taxOf(name) === null ? null : name,
});

export class Customer {
  readonly oracle: Oracle;
  private subscriptionId: string | null = null;
  private readonly holds: Array<{ holdId: string; use: Use }> = [];
  private readonly uses: Array<{ entryId: string; use: Use }> = [];
  private readonly packs: Array<{ orderId: string; line: Line }> = [];
  /** Those of which the gateway took the money back, on both sides. */
  private readonly disputed = new Set<unknown>();
  /** Those that were paid by bank: money of theirs goes back by hand. */
  private readonly byHand = new Set<Sold>();
  private keys = 0;

  private constructor(
    private readonly setting: Setting,
    readonly account: string,
    readonly program: Program,
    now: number,
  ) {
    const { zone, tax, card } = program;
    this.oracle = new Oracle({ zone, tax: taxOf(tax), card, now });
  }

  static async open(
    setting: Setting,
    externalId: string,
    program: Program,
    now: number,
  ): Promise<Customer> {
    const { billing } = setting;
    const { accountId: account } = await billing.accounts.identify({ externalId });
    const one = new Customer(setting, account, program, now);
    const { zone: timeZone, tax } = program;
    if (timeZone !== 'UTC' || tax !== 'none') {
      await billing.accounts.update({ account, timeZone, tax: taxDetails(tax) });
    }
    await one.saveCard();
    return one;
  }

  // --- doing ----------------------------------------------------------------------------------

  async step({ act, twice }: Step): Promise<void> {
    this.keys += 1;
    const idempotencyKey = `${this.keys} ${act.do}`;
    const said = await this.act(act, idempotencyKey, twice);
    if (said === null) return;
    const { engine, oracle } = said;
    if (engine !== oracle) {
      const word = (done: boolean): string => (done ? 'does' : 'refuses');
      throw new Disagreement(
        `${act.do}: the engine ${word(engine)} it, the oracle ${word(oracle)} it.`,
      );
    }
  }

  /** Sends a request, and once more where that is wanted; the answer must be the same. */
  private async send<T>(work: () => Promise<T>, twice: boolean): Promise<T | typeof REFUSED> {
    const first = await outcomeOf(work);
    if (!twice || first === REFUSED) return first;
    const second = await outcomeOf(work);
    const plain = (answer: unknown): string =>
      // Whether the gateway has answered by then is beside it.
      JSON.stringify({ ...(answer as object), replayed: undefined, refunds: undefined });
    if (plain(second) !== plain(first)) {
      throw new Disagreement(`repeated, it answers ${plain(second)} instead of ${plain(first)}`);
    }
    return first;
  }

  private async act(
    act: Action,
    idempotencyKey: string,
    twice: boolean,
  ): Promise<{ engine: boolean; oracle: boolean } | null> {
    const { billing } = this.setting;
    const { oracle, subscriptionId } = this;
    const send = async (work: () => Promise<unknown>): Promise<boolean> =>
      (await this.send(work, twice)) !== REFUSED;
    const isOnSubscription = ON_SUBSCRIPTION.includes(act.do);
    if (subscriptionId === null && isOnSubscription) return null;
    const onSubscription = { subscriptionId: subscriptionId!, idempotencyKey };
    switch (act.do) {
      case 'start':
        return this.start(act, idempotencyKey, twice);
      case 'change': {
        const { plan, quantity, when, mode, prorations } = act;
        // How much of a period in arrears is owed then, the rules do not say.
        const isBilledLater = oracle.subscription?.plan.bill === 'arrears';
        if (isBilledLater && when !== 'period_end' && plan !== 'late') return null;
        // By an invoice that is sent: the engine cuts what was free before the new is paid.
        const isSent = oracle.subscription?.how === 'send';
        if (isSent && when !== 'period_end' && oracle.isFree()) return null;
        const wanted = { ...onSubscription, sku: plan, quantity, when, mode, prorations };
        const engine = await send(() => billing.subscriptions.change(wanted as never));
        return {
          engine,
          oracle: oracle.change({ plan: plan && planOf(plan), quantity, when, mode, prorations }),
        };
      }
      case 'cancel': {
        const { when, credit } = act;
        const wanted = { ...onSubscription, when, credit };
        const engine = await send(() => billing.subscriptions.cancel(wanted as never));
        return { engine, oracle: oracle.cancel(when, credit) };
      }
      case 'undo':
      case 'pause':
      case 'resume':
      case 'reactivate': {
        const engine = await send(() => billing.subscriptions[act.do](onSubscription));
        return { engine, oracle: oracle[act.do]() };
      }
      case 'steps': {
        const wanted = { ...onSubscription, product: 'EXTRA', steps: act.steps };
        const engine = await send(() => billing.subscriptions.addSteps(wanted));
        return { engine, oracle: oracle.addSteps(act.steps) };
      }
      case 'pack':
        await this.buyPack(idempotencyKey, twice);
        return null;
      case 'use':
      case 'hold':
        await this.take(act.do, act.share, idempotencyKey, twice);
        return null;
      case 'settle':
        await this.settleHold(act.share, idempotencyKey, twice);
        return null;
      case 'restore':
        await this.restoreUse(idempotencyKey, twice);
        return null;
      case 'note':
      case 'refund':
      case 'dispute':
      case 'pay':
        return this.onInvoice(act, idempotencyKey, twice);
      case 'refundPack':
        return this.refundPack(act.which, act.used, idempotencyKey, twice);
      case 'tax':
        await billing.accounts.update({ account: this.account, tax: taxDetails(act.tax) });
        oracle.tax = taxOf(act.tax);
        return null;
      case 'card':
        oracle.saveCard(act.card);
        await this.saveCard();
        return null;
    }
  }

  private async start(
    { plan, quantity, how, coupon }: Extract<Action, { do: 'start' }>,
    idempotencyKey: string,
    twice: boolean,
  ): Promise<{ engine: boolean; oracle: boolean } | null> {
    const { billing } = this.setting;
    const code = coupon === undefined ? null : couponOf(coupon);
    const before = this.oracle.subscription;
    if (before !== null && before.state !== 'over') return null;
    // Money that comes late would begin the one before beside this one.
    if (before?.lapsed === true && before.plan !== planOf(plan)) return null;
    const oracle = this.oracle.start(planOf(plan), quantity, how, code);
    const answer = await this.send(
      () =>
        billing.subscriptions.start({
          ...{ account: this.account, sku: plan, quantity, collection: how, idempotencyKey },
          coupon: code?.code,
        }),
      twice,
    );
    if (answer !== REFUSED) this.subscriptionId = answer.subscriptionId;
    return { engine: answer !== REFUSED, oracle };
  }

  private async buyPack(idempotencyKey: string, twice: boolean): Promise<void> {
    const { sales } = this.setting.billing;
    const items = [{ sku: PACK.sku }];
    const order = await this.send(
      () => sales.createOrder({ account: this.account, items, idempotencyKey }),
      twice,
    );
    if (order === REFUSED) throw new Disagreement('a pack is not sold');
    const orderId = order.orderId!;
    await this.send(
      () => sales.confirmOrder({ orderId, paymentId: `pay ${orderId}`, idempotencyKey }),
      twice,
    );
    this.packs.push({ orderId, line: this.oracle.order(PACK.price, PACK.units) });
  }

  private async refundPack(
    which: number,
    used: 'forgive' | 'charge',
    idempotencyKey: string,
    twice: boolean,
  ): Promise<{ engine: boolean; oracle: boolean } | null> {
    const pack = this.packs[which];
    if (pack === undefined) return null;
    const { orderId, line } = pack;
    const { sales } = this.setting.billing;
    const answer = await this.send(
      () => sales.refundOrder({ orderId, used, idempotencyKey }),
      twice,
    );
    if (answer === REFUSED) return null;
    const { refunded } = await sales.getOrder({ orderId });
    this.oracle.refundPack(line, new Decimal(refunded), new Decimal(await this.packUnits()));
    return null;
  }

  /** What is left of packs: units that never expire. */
  private async packUnits(): Promise<string> {
    const grants = await this.setting.billing.ledger.grants({
      account: this.account,
      product: 'MSG',
    });
    return sumOf(
      grants
        .filter(({ expiresAt }) => expiresAt === null)
        .map(({ remaining }) => new Decimal(remaining)),
    ).toFixed();
  }

  private async take(
    how: 'use' | 'hold',
    share: number,
    idempotencyKey: string,
    twice: boolean,
  ): Promise<void> {
    const { ledger } = this.setting.billing;
    const there = new Decimal(await this.usable());
    const amount = there.times(share).ceil();
    if (amount.isZero()) return;
    const wanted = {
      ...{ account: this.account, product: 'MSG', amount: amount.toFixed(), idempotencyKey },
    };
    if (how === 'use') {
      const answer = await this.send(() => ledger.consume(wanted), twice);
      if (answer === REFUSED) throw new Disagreement('what is there cannot be used');
      const use = this.oracle.use(amount);
      if (use !== null) this.uses.push({ entryId: answer.entryId!, use });
    } else {
      const expiresIn = { unit: 'year' as const, count: 1 };
      const answer = await this.send(() => ledger.hold({ ...wanted, expiresIn }), twice);
      if (answer === REFUSED) throw new Disagreement('what is there cannot be held');
      const use = this.oracle.use(amount);
      if (use !== null) this.holds.push({ holdId: answer.holdId!, use });
    }
  }

  private async settleHold(share: number, idempotencyKey: string, twice: boolean): Promise<void> {
    const hold = this.holds.pop();
    if (hold === undefined) return;
    const amount = hold.use.amount.times(share).floor();
    const { ledger } = this.setting.billing;
    const { holdId } = hold;
    await this.send(
      () => ledger.settle({ holdId, amount: amount.toFixed(), idempotencyKey }),
      twice,
    );
    this.oracle.restore(hold.use, hold.use.amount.minus(amount));
  }

  private async restoreUse(idempotencyKey: string, twice: boolean): Promise<void> {
    const last = this.uses.pop();
    if (last === undefined) return;
    const { entryId, use } = last;
    await this.send(() => this.setting.billing.ledger.restore({ entryId, idempotencyKey }), twice);
    this.oracle.restore(use, use.amount);
  }

  // --- invoices -------------------------------------------------------------------------------

  /** An invoice that is there on both sides: the one of that many that were paid, or are to be. */
  private async invoiceAt(
    which: number,
    wanted: 'paid' | 'due',
  ): Promise<{ theirs: Invoice; ours: Sold } | null> {
    const theirs = (await this.invoices())
      .toReversed()
      .filter(({ invoiceId }) => !this.disputed.has(invoiceId))
      .filter(({ paid, refunded, amountDue }) =>
        new Decimal(wanted === 'paid' ? paid : amountDue)
          .minus(wanted === 'paid' ? refunded : 0)
          .greaterThan(0),
      );
    const kept = this.oracle.invoices.filter((one) => !this.disputed.has(one));
    const ours = kept.filter(({ paid, refunded, due }) =>
      (wanted === 'paid' ? paid.minus(refunded) : due).greaterThan(0),
    );
    if (theirs.length !== ours.length) {
      const shown = `${theirs.map(({ total }) => total)} and ${ours.map(({ total }) => total.toFixed(2))}`;
      throw new Disagreement(`invoices ${wanted}: ${shown}`);
    }
    const at = ours.length === 0 ? 0 : which % ours.length;
    return ours.length === 0 ? null : { theirs: theirs[at]!, ours: ours[at]! };
  }

  private async onInvoice(
    act: Extract<Action, { which: number }>,
    idempotencyKey: string,
    twice: boolean,
  ): Promise<{ engine: boolean; oracle: boolean } | null> {
    const found = await this.invoiceAt(act.which, act.do === 'pay' ? 'due' : 'paid');
    if (found === null) return null;
    const { invoicing } = this.setting.billing;
    const { ours, theirs } = found;
    // Credits that wait share the invoice of a first payment there: what is left of it is another sum.
    const sharesCredit = theirs.lines.some(({ kind }) => kind === 'proration_credit');
    if (act.do !== 'pay' && sharesCredit && ours.credits.length === 0) return null;
    const { invoiceId } = theirs;
    const send = async (work: () => Promise<unknown>): Promise<boolean> =>
      (await this.send(work, twice)) !== REFUSED;
    if (act.do === 'pay') {
      const engine = await send(() =>
        invoicing.markPaid({ invoiceId, method: 'bank_transfer', idempotencyKey }),
      );
      this.byHand.add(ours);
      return { engine, oracle: this.oracle.pay(ours) };
    }
    const asMoney = act.do === 'refund' || (act.do === 'note' && act.to === 'refund');
    if (asMoney && this.byHand.has(ours)) return null;
    if ('part' in act && act.part !== undefined) {
      return this.takePart(act, act.part, found, idempotencyKey, twice);
    }
    if (act.do === 'dispute') {
      if (!(await this.dispute(theirs))) return null;
      this.disputed.add(invoiceId).add(ours);
      this.oracle.dispute(ours);
      return null;
    }
    const engine =
      act.do === 'note'
        ? await send(() => invoicing.createCreditNote({ invoiceId, to: act.to, idempotencyKey }))
        : await send(() => invoicing.refundInvoice({ invoiceId, idempotencyKey }));
    const came = act.do === 'note' ? this.oracle.note(ours, act.to) : this.oracle.refund(ours);
    return { engine, oracle: !came.isZero() };
  }

  /** A part of a line, where both sides can tell which it is. */
  private async takePart(
    act: Extract<Action, { part?: Part }>,
    part: Part,
    { ours, theirs }: { ours: Sold; theirs: Invoice },
    idempotencyKey: string,
    twice: boolean,
  ): Promise<{ engine: boolean; oracle: boolean } | null> {
    // What credit paid, or lowered, does not come back as money.
    const isPlain = ours.credits.length === 0 && ours.fromCredit.isZero() && ours.due.isZero();
    const line = ours.lines[part.line];
    if (!isPlain || line === undefined) return null;
    const same = theirs.lines.filter(({ total }) => line.gross.equals(total));
    const alike = ours.lines.filter(({ gross }) => gross.equals(line.gross));
    if (same.length !== 1 || alike.length !== 1) return null;
    const { position } = same[0]!;
    const { invoiceId } = theirs;
    const { invoicing } = this.setting.billing;
    if (act.do === 'refund') {
      const amount = this.oracle.refundPart(ours, line, part.share);
      if (amount.isZero()) return null;
      const some = part.share === 1 ? {} : { amount: amount.toFixed(2) };
      const wanted = { invoiceId, line: position, ...some, idempotencyKey };
      const engine = await this.send(() => invoicing.refundInvoice(wanted), twice);
      return { engine: engine !== REFUSED, oracle: true };
    }
    const amount = line.gross.minus(line.back).times(part.share).toDecimalPlaces(2);
    if (amount.isZero()) return null;
    const lines = [{ position, amount: amount.toFixed(2) }];
    const wanted = { invoiceId, lines, to: act.to, idempotencyKey };
    const engine = await this.send(() => invoicing.createCreditNote(wanted), twice);
    this.oracle.takePart(ours, line, amount, act.to);
    return { engine: engine !== REFUSED, oracle: true };
  }

  private async dispute({ invoiceId, paid, refunded }: Invoice): Promise<boolean> {
    const { billing, webhookSecret } = this.setting;
    const { items } = await billing.payments.attempts({ invoiceId });
    const charge = items.find(({ status }) => status === 'succeeded');
    if (charge === undefined) return false;
    const amount = new Decimal(paid).minus(refunded).toFixed(2);
    const reference = `dispute ${invoiceId} ${this.keys}`;
    const refund = { status: 'succeeded', reference, charge: charge.reference };
    const rawBody = JSON.stringify([
      { noticeId: reference, kind: 'refund', refund, amount, currency: 'USD' },
    ]);
    const headers = signTestNotice(webhookSecret, rawBody);
    await billing.payments.handleWebhook({ gateway: 'test', rawBody, headers });
    return true;
  }

  // --- the customer ---------------------------------------------------------------------------

  private async saveCard(): Promise<void> {
    const { card } = this.oracle;
    if (card === null) return;
    await this.setting.billing.payments.saveMethod({
      ...{ account: this.account, gateway: 'test', token: TOKENS[card], makeDefault: true },
    });
  }

  // --- comparing ------------------------------------------------------------------------------

  private async usable(): Promise<string> {
    const { ledger } = this.setting.billing;
    const answer = await ledger.check({ account: this.account, product: 'MSG' });
    return answer.allowed ? answer.remaining! : '0';
  }

  private async invoices(): Promise<Invoice[]> {
    const { invoicing } = this.setting.billing;
    const { items } = await invoicing.listInvoices({ account: this.account, limit: 500 });
    return items.filter(({ status }) => status !== 'draft');
  }

  /** Compares all that the oracle tells with what the engine says. */
  compare(standing: Standing): void {
    const { oracle } = this;
    const cents = oracle.roundings / 100;
    const usable = oracle.usable();
    if (!oracle.staysTwice) {
      this.same('MSG', standing.MSG, usable.MSG, oracle.roundings + 0.999);
    }
    // What is overdue denies what it brought, and nothing beside.
    if (!oracle.isOverdue()) {
      if (!oracle.staysTwice) {
        this.same('EXTRA', standing.EXTRA, usable.EXTRA, oracle.roundings + 0.999);
      }
      this.same('GIFT', standing.GIFT, usable.GIFT, 0);
    }
    this.same('money kept', standing.kept, oracle.kept(), cents);
    this.same('money due', standing.due, oracle.due(), cents);
    this.same('account credit', standing.credit, oracle.credit, cents);
    if (oracle.hasParts) return;
    const taxes = oracle.taxes();
    for (const percent of new Set([...taxes.keys(), ...standing.taxes.keys()])) {
      const engine = standing.taxes.get(percent) ?? 0;
      const within = (oracle.roundings + oracle.lines.length) / 100;
      this.same(`tax of ${percent} %`, engine, taxes.get(percent) ?? new Decimal(0), within);
    }
  }

  private same(what: string, engine: Decimal.Value, oracle: Decimal, within: number): void {
    if (oracle.minus(engine).abs().lessThanOrEqualTo(within)) return;
    throw new Disagreement(
      `${what}: the engine says ${new Decimal(engine).toFixed()}, the oracle ${oracle.toFixed()}`,
    );
  }
}
