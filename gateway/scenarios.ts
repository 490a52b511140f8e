import assert from 'node:assert/strict';

import type { ChargeOutcome, Gateway, GatewayCharge } from '../engine';
import { chargeOf, type Shop } from './shop';
import type { Booked, CompleteTrial, GatewayTrial, Happenings, TokenKind, Webhook } from './trial';

/**
 * What every gateway is tried with. Each scenario sells something, lets something happen, and looks at
 * what the customer has; the provider's book is compared with the engine's after each.
 */
export interface Scenario {
  name: string;
  /** Whether a trial brings what it needs. */
  fits(trial: GatewayTrial<never>): boolean;
  run(tried: Tried): Promise<void>;
}

export interface Tried {
  trial: CompleteTrial<never>;
  shop: Shop<never>;
  /** Another provider with an empty book, of which no engine knows. */
  alone<T>(work: (gateway: Gateway, book: () => Promise<Booked[]>) => Promise<T>): Promise<T>;
}

const has =
  (...tokens: TokenKind[]) =>
  ({ tokens: given }: GatewayTrial<never>): boolean =>
    tokens.every((token) => given[token] !== undefined);

const tells =
  (...names: Array<keyof Happenings<never>>) =>
  ({ webhooks }: GatewayTrial<never>): boolean =>
    names.every((name) => webhooks?.[name] !== undefined);

const always = (): boolean => true;

/** A key as the engine makes them: as long, and never the same twice. */
const newKey = (): string => `trial-${crypto.randomUUID()}`;

/** Half of an amount, to the last digit that it is written with. */
function halfOf(amount: string): string {
  const decimals = amount.split('.')[1]?.length ?? 0;
  const half = (BigInt(amount.replace('.', '')) / 2n).toString().padStart(decimals + 1, '0');
  return decimals === 0 ? half : `${half.slice(0, -decimals)}.${half.slice(-decimals)}`;
}

async function isRefused(given: Promise<unknown>, code: string): Promise<void> {
  await assert.rejects(given, (error: { code?: unknown }) => {
    assert.equal(error.code, code, String(error));
    return true;
  });
}

/** The same webhook with one byte of its body changed. */
function forged({ rawBody, headers }: Webhook): Webhook {
  const body = Buffer.from(rawBody);
  const place = body.lastIndexOf('a');
  assert(place >= 0, 'a webhook to be forged has an "a" in it');
  body[place] = 'b'.charCodeAt(0);
  return { rawBody: body, headers };
}

const CHARGES: Scenario[] = [
  {
    name: 'charge',
    fits: always,
    async run({ shop }) {
      await shop.paid();
    },
  },
  {
    name: 'amounts to the last digit',
    fits: always,
    async run({ shop, trial: { amounts } }) {
      for (const [currency, amount] of Object.entries(amounts)) {
        const sale = await shop.sale('succeeds', currency);
        const attempt = await shop.pay(sale);
        assert.equal(attempt.status, 'succeeded');
        assert.deepEqual([attempt.amount, attempt.currency], [amount, currency]);
      }
    },
  },
  {
    name: 'card on file',
    fits: always,
    async run({ shop, trial: { tokens } }) {
      const { account } = await shop.sale();
      const saved = await shop.saveMethod(account, tokens.succeeds);
      const again = await shop.saveMethod(account, tokens.succeeds);
      assert.equal(again.methodId, saved.methodId, 'the same token is the same method');
      await isRefused(shop.saveMethod(account, 'no-such-token-anywhere'), 'invalid_input');
    },
  },
  ...(['declined', 'declinedForGood'] as const).map((token): Scenario => ({
    name: token === 'declined' ? 'decline' : 'decline for good',
    fits: has(token),
    async run({ shop }) {
      const sale = await shop.sale(token);
      const { status, hard, code, message } = await shop.pay(sale);
      assert.deepEqual([status, hard], ['failed', token === 'declinedForGood']);
      assert(code !== null && message !== null, 'a decline says its code, and what happened');
      await shop.isUnpaid(sale);
    },
  })),
  {
    name: 'authentication needed',
    fits: (trial) => has('needsAction')(trial) && tells('confirmed')(trial),
    async run({ shop, trial: { webhooks } }) {
      const sale = await shop.sale('needsAction');
      const attempt = await shop.pay(sale);
      assert.equal(attempt.status, 'requires_action');
      assert(attempt.actionUrl !== null, 'it says where the customer confirms');
      await shop.isUnpaid(sale);
      const told = await webhooks!.confirmed!(shop.provider, chargeOf(attempt));
      await shop.hearsOften(told);
      await shop.isPaid(sale);
    },
  },
  ...(
    [
      ['pending', 'decided later'],
      ['requestLost', 'time-out before charging'],
      ['answerLost', 'time-out after charging'],
      ['garbage', 'an answer that makes no sense'],
    ] as const
  ).map(([token, name]): Scenario => ({
    name,
    fits: has(token),
    async run({ shop }) {
      const sale = await shop.sale(token);
      const { attemptId, status } = await shop.pay(sale);
      assert(['unknown', 'pending'].includes(status), `nobody knows yet, and it says ${status}`);
      await shop.isUnpaid(sale);
      await shop.later();
      await shop.isPaid(sale);
      assert.equal((await shop.pay(sale)).attemptId, attemptId);
    },
  })),
];

