import { Database } from '../../engine/database';
import { testGateway } from '../../engine/payments/adapters/test';
import { signTestNotice, type GatewayNotice } from '../../engine';
import { describeGateway, type Booked, type Gateway, type GatewayTrial } from '../../gateway';
import { honestGateway, honestTrial, readSigned, type Provider } from './honest-gateway';

/** The trial that every gateway passes: what holds passes, and each fault is seen. */

describeGateway('honest', honestTrial());

const SECRET = 'a secret of sixteen';

interface TestProvider {
  database: Database;
  /** What moved without a charge of ours. */
  there: Booked[];
}

const TAKEN = `
select 'charge' as kind, amount::text as amount, currency from {schema}.test_gateway_charges
where outcome::json ->> 'status' = 'succeeded'
union all
select 'refund', amount::text, currency from {schema}.test_gateway_refunds`;

const told = (notice: GatewayNotice) => {
  const rawBody = JSON.stringify([notice]);
  return Promise.resolve({ rawBody, headers: signTestNotice(SECRET, rawBody) });
};

const testTrial: GatewayTrial<TestProvider> = {
  async open() {
    const database = await Database.open({ connection: { embedded: 'memory' } });
    // By another name: the engine has one of its own.
    const gateway = { ...testGateway(database, SECRET), name: 'trial' };
    return { gateway, provider: { database, there: [] }, close: () => database.close() };
  },
  tokens: {
    succeeds: 'test_ok',
    declined: 'test_declined',
    declinedForGood: 'test_lost_card',
    needsAction: 'test_authentication_required',
    pending: 'test_late',
    requestLost: 'test_timeout_before_charge',
    answerLost: 'test_timeout_after_charge',
    garbage: 'test_garbage',
  },
  amounts: { USD: '10.99', JPY: '1099' },
  book: async ({ database, there }) => [...(await database.query<Booked>(TAKEN)), ...there],
  webhooks: {
    confirmed(provider, { attemptId, reference, amount, currency }) {
      provider.there.push({ kind: 'charge', amount, currency });
      const charge = succeeded(reference);
      return told({ noticeId: `confirmed-${attemptId}`, kind: 'payment', attemptId, charge });
    },
    paid(provider, { checkoutId }) {
      provider.there.push({ kind: 'charge', amount: '10.99', currency: 'USD' });
      const charge = succeeded(`test_ch_${checkoutId}`);
      return told({ noticeId: `paid-${checkoutId}`, kind: 'payment', checkoutId, charge });
    },
    refunded: (provider, { reference, amount, currency }) => {
      provider.there.push({ kind: 'refund', amount, currency });
      const refund = {
        ...{ status: 'succeeded' as const, reference: `re_${reference}`, code: null },
        ...{ message: null, charge: reference },
      };
      return told({ noticeId: `back-${reference}`, kind: 'refund', refund, amount, currency });
    },
    unknown: () => told({ noticeId: 'unknown-1', kind: 'other' }),
    foreign: () =>
      told({ noticeId: 'foreign-1', kind: 'payment', charge: succeeded('ch_of_another') }),
  },
};

const succeeded = (reference: string) => ({
  ...{ status: 'succeeded' as const, reference, code: null, text: null, rejectReason: null },
  ...{ message: null, hard: false, actionUrl: null },
});

describeGateway('test', testTrial);

/** Runs one scenario of a trial. */
async function runOnly(scenario: string, trial: GatewayTrial<Provider>): Promise<void> {
  const tests = new Map<string, () => Promise<void>>();
  const ends: Array<() => Promise<void>> = [];
  describeGateway('faulty', trial, {
    describe: (_, tell) => tell(),
    it: (name, run) => tests.set(name, run),
    after: (work) => ends.push(work),
  });
  try {
    await tests.get(scenario)!();
  } finally {
    for (const end of ends) await end();
  }
}

/** An honest one but for this. */
const but = (fault: (honest: Gateway, provider: Provider) => Partial<Gateway>) =>
  honestTrial((provider) => {
    const honest = honestGateway(provider);
    return { ...honest, ...fault(honest, provider) };
  });

describe('the trial of gateways', () => {
  it.each<[string, string, ReturnType<typeof honestTrial>]>([
    [
      'charges again for the same key',
      'one key, twenty times at once and once more',
      but((_, provider) => ({
        charge: (asked) =>
          Promise.resolve(provider.charge({ ...asked, idempotencyKey: crypto.randomUUID() })),
      })),
    ],
    [
      'takes a lost answer for a decline',
      'time-out after charging',
      but((honest) => ({
        charge: async (asked) => {
          try {
            return await honest.charge!(asked);
          } catch {
            return { ...succeeded('x'), status: 'failed', code: 'error', message: 'No answer.' };
          }
        },
      })),
    ],
    [
      'says of what it charged that it never heard of it',
      'one key, twenty times at once and once more',
      but(() => ({ findCharge: () => Promise.resolve(null) })),
    ],
    [
      'gives back twice for the same key',
      'one refund, twice',
      but((_, provider) => ({
        refund: (asked) =>
          Promise.resolve(
            provider.refund(crypto.randomUUID(), { ...asked, idempotencyKey: asked.refundId }),
          ),
      })),
    ],
    [
      'believes webhooks that nobody signed',
      'forged and unsigned webhooks',
      but(() => ({
        readWebhook: ({ rawBody, headers }) =>
          headers.signature === undefined
            ? (JSON.parse(rawBody.toString()) as GatewayNotice[])
            : readSigned({ rawBody, headers }),
      })),
    ],
    [
      'drops digits of currencies with three',
      'amounts to the last digit',
      but((honest) => ({
        charge: (asked) =>
          honest.charge!({
            ...asked,
            amount: asked.amount.replace(/(\.\d\d)\d/, '$1'),
          }),
      })),
    ],
    [
      'says of no decline that it is for good',
      'decline for good',
      but((honest) => ({
        charge: async (asked) => ({ ...(await honest.charge!(asked)), hard: false }),
      })),
    ],
    [
      'takes any token',
      'card on file',
      but(() => ({
        attachMethod: ({ token }) => Promise.resolve({ reference: token, kind: 'card' }),
      })),
    ],
  ])('sees one that %s: "%s"', async (_, scenario, trial) => {
    await expect(runOnly(scenario, trial)).rejects.toMatchObject({ code: 'ERR_ASSERTION' });
  });
});
