import { TestClock, type Billing } from '../../../engine';
import { newSchema, forRules } from '../each-database';
import { eventOf, record } from '../recorded-events';
import { rowsOf, tablesOf } from '../tables';

/** In no id, code or amount, and found whatever its case. */
const MARK = 'Zyxwperson';

forRules('export and erase', (database) => {
  const clock = new TestClock('2027-04-01T12:00:00Z');
  const schema = newSchema();
  let billing: Billing;
  let accounts: Billing['accounts'];
  let ledger: Billing['ledger'];
  let sales: Billing['sales'];
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, schema);
    ({ accounts, ledger, sales } = billing);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
    await billing.catalog.saveOffer({
      sku: 'pack',
      name: 'Pack',
      price: '10.00',
      currency: 'EUR',
      items: [{ product: 'MSG', quantity: '100' }],
    });
    await sales.setReferralProgram({ commission: { levels: ['10'] }, active: true });
  });

  const fresh = (prefix: string): string => {
    counter += 1;
    return `${prefix}${counter}`;
  };
  const identify = async (more: object = {}): Promise<string> =>
    (await accounts.identify({ externalId: fresh('person-'), ...more })).accountId;
  const hour = { unit: 'hour', count: 1 } as const;

  /** Writes the mark wherever people may write about an account or with it. */
  async function writeEverywhere(mark: string): Promise<string> {
    const note = { metadata: { note: mark } };
    const account = await identify({
      provider: 'telegram',
      externalId: `${mark} 1`,
      name: mark,
      email: `${mark}@example.org`,
      idempotencyKey: mark,
      ...note,
    });
    await accounts.update({
      account,
      contact: {
        name: mark,
        company: mark,
        phone: mark,
        address: {
          line1: mark,
          line2: mark,
          city: mark,
          postalCode: mark,
          region: mark,
          country: 'DE',
        },
      },
      tax: { status: 'exempt', taxIds: [{ type: mark, value: mark }], country: 'DE' },
      idempotencyKey: fresh('k'),
    });
    const about = { account, product: 'MSG' };
    await ledger.grant({
      ...about,
      quantity: 100,
      source: mark,
      reason: mark,
      author: mark,
      idempotencyKey: fresh('k'),
      ...note,
    });
    await ledger.bonus({ ...about, quantity: 5, source: mark, ...note });
    const used = await ledger.consume({ ...about, idempotencyKey: fresh('k'), ...note });
    await ledger.restore({ entryId: used.entryId!, ...note });
    const { holdId } = await ledger.hold({ ...about, expiresIn: hour, ...note });
    await ledger.settle({ holdId: holdId!, ...note });
    await ledger.hold({ ...about, expiresIn: hour, ...note });
    await ledger.deduct({ ...about, amount: 1, reason: mark, author: mark, ...note });
    await ledger.transfer({
      ...about,
      amount: 1,
      toAccount: await identify(),
      reason: mark,
      ...note,
    });

    const order = async (buyer: string) => {
      const created = await sales.createOrder({
        account: buyer,
        items: [{ sku: 'pack' }],
        ...note,
      });
      const { orderId } = created;
      await sales.confirmOrder({ orderId: orderId!, paymentId: fresh('pay-'), ...note });
      return orderId!;
    };
    await sales.refundOrder({
      orderId: await order(account),
      refundId: fresh('refund-'),
      reason: mark,
      ...note,
    });
    await sales.createOrder({
      account,
      items: [{ sku: 'pack' }],
      idempotencyKey: fresh('k'),
      ...note,
    });

    const buyer = await identify();
    await sales.attachReferral({ referrer: account, account: buyer, ...note });
    await sales.createOrder({ account: buyer, items: [{ sku: 'pack' }] });
    const bought = await sales.createOrder({ account: buyer, items: [{ sku: 'pack' }] });
    await sales.confirmOrder({ orderId: bought.orderId!, paymentId: fresh('pay-') });
    const { payoutId } = await sales.requestPayout({
      account,
      amount: '1.00',
      currency: 'EUR',
      ...note,
    });
    await sales.decidePayout({
      payoutId: payoutId!,
      decision: 'rejected',
      reason: mark,
      ...note,
    });
    return account;
  }

  /** Tables in which the mark stands, as text or as bytes. */
  async function marked(mark: string): Promise<string[]> {
    const found: string[] = [];
    const forms = [mark, mark.toLowerCase()].flatMap((text) => [
      text.toLowerCase(),
      Buffer.from(text).toString('hex'),
    ]);
    for (const table of await tablesOf(billing, schema)) {
      const rows = (await rowsOf(billing, schema, table)).map((row) => row.toLowerCase());
      if (rows.some((row) => forms.some((form) => row.includes(form)))) found.push(table);
    }
    return found;
  }

  test('nothing of an erased person is left anywhere; ids, codes and amounts are', async () => {
    const account = await writeEverywhere(MARK);
    // Also of what was merged into it.
    const other = await identify({ provider: 'email', externalId: `b${MARK}@example.org` });
    await ledger.grant({ account: other, product: 'MSG', quantity: 3, source: `b ${MARK}` });
    await accounts.merge({ into: account, from: other, idempotencyKey: fresh('k') });
    const before = await marked(MARK);
    expect(before).toEqual(
      expect.arrayContaining([
        'account_contacts',
        'account_details',
        'account_taxes',
        'answers',
        'entry_details',
        'identities',
        'order_details',
        'payout_details',
        'refund_details',
      ]),
    );
    const ledgerBefore = await rowsOf(billing, schema, 'entries');
    const ordersBefore = await rowsOf(billing, schema, 'orders');
    const stranger = await writeEverywhere('Vutsneighbour');

    const erased = await accounts.erase({ account, confirm: account });
    expect(erased).toEqual({
      accountId: account,
      erasedAt: clock.now().toISOString(),
      replayed: false,
    });
    expect(await marked(MARK)).toEqual([]);
    expect(await marked('Vutsneighbour')).toEqual(before);

    const ledgerAfter = await rowsOf(billing, schema, 'entries');
    expect(ledgerBefore.filter((row) => !ledgerAfter.includes(row))).toEqual([]);
    const ordersAfter = await rowsOf(billing, schema, 'orders');
    expect(ordersBefore.filter((row) => !ordersAfter.includes(row))).toEqual([]);
    expect(await accounts.get({ account })).toEqual({
      accountId: account,
      parentId: null,
      status: 'closed',
      name: null,
      email: null,
      timeZone: 'UTC',
      contact: null,
      tax: { status: 'exempt', taxIds: [], country: 'DE', taxRate: null },
      identities: [],
      aliases: [other],
      metadata: {},
      createdAt: clock.now().toISOString(),
      erasedAt: clock.now().toISOString(),
      standing: { trialing: false, pastDue: false, overdue: false, graceUntil: null },
    });
    expect((await accounts.get({ account: stranger })).status).toBe('active');

    // Who comes again is a stranger, with the same key, too.
    const again = await accounts.identify({
      provider: 'telegram',
      externalId: `${MARK} 1`,
      name: MARK,
      email: `${MARK}@example.org`,
      idempotencyKey: MARK,
    });
    expect(again).toMatchObject({ created: true, replayed: false });
    expect(again.accountId).not.toBe(account);
  });

  test('what was written of a child beside the invoices of its parent goes; what was issued stays', async () => {
    const mark = 'Qwfpchild';
    const parent = await identify();
    const child = await identify({ name: mark });
    await accounts.attachChild({ parent, child });
    const { invoicing } = billing;
    const item = { description: mark, unitPrice: '3.00' };
    const note = { metadata: { note: mark } };
    await invoicing.addItem({ account: child, currency: 'EUR', item, ...note });
    await invoicing.createInvoices({ account: parent });
    const dueAt = '2027-06-01T00:00:00Z';
    await invoicing.addItem({ account: child, currency: 'EUR', item, dueAt });
    await invoicing.createInvoice({
      account: child,
      currency: 'EUR',
      items: [item],
      memo: mark,
      idempotencyKey: fresh('k'),
      ...note,
    });
    await invoicing.addCredit({
      account: child,
      currency: 'EUR',
      amount: '1.00',
      reason: mark,
      ...note,
    });
    expect(await marked(mark)).toEqual(
      expect.arrayContaining(['account_credit_details', 'invoice_lines', 'pending_items']),
    );
    await accounts.erase({ account: child, confirm: child });
    expect(await marked(mark)).toEqual([]);

    const person = await identify({ name: 'Arstperson' });
    const { invoiceId } = await invoicing.createInvoice({
      account: person,
      currency: 'EUR',
      items: [{ description: 'Arstperson', unitPrice: '3.00' }],
      memo: 'Arstperson',
    });
    await invoicing.finalizeInvoice({ invoiceId });
    await invoicing.createCreditNote({ invoiceId, amount: '1.00', reason: 'Arstperson' });
    await accounts.erase({ account: person, confirm: person });
    expect(await marked('Arstperson')).toEqual([
      'credit_note_details',
      'invoice_details',
      'invoice_lines',
    ]);
    expect(await invoicing.getInvoice({ invoiceId })).toMatchObject({ memo: null });
    expect((await invoicing.listCreditNotes({ invoiceId })).items).toMatchObject([{ note: null }]);
  });

  test('what a gateway wrote goes from events, which stay', async () => {
    const mark = 'Fpgjcard';
    const account = await identify();
    const other = await identify();
    const data = { responseText: `No, ${mark}!`, rejectReason: mark, code: 'declined' };
    for (const id of [account, other]) {
      await record(billing, schema, [
        eventOf('card.error', id, clock.now(), { data }),
        eventOf('top_up.failed', id, clock.now(), { data: { rejectReason: mark } }),
      ]);
    }
    // One has its place already.
    await billing.events.poll({ reader: 'before', from: 'beginning' });
    await accounts.erase({ account, confirm: account });
    expect(await billing.events.list({ account })).toMatchObject({
      items: [
        { type: 'top_up.failed', data: { code: 'card_declined', rejectReason: null } },
        { type: 'card.error', data: { code: 'declined', responseText: null, rejectReason: null } },
      ],
    });
    expect((await billing.events.list({ account: other })).items).toMatchObject([
      { data: { rejectReason: mark } },
      { data },
    ]);
    expect(await marked(mark)).toEqual(['events']);
    await accounts.erase({ account: other, confirm: other });
    expect(await marked(mark)).toEqual([]);
  });

  test('needs the id once more, and is done once for its key', async () => {
    const account = await identify({ name: 'Ada' });
    const other = await identify();
    for (const confirm of [other, 'yes', 'Ada']) {
      await expect(accounts.erase({ account, confirm })).rejects.toMatchObject({
        code: 'invalid_input',
        parameter: 'confirm',
      });
    }
    await expect(accounts.erase({ account } as never)).rejects.toMatchObject({
      parameter: 'confirm',
    });
    expect((await accounts.get({ account })).name).toBe('Ada');
    const request = { account, confirm: account, idempotencyKey: fresh('k') };
    const first = await accounts.erase(request);
    clock.advance(60_000);
    expect(await accounts.erase(request)).toEqual({ ...first, replayed: true });
    // Without the key it is done again, and was erased when it was.
    expect(await accounts.erase({ account, confirm: account })).toEqual(first);
  });

  test('an erased account is not brought back, and is nobody’s', async () => {
    const account = await identify();
    const other = await identify();
    await accounts.erase({ account, confirm: account });
    await expect(accounts.update({ account, status: 'active' })).rejects.toMatchObject({
      code: 'forbidden',
    });
    await expect(accounts.attachChild({ parent: other, child: account })).rejects.toMatchObject({
      code: 'merge_conflict',
    });
    await expect(accounts.merge({ into: other, from: account })).rejects.toMatchObject({
      code: 'merge_conflict',
      parameter: 'from',
    });
    expect(await ledger.consume({ account, product: 'MSG' })).toMatchObject({
      reason: 'account_closed',
    });
  });

  test('a child is erased without its parent, wherever it was', async () => {
    const mark = 'Wvutchild';
    const [parent, child] = [await identify(), await identify({ name: mark })];
    await ledger.grant({ account: child, product: 'MSG', quantity: 1, source: mark });
    await ledger.consume({ account: child, product: 'MSG', metadata: { mark } });
    await accounts.attachChild({ parent, child });
    await ledger.grant({ account: parent, product: 'MSG', quantity: 10, source: 'kept' });
    await ledger.consume({ account: child, product: 'MSG', metadata: { mark } });
    await accounts.erase({ account: child, confirm: child });
    expect(await marked(mark)).toEqual([]);
    expect(await ledger.grants({ account: parent })).toMatchObject([{ source: 'kept' }]);
    expect(await ledger.check({ account: parent, product: 'MSG' })).toMatchObject({
      allowed: true,
      remaining: '9',
    });
  });

  test('in a transaction of the caller it stands and falls with it', async () => {
    const account = await identify({ name: 'Ada' });
    await expect(
      billing.transaction(async (tx) => {
        await accounts.erase({ account, confirm: account, tx });
        throw new Error('undone');
      }),
    ).rejects.toThrow('undone');
    expect(await accounts.get({ account })).toMatchObject({ name: 'Ada', status: 'active' });
  });

  test('an export has everything, of what was merged into it, too', async () => {
    const [account, other, child] = [
      await identify({ name: 'Ada', metadata: { a: 1 } }),
      await identify({ provider: 'chat', externalId: fresh('chat-') }),
      await identify(),
    ];
    await accounts.attachChild({ parent: account, child });
    await ledger.grant({ account: other, product: 'MSG', quantity: 20, source: 'before' });
    await ledger.consume({ account: other, product: 'MSG', amount: 5, metadata: { job: 7 } });
    const { orderId } = await sales.createOrder({ account: other, items: [{ sku: 'pack' }] });
    await accounts.merge({ into: account, from: other });
    await ledger.hold({ account, product: 'MSG', amount: 2, expiresIn: hour });
    await ledger.setOverage({ account, product: 'MSG', limit: '3' });

    const exported = await accounts.export({ account: other });
    expect(exported).toMatchObject({
      exportedAt: clock.now().toISOString(),
      account: { accountId: account, name: 'Ada', metadata: { a: 1 }, aliases: [other] },
      children: [child],
      balances: [{ product: 'MSG', available: '13', held: '2' }],
      holds: [{ amount: '2', status: 'open' }],
      overage: [{ product: 'MSG', limit: '3' }],
      orders: [{ orderId, account: other }],
      entriesTruncated: false,
    });
    expect(exported.entries).toEqual((await ledger.entries({ account })).items);
    expect(exported.entries).toContainEqual(
      expect.objectContaining({ account: other, amount: '-5', metadata: { job: 7 } }),
    );
    expect(JSON.parse(JSON.stringify(exported))).toEqual(exported);

    expect(await accounts.export({ account, entries: 2 })).toMatchObject({
      entries: (exported.entries as unknown[]).slice(0, 2),
      entriesTruncated: true,
    });
    // A child's units are its parent's.
    await ledger.consume({ account: child, product: 'MSG' });
    expect(await accounts.export({ account: child })).toMatchObject({
      balances: [],
      grants: [],
      overage: [],
      entries: [{ account: child, amount: '-1' }],
    });
    // But for what was got for it: before it had a parent, and under that.
    const [parent, grown, former] = [await identify(), await identify(), await identify()];
    await accounts.attachChild({ parent: grown, child: former });
    const ordered = async (of: string): Promise<string> => {
      const order = await sales.createOrder({ account: of, items: [{ sku: 'pack' }] });
      await sales.confirmOrder({ orderId: order.orderId!, paymentId: fresh('pay-') });
      return order.orderId!;
    };
    const paidForFormer = await ordered(former);
    await accounts.detachChild({ child: former });
    await ledger.grant({ account: grown, product: 'MSG', quantity: 1 });
    await accounts.attachChild({ parent, child: grown, moveUnits: true });
    await ledger.grant({ account: parent, product: 'MSG', quantity: 7 });
    const underParent = await ordered(grown);
    await billing.invoicing.addCredit({
      account: grown,
      currency: 'USD',
      amount: '5.00',
      reason: 'Sorry, Ada',
    });
    const ofGrown = await accounts.export({ account: grown });
    expect(ofGrown).toMatchObject({
      orders: [{ orderId: underParent }, { orderId: paidForFormer }],
      accountCredit: [{ amount: '5.00', note: 'Sorry, Ada' }],
      billedToPayer: [],
    });
    const sources = (ofGrown.grants as Array<{ source: string }>).map(({ source }) => source);
    expect(sources).toEqual(
      expect.arrayContaining([`order ${underParent}`, `order ${paidForFormer}`, 'manual']),
    );
    expect(
      (ofGrown.grants as Array<{ initial: string }>).map(({ initial }) => initial),
    ).not.toContain('7');
    for (const bad of [{ entries: -1 }, { entries: 100_001 }, { format: 'csv' }]) {
      await expect(accounts.export({ account, ...(bad as object) })).rejects.toMatchObject({
        code: 'invalid_input',
        parameter: Object.keys(bad)[0],
      });
    }
  });
});
