import type { IDataObject } from 'n8n-workflow';

import { engines } from '../../nodes/shared/engines';
import { optionsOf } from '../../nodes/shared/connection';
import type { WorkflowNode } from '../../scripts/workflow-runner';
import {
  balanceOf,
  by,
  chain,
  credential,
  customer,
  does,
  fromItem,
  ofOffer,
  ourNode,
  PROVIDER,
  run,
  schema,
  runnerWith,
  withSoundLedger,
} from './billing-in-workflows';

withSoundLedger();

interface Case {
  type: string;
  parameters: Record<string, unknown>;
  /** Outputs: where served items go, and where those go that failed. */
  served: number;
  failed: number;
  /** What a served item shows. */
  serves: (item: IDataObject) => unknown;
}

/** Parameters by item: `{ id, amount, product, key }`. */
const about = {
  provider: PROVIDER,
  externalId: '={{ $json.id }}',
  product: { __rl: true, mode: 'key', value: '={{ $json.product }}' },
};
const offer = { __rl: true, mode: 'sku', value: 'messages-10' };

const cases: Case[] = [
  {
    type: 'checkQuota',
    parameters: { ...about, amount: '={{ $json.amount }}' },
    served: 0,
    failed: 1,
    serves: (item) => (item.quota as IDataObject).allowed,
  },
  {
    type: 'consume',
    parameters: { ...about, amount: '={{ $json.amount }}' },
    served: 0,
    failed: 1,
    serves: (item) => (item.usage as IDataObject).allowed,
  },
  {
    type: 'grantOffer',
    parameters: { provider: PROVIDER, externalId: '={{ $json.id }}', offer },
    served: 0,
    failed: 1,
    serves: (item) => !(item.replayed as boolean),
  },
  {
    type: 'billing',
    parameters: { resource: 'balance', operation: 'get', ...about },
    served: 0,
    failed: 0,
    serves: (item) => item.product === 'messages',
  },
  {
    type: 'billing',
    parameters: { resource: 'hold', operation: 'create', ...about, amount: '={{ $json.amount }}' },
    served: 0,
    failed: 0,
    serves: (item) => item.allowed,
  },
];

const good = { id: 'good', amount: 1, product: 'messages' };
const bad = { id: 'stranger', amount: 1, product: 'messages' };

const unknownAccount = {
  error: 'There is no account with "stranger" of provider "telegram".',
  details: {
    code: 'unknown_account',
    parameter: 'account',
    advice: expect.stringContaining('Account: Identify'),
  },
};

beforeAll(() => customer('good', { messages: '100' }));

describe.each(cases)('$type with one bad item of three', ({ type, parameters, ...outputs }) => {
  const node = (settings: Partial<WorkflowNode>) => ourNode('Node', type, parameters, settings);

  it('continues: the two others are served, the bad one is not among the granted', async () => {
    const { status, items, json } = await run(
      [good, bad, good],
      node({ onError: 'continueRegularOutput' }),
    );
    expect(status).toBe('success');
    const failed = items('Node', outputs.failed).filter((item) => item.json.error !== undefined);
    // Beside those that were denied it keeps what it was, so that the customer can be told.
    const input = outputs.failed === outputs.served ? {} : bad;
    expect(failed).toEqual([{ json: { ...input, ...unknownAccount }, pairedItem: { item: 1 } }]);
    const served = json('Node', outputs.served).filter((item) => item.error === undefined);
    expect(served).toHaveLength(2);
    expect(served.every(outputs.serves)).toBe(true);
    if (outputs.failed !== outputs.served) {
      expect(json('Node', outputs.served).some((item) => item.error !== undefined)).toBe(false);
    }
  });

  it('sends it to the error output, with its fields', async () => {
    const { status, json } = await run([good, bad, good], node({ onError: 'continueErrorOutput' }));
    expect(status).toBe('success');
    expect(json('Node', outputs.failed + 1)).toEqual([{ ...bad, ...unknownAccount }]);
    expect(json('Node', outputs.served)).toHaveLength(2);
    expect(json('Node', outputs.served).every(outputs.serves)).toBe(true);
    if (outputs.failed !== outputs.served) expect(json('Node', outputs.failed)).toEqual([]);
  });

  it('stops the workflow at it when nothing else is said', async () => {
    const { status, error } = await run([good, bad, good], node({}));
    expect(status).toBe('error');
    expect(error).toMatchObject({ message: unknownAccount.error, node: 'Node', itemIndex: 1 });
  });

  it('never grants when the database cannot be opened', async () => {
    const nowhere = {
      database: 'postgres',
      host: '127.0.0.1',
      port: 1,
      databaseName: 'x',
      user: 'x',
    };
    const runner = runnerWith({}, { billingDatabaseApi: nowhere });
    const { status, json } = await runner.run(chain(node({ onError: 'continueRegularOutput' })), {
      items: [good, good],
    });
    expect(status).toBe('success');
    const input = outputs.failed === outputs.served ? {} : good;
    expect(json('Node', outputs.failed)).toEqual([
      expect.objectContaining({
        ...input,
        error: expect.stringContaining('No database server answers'),
        details: expect.objectContaining({ code: 'database_unavailable' }),
      }),
      expect.objectContaining({ error: expect.any(String) }),
    ]);
    if (outputs.failed !== outputs.served) expect(json('Node', outputs.served)).toEqual([]);

    const stopped = await runner.run(chain(node({})), { items: [good] });
    expect(stopped.error).toMatchObject({
      message: expect.stringContaining('No database server answers'),
      description: expect.stringContaining('Check host and port'),
    });
    expect(engines.size).toBe(1); // only the one of this suite: what did not open is not kept
  });

  it('never grants when the credential cannot be read', async () => {
    const { json } = await runnerWith({}, {}).run(
      chain(node({ onError: 'continueRegularOutput' })),
      { items: [good] },
    );
    expect(json('Node', outputs.failed)).toEqual([
      expect.objectContaining({ error: expect.stringContaining('No credentials') }),
    ]);
    if (outputs.failed !== outputs.served) expect(json('Node', outputs.served)).toEqual([]);
  });
});

