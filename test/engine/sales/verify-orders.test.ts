import knexFactory, { type Knex } from 'knex';

import { openBilling, type Billing } from '../../../engine';
import { openEmbedded } from '../../../engine/database/embedded';
import { rulesKinds, newSchema, serverUrl } from '../each-database';
import { keepRows } from '../tables';
import { tampering } from '../tampering';

/** Orders and refunds: what their tables refuse, and what verify() finds when the guards were off. */

describe.each(rulesKinds)('orders in the database (%s)', (name) => {
  let knex: Knex;
  let close: () => Promise<void>;
  const opened: Billing[] = [];

  beforeAll(async () => {
    if (name === 'server') {
      knex = knexFactory({ client: 'pg', connection: serverUrl(), pool: { min: 0, max: 10 } });
      close = () => knex.destroy();
    } else {
      ({ knex, close } = await openEmbedded('memory', 10_000));
    }
  });
  afterAll(async () => {
    for (const billing of opened) await billing.close();
    await close();
  });

  /** An order that was paid and partly refunded, and one that is pending. */
  const story = async () => {
    const schema = newSchema();
    const billing = await openBilling({ connection: knex, schema });
    opened.push(billing);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    await billing.catalog.saveOffer({
      sku: 'pack',
      name: 'Pack',
      price: '10.00',
      currency: 'USD',
      items: [{ product: 'MSG', quantity: 100 }],
      bonuses: [{ product: 'MSG', quantity: 10 }],
    });
    const { accountId: account } = await billing.accounts.identify({ externalId: 'payer' });
    const order = async (): Promise<string> => {
      const created = await billing.sales.createOrder({ account, items: [{ sku: 'pack' }] });
      return created.orderId!;
    };
    const [paid, pending] = [await order(), await order()];
    await billing.sales.confirmOrder({ orderId: paid, paymentId: 'p1' });
    await billing.sales.refundOrder({ orderId: paid, amount: '4.00', refundId: 'r1' });
    return {
      ...tampering(knex, schema, { paid, pending }),
      verify: () => billing.verify(),
      schema,
      paid,
      pending,
      account,
    };
  };

  let sound: Awaited<ReturnType<typeof story>>;
  let putBack: () => Promise<void>;
  beforeAll(async () => {
    sound = await story();
    putBack = await keepRows(knex, sound.schema);
  });
  afterEach(() => putBack());

  test('a sound book of orders is counted', async () => {
    const { verify } = sound;
    expect(await verify()).toMatchObject({
      ok: true,
      problems: [],
      checked: { orders: 2, order_items: 2, order_grants: 2, payment_references: 2, refunds: 1 },
    });
  });

  test.each([
    'delete from {schema}.orders',
    'truncate {schema}.orders',
    'update {schema}.orders set subtotal = 11, net = 11, total = 11 where order_id = {pending}',
    `update {schema}.orders set status = 'pending' where order_id = {paid}`,
    `update {schema}.orders set status = 'paid', paid_at = created_at where order_id = {pending}`,
    `update {schema}.orders set status = 'cancelled' where order_id = {pending}`,
    `update {schema}.orders set status = 'cancelled', cancelled_at = created_at, paid_at = null,
       paid = 0, refunded = 0 where order_id = {paid}`,
    `update {schema}.orders set refunded = 11, status = 'refunded' where order_id = {paid}`,
    'update {schema}.orders set refunded = 3 where order_id = {paid}',
    'update {schema}.orders set refunded = 10 where order_id = {paid}',
    `update {schema}.orders set refunded = 5, payment_id = 'p2' where order_id = {paid}`,
    'update {schema}.order_items set quantity = 2',
    'delete from {schema}.order_items',
    'update {schema}.order_grants set bonus = true',
    'delete from {schema}.payment_references',
    `insert into {schema}.payment_references select gateway, kind, reference, payer_id, {pending}
       from {schema}.payment_references`,
    'update {schema}.refunds set amount = 5, net = 5',
    'truncate {schema}.refund_items',
    'delete from {schema}.refund_units',
  ])('the database refuses: %s', async (statement) => {
    const { run, verify } = sound;
    await expect(run(statement)).rejects.toThrow(/refused|violates/);
    expect(await verify()).toMatchObject({ ok: true });
  });

  test.each([
    ['order_totals', 'update {schema}.orders set subtotal = 11 where order_id = {pending}'],
    [
      'order_refunded order_cash',
      'update {schema}.orders set refunded = 5 where order_id = {paid}',
    ],
    ['refund_items order_returned', 'update {schema}.refund_items set amount = 3, net = 3'],
    [
      'order_returned refund_exceeds refund_items',
      `update {schema}.refund_items set net = 11, amount = 11`,
    ],
    ['order_grants', 'delete from {schema}.order_grants'],
    ['order_value', 'update {schema}.order_grants set bonus = not bonus'],
    ['order_returned', `delete from {schema}.line_returns where kind = 'refund'`],
    ['refund_units', 'update {schema}.refund_units set units = 101 where net > 0'],
    ['payment_reference', `delete from {schema}.payment_references where kind = 'payment'`],
    [
      'payment_reference reference_order',
      `update {schema}.payment_references set reference = 'p9' where kind = 'payment'`,
    ],
    [
      'reference_order',
      `update {schema}.payment_references set reference = 'r9' where kind = 'refund'`,
    ],
  ])('verify finds %s', async (codes, statement) => {
    const { tamper, verify } = sound;
    await tamper(statement);
    const { ok, problems } = await verify();
    expect(ok).toBe(false);
    expect(problems.map(({ code }) => code).sort()).toEqual(codes.split(' ').sort());
    for (const { id, message } of problems) {
      expect(message).toMatch(/^\w+ .+\.$/);
      expect(message).toContain(id);
    }
  });
});
