import { LoadOptionsContext } from 'n8n-core';
import {
  Workflow,
  type ICredentialDataDecryptedObject,
  type ICredentialsHelper,
  type IDataObject,
  type ILoadOptionsFunctions,
  type INodeParameters,
  type INodeType,
  type IWorkflowExecuteAdditionalData,
} from 'n8n-workflow';

import type { Billing } from '../../engine';
import { optionsOf, type BillingDatabaseCredential } from '../../nodes/shared/connection';
import { engines } from '../../nodes/shared/engines';
import { standIns } from '../../scripts/stand-ins';
import {
  createWorkflowRunner,
  type NodeTypeInstance,
  type WorkflowJson,
  type WorkflowNode,
  type WorkflowRun,
  type WorkflowRunner,
} from '../../scripts/workflow-runner';
import { isLong, newSchema, rulesKinds, serverUrl } from '../engine/each-database';

/**
 * What the node suites share: a database (a schema of the server, which costs a fifth of an embedded
 * one; that is for `test:long`), and workflows small enough to be written down in a test.
 */

// Whoever sends events by HTTP needs one; it is none that anybody uses.
const webhookSecret = `whsec_${Buffer.alloc(32, 'test').toString('base64')}`;

export const credential: BillingDatabaseCredential & ICredentialDataDecryptedObject =
  rulesKinds[0] === 'server' && !isLong
    ? {
        database: 'postgres',
        connectBy: 'url',
        url: serverUrl(),
        schema: newSchema(),
        // Without one no trial can be claimed on a server.
        identitySecret: 'a secret of the tests alone',
        webhookSecret,
      }
    : { database: 'embedded', folder: 'memory', webhookSecret };

/** Where its tables are, for SQL. */
export const schema = credential.schema ?? 'billing';

/** Does work on the very engine that the nodes use. */
export const onEngine = <T>(work: (billing: Billing) => Promise<T>): Promise<T> =>
  engines.use(optionsOf(credential), work);

export const PROVIDER = 'telegram';

/** A catalog to work on: messages in whole units, credits with decimals, packs of both. */
export async function saveCatalog(): Promise<void> {
  await onEngine(async ({ catalog }) => {
    await catalog.saveProduct({ key: 'messages', name: 'Messages', unit: 'message' });
    await catalog.saveProduct({ key: 'credits', name: 'Credits', unit: 'credit', decimals: 8 });
    await catalog.saveOffer({
      sku: 'messages-10',
      name: '10 messages',
      price: '1.00',
      currency: 'USD',
      items: [{ product: 'messages', quantity: 10 }],
    });
    await catalog.saveOffer({
      sku: 'both',
      name: 'Messages and credits',
      price: '5.00',
      currency: 'USD',
      public: false,
      items: [
        { product: 'messages', quantity: 3 },
        { product: 'credits', quantity: '1.5', expiresAfter: { unit: 'month', count: 1 } },
      ],
    });
  });
}

/** A new customer who has some units. */
export async function customer(
  externalId: string,
  units: Partial<Record<'messages' | 'credits', string>> = {},
): Promise<string> {
  return onEngine(async ({ accounts, ledger }) => {
    const { accountId } = await accounts.identify({ provider: PROVIDER, externalId });
    for (const [product, quantity] of Object.entries(units)) {
      await ledger.grant({ account: accountId, product, quantity });
    }
    return accountId;
  });
}

export const balanceOf = (externalId: string, product = 'messages'): Promise<string | null> =>
  onEngine(async ({ ledger }) => {
    const balance = await ledger.balance({ account: { provider: PROVIDER, externalId }, product });
    return balance.available;
  });

/** How many uses the ledger holds for a customer. */
export const usesOf = (externalId: string): Promise<number> =>
  onEngine(async ({ ledger }) => {
    const account = { provider: PROVIDER, externalId };
    return (await ledger.entries({ account, kind: 'use', limit: 1000 })).items.length;
  });

/** Hooks of every node suite: the catalog before, and at the end every balance recomputed. */
export function withSoundLedger(): void {
  beforeAll(saveCatalog);
  afterAll(async () => {
    expect(await onEngine((billing) => billing.verify())).toMatchObject({ ok: true, problems: [] });
    await engines.close();
  });
}

const credentials = { billingDatabaseApi: credential };

export const runnerWith = (
  more: Record<string, NodeTypeInstance> = {},
  given: Record<string, ICredentialDataDecryptedObject> = credentials,
): WorkflowRunner =>
  createWorkflowRunner({ credentials: given, standIns: { ...standIns, ...more } });

/** One of our nodes, with its credential. */
export const ourNode = (
  name: string,
  type: string,
  parameters: Record<string, unknown>,
  settings: Partial<WorkflowNode> = {},
): WorkflowNode => ({
  name,
  type: type.includes('.') ? type : `n8n-nodes-billing.${type}`,
  typeVersion: 1,
  parameters: parameters as WorkflowNode['parameters'],
  credentials: { billingDatabaseApi: { id: '1', name: 'Billing' } },
  ...settings,
});