describe('values that no item should have', () => {
  const consume = (parameters: Record<string, unknown>) =>
    ourNode(
      'Node',
      'consume',
      { ...fromItem, ...parameters },
      { onError: 'continueRegularOutput' },
    );

  it.each([
    ['a missing amount', { id: 'good' }, '"Amount" is missing.', 'amount'],
    ['an amount of null', { id: 'good', amount: null }, '"Amount" is missing.', 'amount'],
    ['an empty amount', { id: 'good', amount: '' }, '"Amount" is missing.', 'amount'],
    ['an amount of 0', { id: 'good', amount: 0 }, '"Amount" must be greater than 0.', 'amount'],
    ['a negative amount', { id: 'good', amount: -1 }, '"Amount" must be greater than 0.', 'amount'],
    [
      'half a message',
      { id: 'good', amount: 0.5 },
      /^"Amount" is 0\.5, but .* no decimals\.$/,
      'amount',
    ],
    [
      'a word',
      { id: 'good', amount: 'many' },
      /^"Amount" must be a plain decimal number/,
      'amount',
    ],
    [
      'a comma',
      { id: 'good', amount: '9,99' },
      '"Amount" must be a plain decimal number: write 9.99, not 9,99.',
      'amount',
    ],
    [
      'a number too large',
      { id: 'good', amount: 2 ** 60 },
      /^"Amount" must be a decimal string/,
      'amount',
    ],
    ['a list', { id: 'good', amount: [1] }, /^"Amount" must be a plain decimal number/, 'amount'],
    ['a missing customer', { amount: 1 }, '"External ID" is missing.', 'externalId'],
    ['an empty customer', { id: '', amount: 1 }, '"External ID" is missing.', 'externalId'],
    [
      'a blank customer',
      { id: '  ', amount: 1 },
      /^"External ID" must not be empty/,
      'account.externalId',
    ],
    [
      'an object for a customer',
      { id: { a: 1 }, amount: 1 },
      /^"External ID" must be text/,
      'account.externalId',
    ],
  ])('%s fails alone and names the field', async (_, item, message, parameter) => {
    const before = Number(await balanceOf('good'));
    const { json } = await run([{ id: 'good', amount: 1 }, item as IDataObject], consume({}));
    expect(json('Node', 0)).toHaveLength(1);
    expect(json('Node', 1)).toEqual([
      {
        ...item,
        error: typeof message === 'string' ? message : expect.stringMatching(message),
        details: expect.objectContaining({ code: 'invalid_input', parameter }),
      },
    ]);
    expect(Number(await balanceOf('good'))).toBe(before - 1);
  });

  it.each([
    ['NaN', '={{ NaN }}'],
    ['Infinity', '={{ 1e400 }}'],
  ])('%s for an amount is refused by name', async (_, amount) => {
    const { json } = await run([{ id: 'good' }], consume({ amount }));
    expect(json('Node', 1)[0]?.error).toMatch(/^"Amount" must be a decimal string/);
  });

  it.each([
    ['provider', { provider: '={{ $json.nothing }}' }, '"Provider" is missing.'],
    ['key', { idempotencyKey: '={{ $json.nothing }}' }, '"Idempotency Key" is missing.'],
    [
      'product',
      { product: { __rl: true, mode: 'key', value: '={{ $json.nothing }}' } },
      '"Product" is missing.',
    ],
    [
      'long key',
      { idempotencyKey: 'k'.repeat(10_000) },
      '"Idempotency Key" must not be longer than 255 characters.',
    ],
    ['metadata', { options: { metadata: 'not json' } }, '"Metadata" is not valid JSON.'],
    ['metadata list', { options: { metadata: '[1]' } }, '"Metadata" must be an object.'],
  ])('a bad %s is refused by name, never defaulted', async (_, parameters, message) => {
    const { json } = await run([{ id: 'good', amount: 1 }], consume(parameters));
    expect(json('Node', 0)).toEqual([]);
    expect(json('Node', 1)[0]?.error).toBe(message);
  });

  it.each([
    ['consume', 1, { ...fromItem, product: { __rl: true, mode: 'key', value: 'Messages' } }],
    ['checkQuota', 1, { ...fromItem, product: { __rl: true, mode: 'key', value: 'MESSAGES' } }],
  ])(
    '%s says which product was meant, where only its case differs',
    async (type, output, wrong) => {
      const node = ourNode('Node', type, wrong, { onError: 'continueRegularOutput' });
      const { json } = await run([{ id: 'good', amount: 1 }], node);
      expect(json('Node', output)[0]?.error).toMatch(/^There is no .* Did you mean messages\?$/);
    },
  );

  it('an offer, too; and nothing where nothing is like it', async () => {
    const grant = (sku: string) =>
      ourNode(
        'Node',
        'grantOffer',
        {
          provider: PROVIDER,
          externalId: '={{ $json.id }}',
          offer: { __rl: true, mode: 'sku', value: sku },
        },
        { onError: 'continueRegularOutput' },
      );
    const errorOf = async (sku: string) =>
      (await run([{ id: 'good' }], grant(sku))).json('Node', 1)[0]?.error;
    expect(await errorOf('Messages-10')).toBe(
      'There is no offer "Messages-10". Did you mean messages-10?',
    );
    expect(await errorOf('massages')).toBe('There is no offer "massages".');
  });

  it('an expression that fails is the item’s failure, not a grant', async () => {
    const parameters = { externalId: "={{ $('Nowhere').item.json.id }}" };
    const { json } = await run([{ id: 'good', amount: 1 }], consume(parameters));
    expect(json('Node', 0)).toEqual([]);
    expect(json('Node', 1)[0]?.error).toEqual(expect.any(String));
  });
});

