import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';

import {
  openBilling,
  TestClock,
  type Billing,
  type BillingOptions,
  type ConsumeRequest,
} from '../../../engine';
import { Database } from '../../../engine/database';
import { IdentityHashing, canonicalIdentity } from '../../../engine/sales/identity-hash';
import { databaseKinds, newSchema, onEachDatabase, serverUrl } from '../each-database';

const START = Date.parse('2027-01-31T12:00:00Z');
const SECRET = 'a secret that only the seller has';

const code = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown; parameter: unknown }) => [error.code, error.parameter],
  );

describe('what is hashed of an identity', () => {
  const same = (provider: string, ...written: string[]): void => {
    const canonical = written.map((externalId) => canonicalIdentity({ provider, externalId }));
    expect(new Set(canonical).size).toBe(1);
    expect(canonical[0]).not.toBeNull();
  };
  const differ = (...identities: Array<[string, string]>): void => {
    const canonical = identities.map(([provider, externalId]) =>
      canonicalIdentity({ provider, externalId }),
    );
    expect(new Set(canonical).size).toBe(identities.length);
  };

  test('blanks, case and forms of letters make no difference', () => {
    same('telegram', '  ABC ', 'abc', 'Abc', 'ＡＢＣ');
    same('telegram', 'é', 'é', 'É');
    differ(['telegram', 'abc'], ['telegram', 'a b c'], ['app', 'abc']);
  });

  test('an e-mail address is what its provider takes it for', () => {
    same('email', 'Ann@Example.com', 'ann+trial@example.com', 'ann+1+2@EXAMPLE.com.');
    same('email', 'ann.lee@gmail.com', 'a.n.n.l.e.e+x@googlemail.com', 'annlee@GMAIL.com');
    same('email', 'ann@bücher.de', 'ann@xn--bcher-kva.de');
    differ(['email', 'ann.lee@example.com'], ['email', 'annlee@example.com']);
    differ(['email', '+a@example.com'], ['email', '+b@example.com']);
    differ(['email', 'no address'], ['email', 'no+address']);
    // Only addresses have tags and dots.
    differ(['app', 'ann@gmail.com'], ['app', 'ann+1@gmail.com'], ['app', 'a.nn@gmail.com']);
  });

  test('a phone number is its digits in international form, however it is reached', () => {
    same(
      'phone',
      '+49 30 123456',
      '0049-30-123456',
      '(+49) 30/12.34.56',
      '4930123456',
      '+49 (0)30 123456',
    );
    expect(canonicalIdentity({ provider: 'whatsapp', externalId: '4930123456@c.us' })).toBe(
      canonicalIdentity({ provider: 'sms', externalId: '+49 30 123456' }),
    );
    for (const externalId of ['030 123456', 'call me', '+', '12', '+1234567890123456']) {
      expect(canonicalIdentity({ provider: 'phone', externalId })).toBeNull();
    }
  });

  test('the key makes the hash: another one makes another, and each says which it was', () => {
    const identity = { provider: 'telegram', externalId: 'abc' };
    const [one] = new IdentityHashing(SECRET).hashesOf(identity);
    const two = new IdentityHashing([
      { id: 'new', secret: 'another secret of the seller' },
      { secret: SECRET },
    ]).hashesOf(identity);
    expect(two.map(({ keyId }) => keyId)).toEqual(['new', one!.keyId]);
    expect(two[1]).toEqual(one);
    expect(two[0]!.hash).not.toBe(one!.hash);
    expect(one!.hash).toMatch(/^[0-9a-f]{64}$/);
    expect(SECRET).not.toContain(one!.keyId);
  });
});

