import { TestClock, type AccountReference, type Billing } from '../../../engine';
import { newSchema, onEachDatabase } from '../each-database';
import { rowsOf } from '../tables';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

onEachDatabase('merge', (database) => {
  const clock = new TestClock('2027-03-01T12:00:00Z');
  let billing: Billing;
  let accounts: Billing['accounts'];
  let ledger: Billing['ledger'];
  const schema = newSchema();
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, schema, {
      secrets: { identity: 'a secret for the tests alone' },
    });
    ({ accounts, ledger } = billing);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
    await billing.catalog.saveProduct({ key: 'PRO', name: 'Pro', kind: 'period' });
    await billing.catalog.saveProduct({ key: 'ALL', name: 'All', kind: 'unlimited' });
  });

  const fresh = (prefix: string): string => {
    counter += 1;
    return `${prefix}${counter}`;
  };
  const identify = async (provider = fresh('app-'), externalId = fresh('id-')) => ({
    id: (await accounts.identify({ provider, externalId })).accountId,
    identity: { provider, externalId },
  });
  const give = (account: AccountReference, quantity: number, more: object = {}) =>
    ledger.grant({ account, product: 'MSG', quantity, ...more });
  const left = async (account: string): Promise<string | null> =>
    (await ledger.balance({ account, product: 'MSG' })).available;
  const use = (account: AccountReference, more: object = {}) =>
    ledger.consume({ account, product: 'MSG', ...more });
  const conflict = (parameter: string | null) =>
    expect.objectContaining({ code: 'merge_conflict', parameter }) as Error;

  test('an account whose child has an alias is merged, and the alias still leads to the child', async () => {
    const [a, b, child, alias] = [
      await identify(),
      await identify(),
      await identify(),
      await identify(),
    ];
    await accounts.merge({ into: child.id, from: alias.id });
    await accounts.attachChild({ parent: b.id, child: child.id });
    await accounts.merge({ into: a.id, from: b.id });
    await give(a.id, 3);
    for (const name of [alias.id, alias.identity, child.id]) {
      expect(await use(name)).toMatchObject({ allowed: true });
    }
    expect(await accounts.get({ account: alias.id })).toMatchObject({
      accountId: child.id,
      parentId: a.id,
    });
  });

  describe('S6', () => {
    test('S6: units, histories and identities of both are found under the one that stays', async () => {
      const a = await identify('telegram');
      const b = await identify('email', fresh('b@example.org'));
      await give(a.id, 10, { priority: 50 });
      await give(b.id, 100, {
        paid: { amount: '50.00', currency: 'EUR' },
        expiresAt: new Date(clock.now().getTime() + 30 * DAY),
        priority: 7,
        source: 'order 1',
      });
      await use(b.id, { amount: 20, metadata: { job: 1 } });
      await ledger.grant({
        account: b.id,
        product: 'PRO',
        quantity: 1,
        expiresAfter: { unit: 'month', count: 1 },
      });
      await ledger.grant({ account: b.id, product: 'ALL', quantity: 1 });
      const access = (await ledger.balance({ account: b.id, product: 'PRO' })).expiresAt;
      const before = await rowsOf(billing, schema, 'entries');
      clock.advance(MINUTE);

      const answer = await accounts.merge({ into: a.id, from: b.id });
      expect(answer).toMatchObject({
        merged: {
          accountId: a.id,
          aliases: [b.id],
          identities: expect.arrayContaining([a.identity, b.identity]) as [],
        },
        counts: { identities: 1, children: 0, aliases: 1, grants: 3 },
        dryRun: false,
        replayed: false,
      });

      // No entry is rewritten: those that were there are there, as they were.
      const after = await rowsOf(billing, schema, 'entries');
      expect(before.filter((row) => !after.includes(row))).toEqual([]);
      expect(after.length).toBeGreaterThan(before.length);

      // Value, expiry and priority are kept.
      const [moved] = (await ledger.grants({ account: a.id, product: 'MSG' })).filter(
        (grant) => grant.grantId.startsWith(a.id) && grant.priority === 7,
      );
      expect(moved).toMatchObject({
        initial: '80',
        remaining: '80',
        value: '40.00000000',
        currency: 'EUR',
        expiresAt: new Date(clock.now().getTime() + 30 * DAY - 60_000).toISOString(),
      });
      expect(await ledger.balance({ account: a.id, product: 'PRO' })).toMatchObject({
        available: '1',
        expiresAt: access,
      });
      expect(await ledger.balance({ account: a.id, product: 'ALL' })).toMatchObject({
        available: null,
      });

      // B answers as A, by id and identity, in whatever call.
      for (const account of [b.id, b.identity, a.id, a.identity]) {
        expect((await accounts.get({ account })).accountId).toBe(a.id);
        expect(await ledger.check({ account, product: 'MSG' })).toMatchObject({ remaining: '90' });
        expect(await ledger.balance({ account, product: 'MSG' })).toMatchObject({
          available: '90',
        });
      }
      const uses = [await use(b.id), await use(b.identity), await use(a.id), await use(a.identity)];
      expect(uses.map(({ remaining }) => remaining)).toEqual(['89', '88', '87', '86']);
      expect(uses.every(({ entryId }) => entryId!.startsWith(a.id))).toBe(true);
      const hold = await ledger.hold({
        account: b.id,
        product: 'MSG',
        amount: 6,
        expiresIn: { unit: 'hour', count: 1 },
      });
      expect(hold).toMatchObject({ allowed: true, remaining: '80' });
      await ledger.settle({ holdId: hold.holdId!, account: b.identity });
      expect(await left(a.id)).toBe('80');
      expect((await accounts.identify(b.identity)).accountId).toBe(a.id);
      expect((await accounts.identify(b.identity)).created).toBe(false);

      // B's history is A's, under B's name.
      const { items } = await ledger.entries({ account: a.id, kind: 'use' });
      expect(items.filter(({ account }) => account === b.id)).toMatchObject([
        { amount: '-20', metadata: { job: 1 } },
      ]);
      expect(items.filter(({ account }) => account === a.id)).toHaveLength(5);
      expect((await ledger.entries({ account: b.id, kind: 'use' })).items).toEqual(items);
      const { csv } = await ledger.statement({ account: a.id });
      expect(csv).toContain(b.id);
      expect((await accounts.list({ search: b.id })).items.map((one) => one.accountId)).toEqual([
        a.id,
      ]);
    });

    test('S6: the same provider on both sides is refused unless told which goes first', async () => {
      for (const prefer of ['into', 'from'] as const) {
        const a = await identify('telegram');
        const b = await identify('telegram');
        await expect(accounts.merge({ into: a.id, from: b.id })).rejects.toEqual(
          conflict('prefer'),
        );
        expect((await accounts.get({ account: b.id })).accountId).toBe(b.id);
        const { merged } = await accounts.merge({ into: a.id, from: b.id, prefer });
        const [first, second] = prefer === 'into' ? [a, b] : [b, a];
        expect(merged.identities).toEqual([
          first.identity,
          { ...second.identity, secondary: true },
        ]);
        // The one that gave way still leads to the account.
        for (const account of [a.identity, b.identity]) {
          expect((await accounts.get({ account })).accountId).toBe(a.id);
        }
      }
    });
  });

  describe('histories', () => {
    test('pages of several ledgers come in the order of time, each line once', async () => {
      const a = await identify();
      const b = await identify();
      const c = await identify();
      for (const { id } of [a, b, c]) await give(id, 100);
      for (let round = 0; round < 12; round += 1) {
        clock.advance(MINUTE);
        await use([a, b, c][round % 3]!.id);
      }
      // C into B, and both into A: all of them are A.
      clock.advance(MINUTE);
      await accounts.merge({ into: b.id, from: c.id });
      clock.advance(MINUTE);
      const { merged } = await accounts.merge({ into: a.id, from: b.id });
      expect(merged.aliases).toEqual([b.id, c.id].sort());
      expect(await left(c.id)).toBe('288');
      const all = (await ledger.entries({ account: c.identity, limit: 1000 })).items;
      const times = all.map(({ recordedAt }) => recordedAt);
      expect(times).toEqual(times.toSorted().toReversed());
      const paged: typeof all = [];
      let cursor: string | undefined;
      do {
        const page = await ledger.entries({ account: a.id, limit: 2, cursor });
        paged.push(...page.items);
        cursor = page.nextCursor ?? undefined;
      } while (cursor !== undefined);
      expect(paged).toEqual(all);
      expect(new Set(all.map(({ entryId }) => entryId)).size).toBe(all.length);
      expect(all.filter(({ kind }) => kind === 'use')).toHaveLength(12);
    });

    test('what both had at a past moment counts together', async () => {
      const a = await identify();
      const b = await identify();
      await give(a.id, 5);
      await give(b.id, 7);
      clock.advance(10 * MINUTE);
      const at = clock.now();
      clock.advance(10 * MINUTE);
      await use(b.id, { amount: 7 });
      clock.advance(10 * MINUTE);
      await accounts.merge({ into: a.id, from: b.id });
      expect(await ledger.balance({ account: a.id, product: 'MSG', at })).toMatchObject({
        available: '12',
      });
      expect(await left(a.id)).toBe('5');
      const grants = await ledger.grants({ account: a.id });
      expect(grants.map(({ initial, remaining }) => [initial, remaining])).toEqual([
        ['5', '5'],
        ['7', '0'],
      ]);
    });

    test('a product that only the merged one had, and used up, is still listed', async () => {
      const a = await identify();
      const b = await identify();
      await give(b.id, 1);
      await use(b.id);
      await accounts.merge({ into: a.id, from: b.id });
      expect(await ledger.balance({ account: a.id })).toMatchObject([
        { product: 'MSG', available: '0' },
      ]);
    });

    test('ended holds and lines of the merged one stay its owner’s', async () => {
      const a = await identify();
      const b = await identify();
      const stranger = await identify();
      await give(b.id, 10);
      const used = await use(b.id, { amount: 2 });
      const hold = await ledger.hold({
        account: b.id,
        product: 'MSG',
        amount: 3,
        expiresIn: { unit: 'hour', count: 1 },
      });
      await ledger.release({ holdId: hold.holdId! });
      await accounts.merge({ into: a.id, from: b.id });
      expect(await ledger.holds({ account: a.id, open: false })).toMatchObject([
        { holdId: hold.holdId, account: b.id, status: 'released' },
      ]);
      expect(await ledger.release({ holdId: hold.holdId!, account: a.id })).toMatchObject({
        replayed: true,
      });
      await expect(
        ledger.restore({ entryId: used.entryId!, account: stranger.id }),
      ).rejects.toMatchObject({ code: 'unknown_entry' });
      // It came from a grant that has moved on: nobody uses that ledger any more.
      expect(await ledger.restore({ entryId: used.entryId!, account: a.id })).toMatchObject({
        restored: '0',
        expired: '2',
      });
    });
  });

  describe('keys', () => {
    test('keys of the merged one replay, by whatever name, and never act twice', async () => {
      const a = await identify();
      const b = await identify();
      await give(a.id, 100);
      await give(b.id, 100);
      const [key, plain, denied, granted, restored] = Array.from({ length: 5 }, () => fresh('k'));
      const first = await use(b.id, { amount: 5, idempotencyKey: key });
      const quick = await use(b.id, { idempotencyKey: plain });
      const no = await use(b.id, { amount: 1000, idempotencyKey: denied });
      const gift = await give(b.id, 3, { idempotencyKey: granted });
      const back = await ledger.restore({
        entryId: quick.entryId!,
        idempotencyKey: restored,
      });
      const { counts } = await accounts.merge({ into: a.id, from: b.id });
      expect(counts.answers).toBe(5);
      const there = await left(a.id);
      for (const account of [a.id, b.id, a.identity, b.identity]) {
        // Of the one that its account is part of now.
        const again = { accountId: a.id, replayed: true };
        expect(await use(account, { amount: 5, idempotencyKey: key })).toEqual({
          ...first,
          ...again,
        });
        expect(await use(account, { idempotencyKey: plain })).toEqual({ ...quick, ...again });
        expect(await use(account, { amount: 1000, idempotencyKey: denied })).toEqual({
          ...no,
          ...again,
        });
        expect(await give(account, 3, { idempotencyKey: granted })).toEqual(
          gift.map((grant) => ({ ...grant, replayed: true })),
        );
        await expect(use(account, { amount: 6, idempotencyKey: key })).rejects.toMatchObject({
          code: 'idempotency_conflict',
        });
      }
      expect(await ledger.restore({ entryId: quick.entryId!, idempotencyKey: restored })).toEqual({
        ...back,
        replayed: true,
      });
      expect(await left(a.id)).toBe(there);

      // New keys, after the merge: one by the old id and the new one alike.
      const late = fresh('k');
      const used = await use(b.id, { idempotencyKey: late });
      expect(await use(a.id, { idempotencyKey: late })).toEqual({ ...used, replayed: true });
      // And through another merge.
      const c = await identify();
      await accounts.merge({ into: c.id, from: a.id });
      const again = { accountId: c.id, replayed: true };
      for (const account of [a.id, b.id, c.id]) {
        expect(await use(account, { amount: 5, idempotencyKey: key })).toEqual({
          ...first,
          ...again,
        });
        expect(await use(account, { idempotencyKey: late })).toEqual({ ...used, ...again });
      }
    });

    test('a transfer replays whoever of the two was merged since', async () => {
      const [from, to, other] = [await identify(), await identify(), await identify()];
      await give(from.id, 100);
      const request = { account: from.id, toAccount: to.id, product: 'MSG', amount: 10 };
      const keyed = { ...request, idempotencyKey: fresh('k') };
      const first = await ledger.transfer(keyed);
      await accounts.merge({ into: other.id, from: to.id });
      for (const toAccount of [to.id, to.identity, other.id, other.identity]) {
        expect(await ledger.transfer({ ...keyed, toAccount })).toEqual({
          ...first,
          replayed: true,
        });
      }
      const [giver, third] = [await identify(), await identify()];
      await accounts.merge({ into: giver.id, from: from.id });
      for (const account of [from.id, giver.identity]) {
        expect(await ledger.transfer({ ...keyed, account })).toEqual({ ...first, replayed: true });
      }
      await accounts.merge({ into: third.id, from: other.id });
      expect(await ledger.transfer(keyed)).toEqual({ ...first, replayed: true });
      await expect(
        ledger.transfer({ ...keyed, toAccount: (await identify()).id }),
      ).rejects.toMatchObject({ code: 'idempotency_conflict' });
      await expect(ledger.transfer({ ...keyed, amount: 11 })).rejects.toMatchObject({
        code: 'idempotency_conflict',
      });
      expect([await left(giver.id), await left(third.id)]).toEqual(['90', '10']);
    });

    test('a transfer to the account itself replays after it was merged', async () => {
      const [a, b] = [await identify(), await identify()];
      await give(a.id, 100);
      const swap = { account: a.id, product: 'MSG', amount: 10, toProduct: 'OTHER', quantity: 5 };
      const keyed = { ...swap, idempotencyKey: fresh('k') };
      await billing.catalog.saveProduct({ key: 'OTHER', name: 'Other' });
      const first = await ledger.transfer(keyed);
      await accounts.merge({ into: b.id, from: a.id });
      for (const account of [a.id, b.id]) {
        expect(await ledger.transfer({ ...keyed, account })).toEqual({ ...first, replayed: true });
      }
    });

    test('a child is attached once, though its parent, or itself, was merged since', async () => {
      const [parent, other, child, later] = [
        await identify(),
        await identify(),
        await identify(),
        await identify(),
      ];
      const keyed = { parent: parent.id, child: child.id, idempotencyKey: fresh('k') };
      const first = await accounts.attachChild(keyed);
      await accounts.merge({ into: other.id, from: parent.id });
      for (const name of [parent.id, other.identity]) {
        expect(await accounts.attachChild({ ...keyed, parent: name })).toEqual({
          ...first,
          replayed: true,
        });
      }
      await accounts.detachChild({ child: child.id });
      await accounts.merge({ into: later.id, from: child.id });
      expect(await accounts.attachChild(keyed)).toEqual({ ...first, replayed: true });
      expect(await accounts.get({ account: child.id })).toMatchObject({ parentId: null });
      await expect(
        accounts.attachChild({ ...keyed, parent: (await identify()).id }),
      ).rejects.toMatchObject({ code: 'idempotency_conflict' });
    });

    test('a merge into an account that was merged since replays', async () => {
      const [a, b, c] = [await identify(), await identify(), await identify()];
      const keyed = { into: a.id, from: b.id, idempotencyKey: fresh('k') };
      const first = await accounts.merge(keyed);
      await accounts.merge({ into: c.id, from: a.id });
      expect(await accounts.merge(keyed)).toEqual({ ...first, replayed: true });
    });

    test('who brought somebody is noted once, though merged since', async () => {
      const [referrer, brought, other] = [await identify(), await identify(), await identify()];
      const keyed = {
        referrer: referrer.id,
        account: brought.id,
        idempotencyKey: fresh('k'),
      };
      const first = await billing.sales.attachReferral(keyed);
      await accounts.merge({ into: other.id, from: referrer.id });
      expect(await billing.sales.attachReferral(keyed)).toEqual({ ...first, replayed: true });
    });

    test('of one key on both sides that of the one which stays counts', async () => {
      const a = await identify();
      const b = await identify();
      await give(a.id, 10);
      await give(b.id, 10);
      const key = fresh('k');
      const ofA = await use(a.id, { amount: 1, idempotencyKey: key });
      await use(b.id, { amount: 2, idempotencyKey: key });
      await accounts.merge({ into: a.id, from: b.id });
      expect(await use(b.id, { amount: 1, idempotencyKey: key })).toEqual({
        ...ofA,
        replayed: true,
      });
      await expect(use(b.id, { amount: 2, idempotencyKey: key })).rejects.toMatchObject({
        code: 'idempotency_conflict',
      });
    });

    test('a merge is done once for its key; again it answers the same', async () => {
      const a = await identify();
      const b = await identify();
      const other = await identify();
      const request = { into: a.id, from: b.identity, idempotencyKey: fresh('k') };
      const first = await accounts.merge(request);
      expect(first.replayed).toBe(false);
      expect(await accounts.merge(request)).toEqual({ ...first, replayed: true });
      await expect(accounts.merge({ ...request, from: other.id })).rejects.toMatchObject({
        code: 'idempotency_conflict',
      });
    });
  });

  describe('families and details', () => {
    test('children of the merged one are the other’s, and find their keys and uses', async () => {
      const [a, b, child] = [await identify(), await identify(), await identify()];
      await accounts.attachChild({ parent: b.id, child: child.id });
      await give(b.id, 10);
      const key = fresh('k');
      const first = await use(child.id, { idempotencyKey: key });
      expect((await accounts.merge({ into: a.id, from: b.id })).counts).toMatchObject({
        children: 1,
      });
      expect((await accounts.get({ account: child.id })).parentId).toBe(a.id);
      expect(await use(child.identity, { idempotencyKey: key })).toEqual({
        ...first,
        replayed: true,
      });
      expect(await use(child.id)).toMatchObject({ remaining: '8' });
      expect((await ledger.entries({ account: child.id })).items).toHaveLength(2);
      expect((await ledger.entries({ account: a.id, kind: 'use' })).items).toHaveLength(2);
    });

    test('an account with aliases may become a child: they go along, and come back', async () => {
      const [parent, a, b] = [await identify(), await identify(), await identify()];
      await give(b.id, 1);
      await use(b.id);
      await accounts.merge({ into: a.id, from: b.id });
      await give(parent.id, 10);
      await accounts.attachChild({ parent: parent.id, child: b.identity });
      expect(await use(b.id)).toMatchObject({ remaining: '9' });
      expect((await ledger.entries({ account: a.id, kind: 'use' })).items).toMatchObject([
        { account: a.id },
        { account: b.id },
      ]);
      await accounts.detachChild({ child: b.id });
      expect(await use(b.id)).toMatchObject({ reason: 'insufficient_balance' });
      // An alias is nobody's child.
      await accounts.attachChild({ parent: a.id, child: (await identify()).id });
    });

    test('what the one that stays lacks comes from the other', async () => {
      const a = await identify();
      const b = await identify();
      await accounts.update({ account: a.id, name: 'Ada', metadata: { a: 1, both: 'a' } });
      await accounts.update({
        account: b.id,
        name: 'Bea',
        email: 'bea@example.org',
        metadata: { b: 1, both: 'b' },
        contact: { company: 'Bea Ltd' },
        tax: { status: 'exempt' },
      });
      const { merged } = await accounts.merge({ into: a.id, from: b.id });
      expect(merged).toMatchObject({
        name: 'Ada',
        email: 'bea@example.org',
        metadata: { a: 1, b: 1, both: 'a' },
        contact: { company: 'Bea Ltd' },
        tax: { status: 'exempt' },
      });
    });
  });

  describe('what was sold', () => {
    beforeAll(async () => {
      const items = [{ product: 'MSG', quantity: '100' }];
      const offer = { price: '10.00', currency: 'EUR', items };
      await billing.catalog.saveOffer({ ...offer, sku: 'pack', name: 'Pack' });
      await billing.catalog.saveOffer({
        ...offer,
        sku: 'once',
        name: 'Once',
        oncePerAccount: true,
      });
      await billing.catalog.saveOffer({ ...offer, sku: 'taste', name: 'Taste', price: '0' });
    });
    const order = async (account: string, sku: string) => {
      const created = await billing.sales.createOrder({ account, items: [{ sku }] });
      expect(created.allowed).toBe(true);
      return created.orderId!;
    };
    const pay = (orderId: string) =>
      billing.sales.confirmOrder({ orderId, paymentId: fresh('pay-') });

    test('S6: orders of the merged one are found, paid and refunded under the other', async () => {
      const [a, b] = [await identify(), await identify()];
      const [paid, pending] = [await order(b.id, 'pack'), await order(b.id, 'pack')];
      await pay(paid);
      await use(b.id, { amount: 20 });
      expect((await accounts.merge({ into: a.id, from: b.id })).counts).toMatchObject({
        orders: 2,
      });
      const { items } = await billing.sales.listOrders({ account: a.id });
      expect(items.map(({ orderId }) => orderId).toSorted()).toEqual([paid, pending].toSorted());
      expect(await pay(pending)).toMatchObject({ allowed: true, status: 'paid' });
      expect(await left(a.id)).toBe('180');
      // Only that order's units go, wherever they are by now.
      expect(await billing.sales.refundOrder({ orderId: paid })).toMatchObject({
        status: 'refunded',
        refund: { units: [{ product: 'MSG', quantity: '80' }] },
      });
      expect(await left(b.id)).toBe('100');
    });

    test('S6: what one of them bought once, or tried, the other has had', async () => {
      for (const state of ['pending', 'paid'] as const) {
        const [a, b] = [await identify(), await identify()];
        const orderId = await order(b.id, 'once');
        if (state === 'paid') await pay(orderId);
        await billing.sales.claimTrial({ account: b.id, sku: 'taste' });
        await accounts.merge({ into: a.id, from: b.id });
        for (const { id } of [a, b]) {
          expect(
            await billing.sales.createOrder({ account: id, items: [{ sku: 'once' }] }),
          ).toMatchObject({ allowed: false, reason: 'already_purchased' });
          expect(await billing.sales.claimTrial({ account: id, sku: 'taste' })).toMatchObject({
            allowed: false,
            reason: 'trial_already_used',
          });
        }
        if (state === 'pending') expect(await pay(orderId)).toMatchObject({ status: 'paid' });
      }
    });

    test('both had bought it once: both purchases stay', async () => {
      const [a, b] = [await identify(), await identify()];
      for (const { id } of [a, b]) await pay(await order(id, 'once'));
      await accounts.merge({ into: a.id, from: b.id });
      expect(await left(a.id)).toBe('200');
      expect((await billing.sales.listOrders({ account: a.id })).items).toHaveLength(2);
    });
  });

  describe('refused', () => {
    test('itself, families, closed ones, aliases', async () => {
      const [a, b, parent, child, closed, gone] = [
        await identify(),
        await identify(),
        await identify(),
        await identify(),
        await identify(),
        await identify(),
      ];
      await accounts.attachChild({ parent: parent.id, child: child.id });
      await accounts.update({ account: closed.id, status: 'closed' });
      await accounts.merge({ into: a.id, from: gone.id });
      for (const [into, from, parameter] of [
        [a, a, 'from'],
        [parent, child, 'from'],
        [child, parent, 'into'],
        [child, b, 'into'],
        [b, child, 'from'],
        [a, closed, 'from'],
        [closed, a, 'into'],
        [b, gone, 'from'],
        [a, gone, 'from'],
      ] as const) {
        const before = await rowsOf(billing, schema, 'accounts');
        await expect(accounts.merge({ into: into.id, from: from.id })).rejects.toEqual(
          conflict(parameter),
        );
        expect(await rowsOf(billing, schema, 'accounts')).toEqual(before);
      }
      for (const bad of [{ from: 'nobody' }, { into: 'nobody' }]) {
        await expect(accounts.merge({ into: a.id, from: b.id, ...bad })).rejects.toMatchObject({
          code: 'unknown_account',
          parameter: Object.keys(bad)[0],
        });
      }
      for (const bad of [{ prefer: 'both' }, { dryRun: 'yes' }, { account: a.id }]) {
        await expect(
          accounts.merge({ into: a.id, from: b.id, ...(bad as object) }),
        ).rejects.toMatchObject({ code: 'invalid_input', parameter: Object.keys(bad)[0] });
      }
    });

    test('units on hold, until they are settled or over', async () => {
      const a = await identify();
      const b = await identify();
      await give(b.id, 10);
      const { holdId } = await ledger.hold({
        account: b.id,
        product: 'MSG',
        amount: 4,
        expiresIn: { unit: 'hour', count: 1 },
      });
      await expect(accounts.merge({ into: a.id, from: b.id })).rejects.toThrow(holdId!);
      expect(await left(b.id)).toBe('6');
      clock.advance(HOUR);
      await accounts.merge({ into: a.id, from: b.id });
      expect(await left(a.id)).toBe('10');
    });

    test('a dry run says what would happen, and nothing does', async () => {
      const a = await identify();
      const b = await identify();
      await give(b.id, 10);
      await use(b.id, { idempotencyKey: fresh('k') });
      const tables = ['accounts', 'identities', 'entries', 'grants', 'answers', 'account_details'];
      const state = () => Promise.all(tables.map((table) => rowsOf(billing, schema, table)));
      const before = await state();
      const request = { into: a.id, from: b.id, idempotencyKey: fresh('k') };
      const tried = await accounts.merge({ ...request, dryRun: true });
      expect(tried).toMatchObject({
        dryRun: true,
        replayed: false,
        merged: { accountId: a.id, aliases: [b.id] },
        counts: { identities: 1, answers: 1, grants: 1 },
      });
      expect(await state()).toEqual(before);
      // In a transaction of the caller's, too, which stays usable.
      await billing.transaction(async (tx) => {
        await accounts.merge({ ...request, dryRun: true, tx });
        expect((await accounts.identify({ ...a.identity, tx })).accountId).toBe(a.id);
      });
      expect(await state()).toEqual(before);
      const { counts } = await accounts.merge(request);
      expect(counts).toEqual(tried.counts);
    });
  });

  test('uses at the same time as a merge act once, on one of the two', async () => {
    for (let round = 0; round < 5; round += 1) {
      const a = await identify();
      const b = await identify();
      await give(a.id, 50);
      await give(b.id, 50);
      await use(a.id);
      await use(b.id);
      const names = [a.id, b.id, a.identity, b.identity];
      const uses = Array.from({ length: 40 }, (_, index) => use(names[index % 4]!));
      const [merge, ...used] = await Promise.all([
        accounts.merge({ into: a.id, from: b.id }),
        ...uses,
      ]);
      expect(merge.merged.accountId).toBe(a.id);
      expect(used.every(({ allowed }) => allowed)).toBe(true);
      expect(await left(b.id)).toBe('58');
    }
  });

  test('opposite merges at once: one happens', async () => {
    for (let round = 0; round < 5; round += 1) {
      const a = await identify();
      const b = await identify();
      await give(a.id, 1);
      await give(b.id, 2);
      const outcomes = await Promise.allSettled([
        accounts.merge({ into: a.id, from: b.id }),
        accounts.merge({ into: b.id, from: a.id }),
      ]);
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      expect(await left(a.id)).toBe('3');
      expect(await left(b.id)).toBe('3');
    }
  });
});
