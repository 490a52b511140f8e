import type { INodeParameters } from 'n8n-workflow';

import {
  balanceOf,
  by,
  chain,
  credential,
  customer,
  does,
  ofOffer,
  onEngine,
  ofProduct,
  ourNode,
  pickerContext,
  run,
  runnerWith,
  schema,
  toldToAgent,
  withSoundLedger,
} from './billing-in-workflows';
import { TestClock, openBilling } from '../../engine';
import { Billing } from '../../nodes/Billing/Billing.node';
import { newSchema, onServer, serverUrl } from '../engine/each-database';
import { monthlyPlan, payOpen, startPlan } from '../engine/subscriptions/monthly-plans';
import { N8nWithTriggers } from './n8n-with-triggers';

/** A month of a seller in a sandbox, by nodes alone. */

withSoundLedger();

beforeAll(async () => {
  await does('sandbox', 'mark');
  await does('offer', 'upsert', {
    sku: 'monthly',
    name: 'Messages a month',
    price: '30.00',
    currency: 'USD',
    items: { item: [{ product: 'messages', quantity: '1000' }] },
    sold: 'recurring',
    additionalFields: { public: true },
  });
  await does('offer', 'upsert', {
    sku: 'yearly',
    name: 'Messages a year',
    price: '900.00',
    currency: 'USD',
    items: { item: [{ product: 'messages', quantity: '5000' }] },
    sold: 'recurring',
    additionalFields: { public: true },
  });
});

const contact = { name: 'Ann Example', email: 'ann@example.com' };

/** A customer with a card of the test gateway, and without one when there is no token. */
async function buyer(externalId: string, token?: string): Promise<string> {
  const accountId = await customer(externalId);
  await does('account', 'update', { ...by(externalId), updateFields: contact });
  if (token !== undefined) {
    await does('payment', 'saveMethod', {
      ...by(externalId),
      gateway: 'test',
      paymentToken: token,
    });
  }
  return accountId;
}

const start = async (externalId: string, more: Record<string, unknown> = {}) =>
  (await does('subscription', 'start', { ...by(externalId), ...ofOffer('monthly'), ...more }))[0]!;

const ofSubscription = (subscriptionId: unknown) => ({
  subscription: { __rl: true, mode: 'id', value: subscriptionId },
});
const ofInvoice = (invoiceId: unknown) => ({
  invoice: { __rl: true, mode: 'id', value: invoiceId },
});

const dispatch = (operation: string, parameters: Record<string, unknown> = {}) =>
  run([{}], ourNode('Dispatch', 'dispatchInvoices', { operation, ...parameters }));

const forOnly = (externalId: string) => ({ invoicesFor: 'account', ...by(externalId) });

describe('Sandbox', () => {
  it('says what time it is there, and moves its clock', async () => {
    const [before] = await does('sandbox', 'get');
    expect(before).toMatchObject({ sandbox: true });
    await does('sandbox', 'advance', { advanceBy: 'duration', count: 1, unit: 'hour' });
    const [after] = await does('sandbox', 'get');
    expect(Date.parse(after!.now as string)).toBeGreaterThanOrEqual(
      Date.parse(before!.now as string) + 3_600_000,
    );
    await expect(
      does('sandbox', 'advance', { advanceBy: 'time', advanceTo: '2020-01-01T00:00:00' }),
    ).rejects.toThrow();
    await expect(
      does('sandbox', 'advance', { advanceBy: 'time', advanceTo: '={{ $json.nothing }}' }),
    ).rejects.toThrow('"Time" is missing.');
  });
});

