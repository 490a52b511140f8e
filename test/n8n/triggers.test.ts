/** Both triggers in a real n8n, by the shipped workflows, with n8n and the database stopped meanwhile. */
import { openBilling, type Billing } from '../../engine';
import type { PostgresServer } from '../postgres/server.mjs' with { 'resolution-mode': 'import' };
import { billingCredential, readShipped } from './chatbot';
import { MailServer } from './mail-server';
import { RealN8n, outputOf, type ExecutionSummary, type Workflow } from './real-n8n';
import { packedPackage } from './set-up';

const n8n = new RealN8n({ packages: [packedPackage()] });
const mail = new MailServer();
const button = 'When clicking ‘Execute workflow’';

let server: PostgresServer | undefined;
/** The same database, from outside n8n. */
let billing: Billing;
let lowBalance: Workflow;
let cardFailed: Workflow;

/** A customer of whom much is used: the balance falls below the threshold of 100. */
async function runsLow(name: string): Promise<string> {
  const { accountId } = await billing.accounts.identify({
    provider: 'app',
    externalId: name,
    name,
    email: `${name}@example.com`,
  });
  await billing.ledger.grant({ account: accountId, product: 'MESSAGES', quantity: 150 });
  await billing.ledger.consume({ account: accountId, product: 'MESSAGES', amount: 60 });
  return accountId;
}

/** What stands on the list only to say that a trigger could not read. */
const readInVain = new Set<string>();

/** Executions that the trigger began, which are over, oldest first; not those run by hand. */
async function triggered(): Promise<ExecutionSummary[]> {
  const all = (await n8n.getExecutions({ workflowId: lowBalance.id })).filter(
    ({ id }) => !readInVain.has(id),
  );
  const over = all.filter(({ mode, stoppedAt }) => mode === 'trigger' && stoppedAt !== null);
  return over.sort((one, other) => Number(one.id) - Number(other.id));
}

/** Whom the executions of Low Balance were about, once there are that many. */
async function toldAbout(count: number): Promise<unknown[]> {
  const deadline = performance.now() + 90_000;
  let summaries = await triggered();
  while (summaries.length < count) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${count} executions`);
    await new Promise((resolve) => setTimeout(resolve, 200));
    summaries = await triggered();
  }
  const executions = await Promise.all(summaries.map(({ id }) => n8n.getExecution(id)));
  expect(executions.map(({ status }) => status)).toEqual(executions.map(() => 'success'));
  return executions.map((execution) => outputOf(execution, 'Balance Is Low')[0]!.json.account);
}

beforeAll(async () => {
  const postgres = await import('../postgres/server.mjs');
  server = await postgres.PostgresServer.create();
  await mail.start();
  await n8n.start();
  const { url } = server;
  const settings = { database: 'postgres', connectBy: 'url', url, sandbox: true };
  await n8n.importCredentials([billingCredential(settings), mail.credential('smtp')]);
});

afterAll(async () => {
  await billing?.close();
  await n8n.dispose();
  await mail.stop();
  await server?.destroy();
});

test('an active Billing Trigger starts its workflow for an event, which sends an email', async () => {
  const draft = await n8n.createWorkflow(readShipped('low-balance.json'));
  expect((await n8n.runWorkflow(draft, button)).status).toBe('success');
  lowBalance = await n8n.publish(draft);
  billing = await openBilling({ connection: server!.url, sandbox: true });

  const account = await runsLow('ann');
  expect(await toldAbout(1)).toEqual([account]);
  expect(mail.mails).toMatchObject([{ to: 'ann@example.com', subject: 'Only 90 messages left' }]);
});

test('“Fetch test event” shows the newest event at once', async () => {
  const execution = await n8n.runWorkflow(lowBalance, 'Balance Is Low');
  expect(outputOf(execution, 'Balance Is Low')).toMatchObject([
    { json: { type: 'quota.low', data: { product: 'MESSAGES', remaining: '90' } } },
  ]);
});

test('what happened while n8n was stopped comes when it is back, each once', async () => {
  const before = (await triggered()).length;
  await n8n.stop();
  const accounts = [await runsLow('ben'), await runsLow('cleo'), await runsLow('dan')];
  await n8n.start();
  const told = await toldAbout(before + accounts.length);
  expect(told.slice(-3).sort()).toEqual(accounts.sort());
  // A little later there are no more of them.
  await runsLow('eve');
  expect(await toldAbout(before + 4)).toHaveLength(before + 4);
});

test('a Card Error Trigger starts its workflow, whose retry pays', async () => {
  const file = readShipped('card-failed.json');
  const waiting = file.nodes.find(({ name }) => name === 'Wait a Day')!;
  // Nobody waits for a day here.
  Object.assign(waiting.parameters, { amount: 1, unit: 'seconds' });
  cardFailed = await n8n.publish(await n8n.createWorkflow(file));

  const { accounts, catalog, invoicing, payments, subscriptions } = billing;
  await catalog.saveOffer({
    sku: 'monthly',
    name: 'A month',
    price: '29.00',
    currency: 'USD',
    billing: 'recurring',
    interval: { unit: 'month', count: 1 },
    items: [{ product: 'MESSAGES', quantity: 1000 }],
  });
  const { accountId: account } = await accounts.identify({
    externalId: 'fay',
    name: 'Fay',
    email: 'fay@example.com',
  });
  await payments.saveMethod({ account, gateway: 'test', token: 'test_declines_once' });
  await subscriptions.start({ account, sku: 'monthly' });
  await invoicing.runBillingCycle();

  const [execution] = await n8n.finishedExecutions(cardFailed, 1, 90_000);
  expect(execution!.status).toBe('success');
  const [error] = outputOf(execution!, 'Card Error');
  expect(error!.json).toMatchObject({
    attempt: 1,
    charge: { gateway: 'test' },
    owner: { accountId: account, email: 'fay@example.com' },
    invoice: { total: '29.00', status: 'open' },
  });
  const [retry] = outputOf(execution!, 'Retry Charge');
  expect(retry!.json).toMatchObject({ status: 'succeeded', invoiceStatus: 'paid' });
  const subjects = mail.mails
    .filter(({ to }) => to === 'fay@example.com')
    .map((one) => one.subject);
  expect(subjects).toEqual([
    'Your payment of 29.00 USD failed',
    expect.stringMatching(/^Invoice TEST-\d+ is paid$/),
  ]);
});

test('the triggers go on when the database was away, and nothing is doubled', async () => {
  const before = (await triggered()).length;
  await server!.stop('SIGKILL');
  // Where people look it says that it reads nothing, once.
  const failed = { workflowId: lowBalance.id, status: ['error' as const] };
  while ((await n8n.getExecutions(failed)).length === 0) {
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  await server!.start();
  const [inVain, ...more] = await n8n.getExecutions(failed);
  expect(more).toEqual([]);
  expect((await n8n.getExecution(inVain!.id)).data.resultData.error?.message).toMatch(/database/i);
  readInVain.add(inVain!.id);
  const account = await runsLow('gil');
  const told = await toldAbout(before + 1);
  expect(told.at(-1)).toBe(account);
  const succeeded = { workflowId: cardFailed.id, status: ['success' as const] };
  expect(await n8n.getExecutions(succeeded)).toHaveLength(1);
  await n8n.unpublish(lowBalance);
  await n8n.unpublish(cardFailed);
  const { ok, problems } = await billing.verify();
  expect(problems).toEqual([]);
  expect(ok).toBe(true);
});