onEachDatabase('trials', (database) => {
  const clock = new TestClock(START);
  let shop: Billing;
  let counter = 0;
  const options: Partial<BillingOptions> = { secrets: { identity: SECRET } };

  const stock = async (billing: Billing): Promise<void> => {
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    await billing.catalog.saveProduct({ key: 'PRO', name: 'Pro', kind: 'period' });
    await billing.catalog.saveOffer({
      sku: 'try',
      name: 'Try it',
      price: 0,
      currency: 'USD',
      public: false,
      items: [{ product: 'MSG', quantity: 20, expiresAfter: { unit: 'day', count: 7 } }],
    });
    await billing.catalog.saveOffer({
      sku: 'pack',
      name: 'Pack',
      price: '10.00',
      currency: 'USD',
      items: [{ product: 'MSG', quantity: 100 }],
    });
    await billing.catalog.saveOffer({
      sku: 'plan',
      name: 'Plan',
      price: '30.00',
      currency: 'USD',
      billing: 'recurring',
      interval: { unit: 'month', count: 1 },
      items: [{ product: 'MSG', quantity: 500, priority: 7 }, { product: 'PRO' }],
      trialPhases: [
        {
          price: 0,
          length: { unit: 'month', count: 1 },
          items: [{ product: 'MSG', quantity: 5 }, { product: 'PRO' }],
        },
        {
          price: '5.00',
          length: { unit: 'month', count: 1 },
          items: [{ product: 'MSG', quantity: 9 }],
        },
      ],
    });
  };

  beforeAll(async () => {
    shop = await database.open(clock, undefined, options);
    await stock(shop);
  });

  beforeEach(() => clock.set(START));

  const someone = async (name?: string, provider = 'telegram'): Promise<string> => {
    counter += 1;
    const externalId = name ?? `person-${counter}`;
    return (await shop.accounts.identify({ provider, externalId })).accountId;
  };
  const available = async (account: string, product = 'MSG'): Promise<string> =>
    (await shop.ledger.balance({ account, product })).available ?? 'unlimited';
  const identity = (externalId: string, provider = 'telegram') => ({ provider, externalId });

  test('S3: a trial claimed with "  ABC " is denied to another account with "abc"', async () => {
    const first = await someone();
    const second = await someone();
    const claimed = await shop.sales.claimTrial({
      account: first,
      sku: 'try',
      identities: [identity('  ABC ')],
    });
    expect(claimed).toMatchObject({
      allowed: true,
      reason: null,
      endsAt: '2027-02-07T12:00:00.000Z',
      grants: [{ product: 'MSG', initial: '20', source: 'trial', value: '0.00000000' }],
      replayed: false,
      suggestedOffers: [],
    });
    expect(
      await shop.sales.claimTrial({ account: second, sku: 'try', identities: [identity('abc')] }),
    ).toMatchObject({
      allowed: false,
      reason: 'trial_already_used',
      grants: [],
      endsAt: null,
      suggestedOffers: [{ sku: 'pack' }, { sku: 'plan' }],
    });
    expect([await available(first), await available(second)]).toEqual(['20', '0']);
    // What was denied has spent nothing.
    expect(await shop.sales.claimTrial({ account: second, sku: 'try' })).toMatchObject({
      allowed: true,
    });
  });

  test('S3: of 20 claims at once by one person with many accounts one wins', async () => {
    const accounts = await Promise.all(Array.from({ length: 20 }, () => someone()));
    const answers = await Promise.all(
      accounts.map((account, index) =>
        shop.sales.claimTrial({
          account,
          sku: 'try',
          // In both orders, and each with somebody else: who waits for whom must not matter.
          identities:
            index % 2 === 0
              ? [identity('Mallory'), identity('mallory@gmail.com', 'email')]
              : [identity('m.allory+2@googlemail.com', 'email'), identity(' MALLORY ')],
        }),
      ),
    );
    expect(answers.filter(({ allowed }) => allowed)).toHaveLength(1);
    expect(new Set(answers.map(({ reason }) => reason))).toEqual(
      new Set([null, 'trial_already_used']),
    );
    const balances = await Promise.all(accounts.map((account) => available(account)));
    expect(balances.filter((amount) => amount === '20')).toHaveLength(1);
  });

  test('S3: 20 claims at once for one account give one trial', async () => {
    const account = await someone();
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => shop.sales.claimTrial({ account, sku: 'try' })),
    );
    expect(answers.filter(({ allowed }) => allowed)).toHaveLength(1);
    expect(await available(account)).toBe('20');
  });

  test('an account’s own identities are spent with it, and other sellers’ ways to write them', async () => {
    const account = await someone('carl@example.com', 'email');
    expect(await shop.sales.claimTrial({ account, sku: 'try' })).toMatchObject({ allowed: true });
    // Another account of the same address.
    const { accountId: tagged, trialEligible } = await shop.accounts.identify({
      provider: 'email',
      externalId: 'Carl+again@example.com',
    });
    expect(tagged).not.toBe(account);
    expect(trialEligible).toBe(false);
    expect(await shop.sales.claimTrial({ account: tagged, sku: 'try' })).toMatchObject({
      reason: 'trial_already_used',
    });
  });

  test('identify says whether a trial is still to be had', async () => {
    const externalId = 'eve';
    const first = await shop.accounts.identify({ externalId });
    expect(first).toMatchObject({ created: true, trialEligible: true });
    await shop.sales.claimTrial({ account: first.accountId, sku: 'try' });
    expect(await shop.accounts.identify({ externalId })).toMatchObject({
      created: false,
      trialEligible: false,
    });
  });

  test('one trial for an account, whatever the offer', async () => {
    const account = await someone();
    await shop.sales.claimTrial({ account, sku: 'plan' });
    expect(await shop.sales.claimTrial({ account, sku: 'try' })).toMatchObject({
      reason: 'trial_already_used',
    });
  });

  test('a free first phase lasts its length, by the clock and the zone of the account', async () => {
    const account = await someone();
    await shop.accounts.update({ account, timeZone: 'America/New_York' });
    const claimed = await shop.sales.claimTrial({ account, sku: 'plan' });
    expect(claimed).toMatchObject({ allowed: true, endsAt: '2027-02-28T12:00:00.000Z' });
    expect(claimed.grants).toMatchObject([
      { product: 'MSG', initial: '5', priority: 7, expiresAt: '2027-02-28T12:00:00.000Z' },
      { product: 'PRO', initial: '1', expiresAt: '2027-02-28T12:00:00.000Z' },
    ]);
    clock.set('2027-02-28T11:59:59.999Z');
    expect([await available(account), await available(account, 'PRO')]).toEqual(['5', '1']);
    clock.set('2027-02-28T12:00:00Z');
    expect([await available(account), await available(account, 'PRO')]).toEqual(['0', '0']);
  });

  test('a parent and its children have one trial', async () => {
    const [parent, child, other] = [await someone(), await someone(), await someone()];
    await shop.accounts.attachChild({ parent, child });
    await shop.accounts.attachChild({ parent, child: other });
    expect(await shop.sales.claimTrial({ account: child, sku: 'try' })).toMatchObject({
      allowed: true,
    });
    expect(await available(parent)).toBe('20');
    for (const account of [parent, other, child]) {
      expect(await shop.sales.claimTrial({ account, sku: 'try' })).toMatchObject({
        reason: 'trial_already_used',
      });
    }
    // On its own again it has had it; the other has not.
    await shop.accounts.detachChild({ child });
    await shop.accounts.detachChild({ child: other });
    expect(await shop.sales.claimTrial({ account: child, sku: 'try' })).toMatchObject({
      reason: 'trial_already_used',
    });
  });

  test('who gets a child that had a trial has had one', async () => {
    const [parent, child, sibling] = [await someone(), await someone(), await someone()];
    await shop.sales.claimTrial({ account: child, sku: 'try' });
    await shop.accounts.attachChild({ parent, child, moveUnits: true });
    await shop.accounts.attachChild({ parent, child: sibling });
    for (const account of [parent, sibling, child]) {
      expect(await shop.sales.claimTrial({ account, sku: 'try' })).toMatchObject({
        reason: 'trial_already_used',
      });
    }
    await shop.accounts.detachChild({ child: sibling });
    expect(await shop.sales.claimTrial({ account: sibling, sku: 'try' })).toMatchObject({
      allowed: true,
    });
  });

  test('with a key the first answer comes again; other identities are another request', async () => {
    const account = await someone();
    const request = { account, sku: 'try', identities: [identity('zoe')], idempotencyKey: 'once' };
    const first = await shop.sales.claimTrial(request);
    expect(await shop.sales.claimTrial(request)).toEqual({ ...first, replayed: true });
    expect(await available(account)).toBe('20');
    expect(
      await code(shop.sales.claimTrial({ ...request, identities: [identity('zoe2')] })),
    ).toEqual(['idempotency_conflict', 'idempotencyKey']);
  });

  test('refused: what is not free, unknown, no number, unknown fields', async () => {
    const account = await someone();
    const claim = (more: object) => code(shop.sales.claimTrial({ account, sku: 'try', ...more }));
    expect(await claim({ sku: 'pack' })).toEqual(['invalid_input', 'sku']);
    expect(await claim({ sku: 'nothing' })).toEqual(['unknown_offer', 'sku']);
    expect(await claim({ account: 'nobody' })).toEqual(['unknown_account', 'account']);
    expect(await claim({ identities: [identity('030 1', 'phone')] })).toEqual([
      'invalid_input',
      'identities[0].externalId',
    ]);
    expect(await claim({ identities: [{}] })).toEqual([
      'invalid_input',
      'identities[0].externalId',
    ]);
    expect(await claim({ trial: true })).toEqual(['invalid_input', 'trial']);
    expect(await available(account)).toBe('0');
    expect(await shop.sales.claimTrial({ account, sku: 'try' })).toMatchObject({ allowed: true });
  });

  test('denied: suspended, closed, withdrawn, another account’s plan', async () => {
    const account = await someone();
    const claim = (sku: string) => shop.sales.claimTrial({ account, sku });
    const free = {
      name: 'Free',
      price: 0,
      currency: 'USD',
      items: [{ product: 'MSG', quantity: 1 }],
    };
    await shop.catalog.saveOffer({ sku: 'withdrawn', ...free, active: false });
    await shop.catalog.saveOffer({
      sku: 'others',
      ...free,
      public: false,
      accountId: await someone(),
    });
    await shop.catalog.saveOffer({ sku: 'own', ...free, public: false, accountId: account });
    expect(await claim('withdrawn')).toMatchObject({ reason: 'offer_unavailable' });
    expect(await claim('others')).toMatchObject({ reason: 'offer_unavailable' });
    await shop.accounts.update({ account, status: 'suspended' });
    expect(await claim('own')).toMatchObject({ reason: 'account_suspended', suggestedOffers: [] });
    await shop.accounts.update({ account, status: 'closed' });
    expect(await claim('own')).toMatchObject({ reason: 'account_closed' });
    await shop.accounts.update({ account, status: 'active' });
    expect(await claim('own')).toMatchObject({ allowed: true });
  });

  test('a mistake in a transaction undoes the trial with the rest', async () => {
    const account = await someone();
    await expect(
      shop.transaction(async (tx) => {
        expect(await shop.sales.claimTrial({ account, sku: 'try', tx })).toMatchObject({
          allowed: true,
        });
        throw new Error('on second thoughts');
      }),
    ).rejects.toThrow('on second thoughts');
    expect(await shop.sales.claimTrial({ account, sku: 'try' })).toMatchObject({ allowed: true });
  });

  test('marks of a merged account count for the one it was merged into', async () => {
    const [into, from, later] = [await someone(), await someone(), await someone()];
    await shop.sales.claimTrial({ account: from, sku: 'try', identities: [identity('before')] });
    await shop.accounts.merge({ into, from, prefer: 'into' });
    for (const account of [into, from]) {
      expect(await shop.sales.claimTrial({ account, sku: 'try' })).toMatchObject({
        reason: 'trial_already_used',
      });
    }
    expect(
      await shop.sales.claimTrial({
        account: later,
        sku: 'try',
        identities: [identity('before')],
      }),
    ).toMatchObject({ reason: 'trial_already_used' });
  });

  test('only hashes of given identities are kept, in any table', async () => {
    const connection =
      database.name === 'server' ? { connectionString: serverUrl() } : { embedded: 'memory' };
    const schema = newSchema();
    const own = await Database.open({ connection, schema });
    try {
      const billing = await openBilling({ connection: own.knex, schema, clock, ...options });
      await stock(billing);
      const { accountId } = await billing.accounts.identify({ externalId: 'visible' });
      const request = {
        account: accountId,
        sku: 'try',
        identities: [
          identity('Secretive-Sam'),
          identity('sam+secretive@example.com', 'email'),
          identity('+49 30 9876543', 'phone'),
        ],
        idempotencyKey: 'sam',
      };
      expect(await billing.sales.claimTrial(request)).toMatchObject({ allowed: true });
      const tables = await own.query<{ name: string }>(
        `select table_name as name from information_schema.tables
         where table_schema = $1 and table_type = 'BASE TABLE'`,
        [schema],
      );
      const whole: string[] = [];
      for (const { name } of tables) {
        const rows = await own.query<{ row: string }>(
          `select to_jsonb(t)::text as row from {schema}.${name} as t`,
        );
        whole.push(...rows.map(({ row }) => row.toLowerCase()));
      }
      const text = whole.join('\n');
      expect(text).toContain('visible');
      for (const part of ['secretive', 'example.com', '9876543', SECRET]) {
        expect(text).not.toContain(part);
      }
      const hashes = await own.query<{ hash: string; key_id: string }>(
        `select encode(hash, 'hex') as hash, key_id from {schema}.trial_hashes`,
      );
      expect(hashes).toHaveLength(4);
      expect(hashes).toContainEqual({
        hash: new IdentityHashing(SECRET).hashesOf(identity('secretive-sam'))[0]!.hash,
        key_id: expect.any(String),
      });
      expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
      await billing.close();
    } finally {
      await own.close();
    }
  });

  describe('a secret is changed', () => {
    const secrets = {
      old: { id: 'old', secret: 'the old secret of the seller' },
      young: { id: 'young', secret: 'the young secret of the seller' },
    };

    test('who had a trial under the one before is recognised while both are given', async () => {
      const base = await Database.open({
        connection:
          database.name === 'server' ? { connectionString: serverUrl() } : { embedded: 'memory' },
        schema: newSchema(),
      });
      const schema = newSchema();
      const opened = (...identitySecrets: Array<{ id: string; secret: string }>) =>
        openBilling({
          connection: base.knex,
          schema,
          clock,
          secrets: { identity: identitySecrets },
        });
      try {
        const before = await opened(secrets.old);
        await stock(before);
        const claim = async (billing: Billing, name: string) => {
          counter += 1;
          const { accountId } = await billing.accounts.identify({ externalId: `r-${counter}` });
          const answer = await billing.sales.claimTrial({
            account: accountId,
            sku: 'try',
            identities: [identity(name)],
          });
          return answer.allowed;
        };
        expect(await claim(before, 'early')).toBe(true);
        const both = await opened(secrets.young, secrets.old);
        expect(await claim(both, 'early')).toBe(false);
        expect(await claim(both, 'late')).toBe(true);
        // A process that was not restarted yet knows of those of before alone.
        const after = await opened(secrets.young);
        expect(await claim(after, 'late')).toBe(false);
        expect(await claim(after, 'early')).toBe(true);
        expect(await after.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        await base.close();
      }
    });
  });

  test('after the time for which trials are remembered a person may claim again, an account not', async () => {
    const billing = await database.open(clock, undefined, {
      ...options,
      keep: { trials: { unit: 'week', count: 52 } },
    });
    await stock(billing);
    const claim = async (externalId: string) => {
      const { accountId } = await billing.accounts.identify({ externalId });
      return (
        await billing.sales.claimTrial({
          account: accountId,
          sku: 'try',
          identities: [identity('returning')],
        })
      ).reason;
    };
    expect(await claim('a')).toBeNull();
    clock.advance(52 * 7 * 86_400_000 - 1);
    expect(await claim('b')).toBe('trial_already_used');
    clock.advance(1);
    expect(await claim('a')).toBe('trial_already_used');
    expect(await claim('c')).toBeNull();
    expect(await claim('d')).toBe('trial_already_used');
  });

  describe('the free tier', () => {
    test('comes with the account, once, however often and at once it is met', async () => {
      const billing = await database.open(clock, undefined, options);
      await stock(billing);
      const free = { price: 0, currency: 'USD', freeTier: true };
      await billing.catalog.saveOffer({
        sku: 'welcome',
        name: 'Welcome',
        ...free,
        items: [{ product: 'MSG', quantity: 3 }],
        bonuses: [{ product: 'MSG', quantity: 2, expiresAfter: { unit: 'day', count: 1 } }],
      });
      await billing.catalog.saveOffer({
        sku: 'monthly',
        name: 'Free plan',
        ...free,
        billing: 'recurring',
        interval: { unit: 'month', count: 1 },
        oncePerAccount: true,
        items: [{ product: 'MSG', quantity: 10 }, { product: 'PRO' }],
      });
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => billing.accounts.identify({ externalId: 'newcomer' })),
      );
      expect(new Set(answers.map(({ accountId }) => accountId)).size).toBe(1);
      const account = answers[0]!.accountId;
      const repeat = { externalId: 'newcomer', idempotencyKey: 'again' };
      await billing.accounts.identify(repeat);
      await billing.accounts.identify(repeat);
      const grants = await billing.ledger.grants({ account });
      expect(
        grants
          .map(({ product, initial, expiresAt, source, value }) => [
            product,
            initial,
            expiresAt,
            source,
            value,
          ])
          .sort(),
      ).toEqual([
        ['MSG', '10', '2027-02-28T12:00:00.000Z', 'free tier', '0.00000000'],
        ['MSG', '2', '2027-02-01T12:00:00.000Z', 'free tier', '0.00000000'],
        ['MSG', '3', null, 'free tier', '0.00000000'],
        ['PRO', '1', '2027-02-28T12:00:00.000Z', 'free tier', '0.00000000'],
      ]);
      // It is no trial.
      expect(answers.every(({ trialEligible }) => trialEligible)).toBe(true);
      expect(await billing.sales.claimTrial({ account, sku: 'monthly' })).toMatchObject({
        reason: 'already_purchased',
      });
      await billing.catalog.saveOffer({
        sku: 'welcome',
        name: 'Welcome',
        ...free,
        active: false,
        items: [{ product: 'MSG', quantity: 3 }],
      });
      const { accountId: later } = await billing.accounts.identify({ externalId: 'later' });
      expect(await billing.ledger.grants({ account: later })).toHaveLength(2);
    });

    describe('in the call that takes the first unit', () => {
      let billing: Billing;
      beforeAll(async () => {
        billing = await database.open(clock, undefined, options);
        await stock(billing);
        await billing.catalog.saveOffer({
          sku: 'five-free',
          name: 'Five',
          price: 0,
          currency: 'USD',
          freeTier: true,
          items: [{ product: 'MSG', quantity: 5 }],
        });
      });
      const use = (externalId: string, more: Partial<ConsumeRequest> = {}) =>
        billing.ledger.consume({
          account: { provider: 'telegram', externalId },
          product: 'MSG',
          createIfNew: true,
          ...more,
        });
      const met = async (externalId: string, provider = 'telegram') => {
        const account = { provider, externalId };
        const { accountId } = await billing.accounts.get({ account });
        const [grant, ...others] = await billing.ledger.grants({ account });
        expect(others).toEqual([]);
        return { accountId, given: grant?.initial, left: grant?.remaining };
      };

      test('twenty workers at once make one account, which has it once and uses all of it', async () => {
        const answers = await Promise.all(
          Array.from({ length: 20 }, (_, index) =>
            use('crowd', { idempotencyKey: `message ${index}` }),
          ),
        );
        const { accountId, ...had } = await met('crowd');
        expect(had).toEqual({ given: '5', left: '0' });
        expect(answers.filter(({ allowed }) => allowed)).toHaveLength(5);
        expect(new Set(answers.map((answer) => answer.accountId))).toEqual(new Set([accountId]));
        // The same messages again, also by whoever creates nobody: the first answers.
        const again = await Promise.all(
          Array.from({ length: 20 }, (_, index) =>
            use('crowd', { idempotencyKey: `message ${index}`, createIfNew: index % 2 === 0 }),
          ),
        );
        expect(again).toEqual(answers.map((answer) => ({ ...answer, replayed: true })));
      });

      test('who was interrupted after the account was made goes on with what it has', async () => {
        await billing.accounts.identify({ provider: 'telegram', externalId: 'halfway' });
        expect(await use('halfway')).toMatchObject({ allowed: true, remaining: '4' });
        expect(await met('halfway')).toMatchObject({ given: '5', left: '4' });
      });

      test('a check does the same and takes nothing', async () => {
        const account = { provider: 'telegram', externalId: 'asking' };
        const check = { account, product: 'MSG', createIfNew: true };
        const [first, second] = await Promise.all([
          billing.ledger.check(check),
          billing.ledger.check(check),
        ]);
        expect(first).toMatchObject({ allowed: true, remaining: '5' });
        expect(second).toEqual(first);
        expect(await met('asking')).toMatchObject({ accountId: first.accountId, left: '5' });
      });

      test('one spelling of an address is one person, and what is no address fails alone', async () => {
        const ask = (externalId: string) => ({
          account: { provider: 'email', externalId },
          product: 'MSG',
          createIfNew: true,
        });
        const answers = await billing.ledger.consumeMany([
          ask('Ann@Example.com'),
          ask('Ann <ann@example.com>'),
          ask('ann@example.COM '),
        ]);
        expect(answers).toMatchObject([
          { allowed: true, remaining: '4' },
          { error: { code: 'invalid_input', parameter: 'externalId' } },
          { allowed: true, remaining: '3' },
        ]);
        expect(await met('ann@example.com', 'email')).toMatchObject({ given: '5', left: '3' });
      });

      test('nobody is made of an id, in a transaction undone, or where it is not asked for', async () => {
        const unknown = [['unknown_account', 'account']];
        expect([await code(use('nobody', { createIfNew: false }))]).toEqual(unknown);
        const id = '01948b5c-4c00-7000-8000-000000000009';
        expect([await code(use('nobody', { account: id }))]).toEqual(unknown);
        await expect(
          billing.transaction(async (tx) => {
            expect(await use('nobody', { tx })).toMatchObject({ allowed: true, remaining: '4' });
            throw new Error('undone');
          }),
        ).rejects.toThrow('undone');
        expect([await code(use('nobody', { createIfNew: false }))]).toEqual(unknown);
        await billing.transaction((tx) => use('nobody', { tx }));
        expect(await met('nobody')).toMatchObject({ given: '5', left: '4' });
      });
    });
  });
});