describe('Dispatch Invoices', () => {
  it('bills, charges and gives an item with the PDF for each invoice', async () => {
    await buyer('pays', 'test_ok');
    const { subscriptionId } = await start('pays');
    const cycle = await dispatch('runBillingCycle', { options: { attachPdf: true } });
    expect(cycle.error).toBeNull();
    expect(cycle.json('Dispatch', 1)).toEqual([]);
    const [item] = cycle.items('Dispatch', 0);
    expect(item).toMatchObject({
      json: {
        number: expect.stringMatching(/^TEST/) as string,
        status: 'paid',
        total: '30.00',
        currency: 'USD',
        ...contact,
      },
      binary: { data: { mimeType: 'application/pdf' } },
    });
    expect(await balanceOf('pays')).toBe('1000');
    // Nothing is left to do.
    expect((await dispatch('runBillingCycle')).json('Dispatch', 0)).toEqual([]);
    expect(await does('subscription', 'get', ofSubscription(subscriptionId))).toMatchObject([
      { status: 'active', awaitingPayment: false },
    ]);
  });

  it('gives what could not be charged by the other output, with the reason', async () => {
    await buyer('declined', 'test_declined');
    await start('declined');
    await dispatch('createInvoices', forOnly('declined'));
    const sent = await dispatch('dispatchInvoices', forOnly('declined'));
    expect(sent.json('Dispatch', 0)).toEqual([]);
    expect(sent.json('Dispatch', 1)).toMatchObject([
      {
        status: 'open',
        total: '30.00',
        amountDue: '30.00',
        email: 'ann@example.com',
        attempt: 1,
        nextAttemptAt: expect.any(String) as string,
        code: expect.any(String) as string,
        hard: false,
      },
    ]);
    expect(await balanceOf('declined')).toBe('0');
  });

  it('I3: gives a retry that paid as sent, and one that failed as failed, each once', async () => {
    const payers = [
      await buyer('pays-again', 'test_declines_once'),
      await buyer('fails-again', 'test_declined'),
    ];
    for (const externalId of ['pays-again', 'fails-again']) {
      await start(externalId);
      await dispatch('createInvoices', forOnly(externalId));
      const first = await dispatch('dispatchInvoices', forOnly(externalId));
      expect(first.json('Dispatch', 1)).toMatchObject([{ attempt: 1, retried: false }]);
    }
    // The clock stays where it is for the other tests: what is due in three days is due now.
    const due = `update ${schema}.collections set next_attempt_at = opened_at, next_due_at = opened_at
                 where payer_id in ('${payers.join("', '")}')`;
    await onEngine((billing) => billing.transaction((tx) => tx.raw(due)));
    const paid = await dispatch('dispatchInvoices', forOnly('pays-again'));
    expect(paid.json('Dispatch', 0)).toMatchObject([
      { status: 'paid', total: '30.00', retried: true, ...contact },
    ]);
    expect(paid.json('Dispatch', 1)).toEqual([]);
    const failed = await dispatch('dispatchInvoices', forOnly('fails-again'));
    expect(failed.json('Dispatch', 0)).toEqual([]);
    expect(failed.json('Dispatch', 1)).toMatchObject([
      { status: 'open', retried: true, attempt: 2, nextAttemptAt: expect.any(String) as string },
    ]);
    const again = await dispatch('dispatchInvoices', forOnly('fails-again'));
    expect([again.json('Dispatch', 0), again.json('Dispatch', 1)]).toEqual([[], []]);
  });

  it('says whose gateway is not here, at the node and by the other output', async () => {
    const account = await buyer('elsewhere', 'test_ok');
    // As if saved by a program that has a gateway of its own.
    const change = `update ${schema}.payment_methods set gateway = 'stripe' where payer_id = '${account}'`;
    await onEngine((billing) => billing.transaction((tx) => tx.raw(change)));
    await start('elsewhere');
    await dispatch('createInvoices', forOnly('elsewhere'));
    const left = await dispatch('dispatchInvoices', forOnly('elsewhere'));
    expect(left.error).toBeNull();
    expect(left.json('Dispatch', 0)).toEqual([]);
    expect(left.json('Dispatch', 1)).toEqual([
      {
        code: 'gateway_missing',
        message: expect.stringContaining('"stripe" is missing') as string,
        gateway: 'stripe',
        payer: account,
        invoices: 1,
      },
    ]);
    expect(left.nodes.Dispatch![0]!.hints).toEqual([
      expect.stringContaining(
        '1 invoice waits for a gateway that this node does not have (stripe)',
      ),
      expect.stringMatching(/^Sandbox: its clock says/),
    ]);
    await onEngine((billing) =>
      billing.transaction((tx) => tx.raw(change.replace('stripe', 'test'))),
    );
    const sent = await dispatch('dispatchInvoices', forOnly('elsewhere'));
    expect(sent.json('Dispatch', 0)).toMatchObject([{ status: 'paid', retried: false }]);
  });

  it('does each step alone, and gives its counts', async () => {
    await buyer('steps', 'test_ok');
    await start('steps');
    const created = await dispatch('createInvoices', forOnly('steps'));
    expect(created.json('Dispatch', 0)).toMatchObject([{ created: 1 }]);
    const [draft] = await does('invoice', 'getAll', {
      invoicesOf: 'account',
      ...by('steps'),
      filters: { status: 'draft' },
    });
    expect(draft).toMatchObject({ number: null, total: '30.00' });
    const sent = await dispatch('dispatchInvoices', forOnly('steps'));
    expect(sent.json('Dispatch', 0)).toMatchObject([{ invoiceId: draft!.invoiceId }]);
    for (const operation of ['resetProducts', 'restoreProducts']) {
      const done = await dispatch(operation);
      expect([operation, done.error, done.json('Dispatch', 0).length]).toEqual([
        operation,
        null,
        1,
      ]);
    }
  });

  it('gives what went out also when the run breaks off afterwards', async () => {
    const account = await buyer('sent-before-the-end', 'test_ok');
    await start('sent-before-the-end');
    const changing = (change: string) =>
      onEngine((billing) => billing.transaction((tx) => tx.raw(change)));
    // Another invoice, issued before; it is looked at after those that are due.
    const { invoiceId } = await onEngine(async ({ invoicing }) => {
      const draft = await invoicing.createInvoice({
        account,
        currency: 'USD',
        collection: 'send',
        items: [{ description: 'Travel', quantity: 1, unitPrice: '10.00' }],
      });
      return invoicing.finalizeInvoice({ invoiceId: draft.invoiceId });
    });
    await changing(
      `create trigger cannot_be_sent before update of sent_at on ${schema}.invoices for each row
       when (new.invoice_id = '${invoiceId}') execute function ${schema}.refuse_change()`,
    );
    const cycle = await dispatch('runBillingCycle');
    expect(cycle.error).toBeNull();
    expect(cycle.json('Dispatch', 0)).toMatchObject([
      { status: 'paid', total: '30.00', ...contact },
    ]);
    expect(cycle.json('Dispatch', 1)).toMatchObject([
      { error: expect.any(String) as string, details: expect.any(Object) as object },
    ]);
    // Nothing is lost by that any more: the workflow stops.
    expect((await dispatch('runBillingCycle')).error).not.toBeNull();
    await changing(`drop trigger cannot_be_sent on ${schema}.invoices`);
    const next = await dispatch('runBillingCycle');
    expect(next.json('Dispatch', 0)).toMatchObject([{ invoiceId, total: '10.00' }]);
  });

  it('says of a logo that cannot be drawn any more that it was left away', async () => {
    // As an earlier release took it.
    const logoId = '0'.repeat(64);
    const content = Buffer.from('GIF89a').toString('base64');
    await does('invoice', 'saveSettings', { settings: { locale: 'en' } });
    const changing = (change: string) =>
      onEngine((billing) => billing.transaction((tx) => tx.raw(change)));
    await changing(
      `insert into ${schema}.invoice_logos (logo_id, mime_type, content, saved_at)
       values ('${logoId}', 'image/png', '${content}', now())`,
    );
    await changing(`update ${schema}.invoicing_settings set logo_id = '${logoId}'`);
    await buyer('bad-logo', 'test_ok');
    await start('bad-logo');
    await dispatch('createInvoices', forOnly('bad-logo'));
    const sent = await dispatch('dispatchInvoices', {
      ...forOnly('bad-logo'),
      options: { attachPdf: true },
    });
    await changing(`update ${schema}.invoicing_settings set logo_id = null`);
    expect(sent.json('Dispatch', 1)).toEqual([]);
    const [item] = sent.items('Dispatch', 0);
    const why = expect.stringMatching(/^The logo is left away, save another one: /) as string;
    expect(item).toMatchObject({
      json: { status: 'paid', pdfProblem: why },
      binary: { data: { mimeType: 'application/pdf' } },
    });
    const render = { ...ofInvoice(item!.json.invoiceId), format: 'html' };
    expect(await does('invoice', 'render', render)).toMatchObject([
      { problems: [{ code: 'invalid_input', message: why }] },
    ]);
  });

  it('refuses an operation that it has not, and an account that is not there', async () => {
    expect((await dispatch('everything')).error?.message).toMatch(/everything/);
    const nobody = await dispatch('createInvoices', forOnly('nobody at all'));
    expect(nobody.error?.message).toMatch(/nobody at all/);
  });
});

