import { TestClock, type Billing, type IdentifyRequest } from '../../../engine';
import { onEachDatabase } from '../each-database';

const HOUR = 3_600_000;

onEachDatabase('accounts', (database) => {
  const clock = new TestClock('2027-01-10T12:00:00Z');
  let billing: Billing;
  let accounts: Billing['accounts'];
  let ledger: Billing['ledger'];
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    ({ accounts, ledger } = billing);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
    await billing.catalog.saveProduct({ key: 'PRO', name: 'Pro', kind: 'period' });
    await billing.catalog.saveProduct({ key: 'ALL', name: 'All', kind: 'unlimited' });
  });

  const fresh = (prefix: string): string => {
    counter += 1;
    return `${prefix}${counter}`;
  };
  const identify = async (request: Partial<IdentifyRequest> = {}): Promise<string> => {
    const { accountId } = await accounts.identify({ externalId: fresh('person-'), ...request });
    return accountId;
  };
  const countAccounts = async (): Promise<number> => (await billing.verify()).checked.accounts!;
  const give = (account: string, quantity: number, more: object = {}) =>
    ledger.grant({ account, product: 'MSG', quantity, ...more });
  const left = async (account: string): Promise<string | null> =>
    (await ledger.balance({ account, product: 'MSG' })).available;
  const refused = (code: string, parameter: string) =>
    expect.objectContaining({ code, parameter }) as Error;

  describe('who somebody is', () => {
    test('the first contact creates an account, every later one finds it', async () => {
      const externalId = fresh('person-');
      const first = await accounts.identify({ externalId });
      expect(first).toEqual({
        accountId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
        created: true,
        trialEligible: true,
        replayed: false,
      });
      expect(await accounts.identify({ externalId })).toEqual({ ...first, created: false });
      expect(await accounts.get({ account: { externalId } })).toEqual({
        accountId: first.accountId,
        parentId: null,
        status: 'active',
        name: null,
        email: null,
        timeZone: 'UTC',
        contact: null,
        tax: { status: 'normal', taxIds: [], country: null, taxRate: null },
        identities: [{ provider: 'default', externalId }],
        aliases: [],
        metadata: {},
        createdAt: clock.now().toISOString(),
        erasedAt: null,
        standing: { trialing: false, pastDue: false, overdue: false, graceUntil: null },
      });
    });

    test('twenty first contacts at once make one account', async () => {
      for (let round = 0; round < 3; round += 1) {
        const before = await countAccounts();
        const request = { provider: 'telegram', externalId: fresh('chat-'), name: 'Ada' };
        const answers = await Promise.all(
          Array.from({ length: 20 }, () => accounts.identify(request)),
        );
        expect(new Set(answers.map((answer) => answer.accountId)).size).toBe(1);
        expect(answers.filter((answer) => answer.created)).toHaveLength(1);
        expect(await countAccounts()).toBe(before + 1);
      }
    });

    test('many persons at once get an account each', async () => {
      const ids = await Promise.all(Array.from({ length: 30 }, () => identify()));
      expect(new Set(ids).size).toBe(30);
    });

    test('a provider and an external id together make the identity', async () => {
      const externalId = fresh('same-');
      const one = await identify({ provider: 'telegram', externalId });
      const other = await identify({ provider: 'slack', externalId });
      const none = await identify({ externalId });
      expect(new Set([one, other, none]).size).toBe(3);
      expect(await identify({ provider: 'default', externalId })).toBe(none);
      expect(await identify({ provider: ' TeleGram ', externalId })).toBe(one);
    });

    test('Unicode forms and blanks around do not split a person; case does', async () => {
      const mark = fresh('');
      const account = await identify({ externalId: `Café-${mark}` });
      for (const same of [`Cafe\u0301-${mark}`, `  Café-${mark}\n`, `\u00a0Café-${mark}\ufeff`]) {
        expect(await identify({ externalId: same })).toBe(account);
        expect(await accounts.get({ account: { externalId: same } })).toMatchObject({
          accountId: account,
        });
      }
      for (const different of [`café-${mark}`, `CAFÉ-${mark}`, `Cafe-${mark}`, `Ｃafé-${mark}`]) {
        expect(await identify({ externalId: different })).not.toBe(account);
      }
      expect((await accounts.get({ account })).identities).toEqual([
        { provider: 'default', externalId: `Café-${mark}`.normalize('NFC') },
      ]);
    });

    test('e-mail addresses are compared in lower case; dots and plus-tags count', async () => {
      const mark = fresh('');
      const email = (externalId: string) => identify({ provider: 'email', externalId });
      const account = await email(`Ada.L+tag-${mark}@Example.ORG`);
      expect(await email(`ada.l+TAG-${mark}@example.org`)).toBe(account);
      expect(
        await identify({ provider: 'EMail', externalId: `ADA.L+TAG-${mark}@EXAMPLE.ORG` }),
      ).toBe(account);
      expect(await email(`adal+tag-${mark}@example.org`)).not.toBe(account);
      expect(await email(`ada.l-${mark}@example.org`)).not.toBe(account);
      expect((await accounts.get({ account })).identities).toEqual([
        { provider: 'email', externalId: `ada.l+tag-${mark}@example.org` },
      ]);
    });

    test('a whole number is the text of it', async () => {
      const chat = 700_000 + counter;
      const account = await identify({ provider: 'telegram', externalId: chat });
      expect(await identify({ provider: 'telegram', externalId: String(chat) })).toBe(account);
      expect(await identify({ provider: 'telegram', externalId: -chat })).not.toBe(account);
    });

    test('name and e-mail never find or join accounts', async () => {
      const contact = { name: 'Grace Hopper', email: 'grace@example.org' };
      const one = await identify(contact);
      const other = await identify(contact);
      const byMail = await identify({ provider: 'email', externalId: contact.email });
      expect(new Set([one, other, byMail]).size).toBe(3);
    });

    test('contact data is refreshed by what is given and kept otherwise', async () => {
      const externalId = fresh('person-');
      const account = await identify({
        externalId,
        name: 'Before',
        email: 'a@example.org',
        metadata: { a: 1, b: 1 },
      });
      await identify({ externalId });
      await identify({ externalId, name: null, email: null });
      expect(await accounts.get({ account })).toMatchObject({
        name: 'Before',
        email: 'a@example.org',
        metadata: { a: 1, b: 1 },
      });
      await identify({ externalId, name: 'After', metadata: { b: 2, c: 3 } });
      expect(await accounts.get({ account })).toMatchObject({
        name: 'After',
        email: 'a@example.org',
        metadata: { a: 1, b: 2, c: 3 },
      });
    });

    test('a key is answered once: the first answer again, another request a conflict', async () => {
      const request = { externalId: fresh('person-'), idempotencyKey: fresh('k') };
      const first = await accounts.identify(request);
      expect(first).toMatchObject({ created: true, replayed: false });
      expect(await accounts.identify({ ...request, metadata: { n: 1 } })).toEqual({
        ...first,
        replayed: true,
      });
      for (const other of [
        { externalId: fresh('person-') },
        { provider: 'slack' },
        { name: 'N' },
      ]) {
        await expect(accounts.identify({ ...request, ...other })).rejects.toEqual(
          refused('idempotency_conflict', 'idempotencyKey'),
        );
      }
      // Twenty at once with one key: one created, the others replay it.
      const again = { externalId: fresh('person-'), idempotencyKey: fresh('k') };
      const answers = await Promise.all(Array.from({ length: 20 }, () => accounts.identify(again)));
      expect(answers.filter((answer) => !answer.replayed)).toHaveLength(1);
      expect(answers.every((answer) => answer.created)).toBe(true);
    });

    test('in a transaction of the caller it stands and falls with it', async () => {
      const externalId = fresh('person-');
      const before = await countAccounts();
      await expect(
        billing.transaction(async (tx) => {
          await accounts.identify({ externalId, tx });
          await accounts.identify({ externalId, name: 'Twice', tx });
          throw new Error('undone');
        }),
      ).rejects.toThrow('undone');
      expect(await countAccounts()).toBe(before);
      await billing.transaction((tx) => accounts.identify({ externalId, tx }));
      expect(await accounts.identify({ externalId })).toMatchObject({ created: false });
    });

    test('only identify creates accounts: everything else answers unknown_account', async () => {
      const before = await countAccounts();
      const nobody = { provider: 'telegram', externalId: fresh('nobody-') };
      for (const account of [nobody, '01890a5d-ac96-774b-bcce-b302099a8057', 'nobody']) {
        const calls = [
          () => accounts.get({ account }),
          () => accounts.update({ account, name: 'x' }),
          () => ledger.check({ account, product: 'MSG' }),
          () => ledger.consume({ account, product: 'MSG' }),
          () => ledger.grant({ account, product: 'MSG', quantity: 1 }),
          () => ledger.balance({ account }),
          () => ledger.grants({ account }),
          () => ledger.entries({ account }),
          () => billing.sales.grantOffer({ account, sku: 'any' }),
        ];
        for (const call of calls) {
          await expect(call()).rejects.toEqual(refused('unknown_account', 'account'));
        }
        await expect(
          accounts.attachChild({ parent: await identify(), child: account }),
        ).rejects.toThrow('There is no account');
      }
      expect(await countAccounts()).toBe(before + 3);
    });

    test('an account is named by its id too, in capitals and with blanks as well', async () => {
      const account = await identify();
      for (const written of [account, account.toUpperCase(), ` ${account} `]) {
        expect(await accounts.get({ account: written })).toMatchObject({ accountId: account });
      }
    });
  });

  describe('contact data and status', () => {
    test('changes what is given; null clears', async () => {
      const account = await identify({ name: 'Ada', email: 'ada@example.org', metadata: { a: 1 } });
      expect(
        await accounts.update({ account, name: 'Countess', timeZone: 'Europe/Berlin' }),
      ).toMatchObject({
        accountId: account,
        name: 'Countess',
        email: 'ada@example.org',
        timeZone: 'Europe/Berlin',
        metadata: { a: 1 },
        replayed: false,
      });
      const changed = await accounts.update({ account, email: null, metadata: { b: 2 } });
      expect(changed).toMatchObject({ name: 'Countess', email: null, metadata: { b: 2 } });
      const { replayed: _replayed, ...stored } = changed;
      const { standing: _standing, ...now } = await accounts.get({ account });
      expect(now).toEqual(stored);
    });

    test.each([
      [{ timeZone: 'Berlin' }, 'timeZone'],
      [{ status: 'deleted' }, 'status'],
      [{ email: 'not an address' }, 'email'],
      [{ email: 'a@b@c' }, 'email'],
      [{ name: '' }, 'name'],
      [{ name: 'x'.repeat(201) }, 'name'],
      [{ metadata: [] }, 'metadata'],
      [{ parentId: null }, 'parentId'],
    ])('refused: %j', async (change, parameter) => {
      const account = await identify({ name: 'Same' });
      const before = await accounts.get({ account });
      await expect(accounts.update({ account, ...(change as object) })).rejects.toEqual(
        refused('invalid_input', parameter),
      );
      expect(await accounts.get({ account })).toEqual(before);
    });

    test('a key is answered once: the first answer again, another request a conflict', async () => {
      const externalId = fresh('person-');
      const account = await identify({ externalId });
      const request = { account, name: 'First', idempotencyKey: fresh('k') };
      const first = await accounts.update(request);
      await accounts.update({ account, name: 'Second' });
      // Named by an identity it is the same account.
      expect(await accounts.update({ ...request, account: { externalId } })).toEqual({
        ...first,
        replayed: true,
      });
      expect(await accounts.get({ account })).toMatchObject({ name: 'Second' });
      for (const other of [{ name: 'Other' }, { email: null }, { status: 'closed' as const }]) {
        await expect(accounts.update({ ...request, ...other })).rejects.toEqual(
          refused('idempotency_conflict', 'idempotencyKey'),
        );
      }
    });

    test('suspended and closed accounts are denied, keep what they have, and come back', async () => {
      const account = await identify();
      await give(account, 10);
      await ledger.grant({ account, product: 'ALL', quantity: 1 });
      await ledger.grant({ account, product: 'PRO', quantity: 1 });
      for (const [status, reason] of [
        ['suspended', 'account_suspended'],
        ['closed', 'account_closed'],
      ] as const) {
        await accounts.update({ account, status });
        expect(await accounts.get({ account })).toMatchObject({ status });
        for (const product of ['MSG', 'ALL', 'PRO']) {
          const denial = { allowed: false, reason, suggestedOffers: [] };
          expect(await ledger.check({ account, product })).toMatchObject(denial);
          expect(await ledger.consume({ account, product })).toMatchObject({
            ...denial,
            consumed: '0',
            entryId: null,
          });
        }
        expect(await left(account)).toBe('10');
      }
      await accounts.update({ account, status: 'active' });
      expect(await ledger.consume({ account, product: 'MSG' })).toMatchObject({
        allowed: true,
        remaining: '9',
      });
    });
  });

  describe('lists', () => {
    let shop: Billing;
    const ids: string[] = [];

    beforeAll(async () => {
      shop = await database.open(clock);
      for (const person of [
        { externalId: 'alpha', name: 'Ada Lovelace', email: 'ada@example.org' },
        { externalId: 'beta_1', name: '100% Grace' },
        { externalId: 'betaX1', name: 'Percent free', email: 'free@example.com' },
        { externalId: 'C:\\path', provider: 'windows', name: "O'Brien" },
        { externalId: 'zeta', provider: 'email-like', name: 'Ko\u0301n%_\\mix' },
      ]) {
        const { accountId } = await shop.accounts.identify(person);
        ids.push(accountId);
        clock.advance(HOUR);
      }
    });

    const found = async (search: string): Promise<number[]> =>
      (await shop.accounts.list({ search })).items.map((account) => ids.indexOf(account.accountId));

    test('newest first, by pages without gap or repeat', async () => {
      const all = await shop.accounts.list();
      expect(all.items.map((account) => account.accountId)).toEqual([...ids].reverse());
      expect(all.nextCursor).toBeNull();
      const { standing: _standing, ...newest } = await shop.accounts.get({ account: ids.at(-1)! });
      expect(all.items[0]).toEqual(newest);

      for (const limit of [1, 2, 4, 5, 6]) {
        const seen: string[] = [];
        let cursor: string | undefined;
        let pages = 0;
        do {
          const page = await shop.accounts.list({ limit, cursor });
          expect(page.items.length).toBeLessThanOrEqual(limit);
          seen.push(...page.items.map((account) => account.accountId));
          cursor = page.nextCursor ?? undefined;
          pages += 1;
        } while (cursor !== undefined);
        expect(seen).toEqual([...ids].reverse());
        expect(pages).toBe(Math.ceil(ids.length / limit));
      }
    });

    test('searches names, e-mail addresses and external ids, in parts and in any case', async () => {
      expect(await found('love')).toEqual([0]);
      expect(await found('ADA@EXAMPLE')).toEqual([0]);
      expect(await found('example.')).toEqual([2, 0]);
      expect(await found('ALPHA')).toEqual([0]);
      expect(await found('beta')).toEqual([2, 1]);
      expect(await found('kón')).toEqual([4]);
      expect(await found('ko\u0301n')).toEqual([4]);
      expect(await found('nothing like it')).toEqual([]);
      expect(await found(ids[3]!)).toEqual([3]);
      expect(await found(ids[3]!.toUpperCase())).toEqual([3]);
    });

    test.each([
      ['%', [4, 1]],
      ['100%', [1]],
      ['a_1', [1]],
      ['_', [4, 1]],
      ['\\', [4, 3]],
      ['C:\\p', [3]],
      ['%_\\', [4]],
      ['%%', []],
      ["O'B", [3]],
      ["' OR 1=1 --", []],
    ])('%s in a search means itself', async (search, expected) => {
      expect(await found(search)).toEqual(expected);
    });

    test('a search goes by pages too', async () => {
      const first = await shop.accounts.list({ search: 'beta', limit: 1 });
      expect(first.items.map((account) => account.accountId)).toEqual([ids[2]]);
      const second = await shop.accounts.list({
        search: 'beta',
        limit: 1,
        cursor: first.nextCursor!,
      });
      expect(second.items.map((account) => account.accountId)).toEqual([ids[1]]);
      expect(second.nextCursor).toBeNull();
    });

    test.each([
      [{ limit: 0 }, 'limit'],
      [{ limit: 501 }, 'limit'],
      [{ limit: 1.5 }, 'limit'],
      [{ cursor: 'nonsense' }, 'cursor'],
      [{ search: 'x'.repeat(256) }, 'search'],
      [{ search: 'a\u0000' }, 'search'],
      [{ page: 2 }, 'page'],
    ])('refused: %j', async (request, parameter) => {
      await expect(shop.accounts.list(request as object)).rejects.toEqual(
        refused('invalid_input', parameter),
      );
    });
  });

  describe('parent and child', () => {
    const family = async (): Promise<{ parent: string; child: string }> => {
      const [parent, child] = [await identify(), await identify()];
      await accounts.attachChild({ parent, child });
      return { parent, child };
    };

    test("I4: a child's use draws on the parent's grants and is named as the child's", async () => {
      const { parent, child } = await family();
      const [grant] = await give(parent, 10, { paid: { amount: '5.00', currency: 'USD' } });
      const used = await ledger.consume({ account: child, product: 'MSG', amount: 4 });
      expect(used).toMatchObject({ allowed: true, remaining: '6' });
      expect(await left(parent)).toBe('6');
      expect(await left(child)).toBe('6');

      const line = {
        entryId: used.entryId,
        account: child,
        kind: 'use',
        amount: '-4',
        value: '-2.00000000',
        grants: [{ grantId: grant!.grantId, amount: '4' }],
      };
      expect((await ledger.entries({ account: parent })).items).toMatchObject([
        line,
        { kind: 'grant', account: parent },
      ]);
      // A child sees its own uses, not its parent's lines.
      await ledger.consume({ account: parent, product: 'MSG' });
      expect((await ledger.entries({ account: child })).items).toMatchObject([line]);
      expect(await ledger.grants({ account: child })).toEqual([]);
    });

    test('what is granted to a child lands with its payer', async () => {
      const { parent, child } = await family();
      await give(child, 7);
      expect(await left(parent)).toBe('7');
      const [grant] = await ledger.grants({ account: parent });
      expect(grant!.grantId.startsWith(parent)).toBe(true);
      expect((await ledger.entries({ account: parent })).items).toMatchObject([
        { kind: 'grant', account: child, amount: '7' },
      ]);
    });

    test('children of one parent share what it has, at once too', async () => {
      const { parent, child } = await family();
      const sibling = await identify();
      await accounts.attachChild({ parent, child: sibling });
      await give(parent, 30);
      const answers = await Promise.all(
        Array.from({ length: 60 }, (_, index) =>
          ledger.consume({ account: [parent, child, sibling][index % 3]!, product: 'MSG' }),
        ),
      );
      expect(answers.filter((answer) => answer.allowed)).toHaveLength(30);
      expect(await left(sibling)).toBe('0');
    });

    test('the parent is told, and attaching again changes nothing', async () => {
      const { parent, child } = await family();
      expect(await accounts.get({ account: child })).toMatchObject({ parentId: parent });
      expect(await accounts.get({ account: parent })).toMatchObject({ parentId: null });
      expect(await accounts.attachChild({ parent, child })).toMatchObject({
        accountId: child,
        parentId: parent,
      });
      // Whichever of the two is not named may be called account.
      const [one, other] = [await identify(), await identify()];
      expect(await accounts.attachChild({ parent, account: one })).toMatchObject({
        accountId: one,
        parentId: parent,
      });
      expect(await accounts.attachChild({ account: parent, child: other })).toMatchObject({
        accountId: other,
        parentId: parent,
      });
    });

    test('refused: units of its own, until they are used up or over', async () => {
      const [parent, child] = [await identify(), await identify()];
      await give(child, 1);
      await give(child, 5, { expiresAfter: { unit: 'hour', count: 1 } });
      const attach = () => accounts.attachChild({ parent, child });
      await expect(attach()).rejects.toEqual(refused('merge_conflict', 'child'));
      await ledger.consume({ account: child, product: 'MSG', amount: 6 });
      await give(child, 5, { expiresAfter: { unit: 'hour', count: 1 } });
      await expect(attach()).rejects.toEqual(refused('merge_conflict', 'child'));
      expect(await accounts.get({ account: child })).toMatchObject({ parentId: null });
      expect(await left(child)).toBe('5');
      clock.advance(HOUR);
      expect(await attach()).toMatchObject({ parentId: parent });
      expect(await left(child)).toBe('0');
    });

    test('refused: access of its own, by time or without limit', async () => {
      const parent = await identify();
      for (const product of ['PRO', 'ALL']) {
        const child = await identify();
        await ledger.grant({ account: child, product, quantity: 1 });
        await expect(accounts.attachChild({ parent, child })).rejects.toEqual(
          refused('merge_conflict', 'child'),
        );
      }
    });

    test('refused: itself, a family of two levels, two parents', async () => {
      const { parent, child } = await family();
      const [loner, other] = [await identify(), await identify()];
      for (const [of, to, parameter] of [
        [loner, loner, 'parent'],
        [loner, child, 'parent'],
        [parent, loner, 'child'],
        [child, loner, 'child'],
        [parent, child, 'parent'],
        [parent, parent, 'parent'],
      ] as const) {
        await expect(accounts.attachChild({ child: of, parent: to })).rejects.toEqual(
          refused('merge_conflict', parameter),
        );
      }
      expect(await accounts.get({ account: child })).toMatchObject({ parentId: parent });
      expect(await accounts.get({ account: loner })).toMatchObject({ parentId: null });
      expect(await accounts.get({ account: other })).toMatchObject({ parentId: null });
    });

    test('refused: one of the two not named', async () => {
      const account = await identify();
      for (const [request, parameter] of [
        [{}, 'parent'],
        [{ account }, 'parent'],
        [{ parent: account }, 'child'],
        [{ child: account }, 'parent'],
      ] as const) {
        await expect(accounts.attachChild(request)).rejects.toEqual(
          refused('invalid_input', parameter),
        );
      }
      await expect(accounts.detachChild({})).rejects.toEqual(refused('invalid_input', 'child'));
      await expect(
        accounts.attachChild({ parent: { externalId: 'unheard-of' }, child: account }),
      ).rejects.toEqual(refused('unknown_account', 'parent'));
    });

    test('opposite attaches at once make one family, or none of two levels', async () => {
      for (let round = 0; round < 5; round += 1) {
        const [a, b, c] = [await identify(), await identify(), await identify()];
        await Promise.allSettled([
          accounts.attachChild({ parent: a, child: b }),
          accounts.attachChild({ parent: b, child: a }),
          accounts.attachChild({ parent: b, child: c }),
          accounts.attachChild({ parent: c, child: a }),
        ]);
        const parents = new Map<string, string | null>();
        for (const account of [a, b, c]) {
          parents.set(account, (await accounts.get({ account })).parentId);
        }
        expect([...parents.values()].filter((parent) => parent !== null).length).toBeGreaterThan(0);
        for (const parent of parents.values()) {
          if (parent !== null) expect(parents.get(parent)).toBeNull();
        }
      }
    });

    test('a grant and an attach at once: either the units are the parent’s, or it is refused', async () => {
      for (let round = 0; round < 8; round += 1) {
        const [parent, child] = [await identify(), await identify()];
        const [attached] = await Promise.allSettled([
          accounts.attachChild({ parent, child }),
          give(child, 3),
        ]);
        expect(await left(child)).toBe('3');
        expect(await left(parent)).toBe(attached.status === 'fulfilled' ? '3' : '0');
      }
    });

    test('detached it pays for itself again; what it used stays with the parent', async () => {
      const { parent, child } = await family();
      await give(parent, 10);
      const used = await ledger.consume({ account: child, product: 'MSG', amount: 2 });
      expect(await accounts.detachChild({ child })).toMatchObject({
        accountId: child,
        parentId: null,
      });
      expect(await left(child)).toBe('0');
      expect(await left(parent)).toBe('8');
      expect(await ledger.consume({ account: child, product: 'MSG' })).toMatchObject({
        allowed: false,
        reason: 'insufficient_balance',
      });
      // Its statement holds its own lines, wherever they stand; the parent's keeps them too.
      clock.advance(1);
      await give(child, 5);
      expect((await ledger.entries({ account: child })).items).toMatchObject([
        { kind: 'grant', amount: '5' },
        { kind: 'use', entryId: used.entryId },
      ]);
      expect((await ledger.entries({ account: parent })).items).toMatchObject([
        { kind: 'use', account: child },
        { kind: 'grant', account: parent },
      ]);
      expect(await accounts.detachChild({ account: child })).toMatchObject({ parentId: null });
    });

    test("one that was somebody's child sees its own children's uses", async () => {
      const { parent: former, child: parent } = await family();
      await give(former, 3);
      await ledger.consume({ account: former, product: 'MSG', amount: 1 });
      await ledger.consume({ account: parent, product: 'MSG', amount: 2 });
      await accounts.detachChild({ child: parent });
      const child = await identify();
      await accounts.attachChild({ parent, child });
      clock.advance(1);
      await give(parent, 10);
      await ledger.consume({ account: child, product: 'MSG', amount: 4 });
      const lines = (await ledger.entries({ account: parent })).items;
      expect(lines.map((line) => [line.kind, line.account, line.amount])).toEqual([
        ['use', child, '-4'],
        ['grant', parent, '10'],
        ['use', parent, '-2'],
      ]);
      // By pages it is the same, and nothing of the former parent's own comes along.
      const paged: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await ledger.entries({ account: parent, limit: 1, cursor });
        paged.push(...page.items.map((line) => line.entryId));
        cursor = page.nextCursor ?? undefined;
      } while (cursor !== undefined);
      expect(paged).toEqual(lines.map((line) => line.entryId));
    });

    test('keys are found again under every payer an account had', async () => {
      const [parent, child] = [await identify(), await identify()];
      const use = (idempotencyKey: string, amount = 1) =>
        ledger.consume({ account: child, product: 'MSG', amount, idempotencyKey });
      await give(child, 2);
      const alone = await use('alone', 2);
      const denied = await use('denied');
      const grant = { account: child, product: 'MSG', quantity: 1, idempotencyKey: 'granted' };
      const [granted] = await ledger.grant(grant);
      await use('rest');

      await accounts.attachChild({ parent, child });
      await give(parent, 10);
      expect(await use('alone', 2)).toEqual({ ...alone, replayed: true });
      expect(await use('denied')).toEqual({ ...denied, replayed: true });
      expect(await ledger.grant(grant)).toEqual([{ ...granted, replayed: true }]);
      await expect(use('alone', 3)).rejects.toEqual(
        refused('idempotency_conflict', 'idempotencyKey'),
      );
      const under = await use('under the parent', 3);
      expect(under).toMatchObject({ allowed: true, remaining: '7' });

      await accounts.detachChild({ child });
      expect(await use('under the parent', 3)).toEqual({ ...under, replayed: true });
      expect(await use('alone', 2)).toEqual({ ...alone, replayed: true });
      expect(await left(parent)).toBe('7');
      expect(await left(child)).toBe('0');
    });

    test('attach and detach are answered once for a key, however the two are named', async () => {
      const ids = [fresh('person-'), fresh('person-')] as const;
      const [parent, child] = [
        await identify({ externalId: ids[0] }),
        await identify({ externalId: ids[1] }),
      ];
      const idempotencyKey = fresh('k');
      const first = await accounts.attachChild({ parent, child, idempotencyKey });
      await accounts.detachChild({ child, idempotencyKey: fresh('k') });
      for (const again of [
        { parent, child },
        { parent: { externalId: ids[0] }, child: { externalId: ids[1] } },
        { parent, account: child },
        { account: parent, child: { externalId: ids[1] } },
      ]) {
        expect(await accounts.attachChild({ ...again, idempotencyKey })).toEqual({
          ...first,
          replayed: true,
        });
      }
      // The replay says what was, and does nothing.
      expect(await accounts.get({ account: child })).toMatchObject({ parentId: null });
      await expect(
        accounts.attachChild({ parent: await identify(), child, idempotencyKey }),
      ).rejects.toEqual(refused('idempotency_conflict', 'idempotencyKey'));
    });

    test('a suspended or closed parent denies its children; a child alone only itself', async () => {
      const { parent, child } = await family();
      await give(parent, 10);
      const reason = async (account: string): Promise<string | null> => {
        const checked = await ledger.check({ account, product: 'MSG' });
        expect(await ledger.consume({ account, product: 'MSG' })).toMatchObject({
          allowed: checked.allowed,
          reason: checked.reason,
        });
        return checked.reason;
      };
      for (const status of ['suspended', 'closed'] as const) {
        await accounts.update({ account: parent, status });
        expect(await reason(child)).toBe(`account_${status}`);
        await accounts.update({ account: parent, status: 'active' });
        await accounts.update({ account: child, status });
        expect(await reason(child)).toBe(`account_${status}`);
        expect(await reason(parent)).toBeNull();
        await accounts.update({ account: child, status: 'active' });
      }
      expect(await reason(child)).toBeNull();
    });

    test("a child's periods end by the clocks of its payer", async () => {
      const { parent, child } = await family();
      await accounts.update({ account: parent, timeZone: 'America/New_York' });
      await accounts.update({ account: child, timeZone: 'Asia/Tokyo' });
      clock.set('2027-03-01T12:00:00-05:00');
      const [grant] = await ledger.grant({
        account: child,
        product: 'PRO',
        quantity: 1,
        expiresAfter: { unit: 'months', count: 1 },
      });
      expect(grant!.expiresAt).toBe(new Date('2027-04-01T12:00:00-04:00').toISOString());
    });
  });
});
