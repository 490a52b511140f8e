/** What the tests do with the shipped workflows in a real n8n, as their user and as customers. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { Account, Balance, Entry, SuggestedOffer } from '../../engine';
import { ROOT } from './package';
import {
  outputOf,
  type CredentialInput,
  type Execution,
  type RealN8n,
  type Workflow,
  type WorkflowInput,
} from './real-n8n';

export const WORKFLOWS = path.join(ROOT, 'workflows');
export const PRODUCT = 'MESSAGES';
/** What a new customer has for free. */
export const FREE = 10;

/** The credential that the shipped workflows name. */
export const billingCredential = (
  data: CredentialInput['data'] = { database: 'embedded' },
): CredentialInput => ({ id: 'billing', name: 'Billing', type: 'billingDatabaseApi', data });

/** What the chatbot workflow answers to a message. */
export interface Reply {
  reply: string;
  allowed: boolean;
  remaining: string | null;
  offers?: SuggestedOffer[];
}

export const readShipped = (file: string): WorkflowInput =>
  JSON.parse(fs.readFileSync(path.join(WORKFLOWS, file), 'utf8')) as WorkflowInput;

/** Runs the shipped catalog workflow by a click on its button; gives what its last node shows. */
export async function setUpCatalog(
  n8n: RealN8n,
  workflow: Pick<Workflow, 'id'>,
): Promise<Record<string, unknown>[]> {
  const execution = await n8n.runWorkflow(workflow, 'When clicking ‘Execute workflow’');
  expectSuccess(execution);
  return outputOf(execution, 'List Offers').map((item) => item.json);
}

function expectSuccess(execution: Execution): void {
  const { error, lastNodeExecuted } = execution.data.resultData;
  if (error) throw new Error(`${lastNodeExecuted}: ${error.message} ${error.description ?? ''}`);
  expect(execution.status).toBe('success');
}

/** Sends a message to the published chatbot, as the customer's bot does. */
export async function send(n8n: RealN8n, chatId: string, messageId: number): Promise<Reply> {
  const text = `Message ${messageId}`;
  const answer = await n8n.callWebhook('quota-gated-chatbot', { chatId, messageId, text });
  if (answer.status !== 200) throw new Error(`${answer.status}: ${answer.text}`);
  const reply = answer.json as Reply;
  // An answer is to this message and to no other one.
  if (reply.allowed) expect(reply.reply).toContain(`"${text}"`);
  return reply;
}

/** Sends messages, so many at a time, and gives the replies in their order. */
export async function converse(
  n8n: RealN8n,
  chatId: string,
  messageIds: readonly number[],
  atATime: number,
): Promise<Reply[]> {
  const replies: Reply[] = [];
  let next = 0;
  const talk = async () => {
    while (next < messageIds.length) {
      const index = next++;
      replies[index] = await send(n8n, chatId, messageIds[index]!);
    }
  };
  await Promise.all(Array.from({ length: atATime }, talk));
  return replies;
}

/** Ten answers that count down to 0, and otherwise refusals that say what to buy. */
function expectTenAnswers(replies: readonly Reply[]): void {
  const answers = replies.filter((reply) => reply.allowed);
  const refusals = replies.filter((reply) => !reply.allowed);
  expect(answers.map(({ remaining }) => Number(remaining)).sort((a, b) => a - b)).toEqual(
    numbers(0, FREE - 1),
  );
  expect(refusals).toHaveLength(replies.length - FREE);
  for (const refusal of refusals) {
    expect(refusal.remaining).toBe('0');
    expect(refusal.offers).toMatchObject([
      { sku: 'pack-100', price: '9.00', currency: 'USD' },
      { sku: 'pack-1000', price: '49.00', currency: 'USD', listPrice: '90.00' },
    ]);
    expect(refusal.reply).toContain('100 messages for 9.00 USD');
  }
}

/** What the Billing node says of a customer, asked in a workflow that a person runs by hand. */
export async function readCustomer(
  n8n: RealN8n,
  chatId: string,
): Promise<{ account: Account; balances: Balance[]; uses: Entry[] }> {
  const customer = { accountBy: 'externalId', provider: 'telegram', externalId: chatId };
  const billing = (name: string, resource: string, operation: string, more: object = {}) => ({
    name,
    type: 'n8n-nodes-billing.billing',
    typeVersion: 1,
    position: [0, 0] as [number, number],
    parameters: { resource, operation, ...customer, ...more },
    credentials: { billingDatabaseApi: { id: 'billing', name: 'Billing' } },
  });
  const all = ['Account', 'Balance', 'Entries'];
  const workflow = await n8n.createWorkflow({
    name: `Read customer ${chatId}`,
    nodes: [
      {
        name: 'Start',
        type: 'n8n-nodes-base.manualTrigger',
        typeVersion: 1,
        position: [0, 0],
        parameters: {},
      },
      billing('Account', 'account', 'get'),
      billing('Balance', 'balance', 'get'),
      billing('Entries', 'balance', 'getEntries', { returnAll: true }),
    ],
    connections: {
      Start: { main: [all.map((node) => ({ node, type: 'main', index: 0 }))] },
    },
  });
  const execution = await n8n.runWorkflow(workflow, 'Start');
  expectSuccess(execution);
  const read = (node: string) => outputOf(execution, node).map((item) => item.json as unknown);
  return {
    account: read('Account')[0] as Account,
    balances: read('Balance') as Balance[],
    uses: (read('Entries') as Entry[]).filter((entry) => entry.kind === 'use'),
  };
}

export const numbers = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

/** Twelve messages, four at a time: ten answers, two refusals, and the books say the same. */
export async function expectTwelveServed(
  n8n: RealN8n,
  chatbot: Pick<Workflow, 'id'>,
  chatId: string,
): Promise<void> {
  expectTenAnswers(await converse(n8n, chatId, numbers(1, 12), 4));

  const executions = await n8n.finishedExecutions(chatbot, 12);
  expect(executions).toHaveLength(12);
  executions.forEach(expectSuccess);

  const { balances, uses } = await readCustomer(n8n, chatId);
  expect(balances).toMatchObject([{ product: 'MESSAGES', available: '0', held: '0' }]);
  expect(uses).toHaveLength(10);
}