onServer(() => {
  describe('Dispatch Invoices after a long pause', () => {
    /** No sandbox, for there nothing is held back. */
    const own = {
      ...credential,
      database: 'postgres',
      connectBy: 'url',
      url: serverUrl(),
    } as const;
    const after = { ...own, schema: newSchema() };
    const cycle = (options: object) =>
      runnerWith({}, { billingDatabaseApi: after }).run(
        chain(ourNode('Dispatch', 'dispatchInvoices', { operation: 'runBillingCycle', options })),
        { items: [{}] },
      );

    it('says who has missed too much, at the node and by the other output, until it is told to catch up', async () => {
      const clock = new TestClock(Date.now() - 200 * 86_400_000);
      const before = await openBilling({ connection: serverUrl(), schema: after.schema, clock });
      const items = [{ product: 'messages', quantity: 10 }];
      await before.catalog.saveProduct({ key: 'messages', name: 'Messages' });
      await before.catalog.saveOffer(monthlyPlan('monthly', '30.00', { items }));
      const { accountId: account } = await before.accounts.identify({ externalId: 'away' });
      const { subscriptionId } = await startPlan(before, { account, sku: 'monthly' });
      await before.invoicing.createInvoices();
      await before.invoicing.dispatchInvoices();
      await payOpen(before, account, 'cash');
      await before.close();

      const left = await cycle({});
      expect(left.error).toBeNull();
      expect([left.json('Dispatch', 0), left.json('Dispatch', 1)]).toEqual([
        [],
        [
          {
            payer: account,
            code: 'catch_up_needed',
            message: expect.stringContaining(subscriptionId) as string,
          },
        ],
      ]);
      expect(left.nodes.Dispatch![0]!.hints).toEqual([
        expect.stringContaining('1 subscription has missed so many periods'),
      ]);
      const all = await cycle({ catchUp: true });
      expect(all.error).toBeNull();
      expect(all.nodes.Dispatch![0]!.hints ?? []).toEqual([]);
      const given = [...all.json('Dispatch', 0), ...all.json('Dispatch', 1)];
      expect(given.filter(({ code }) => code === 'catch_up_needed')).toEqual([]);
      expect(given.length).toBeGreaterThan(0);
    });
  });
});

