import { TestClock, type Billing } from '../../../engine';
import { newSchema, forRules } from '../each-database';

const HOUR = 3_600_000;

forRules('account details', (database) => {
  const clock = new TestClock('2027-01-10T12:00:00Z');
  const schema = newSchema();
  let billing: Billing;
  let accounts: Billing['accounts'];
  let ledger: Billing['ledger'];
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, schema);
    ({ accounts, ledger } = billing);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
    await billing.catalog.saveProduct({ key: 'PRO', name: 'Pro', kind: 'period' });
    await billing.catalog.saveProduct({ key: 'ALL', name: 'All', kind: 'unlimited' });
  });

  const fresh = (prefix: string): string => {
    counter += 1;
    return `${prefix}${counter}`;
  };
  const identify = async (more: object = {}): Promise<string> =>
    (await accounts.identify({ externalId: fresh('person-'), ...more })).accountId;
  const give = (account: string, quantity: number, more: object = {}) =>
    ledger.grant({ account, product: 'MSG', quantity, ...more });
  const left = async (account: string): Promise<string | null> =>
    (await ledger.balance({ account, product: 'MSG' })).available;

  const address = {
    line1: '12 St James’s Square',
    line2: null,
    city: 'London',
    postalCode: 'SW1Y 4JH',
    region: null,
    country: 'GB',
  };

  describe('contact and tax', () => {
    test('what is given changes, null clears, the rest stays', async () => {
      const account = await identify();
      const contact = { name: 'Ada', company: 'Engines Ltd', phone: '+44 20 7946 0000', address };
      const tax = {
        status: 'reverse_charge' as const,
        taxIds: [{ type: 'eu_vat', value: 'DE123456789' }],
        country: 'DE',
        taxRate: null,
      };
      expect(
        await accounts.update({
          account,
          contact: { ...contact, address: { ...address, country: ' gb ' } },
          tax,
        }),
      ).toMatchObject({ contact, tax, name: null });
      expect(await accounts.get({ account })).toMatchObject({ contact, tax });
      expect(
        await accounts.update({
          account,
          contact: { company: null, phone: '1' },
          tax: { status: 'normal' },
        }),
      ).toMatchObject({
        contact: { ...contact, company: null, phone: '1' },
        tax: { ...tax, status: 'normal' },
      });
      expect(
        await accounts.update({
          account,
          contact: { address: null },
          tax: { country: null, taxIds: [] },
        }),
      ).toMatchObject({
        contact: { name: 'Ada', company: null, phone: '1', address: null },
        tax: { status: 'normal', taxIds: [], country: null, taxRate: null },
      });
      expect(await accounts.update({ account, contact: null, tax: null })).toMatchObject({
        contact: null,
        tax: { status: 'normal', taxIds: [], country: null, taxRate: null },
      });
    });

    test('a tax rate is one that exists and is active', async () => {
      const account = await identify();
      await billing.catalog.saveTaxRate({ key: 'reduced', name: 'Reduced', percent: '7' });
      expect(await accounts.update({ account, tax: { taxRate: 'reduced' } })).toMatchObject({
        tax: { status: 'normal', taxRate: 'reduced' },
      });
      await expect(accounts.update({ account, tax: { taxRate: 'reduzed' } })).rejects.toMatchObject(
        { code: 'invalid_input', parameter: 'taxRate' },
      );
      expect((await accounts.get({ account })).tax.taxRate).toBe('reduced');
    });

    test('a repeat with its key changes nothing; another contact is a conflict', async () => {
      const account = await identify();
      const request = { account, contact: { name: 'First' }, idempotencyKey: fresh('k') };
      const first = await accounts.update(request);
      await accounts.update({ account, contact: { name: 'Second' } });
      expect(await accounts.update(request)).toEqual({ ...first, replayed: true });
      expect((await accounts.get({ account })).contact).toMatchObject({ name: 'Second' });
      for (const other of [
        { contact: { name: 'Other' } },
        { tax: { status: 'exempt' as const } },
      ]) {
        await expect(accounts.update({ ...request, ...other })).rejects.toMatchObject({
          code: 'idempotency_conflict',
        });
      }
    });

    test('two changes at once lose nothing of each other', async () => {
      const account = await identify();
      await Promise.all([
        accounts.update({ account, contact: { name: 'Ada' } }),
        accounts.update({ account, contact: { company: 'Engines' } }),
        accounts.update({ account, contact: { phone: '1' } }),
        accounts.update({ account, contact: { address } }),
      ]);
      expect((await accounts.get({ account })).contact).toEqual({
        name: 'Ada',
        company: 'Engines',
        phone: '1',
        address,
      });
    });

    test.each([
      [{ contact: { address: { ...address, country: 'UK' } } }, 'contact.address.country'],
      [{ contact: { address: { ...address, country: 'Germany' } } }, 'contact.address.country'],
      [{ contact: { address: { ...address, city: undefined } } }, 'contact.address.city'],
      [{ contact: { address: { ...address, line1: '' } } }, 'contact.address.line1'],
      [{ contact: { address: 'London' } }, 'contact.address'],
      [{ contact: { phone: 'x'.repeat(51) } }, 'contact.phone'],
      [{ contact: { fax: '1' } }, 'contact.fax'],
      [{ contact: 'Ada' }, 'contact'],
      [{ tax: { status: 'none' } }, 'tax.status'],
      [{ tax: { taxIds: [{ type: 'eu_vat' }] } }, 'tax.taxIds[0].value'],
      [{ tax: { taxIds: 'DE1' } }, 'tax.taxIds'],
      [{ tax: { country: 'XX' } }, 'tax.country'],
      [{ tax: { rate: '19' } }, 'tax.rate'],
    ])('refused: %j', async (change, parameter) => {
      const account = await identify();
      const before = await accounts.get({ account });
      await expect(accounts.update({ account, ...(change as object) })).rejects.toMatchObject({
        code: 'invalid_input',
        parameter,
      });
      expect(await accounts.get({ account })).toEqual(before);
    });
  });

  describe('status', () => {
    test('a suspended or closed account is given to and settles, and uses nothing', async () => {
      for (const [status, reason] of [
        ['suspended', 'account_suspended'],
        ['closed', 'account_closed'],
      ] as const) {
        const account = await identify();
        await give(account, 10);
        const hold = () =>
          ledger.hold({
            account,
            product: 'MSG',
            amount: 2,
            expiresIn: { unit: 'hour', count: 1 },
          });
        const [first, second] = [await hold(), await hold()];
        const used = await ledger.consume({ account, product: 'MSG' });
        await accounts.update({ account, status });

        for (const denied of [
          await ledger.consume({ account, product: 'MSG' }),
          await ledger.check({ account, product: 'MSG' }),
          await hold(),
        ]) {
          expect(denied).toMatchObject({ allowed: false, reason });
        }
        expect(await give(account, 5)).toHaveLength(1);
        expect(await ledger.settle({ holdId: first.holdId! })).toMatchObject({ consumed: '2' });
        expect(await ledger.release({ holdId: second.holdId! })).toMatchObject({ released: '2' });
        expect(await ledger.restore({ entryId: used.entryId! })).toMatchObject({ restored: '1' });
        expect(await accounts.update({ account, name: 'Still here' })).toMatchObject({ status });
        expect(await left(account)).toBe('13');

        await accounts.update({ account, status: 'active' });
        expect(await ledger.consume({ account, product: 'MSG' })).toMatchObject({ allowed: true });
      }
    });

    test('a closed account is nobody’s parent or child; a suspended one may be', async () => {
      const [parent, child] = [await identify(), await identify()];
      const attach = () => accounts.attachChild({ parent, child });
      for (const [closed, parameter] of [
        [parent, 'parent'],
        [child, 'child'],
      ] as const) {
        await accounts.update({ account: closed, status: 'closed' });
        await expect(attach()).rejects.toMatchObject({ code: 'merge_conflict', parameter });
        await accounts.update({ account: closed, status: 'suspended' });
      }
      expect(await attach()).toMatchObject({ parentId: parent });
    });
  });

  describe('a child with units', () => {
    test('moves them to its parent when told to, with value, expiry and priority', async () => {
      const [parent, child] = [await identify(), await identify()];
      await give(parent, 1);
      const expiresAt = new Date(clock.now().getTime() + 5 * HOUR).toISOString();
      await give(child, 10, {
        expiresAt,
        priority: 7,
        paid: { amount: '4.00', currency: 'EUR' },
      });
      await ledger.consume({ account: child, product: 'MSG', amount: 4 });
      await ledger.grant({ account: child, product: 'ALL', quantity: 1 });
      await expect(accounts.attachChild({ parent, child })).rejects.toMatchObject({
        code: 'merge_conflict',
        parameter: 'child',
      });
      const request = { parent, child, moveUnits: true, idempotencyKey: fresh('k') };
      const attached = await accounts.attachChild(request);
      expect(attached).toMatchObject({ accountId: child, parentId: parent });
      expect(await accounts.attachChild(request)).toEqual({ ...attached, replayed: true });
      expect(await left(parent)).toBe('7');
      expect(await left(child)).toBe('7');
      const [moved] = (await ledger.grants({ account: parent, product: 'MSG' })).filter(
        ({ priority }) => priority === 7,
      );
      expect(moved).toMatchObject({
        initial: '6',
        expiresAt,
        value: '2.40000000',
        currency: 'EUR',
      });
      expect(await ledger.check({ account: child, product: 'ALL' })).toMatchObject({
        allowed: true,
      });
      // What it used before is its own; what it uses now is its parent's.
      await ledger.consume({ account: child, product: 'MSG' });
      const uses = (await ledger.entries({ account: child, kind: 'use' })).items;
      expect(uses.map(({ entryId }) => entryId.split('.')[0])).toEqual([parent, child]);
      await accounts.detachChild({ child });
      expect(await left(child)).toBe('0');
    });

    test('open holds refuse, and nothing has moved', async () => {
      const [parent, child] = [await identify(), await identify()];
      await give(child, 10);
      const { holdId } = await ledger.hold({
        account: child,
        product: 'MSG',
        amount: 2,
        expiresIn: { unit: 'hour', count: 1 },
      });
      await expect(accounts.attachChild({ parent, child, moveUnits: true })).rejects.toMatchObject({
        code: 'merge_conflict',
      });
      expect(await left(child)).toBe('8');
      await ledger.release({ holdId: holdId! });
      await accounts.attachChild({ parent, child, moveUnits: true });
      expect(await left(parent)).toBe('10');
    });
  });

  describe('identities at another provider', () => {
    test('from metadata: accounts without one get it, others are left alone', async () => {
      const to = fresh('chat-');
      const field = fresh('field-');
      const [one, two, three, four] = [
        await identify({ metadata: { [field]: ` ${fresh('42-')} ` } }),
        await identify({ metadata: { [field]: 7_000 } }),
        await identify({ metadata: { [field]: 7_000 } }),
        await identify({ metadata: { [field]: { nested: 1 } } }),
      ];
      const bad = await identify({ metadata: { [field]: '   ' } });
      const holder = await identify({ provider: to, externalId: 'held' });
      const late = await identify({ metadata: { [field]: 'held' } });
      const request = { from: { metadata: field }, to };
      const conflicts = [
        { accountId: three, externalId: '7000', reason: 'taken', takenBy: two },
        { accountId: bad, externalId: '   ', reason: 'invalid', takenBy: null },
        { accountId: late, externalId: 'held', reason: 'taken', takenBy: holder },
      ];
      const byAccount = (found: Array<{ accountId: string }>) =>
        found.toSorted((a, b) => (a.accountId < b.accountId ? -1 : 1));
      const tried = await accounts.migrateIdentities({ ...request, dryRun: true });
      expect(tried).toMatchObject({ given: 2, conflicting: 3, more: false, dryRun: true });
      expect(byAccount(tried.conflicts)).toEqual(byAccount(conflicts));
      expect((await accounts.get({ account: one })).identities).toHaveLength(1);

      const done = await accounts.migrateIdentities(request);
      expect({ ...done, dryRun: true }).toEqual(tried);
      expect(await accounts.get({ account: { provider: to, externalId: '7000' } })).toMatchObject({
        accountId: two,
      });
      expect((await accounts.get({ account: one })).identities).toHaveLength(2);
      expect((await accounts.get({ account: four })).identities).toHaveLength(1);
      // Again: only what is left.
      expect(await accounts.migrateIdentities(request)).toMatchObject({
        given: 0,
        conflicting: 3,
      });
    });

    test('from another provider, by a map or as it is, in steps', async () => {
      const [from, to, mapped] = [fresh('old-'), fresh('new-'), fresh('map-')];
      const ids: string[] = [];
      for (const externalId of ['a', 'b', 'c']) {
        ids.push(await identify({ provider: from, externalId }));
      }
      const request = { from: { provider: from }, to, limit: 2 };
      expect(await accounts.migrateIdentities(request)).toMatchObject({ given: 2, more: true });
      expect(await accounts.migrateIdentities(request)).toMatchObject({ given: 1, more: false });
      const at = async (provider: string, externalId: string) =>
        (await accounts.get({ account: { provider, externalId } })).accountId;
      expect([await at(to, 'a'), await at(to, 'b'), await at(to, 'c')]).toEqual(ids);
      expect(
        await accounts.migrateIdentities({
          from: { provider: from },
          to: mapped,
          map: [
            { externalId: 'b', to: 20 },
            { externalId: 'zzz', to: 'nobody' },
          ],
        }),
      ).toMatchObject({ given: 1, conflicting: 0, more: false });
      expect(await at(mapped, '20')).toBe(ids[1]);
    });

    test('e-mail addresses become identities as identify would have written them', async () => {
      const mark = fresh('mail');
      const account = await identify({ email: `Ada.${mark}@Example.org` });
      await accounts.migrateIdentities({ from: { contact: 'email' }, to: 'email' });
      expect(
        await accounts.get({
          account: { provider: 'email', externalId: `ada.${mark}@example.org` },
        }),
      ).toMatchObject({ accountId: account });
    });

    test.each([
      [{ from: {}, to: 'x' }, 'from'],
      [{ from: { provider: 'a', metadata: 'b' }, to: 'x' }, 'from'],
      [{ from: { field: 'a' }, to: 'x' }, 'from.field'],
      [{ from: { metadata: 'a' } }, 'to'],
      [{ from: { metadata: 'a' }, to: 'x', map: [] }, 'map'],
      [{ from: { provider: 'a' }, to: 'x', limit: 0 }, 'limit'],
    ])('refused: %j', async (request, parameter) => {
      await expect(accounts.migrateIdentities(request as never)).rejects.toMatchObject({
        code: 'invalid_input',
        parameter,
      });
    });
  });
});