describe('the secret', () => {
  const opened = async <T>(options: BillingOptions, work: (billing: Billing) => Promise<T>) => {
    const billing = await openBilling(options);
    try {
      return await work(billing);
    } finally {
      await billing.close();
    }
  };

  test('is refused when it is short, empty, or named twice, and never echoed', async () => {
    const refusals = [
      'short secret',
      '',
      [],
      [{ id: 'a', secret: 'fifteen letters' }],
      5,
      [
        { id: 'a', secret: SECRET },
        { id: 'a', secret: SECRET },
      ],
      [{ id: 'a', key: SECRET }],
    ];
    for (const identity of refusals) {
      const error = await openBilling({
        connection: { embedded: 'memory' },
        secrets: { identity } as never,
      }).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: 'invalid_input' });
      expect(JSON.stringify(error)).not.toMatch(/short secret|fifteen letters|only the seller/);
    }
  });

  if (databaseKinds.includes('server')) {
    test('on a server it must be given: without it no trial can be claimed, and the advice says so', async () => {
      await opened({ connection: serverUrl(), schema: newSchema() }, async (billing) => {
        await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
        const { accountId: account, trialEligible } = await billing.accounts.identify({
          externalId: 'x',
        });
        expect(trialEligible).toBe(true);
        await expect(billing.sales.claimTrial({ account, sku: 'try' })).rejects.toMatchObject({
          code: 'forbidden',
          advice: expect.stringContaining('identity'),
        });
      });
    });
  }

  if (!databaseKinds.includes('embedded')) return;
  describe('of an embedded folder', () => {
    let folder: string;
    beforeEach(() => {
      folder = fs.mkdtempSync(path.join(os.tmpdir(), 'billing-secret-'));
    });
    afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

    const claim = (externalId: string) => async (billing: Billing) => {
      await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
      await billing.catalog.saveOffer({
        sku: 'try',
        name: 'Try',
        price: 0,
        currency: 'USD',
        items: [{ product: 'MSG', quantity: 1 }],
      });
      const { accountId } = await billing.accounts.identify({ externalId });
      return billing.sales.claimTrial({
        account: accountId,
        sku: 'try',
        identities: [{ provider: 'telegram', externalId: 'abc' }],
      });
    };

    test('is made, kept for its owner alone, and outlives the process', async () => {
      const connection = { embedded: path.join(folder, 'data') };
      expect(await opened({ connection }, claim('a'))).toMatchObject({ allowed: true });
      const [file] = fs.readdirSync(connection.embedded).filter((name) => name.includes('secret'));
      const kept = path.join(connection.embedded, file!);
      expect(fs.statSync(kept).mode & 0o777).toBe(0o600);
      const secret = fs.readFileSync(kept, 'utf8');
      expect(secret.trim().length).toBeGreaterThanOrEqual(32);
      expect(await opened({ connection }, claim('b'))).toMatchObject({
        reason: 'trial_already_used',
      });
      expect(fs.readFileSync(kept, 'utf8')).toBe(secret);
      // A secret given later: who was met under the folder's own is recognised still.
      const given = { connection, secrets: { identity: SECRET } };
      expect(await opened(given, claim('c'))).toMatchObject({ reason: 'trial_already_used' });

      fs.writeFileSync(kept, 'cut');
      const error = await openBilling({ connection }).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: 'database_unavailable' });
      // And the folder was given back.
      fs.writeFileSync(kept, secret);
      expect(await opened({ connection }, claim('d'))).toMatchObject({ allowed: false });
    });

    test('is not made where one is given', async () => {
      const connection = { embedded: path.join(folder, 'data') };
      await opened({ connection, secrets: { identity: SECRET } }, claim('a'));
      expect(fs.readdirSync(connection.embedded).filter((name) => name.includes('secret'))).toEqual(
        [],
      );
    });
  });
});