describe('Card Error Trigger', () => {
  const trigger = (parameters: object = {}) =>
    ourNode('Card Error', 'cardErrorTrigger', {
      reader: 'card-errors',
      options: { pollSeconds: 1, runDue: false },
      ...parameters,
    });

  it('starts with invoice, charge, owner and what comes next; a retry pays', async () => {
    const n8n = new N8nWithTriggers();
    await n8n.listen(trigger());
    const accountId = await buyer('second-try', 'test_declines_once');
    await start('second-try');
    await dispatch('createInvoices', forOnly('second-try'));
    await dispatch('dispatchInvoices', forOnly('second-try'));
    const [items] = await n8n.items(1);
    const [item] = items!;
    expect(item).toMatchObject({
      invoice: { status: 'open', total: '30.00', lines: [{ sku: 'monthly' }] },
      charge: { gateway: 'test' },
      owner: { accountId, ...contact },
      attempt: 1,
      amount: '30.00',
      currency: 'USD',
      hard: false,
    });
    const { invoiceId } = item!.invoice as { invoiceId: string };
    expect(await does('invoice', 'retry', ofInvoice(invoiceId))).toMatchObject([
      { status: 'succeeded', invoiceStatus: 'paid' },
    ]);
    expect(await balanceOf('second-try')).toBe('1000');
    await expect(does('invoice', 'retry', ofInvoice(invoiceId))).rejects.toThrow(/paid/);
    await n8n.stop();
  });

  it('gives it in short from version 1.1 on, and what could not be charged too', async () => {
    const n8n = new N8nWithTriggers();
    await n8n.listen({ ...trigger({ reader: 'in-short' }), typeVersion: 1.1 });
    const accountId = await buyer('in-short', 'test_declines_once');
    await start('in-short');
    await dispatch('createInvoices', forOnly('in-short'));
    const { json } = await run([{}], {
      ...ourNode('Dispatch', 'dispatchInvoices', {
        operation: 'dispatchInvoices',
        accountBy: 'externalId',
        ...forOnly('in-short'),
        options: { amountsAsNumbers: true },
      }),
      typeVersion: 1.1,
    });
    const [failed] = json('Dispatch', 1);
    expect(failed).toMatchObject({ total: 30, amountDue: 30, status: 'open', attempt: 1 });
    expect(failed).not.toHaveProperty('actionUrl');
    const [[item] = []] = await n8n.items(1);
    expect(Object.keys(item!).slice(0, 4)).toEqual(['eventId', 'occurredAt', 'invoice', 'charge']);
    expect(item).toMatchObject({
      invoice: { invoiceId: failed!.invoiceId, total: '30.00', lines: [{ sku: 'monthly' }] },
      owner: { accountId, ...contact },
    });
    expect(item!.invoice).not.toHaveProperty('voidedAt');
    await n8n.stop();
  });

  it('starts without a charge where there is no card', async () => {
    const n8n = new N8nWithTriggers();
    await n8n.listen(trigger({ reader: 'no-card' }));
    await buyer('no-card');
    await start('no-card');
    await dispatch('createInvoices', forOnly('no-card'));
    await dispatch('dispatchInvoices', forOnly('no-card'));
    const [items] = await n8n.items(1);
    expect(items).toMatchObject([{ charge: null, owner: contact, attempt: 1 }]);
    await n8n.stop();
  });
});