/** What the engine would ask a gateway to charge, for whom it makes itself known first. */
async function newCharge(gateway: Gateway, trial: CompleteTrial<never>): Promise<GatewayCharge> {
  const payerId = crypto.randomUUID();
  const made = await gateway.createCustomer?.({ payerId, idempotencyKey: newKey() });
  const customer = made?.reference ?? null;
  const { reference } = await gateway.attachMethod!({ customer, token: trial.tokens.succeeds });
  const [currency, amount] = Object.entries(trial.amounts)[0]!;
  const attemptId = crypto.randomUUID();
  const description = 'Trial';
  return {
    ...{ attemptId, idempotencyKey: newKey(), amount, currency, customer },
    ...{ method: reference, description },
  };
}

/** What was answered; a provider may refuse those that come while the first is under way. */
async function answersTo<T>(asked: Array<Promise<T>>): Promise<T[]> {
  const settled = await Promise.allSettled(asked);
  return settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
}

interface Referred {
  reference: string | null;
}

const referencesOf = (answers: Referred[]): number =>
  new Set(answers.map(({ reference }) => reference)).size;

/** Undefined: the gateway cannot look anything up. */
function isFound(answers: Referred[], found: Referred | null | undefined): void {
  if (found === undefined) return;
  assert(found !== null, 'what was done is found');
  assert.equal(referencesOf([...answers, found]), 1, 'what is found is what was answered');
}

const ONCE: Scenario[] = [
  {
    name: 'one key, twenty times at once and once more',
    fits: always,
    run: ({ trial, alone }) =>
      alone(async (gateway, book) => {
        const asked = await newCharge(gateway, trial);
        const charge = (): Promise<ChargeOutcome> => gateway.charge!(asked);
        const answers = await answersTo(Array.from({ length: 20 }, charge));
        answers.push(await charge());
        assert.equal(referencesOf(answers), 1, 'all that are answered are the same charge');
        assert.equal((await book()).length, 1, 'it is charged once');
        isFound(answers, await gateway.findCharge?.(asked));
      }),
  },
  {
    name: 'a charge that it never heard of',
    fits: always,
    run: ({ trial, alone }) =>
      alone(async (gateway) => {
        if (gateway.findCharge === undefined) return;
        assert.equal(await gateway.findCharge(await newCharge(gateway, trial)), null);
      }),
  },
  {
    name: 'one refund, twice',
    fits: always,
    run: ({ trial, alone }) =>
      alone(async (gateway, book) => {
        if (gateway.refund === undefined) return;
        const { amount, currency, ...asked } = await newCharge(gateway, trial);
        const { reference } = await gateway.charge!({ ...asked, amount, currency });
        const refund = {
          ...{ refundId: crypto.randomUUID(), idempotencyKey: newKey() },
          ...{ charge: reference!, amount: halfOf(amount), currency },
        };
        const answers = [await gateway.refund(refund), await gateway.refund(refund)];
        assert.equal(referencesOf(answers), 1);
        assert.equal((await book()).filter(({ kind }) => kind === 'refund').length, 1);
        isFound(answers, await gateway.findRefund?.(refund));
      }),
  },
];

