import { createHmac, timingSafeEqual } from 'node:crypto';

import type { Database, Session } from '../../database';
import { BillingError } from '../../kernel';
import type {
  ChargeOutcome,
  Gateway,
  GatewayCharge,
  GatewayCheckout,
  GatewayNotice,
  GatewayRefund,
  RefundOutcome,
} from '../gateway';

/**
 * A gateway that moves no money and does what the token of the method says, the same every time. What
 * it was asked it remembers in tables of its own, which it writes like a gateway far away: by itself,
 * outside the engine's transactions. docs/payments.md lists the tokens.
 */

export const TEST_TOKENS = [
  'test_ok',
  'test_declined',
  'test_insufficient_funds',
  'test_expired_card',
  'test_lost_card',
  'test_authentication_required',
  'test_declines_once',
  'test_declines_twice',
  'test_timeout_after_charge',
  'test_timeout_before_charge',
  'test_garbage',
  'test_answers_twice',
  'test_late',
] as const;
export type TestToken = (typeof TEST_TOKENS)[number];

const isToken = (token: string): token is TestToken =>
  (TEST_TOKENS as readonly string[]).includes(token);

interface Decline {
  code: string;
  text: string;
  rejectReason: string;
  hard?: boolean;
}

const DECLINES: Readonly<Partial<Record<TestToken, Decline>>> = {
  test_declined: { code: 'card_declined', text: 'Do not honor', rejectReason: 'do_not_honor' },
  test_insufficient_funds: {
    code: 'card_declined',
    text: 'Insufficient funds',
    rejectReason: 'insufficient_funds',
  },
  test_expired_card: {
    code: 'expired_card',
    text: 'Expired card',
    rejectReason: 'expired_card',
    hard: true,
  },
  test_lost_card: {
    code: 'card_declined',
    text: 'Lost card',
    rejectReason: 'lost_card',
    hard: true,
  },
};

const SOFT: Decline = DECLINES.test_declined!;

const NOTHING = {
  code: null,
  text: null,
  rejectReason: null,
  message: null,
  hard: false,
  actionUrl: null,
};

const succeeded = (attemptId: string): ChargeOutcome => ({
  ...NOTHING,
  status: 'succeeded',
  reference: `test_ch_${attemptId}`,
  code: '0000',
  text: 'Approved',
});

const declined = (attemptId: string, decline: Decline): ChargeOutcome => ({
  ...NOTHING,
  ...decline,
  status: 'failed',
  reference: `test_ch_${attemptId}`,
  message: `The test card was declined: ${decline.text}.`,
  hard: decline.hard ?? false,
});

/** What becomes of a charge in the end, however it is answered. */
function outcomeFor({ method, attemptId }: GatewayCharge, declinedBefore: number): ChargeOutcome {
  const decline = DECLINES[method as TestToken];
  if (decline !== undefined) return declined(attemptId, decline);
  const declines = method === 'test_declines_once' ? 1 : method === 'test_declines_twice' ? 2 : 0;
  if (declinedBefore < declines) return declined(attemptId, SOFT);
  if (method !== 'test_authentication_required') return succeeded(attemptId);
  return {
    ...NOTHING,
    status: 'requires_action',
    reference: `test_ch_${attemptId}`,
    code: 'authentication_required',
    text: 'Authentication required',
    rejectReason: 'authentication_required',
    message: 'The customer has to confirm the payment.',
    actionUrl: `https://gateway.test/authenticate/${attemptId}`,
  };
}

/** One charge for a key, whenever and however often it is asked. */
const REMEMBER = `
insert into {schema}.test_gateway_charges as c
  (idempotency_key, attempt_id, customer, method, amount, currency, outcome)
values ($1, $2::uuid, $3, $4, $5::numeric, $6, $7)
on conflict (idempotency_key) do update set calls = c.calls + 1
returning outcome, calls`;

const RECALL = `
select outcome, calls, method from {schema}.test_gateway_charges where idempotency_key = $1`;

const AMEND = `
update {schema}.test_gateway_charges set outcome = $2 where idempotency_key = $1`;

const COUNT_DECLINED = `
select count(*)::int as declined from {schema}.test_gateway_charges
where method = $1 and customer is not distinct from $2 and idempotency_key <> $3
  and outcome::json ->> 'status' = 'failed'`;

const REMEMBER_REFUND = `
insert into {schema}.test_gateway_refunds as r
  (idempotency_key, refund_id, charge, amount, currency, outcome)
values ($1, $2::uuid, $3, $4::numeric, $5, $6)
on conflict (idempotency_key) do update set calls = r.calls + 1
returning outcome`;

const RECALL_REFUND = `
select outcome from {schema}.test_gateway_refunds where idempotency_key = $1`;

/** Told nobody, and never heard of: the request was lost on its way. */
const LOST = 'null';

const connectionLost = (): Error => new Error('The connection to the test gateway was lost.');

const SIGNATURE = 'test-signature';

const sign = (secret: string, rawBody: string | Buffer): string =>
  createHmac('sha256', secret).update(rawBody).digest('hex');