describe('Billing: Subscription', () => {
  it('starts, is changed, paused, cancelled and taken up again', async () => {
    await buyer('subscriber', 'test_ok');
    const started = await start('subscriber', {
      options: { quantity: 2, metadata: '{"campaign":"spring"}' },
    });
    expect(started).toMatchObject({
      allowed: true,
      sku: 'monthly',
      quantity: 2,
      metadata: { campaign: 'spring' },
    });
    await dispatch('runBillingCycle');
    const of = ofSubscription(started.subscriptionId);
    expect(await does('subscription', 'change', { ...of, changes: { quantity: 1 } })).toMatchObject(
      [{ quantity: 2, next: { quantity: 1 } }],
    );
    expect(await does('subscription', 'undo', of)).toMatchObject([{ next: { quantity: 2 } }]);
    expect(
      await does('subscription', 'change', {
        ...of,
        changes: ofOffer('yearly'),
        options: { when: 'now', mode: 'prorate' },
      }),
    ).toMatchObject([{ sku: 'monthly', awaitingChange: { sku: 'yearly' } }]);
    await dispatch('runBillingCycle');
    expect(await does('subscription', 'get', of)).toMatchObject([
      { sku: 'yearly', awaitingChange: null },
    ]);
    expect(await does('subscription', 'pause', of)).toMatchObject([
      { pauseAt: expect.any(String) as string },
    ]);
    expect(await does('subscription', 'undo', of)).toMatchObject([{ pauseAt: null }]);
    expect(await does('subscription', 'cancel', { ...of, when: 'period_end' })).toMatchObject([
      { cancelAt: expect.any(String) as string },
    ]);
    expect(await does('subscription', 'undo', of)).toMatchObject([{ cancelAt: null }]);
    expect(
      await does('subscription', 'cancel', { ...of, when: 'now', options: { reason: 'Moving' } }),
    ).toMatchObject([{ status: 'cancelled' }]);
    await expect(does('subscription', 'pause', of)).rejects.toThrow();
    expect(await does('subscription', 'reactivate', of)).toMatchObject([{ allowed: true }]);
    const listed = await does('subscription', 'getAll', {
      subscriptionsOf: 'account',
      ...by('subscriber'),
    });
    expect(listed.map(({ subscriptionId }) => subscriptionId)).toContain(started.subscriptionId);
  });

  it('is refused to agents, and says what is missing', async () => {
    await buyer('agent');
    const told = await toldToAgent('subscription', 'start', {
      ...by('agent'),
      ...ofOffer('monthly'),
    });
    expect(told).toEqual({ error: expect.stringContaining('is not for AI agents') as string });
    await expect(
      start('agent', { offer: { __rl: true, mode: 'sku', value: '={{ $json.x }}' } }),
    ).rejects.toThrow('"Offer" is missing.');
    await expect(
      does('subscription', 'get', ofSubscription('0198c0de-7a3b-7c11-9f2e-5d1f6c1f0a11')),
    ).rejects.toThrow(/no subscription/);
  });
});

