import { TestClock, type Billing } from '../../../engine';
import { onEachDatabase } from '../each-database';

const START = Date.parse('2027-06-01T09:00:00Z');
const END = '2027-07-01T09:00:00.000Z';

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown; parameter: unknown }) => [error.code, error.parameter],
  );

onEachDatabase('subscriptions and their accounts', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    await billing.catalog.saveProduct({ key: 'TOKENS', name: 'Tokens' });
    await billing.catalog.saveOffer({
      sku: 'plan',
      name: 'Plan',
      price: '30.00',
      currency: 'USD',
      billing: 'recurring',
      interval: { unit: 'month', count: 1 },
      items: [{ product: 'TOKENS', quantity: 300 }],
      collect: { bill: 'arrears' },
    });
  });

  beforeEach(() => clock.set(START));

  const newAccount = async (): Promise<string> => {
    counter += 1;
    return (await billing.accounts.identify({ externalId: `owner-${counter}` })).accountId;
  };
  const begun = async (account: string, more: object = {}): Promise<string> => {
    const answer = await billing.subscriptions.start({ account, sku: 'plan', ...more });
    if (!answer.allowed) throw new Error(answer.reason);
    return answer.subscriptionId;
  };
  const tokens = async (account: string): Promise<string | null> =>
    (await billing.ledger.balance({ account, product: 'TOKENS' })).available;

  test('who has a subscription, or something to be invoiced, cannot become a child', async () => {
    const [parent, child] = [await newAccount(), await newAccount()];
    const subscriptionId = await begun(child);
    const attach = () => failure(billing.accounts.attachChild({ parent, child, moveUnits: true }));
    expect(await attach()).toEqual(['merge_conflict', 'child']);
    clock.advance(86_400_000);
    await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
    // The day that it was there is still to be invoiced.
    expect(await attach()).toEqual(['merge_conflict', 'child']);
    expect(await failure(billing.accounts.attachChild({ parent, child: await newAccount() }))).toBe(
      'done',
    );
  });

  test('a child subscribes through its parent, and what it left there stays', async () => {
    const [parent, child] = [await newAccount(), await newAccount()];
    await billing.accounts.attachChild({ parent, child });
    const subscriptionId = await begun(child);
    expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({
      account: child,
      payer: parent,
    });
    expect(await tokens(parent)).toBe('300');
    await billing.accounts.detachChild({ child });
    clock.set(END);
    expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({
      payer: parent,
      period: { number: 2 },
    });
    expect(await tokens(parent)).toBe('300');
    expect(await tokens(child)).toBe('0');
    // It can still be changed, by who subscribed or who pays.
    expect(await billing.subscriptions.cancel({ subscriptionId })).toMatchObject({
      cancelAt: '2027-08-01T09:00:00.000Z',
    });
  });

  test('what one child may use beyond its units, another child does not take away', async () => {
    await billing.catalog.saveProduct({ key: 'CALLS', name: 'Calls' });
    const plan = (sku: string, limit: number) =>
      billing.catalog.saveOffer({
        sku,
        name: sku,
        price: '10.00',
        currency: 'USD',
        billing: 'recurring',
        interval: { unit: 'month', count: 1 },
        items: [
          {
            product: 'CALLS',
            quantity: 10,
            overage: { limit, pricing: { model: 'per_unit', unitPrice: '0.10' } },
          },
        ],
        collect: { bill: 'arrears' },
      });
    await plan('calls-wide', 100);
    await plan('calls-narrow', 5);
    const parent = await newAccount();
    const [one, other] = [await newAccount(), await newAccount()];
    for (const child of [one, other]) await billing.accounts.attachChild({ parent, child });
    const overage = () => billing.ledger.overage({ account: parent, product: 'CALLS' });
    await begun(one, { sku: 'calls-wide' });
    expect(await overage()).toMatchObject({ limit: '100', used: '0' });
    clock.advance(86_400_000);
    const narrow = await begun(other, { sku: 'calls-narrow' });
    expect(await overage()).toMatchObject({ limit: '105', used: '0' });
    const used = await billing.ledger.consume({ account: one, product: 'CALLS', amount: 80 });
    expect(used).toMatchObject({ allowed: true, overage: '60' });
    // Its period is anew on 1 July, the other's a day later: each brings what is its own, 105 at most.
    clock.set(Date.parse(END));
    await billing.ledger.balance({ account: parent, product: 'CALLS' });
    expect(await overage()).toMatchObject({ limit: '165', used: '60' });
    clock.advance(86_400_000);
    await billing.ledger.balance({ account: parent, product: 'CALLS' });
    expect(await overage()).toMatchObject({ limit: '165', used: '60' });
    await billing.subscriptions.cancel({ subscriptionId: narrow, when: 'now' });
    clock.set(Date.parse('2027-08-01T09:00:00Z'));
    await billing.ledger.balance({ account: parent, product: 'CALLS' });
    expect(await overage()).toMatchObject({ limit: '160', used: '60' });
  });

  test('S6: merged, its subscriptions are found under the other and go on there', async () => {
    const [into, from] = [await newAccount(), await newAccount()];
    const subscriptionId = await begun(from);
    await billing.ledger.consume({ account: from, product: 'TOKENS', amount: 100 });
    const seen = await billing.accounts.merge({ into, from, prefer: 'into', dryRun: true });
    expect(seen.counts).toMatchObject({ subscriptions: 1, pendingItems: 1 });
    await billing.accounts.merge({ into, from, prefer: 'into' });
    expect(await tokens(into)).toBe('200');
    for (const account of [into, from]) {
      const { items } = await billing.subscriptions.list({ account });
      expect(items).toMatchObject([{ subscriptionId, status: 'active' }]);
    }
    clock.set(Date.parse('2027-06-16T00:00:00Z'));
    expect(await billing.subscriptions.change({ subscriptionId, quantity: 2 })).toMatchObject({
      allowed: true,
      quantity: 2,
    });
    // Half of 300 and half of 600, less the 100 used before the merge.
    expect(await tokens(into)).toBe('350');
    clock.set(END);
    expect(await tokens(into)).toBe('600');
    expect(await tokens(from)).toBe('600');
    clock.set(Date.parse('2027-07-02T00:00:00Z'));
    await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
    expect(await billing.ledger.check({ account: into, product: 'TOKENS' })).toMatchObject({
      allowed: false,
      reason: 'subscription_cancelled',
    });
  });

  test('S6: two subscriptions to one offer go on beside each other after a merge', async () => {
    const [into, from] = [await newAccount(), await newAccount()];
    await begun(into);
    const other = await begun(from);
    await billing.accounts.merge({ into, from, prefer: 'into' });
    expect(await tokens(into)).toBe('600');
    expect((await billing.subscriptions.list({ account: into })).items).toHaveLength(2);
    await billing.subscriptions.cancel({ subscriptionId: other, when: 'now' });
    expect(await tokens(into)).toBe('300');
    expect(await billing.ledger.check({ account: into, product: 'TOKENS' })).toMatchObject({
      allowed: true,
    });
  });

  test('why it was cancelled is said as long as it is, and not of another time', async () => {
    const account = await newAccount();
    const subscriptionId = await begun(account);
    const { cancel, get, reactivate, undo } = billing.subscriptions;
    const reason = async () => (await get({ subscriptionId })).cancelReason;
    expect(await cancel({ subscriptionId, reason: 'Too dear' })).toMatchObject({
      cancelReason: 'Too dear',
    });
    expect(await undo({ subscriptionId })).toMatchObject({ cancelReason: null });
    await cancel({ subscriptionId });
    expect(await reason()).toBeNull();
    await cancel({ subscriptionId, when: 'now', reason: 'Moved' });
    expect(await reason()).toBe('Moved');
    await reactivate({ subscriptionId });
    await cancel({ subscriptionId, when: 'now' });
    expect(await reason()).toBeNull();
  });

  test('an export has all of it, an erasure empties what people wrote', async () => {
    const account = await newAccount();
    const subscriptionId = await begun(account, { metadata: { for: 'Frau Musterfrau' } });
    await billing.subscriptions.cancel({ subscriptionId, reason: 'Frau Musterfrau moved' });
    const exported = await billing.accounts.export({ account });
    expect(exported).toMatchObject({
      subscriptions: [
        {
          subscriptionId,
          sku: 'plan',
          cancelAt: END,
          cancelReason: 'Frau Musterfrau moved',
          metadata: { for: 'Frau Musterfrau' },
          periods: [
            { number: 1, fee: '30.00', startsAt: new Date(START).toISOString(), endsAt: END },
          ],
          steps: [],
        },
      ],
      pendingItems: [{ subscriptionId, kind: 'fee', amount: '30.00', dueAt: END }],
    });
    const cancelReason = async () =>
      (await billing.subscriptions.get({ subscriptionId })).cancelReason;
    expect(await cancelReason()).toBe('Frau Musterfrau moved');
    await billing.accounts.erase({ account, confirm: account });
    expect(await cancelReason()).toBeNull();
    const after = await billing.accounts.export({ account });
    expect(JSON.stringify(after)).not.toContain('Musterfrau');
    expect(after).toMatchObject({
      subscriptions: [{ subscriptionId, cancelReason: null, metadata: {} }],
    });
  });
});
