/** Queue mode with everything in it killed and restarted in turn: `npm run test:queue`. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { openBilling, type Billing } from '../../../engine';
import { billingCredential, numbers } from '../chatbot';
import { packedPackage } from '../set-up';
import { QueueN8n } from './queue-n8n';
import { charge, dispatch, tell } from './workflows';

/** In CI: the same accidents with less load. */
const isShort = process.env['BILLING_TEST_QUEUE'] === 'short';
const MESSAGES = isShort ? 60 : 200;
/** Each message is sent so often. */
const REPEATS = 3;
const AT_A_TIME = 12;
const SUBSCRIBERS = isShort ? 12 : 50;
const EVENTS = isShort ? 30 : 70;
/** How long a step takes that an event starts. */
const STEP_MS = 1_500;

let n8n: QueueN8n;
let billing: Billing;
let listener: Server;
/** The events that a step has seen to its end. */
const told = new Set<string>();

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await pause(500);
}

/** Calls again until there is an answer, as whoever sends messages must. */
async function answered(path: string, body: object): Promise<Record<string, unknown>> {
  for (;;) {
    const answer = await n8n.call(path, body);
    if (answer !== undefined) return answer;
    await pause(1_000);
  }
}

function listen(): Promise<string> {
  listener = createServer((request, response) => {
    const event = new URL(request.url!, 'http://here').searchParams.get('event')!;
    setTimeout(() => {
      // Whoever asked may be dead by now: then the step has not ended.
      if (!request.socket.destroyed) told.add(event);
      response.end('{}');
    }, STEP_MS);
  });
  return new Promise((resolve) => {
    listener.listen(0, '127.0.0.1', () =>
      resolve(`http://127.0.0.1:${(listener.address() as AddressInfo).port}`),
    );
  });
}

beforeAll(async () => {
  const url = await listen();
  n8n = await QueueN8n.start([packedPackage()]);
  billing = await openBilling({ connection: n8n.postgres.url });
  await billing.catalog.saveProduct({ key: 'MESSAGES', name: 'Messages' });
  await billing.catalog.saveProduct({ key: 'ALERTS', name: 'Alerts', lowBalanceThreshold: 8 });
  const settings = { database: 'postgres', connectBy: 'url', url: n8n.postgres.url };
  await n8n.main.importCredential(billingCredential(settings));
  for (const workflow of [charge, dispatch, tell(url)]) {
    await n8n.main.publish(await n8n.main.createWorkflow(workflow));
  }
});

afterAll(async () => {
  await billing?.close();
  await n8n?.dispose();
  listener?.close();
});

afterEach(async () => {
  const { problems } = await billing.verify();
  expect(problems).toEqual([]);
});

test('an embedded credential is refused in one sentence', async () => {
  expect(await n8n.main.testCredential(billingCredential())).toEqual({
    status: 'Error',
    message: expect.stringMatching(/^n8n runs in queue mode.*choose "Postgres Server"/),
  });
});

test('each message is charged once while workers, main, Postgres and Redis go and come', async () => {
  const { accountId: account } = await billing.accounts.identify({ externalId: 'ann' });
  await billing.ledger.grant({ account, product: 'MESSAGES', quantity: 10_000 });
  const calls = numbers(1, MESSAGES).flatMap((id) => Array<number>(REPEATS).fill(id));
  const answers = new Map<number, Set<unknown>>();
  let next = 0;
  const talk = async () => {
    while (next < calls.length) {
      const id = calls[next++]!;
      const answer = await answered('charge', { customer: 'ann', messageId: `message ${id}` });
      answers.set(id, (answers.get(id) ?? new Set()).add(answer['entryId']));
    }
  };
  const talking = Promise.all(Array.from({ length: AT_A_TIME }, talk));
  const reached = (part: number) => until(() => next >= calls.length * part);
  await reached(0.1);
  await n8n.killWorkers(0);
  await reached(0.25);
  await n8n.killWorkers(1);
  await reached(0.4);
  await n8n.postgres.stop('SIGKILL');
  await n8n.postgres.start();
  await reached(0.55);
  await n8n.redis.stop();
  await n8n.redis.start();
  await reached(0.7);
  await n8n.killWorkers(0, 1);
  await n8n.redis.empty();
  await reached(0.85);
  await n8n.main.kill();
  await n8n.main.start();
  await talking;
  // However often it was sent, one entry.
  expect([...answers.values()].map((entries) => entries.size)).toEqual(
    calls.filter((_, index) => index % REPEATS === 0).map(() => 1),
  );
  const { available } = await billing.ledger.balance({ account, product: 'MESSAGES' });
  expect(available).toBe(String(10_000 - MESSAGES));
});

test('four dispatches at once make each invoice once, and their numbers have no gap', async () => {
  await billing.catalog.saveOffer({
    sku: 'monthly',
    name: 'A month',
    price: '29.00',
    currency: 'USD',
    billing: 'recurring',
    interval: { unit: 'month', count: 1 },
    items: [{ product: 'MESSAGES', quantity: 1000 }],
  });
  for (const number of numbers(1, SUBSCRIBERS)) {
    const externalId = `subscriber ${number}`;
    const { accountId: account } = await billing.accounts.identify({ externalId });
    await billing.subscriptions.start({ account, sku: 'monthly' });
  }
  await Promise.all(numbers(1, 4).map(() => answered('dispatch', {})));
  const { items } = await billing.invoicing.listInvoices({ limit: 500 });
  const issued = items.filter(({ number }) => number !== null);
  expect(issued).toHaveLength(SUBSCRIBERS);
  expect(new Set(issued.map(({ account }) => account)).size).toBe(SUBSCRIBERS);
  const places = issued.map(({ number }) => Number(/(\d+)$/.exec(number!)![1]));
  expect(places.sort((a, b) => a - b)).toEqual(numbers(1, SUBSCRIBERS));
});

test('every event is delivered, though workers die, Redis is emptied and main is killed', async () => {
  const { accountId: account } = await billing.accounts.identify({ externalId: 'bob' });
  for (let index = 0; index < EVENTS; index += 1) {
    await billing.ledger.grant({ account, product: 'ALERTS', quantity: 10 });
    await billing.ledger.consume({ account, product: 'ALERTS', amount: 10 });
  }
  await until(() => told.size > 0);
  await n8n.killWorkers(0, 1);
  await until(() => told.size >= EVENTS / 4);
  await n8n.killWorkers(0, 1);
  await n8n.redis.empty();
  await until(() => told.size >= EVENTS / 2);
  await n8n.main.kill();
  await n8n.main.start();
  await until(() => told.size >= EVENTS);
  expect(told.size).toBe(EVENTS);
  await until(async () => {
    const [reader] = await billing.events.readers();
    return reader!.lag + reader!.unacknowledged === 0;
  });
});