describe('Billing: Invoice', () => {
  const items = {
    items: {
      item: [
        { itemIs: 'text', description: 'Consulting', quantity: '2', unitPrice: '80.00' },
        { itemIs: 'offer', ...ofOffer('messages-10'), quantity: '3' },
      ],
    },
  };
  const create = async (externalId: string, more: object = {}) =>
    (
      await does('invoice', 'create', { ...by(externalId), currency: 'USD', ...items, ...more })
    )[0]!;

  it('is written by hand, changed while a draft, issued, and paid by bank transfer', async () => {
    await buyer('by-hand');
    const draft = await create('by-hand', {
      options: { collection: 'send', memo: 'Agreed by phone' },
    });
    expect(draft).toMatchObject({ status: 'draft', number: null, total: '163.00' });
    const of = ofInvoice(draft.invoiceId);
    const [added] = await does('invoice', 'addItem', {
      addTo: 'draft',
      ...of,
      itemIs: 'text',
      description: 'Travel',
      quantity: '1',
      unitPrice: '12.50',
    });
    const { lineId } = added as { lineId: string };
    await does('invoice', 'updateItem', { ...of, lineId, updateFields: { unitPrice: '10.00' } });
    expect(await does('invoice', 'get', of)).toMatchObject([{ total: '173.00' }]);
    await does('invoice', 'removeItem', { ...of, lineId });
    const [issued] = await does('invoice', 'finalize', of);
    expect(issued).toMatchObject({ status: 'open', total: '163.00' });
    await expect(does('invoice', 'removeItem', { ...of, lineId })).rejects.toThrow();
    await does('invoice', 'markPaid', {
      ...of,
      method: 'bank_transfer',
      reference: 'tx-1',
      options: { amount: '100.00' },
    });
    expect(await does('invoice', 'get', of)).toMatchObject([
      { status: 'open', amountDue: '63.00' },
    ]);
    await does('invoice', 'markPaid', { ...of, method: 'bank_transfer', reference: 'tx-2' });
    expect(await does('invoice', 'get', of)).toMatchObject([{ status: 'paid', amountDue: '0.00' }]);
  });

  it('comes as PDF and as HTML, with the seller and the logo of the settings', async () => {
    await does('invoice', 'saveSettings', {
      settings: {
        seller: {
          name: 'Example Ltd',
          address: {
            address: { line1: 'Main Street 1', postalCode: '10115', city: 'Berlin', country: 'DE' },
          },
        },
        numbering: { digits: 4 },
        dunning: { retryAfterDays: '1, 2', graceDays: 5 },
        paymentDays: 30,
      },
    });
    const [settings] = await does('invoice', 'getSettings');
    expect(settings).toMatchObject({ seller: { name: 'Example Ltd' }, paymentTerms: { days: 30 } });
    await expect(
      does('invoice', 'saveSettings', { settings: { dunning: { retryAfterDays: 'soon' } } }),
    ).rejects.toThrow('"Retry After Days" must be whole numbers of days.');
    await buyer('papers');
    const { invoiceId } = await create('papers');
    const of = ofInvoice(invoiceId);
    await does('invoice', 'finalize', of);
    const node = (format: string) =>
      ourNode('Billing', 'billing', { resource: 'invoice', operation: 'render', ...of, format });
    const [pdf] = (await run([{}], node('pdf'))).items('Billing');
    expect(pdf!.binary!.data).toMatchObject({
      mimeType: 'application/pdf',
      fileName: expect.stringMatching(/\.pdf$/) as string,
    });
    expect(Buffer.from(pdf!.binary!.data!.data, 'base64').subarray(0, 5).toString()).toBe('%PDF-');
    const [html] = (await run([{}], node('html'))).items('Billing');
    const page = Buffer.from(html!.binary!.data!.data, 'base64').toString();
    expect(page).toContain('Example Ltd');
    expect(page).toContain('Consulting');
  });

  it('is corrected, refunded, voided and written off', async () => {
    await buyer('corrected');
    const paid = await create('corrected');
    await does('invoice', 'finalize', ofInvoice(paid.invoiceId));
    await does('invoice', 'markPaid', {
      ...ofInvoice(paid.invoiceId),
      method: 'cash',
      reference: 'c-1',
    });
    const [note] = await does('invoice', 'createCreditNote', {
      ...ofInvoice(paid.invoiceId),
      creditWhat: 'line',
      position: 2,
      creditTo: 'credit',
      options: { reason: 'Not delivered' },
    });
    expect(note).toMatchObject({ total: '3.00' });
    expect(await does('invoice', 'getCredit', by('corrected'))).toMatchObject([
      { credits: [{ currency: 'USD', amount: '3.00' }] },
    ]);
    await does('invoice', 'addCredit', { ...by('corrected'), currency: 'USD', amount: '2.00' });
    expect(
      await does('invoice', 'getCreditNotes', { creditNotesOf: 'account', ...by('corrected') }),
    ).toHaveLength(1);
    await does('invoice', 'refund', {
      ...ofInvoice(paid.invoiceId),
      refundWhat: 'amount',
      amount: '160.00',
    });
    await expect(
      does('invoice', 'refund', {
        ...ofInvoice(paid.invoiceId),
        refundWhat: 'amount',
        amount: '1.00',
      }),
    ).rejects.toThrow();
    const other = await create('corrected');
    await does('invoice', 'finalize', ofInvoice(other.invoiceId));
    expect(await does('invoice', 'void', ofInvoice(other.invoiceId))).toMatchObject([
      { status: 'void' },
    ]);
    const third = await create('corrected');
    await does('invoice', 'finalize', ofInvoice(third.invoiceId));
    expect(await does('invoice', 'markUncollectible', ofInvoice(third.invoiceId))).toMatchObject([
      { status: 'uncollectible' },
    ]);
    const draft = await create('corrected');
    await does('invoice', 'delete', ofInvoice(draft.invoiceId));
    await expect(does('invoice', 'get', ofInvoice(draft.invoiceId))).rejects.toThrow(/no invoice/);
  });

  it('is previewed, with what was put on the next one', async () => {
    await buyer('previewed');
    expect(await does('invoice', 'preview', by('previewed'))).toEqual([
      { nothingDue: true, accountId: await customer('previewed') },
    ]);
    await does('invoice', 'addItem', {
      addTo: 'next',
      ...by('previewed'),
      currency: 'USD',
      itemIs: 'text',
      description: 'Set-up',
      quantity: '1',
      unitPrice: '49.00',
    });
    expect(await does('invoice', 'preview', by('previewed'))).toMatchObject([{ total: '49.00' }]);
  });

  it('never takes what is not there for everything', async () => {
    await buyer('careful');
    await expect(
      create('careful', {
        items: { item: [{ itemIs: 'text', description: 'Free?', quantity: '1' }] },
      }),
    ).rejects.toThrow('"Unit Price" is missing.');
    const { invoiceId } = await create('careful');
    await expect(
      does('invoice', 'refund', {
        ...ofInvoice(invoiceId),
        refundWhat: 'amount',
        amount: '={{ $json.x }}',
      }),
    ).rejects.toThrow(/"Amount" is (missing|required)/);
    await expect(
      does('invoice', 'refund', { ...ofInvoice(invoiceId), refundWhat: 'some' }),
    ).rejects.toThrow('"Refund" must be one of');
    expect(await toldToAgent('invoice', 'void', ofInvoice(invoiceId))).toEqual({
      error: expect.stringContaining('is not for AI agents') as string,
    });
  });
});

