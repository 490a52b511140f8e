import { openBilling, TestClock, type Billing, type SaveOfferRequest } from '../../../engine';
import { Database, type Session } from '../../../engine/database';
import { Decimal } from '../../../engine/kernel';
import { suggester } from '../../../engine/sales/suggesting';
import { TrialMarks } from '../../../engine/sales/trial-marks';
import { newSchema, forRules, serverUrl } from '../each-database';

const SECRET = 'a secret that only the seller has';

forRules('suggestions', (database) => {
  const clock = new TestClock('2027-03-01T12:00:00Z');
  let shop: Billing;
  let counter = 0;

  beforeAll(async () => {
    shop = await database.open(clock, undefined, { secrets: { identity: SECRET } });
    for (const key of ['MSG', 'GB', 'COIN', 'TALKS', 'TIER', 'ONCES', 'PLANS', 'FREE', 'MINES']) {
      await shop.catalog.saveProduct({ key, name: key, isCurrency: key === 'COIN' });
    }
  });

  const sell = (
    sku: string,
    price: string | number,
    product: string,
    more: Partial<SaveOfferRequest> = {},
  ) =>
    shop.catalog.saveOffer({
      sku,
      name: sku,
      price,
      currency: 'USD',
      items: [{ product, quantity: 100 }],
      ...more,
    });
  const someone = async (): Promise<string> => {
    counter += 1;
    return (await shop.accounts.identify({ externalId: `buyer-${counter}` })).accountId;
  };
  const suggested = async (account: string, product: string, amount = 1) => {
    const request = { account, product, amount };
    const checked = await shop.ledger.check(request);
    expect(checked.allowed).toBe(false);
    const consumed = await shop.ledger.consume(request);
    expect(consumed.suggestedOffers).toEqual(checked.suggestedOffers);
    return checked.suggestedOffers;
  };
  const skus = async (account: string, product: string, amount = 1): Promise<string[]> =>
    (await suggested(account, product, amount)).map(({ sku }) => sku);
  const order = async (account: string, sku: string): Promise<string> => {
    const created = await shop.sales.createOrder({ account, items: [{ sku }] });
    if (!created.allowed) throw new Error(created.reason);
    return created.orderId;
  };
  const buy = async (account: string, sku: string): Promise<void> => {
    const orderId = await order(account, sku);
    await shop.sales.confirmOrder({ orderId, paymentId: `for ${orderId}` });
  };

  test('a custom plan is suggested to its account, and to those whom that one pays for', async () => {
    const [account, child, other] = [await someone(), await someone(), await someone()];
    await sell('mine', '50.00', 'MINES', { public: false, accountId: account });
    await sell('mine-for-all', '60.00', 'MINES');
    await sell('mine-hidden', '1.00', 'MINES', { public: false });
    await sell('mine-withdrawn', '1.00', 'MINES', {
      public: false,
      accountId: account,
      active: false,
    });
    await shop.accounts.attachChild({ parent: account, child });
    expect(await skus(account, 'MINES')).toEqual(['mine', 'mine-for-all']);
    expect(await skus(child, 'MINES')).toEqual(['mine', 'mine-for-all']);
    expect(await skus(other, 'MINES')).toEqual(['mine-for-all']);
  });

  test('what can be had once is not suggested again, while an order for it waits either', async () => {
    const account = await someone();
    await sell('once', '5.00', 'ONCES', { oncePerAccount: true });
    await sell('often', '9.00', 'ONCES');
    expect(await skus(account, 'ONCES')).toEqual(['once', 'often']);
    const cancelled = await order(account, 'once');
    expect(await skus(account, 'ONCES')).toEqual(['often']);
    await shop.sales.cancelOrder({ orderId: cancelled });
    expect(await skus(account, 'ONCES')).toEqual(['once', 'often']);
    await order(account, 'once');
    clock.advance(24 * 3_600_000);
    // That one has lapsed.
    expect(await skus(account, 'ONCES')).toEqual(['once', 'often']);
    await buy(account, 'once');
    expect(await skus(account, 'ONCES', 1_000)).toEqual([]);
    expect(await skus(account, 'ONCES', 150)).toEqual(['often']);
    expect(await skus(await someone(), 'ONCES')).toEqual(['once', 'often']);
  });

  test('what is free is not bought: trials and the free tier are not suggested', async () => {
    await sell('free-once', 0, 'FREE');
    await sell('free-tier', 0, 'FREE', { freeTier: true });
    await sell('paid', '1.00', 'FREE');
    const account = await someone();
    await shop.ledger.consume({ account, product: 'FREE', amount: 100 });
    expect(await skus(account, 'FREE')).toEqual(['paid']);
    await sell('free-tier', 0, 'FREE', { freeTier: false, active: false });
  });

  test('upsells follow what covers: those of the cheapest, then those of what was bought last', async () => {
    const account = await someone();
    await sell('talk-big', '30.00', 'TALKS', { items: [{ product: 'TALKS', quantity: 1_000 }] });
    await sell('gigabytes', '4.00', 'GB');
    await sell('extra', '3.00', 'GB', { items: [{ product: 'GB', quantity: 7 }] });
    await sell('gone', '2.00', 'GB', { active: false });
    await sell('secret', '2.00', 'GB', { public: false });
    await sell('once-more', '2.00', 'GB', { oncePerAccount: true });
    await sell('talk', '10.00', 'TALKS', {
      upsells: ['extra', 'not-there-yet', 'gone', 'secret', 'talk-big', 'once-more'],
    });
    await sell('talk-dear', '90.00', 'TALKS', { upsells: ['gigabytes'] });
    expect(await skus(account, 'TALKS')).toEqual([
      'talk',
      'talk-big',
      'talk-dear',
      'extra',
      'once-more',
    ]);
    const [, , , extra] = await suggested(account, 'TALKS');
    // It does not bring what was missing, and says what it brings.
    expect(extra).toMatchObject({ sku: 'extra', product: 'GB', quantity: '7', price: '3.00' });
    await buy(account, 'once-more');
    await buy(account, 'talk-dear');
    expect(await skus(account, 'TALKS', 500)).toEqual(['talk-big', 'gigabytes']);
    await shop.ledger.consume({ account, product: 'TALKS', amount: 100 });
    expect(await skus(account, 'TALKS')).toEqual([
      'talk',
      'talk-big',
      'talk-dear',
      'extra',
      'gigabytes',
    ]);
    await shop.accounts.update({ account, status: 'suspended' });
    expect(await skus(account, 'TALKS')).toEqual([]);
  });

  test('the price of a first time is shown to who has had none', async () => {
    await sell('plan', '50.00', 'PLANS', {
      billing: 'recurring',
      interval: { unit: 'month', count: 1 },
      trialPhases: [
        {
          price: '1.00',
          length: { unit: 'day', count: 15 },
          items: [{ product: 'PLANS', quantity: 10 }],
        },
      ],
    });
    const account = await someone();
    expect(await suggested(account, 'PLANS')).toEqual([
      {
        sku: 'plan',
        name: 'plan',
        price: '50.00',
        listPrice: null,
        currency: 'USD',
        product: 'PLANS',
        quantity: '100',
        trialPrice: '1.00',
      },
    ]);
    await sell('try', 0, 'GB', { public: false });
    await shop.sales.claimTrial({
      account,
      sku: 'try',
      identities: [{ provider: 'telegram', externalId: 'somebody else' }],
    });
    const [plan] = await suggested(account, 'PLANS');
    expect(plan).toMatchObject({ price: '50.00' });
    expect(plan).not.toHaveProperty('trialPrice');
    // The other account of the person of whom only the hash is known.
    const { accountId: other } = await shop.accounts.identify({
      provider: 'telegram',
      externalId: 'Somebody Else',
    });
    expect((await suggested(other, 'PLANS'))[0]).not.toHaveProperty('trialPrice');
  });

  test('with tiers the price is that of the first one', async () => {
    await sell('tiers', '5.00', 'TIER', {
      pricing: {
        model: 'graduated',
        tiers: [
          { upTo: '10', unitPrice: '2.00', flatPrice: '1.00' },
          { upTo: null, unitPrice: '1.00', flatPrice: '0.00' },
        ],
      },
    });
    await sell('plain', '2.50', 'TIER');
    expect(await suggested(await someone(), 'TIER')).toMatchObject([
      { sku: 'plain', price: '2.50' },
      { sku: 'tiers', price: '3.00' },
    ]);
  });

  test('what is had once or is another’s cannot be had by exchange either', async () => {
    const [account, other] = [await someone(), await someone()];
    await sell('coins-once', '40', 'MSG', { currency: 'COIN', oncePerAccount: true });
    await sell('coins-own', '40', 'MSG', { currency: 'COIN', public: false, accountId: other });
    await shop.ledger.grant({ account, product: 'COIN', quantity: 100 });
    const exchange = (sku: string) => shop.ledger.exchange({ account, sku });
    expect(await exchange('coins-own')).toMatchObject({ reason: 'offer_unavailable' });
    const answers = await Promise.all([exchange('coins-once'), exchange('coins-once')]);
    expect(answers.map(({ reason }) => reason).sort()).toEqual(['already_purchased', null].sort());
    expect(await shop.ledger.balance({ account, product: 'COIN' })).toMatchObject({
      available: '60',
    });
    expect(await skus(account, 'MSG', 500)).toEqual([]);
  });

  test('many denials ask the database as often as one', async () => {
    const schema = newSchema();
    const own = await Database.open({
      connection:
        database.name === 'server' ? { connectionString: serverUrl() } : { embedded: 'memory' },
      schema,
    });
    try {
      const billing = await openBilling({ connection: own.knex, schema, clock });
      const accounts: string[] = [];
      for (let index = 0; index < 12; index += 1) {
        const key = `P${index}`;
        await billing.catalog.saveProduct({ key, name: key });
        await billing.catalog.saveOffer({
          sku: `s${index}`,
          name: key,
          price: 1,
          currency: 'USD',
          items: [{ product: key, quantity: 1 }],
          billing: 'recurring',
          interval: { unit: 'month', count: 1 },
          upsells: [`s${(index + 1) % 12}`],
          trialPhases: [
            {
              price: 0,
              length: { unit: 'day', count: 1 },
              items: [{ product: key, quantity: 1 }],
            },
          ],
        });
        accounts.push((await billing.accounts.identify({ externalId: key })).accountId);
      }
      const suggest = suggester(new TrialMarks(null, null), clock);
      const queriesFor = async (count: number): Promise<number> => {
        let queries = 0;
        const session: Session = {
          query: (statement, values) => {
            queries += 1;
            return own.query(statement, values);
          },
        };
        const shortages = accounts.slice(0, count).map((accountId, index) => ({
          accountId,
          product: `P${index}`,
          missing: new Decimal(1),
        }));
        const lists = await suggest(session, shortages);
        expect(lists.map((list) => list.map(({ sku }) => sku))).toEqual(
          shortages.map((_shortage, index) => [`s${index}`, `s${(index + 1) % 12}`]),
        );
        return queries;
      };
      expect(await queriesFor(11)).toBe(await queriesFor(1));
      await billing.close();
    } finally {
      await own.close();
    }
  });
});