/**
 * The header that makes a notice of the test gateway believed: for tests of one's own.
 *
 * @param rawBody the notices as JSON: `[{ noticeId, kind: 'payment', attemptId, charge: { ... } }]`
 */
export const signTestNotice = (secret: string, rawBody: string): Record<string, string> => ({
  [SIGNATURE]: sign(secret, rawBody),
});

/** @throws forbidden */
function requireSignature(
  secret: string | null,
  rawBody: string | Buffer,
  given: string | string[] | undefined,
): void {
  const refuse = (message: string, advice: string): never => {
    throw new BillingError('forbidden', message, { parameter: 'headers', advice });
  };
  if (secret === null) {
    return refuse(
      'The test gateway has no secret, so nobody can be believed.',
      'Open the engine with testGateway: { webhookSecret }.',
    );
  }
  const expected = Buffer.from(sign(secret, rawBody));
  const shown = Buffer.from(typeof given === 'string' ? given : '');
  if (shown.length === expected.length && timingSafeEqual(shown, expected)) return;
  refuse(
    'The notice has no valid signature.',
    'Pass the body exactly as it came, with its headers.',
  );
}

/** @param webhookSecret signs its notices; null: none is believed */
export function testGateway(database: Database, webhookSecret: string | null): Gateway {
  const session: Session = database;
  const find = async (key: string) => {
    const [row] = await session.query<{ outcome: string; calls: number; method: TestToken }>(
      RECALL,
      [key],
    );
    if (row === undefined) return null;
    const outcome = JSON.parse(row.outcome) as ChargeOutcome | null;
    return outcome === null ? null : { ...row, outcome };
  };
  const amend = (key: string, outcome: ChargeOutcome) =>
    session.query(AMEND, [key, JSON.stringify(outcome)]);

  return {
    name: 'test',
    charges: true,
    refunds: true,

    createCustomer: ({ payerId }) => Promise.resolve({ reference: `test_cus_${payerId}` }),

    attachMethod({ token }) {
      if (!isToken(token)) {
        throw new Error(`there is no test token "${token}". There are: ${TEST_TOKENS.join(', ')}`);
      }
      return Promise.resolve({
        reference: token,
        kind: 'card',
        brand: 'test',
        last4: '4242',
        expMonth: 12,
        expYear: 2099,
      });
    },

    async charge(asked: GatewayCharge): Promise<ChargeOutcome> {
      const { idempotencyKey: key, attemptId, customer, method, amount, currency } = asked;
      const [counted] = await session.query<{ declined: number }>(COUNT_DECLINED, [
        method,
        customer,
        key,
      ]);
      const outcome = outcomeFor(asked, counted!.declined);
      const values = [key, attemptId, customer, method, amount, currency];
      const isLost = method === 'test_timeout_before_charge';
      const written = isLost ? LOST : JSON.stringify(outcome);
      const [row] = await session.query<{ outcome: string; calls: number }>(REMEMBER, [
        ...values,
        written,
      ]);
      const isFirst = row!.calls === 1;
      if (isLost && isFirst) throw connectionLost();
      if (isLost) await amend(key, outcome);
      if (method === 'test_timeout_after_charge' && isFirst) throw connectionLost();
      if (method === 'test_garbage') return { status: 'yes', ok: 1 } as unknown as ChargeOutcome;
      if (method === 'test_late') return { ...outcome, status: 'pending', code: null, text: null };
      return isLost ? outcome : (JSON.parse(row!.outcome) as ChargeOutcome);
    },

    async findCharge({ idempotencyKey }): Promise<ChargeOutcome | null> {
      return (await find(idempotencyKey))?.outcome ?? null;
    },

    async refund(asked: GatewayRefund): Promise<RefundOutcome> {
      const { idempotencyKey, refundId, charge, amount, currency } = asked;
      const outcome: RefundOutcome = {
        status: 'succeeded',
        reference: `test_re_${refundId}`,
        code: null,
        message: null,
      };
      const [row] = await session.query<{ outcome: string }>(REMEMBER_REFUND, [
        idempotencyKey,
        refundId,
        charge,
        amount,
        currency,
        JSON.stringify(outcome),
      ]);
      return JSON.parse(row!.outcome) as RefundOutcome;
    },

    async findRefund({ idempotencyKey }): Promise<RefundOutcome | null> {
      const [row] = await session.query<{ outcome: string }>(RECALL_REFUND, [idempotencyKey]);
      return row === undefined ? null : (JSON.parse(row.outcome) as RefundOutcome);
    },

    checkoutLink: ({ checkoutId, returnUrl }: GatewayCheckout) =>
      Promise.resolve({
        url: `https://gateway.test/pay/${checkoutId}?back=${encodeURIComponent(returnUrl)}`,
        reference: `test_cs_${checkoutId}`,
      }),

    readWebhook({ rawBody, headers }): GatewayNotice[] {
      requireSignature(webhookSecret, rawBody, headers[SIGNATURE]);
      try {
        return JSON.parse(rawBody.toString()) as GatewayNotice[];
      } catch {
        throw new BillingError('invalid_input', 'The notice is no JSON.', { parameter: 'rawBody' });
      }
    },
  };
}