describe('Billing: Payment', () => {
  const ofMethod = (methodId: unknown) => ({
    paymentMethod: { __rl: true, mode: 'id', value: methodId },
  });

  it('keeps methods, and takes one for another only of the same account', async () => {
    await buyer('cards', 'test_ok');
    const [second] = await does('payment', 'saveMethod', {
      ...by('cards'),
      gateway: 'test',
      paymentToken: 'test_insufficient_funds',
      options: { makeDefault: false },
    });
    const [one, other] = await does('payment', 'getMethods', by('cards'));
    expect([one, other].map((method) => method!.isDefault).sort()).toEqual([false, true]);
    await does('payment', 'setDefaultMethod', { ...by('cards'), ...ofMethod(second!.methodId) });
    const defaults = (await does('payment', 'getMethods', by('cards'))).filter(
      ({ isDefault }) => isDefault,
    );
    expect(defaults).toMatchObject([{ methodId: second!.methodId }]);
    await buyer('no-cards');
    await expect(
      does('payment', 'removeMethod', { ...by('no-cards'), ...ofMethod(second!.methodId) }),
    ).rejects.toThrow(/has no payment method/);
    await does('payment', 'removeMethod', { ...by('cards'), ...ofMethod(second!.methodId) });
    expect(await does('payment', 'getMethods', by('cards'))).toHaveLength(1);
  });

  it('refuses what looks like the number of a card', async () => {
    await buyer('number');
    await expect(
      does('payment', 'saveMethod', {
        ...by('number'),
        gateway: 'test',
        paymentToken: '4242 4242 4242 4242',
      }),
    ).rejects.toThrow(/looks like the number of a card/);
  });

  it('lists attempts, and sets and lists automatic top-ups', async () => {
    await buyer('tried', 'test_declined');
    await start('tried');
    await dispatch('createInvoices', forOnly('tried'));
    await dispatch('dispatchInvoices', forOnly('tried'));
    const of = { attemptsOf: 'account', ...by('tried') };
    expect(await does('payment', 'getAttempts', of)).toMatchObject([{ status: 'failed' }]);
    await does('payment', 'setTopUp', {
      ...by('tried'),
      ...ofProduct('messages'),
      below: 10,
      ...ofOffer('messages-10'),
      options: { maxPerPeriod: 2 },
    });
    expect(await does('payment', 'getTopUps', by('tried'))).toMatchObject([
      { product: 'messages', below: '10', sku: 'messages-10', maxPerPeriod: 2, active: true },
    ]);
  });
});

describe('Billing: Invoice and Subscription, Get Collection', () => {
  it('says how far an invoice, and what a subscription owes, is collected', async () => {
    await buyer('dunned', 'test_declined');
    const of = ofSubscription((await start('dunned')).subscriptionId);
    const collection = () => does('subscription', 'getCollection', of);
    await dispatch('createInvoices', forOnly('dunned'));
    await dispatch('dispatchInvoices', forOnly('dunned'));
    const [dunned] = await collection();
    expect(dunned).toMatchObject({
      collecting: true,
      status: 'waiting',
      attempts: 1,
      next: { step: 'attempt', at: dunned!.nextAttemptAt },
    });
    const invoice = ofInvoice(dunned!.invoiceId);
    expect(await does('invoice', 'getCollection', invoice)).toEqual([dunned]);
    await does('invoice', 'markPaid', { ...invoice, method: 'cash', reference: 'till 1' });
    expect(await does('invoice', 'getCollection', invoice)).toMatchObject([
      { collecting: false, status: 'closed', next: null },
    ]);
    expect(await collection()).toEqual([
      { collecting: false, subscriptionId: of.subscription.value },
    ]);
    await expect(
      does('subscription', 'getCollection', ofSubscription(dunned!.invoiceId)),
    ).rejects.toThrow(/no subscription/);
    expect(await toldToAgent('subscription', 'getCollection', of)).toMatchObject({
      collecting: false,
    });
  });
});

