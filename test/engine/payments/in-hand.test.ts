import { Database, DEFAULT_KEEP, lockAccounts, type Context } from '../../../engine/database';
import { Decimal, TestClock, newId } from '../../../engine/kernel';
import {
  collectPayment,
  executeRefunds,
  openPayments,
  openRefund,
  resumeAttempts,
  type ChargeOutcome,
  type Gateway,
  type PaymentContext,
  type PurposeHandlers,
  type StoredMethod,
} from '../../../engine/payments';
import { newSchema, serverUrl } from '../each-database';

/** Transfers that were left without an outcome: one that is busy, or fails, keeps no other from its turn. */

const HOUR = 3_600_000;

/** The gateway succeeds; whether its answer arrives is for the test to say. */
class Far implements Gateway {
  readonly name = 'far';
  readonly charges = true;
  readonly refunds = true;
  lose = false;
  /** Called while it is asked, outside any transaction. */
  meanwhile: (id: string) => Promise<void> = () => Promise.resolve();

  private said(reference: string): Promise<ChargeOutcome> {
    if (this.lose) return Promise.reject(new Error('connection reset'));
    const nothing = { code: null, text: null, rejectReason: null, message: null, actionUrl: null };
    return Promise.resolve({ status: 'succeeded', reference, hard: false, ...nothing });
  }

  charge = ({ attemptId }: { attemptId: string }) => this.said(`ch_${attemptId}`);

  async findCharge({ attemptId }: { attemptId: string }) {
    await this.meanwhile(attemptId);
    return this.said(`ch_${attemptId}`);
  }

  async refund({ refundId }: { refundId: string }) {
    await this.meanwhile(refundId);
    return { status: 'succeeded' as const, reference: `re_${refundId}`, code: null, message: null };
  }
}

describe('what was left without an outcome', () => {
  const clock = new TestClock('2027-01-10T12:00:00Z');
  const gateway = new Far();
  let database: Database;
  let context: PaymentContext;
  let broken: string | null = null;
  const settled: string[] = [];

  const work = (purposeId: string): Promise<null> => {
    if (purposeId === broken) throw new Error('this one cannot be written');
    settled.push(purposeId);
    return Promise.resolve(null);
  };
  /** Each thing is its own payer's. */
  const handlers: PurposeHandlers = {
    payersToLock: (_session, purposeId) => Promise.resolve([purposeId]),
    payable: (_session, purposeId) =>
      Promise.resolve({
        payerId: purposeId,
        accountId: purposeId,
        amount: new Decimal(10),
        currency: 'USD',
        decimals: 2,
        description: 'a thing',
      }),
    settled: (_session, { purposeId }) => work(purposeId),
    kept: () => Promise.resolve(),
    failed: () => Promise.resolve(),
    refunded: async (_session, { purposeId }) => {
      await work(purposeId);
    },
  };

  beforeAll(async () => {
    database = await Database.open({
      connection: serverUrl(),
      schema: newSchema(),
      lockTimeout: 3_000,
    });
    const opened: Context = {
      database,
      clock,
      keep: DEFAULT_KEEP,
      isSandbox: false,
      isBraked: false,
      onAccountChange: [],
      onProductChange: [],
    };
    context = openPayments(opened, { gateways: [gateway] }).paying;
    context.purposes.set('order', handlers);
  });
  beforeEach(() => {
    broken = null;
    settled.length = 0;
    gateway.lose = false;
    gateway.meanwhile = () => Promise.resolve();
    clock.advance(24 * HOUR);
  });
  afterAll(() => database.close());

  const method = (payerId: string): StoredMethod => ({
    payerId,
    methodId: newId(),
    accountId: payerId,
    gateway: gateway.name,
    reference: 'pm_1',
    customer: null,
    kind: 'card',
    brand: null,
    last4: null,
    expMonth: null,
    expYear: null,
    isDefault: true,
    createdAt: 0,
    removedAt: null,
    metadata: {},
  });

  /** Charged, and nobody heard of it. */
  const lostCharges = async (count: number): Promise<string[]> => {
    const ids = Array.from({ length: count }, newId);
    gateway.lose = true;
    for (const purposeId of ids) {
      await collectPayment(context, {
        purpose: 'order',
        purposeId,
        plan: (_session, { payerId }) => Promise.resolve({ charge: method(payerId) }),
      });
    }
    gateway.lose = false;
    clock.advance(HOUR);
    return ids;
  };

  const openRefunds = async (count: number): Promise<string[]> => {
    const ids = Array.from({ length: count }, newId);
    for (const id of ids) {
      const of = { payerId: id, accountId: id, purpose: 'order' as const, purposeId: id };
      const money = { amount: new Decimal(10), currency: 'USD', reason: 'paid_twice' };
      const from = { attemptId: null, gateway: gateway.name, charge: `ch_${id}` };
      await database.transaction(undefined, (session) =>
        openRefund(context, session, { ...of, ...money, ...from }, clock.now().getTime()),
      );
    }
    return ids;
  };

  /** Somebody writes the account, until the answer is called. */
  const busy = async (payerId: string): Promise<() => Promise<void>> => {
    let end: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    let whole: Promise<unknown> = Promise.resolve();
    await new Promise<void>((locked) => {
      whole = database.transaction(undefined, async (session) => {
        await lockAccounts(session, [payerId]);
        locked();
        await ended;
      });
    });
    return async () => {
      end();
      await whole;
    };
  };

  const kinds = [
    ['attempts', lostCharges, () => resumeAttempts(context, { limit: 100 })],
    ['refunds', openRefunds, () => executeRefunds(context, { limit: 100 })],
  ] as const;

  describe.each(kinds)('%s', (_kind, make, run) => {
    it('passes over the account that is busy, and counts the others', async () => {
      const ids = await make(12);
      const release = await busy(ids[3]!);
      const others = ids.filter((id) => id !== ids[3]);
      expect(await run()).toEqual({ decided: 11, busy: [ids[3]], failed: [] });
      expect(settled).toEqual(others);
      await release();
      expect(await run()).toEqual({ decided: 1, busy: [], failed: [] });
    });

    it('goes on when an account gets busy while its gateway is asked', async () => {
      const ids = await make(4);
      let release: () => Promise<void> = () => Promise.resolve();
      let asked = 0;
      gateway.meanwhile = async () => {
        asked += 1;
        if (asked === 2) release = await busy(ids[1]!);
      };
      expect(await run()).toEqual({ decided: 3, busy: [ids[1]], failed: [] });
      const before = asked;
      await release();
      // Nothing runs on: the one that was passed over is left as it is, for the next run.
      expect(asked).toBe(before);
      expect(settled).not.toContain(ids[1]);
      clock.advance(HOUR);
      expect(await run()).toEqual({ decided: 1, busy: [], failed: [] });
      expect(settled).toContain(ids[1]);
    });

    it('names the one that fails, and does the others', async () => {
      const ids = await make(5);
      broken = ids[0]!;
      const { decided, busy: nobody, failed } = await run();
      expect({ decided, nobody }).toEqual({ decided: 4, nobody: [] });
      expect(failed.map(({ payerId, error }) => [payerId, (error as Error).message])).toEqual([
        [ids[0], 'this one cannot be written'],
      ]);
      broken = null;
      clock.advance(HOUR);
      expect(await run()).toEqual({ decided: 1, busy: [], failed: [] });
    });
  });
});
