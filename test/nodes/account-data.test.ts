import type { IDataObject } from 'n8n-workflow';

import {
  balanceOf,
  billing,
  by,
  customer,
  does,
  onEngine,
  otherBy,
  PROVIDER,
  run,
  toldToAgent,
  withSoundLedger,
} from './billing-in-workflows';

withSoundLedger();

const update = async (externalId: string, updateFields: object) =>
  (await does('account', 'update', { ...by(externalId), updateFields }))[0]!;

const address = {
  line1: 'Main Street 1',
  line2: '',
  postalCode: '10115',
  city: 'Berlin',
  region: '',
  country: 'DE',
};

describe('Billing: Account, Update', () => {
  it('keeps contact and tax details, and removes what is emptied', async () => {
    await customer('known');
    const known = await update('known', {
      contact: { name: 'Ann', company: 'Example Ltd', phone: '+49 30 1', address: { address } },
      tax: {
        status: 'reverse_charge',
        country: 'DE',
        taxIds: { taxId: [{ type: 'eu_vat', value: 'DE123456789' }] },
      },
    });
    expect(known).toMatchObject({
      contact: {
        name: 'Ann',
        company: 'Example Ltd',
        address: { ...address, line2: null, region: null },
      },
      tax: {
        status: 'reverse_charge',
        country: 'DE',
        taxIds: [{ type: 'eu_vat', value: 'DE123456789' }],
      },
    });
    const changed = await update('known', {
      // As the editor adds an address that nobody fills in.
      contact: { company: '', address: { address: { line1: '', line2: '', country: '' } } },
      tax: { status: 'normal', country: '', taxIds: {} },
    });
    expect(changed).toMatchObject({
      contact: { name: 'Ann', company: null, address: null },
      tax: { status: 'normal', country: null, taxIds: [] },
    });
    await expect(
      update('known', { contact: { address: { address: { ...address, country: 'Berlin' } } } }),
    ).rejects.toThrow(/"Country" must/);
  });
});

describe('Billing: Account, Attach Child and Detach Child', () => {
  const attach = (child: string, parent: string, more: Record<string, unknown> = {}) =>
    does('account', 'attachChild', { ...by(child), ...otherBy('parent', parent), ...more });

  it('lets a child use what its parent has, until it is detached', async () => {
    const parent = await customer('parent', { messages: '10' });
    const child = await customer('child', { messages: '2' });
    await expect(attach('child', 'parent')).rejects.toThrow(/units/);
    const key = { idempotencyKey: '={{ "family" }}' };
    const more = { ...key, options: { moveUnits: true } };
    const [attached] = await attach('child', 'parent', more);
    expect(attached).toMatchObject({ accountId: child, parentId: parent, replayed: false });
    expect(await attach('child', 'parent', more)).toEqual([{ ...attached, replayed: true }]);
    expect([await balanceOf('parent'), await balanceOf('child')]).toEqual(['12', '12']);
    const [detached] = await does('account', 'detachChild', by('child'));
    expect(detached).toMatchObject({ accountId: child, parentId: null });
    expect([await balanceOf('parent'), await balanceOf('child')]).toEqual(['12', '0']);
  });

  it('says whose account is missing, on the item', async () => {
    await customer('single');
    await expect(attach('single', '={{ $json.nothing }}')).rejects.toThrow(
      '"Parent Account External ID" is missing.',
    );
    await expect(attach('single', 'single')).rejects.toThrow(/its own parent/);
    const node = billing(
      'account',
      'attachChild',
      { ...by('={{ $json.id }}'), ...otherBy('parent', 'single') },
      { onError: 'continueRegularOutput' },
    );
    await customer('another');
    const { json } = await run([{ id: 'single' }, { id: 'another' }], node);
    expect(json('Billing')).toMatchObject([
      { details: { code: 'merge_conflict' } },
      { parentId: expect.any(String) as string },
    ]);
  });
});

describe('Billing: Account, Migrate Identities', () => {
  const migrate = (parameters: Record<string, unknown>) =>
    does('account', 'migrateIdentities', { toProvider: 'shop', ...parameters });

  it('gives identities from another provider, by a map, or from metadata', async () => {
    await onEngine(async ({ accounts }) => {
      await accounts.identify({ provider: 'site', externalId: '17', metadata: { chat: 'c17' } });
      await accounts.identify({ provider: 'site', externalId: '18' });
    });
    const map = [{ externalId: '17', to: 'seventeen' }];
    const parameters = { fromProvider: 'site', options: { map: JSON.stringify(map) } };
    expect(await migrate({ ...parameters, dryRun: true })).toMatchObject([
      { given: 1, dryRun: true },
    ]);
    expect(await migrate(parameters)).toMatchObject([{ given: 1, conflicting: 0, dryRun: false }]);
    expect(
      await does('account', 'get', { provider: 'shop', externalId: 'seventeen' }),
    ).toMatchObject([{ metadata: { chat: 'c17' } }]);
    const metadata = { takeFrom: 'metadata', fromMetadata: 'chat', toProvider: 'chat' };
    expect(await migrate(metadata)).toMatchObject([{ given: 1 }]);
    await expect(migrate({ ...parameters, options: { map: '[{' } })).rejects.toThrow(
      '"Map" is not valid JSON.',
    );
    await expect(migrate({ fromProvider: '={{ $json.nothing }}' })).rejects.toThrow(
      '"From Provider" is missing.',
    );
  });

  it('an agent changes no families and no identities', async () => {
    await customer('bound');
    for (const operation of ['attachChild', 'detachChild', 'migrateIdentities']) {
      const more = { ...otherBy('parent', 'parent'), fromProvider: 'site', toProvider: 'shop' };
      expect(await toldToAgent('account', operation, { ...by('bound'), ...more })).toEqual({
        error: expect.stringContaining('is not for AI agents') as string,
      });
    }
  });
});