describe('Billing: Order, Pay', () => {
  const ordered = async (externalId: string) => {
    const lines = { items: { item: [ofOffer('messages-10')] } };
    const [order] = await does('order', 'create', { ...by(externalId), ...lines });
    return { order: { __rl: true, mode: 'id', value: order!.orderId } };
  };

  it('charges the card on file once, or the one that is named', async () => {
    await buyer('pays-order', 'test_ok');
    const order = await ordered('pays-order');
    const [paid] = await does('order', 'pay', order);
    expect(paid).toMatchObject({ status: 'succeeded', amount: '1.00', gateway: 'test' });
    expect(await does('order', 'pay', order)).toMatchObject([{ attemptId: paid!.attemptId }]);
    expect(await does('order', 'get', order)).toMatchObject([{ status: 'paid' }]);
    expect(await balanceOf('pays-order')).toBe('10');
    const [declining] = await does('payment', 'saveMethod', {
      ...by('pays-order'),
      gateway: 'test',
      paymentToken: 'test_declined',
      options: { makeDefault: false },
    });
    const options = { methodId: declining!.methodId };
    const other = await ordered('pays-order');
    expect(await does('order', 'pay', { ...other, options })).toMatchObject([
      { status: 'failed', code: 'card_declined' },
    ]);
    const chosen = pickerContext(new Billing(), { order: other.order as INodeParameters });
    const { searchPaymentMethodsOfOrder } = new Billing().methods.listSearch;
    expect((await searchPaymentMethodsOfOrder.call(chosen)).results).toEqual([
      { name: expect.stringContaining('default') as string, value: expect.anything() as string },
      { name: expect.anything() as string, value: declining!.methodId },
    ]);
    const picked = { methodId: { __rl: true, mode: 'list', value: declining!.methodId } };
    const newest = { typeVersion: 1.2 };
    expect(await does('order', 'pay', { ...other, options: picked }, [{}], newest)).toMatchObject([
      { status: 'failed', code: 'card_declined' },
    ]);
    expect(await does('order', 'get', other)).toMatchObject([{ status: 'pending' }]);
  });

  it('is refused for what is not to be paid, a method of others, and to agents', async () => {
    await buyer('pays-not', 'test_ok');
    const order = await ordered('pays-not');
    const pay = (more: Record<string, unknown>) => does('order', 'pay', { ...order, ...more });
    const [foreign] = await does('payment', 'getMethods', by('pays-order'));
    await expect(pay({ options: { methodId: foreign!.methodId } })).rejects.toThrow(
      /no payment method/,
    );
    const picked = (value: string) => ({ methodId: { __rl: true, mode: 'id', value } });
    for (const methodId of ['={{ $json.nothing }}', picked('={{ $json.nothing }}').methodId]) {
      await expect(pay({ options: { methodId } })).rejects.toThrow('"Payment Method" is missing.');
    }
    await expect(pay({ options: picked(foreign!.methodId as string) })).rejects.toThrow(
      /no payment method/,
    );
    expect(await toldToAgent('order', 'pay', order)).toEqual({
      error: expect.stringContaining('is not for AI agents') as string,
    });
    await does('order', 'cancel', order);
    await expect(pay({})).rejects.toThrow(/Nothing is left to pay/);
  });
});

describe('Billing: Payment, Get Refunds Due and Mark Refunded', () => {
  it('lists what is given back by hand, until it is marked', async () => {
    await buyer('transfers');
    const [draft] = await does('invoice', 'create', {
      ...by('transfers'),
      currency: 'USD',
      items: { item: [{ itemIs: 'text', description: 'Work', quantity: 1, unitPrice: '20.00' }] },
      options: { collection: 'send' },
    });
    const invoice = ofInvoice(draft!.invoiceId);
    await does('invoice', 'finalize', invoice);
    await does('invoice', 'markPaid', { ...invoice, method: 'bank_transfer', reference: 'in' });
    await does('invoice', 'refund', invoice);
    const due = () =>
      does('payment', 'getRefundsDue', { refundsOf: 'account', ...by('transfers') });
    const [refund] = await due();
    expect(refund).toMatchObject({ amount: '20.00', status: 'due' });
    const all = await does('payment', 'getRefundsDue', { returnAll: true });
    expect(all.map(({ refundId }) => refundId)).toContain(refund!.refundId);
    const mark = (more: object) =>
      does('payment', 'markRefunded', { refundId: refund!.refundId, reference: 'SEPA 7', ...more });
    await expect(mark({ reference: '={{ $json.nothing }}' })).rejects.toThrow(
      '"Reference" is missing.',
    );
    await expect(mark({ refundId: draft!.invoiceId })).rejects.toThrow(
      /There is no refund.*"Payment: Get Refunds Due"/,
    );
    expect(await mark({})).toMatchObject([{ status: 'succeeded', reference: 'SEPA 7' }]);
    expect(await due()).toEqual([]);
    expect(await toldToAgent('payment', 'markRefunded', { reference: 'x', refundId: 'y' })).toEqual(
      { error: expect.stringContaining('is not for AI agents') as string },
    );
  });
});

describe('pickers', () => {
  it('list subscriptions, invoices and the methods of the account chosen', async () => {
    await buyer('picking', 'test_ok');
    const { subscriptionId } = await start('picking');
    await dispatch('runBillingCycle');
    const node = new Billing();
    const search = (name: keyof Billing['methods']['listSearch'], filter?: string) =>
      node.methods.listSearch[name].call(
        pickerContext(node, { accountBy: 'externalId', ...by('picking') }),
        filter,
      );
    const { results } = await search('searchSubscriptions', 'a month');
    expect(results.map(({ value }) => value)).toContain(subscriptionId);
    const { results: invoices } = await search('searchInvoices', '30.00 usd');
    expect(invoices.length).toBeGreaterThan(0);
    const { results: methods } = await search('searchPaymentMethods');
    expect(methods).toHaveLength(1);
    expect(methods[0]!.name).toContain('default');
  });
});
