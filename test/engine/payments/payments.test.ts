import {
  TestClock,
  openBilling,
  signTestNotice,
  type Billing,
  type ChargeOutcome,
  type EventType,
  type Gateway,
  type GatewayCharge,
  type TestToken,
} from '../../../engine';
import { newSchema, onEachDatabase } from '../each-database';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const START = Date.parse('2027-01-10T12:00:00Z');
const SECRET = 'a secret of sixteen';

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown; parameter: unknown }) => ({
      code: error.code,
      parameter: error.parameter,
    }),
  );

const outcome = (change: Partial<ChargeOutcome> = {}): ChargeOutcome => ({
  status: 'succeeded',
  reference: 'ch_1',
  code: null,
  text: null,
  rejectReason: null,
  message: null,
  hard: false,
  actionUrl: null,
  ...change,
});

const eventsOf = async (billing: Billing, account: string, type: EventType) =>
  (await billing.events.list({ account, types: [type] })).items;

/** A gateway whose charges the test decides on, and that counts what really was charged. */
class Scripted implements Gateway {
  readonly charges = true;
  readonly refunds = true;
  timeout: number | undefined;
  readonly charged = new Map<string, { asked: GatewayCharge; outcome: ChargeOutcome }>();
  readonly refunded = new Map<string, string>();
  calls: string[] = [];
  answer: (given: ChargeOutcome) => Promise<unknown> = (given) => Promise.resolve(given);
  find: (given: ChargeOutcome | null) => Promise<unknown> = (given) => Promise.resolve(given);
  next: Partial<ChargeOutcome> = {};

  constructor(readonly name = 'scripted') {}

  attachMethod({ token }: { token: string }) {
    return Promise.resolve({
      reference: `pm_${token}`,
      kind: 'card',
      brand: 'visa',
      last4: '4242',
    });
  }

  charge(asked: GatewayCharge): Promise<ChargeOutcome> {
    this.calls.push(`charge ${asked.idempotencyKey}`);
    const known = this.charged.get(asked.idempotencyKey);
    const given = known?.outcome ?? outcome({ reference: `ch_${asked.attemptId}`, ...this.next });
    this.charged.set(asked.idempotencyKey, { asked, outcome: given });
    return this.answer(given) as Promise<ChargeOutcome>;
  }

  findCharge({ idempotencyKey }: { idempotencyKey: string }): Promise<ChargeOutcome | null> {
    this.calls.push(`find ${idempotencyKey}`);
    const known = this.charged.get(idempotencyKey)?.outcome ?? null;
    return this.find(known) as Promise<ChargeOutcome | null>;
  }

  refund({ idempotencyKey, amount }: { idempotencyKey: string; amount: string }) {
    this.calls.push(`refund ${idempotencyKey}`);
    this.refunded.set(idempotencyKey, amount);
    return Promise.resolve({
      status: 'succeeded' as const,
      reference: `re_${idempotencyKey}`,
      code: null,
      message: null,
    });
  }

  /** What the customer really paid, in sum. */
  get taken(): number {
    return [...this.charged.values()].filter((one) => one.outcome.status === 'succeeded').length;
  }
}

