import knexFactory, { type Knex } from 'knex';

import { TestClock, openBilling, type Billing } from '../../../engine';
import { openEmbedded } from '../../../engine/database/embedded';
import { rulesKinds, newSchema, serverUrl } from '../each-database';
import { keepRows } from '../tables';
import { tampering } from '../tampering';

/** Invoices and credit notes: what their tables refuse, and what verify() finds when the guards were off. */

describe.each(rulesKinds)('invoices in the database (%s)', (name) => {
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

  /** An invoice that was paid, corrected and partly refunded, one that is open, and a draft. */
  const story = async () => {
    const schema = newSchema();
    const billing = await openBilling({ connection: knex, schema });
    opened.push(billing);
    await billing.catalog.saveTaxRate({ key: 'de', name: 'VAT', percent: '19', country: 'DE' });
    const { accountId: account } = await billing.accounts.identify({ externalId: 'payer' });
    await billing.accounts.update({ account, tax: { country: 'DE' } });
    const write = async (): Promise<string> => {
      const { invoiceId } = await billing.invoicing.createInvoice({
        account,
        currency: 'EUR',
        collection: 'send',
        items: [
          { description: 'One', unitPrice: '10.00' },
          { description: 'Two', unitPrice: '20.00' },
        ],
      });
      return invoiceId;
    };
    const { invoicing } = billing;
    const [paid, open, draft] = [await write(), await write(), await write()];
    await invoicing.finalizeInvoice({ invoiceId: paid });
    await invoicing.markPaid({ invoiceId: paid, method: 'cash', reference: 'r1' });
    await invoicing.refundInvoice({ invoiceId: paid, line: 1, refundId: 're1' });
    await invoicing.createCreditNote({ invoiceId: paid, amount: '1.19', to: 'credit' });
    await invoicing.finalizeInvoice({ invoiceId: open });
    await invoicing.addItem({
      account,
      currency: 'EUR',
      item: { description: 'x', unitPrice: 1 },
    });
    await invoicing.createInvoices();
    return {
      ...tampering(knex, schema, { paid, open, draft }),
      verify: () => billing.verify(),
      schema,
    };
  };

  let sound: Awaited<ReturnType<typeof story>>;
  let putBack: () => Promise<void>;
  beforeAll(async () => {
    sound = await story();
    putBack = await keepRows(knex, sound.schema);
  });
  afterEach(() => putBack());

  test('sound invoices are counted', async () => {
    expect(await sound.verify()).toMatchObject({
      ok: true,
      problems: [],
      checked: {
        invoices: 3,
        invoice_lines: 7,
        invoice_payments: 1,
        credit_notes: 2,
        invoice_refunds: 1,
      },
    });
  });

  test.each([
    'delete from {schema}.invoices where invoice_id = {paid}',
    'truncate {schema}.invoices',
    'update {schema}.invoices set net = 1, total = 1 + tax where invoice_id = {open}',
    `update {schema}.invoices set status = 'draft', number = null where invoice_id = {open}`,
    'update {schema}.invoice_lines set net = 1, total = 1 + tax where invoice_id = {open}',
    'delete from {schema}.invoice_lines where invoice_id = {paid}',
    // One line of an issued invoice among those of a draft is enough.
    'delete from {schema}.invoice_lines where invoice_id in ({draft}, {paid})',
    `update {schema}.invoice_lines set description = 'another' where invoice_id = {paid}`,
    'update {schema}.invoice_lines set description = null, quantity = 9 where invoice_id = {paid}',
    'update {schema}.invoice_lines set invoice_id = {open} where invoice_id = {draft}',
    `insert into {schema}.invoice_lines
       (payer_id, invoice_id, position, line_id, kind, account_id, quantity, subtotal, net, total)
     select i.payer_id, i.invoice_id, 90, gen_random_uuid(), 'one_off', i.payer_id, 1, 1, 1, 1
     from {schema}.invoices i where i.invoice_id in ({draft}, {open})`,
    'truncate {schema}.invoice_lines',
    'update {schema}.credit_notes set total = 1, net = 1, tax = 0, to_due = 1',
    'delete from {schema}.credit_notes',
    'truncate {schema}.credit_note_lines',
    'delete from {schema}.invoice_refunds',
    'update {schema}.line_returns set net = 0',
    'truncate {schema}.line_returns',
    'update {schema}.account_credits set amount = 100',
    'update {schema}.invoice_payments set amount = 1',
    'update {schema}.invoice_logos set content = content',
    'update {schema}.pending_items set amount = 2',
    'update {schema}.invoice_series set next_number = 1',
  ])('the database refuses: %s', async (statement) => {
    // A statement that finds nothing is refused, too, where a table is written once.
    await expect(Promise.resolve(sound.run(statement))).rejects.toThrow();
  });

  test('lines of a draft come, change and go, and of issued ones texts are emptied', async () => {
    const { run, verify } = sound;
    await run(`
      insert into {schema}.invoice_lines
        (payer_id, invoice_id, position, line_id, kind, account_id, quantity, subtotal, net, total)
      select i.payer_id, i.invoice_id, 90, gen_random_uuid(), 'one_off', i.payer_id, 1, 1, 1, 1
      from {schema}.invoices i where i.invoice_id = {draft}`);
    await run('update {schema}.invoice_lines set quantity = 2 where invoice_id = {draft}');
    await run('delete from {schema}.invoice_lines where invoice_id = {draft} and position = 90');
    await run('update {schema}.invoice_lines set description = null');
    expect(await verify()).toMatchObject({ ok: true, problems: [] });
  });

  test('an item that is billed is not freed, one on a draft is', async () => {
    const { run } = sound;
    await run('update {schema}.pending_items set invoice_id = null where invoice_id is not null');
    await run('update {schema}.pending_items set invoice_id = {paid}');
    await expect(
      Promise.resolve(run('update {schema}.pending_items set invoice_id = null')),
    ).rejects.toThrow(/not billed again/);
  });

  test.each([
    [
      'invoice_totals',
      'update {schema}.invoices set net = net + 1, total = total + 1, reduced = reduced + 1 where invoice_id = {open}',
    ],
    [
      'invoice_tax',
      'update {schema}.invoice_lines set tax = tax + 5, total = total + 5 where invoice_id = {open}',
    ],
    [
      'invoice_untaxed',
      'update {schema}.invoice_lines set tax_percent = null where invoice_id = {open}',
    ],
    ['invoice_paid', 'delete from {schema}.invoice_payments'],
    [
      'invoice_credit_noted',
      'update {schema}.invoices set credit_noted = credit_noted - 1 where invoice_id = {paid}',
    ],
    ['invoice_refunded', 'delete from {schema}.invoice_refunds'],
    [
      'credit_note_lines',
      'update {schema}.credit_note_lines set net = net - 0.5, total = total - 0.5',
    ],
    [
      'credit_note_exceeds',
      'update {schema}.credit_note_lines set net = net + 50, total = total + 50',
    ],
    ['line_returned', 'delete from {schema}.line_returns'],
    ['line_returns', 'update {schema}.line_returns set net = net + 50'],
    [
      'credit_returned',
      `insert into {schema}.line_returns (payer_id, return_id, sold_by, document_id, position, kind,
         item_id, net, tax, returned_at)
       select payer_id, gen_random_uuid(), 'invoice', invoice_id, 1, 'proration_credit',
         gen_random_uuid(), 1, 0, now() from {schema}.invoices where invoice_id = {open}`,
    ],
    [
      'use_returned',
      `insert into {schema}.line_returns (payer_id, return_id, sold_by, document_id, position, kind,
         item_id, net, tax, returned_at)
       select payer_id, gen_random_uuid(), 'invoice', invoice_id, 1, 'usage_credit',
         gen_random_uuid(), 1, 0, now() from {schema}.invoices where invoice_id = {open}`,
    ],
    ['paper_numbers', 'update {schema}.invoice_series set next_number = next_number + 1'],
    ['paper_numbers', 'update {schema}.invoices set number = 7 where invoice_id = {open}'],
    ['account_credit', 'update {schema}.account_credits set amount = amount - 5'],
    [
      'invoice_receivable',
      `delete from {schema}.postings where kind = 'payment' and reference_type = 'invoice'`,
    ],
    [
      'held_fee',
      `insert into {schema}.held_fees (payer_id, fee_id, currency, amount, reference_type, reference_id)
       select payer_id, gen_random_uuid(), currency, 1, 'invoice', invoice_id
       from {schema}.invoices where invoice_id = {paid}`,
    ],
    [
      'item_billed',
      'update {schema}.pending_items set invoice_id = {paid} where invoice_id is not null',
    ],
    [
      'usage_billed',
      `insert into {schema}.invoice_usage (payer_id, entry_sequence, invoice_payer_id, invoice_id, position)
       select payer_id, 99, payer_id, invoice_id, 1 from {schema}.invoices where invoice_id = {paid}`,
    ],
  ])('verify finds %s: %s', async (code, statement) => {
    const { tamper, verify } = sound;
    await tamper(statement);
    const { ok, problems } = await verify();
    expect(ok).toBe(false);
    expect(problems.map((problem) => problem.code)).toContain(code);
  });

  test('verify finds use that no invoice will ever bill', async () => {
    const schema = newSchema();
    const clock = new TestClock('2027-01-01T00:00:00Z');
    const billing = await openBilling({ connection: knex, schema, clock });
    opened.push(billing);
    const { accounts, catalog, invoicing, ledger, subscriptions } = billing;
    await catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const overage = { pricing: { model: 'per_unit' as const, unitPrice: '0.50' } };
    await catalog.saveOffer({
      sku: 'late',
      name: 'late',
      price: '10.00',
      currency: 'USD',
      billing: 'recurring',
      interval: { unit: 'month', count: 1 },
      collect: { bill: 'arrears' },
      items: [{ product: 'MSG', quantity: 10, overage }],
    });
    const { accountId: account } = await accounts.identify({ externalId: 'user' });
    const started = await subscriptions.start({ account, sku: 'late', collection: 'send' });
    clock.set('2027-01-18T00:00:00Z');
    await ledger.consume({ account, product: 'MSG', amount: 12 });
    const { subscriptionId } = started as { subscriptionId: string };
    await subscriptions.cancel({ subscriptionId, when: 'now' });
    const { tamper } = tampering(knex, schema, {});
    const codes = async () => (await billing.verify()).problems.map(({ code }) => code);
    expect(await codes()).toEqual([]);
    // As if it had ended before the use, or in the same instant, without telling which came first.
    const periods = 'update {schema}.subscription_periods set';
    await tamper(`${periods} ends_at = ends_at - interval '3 seconds'`);
    expect(await codes()).toEqual(['usage_unbilled']);
    await tamper(`${periods} ends_at = ends_at + interval '3 seconds', cut_sequence = null`);
    expect(await codes()).toEqual(['usage_unbilled']);
    await tamper(`${periods} cut_sequence = 99`);
    await invoicing.createInvoices();
    await invoicing.dispatchInvoices();
    expect(await codes()).toEqual([]);
    await tamper('delete from {schema}.invoice_usage');
    expect(await codes()).toEqual(['usage_unbilled']);
  });
});
