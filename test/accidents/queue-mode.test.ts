import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';

import type { ICredentialTestFunctions } from 'n8n-workflow';

import { Billing } from '../../nodes/Billing/Billing.node';
import { optionsOf, type BillingDatabaseCredential } from '../../nodes/shared/connection';
import { billingDatabaseTest } from '../../nodes/shared/credentialTest';
import { engines } from '../../nodes/shared/engines';
import { isQueueMode } from '../../nodes/shared/queueMode';
import { billing, credential, ourNode, pickerContext, run } from '../nodes/billing-in-workflows';
import { N8nWithTriggers } from '../nodes/n8n-with-triggers';

/**
 * The accident: in n8n's queue mode each process opened an embedded database of its own. One customer
 * with 10 free messages had 20, balances ran 8, 9, 9, 8, and no execution failed.
 */

const REFUSED =
  'n8n runs in queue mode, whose processes cannot share an embedded database: choose "Postgres Server" under "Database" of the credential.';

const { EXECUTIONS_MODE: modeBefore, EXECUTIONS_MODE_FILE: fileBefore } = process.env;

function setMode(mode: string | undefined, file?: string): void {
  for (const [name, value] of Object.entries({ EXECUTIONS_MODE: mode, EXECUTIONS_MODE_FILE: file }))
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
}

beforeAll(() => void Object.assign(credential, { database: 'embedded', folder: 'memory' }));
afterEach(() => setMode(modeBefore, fileBefore));
afterAll(() => engines.close());

const test = (data: BillingDatabaseCredential) =>
  billingDatabaseTest.call({} as ICredentialTestFunctions, {
    id: '1',
    name: 'Billing',
    type: 'billingDatabaseApi',
    data: { ...data },
  });

describe('an embedded credential in queue mode', () => {
  beforeEach(() => setMode('queue'));

  it('is refused by its test, wherever it keeps its data', async () => {
    const folder = path.join(os.tmpdir(), `billing-never-made-${process.pid}`);
    for (const embedded of [{}, { database: 'embedded' as const, folder }, { folder: 'memory' }]) {
      expect(await test(embedded)).toEqual({ status: 'Error', message: REFUSED });
    }
    expect(fs.existsSync(folder)).toBe(false);
    expect(engines.size).toBe(0);
  });

  it('is refused by a node, on every item', async () => {
    const { error } = await run([{}, {}], billing('ledger', 'verify'));
    expect(error?.message).toContain(REFUSED);
    expect(engines.size).toBe(0);
  });

  it.each([
    ['billingTrigger', { events: ['quota.low'], reader: 'r' }],
    ['cardErrorTrigger', { reader: 'r' }],
  ])('is refused by %s as its workflow is activated', async (type, parameters) => {
    const instance = new N8nWithTriggers();
    await expect(instance.listen(ourNode('Trigger', type, parameters))).rejects.toThrow(REFUSED);
  });

  it('is refused by the pickers', async () => {
    const node = new Billing();
    const search = node.methods.listSearch.searchProducts;
    await expect(search.call(pickerContext(node))).rejects.toThrow(REFUSED);
  });

  it('leaves a credential of a server alone', () => {
    const url = 'postgresql://ann:secret@db.example.com/n8n';
    expect(optionsOf({ database: 'postgres', connectBy: 'url', url }).connection).toMatchObject({
      connectionString: url,
    });
  });
});

describe('queue mode is known', () => {
  it('by the environment, as n8n reads it', () => {
    expect(isQueueMode({}, 'start')).toBe(false);
    expect(isQueueMode({ EXECUTIONS_MODE: 'regular' }, 'start')).toBe(false);
    expect(isQueueMode({ EXECUTIONS_MODE: ' "queue" ' }, 'start')).toBe(true);
    expect(isQueueMode({ EXECUTIONS_MODE: 'queue' }, undefined)).toBe(true);
  });

  it('by the file that the environment names', () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'billing-queue-mode-'));
    try {
      const file = path.join(folder, 'mode');
      fs.writeFileSync(file, 'queue\n');
      expect(isQueueMode({ EXECUTIONS_MODE_FILE: file }, 'start')).toBe(true);
      expect(isQueueMode({ EXECUTIONS_MODE: 'regular', EXECUTIONS_MODE_FILE: file })).toBe(false);
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  });

  it('by the command, in a worker that was told nothing', () => {
    expect(isQueueMode({}, 'worker')).toBe(true);
    expect(isQueueMode({}, 'webhook')).toBe(false);
  });
});
