/**
 * `npm start`: the shipped workflows, run through n8n's own execution engine on the embedded
 * database in output/billing, as a customer of a chatbot would live through them. Each run goes on
 * from where the one before ended, or was interrupted. (`npm start -- <folder>` for another place.)
 *
 * Ends with 0 only when every answer, every balance and the ledger are what they must be.
 */
import { existsSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import Table from 'cli-table3';
import {
  isBillingError,
  type Account,
  type Billing,
  type Entry,
  type SuggestedOffer,
} from '../engine';
import { optionsOf, type BillingDatabaseCredential } from '../nodes/shared/connection';
import { engines } from '../nodes/shared/engines';
import { aMonthPasses } from './demo-month';
import { standIns, webhookCall } from './stand-ins';
import {
  createWorkflowRunner,
  readWorkflow,
  type WorkflowJson,
  type WorkflowRun,
} from './workflow-runner';

const ROOT = join(__dirname, '..');
const FOLDER = resolve(process.argv[2] ?? join(ROOT, 'output', 'billing'));
const CHAT = '42';
const CUSTOMER = { provider: 'telegram', externalId: CHAT };
const PRODUCT = 'MESSAGES';
/** The first conversation: two messages more than a new customer has for free. */
const FIRST_CONVERSATION = 12;
const FREE = 10;
/** How much of a long ledger is printed. */
const LEDGER_LINES = 15;

const QUESTIONS = [
  'Hello! Who are you?',
  'What can you do for me?',
  'When do the tulips bloom?',
  'How far away is the moon?',
  'Is a tomato a fruit?',
  'Why is the sky blue?',
  'Who wrote Don Quixote?',
  'How many legs has a lobster?',
  'What rhymes with orange?',
  'Can penguins fly?',
  'One more: do fish sleep?',
  'Please, just one more!',
];

const credential: BillingDatabaseCredential = { database: 'embedded', folder: FOLDER };

/** Something was not as it must be. It is told, and the program ends with an error. */
class Unexpected extends Error {}

/** The person at the keyboard wants to stop. */
class Interrupted extends Error {}

const say = (line = ''): void => console.log(line);

let steps = 0;
const step = (title: string): void => {
  steps += 1;
  say(`\n${steps}. ${title}`);
};

function expectThat(what: string, found: unknown, wanted: unknown): void {
  if (found === wanted) return;
  throw new Unexpected(`${what}: expected ${String(wanted)}, found ${String(found)}.`);
}

async function succeeded(running: Promise<WorkflowRun>): Promise<WorkflowRun> {
  const run = await running;
  const { status, error } = run;
  if (status === 'success') return run;
  const where = error?.node ? `The node "${error.node}"` : 'The workflow';
  const advice = error?.description ? ` ${error.description}` : '';
  throw new Unexpected(`${where} failed: ${error?.message ?? status}${advice}`);
}

/**
 * The same engine that the nodes of the workflows use: the embedded database can be open only once
 * at a time.
 */
const inDatabase = <T>(work: (billing: Billing) => Promise<T>): Promise<T> =>
  engines.use(optionsOf(credential), work);

const runner = createWorkflowRunner({
  credentials: { billingDatabaseApi: { ...credential } },
  standIns,
});
const shipped = (name: string): WorkflowJson =>
  readWorkflow(join(ROOT, 'workflows', `${name}.json`));

let interrupted = false;

function stopGently(signal: NodeJS.Signals): void {
  process.once(signal, () => {
    // A second one ends the program at once; the database survives that too.
    interrupted = true;
    say('\n   Stopping after this message. (Once more to stop now.)');
  });
}

async function stopIfAsked(): Promise<void> {
  // The embedded database answers without ever waiting for anything: signals need a turn to be heard.
  await nextTurn();
  if (interrupted) throw new Interrupted();
}

interface State {
  account: Account | null;
  balance: string;
  uses: Entry[];
}

async function readState(): Promise<State> {
  return inDatabase(async (billing) => {
    const account = await billing.accounts.get({ account: CUSTOMER }).catch((error: unknown) => {
      if (isBillingError(error) && error.code === 'unknown_account') return null;
      throw error;
    });
    if (account === null) return { account, balance: '0', uses: [] };
    const [balance] = await billing.ledger.balance({ account: CUSTOMER });
    const entries = await allEntries(billing);
    return {
      account,
      balance: balance?.available ?? '0',
      uses: entries.filter((entry) => entry.kind === 'use'),
    };
  });
}

async function allEntries(billing: Billing): Promise<Entry[]> {
  const entries: Entry[] = [];
  let cursor: string | undefined;
  do {
    const page = await billing.ledger.entries({ account: CUSTOMER, limit: 1000, cursor });
    entries.push(...page.items);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return entries;
}

/** The id of the last message that got its reply; kept with the customer, in the same database. */
const lastAnswered = ({ account }: State): number => Number(account?.metadata.lastMessageId ?? 0);

async function rememberAnswered(messageId: number): Promise<void> {
  await inDatabase((billing) =>
    billing.accounts.update({ account: CUSTOMER, metadata: { lastMessageId: messageId } }),
  );
}

interface Reply {
  reply: string;
  allowed: boolean;
  remaining: string | null;
  offers?: SuggestedOffer[];
}

/** Sends one message through the chatbot, prints the reply and checks it against the books. */
async function send(
  chatbot: WorkflowJson,
  messageId: number,
  isOwed: (balance: string) => boolean,
): Promise<void> {
  const before = await readState();
  // Interrupted between paying and replying, the message comes again: it is charged only once.
  const paidAlready = before.uses.some((use) => use.metadata.messageId === String(messageId));
  const text = QUESTIONS[(messageId - 1) % QUESTIONS.length]!;

  const run = await succeeded(
    runner.run(chatbot, {
      mode: 'webhook',
      items: [webhookCall({ chatId: CHAT, messageId, text })],
    }),
  );
  const { reply, allowed, remaining, offers = [] } = run.response?.body as Reply;
  say(`   ${String(messageId).padStart(3)}  Customer  ${text}`);
  if (before.account === null) {
    const grants = await inDatabase(({ ledger }) => ledger.grants({ account: CUSTOMER }));
    say(`        Welcome   ${granted({ grants })} for free`);
  }
  say(`        Chatbot   ${reply}`);
  say(
    `                  ${allowed ? `${remaining} left` : 'refused'}${paidAlready ? ', was paid before' : ''}`,
  );

  const after = await readState();
  expectThat(`message ${messageId} answered`, allowed, paidAlready || isOwed(before.balance));
  expectThat(
    `uses in the ledger after message ${messageId}`,
    after.uses.length,
    before.uses.length + (allowed && !paidAlready ? 1 : 0),
  );
  if (allowed && !paidAlready) expectThat('units left in the reply', remaining, after.balance);
  if (!allowed) {
    expectThat('HTTP status of a refusal', run.response?.statusCode, 200);
    expectThat('offers in a refusal', offers.map(({ sku }) => sku).join(), 'pack-100,pack-1000');
    for (const { name, price, currency } of offers) {
      const offer = `${name} for ${price} ${currency}`;
      expectThat(`the refusal names "${offer}"`, reply.includes(offer), true);
    }
  }
  await rememberAnswered(messageId);
  await stopIfAsked();
}

async function setUpCatalog(): Promise<void> {
  step('Set up the catalog: the workflow workflows/set-up-catalog.json');
  const run = await succeeded(
    runner.run(shipped('set-up-catalog'), {
      onNodeEnd: (nodeName, { status }) =>
        say(`   ${status === 'success' ? 'done' : status}  ${nodeName}`),
    }),
  );
  const table = newTable(['Offer', 'Name', 'Price', 'List price', 'Brings', 'Public']);
  for (const offer of run.json('List Offers')) {
    const items = offer.items as Array<{ product: string; quantity: string }>;
    table.push([
      String(offer.sku),
      String(offer.name),
      `${String(offer.price)} ${String(offer.currency)}`,
      offer.listPrice === null ? '' : `${String(offer.listPrice)} ${String(offer.currency)}`,
      items.map(({ product, quantity }) => `${quantity} ${product}`).join(', '),
      offer.public === true ? 'yes' : 'no',
    ]);
  }
  print(table);
  expectThat('offers in the catalog', table.length, 3);
}

/** Twelve messages: ten answers, two refusals. What an interrupted run has sent is not sent again. */
async function firstConversation(): Promise<void> {
  const chatbot = shipped('quota-gated-chatbot');
  const from = lastAnswered(await readState()) + 1;
  step(
    from === 1
      ? `A new customer sends ${FIRST_CONVERSATION} messages: the workflow workflows/quota-gated-chatbot.json`
      : `The customer goes on with message ${from} of ${FIRST_CONVERSATION}, where the last run stopped`,
  );
  for (let messageId = from; messageId <= FIRST_CONVERSATION; messageId += 1) {
    await send(chatbot, messageId, () => messageId <= FREE);
  }
  const { uses, balance } = await readState();
  expectThat('answers paid for in the first conversation', uses.length, FREE);
  expectThat('balance after the first conversation', balance, '0');
  const refused = FIRST_CONVERSATION - FREE;
  say(`\n   ${FREE} of ${FIRST_CONVERSATION} messages answered, ${refused} refused with an offer.`);
}

/** Every run after the first conversation: a purchase where nothing is left, then two messages. */
async function goOn(): Promise<void> {
  let state = await readState();
  if (state.balance === '0') {
    step('The customer buys pack-100: the Grant Offer node');
    const run = await succeeded(runner.run(sellPack()));
    const [sold] = run.json('Grant Offer');
    say(`   granted: ${granted(sold!)}`);
    state = await readState();
    expectThat('balance after the purchase', state.balance, '100');
  }
  const from = lastAnswered(state) + 1;
  step(`The customer goes on with messages ${from} and ${from + 1}`);
  const chatbot = shipped('quota-gated-chatbot');
  for (const messageId of [from, from + 1]) {
    await send(chatbot, messageId, (balance) => balance !== '0');
  }
}

/** What came out of a Grant Offer node, in words. */
function granted({ grants }: { grants?: unknown }): string {
  return (grants as Array<{ initial: string; product: string }>)
    .map(({ initial, product }) => `${initial} ${product}`)
    .join(', ');
}

/** What a payment provider's webhook would start, once the payment is confirmed. */
function sellPack(): WorkflowJson {
  return {
    name: 'Sell a Pack',
    nodes: [
      { name: 'Paid', type: 'n8n-nodes-base.manualTrigger', typeVersion: 1 },
      {
        name: 'Grant Offer',
        type: 'n8n-nodes-billing.grantOffer',
        typeVersion: 1,
        parameters: {
          accountBy: 'externalId',
          ...CUSTOMER,
          offer: { __rl: true, mode: 'sku', value: 'pack-100' },
          source: 'demo purchase',
        },
        credentials: { billingDatabaseApi: { id: 'billing', name: 'Billing' } },
      },
    ],
    connections: { Paid: { main: [[{ node: 'Grant Offer', type: 'main', index: 0 }]] } },
  };
}

/** Without colours and without lines between rows: the tables must also read well in a log. */
function newTable(head: string[], colAligns: Table.HorizontalAlignment[] = []): Table.Table {
  return new Table({ head, colAligns, style: { head: [], border: [], compact: true } });
}

const time = (iso: string): string => iso.replace('T', ' ').replace(/\.\d+Z$|Z$/, '');

const print = (table: Table.Table): void => say(table.toString().replace(/^/gm, '   '));

async function printBooks(): Promise<void> {
  step("The customer's books");
  await inDatabase(async (billing) => {
    const balances = newTable(['Product', 'Available', 'Unit', 'Held']);
    for (const { product, available, unit, held } of await billing.ledger.balance({
      account: CUSTOMER,
    })) {
      balances.push([product, available ?? 'unlimited', unit, held]);
    }
    say('   Balance');
    print(balances);

    const grants = newTable([
      'Given at (UTC)',
      'Product',
      'Initial',
      'Remaining',
      'Source',
      'Ends',
    ]);
    for (const grant of await billing.ledger.grants({ account: CUSTOMER })) {
      grants.push([
        time(grant.validFrom),
        grant.product,
        grant.initial,
        grant.remaining,
        grant.source ?? '',
        grant.expiresAt === null ? 'never' : time(grant.expiresAt),
      ]);
    }
    say('\n   Grants');
    print(grants);

    const entries = await allEntries(billing);
    const ledger = newTable(
      ['Time (UTC)', 'Kind', 'Amount', 'Product', 'For'],
      ['left', 'left', 'right'],
    );
    for (const entry of entries.slice(0, LEDGER_LINES)) {
      const { messageId } = entry.metadata;
      ledger.push([
        time(entry.effectiveAt),
        entry.kind,
        entry.amount,
        entry.product,
        messageId === undefined ? (entry.source ?? '') : `message ${String(messageId)}`,
      ]);
    }
    say('\n   Ledger, newest first');
    print(ledger);
    const earlier = entries.length - LEDGER_LINES;
    if (earlier > 0) say(`   … and ${earlier} earlier lines.`);
  });
}

async function verify(): Promise<void> {
  step('verify(): every balance computed again from the ledger');
  const { ok, checked, problems } = await inDatabase((billing) => billing.verify());
  const table = newTable(['Table', 'Rows checked'], ['left', 'right']);
  const found = Object.entries(checked).filter(([, count]) => count > 0);
  for (const [name, count] of found) table.push([name, String(count)]);
  print(table);
  const empty = Object.keys(checked).length - found.length;
  if (empty > 0) say(`   … and ${empty} tables that are empty.`);
  for (const { code, table: where, message } of problems) say(`   ${code} in ${where}: ${message}`);
  say(`   ${ok ? 'ok, no problems' : `${problems.length} problems`}`);
  expectThat('verify', ok, true);
}

async function main(): Promise<void> {
  const isNew = !existsSync(FOLDER);
  const where = relative(process.cwd(), FOLDER);
  say('n8n-nodes-billing: a chatbot that sells its messages, and a month of subscriptions');
  say('');
  say(
    "The workflows run through n8n's own execution engine (n8n-core) with our real nodes. n8n's own",
  );
  say(
    'nodes (Webhook, Schedule Trigger, If, Wait, Send Email and so on) are small stand-ins here,',
  );
  say(
    'scripts/stand-ins.ts, because n8n-nodes-base cannot be installed beside this package; the "AI',
  );
  say('agent" only echoes, and no email leaves. Balances, invoices and the ledger are real; cards');
  say('are those of the test gateway.');

  step(isNew ? `A new embedded database in ${where}` : `Open the embedded database in ${where}`);
  const stored = await readState();
  if (stored.account === null) {
    say('   No customer yet.');
  } else {
    say(`   Stored: customer ${CUSTOMER.provider}/${CHAT}, last message ${lastAnswered(stored)},`);
    say(`   ${stored.uses.length} messages paid for, balance ${stored.balance} ${PRODUCT}.`);
  }

  await setUpCatalog();
  await stopIfAsked();
  if (lastAnswered(stored) < FIRST_CONVERSATION) await firstConversation();
  else await goOn();
  await printBooks();
  await verify();
  await stopIfAsked();
  await aMonthPasses({
    say,
    step,
    expectThat,
    succeeded,
    shipped,
    outputFolder: dirname(FOLDER),
  });

  say('');
  say('All as expected. Next:');
  say(
    (await readState()).balance === '0'
      ? '- Run `npm start` again: the customer, with nothing left, buys a pack and goes on.'
      : '- Run `npm start` again: the customer goes on with two more messages.',
  );
  say(`- Delete ${where} to begin anew.`);
  say('- In n8n: install n8n-nodes-billing, import workflows/set-up-catalog.json and');
  say('  workflows/quota-gated-chatbot.json, and let your bot call the webhook; then');
  say('  workflows/monthly-invoicing.json and workflows/card-failed.json.');
}

stopGently('SIGINT');
stopGently('SIGTERM');
main()
  .catch((error: unknown) => {
    if (error instanceof Interrupted) {
      say('   Stopped. The next `npm start` goes on from here.');
      process.exitCode = 130;
      return;
    }
    process.exitCode = 1;
    const isKnown = error instanceof Unexpected || isBillingError(error);
    console.error(`\nNot as expected: ${isKnown ? error.message : String((error as Error).stack)}`);
    if (isBillingError(error) && error.advice) console.error(error.advice);
  })
  .finally(() => engines.close());