onEachDatabase('payments', (database) => {
  const clock = new TestClock(START);
  const gateway = new Scripted();
  let billing: Billing;
  let schema: string;
  let counter = 0;

  beforeAll(async () => {
    schema = newSchema();
    billing = await database.open(clock, schema, {
      gateways: [gateway],
      testGateway: { webhookSecret: SECRET },
    });
    await billing.catalog.saveProduct({ key: 'TOKENS', name: 'Tokens' });
    await billing.catalog.saveOffer({
      sku: 'pack',
      name: 'Pack',
      price: '10.00',
      currency: 'USD',
      items: [{ product: 'TOKENS', quantity: 100 }],
    });
  });

  beforeEach(() => {
    // Every test is later than those before it: leases of earlier ones are over.
    counter += 1;
    clock.set(START + counter * DAY);
    gateway.answer = (given) => Promise.resolve(given);
    gateway.find = (given) => Promise.resolve(given);
    gateway.next = {};
    gateway.calls = [];
    gateway.charged.clear();
    gateway.refunded.clear();
  });

  const newAccount = async (): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `payer-${counter}` });
    return accountId;
  };
  const save = (account: string, token: TestToken | string, name = 'test') =>
    billing.payments.saveMethod({ account, gateway: name, token });
  const newOrder = async (account: string): Promise<string> => {
    const order = await billing.sales.createOrder({ account, items: [{ sku: 'pack' }] });
    if (!order.allowed) throw new Error(order.reason);
    return order.orderId;
  };
  /** An account with a method, and an order of its. */
  const buyer = async (token: string, name = 'test'): Promise<[account: string, order: string]> => {
    const account = await newAccount();
    await save(account, token, name);
    return [account, await newOrder(account)];
  };
  const tokens = async (account: string): Promise<string | null> =>
    (await billing.ledger.balance({ account, product: 'TOKENS' })).available;
  const statusOf = async (orderId: string): Promise<string> =>
    (await billing.sales.getOrder({ orderId })).status;
  const attemptsOf = async (orderId: string) =>
    (await billing.payments.attempts({ orderId })).items;
  const notify = (notices: object[], secret = SECRET) => {
    const rawBody = JSON.stringify(notices);
    return billing.payments.handleWebhook({
      gateway: 'test',
      rawBody,
      headers: signTestNotice(secret, rawBody),
    });
  };

  describe('the test gateway', () => {
    test('a card that works: the order is paid and granted in the same transaction', async () => {
      const [account, orderId] = await buyer('test_ok');
      const attempt = await billing.payments.payOrder({ orderId });
      expect(attempt).toMatchObject({
        account,
        orderId,
        invoiceId: null,
        number: 1,
        kind: 'charge',
        gateway: 'test',
        amount: '10.00',
        currency: 'USD',
        status: 'succeeded',
        surplus: false,
        code: '0000',
        hard: false,
      });
      expect(await statusOf(orderId)).toBe('paid');
      expect(await tokens(account)).toBe('100');
      expect(await eventsOf(billing, account, 'payment.succeeded')).toEqual([
        expect.objectContaining({
          data: {
            attemptId: attempt.attemptId,
            gateway: 'test',
            reference: attempt.reference,
            amount: '10.00',
            currency: 'USD',
            invoiceId: null,
            orderId,
          },
        }),
      ]);
      const again = await billing.payments.payOrder({ orderId });
      expect(again).toEqual(attempt);
      expect(await attemptsOf(orderId)).toHaveLength(1);
    });

    test.each([
      ['test_declined', 'card_declined', 'do_not_honor', false],
      ['test_insufficient_funds', 'card_declined', 'insufficient_funds', false],
      ['test_expired_card', 'expired_card', 'expired_card', true],
      ['test_lost_card', 'card_declined', 'lost_card', true],
    ] as const)(
      '%s: the code and text of the decline are kept',
      async (token, code, reason, hard) => {
        const [account, orderId] = await buyer(token);
        expect(await billing.payments.payOrder({ orderId })).toMatchObject({
          status: 'failed',
          code,
          rejectReason: reason,
          responseText: expect.any(String),
          message: expect.stringContaining('declined'),
          hard,
        });
        expect(await statusOf(orderId)).toBe('pending');
        expect(await tokens(account)).toBe('0');
      },
    );

    test('a keyed attempt is made once, though who pays was merged since', async () => {
      const [account, orderId] = await buyer('test_declined');
      const keyed = { orderId, idempotencyKey: 'once' };
      const { attemptId } = await billing.payments.payOrder(keyed);
      await billing.accounts.merge({ into: await newAccount(), from: account, prefer: 'into' });
      expect(await billing.payments.payOrder(keyed)).toMatchObject({ attemptId });
      expect(await attemptsOf(orderId)).toHaveLength(1);
    });

    test('test_declines_once and test_declines_twice: later attempts go through', async () => {
      for (const [token, declines] of [
        ['test_declines_once', 1],
        ['test_declines_twice', 2],
      ] as const) {
        const [, orderId] = await buyer(token);
        for (let attempt = 0; attempt < declines; attempt += 1) {
          expect(await billing.payments.payOrder({ orderId })).toMatchObject({ status: 'failed' });
        }
        expect(await billing.payments.payOrder({ orderId })).toMatchObject({
          status: 'succeeded',
          number: declines + 1,
        });
      }
    });

    test('test_authentication_required: the customer confirms, and the notice pays', async () => {
      const [account, orderId] = await buyer('test_authentication_required');
      const { attemptId, status, actionUrl } = await billing.payments.payOrder({ orderId });
      expect(status).toBe('requires_action');
      expect(actionUrl).toContain(attemptId);
      const charge = outcome({ reference: `test_ch_${attemptId}` });
      const notice = { noticeId: `n-${attemptId}`, kind: 'payment', attemptId, charge };
      expect(await notify([notice])).toEqual({ handled: 1, repeated: 0, ignored: 0 });
      expect(await statusOf(orderId)).toBe('paid');
      expect(await notify([notice])).toEqual({ handled: 0, repeated: 1, ignored: 0 });
      expect(await tokens(account)).toBe('100');
    });

    test.each([
      'test_timeout_after_charge',
      'test_timeout_before_charge',
      'test_garbage',
      'test_late',
    ])('%s: looked up later, and charged once', async (token) => {
      const [account, orderId] = await buyer(token);
      const first = await billing.payments.payOrder({ orderId });
      expect(['unknown', 'pending']).toContain(first.status);
      expect(await tokens(account)).toBe('0');
      // Nothing is tried while it is not decided.
      expect(await billing.payments.payOrder({ orderId })).toMatchObject({
        attemptId: first.attemptId,
      });
      clock.advance(2 * HOUR);
      await billing.runDue();
      if (token === 'test_garbage') {
        expect(await attemptsOf(orderId)).toMatchObject([{ status: 'succeeded' }]);
      }
      expect(await statusOf(orderId)).toBe('paid');
      expect(await tokens(account)).toBe('100');
      expect(await attemptsOf(orderId)).toMatchObject([
        { attemptId: first.attemptId, status: 'succeeded', number: 1 },
      ]);
    });

    test('test_answers_twice: an answer and two notices of it pay once', async () => {
      const [account, orderId] = await buyer('test_answers_twice');
      const { attemptId, reference } = await billing.payments.payOrder({ orderId });
      const charge = outcome({ reference });
      const told = (noticeId: string) => ({ noticeId, kind: 'payment', attemptId, charge });
      await notify([told(`a-${attemptId}`), told(`b-${attemptId}`)]);
      expect(await tokens(account)).toBe('100');
      expect(await attemptsOf(orderId)).toHaveLength(1);
      expect(await eventsOf(billing, account, 'payment.succeeded')).toHaveLength(1);
    });

    test('without a method on file an attempt fails, and no gateway hears of it', async () => {
      const orderId = await newOrder(await newAccount());
      expect(await billing.payments.payOrder({ orderId })).toMatchObject({
        status: 'failed',
        gateway: null,
        methodId: null,
        code: 'no_payment_method',
      });
    });

    test('is for sandboxes, unless the engine was told otherwise', async () => {
      const meant = await database.open(clock);
      const { accountId: account } = await meant.accounts.identify({ externalId: 'somebody' });
      const wish = { account, gateway: 'test', token: 'test_ok' };
      expect(await failure(meant.payments.saveMethod(wish))).toEqual({
        code: 'sandbox_only',
        parameter: 'gateway',
      });
      expect((await meant.payments.gateways()).map(({ name }) => name)).toEqual(['manual']);
      const sandbox = await database.open(clock, newSchema(), { sandbox: true });
      const other = await sandbox.accounts.identify({ externalId: 'somebody' });
      expect(
        await sandbox.payments.saveMethod({ ...wish, account: other.accountId }),
      ).toMatchObject({ brand: 'test', last4: '4242', isDefault: true });
    });
  });

  describe('once, whatever dies', () => {
    test('I5: the process dies between the success and our commit: found, not charged again', async () => {
      const [account, orderId] = await buyer('card', 'scripted');
      // The process that asked hears the answer when all is over.
      let hear: () => void = () => undefined;
      gateway.answer = (given) =>
        new Promise((resolve) => {
          hear = () => resolve(given);
        });
      const lost = billing.payments.payOrder({ orderId });
      while (gateway.charged.size === 0) await new Promise((tick) => setTimeout(tick, 5));
      expect(gateway.taken).toBe(1);
      // As long as it may come back, it is left to it.
      await billing.runDue();
      expect(gateway.calls.filter((call) => call.startsWith('find'))).toHaveLength(0);

      clock.advance(3 * MINUTE);
      await billing.runDue();
      expect(gateway.calls.filter((call) => call.startsWith('charge'))).toHaveLength(1);
      expect(gateway.calls.filter((call) => call.startsWith('find'))).toHaveLength(1);
      expect(gateway.taken).toBe(1);
      expect(await statusOf(orderId)).toBe('paid');
      expect(await tokens(account)).toBe('100');
      // The one that was taken for dead finds it decided.
      hear();
      expect(await lost).toMatchObject({ status: 'succeeded' });
      expect(await attemptsOf(orderId)).toHaveLength(1);
    });

    test('a charge that the gateway never got is sent again under the same key', async () => {
      const [, orderId] = await buyer('card', 'scripted');
      const { charge } = gateway;
      gateway.charge = (asked) => {
        gateway.calls.push(`lost ${asked.idempotencyKey}`);
        return Promise.reject(new Error('connection reset'));
      };
      const { attemptId, status } = await billing.payments.payOrder({ orderId });
      gateway.charge = charge;
      expect(status).toBe('unknown');
      clock.advance(10 * MINUTE);
      await billing.runDue();
      const key = `billing-charge-${attemptId}`;
      expect(gateway.calls).toEqual([`lost ${key}`, `find ${key}`, `charge ${key}`]);
      expect(await statusOf(orderId)).toBe('paid');
    });

    test('a gateway that does not answer in time is asked later', async () => {
      const [, orderId] = await buyer('card', 'scripted');
      gateway.timeout = 20;
      gateway.answer = () => new Promise(() => undefined);
      expect(await billing.payments.payOrder({ orderId })).toMatchObject({ status: 'unknown' });
      gateway.timeout = undefined;
      clock.advance(HOUR);
      await billing.runDue();
      expect(await statusOf(orderId)).toBe('paid');
      expect(gateway.taken).toBe(1);
    });

    test('a gateway that cannot look up is asked once more, under the same key', async () => {
      const [, orderId] = await buyer('card', 'scripted');
      gateway.answer = () => Promise.reject(new Error('no answer'));
      await billing.payments.payOrder({ orderId });
      const { findCharge } = gateway;
      Object.assign(gateway, { findCharge: undefined });
      gateway.answer = (given) => Promise.resolve(given);
      clock.advance(HOUR);
      await billing.runDue();
      Object.assign(gateway, { findCharge });
      expect(await statusOf(orderId)).toBe('paid');
      expect(new Set(gateway.calls).size).toBe(1);
      expect(gateway.taken).toBe(1);
    });

    test('a look-up that fails leaves it for later; nothing new is tried meanwhile', async () => {
      const [, orderId] = await buyer('card', 'scripted');
      gateway.answer = () => Promise.reject(new Error('timeout'));
      gateway.find = () => Promise.reject(new Error('down'));
      await billing.payments.payOrder({ orderId });
      for (let hour = 0; hour < 3; hour += 1) {
        clock.advance(HOUR);
        await billing.runDue();
        await billing.payments.payOrder({ orderId });
      }
      expect(await attemptsOf(orderId)).toMatchObject([{ status: 'unknown' }]);
      expect(gateway.calls.filter((call) => call.startsWith('charge'))).toHaveLength(1);
      gateway.find = (given) => Promise.resolve(given);
      clock.advance(HOUR);
      await billing.runDue();
      expect(await statusOf(orderId)).toBe('paid');
      expect(gateway.taken).toBe(1);
    });

    test.each([
      ['nothing', undefined],
      ['a text', 'OK'],
      ['a status nobody knows', { status: 'paid', reference: 'x' }],
      ['a success without an id', outcome({ reference: null })],
      ['an id that cannot be stored', outcome({ reference: 'a\u0000b' })],
    ])('garbage (%s) is neither a success nor a failure', async (_what, garbage) => {
      const [account, orderId] = await buyer('card', 'scripted');
      gateway.answer = () => Promise.resolve(garbage);
      gateway.find = () => Promise.resolve(garbage === undefined ? 'huh' : garbage);
      expect(await billing.payments.payOrder({ orderId })).toMatchObject({ status: 'unknown' });
      clock.advance(HOUR);
      await billing.runDue();
      expect(await attemptsOf(orderId)).toMatchObject([{ status: 'unknown' }]);
      expect(await tokens(account)).toBe('0');
      gateway.find = (given) => Promise.resolve(given);
      clock.advance(HOUR);
      await billing.runDue();
      expect(await tokens(account)).toBe('100');
    });

    test('an order paid otherwise meanwhile: what was never sent is not sent, what was comes back', async () => {
      const [, never] = await buyer('card', 'scripted');
      const { charge } = gateway;
      gateway.charge = () => Promise.reject(new Error('no network'));
      await billing.payments.payOrder({ orderId: never });
      gateway.charge = charge;
      await billing.sales.confirmOrder({ orderId: never, paymentId: `cash-${counter}` });
      const [account, sent] = await buyer('card', 'scripted');
      gateway.answer = () => Promise.reject(new Error('no answer'));
      await billing.payments.payOrder({ orderId: sent });
      await billing.sales.confirmOrder({ orderId: sent, paymentId: `cash-${(counter += 1)}` });

      clock.advance(HOUR);
      await billing.runDue();
      expect(await attemptsOf(never)).toMatchObject([{ status: 'failed', code: 'not_sent' }]);
      expect(await attemptsOf(sent)).toMatchObject([{ status: 'succeeded', surplus: true }]);
      await billing.runDue();
      expect([...gateway.refunded.values()]).toEqual(['10.00']);
      expect(await tokens(account)).toBe('100');
      expect(await eventsOf(billing, account, 'refund.due')).toMatchObject([
        {
          data: { orderId: sent, gateway: 'scripted', amount: '10.00', reason: 'payment_mismatch' },
        },
      ]);
      expect(await eventsOf(billing, account, 'payment.refunded')).toHaveLength(1);
    });

    test('a success after a decline was told is taken all the same', async () => {
      const [account, orderId] = await buyer('test_declined');
      const { attemptId } = await billing.payments.payOrder({ orderId });
      const charge = outcome({ reference: `late_${attemptId}` });
      await notify([{ noticeId: `late-${attemptId}`, kind: 'payment', attemptId, charge }]);
      expect(await statusOf(orderId)).toBe('paid');
      expect(await tokens(account)).toBe('100');
    });

    test('a notice of another amount is not believed, and looked up', async () => {
      const [, orderId] = await buyer('card', 'scripted');
      gateway.answer = () => Promise.reject(new Error('no answer'));
      const { attemptId } = await billing.payments.payOrder({ orderId });
      const [account, other] = await buyer('test_late');
      const late = await billing.payments.payOrder({ orderId: other });
      const charge = outcome({ reference: `x_${late.attemptId}` });
      const notice = { kind: 'payment', attemptId: late.attemptId, charge, currency: 'USD' };
      await notify([{ ...notice, noticeId: `w-${attemptId}`, amount: '0.01' }]);
      expect(await attemptsOf(other)).toMatchObject([{ status: 'unknown' }]);
      expect(await tokens(account)).toBe('0');
    });

    test('asked for many times at once: one attempt, one charge', async () => {
      const [account, orderId] = await buyer('card', 'scripted');
      const answers = await Promise.all(
        Array.from({ length: 10 }, () => billing.payments.payOrder({ orderId })),
      );
      expect(new Set(answers.map(({ attemptId }) => attemptId)).size).toBe(1);
      expect(gateway.calls).toHaveLength(1);
      expect(await tokens(account)).toBe('100');
    });

    test('a key stands for one attempt, also after it failed', async () => {
      const [account, orderId] = await buyer('test_declines_once');
      const first = await billing.payments.payOrder({ orderId, idempotencyKey: 'a' });
      expect(first.status).toBe('failed');
      expect(await billing.payments.payOrder({ orderId, idempotencyKey: 'a' })).toEqual(first);
      const [method] = await billing.payments.methods({ account });
      const other = { orderId, idempotencyKey: 'a', methodId: method!.methodId };
      expect(await failure(billing.payments.payOrder(other))).toMatchObject({
        code: 'idempotency_conflict',
      });
      expect(await billing.payments.payOrder({ orderId, idempotencyKey: 'b' })).toMatchObject({
        status: 'succeeded',
      });
    });

    test('a clock that was moved back neither charges again nor leaves an attempt for ever', async () => {
      const [, orderId] = await buyer('card', 'scripted');
      gateway.answer = () => Promise.reject(new Error('no answer'));
      const { attemptId } = await billing.payments.payOrder({ orderId });
      clock.advance(-30 * DAY);
      await billing.runDue();
      const key = `billing-charge-${attemptId}`;
      expect(gateway.calls.filter((call) => call.endsWith(key))).toEqual([
        `charge ${key}`,
        `find ${key}`,
      ]);
      expect(await attemptsOf(orderId)).toMatchObject([{ status: 'succeeded' }]);
    });
  });

  describe('methods', () => {
    test('only what people recognise them by is kept; the first is the default', async () => {
      const account = await newAccount();
      const first = await save(account, 'test_ok');
      expect(first).toEqual({
        methodId: expect.any(String),
        account,
        payer: account,
        gateway: 'test',
        kind: 'card',
        brand: 'test',
        last4: '4242',
        expMonth: 12,
        expYear: 2099,
        isDefault: true,
        createdAt: expect.any(String),
        metadata: {},
        replayed: false,
      });
      const second = await save(account, 'test_declined');
      expect(second.isDefault).toBe(false);
      await billing.payments.setDefaultMethod({ methodId: second.methodId });
      const listed = await billing.payments.methods({ account });
      expect(listed.map(({ methodId, isDefault }) => [methodId, isDefault])).toEqual([
        [second.methodId, true],
        [first.methodId, false],
      ]);
      // The same card again is the same method.
      expect(await save(account, 'test_ok')).toMatchObject({ methodId: first.methodId });
      expect(await billing.payments.methods({ account })).toHaveLength(2);
    });

    test('a key replays what was saved, though the token is used up', async () => {
      const account = await newAccount();
      const asked = { account, gateway: 'scripted', token: 'once', idempotencyKey: 'save' };
      const saved = await billing.payments.saveMethod(asked);
      const { attachMethod } = gateway;
      gateway.attachMethod = () => Promise.reject(new Error('this token was used before'));
      try {
        const again = await billing.payments.saveMethod(asked);
        expect(again).toEqual({ ...saved, replayed: true });
        expect(
          await failure(billing.payments.saveMethod({ ...asked, makeDefault: false })),
        ).toMatchObject({ code: 'idempotency_conflict' });
      } finally {
        gateway.attachMethod = attachMethod;
      }
    });

    test('a removed one is not charged', async () => {
      const [account, orderId] = await buyer('test_ok');
      const [method] = await billing.payments.methods({ account });
      const { methodId } = method!;
      expect(await billing.payments.removeMethod({ methodId })).toMatchObject({ removed: true });
      expect(await billing.payments.removeMethod({ methodId })).toMatchObject({ removed: false });
      expect(await billing.payments.methods({ account })).toEqual([]);
      expect(await billing.payments.payOrder({ orderId })).toMatchObject({
        code: 'no_payment_method',
      });
      expect(await failure(billing.payments.setDefaultMethod({ methodId }))).toMatchObject({
        code: 'invalid_input',
      });
    });

    test("a child pays with its parent's", async () => {
      const parent = await newAccount();
      const child = await newAccount();
      await billing.accounts.attachChild({ parent, child });
      await save(child, 'test_ok');
      expect(await billing.payments.methods({ account: parent })).toHaveLength(1);
      const orderId = await newOrder(child);
      expect(await billing.payments.payOrder({ orderId })).toMatchObject({
        account: child,
        payer: parent,
        status: 'succeeded',
      });
    });

    test.each([
      ['a number of a card', { token: '4242 4242 4242 4242' }, 'token'],
      ['a token that the gateway does not know', { token: 'tok_x' }, 'token'],
      ['a gateway that there is not', { gateway: 'paypall' }, 'gateway'],
      ['one that keeps no methods', { gateway: 'manual' }, 'gateway'],
      ['a transaction', { tx: {} }, 'tx'],
      ['a field nobody knows', { cvc: '123' }, 'cvc'],
    ])('refuses %s', async (_what, change, parameter) => {
      const account = await newAccount();
      const wish = { account, gateway: 'test', token: 'test_ok', ...change };
      expect(await failure(billing.payments.saveMethod(wish))).toEqual({
        code: 'invalid_input',
        parameter,
      });
    });

    test('numbers of cards in what a gateway says are masked', async () => {
      const [, orderId] = await buyer('card', 'scripted');
      gateway.next = {
        status: 'failed',
        text: 'Card 4242 4242 4242 4242 declined',
        message: 'order 1234567890123456 of 4242-4242-4242-4242',
      };
      expect(await billing.payments.payOrder({ orderId })).toMatchObject({
        responseText: 'Card ************4242 declined',
        message: 'order 1234567890123456 of ************4242',
      });
    });
  });

  describe('notices and pages', () => {
    test('a page to pay on: its notice pays the order, once', async () => {
      const account = await newAccount();
      const orderId = await newOrder(account);
      const link = { account, orderId, gateway: 'test', returnUrl: 'https://example.com/thanks' };
      const { checkoutId, url, amount } = await billing.payments.checkoutLink(link);
      expect(url).toContain(checkoutId);
      expect(amount).toBe('10.00');
      const charge = outcome({ reference: `page_${checkoutId}` });
      const notice = { noticeId: `page-${checkoutId}`, kind: 'payment', checkoutId, charge };
      await notify([{ ...notice, amount: '10.00', currency: 'USD' }]);
      expect(await statusOf(orderId)).toBe('paid');
      expect(await attemptsOf(orderId)).toMatchObject([{ kind: 'incoming', status: 'succeeded' }]);
      // The gateway tells it once more, under another id.
      await notify([{ ...notice, noticeId: `page2-${checkoutId}` }]);
      expect(await tokens(account)).toBe('100');
      // And the customer pays a second time.
      const second = outcome({ reference: `again_${checkoutId}` });
      await notify([{ ...notice, noticeId: `page3-${checkoutId}`, charge: second }]);
      expect(await attemptsOf(orderId)).toMatchObject([
        { surplus: true, status: 'succeeded' },
        { surplus: false, status: 'succeeded' },
      ]);
      await billing.runDue();
      expect(await eventsOf(billing, account, 'payment.refunded')).toHaveLength(1);
      expect(await failure(billing.payments.checkoutLink(link))).toMatchObject({
        code: 'unknown_order',
      });
    });

    test("another account's order has no page", async () => {
      const orderId = await newOrder(await newAccount());
      const account = await newAccount();
      const link = { account, orderId, gateway: 'test', returnUrl: 'https://example.com' };
      expect(await failure(billing.payments.checkoutLink(link))).toMatchObject({
        code: 'unknown_order',
      });
    });

    test('without a valid signature nothing is believed', async () => {
      const [account, orderId] = await buyer('test_late');
      const { attemptId } = await billing.payments.payOrder({ orderId });
      const charge = outcome({ reference: 'forged' });
      const rawBody = JSON.stringify([{ noticeId: 'f', kind: 'payment', attemptId, charge }]);
      const signed = signTestNotice(SECRET, rawBody);
      const forged: Array<[string, Record<string, string>]> = [
        [rawBody, {}],
        [rawBody, signTestNotice('another secret of mine', rawBody)],
        [`${rawBody} `, signed],
        [rawBody, { 'test-signature': '' }],
      ];
      for (const [body, headers] of forged) {
        const call = billing.payments.handleWebhook({ gateway: 'test', rawBody: body, headers });
        expect(await failure(call)).toMatchObject({ code: 'forbidden' });
      }
      expect(await tokens(account)).toBe('0');
      // Bytes are fine, too.
      const bytes = { gateway: 'test', rawBody: Buffer.from(rawBody), headers: signed };
      expect(await billing.payments.handleWebhook(bytes)).toMatchObject({ handled: 1 });
      expect(await tokens(account)).toBe('100');
    });

    test('what concerns nothing of ours is ignored, and what makes no sense refused', async () => {
      const strange = { noticeId: `s-${counter}`, kind: 'other' };
      expect(await notify([strange])).toEqual({ handled: 0, repeated: 0, ignored: 1 });
      expect(await notify([strange])).toEqual({ handled: 0, repeated: 1, ignored: 0 });
      const unknown = { noticeId: `u-${counter}`, kind: 'payment', charge: outcome() };
      expect(await notify([unknown])).toMatchObject({ ignored: 1 });
      expect(await failure(notify([{ kind: 'payment' }]))).toMatchObject({ code: 'invalid_input' });
    });

    test('a lost dispute is a refund by the gateway', async () => {
      const [account, orderId] = await buyer('test_ok');
      const { attemptId, reference } = await billing.payments.payOrder({ orderId });
      const refund = { status: 'succeeded', reference: `d_${attemptId}`, charge: reference };
      const notice = { kind: 'refund', refund, amount: '10.00', currency: 'USD' };
      await notify([{ ...notice, noticeId: `d1-${attemptId}` }]);
      await notify([{ ...notice, noticeId: `d2-${attemptId}` }]);
      expect(await statusOf(orderId)).toBe('refunded');
      expect(await tokens(account)).toBe('0');
      expect(await eventsOf(billing, account, 'payment.refunded')).toHaveLength(1);
    });
  });

  describe('money to give back', () => {
    test('of a gateway that cannot be asked it is listed until people say it is done', async () => {
      const account = await newAccount();
      await billing.catalog.saveOffer({
        sku: `once-${counter}`,
        name: 'Once',
        price: '7.00',
        currency: 'USD',
        oncePerAccount: true,
        items: [{ product: 'TOKENS', quantity: 1 }],
      });
      const items = [{ sku: `once-${counter}` }];
      const first = await billing.sales.createOrder({ account, items });
      clock.advance(2 * DAY);
      const second = await billing.sales.createOrder({ account, items });
      const paymentId = `p-${counter}`;
      await billing.sales.confirmOrder({ orderId: second.orderId!, paymentId });
      const late = await billing.sales.confirmOrder({
        orderId: first.orderId!,
        paymentId: `${paymentId}-late`,
      });
      expect(late).toMatchObject({ allowed: false, reason: 'already_purchased' });
      const { items: due } = await billing.payments.refundsDue({ account });
      expect(due).toMatchObject([
        {
          orderId: first.orderId,
          gateway: 'manual',
          charge: `${paymentId}-late`,
          amount: '7.00',
          reason: 'already_purchased',
          status: 'due',
          attemptId: null,
        },
      ]);
      const { refundId } = due[0]!;
      const done = await billing.payments.markRefunded({ refundId, reference: 'wire 7' });
      expect(done).toMatchObject({ status: 'succeeded', reference: 'wire 7', replayed: false });
      // Told twice is told once; told otherwise is refused.
      await billing.payments.markRefunded({ refundId, reference: 'wire 7' });
      expect(
        await failure(billing.payments.markRefunded({ refundId, reference: 'wire 8' })),
      ).toMatchObject({ code: 'invalid_input' });
      expect((await billing.payments.refundsDue({ account })).items).toEqual([]);
      expect(await eventsOf(billing, account, 'payment.refunded')).toHaveLength(1);
    });

    test('a refund whose answer was lost is looked up, and made once', async () => {
      const [account, orderId] = await buyer('test_ok');
      const { attemptId } = await billing.payments.payOrder({ orderId });
      const other = await newAccount();
      await save(other, 'card', 'scripted');
      const paid = await newOrder(other);
      gateway.answer = () => Promise.reject(new Error('no answer'));
      await billing.payments.payOrder({ orderId: paid });
      await billing.sales.confirmOrder({ orderId: paid, paymentId: `hand-${attemptId}` });
      const { refund } = gateway;
      let calls = 0;
      gateway.refund = (asked) => {
        calls += 1;
        return calls === 1
          ? refund.call(gateway, asked).then(() => Promise.reject(new Error('lost')))
          : refund.call(gateway, asked);
      };
      clock.advance(HOUR);
      await billing.runDue();
      clock.advance(2 * HOUR);
      await billing.runDue();
      await billing.runDue();
      gateway.refund = refund;
      // Without a look-up of its own the gateway is asked again, under the same key.
      expect(gateway.refunded.size).toBe(1);
      expect(await eventsOf(billing, other, 'payment.refunded')).toHaveLength(1);
      expect(await tokens(account)).toBe('100');
    });

    test('one of which the gateway tells before it answers is no second one', async () => {
      const account = await newAccount();
      await save(account, 'card', 'scripted');
      const { invoiceId } = await billing.invoicing.createInvoice({
        account,
        currency: 'USD',
        items: [{ description: 'Work', quantity: 1, unitPrice: '10.00' }],
      });
      await billing.invoicing.finalizeInvoice({ invoiceId });
      await billing.runDue();
      const [charged] = [...gateway.charged.values()].map((one) => one.outcome);
      const done = { status: 'succeeded', reference: `re_${invoiceId}`, code: null, message: null };
      const notice = {
        noticeId: invoiceId,
        kind: 'refund',
        amount: '4.00',
        currency: 'USD',
        refund: { ...done, charge: charged!.reference },
      };
      const { refund } = gateway;
      Object.assign(gateway, {
        readWebhook: ({ rawBody }: { rawBody: string }) => JSON.parse(rawBody) as unknown,
        refund: async () => {
          const rawBody = JSON.stringify([notice]);
          await billing.payments.handleWebhook({ gateway: 'scripted', rawBody, headers: {} });
          return done;
        },
      });
      await billing.invoicing.createCreditNote({
        invoiceId,
        lines: [{ position: 1, amount: '4.00' }],
        to: 'refund',
      });
      await billing.runDue();
      Object.assign(gateway, { readWebhook: undefined, refund });
      expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({
        refunded: '4.00',
        creditNoted: '4.00',
      });
      expect(await eventsOf(billing, account, 'payment.refunded')).toHaveLength(1);
    });
  });

  describe('of an account as a whole', () => {
    test('is exported, follows a merge, and is erased', async () => {
      const [account, orderId] = await buyer('test_declined');
      const { attemptId } = await billing.payments.payOrder({ orderId });
      const { data } = (await billing.accounts.export({ account })) as unknown as {
        data: Record<string, unknown[]>;
      };
      const exported = JSON.stringify(data ?? (await billing.accounts.export({ account })));
      expect(exported).toContain(attemptId);
      expect(exported).toContain('do_not_honor');
      expect(exported).not.toContain('test_declined');

      const into = await newAccount();
      await billing.accounts.merge({ into, from: account, prefer: 'into' });
      expect(await billing.payments.methods({ account: into })).toHaveLength(1);
      expect((await billing.payments.attempts({ account: into })).items).toMatchObject([
        { attemptId },
      ]);

      await billing.accounts.erase({ account: into, confirm: into });
      expect(await billing.payments.methods({ account: into })).toEqual([]);
      expect(await billing.payments.attempt({ attemptId })).toMatchObject({
        amount: '10.00',
        code: 'card_declined',
        responseText: null,
        rejectReason: null,
        message: null,
      });
    });

    test('attempts come in pages', async () => {
      const [account, orderId] = await buyer('test_declined');
      for (let count = 0; count < 5; count += 1) await billing.payments.payOrder({ orderId });
      const first = await billing.payments.attempts({ account, limit: 3 });
      expect(first.items.map(({ number }) => number)).toEqual([5, 4, 3]);
      const second = await billing.payments.attempts({
        account,
        limit: 3,
        cursor: first.nextCursor!,
      });
      expect(second.items.map(({ number }) => number)).toEqual([2, 1]);
      expect(second.nextCursor).toBeNull();
    });
  });

  test.each([
    [
      'an order that there is not',
      { orderId: '01948b5c-4c00-7000-8000-000000000001' },
      'unknown_order',
    ],
    ['what is no id', { orderId: 'x' }, 'unknown_order'],
    ['nothing', {}, 'invalid_input'],
  ])('payOrder refuses %s', async (_what, request, code) => {
    expect(await failure(billing.payments.payOrder(request as never))).toMatchObject({ code });
  });

  test('payOrder refuses an order that is cancelled', async () => {
    const orderId = await newOrder(await newAccount());
    await billing.sales.cancelOrder({ orderId });
    expect(await failure(billing.payments.payOrder({ orderId }))).toMatchObject({
      code: 'order_state',
    });
  });

  test('two gateways of one name are refused', async () => {
    const open = openBilling({
      connection: { embedded: 'memory' },
      gateways: [new Scripted(), new Scripted()],
    });
    expect(await failure(open)).toEqual({ code: 'invalid_input', parameter: 'gateways' });
    const own = openBilling({
      connection: { embedded: 'memory' },
      gateways: [new Scripted('test')],
    });
    expect(await failure(own)).toEqual({ code: 'invalid_input', parameter: 'gateways' });
  });
});
