import { isBillingError, openBilling, type Billing, type BillingOptions } from '../../engine';
import type { z } from '../../engine/kernel';
import { requestFor, type Named } from '../engine/requests';

/**
 * Every public call with a request that reaches the database, made from the schema with which it reads
 * its request: a call that is new is asked at once, and tells if it needs a request by hand.
 */

export interface PublicCall {
  name: string;
  /** What it reads its request with, if it reads one. */
  schema: z.ZodType | undefined;
  request?: unknown;
  /** Asks an engine on the same schema. */
  ask(billing: Billing): Promise<unknown>;
}

/** What answers without asking the database anything. */
const ASKS_NOTHING = new Set(['payments.gateways', 'payments.handleWebhook', 'books.accounts']);

const HOUR = { unit: 'hour', count: 1 } as const;

/** For the secrets that some calls are refused without. */
export const WITH_SECRETS = {
  testGateway: true,
  secrets: { identity: 'a secret of sixteen characters', webhooks: `whsec_${'A'.repeat(32)}` },
} satisfies Partial<BillingOptions>;

/** Names of what there is; made of a schema they would be nobody's. */
async function fill({ catalog, accounts, ledger, sales, subscriptions }: Billing): Promise<Named> {
  const account = { externalId: 'ann' };
  const product = 'MSG';
  await catalog.saveProduct({ key: product, name: 'Messages' });
  const terms = { price: '5.00', currency: 'USD', items: [{ product, quantity: 10 }] };
  await catalog.saveOffer({ sku: 'pack', name: 'Pack', ...terms });
  const monthly = { billing: 'recurring', interval: { unit: 'month', count: 1 } } as const;
  await catalog.saveOffer({ sku: 'plan', name: 'Plan', ...terms, ...monthly });
  for (const externalId of ['ann', 'bob']) {
    await accounts.identify({ externalId });
    await ledger.grant({ account: { externalId }, product, quantity: 1_000 });
  }
  const { entryId } = await ledger.consume({ account, product });
  const { holdId } = await ledger.hold({ account, product, expiresIn: HOUR });
  const { orderId } = await sales.createOrder({ account, items: [{ sku: 'pack' }] });
  const begun = await subscriptions.start({ account, sku: 'plan' });
  const { subscriptionId } = begun as { subscriptionId: string };
  const ids = { entryId, holdId, orderId, subscriptionId, eventIds: [orderId] };
  const others = { gateway: 'test', token: 'test_ok', expiresIn: HOUR, currency: 'USD' };
  return { account, product, sku: 'pack', ...ids, ...others };
}

/** Of a schema nothing tells how these fields depend on each other. */
const byHand = ({ account, product, sku, entryId, orderId, subscriptionId }: Named): Named => ({
  'catalog.saveOffer': {
    ...{ sku: 'new', name: 'New', price: '1.00', currency: 'USD' },
    items: [{ product, quantity: 1 }],
  },
  'catalog.importCatalog': { format: 'rows', products: [{ key: 'A', name: 'A' }] },
  'accounts.attachChild': { parent: account, child: { externalId: 'bob' } },
  'accounts.detachChild': { child: { externalId: 'bob' } },
  'accounts.migrateIdentities': { from: { metadata: 'chat' }, to: 'telegram' },
  'ledger.checkMany': [{ account, product }],
  'ledger.consumeMany': [{ account, product }],
  'ledger.restore': { entryId },
  'payments.checkoutLink': {
    ...{ account, gateway: 'test', orderId, returnUrl: 'https://example.com/' },
  },
  'sales.createOrder': { account, items: [{ sku }] },
  'subscriptions.change': { subscriptionId, sku: 'plan' },
  // One of the two that it takes.
  'invoicing.collection': { subscriptionId },
  'invoicing.renderInvoice': { format: 'html', invoiceId: orderId },
  'events.saveWebhook': { url: 'https://example.com/hook' },
  'sandbox.advance': { by: HOUR },
});

type Call = (request: unknown) => Promise<unknown>;
const roomOf = (billing: Billing, room: string): Record<string, Call> =>
  billing[room as keyof Billing] as unknown as Record<string, Call>;

const callsOf = (billing: Billing): Array<[string, string]> =>
  Object.entries(billing).flatMap(([room, calls]) =>
    typeof calls !== 'object' || calls === null
      ? []
      : Object.entries(calls as object)
          .filter(([, call]) => typeof call === 'function')
          .map(([name]): [string, string] => [room, name]),
  );

/** What came of a call: an answer, the code of an error of ours, or any other error. */
export const outcome = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'an answer',
    (error: unknown) => (isBillingError(error) ? error.code : error),
  );

/**
 * Fills a schema, and gives the calls.
 *
 * @param seen the schemas with which requests are read, in order, as the test notes them
 */
export async function publicCalls(
  options: BillingOptions,
  seen: z.ZodType[],
): Promise<PublicCall[]> {
  const billing = await openBilling({ ...WITH_SECRETS, ...options });
  try {
    const named = await fill(billing);
    const written = byHand(named);
    const calls: PublicCall[] = [];
    for (const [room, name] of callsOf(billing)) {
      const path = `${room}.${name}`;
      if (ASKS_NOTHING.has(path)) continue;
      seen.length = 0;
      await roomOf(billing, room)[name]!({}).catch(() => undefined);
      const [schema] = seen;
      const request =
        written[path] ?? (schema === undefined ? undefined : requestFor(schema, named));
      calls.push({
        name: path,
        schema,
        request,
        ask: (engine) => roomOf(engine, room)[name]!(request),
      });
    }
    const { account, product } = named as { account: { externalId: string }; product: string };
    calls.push(
      { name: 'verify', schema: undefined, ask: (engine) => engine.verify() },
      { name: 'runDue', schema: undefined, ask: (engine) => engine.runDue() },
      {
        name: 'transaction',
        schema: undefined,
        ask: (engine) =>
          engine.transaction((tx) => engine.ledger.consume({ account, product, tx })),
      },
    );
    return calls;
  } finally {
    await billing.close();
  }
}