describe('what was filled in wrong is answered in the words of the editor', () => {
  const offer = {
    ...{ sku: 'worded', name: 'Worded', price: '1.00', currency: 'USD' },
    items: { item: [{ product: 'messages', quantity: 1 }] },
  };
  const priced = (pricing: object) => ({ ...offer, additionalFields: { pricing: { pricing } } });
  const settings = (more: object) => ({ settings: more });
  const picked = (value: string) => ({ __rl: true, mode: 'key', value });

  beforeAll(() => customer('worded', { messages: '5' }));

  it.each<[string, string, Record<string, unknown>, string]>([
    ['offer', 'upsert', priced({ model: 'package' }), '"Package Size" is missing.'],
    [
      'product',
      'upsert',
      { key: 'worded', name: 'Worded', additionalFields: { usageThresholds: '80%' } },
      '"Usage Thresholds: 1" must be a plain decimal number',
    ],
    [
      'taxRate',
      'upsert',
      { key: 'worded', name: 'Worded', percent: '19', additionalFields: { country: 'Germany' } },
      '"Country" must be a country of ISO 3166 such as DE',
    ],
    [
      'invoice',
      'saveSettings',
      settings({ locale: 'german' }),
      '"Locale" must be a locale such as',
    ],
    ['subscription', 'start', { ...by('worded'), ...ofOffer('messages-10') }, '"Sold: Recurring"'],
    [
      'balance',
      'exchange',
      { ...by('worded'), ...ofOffer('messages-10'), quantity: 1 },
      'or price it in a product with "Is Currency" on.',
    ],
    [
      'balance',
      'transfer',
      { ...by('worded'), product: picked('messages'), amount: 1, toProduct: picked('messages') },
      'by "Target Product"',
    ],
    ['sandbox', 'advance', { moveBy: 'duration' }, 'Use a credential with "Sandbox" on'],
  ])('%s: %s', async (resource, operation, parameters, words) => {
    await expect(does(resource, operation, parameters)).rejects.toThrow(words);
  });
});

it('works on the database of the credential that the tests look into', () => {
  const { connection, schema: named } = optionsOf(credential);
  if (credential.database === 'embedded') expect(connection).toEqual({ embedded: 'memory' });
  else expect(connection).toMatchObject({ connectionString: credential.url });
  expect(named).toBe(schema);
});
