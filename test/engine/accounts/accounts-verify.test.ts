import { TestClock, type Billing } from '../../../engine';
import { newSchema, forRules } from '../each-database';

forRules('accounts as verify sees them', (database) => {
  const clock = new TestClock('2027-01-10T12:00:00Z');
  const schema = newSchema();
  let billing: Billing;
  /** The one that stays, its alias, one that was erased, and somebody else. */
  let stays: string;
  let alias: string;
  let erased: string;
  let other: string;

  const identify = async (externalId: string): Promise<string> =>
    (await billing.accounts.identify({ externalId, provider: externalId })).accountId;
  const run = (statement: string, guarded: boolean) =>
    billing.transaction(async (tx) => {
      if (!guarded) await tx.raw('set local session_replication_role = replica');
      await tx.raw(
        statement
          .replaceAll('{schema}', `"${schema}"`)
          .replaceAll('$stays', `'${stays}'`)
          .replaceAll('$alias', `'${alias}'`)
          .replaceAll('$erased', `'${erased}'`)
          .replaceAll('$other', `'${other}'`),
      );
    });

  beforeAll(async () => {
    billing = await database.open(clock, schema);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    stays = await identify('stays');
    alias = await identify('alias');
    erased = await identify('erased');
    other = await identify('other');
    await billing.ledger.grant({ account: alias, product: 'MSG', quantity: 5 });
    await billing.accounts.merge({ into: stays, from: alias });
    await billing.accounts.update({ account: erased, tax: { status: 'exempt' } });
    await billing.accounts.erase({ account: erased, confirm: erased });
  });

  test('counts what it looked at', async () => {
    await billing.accounts.update({ account: other, contact: { name: 'Ada' } });
    expect(await billing.verify()).toMatchObject({
      ok: true,
      checked: { accounts: 4, identities: 3, account_contacts: 1, account_taxes: 1 },
    });
  });

  const ofErased = { code: 'erased', table: 'accounts' };
  test.each([
    [
      `update {schema}.accounts set payer_id = $other where account_id = $alias`,
      `update {schema}.accounts set payer_id = $stays where account_id = $alias`,
      { code: 'alias', table: 'accounts' },
    ],
    [
      `update {schema}.accounts set merged_into = $alias, merged_at = created_at, payer_id = $stays where account_id = $other`,
      `update {schema}.accounts set merged_into = null, merged_at = null, payer_id = account_id where account_id = $other`,
      { code: 'alias', table: 'accounts' },
    ],
    [
      `update {schema}.identities set account_id = $alias where provider = 'alias'`,
      `update {schema}.identities set account_id = $stays where provider = 'alias'`,
      { code: 'alias_identity', table: 'identities' },
    ],
    [
      `update {schema}.grants set remaining = 1, live = true where payer_id = $alias`,
      `update {schema}.grants set remaining = 0, live = false where payer_id = $alias`,
      { code: 'alias_units', table: 'grants' },
    ],
    [
      `update {schema}.accounts set status = 'active' where account_id = $erased`,
      `update {schema}.accounts set status = 'closed' where account_id = $erased`,
      ofErased,
    ],
    [
      `update {schema}.account_details set metadata = '{"a": 1}' where account_id = $erased`,
      `update {schema}.account_details set metadata = '{}' where account_id = $erased`,
      ofErased,
    ],
    [
      `update {schema}.account_contacts set account_id = $erased`,
      `update {schema}.account_contacts set account_id = $other`,
      ofErased,
    ],
    [
      `update {schema}.account_taxes set tax_ids = '[{"type": "eu_vat", "value": "1"}]'`,
      `update {schema}.account_taxes set tax_ids = '[]'`,
      ofErased,
    ],
    [
      `update {schema}.identities set account_id = $erased where provider = 'other'`,
      `update {schema}.identities set account_id = $other where provider = 'other'`,
      ofErased,
    ],
  ])('finds: %s', async (tamper, undo, problem) => {
    await run(tamper, false);
    const { ok, problems } = await billing.verify();
    await run(undo, false);
    expect(ok).toBe(false);
    expect(problems).toContainEqual(expect.objectContaining(problem));
    expect(await billing.verify()).toMatchObject({ ok: true });
  });

  test.each([
    `update {schema}.accounts set merged_into = null, merged_at = null where account_id = $alias`,
    `update {schema}.accounts set erased_at = null where account_id = $erased`,
  ])('the database refuses: %s', async (statement) => {
    await expect(run(statement, true)).rejects.toMatchObject({ code: '23001' });
  });

  test.each([
    `update {schema}.accounts set merged_into = account_id, merged_at = created_at where account_id = $other`,
    `update {schema}.accounts set merged_at = created_at where account_id = $other`,
    `update {schema}.account_contacts set line1 = 'x' where account_id = $other`,
  ])('the database refuses what makes no sense: %s', async (statement) => {
    await expect(run(statement, true)).rejects.toMatchObject({ code: '23514' });
  });
});
