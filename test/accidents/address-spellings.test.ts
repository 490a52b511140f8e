import { createHmac } from 'node:crypto';

import { TestClock, type Billing } from '../../engine';
import { canonicalIdentity } from '../../engine/sales/identity-hash';
import { newSchema, forRules } from '../engine/each-database';

/**
 * The accident: an address with a name, quotes, a comment or characters that nobody sees around or in it
 * was another person's, and got another trial.
 */

const SECRET = 'a secret that only the seller has';

const WITH_MORE_THAN_THE_ADDRESS = [
  'Ann <ann@example.com>',
  '<ann@example.com>',
  'mailto:ann@example.com',
  '"ann"@example.com',
  '"an\\n"@example.com',
  "'ann@example.com'",
  'ann(me)@example.com',
  'ann@(work)example.com',
  '(me)ann@example.com',
  'ann @example.com',
  'ann@ example.com',
  'ann@example .com',
  'ann\u00a0@example.com',
  'ann@example.com,',
  'ann@example.com;',
  'ann@example.com?subject=x',
  'ann@example.com, bob@example.com',
  '@example.org:ann@example.com',
  'ann@bob@example.com',
  'ann@[127.0.0.1]',
  'ann@example..com',
  'ann@example.com..',
  'ann@exa%6dple.com',
  'ann@example\u3002com',
  'ann\uff20example.com',
  'ann@example.com/',
  'an\u0001n@example.com',
  'ann',
  'ann@',
  '@example.com',
];

const INVISIBLE = {
  'a zero-width space': '\u200b',
  'a zero-width joiner': '\u200d',
  'a zero-width non-joiner': '\u200c',
  'a soft hyphen': '\u00ad',
  'a word joiner': '\u2060',
  'a byte order mark': '\ufeff',
  'a direction mark': '\u202e',
  'a grapheme joiner': '\u034f',
  'a Hangul filler': '\u3164',
  'a Mongolian vowel separator': '\u180e',
  'a variation selector': '\ufe0f',
  'a tag character': '\u{e0061}',
};