describe('Billing: Personal Data, Merge', () => {
  const merge = (into: string, from: string, more: Record<string, unknown> = {}) =>
    does('personalData', 'merge', { ...by(into), ...otherBy('from', from), ...more });

  it('S6: says what would move, then moves it', async () => {
    const stays = await customer('stays', { messages: '10' });
    await onEngine(async ({ accounts, ledger }) => {
      const { accountId } = await accounts.identify({ provider: 'email', externalId: 'g@x.com' });
      await ledger.grant({ account: accountId, product: 'messages', quantity: 5 });
    });
    const from = { fromProvider: 'email', fromExternalId: 'g@x.com' };
    const parameters = { ...by('stays'), ...from };
    const [dry] = await does('personalData', 'merge', { ...parameters, dryRun: true });
    expect(dry).toMatchObject({ dryRun: true });
    expect(await balanceOf('stays')).toBe('10');
    const [merged] = await does('personalData', 'merge', parameters);
    expect(merged).toMatchObject({ dryRun: false, merged: { accountId: stays } });
    expect(merged!.counts).toEqual(dry!.counts);
    expect(await balanceOf('stays')).toBe('15');
  });

  it('refuses two IDs of one provider unless told which counts', async () => {
    await customer('one');
    await customer('two');
    await expect(merge('one', 'two')).rejects.toThrow(PROVIDER);
    expect(await merge('one', 'two', { options: { prefer: 'from' } })).toMatchObject([
      { dryRun: false },
    ]);
    await expect(merge('one', '={{ $json.nothing }}')).rejects.toThrow(
      '"Merged Account External ID" is missing.',
    );
  });
});

describe('Billing: Personal Data, Export and Erase', () => {
  it('exports as fields or as a file', async () => {
    const accountId = await customer('exported', { messages: '10' });
    const [record] = await does('personalData', 'export', by('exported'));
    expect(JSON.stringify(record)).toContain(accountId);
    const { items } = await run(
      [{}],
      billing('personalData', 'export', { ...by('exported'), putOutputIn: 'file' }),
    );
    const [item] = items('Billing');
    expect(item!.json).toEqual({ fileName: 'account.json' });
    expect(item!.binary!.data).toMatchObject({ mimeType: 'application/json' });
    const text = Buffer.from(item!.binary!.data!.data, 'base64').toString();
    expect(Object.keys(JSON.parse(text) as IDataObject)).toEqual(Object.keys(record!));
  });

  it('erases whoever is named twice, and nobody else', async () => {
    const accountId = await customer('erased');
    const erase = (confirm: string) => does('personalData', 'erase', { ...by('erased'), confirm });
    await expect(erase('={{ $json.nothing }}')).rejects.toThrow('"Account ID Again" is missing.');
    await expect(erase('0198c0de-7a3b-7c11-9f2e-5d1f6c1f0a11')).rejects.toThrow();
    expect(await erase(accountId)).toMatchObject([{ accountId }]);
    await expect(does('account', 'get', by('erased'))).rejects.toThrow(/account/);
    const account = { __rl: true, mode: 'id', value: accountId };
    expect(await does('account', 'get', { accountBy: 'account', account })).toMatchObject([
      { status: 'closed', identities: [], name: null },
    ]);
  });

  it('an agent neither merges, exports nor erases', async () => {
    const accountId = await customer('private');
    for (const [operation, more] of [
      ['merge', otherBy('from', 'one')],
      ['export', {}],
      ['erase', { confirm: accountId }],
    ] as const) {
      expect(await toldToAgent('personalData', operation, { ...by('private'), ...more })).toEqual({
        error: expect.stringContaining('is not for AI agents') as string,
      });
    }
  });

  it.each([1, 1.1])('is done where it was chosen under Account, in version %d', async (version) => {
    const stays = await customer(`old-${version}`);
    await onEngine(({ accounts }) =>
      accounts.identify({ provider: 'email', externalId: `old-${version}@example.com` }),
    );
    const before = async (operation: string, more: Record<string, unknown>) => {
      const parameters = { accountBy: 'externalId', ...by(`old-${version}`), ...more };
      const settings = { typeVersion: version };
      const { error, json } = await run([{}], billing('account', operation, parameters, settings));
      expect(error).toBe(null);
      return json('Billing')[0];
    };
    const from = { fromProvider: 'email', fromExternalId: `old-${version}@example.com` };
    expect(await before('merge', { ...from, dryRun: true })).toMatchObject({ dryRun: true });
    expect(await before('merge', from)).toMatchObject({ merged: { accountId: stays } });
    expect(JSON.stringify(await before('export', {}))).toContain(stays);
    expect(await before('erase', { confirm: stays })).toMatchObject({ accountId: stays });
  });
});
