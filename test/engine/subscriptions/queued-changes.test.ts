import { TestClock, type Billing } from '../../../engine';
import { forRules } from '../each-database';
import { monthlyPlan, startPlan } from './monthly-plans';

const START = Date.parse('2027-06-01T09:00:00Z');
const END = '2027-07-01T09:00:00.000Z';

forRules('what waits for the end of a period', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  const plan = (sku: string, price: string, more: object = {}) =>
    billing.catalog.saveOffer(
      monthlyPlan(sku, price, {
        items: [{ product: 'TOKENS', quantity: 10 }],
        collect: { bill: 'arrears' },
        ...more,
      }),
    );

  beforeAll(async () => {
    billing = await database.open(clock);
    await billing.catalog.saveProduct({ key: 'TOKENS', name: 'Tokens' });
    await plan('mini', '5.00');
    await plan('small', '10.00');
    await plan('large', '60.00');
    await plan('huge', '90.00');
    await plan('single', '1.00', { oncePerAccount: true });
    await plan('gifted', '50.00', { bonuses: [{ product: 'TOKENS', quantity: 7 }] });
  });
  beforeEach(() => clock.set(START));

  /** Three of `large`, in force. */
  const begun = async (): Promise<string> => {
    counter += 1;
    const { accountId: account } = await billing.accounts.identify({
      externalId: `subscriber-${counter}`,
    });
    return (await startPlan(billing, { account, sku: 'large', quantity: 3 })).subscriptionId;
  };
  const change = (subscriptionId: string, more: object) =>
    billing.subscriptions.change({ subscriptionId, ...more });
  const undo = (subscriptionId: string) => billing.subscriptions.undo({ subscriptionId });
  const atEnd = async (subscriptionId: string) => {
    clock.set(END);
    const { sku, quantity } = await billing.subscriptions.get({ subscriptionId });
    return [sku, quantity];
  };
  const queued = (sku: string, quantity: number) => ({ kind: 'change', sku, quantity, at: END });

  test('undoing a cancellation brings back what waited before it; once more takes that back', async () => {
    const subscriptionId = await begun();
    expect(await change(subscriptionId, { sku: 'small' })).toMatchObject({ replaced: null });
    expect(await billing.subscriptions.cancel({ subscriptionId })).toMatchObject({
      cancelAt: END,
      next: null,
      replaced: queued('small', 3),
    });
    expect(await undo(subscriptionId)).toMatchObject({
      cancelAt: null,
      next: { sku: 'small', quantity: 3 },
      replaced: { kind: 'cancellation', sku: 'large', quantity: 3, at: END },
    });
    expect(await undo(subscriptionId)).toMatchObject({
      next: { sku: 'large' },
      replaced: queued('small', 3),
    });
    await expect(undo(subscriptionId)).rejects.toMatchObject({ code: 'subscription_state' });
  });

  test('after a cancellation was undone the change takes force', async () => {
    const subscriptionId = await begun();
    await change(subscriptionId, { sku: 'small', quantity: 2 });
    await billing.subscriptions.cancel({ subscriptionId });
    await undo(subscriptionId);
    expect(await atEnd(subscriptionId)).toEqual(['small', 2]);
  });

  test('a pause stays beneath a cancellation, and a change beneath the pause', async () => {
    const subscriptionId = await begun();
    await change(subscriptionId, { quantity: 1 });
    const resumeAt = '2027-08-01T00:00:00.000Z';
    const paused = await billing.subscriptions.pause({ subscriptionId, resumeAt });
    expect(paused).toMatchObject({ pauseAt: END, replaced: null });
    const pause = { kind: 'pause', sku: 'large', quantity: 3, at: END };
    expect(await billing.subscriptions.pause({ subscriptionId })).toMatchObject({
      replaced: pause,
    });
    await billing.subscriptions.pause({ subscriptionId, resumeAt });
    expect(await billing.subscriptions.cancel({ subscriptionId })).toMatchObject({
      pauseAt: null,
      resumeAt: null,
      replaced: pause,
    });
    await expect(billing.subscriptions.resume({ subscriptionId })).rejects.toMatchObject({
      code: 'subscription_state',
    });
    expect(await undo(subscriptionId)).toMatchObject({ pauseAt: END, resumeAt });
    expect(await undo(subscriptionId)).toMatchObject({ pauseAt: null, next: { quantity: 1 } });
    expect(await undo(subscriptionId)).toMatchObject({ next: { quantity: 3 } });
  });

  test('cancelled now nothing waits any more', async () => {
    const subscriptionId = await begun();
    await change(subscriptionId, { sku: 'small' });
    await billing.subscriptions.cancel({ subscriptionId });
    const ended = await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
    expect(ended).toMatchObject({ status: 'cancelled', replaced: { kind: 'cancellation' } });
  });

  test('what an offer brings only once does not come again when it is returned to', async () => {
    counter += 1;
    const { accountId: account } = await billing.accounts.identify({
      externalId: `subscriber-${counter}`,
    });
    const { subscriptionId } = await startPlan(billing, { account, sku: 'large' });
    const left = async () =>
      (await billing.ledger.balance({ account, product: 'TOKENS' })).available;
    await change(subscriptionId, { sku: 'gifted' });
    clock.set(END);
    expect(await left()).toBe('17');
    await change(subscriptionId, { sku: 'huge' });
    await change(subscriptionId, { sku: 'gifted' });
    clock.set('2027-08-01T09:00:00Z');
    expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({ sku: 'gifted' });
    expect(await left()).toBe('17');
  });

  test('more seats now keep a downgrade that waits, for all of them', async () => {
    const subscriptionId = await begun();
    await change(subscriptionId, { sku: 'small' });
    expect(await change(subscriptionId, { quantity: 4 })).toMatchObject({
      sku: 'large',
      quantity: 4,
      next: { sku: 'small', quantity: 4 },
      replaced: null,
    });
    expect(await atEnd(subscriptionId)).toEqual(['small', 4]);
  });

  test('fewer seats at the end join the downgrade; another offer keeps them', async () => {
    const subscriptionId = await begun();
    await change(subscriptionId, { sku: 'small' });
    const fewer = await change(subscriptionId, { quantity: 2 });
    expect(fewer).toMatchObject({ next: { sku: 'small', quantity: 2 }, replaced: null });
    expect(await change(subscriptionId, { sku: 'mini' })).toMatchObject({
      next: { sku: 'mini', quantity: 2 },
      replaced: queued('small', 2),
    });
    expect(await change(subscriptionId, { sku: 'small', quantity: 1 })).toMatchObject({
      replaced: queued('mini', 2),
    });
    expect(await atEnd(subscriptionId)).toEqual(['small', 1]);
  });

  test('another offer now keeps seats that wait, and replaces an offer that does', async () => {
    const subscriptionId = await begun();
    await change(subscriptionId, { sku: 'small', quantity: 2 });
    expect(await change(subscriptionId, { sku: 'huge' })).toMatchObject({
      sku: 'huge',
      quantity: 3,
      next: { sku: 'huge', quantity: 2 },
      replaced: queued('small', 2),
    });
    expect(await change(subscriptionId, { quantity: 5 })).toMatchObject({
      next: { sku: 'huge', quantity: 5 },
      replaced: queued('huge', 2),
    });
    expect(await atEnd(subscriptionId)).toEqual(['huge', 5]);
  });

  test('what is sold once does not wait for several', async () => {
    const subscriptionId = await begun();
    await change(subscriptionId, { sku: 'single', quantity: 1 });
    await expect(change(subscriptionId, { quantity: 4 })).rejects.toMatchObject({
      code: 'invalid_input',
      parameter: 'quantity',
    });
    expect(await atEnd(subscriptionId)).toEqual(['single', 1]);
  });

  test('a change that is denied replaces nothing, and an answer that replays says the same', async () => {
    const subscriptionId = await begun();
    await change(subscriptionId, { sku: 'small' });
    await plan('mini', '5.00', { active: false });
    const denied = await change(subscriptionId, { sku: 'mini' });
    expect(denied).toMatchObject({ allowed: false, replaced: null, next: { sku: 'small' } });
    await plan('mini', '5.00', { active: true });
    const request = { sku: 'mini', idempotencyKey: 'once' };
    const first = await change(subscriptionId, request);
    expect(first).toMatchObject({ replaced: queued('small', 3) });
    expect(await change(subscriptionId, request)).toEqual({ ...first, replayed: true });
  });
});