const REFUNDS: Scenario[] = [
  {
    name: 'full refund',
    fits: always,
    async run({ shop }) {
      const sale = await shop.paid();
      await shop.billing.sales.refundOrder({ orderId: sale.orderId });
      await shop.later();
      await shop.isRefunded(sale);
    },
  },
  {
    name: 'refunds in parts, and no more than was paid',
    fits: always,
    async run({ shop }) {
      const { orderId, charge } = await shop.paid();
      const part = halfOf(charge.amount);
      await shop.billing.sales.refundOrder({ orderId, amount: part });
      await shop.later();
      await isRefused(
        shop.billing.sales.refundOrder({ orderId, amount: charge.amount }),
        'refund_exceeds_paid',
      );
      await shop.billing.sales.refundOrder({ orderId });
      await shop.later();
      const { items } = await shop.billing.payments.refundsDue();
      assert.deepEqual(items, [], 'the gateway has given back all');
    },
  },
  ...(['refunded', 'disputeLost'] as const).map((happens): Scenario => ({
    name: happens === 'refunded' ? 'refund in its dashboard' : 'dispute lost',
    fits: tells(happens),
    async run({ shop, trial: { webhooks } }) {
      const { charge, ...sale } = await shop.paid();
      await shop.hearsOften(await webhooks![happens]!(shop.provider, charge));
      await shop.isRefunded(sale);
    },
  })),
  {
    name: 'dispute won',
    fits: tells('disputeWon'),
    async run({ shop, trial: { webhooks } }) {
      const { charge, ...sale } = await shop.paid();
      await shop.hears(await webhooks!.disputeWon!(shop.provider, charge));
      await shop.isPaid(sale);
    },
  },
];

/** A sale of which the customer paid on the gateway's page, and the webhook that tells so. */
async function paidOnPage({ shop, trial }: Tried) {
  const sale = await shop.sale();
  const link = await shop.billing.payments.checkoutLink({
    ...sale,
    gateway: shop.gateway.name,
    returnUrl: 'https://shop.example.com/thanks',
  });
  assert(URL.canParse(link.url));
  await shop.isUnpaid(sale);
  const told = await trial.webhooks!.paid!(shop.provider, link);
  return { sale, told };
}

const WEBHOOKS: Scenario[] = [
  {
    name: 'paid on its page, told five times',
    fits: tells('paid'),
    async run(tried) {
      const { sale, told } = await paidOnPage(tried);
      await tried.shop.hearsOften(told);
      await tried.shop.isPaid(sale);
    },
  },
  {
    name: 'a webhook told by twenty workers at once',
    fits: tells('paid'),
    async run(tried) {
      const { sale, told } = await paidOnPage(tried);
      const heard = await Promise.all(Array.from({ length: 20 }, () => tried.shop.hears(told)));
      assert.equal(heard.filter(({ handled }) => handled > 0).length, 1);
      await tried.shop.isPaid(sale);
    },
  },
  {
    name: 'forged and unsigned webhooks',
    fits: tells('paid'),
    async run(tried) {
      const { sale, told } = await paidOnPage(tried);
      await isRefused(tried.shop.hears(forged(told)), 'forbidden');
      await isRefused(tried.shop.hears({ ...told, headers: {} }), 'forbidden');
      await tried.shop.isUnpaid(sale);
      await tried.shop.hears(told);
      await tried.shop.isPaid(sale);
    },
  },
  ...(['unknown', 'foreign'] as const).map((name): Scenario => ({
    name: name === 'unknown' ? 'a webhook of something else' : "another seller's webhook",
    fits: tells(name),
    async run({ shop, trial: { webhooks } }) {
      const told = await webhooks![name]!(shop.provider);
      for (let time = 0; time < 2; time += 1) {
        assert.equal((await shop.hears(told)).handled, 0);
      }
    },
  })),
];

export const SCENARIOS: readonly Scenario[] = [...CHARGES, ...ONCE, ...REFUNDS, ...WEBHOOKS];