export const trigger: WorkflowNode = {
  name: 'Start',
  type: 'n8n-nodes-base.manualTrigger',
  typeVersion: 1,
};

/** Nodes one after the other, each fed by the first output of the one before. */
export function chain(...nodes: WorkflowNode[]): WorkflowJson {
  const all = [trigger, ...nodes];
  return {
    nodes: all,
    connections: Object.fromEntries(
      all
        .slice(0, -1)
        .map((node, index) => [
          node.name,
          { main: [[{ node: all[index + 1]!.name, type: 'main' as const, index: 0 }]] },
        ]),
    ),
  };
}

/** Runs nodes one after the other on items. */
export const run = (items: IDataObject[], ...nodes: WorkflowNode[]): Promise<WorkflowRun> =>
  runnerWith().run(chain(...nodes), { items });

/** The Billing node with one of its operations. */
export const billing = (
  resource: string,
  operation: string,
  parameters: Record<string, unknown> = {},
  settings: Partial<WorkflowNode> = {},
): WorkflowNode => ourNode('Billing', 'billing', { resource, operation, ...parameters }, settings);

/** Runs an operation of the Billing node for items and gives what comes out. */
export async function does(
  resource: string,
  operation: string,
  parameters: Record<string, unknown> = {},
  items: IDataObject[] = [{}],
  settings: Partial<WorkflowNode> = {},
): Promise<IDataObject[]> {
  const node = billing(resource, operation, parameters, settings);
  const { error, json } = await run(items, node);
  if (error !== null) throw new Error([error.message, error.description].join(' '));
  return json('Billing');
}

export const by = (externalId: string) => ({ provider: PROVIDER, externalId });

/** A product picked by its key. */
export const ofProduct = (key: string) => ({ product: { __rl: true, mode: 'key', value: key } });

/** An offer picked by its SKU. */
export const ofOffer = (sku: string) => ({ offer: { __rl: true, mode: 'sku', value: sku } });

/** The same account under the names that a second account's parameters have. */
export const otherBy = (prefix: string, externalId: string) => ({
  [`${prefix}Provider`]: PROVIDER,
  [`${prefix}ExternalId`]: externalId,
});

/** An operation of the Billing node as the tool of an agent: what the agent is told. */
export async function toldToAgent(
  resource: string,
  operation: string,
  parameters: Record<string, unknown> = {},
): Promise<unknown> {
  const tool = billing(resource, operation, parameters, {
    type: 'n8n-nodes-billing.billingTool',
  });
  const agent: WorkflowNode = {
    name: 'Agent',
    type: '@n8n/n8n-nodes-langchain.agent',
    typeVersion: 3,
    parameters: { calls: JSON.stringify([{ node: 'Billing', input: {}, id: 'call-1' }]) },
  };
  const workflow: WorkflowJson = {
    nodes: [trigger, agent, tool],
    connections: {
      Start: { main: [[{ node: 'Agent', type: 'main', index: 0 }]] },
      Billing: { ai_tool: [[{ node: 'Agent', type: 'ai_tool', index: 0 }]] },
    },
  };
  const { json } = await runnerWith().run(workflow, { items: [{}] });
  return (json('Agent')[0]?.answer as unknown[])[0];
}

/** Parameters that take everything from the item: `{ id, amount, key }`. */
export const fromItem = {
  accountBy: 'externalId',
  provider: PROVIDER,
  externalId: '={{ $json.id }}',
  product: { __rl: true, mode: 'key', value: 'messages' },
  amount: '={{ $json.amount }}',
};

/** n8n's own context for the pickers of a node, with what is chosen in the node so far. */
export function pickerContext(
  nodeType: INodeType,
  parameters: INodeParameters = {},
): ILoadOptionsFunctions {
  const node = {
    id: 'node-1',
    name: 'Node',
    type: 'node',
    typeVersion: 1,
    position: [0, 0] as [number, number],
    parameters,
    credentials: { billingDatabaseApi: { id: '1', name: 'Billing' } },
  };
  const workflow = new Workflow({
    nodes: [node],
    connections: {},
    active: false,
    nodeTypes: {
      getByName: () => nodeType,
      getByNameAndVersion: () => nodeType,
      getKnownTypes: () => ({}),
    },
  });
  const credentialsHelper: Partial<ICredentialsHelper> = {
    getDecrypted: async () => ({ ...credential }),
    isCredentialUsableByNode: () => true,
  };
  return new LoadOptionsContext(
    workflow,
    node,
    { credentialsHelper, currentNodeParameters: parameters } as IWorkflowExecuteAdditionalData,
    '',
  );
}