forRules('spellings of an address', (database) => {
  const clock = new TestClock(Date.parse('2027-01-31T12:00:00Z'));
  const schema = newSchema();
  let billing: Billing;
  let people = 0;

  beforeAll(async () => {
    billing = await database.open(clock, schema, { secrets: { identity: SECRET } });
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    await billing.catalog.saveOffer({
      sku: 'try',
      name: 'Try it',
      price: 0,
      currency: 'USD',
      items: [{ product: 'MSG', quantity: 20 }],
    });
  });

  const identify = (provider: string, externalId: string) =>
    billing.accounts.identify({ provider, externalId });
  const someone = async (): Promise<string> => {
    people += 1;
    return (await identify('app', `person ${people}`)).accountId;
  };
  const claim = (account: string, ...identities: Array<{ provider: string; externalId: string }>) =>
    billing.sales.claimTrial({ account, sku: 'try', identities });
  const invalid = (parameter: string) => ({ code: 'invalid_input', parameter });
  const ALREADY_USED = { allowed: false, reason: 'trial_already_used' };

  test('whatever is more than the address is refused, and nothing is kept of it', async () => {
    const account = await someone();
    const before = (await billing.accounts.list({ search: 'example.com' })).items;
    for (const externalId of WITH_MORE_THAN_THE_ADDRESS) {
      const given = { provider: 'email', externalId };
      await expect(identify('email', externalId)).rejects.toMatchObject(invalid('externalId'));
      await expect(claim(account, given)).rejects.toMatchObject(
        invalid('identities[0].externalId'),
      );
      await expect(
        billing.accounts.identify({ externalId: 'contact', email: externalId }),
      ).rejects.toMatchObject(invalid('email'));
      await expect(billing.accounts.update({ account, email: externalId })).rejects.toMatchObject(
        invalid('email'),
      );
    }
    expect((await billing.accounts.list({ search: 'example.com' })).items).toEqual(before);
    // It was not spent either.
    expect(await claim(account)).toMatchObject({ allowed: true });
  });

  test.each([
    'ann@example.com',
    "o'brien+news@mail.example.co.uk",
    'a.b_c-d=e%f@sub-domain.example',
    'ann@localhost',
    'jürgen@bücher.de',
    '用户@例子.广告',
    'अजय@उदाहरण.भारत',
    'ann@xn--bcher-kva.de',
    'ann@example.com.',
  ])('%s is an address', async (address) => {
    expect(await identify('email', address)).toMatchObject({ created: true });
    const { accountId } = await billing.accounts.identify({ externalId: address, email: address });
    expect(await billing.accounts.get({ account: accountId })).toMatchObject({ email: address });
  });

  test.each(Object.entries(INVISIBLE))('%s makes nobody another person', async (name, mark) => {
    const id = name.replaceAll(' ', '-');
    for (const [provider, plain, spelled] of [
      ['email', `${id}@example.com`, `${mark}${id.replace('-', `-${mark}`)}@exa${mark}mple.com`],
      ['telegram', id, id.replace('-', `${mark}-${mark}`)],
    ] as const) {
      const first = await someone();
      expect(await claim(first, { provider, externalId: plain })).toMatchObject({ allowed: true });
      const given = { provider, externalId: spelled };
      expect(await claim(await someone(), given)).toMatchObject(ALREADY_USED);
      const { accountId, trialEligible } = await identify(provider, spelled);
      expect(trialEligible).toBe(false);
      expect(await claim(accountId)).toMatchObject(ALREADY_USED);
    }
  });

  test('a mark between a letter and its accent, or in a number, is nothing either', () => {
    const canonical = (provider: string, externalId: string) =>
      canonicalIdentity({ provider, externalId });
    expect(canonical('app', 'e\u200d\u0301')).toBe(canonical('app', 'é'));
    expect(canonical('app', 'ann \u200b')).toBe(canonical('app', 'ann'));
    expect(canonical('phone', '\u202a+49 30 123\u200b456\u202c')).toBe(
      canonical('phone', '+4930123456'),
    );
  });

  test('an address is kept for invoices as it is seen', async () => {
    const account = await someone();
    await billing.accounts.update({ account, email: 'a\u00adnn@exa\u200bmple.com' });
    expect(await billing.accounts.get({ account })).toMatchObject({ email: 'ann@example.com' });
  });

  describe('what was stored before', () => {
    const remember = (provider: string, externalId: string, account: string) =>
      billing.transaction((tx) =>
        tx
          .withSchema(schema)
          .table('identities')
          .insert({
            provider,
            external_id: externalId,
            account_id: account,
            created_at: new Date(clock.now()).toISOString(),
          }),
      );
    /** As it was hashed when marks counted. */
    const rememberTrial = (canonical: string) =>
      billing.transaction((tx) =>
        tx
          .withSchema(schema)
          .table('trial_hashes')
          .insert({
            hash: createHmac('sha256', SECRET).update(canonical, 'utf8').digest(),
            key_id: 'before',
            claimed_at: new Date(clock.now()).toISOString(),
          }),
      );

    test.each(['bo <bo@example.com>', 'mailto:bo@example.com', 'b\u200bo@example.com'])(
      '%j leads to its account, and had its trial',
      async (externalId) => {
        const account = await someone();
        await remember('email', externalId, account);
        expect(await identify('email', externalId)).toMatchObject({
          accountId: account,
          created: false,
          trialEligible: true,
        });
        const reference = { provider: 'email', externalId };
        expect(await billing.accounts.get({ account: reference })).toMatchObject({
          accountId: account,
        });
        await rememberTrial(`email\u0000${externalId}`);
        expect(await identify('email', externalId)).toMatchObject({ trialEligible: false });
        expect(await claim(account)).toMatchObject(ALREADY_USED);
      },
    );

    test('with and without a mark, both of one account, each is spent', async () => {
      const account = await someone();
      await remember('telegram', 'cy\u200b', account);
      await rememberTrial('telegram\u0000cy\u200b');
      const given = { provider: 'telegram', externalId: 'cy' };
      expect(await claim(account, given)).toMatchObject(ALREADY_USED);
    });
  });

  test('identities that are moved to `email` are looked at, too', async () => {
    for (const externalId of ['dee@example.com', 'Dee <dee@example.com>']) {
      await identify('crm', externalId);
    }
    const moved = await billing.accounts.migrateIdentities({
      from: { provider: 'crm' },
      to: 'email',
    });
    expect(moved).toMatchObject({
      given: 1,
      conflicts: [{ externalId: 'Dee <dee@example.com>', reason: 'invalid' }],
    });
  });
});
