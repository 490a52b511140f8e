import { createHmac } from 'node:crypto';

import {
  BillingError,
  type Booked,
  type ChargeOutcome,
  type Gateway,
  type GatewayCharge,
  type GatewayNotice,
  type GatewayRefund,
  type GatewayTrial,
  type RefundOutcome,
  type Webhook,
} from '../../gateway';

/** A gateway and its provider in a few lines: what the trial of gateways is itself tried with. */

const SECRET = 'only the provider and the seller know it';

const sign = (body: string | Buffer): string =>
  createHmac('sha256', SECRET).update(body).digest('hex');

const outcome = (reference: string, change: Partial<ChargeOutcome> = {}): ChargeOutcome => ({
  ...{ status: 'succeeded', reference, code: null, text: null, rejectReason: null, message: null },
  ...{ hard: false, actionUrl: null },
  ...change,
});

const DECLINES: Record<string, Partial<ChargeOutcome>> = {
  declined: { status: 'failed', code: 'funds', message: 'There is not enough on it.' },
  lost: { status: 'failed', code: 'lost', message: 'The card was reported lost.', hard: true },
};

/** The provider's side: what it has, by the keys it was given. */
export class Provider {
  readonly charges = new Map<string, { asked: GatewayCharge; outcome: ChargeOutcome }>();
  readonly refunds = new Map<
    string,
    { asked: Omit<GatewayRefund, 'refundId'>; outcome: RefundOutcome }
  >();
  readonly links = new Map<string, Pick<GatewayCharge, 'amount' | 'currency'>>();
  readonly asked = new Map<string, number>();
  pages: Booked[] = [];

  charge(asked: GatewayCharge): ChargeOutcome {
    const reference = `ch_${asked.idempotencyKey}`;
    const given = this.charges.get(asked.idempotencyKey) ?? {
      asked,
      outcome: outcome(reference, DECLINES[asked.method]),
    };
    this.charges.set(asked.idempotencyKey, given);
    return given.outcome;
  }

  refund(idempotencyKey: string, asked: Omit<GatewayRefund, 'refundId'>): RefundOutcome {
    const reference = `re_${idempotencyKey}`;
    const given = this.refunds.get(idempotencyKey) ?? {
      asked,
      outcome: { status: 'succeeded' as const, reference, code: null, message: null },
    };
    this.refunds.set(idempotencyKey, given);
    return given.outcome;
  }

  book(): Booked[] {
    const taken = [...this.charges.values()].filter((one) => one.outcome.status === 'succeeded');
    return [
      ...taken.map(({ asked: { amount, currency } }) => ({
        kind: 'charge' as const,
        amount,
        currency,
      })),
      ...[...this.refunds.values()].map(({ asked: { amount, currency } }) => ({
        kind: 'refund' as const,
        ...{ amount, currency },
      })),
      ...this.pages,
    ];
  }

  tell(notice: GatewayNotice): Promise<Webhook> {
    const rawBody = JSON.stringify([notice]);
    return Promise.resolve({ rawBody, headers: { signature: sign(rawBody) } });
  }
}

/** Refuses whatever is not signed by the provider. */
export function readSigned({ rawBody, headers }: Webhook): GatewayNotice[] {
  if (headers.signature !== sign(rawBody)) {
    throw new BillingError('forbidden', 'The notice has no valid signature.', {
      parameter: 'headers',
    });
  }
  return JSON.parse(rawBody.toString()) as GatewayNotice[];
}

export const honestGateway = (provider: Provider): Gateway => ({
  name: 'honest',
  charges: true,
  refunds: true,
  attachMethod({ token }) {
    if (token.startsWith('no-such')) throw new Error('There is no such token.');
    return Promise.resolve({ reference: token, kind: 'card', last4: '4242' });
  },
  charge(asked) {
    const { method, idempotencyKey } = asked;
    const times = (provider.asked.get(idempotencyKey) ?? 0) + 1;
    provider.asked.set(idempotencyKey, times);
    if (method === 'request lost' && times === 1) throw new Error('ECONNRESET');
    const given = provider.charge(asked);
    if (method === 'answer lost' && times === 1) throw new Error('ECONNRESET');
    return Promise.resolve(given);
  },
  findCharge: ({ idempotencyKey }) =>
    Promise.resolve(provider.charges.get(idempotencyKey)?.outcome ?? null),
  refund: ({ idempotencyKey, ...asked }) =>
    Promise.resolve(provider.refund(idempotencyKey, { idempotencyKey, ...asked })),
  findRefund: ({ idempotencyKey }) =>
    Promise.resolve(provider.refunds.get(idempotencyKey)?.outcome ?? null),
  checkoutLink({ checkoutId, amount, currency }) {
    provider.links.set(checkoutId, { amount, currency });
    return Promise.resolve({ url: `https://pay.test/${checkoutId}`, reference: checkoutId });
  },
  readWebhook: readSigned,
});

export const honestTrial = (gateway = honestGateway): GatewayTrial<Provider> => ({
  open() {
    const provider = new Provider();
    return Promise.resolve({ gateway: gateway(provider), provider });
  },
  tokens: {
    succeeds: 'good',
    declined: 'declined',
    declinedForGood: 'lost',
    requestLost: 'request lost',
    answerLost: 'answer lost',
  },
  amounts: { EUR: '10.99', JPY: '1099', KWD: '1.099' },
  book: (provider) => Promise.resolve(provider.book()),
  webhooks: {
    paid(provider, { checkoutId }) {
      const money = provider.links.get(checkoutId)!;
      provider.pages.push({ kind: 'charge', ...money });
      return provider.tell({
        noticeId: `paid-${checkoutId}`,
        kind: 'payment',
        checkoutId,
        charge: outcome(`ch_${checkoutId}`),
        ...money,
      });
    },
    refunded(provider, { reference, amount, currency }) {
      const key = `there-${reference}`;
      const refund = provider.refund(key, {
        idempotencyKey: key,
        charge: reference,
        amount,
        currency,
      });
      const told = { kind: 'refund' as const, refund: { ...refund, charge: reference } };
      return provider.tell({ noticeId: key, ...told, amount, currency });
    },
    unknown: (provider) => provider.tell({ noticeId: 'balance-1', kind: 'other' }),
    foreign: (provider) =>
      provider.tell({ noticeId: 'other-1', kind: 'payment', charge: outcome('ch_of_another') }),
  },
});
