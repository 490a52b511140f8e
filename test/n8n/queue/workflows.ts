/** What the test runs in queue mode. */
import type { WorkflowInput, WorkflowNode } from '../real-n8n';

const credentials = { billingDatabaseApi: { id: 'billing', name: 'Billing' } };

const node = (
  name: string,
  type: string,
  typeVersion: number,
  parameters: Record<string, unknown>,
): WorkflowNode => ({
  name,
  type,
  typeVersion,
  position: [0, 0],
  parameters,
  ...(type.startsWith('n8n-nodes-billing.') && { credentials }),
});

const chain = (name: string, first: WorkflowNode, second: WorkflowNode): WorkflowInput => ({
  name,
  nodes: [first, second],
  connections: { [first.name]: { main: [[{ node: second.name, type: 'main', index: 0 }]] } },
});

const webhook = (path: string): WorkflowNode => ({
  ...node('In', 'n8n-nodes-base.webhook', 2.1, {
    httpMethod: 'POST',
    path,
    responseMode: 'lastNode',
    options: {},
  }),
  webhookId: path,
});

/** A message is charged, once however often it comes. */
export const charge = chain(
  'Charge',
  webhook('charge'),
  node('Consume', 'n8n-nodes-billing.consume', 1, {
    accountBy: 'externalId',
    provider: 'default',
    externalId: '={{ $json.body.customer }}',
    product: { __rl: true, value: 'MESSAGES', mode: 'key' },
    amount: 1,
    idempotencyKey: '={{ $json.body.messageId }}',
    options: {},
  }),
);

export const dispatch = chain('Dispatch', webhook('dispatch'), {
  ...node('Run', 'n8n-nodes-billing.dispatchInvoices', 1, {
    operation: 'runBillingCycle',
    options: {},
  }),
  alwaysOutputData: true,
});

/** Each event is told to the test, by a step that takes a while. */
export const tell = (url: string): WorkflowInput =>
  chain(
    'Tell',
    node('Events', 'n8n-nodes-billing.billingTrigger', 1, {
      events: ['quota.low'],
      reader: 'queue-test',
      options: { runDue: false },
    }),
    node('Tell', 'n8n-nodes-base.httpRequest', 4.2, {
      url: `=${url}/?event={{ $json.eventId }}`,
      options: {},
    }),
  );
