import assert from 'node:assert/strict';

import {
  TestClock,
  openBilling,
  type Billing,
  type Gateway,
  type HandledWebhook,
  type PaymentAttempt,
} from '../engine';
import type { Booked, ChargeThere, CompleteTrial, TokenKind, Webhook } from './trial';

/** Units that an order brings. */
const UNITS = '100';
/** Longer than any attempt without an answer is left alone. */
const LATER = 3 * 60 * 60_000;

export interface Sale {
  account: string;
  orderId: string;
}

const inOrder = (booked: readonly Booked[]): string[] =>
  booked.map(({ kind, amount, currency }) => `${kind} ${amount} ${currency}`).sort();

/** A seller with an engine in memory, who sells by a gateway that is tried. */
export class Shop<Provider = unknown> {
  private sold = 0;

  private constructor(
    readonly billing: Billing,
    readonly gateway: Gateway,
    readonly provider: Provider,
    private readonly trial: CompleteTrial<Provider>,
    private readonly clock: TestClock,
    private readonly closeProvider: () => Promise<void> | void,
  ) {}

  static async open<Provider>(trial: CompleteTrial<Provider>): Promise<Shop<Provider>> {
    const { gateway, provider, close = () => undefined } = await trial.open();
    const clock = new TestClock();
    const connection = { embedded: 'memory' };
    const billing = await openBilling({ connection, clock, gateways: [gateway] });
    await billing.catalog.saveProduct({ key: 'UNITS', name: 'Units' });
    for (const [currency, price] of Object.entries(trial.amounts)) {
      const items = [{ product: 'UNITS', quantity: UNITS }];
      await billing.catalog.saveOffer({ sku: currency, name: 'Pack', price, currency, items });
    }
    return new Shop(billing, gateway, provider, trial, clock, close);
  }

  async close(): Promise<void> {
    await this.billing.close();
    await this.closeProvider();
  }

  /** The first of the currencies that are tried. */
  get currency(): string {
    return Object.keys(this.trial.amounts)[0]!;
  }

  /** A new customer's order; with a method on file where a token is named. */
  async sale(token?: TokenKind, currency = this.currency): Promise<Sale> {
    this.sold += 1;
    const { accountId: account } = await this.billing.accounts.identify({
      externalId: `customer-${this.sold}`,
    });
    if (token !== undefined) await this.saveMethod(account, this.trial.tokens[token]!);
    const order = await this.billing.sales.createOrder({ account, items: [{ sku: currency }] });
    assert(order.allowed);
    return { account, orderId: order.orderId };
  }

  saveMethod(account: string, token: string) {
    return this.billing.payments.saveMethod({ account, gateway: this.gateway.name, token });
  }

  pay({ orderId }: Sale): Promise<PaymentAttempt> {
    return this.billing.payments.payOrder({ orderId });
  }

  /** Pays what can be paid at once, and gives the charge as the provider names it. */
  async paid(token: TokenKind = 'succeeds'): Promise<Sale & { charge: ChargeThere }> {
    const sale = await this.sale(token);
    const charge = chargeOf(await this.pay(sale));
    await this.isPaid(sale);
    return { ...sale, charge };
  }

  /** Time goes by, and what is due is done: answers that were lost are asked for, refunds are sent. */
  async later(): Promise<void> {
    this.clock.advance(LATER);
    const { failed } = await this.billing.runDue();
    assert.deepEqual(failed, []);
  }

  hears({ rawBody, headers }: Webhook): Promise<HandledWebhook> {
    return this.billing.payments.handleWebhook({ gateway: this.gateway.name, rawBody, headers });
  }

  /** The same webhook again and again, as after answers that were lost. */
  async hearsOften(told: Webhook): Promise<void> {
    for (let time = 0; time < 5; time += 1) await this.hears(told);
  }

  /** The order is paid, and its units are there once. */
  async isPaid(sale: Sale): Promise<void> {
    assert.deepEqual(await this.standing(sale), { status: 'paid', units: UNITS });
  }

  async isUnpaid(sale: Sale): Promise<void> {
    assert.deepEqual(await this.standing(sale), { status: 'pending', units: '0' });
  }

  async isRefunded(sale: Sale): Promise<void> {
    assert.deepEqual(await this.standing(sale), { status: 'refunded', units: '0' });
  }

  private async standing({
    account,
    orderId,
  }: Sale): Promise<{ status: string; units: string | null }> {
    const { status } = await this.billing.sales.getOrder({ orderId });
    const { available } = await this.billing.ledger.balance({ account, product: 'UNITS' });
    return { status, units: available };
  }

  /** What the provider has taken and given back is what the engine knows of, and the engine's books agree. */
  async agree(): Promise<void> {
    const { items } = await this.billing.events.list({
      types: ['payment.succeeded', 'payment.refunded'],
      limit: 1_000,
    });
    const known = items.map(({ type, data }): Booked => {
      const { amount, currency } = data as { amount: string; currency: string };
      return { kind: type === 'payment.succeeded' ? 'charge' : 'refund', amount, currency };
    });
    assert.deepEqual(inOrder(await this.trial.book(this.provider)), inOrder(known));
    const { problems } = await this.billing.verify();
    assert.deepEqual(problems, []);
  }
}

export function chargeOf({ attemptId, reference, amount, currency }: PaymentAttempt): ChargeThere {
  assert(typeof reference === 'string', 'an attempt that was answered has the id of the charge');
  return { attemptId, reference, amount, currency };
}
