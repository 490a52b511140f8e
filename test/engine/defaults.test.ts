import { TestClock, type Billing, type PricingRequest } from '../../engine';
import { forRules } from './each-database';

/**
 * An input left out and the same written out, as its default, are one request: under a key the answer
 * comes again, and calls that take none answer alike. The tables name each optional field of each call,
 * which the compiler holds them to; a new one is added with its default, or with why nothing stands for
 * leaving it out.
 */

type Rooms = Omit<Billing, 'verify' | 'runDue' | 'transaction' | 'close' | 'sandbox'>;
type Asked<Call> = Call extends (request: infer Request) => unknown ? NonNullable<Request> : never;
type Fields<Request> = Request extends unknown ? keyof Request : never;
type Optional<Request> = Request extends unknown
  ? {
      [Field in keyof Request]-?: object extends Pick<Request, Field> ? Field : never;
    }[keyof Request]
  : never;
type Keyed<Calls> = {
  [Name in keyof Calls]: 'idempotencyKey' extends Fields<Asked<Calls[Name]>> ? Name : never;
}[keyof Calls];

type Unkeyed<Calls> = {
  [Name in keyof Calls]: [Optional<Asked<Calls[Name]>>] extends [never] ? never : Name;
}[keyof Calls];

/** What stands for a field that is left out; or why nothing that can be written does. */
type Default = { is: unknown } | { isOpen: string };
interface Rules<Request> {
  optional: Record<Exclude<Optional<Request>, 'idempotencyKey' | 'metadata' | 'tx'>, Default>;
  /** A request with nothing that may be left out, of an account or a record that is new. */
  request?: (world: World) => Promise<Request>;
  /** The same with defaults inside of lists and objects written out, or more of them. */
  inside?: Array<(request: Request) => object>;
}
type Table = {
  [Room in keyof Rooms]: { [Name in Keyed<Rooms[Room]>]: Rules<Asked<Rooms[Room][Name]>> };
};

/** Calls without a key; what lists of requests are made of is asked for by itself, too. */
type WithoutKey = {
  [Room in keyof Rooms]: {
    [
      Name in Exclude<Unkeyed<Rooms[Room]>, Keyed<Rooms[Room]> | 'checkMany' | 'consumeMany'>
    ]: Rules<Asked<Rooms[Room][Name]>>;
  };
};

const is = (value: unknown): Default => ({ is: value });
const open = (why: string): Default => ({ isOpen: why });
/** Left out it is not there. */
const NONE = open('nothing stands for nothing');
const STAYS = open('what is left out stays as it was saved');
const CHECK = open('said, it is compared with what is there');

interface World {
  billing: Billing;
  /** A name that nobody has. */
  name(): string;
  account(): Promise<string>;
}

const START = '2027-01-10T12:00:00Z';
const HOUR = { unit: 'hour', count: 1 } as const;
const MONTH = { unit: 'month', count: 1 } as const;
const SECRET = 'a secret of sixteen characters';
const WEBHOOK_SECRET = `whsec_${Buffer.alloc(32, 'x').toString('base64')}`;

/** An account with units of MSG. */
async function withUnits({ billing, account }: World): Promise<string> {
  const accountId = await account();
  const terms = { product: 'MSG', quantity: 100, paid: { amount: '10', currency: 'USD' } };
  await billing.ledger.grant({ account: accountId, ...terms });
  return accountId;
}

async function held(world: World): Promise<string> {
  const account = await withUnits(world);
  const of = { account, product: 'MSG', amount: 10, expiresIn: HOUR };
  return (await world.billing.ledger.hold(of)).holdId!;
}

async function ordered(world: World): Promise<string> {
  const account = await world.account();
  const order = await world.billing.sales.createOrder({ account, items: [{ sku: 'pack' }] });
  return order.orderId!;
}

async function paidOrder(world: World): Promise<string> {
  const orderId = await ordered(world);
  await world.billing.sales.confirmOrder({ orderId, paymentId: world.name() });
  return orderId;
}

async function subscribed(world: World): Promise<string> {
  const account = await world.account();
  const answer = await world.billing.subscriptions.start({ account, sku: 'free-plan' });
  return answer.subscriptionId!;
}

async function drafted(world: World): Promise<string> {
  const account = await world.account();
  const items = [{ description: 'Work', unitPrice: '10.00' }];
  const invoice = await world.billing.invoicing.createInvoice({ account, currency: 'USD', items });
  return invoice.invoiceId;
}

async function issued(world: World): Promise<string> {
  const invoiceId = await drafted(world);
  await world.billing.invoicing.finalizeInvoice({ invoiceId });
  return invoiceId;
}

async function paidInvoice(world: World): Promise<string> {
  const invoiceId = await issued(world);
  await world.billing.invoicing.markPaid({ invoiceId, method: 'cash' });
  return invoiceId;
}

const TIERS: PricingRequest = {
  model: 'graduated',
  tiers: [{ upTo: 10, unitPrice: '0.10' }, { flatPrice: '1.00' }],
};
const ADDRESS = { line1: '1 Road', city: 'Berlin', postalCode: '10115', country: 'DE' };

const TABLE: Table = {
  catalog: {
    saveProduct: {
      optional: {
        unit: STAYS,
        decimals: STAYS,
        kind: STAYS,
        isCurrency: STAYS,
        lowBalanceThreshold: STAYS,
        usageThresholds: STAYS,
      },
    },
    saveOffer: {
      optional: {
        listPrice: STAYS,
        billing: STAYS,
        interval: STAYS,
        public: STAYS,
        active: STAYS,
        accountId: STAYS,
        oncePerAccount: STAYS,
        freeTier: STAYS,
        description: STAYS,
        summary: STAYS,
        imageUrl: STAYS,
        returnUrl: STAYS,
        trialPhases: STAYS,
        bonuses: STAYS,
        upsells: STAYS,
        pricing: STAYS,
        collect: STAYS,
      },
      request: ({ name }) =>
        Promise.resolve({
          sku: name(),
          name: 'Offer',
          price: '10.00',
          currency: 'USD',
          items: [{ product: 'MSG', quantity: 100, overage: { pricing: TIERS } }],
          bonuses: [{ product: 'MSG', quantity: 1 }],
          pricing: { model: 'per_unit' },
        }),
      inside: [
        ({ items: [item], ...offer }) => ({
          ...offer,
          items: [
            {
              ...item,
              expiresAfter: null,
              priority: 50,
              share: null,
              leadTime: null,
              expiresAtNextPayment: false,
              step: null,
              overage: {
                limit: null,
                pricing: {
                  model: 'graduated',
                  tiers: [
                    { from: 0, upTo: 10, unitPrice: '0.10', flatPrice: 0 },
                    { from: 10, upTo: null, unitPrice: 0, flatPrice: '1.00' },
                  ],
                },
              },
            },
          ],
          bonuses: [{ product: 'MSG', quantity: 1, expiresAfter: null, priority: 50 }],
          pricing: { model: 'per_unit', unitPrice: '10' },
        }),
      ],
    },
    saveCoupon: {
      optional: {
        name: STAYS,
        percent: STAYS,
        amount: STAYS,
        currency: STAYS,
        duration: STAYS,
        maxRedemptions: STAYS,
        maxPerAccount: STAYS,
        startsAt: STAYS,
        expiresAt: STAYS,
        skus: STAYS,
        active: STAYS,
      },
    },
    saveTaxRate: { optional: { country: STAYS, inclusive: STAYS, active: STAYS } },
    importCatalog: {
      optional: {
        products: NONE,
        offers: NONE,
        coupons: NONE,
        taxRates: NONE,
        encoding: open('what the bytes are found to be in'),
        decimalComma: is(false),
        dryRun: is(false),
      },
      request: ({ name }) =>
        Promise.resolve({
          format: 'csv',
          offers: `sku,name,price,currency,product,quantity\n${name()},Offer,1.00,USD,MSG,5\n`,
        }),
      inside: [
        (request) => {
          const { offers = '' } = request as { offers?: string };
          const [head, row] = offers.trimEnd().split('\n') as [string, string];
          return { ...request, offers: `${head},priority\n${row},50\n` };
        },
      ],
    },
  },
  accounts: {
    identify: {
      optional: { provider: is('default'), name: is(null), email: is(null) },
      request: ({ name }) => Promise.resolve({ externalId: name() }),
    },
    update: {
      optional: {
        name: STAYS,
        email: STAYS,
        timeZone: STAYS,
        status: STAYS,
        contact: STAYS,
        tax: STAYS,
      },
      request: async ({ account }) => ({ account: await account(), contact: { address: ADDRESS } }),
      inside: [
        (request) => ({
          ...request,
          contact: { address: { ...ADDRESS, line2: null, region: null } },
        }),
      ],
    },
    attachChild: {
      optional: {
        parent: open('the account that is named, or none'),
        child: open('the account that is named, or none'),
        account: open('whichever of the two is not named'),
        moveUnits: is(false),
      },
      request: async ({ account }) => ({ parent: await account(), child: await account() }),
      inside: [({ parent, child }) => ({ parent, account: child })],
    },
    detachChild: { optional: { child: open('the account'), account: open('the child') } },
    merge: {
      optional: { prefer: NONE, dryRun: is(false) },
      request: async ({ account }) => ({
        into: await account(),
        from: await account(),
        prefer: 'into',
      }),
    },
    erase: { optional: {} },
  },
  ledger: {
    consume: {
      optional: { amount: is(1), createIfNew: is(false) },
      request: async (world) => ({ account: await withUnits(world), product: 'MSG' }),
    },
    hold: {
      optional: { amount: is(1) },
      request: async (world) => ({
        account: await withUnits(world),
        product: 'MSG',
        expiresIn: HOUR,
      }),
    },
    settle: {
      optional: { account: CHECK, amount: is(10), strict: is(false) },
      request: async (world) => ({ holdId: await held(world) }),
    },
    release: { optional: { account: CHECK } },
    extend: { optional: { account: CHECK } },
    restore: {
      optional: {
        entryId: NONE,
        account: CHECK,
        product: NONE,
        amount: open('what was not restored yet'),
      },
    },
    grant: {
      optional: {
        expiresAt: is(null),
        expiresAfter: is(null),
        priority: is(50),
        reason: NONE,
        author: NONE,
        source: is('manual'),
        paid: NONE,
        bonus: is(false),
      },
      request: async ({ account }) => ({ account: await account(), product: 'MSG', quantity: 1 }),
    },
    bonus: {
      optional: {
        expiresAt: is(null),
        expiresAfter: is(null),
        priority: is(50),
        reason: NONE,
        author: NONE,
      },
      request: async ({ account }) => ({
        account: await account(),
        product: 'MSG',
        quantity: 1,
        source: 'welcome',
      }),
    },
    setOverage: { optional: {} },
    transfer: {
      optional: {
        toAccount: open('the account itself'),
        toProduct: is('MSG'),
        unitValue: open('what units of the product are worth by then'),
        quantity: open('what the units make at that worth'),
        reason: NONE,
      },
      request: async (world) => ({
        account: await withUnits(world),
        product: 'MSG',
        amount: 5,
        toAccount: await world.account(),
      }),
    },
    exchange: {
      optional: { quantity: is(1) },
      request: async ({ billing, account }) => {
        const accountId = await account();
        await billing.ledger.grant({ account: accountId, product: 'COIN', quantity: 100 });
        return { account: accountId, sku: 'for-coins' };
      },
    },
    deduct: { optional: { author: NONE } },
  },
  payments: {
    saveMethod: { optional: { makeDefault: open('whether it is the first one') } },
    removeMethod: { optional: {} },
    setDefaultMethod: { optional: {} },
    payOrder: { optional: { methodId: open('the default method of who pays by then') } },
    markRefunded: { optional: {} },
  },
  sales: {
    grantOffer: {
      optional: { quantity: is(1), source: is('manual') },
      request: async ({ account }) => ({ account: await account(), sku: 'pack' }),
    },
    createOrder: {
      optional: {
        coupon: is(null),
        taxRate: is(null),
        expiresIn: is({ unit: 'hours', count: '24' }),
        renew: open('whether it begins with a trial phase'),
      },
      request: async ({ account }) => ({ account: await account(), items: [{ sku: 'pack' }] }),
      inside: [(order) => ({ ...order, items: [{ sku: 'pack', quantity: 1 }] })],
    },
    confirmOrder: {
      optional: { paymentId: NONE, gateway: is('manual'), amount: CHECK, currency: CHECK },
      request: async (world) => ({ orderId: await ordered(world), paymentId: world.name() }),
    },
    cancelOrder: { optional: {} },
    refundOrder: {
      optional: {
        amount: open('what is left'),
        item: NONE,
        used: is('forgive'),
        keepSubscription: is(false),
        refundId: open('made up'),
        reason: NONE,
      },
      request: async (world) => ({ orderId: await paidOrder(world) }),
    },
    claimTrial: {
      optional: { identities: open('nobody else, as an empty list') },
      request: async ({ account, name }) => ({
        account: await account(),
        sku: 'free',
        identities: [{ externalId: name() }],
      }),
      inside: [
        ({ identities = [], ...claim }) => ({
          ...claim,
          identities: identities.map((person) => ({ provider: 'default', ...person })),
        }),
      ],
    },
    setReferralProgram: {
      optional: {
        active: is(true),
        referrerBonus: is(null),
        referredBonus: is(null),
        commission: is(null),
      },
      request: () => Promise.resolve({}),
    },
    attachReferral: { optional: {} },
    requestPayout: { optional: {} },
    decidePayout: { optional: { reference: NONE, reason: NONE } },
  },
  subscriptions: {
    start: {
      optional: {
        quantity: is(1),
        trial: open('whether there are phases, and the account can still have them'),
        startAt: open('the time of the call'),
        coupon: is(null),
        renew: is(true),
        collection: is('charge'),
        collectedBy: is('engine'),
        access: open('as the offer says'),
      },
      request: async ({ account }) => ({ account: await account(), sku: 'plan' }),
    },
    change: {
      optional: {
        sku: open('the offer it is for'),
        quantity: open('as many as before'),
        when: open('now or at the end, by which is dearer'),
        mode: is('prorate'),
        credit: is('left'),
        access: open('as the new offer says'),
        prorations: open('as the new offer says'),
      },
      request: async (world) => ({ subscriptionId: await subscribed(world), sku: 'plan' }),
    },
    addSteps: { optional: {} },
    cancel: {
      optional: { when: is('period_end'), reason: NONE, credit: is(false) },
      request: async (world) => ({ subscriptionId: await subscribed(world) }),
    },
    undo: { optional: {} },
    reactivate: { optional: {} },
    pause: {
      optional: { resumeAt: is(null) },
      request: async (world) => ({ subscriptionId: await subscribed(world) }),
    },
    resume: { optional: {} },
  },
  invoicing: {
    createInvoice: {
      optional: {
        items: is([]),
        dueIn: open('the payment terms of the settings by then'),
        collection: is('charge'),
        memo: NONE,
      },
      request: async ({ account }) => ({ account: await account(), currency: 'USD' }),
    },
    deleteDraft: { optional: {} },
    finalizeInvoice: { optional: {} },
    addItem: {
      optional: { dueAt: open('when the account is billed next') },
      request: async (world) => ({
        invoiceId: await drafted(world),
        item: { description: 'More', unitPrice: '5' },
      }),
      inside: [
        (request) => ({
          ...request,
          item: { description: 'More', unitPrice: '5', quantity: 1, discount: '0', taxable: true },
        }),
      ],
    },
    updateItem: {
      optional: {
        description: STAYS,
        quantity: STAYS,
        unitPrice: STAYS,
        discount: STAYS,
        taxRate: STAYS,
        taxable: STAYS,
      },
    },
    removeItem: { optional: {} },
    voidInvoice: {
      optional: { rebill: is(false), reason: NONE },
      request: async (world) => ({ invoiceId: await issued(world) }),
    },
    markUncollectible: { optional: {} },
    markPaid: {
      optional: {
        amount: open('what is due by then'),
        reference: open('made up'),
        paidAt: open('the time of the call'),
      },
    },
    addCredit: { optional: { received: NONE, reason: NONE } },
    createCreditNote: {
      optional: {
        lines: NONE,
        amount: open('what is left'),
        to: open('by whether something is due'),
        reason: NONE,
      },
    },
    refundInvoice: {
      optional: {
        keepSubscription: is(false),
        amount: open('what is left'),
        line: NONE,
        refundId: NONE,
        reason: NONE,
      },
      request: async (world) => ({ invoiceId: await paidInvoice(world) }),
    },
    retryInvoice: { optional: {} },
    setTopUp: {
      optional: { quantity: is(1), maxPerPeriod: is(5), period: is('month'), active: is(true) },
      request: async ({ account }) => ({
        account: await account(),
        product: 'MSG',
        below: 10,
        sku: 'pack',
      }),
    },
    saveSettings: {
      optional: {
        seller: STAYS,
        logo: STAYS,
        numbering: STAYS,
        paymentTerms: STAYS,
        dunning: STAYS,
        locale: STAYS,
        footer: STAYS,
        notes: STAYS,
        reminderDays: STAYS,
        retentionYears: STAYS,
      },
    },
  },
  books: {},
  events: {},
};

const ANY = open('of whomever, or whatever it is');
const TOLD = open('nobody is told');
/** As many as a page has. */
const page = (most: number) => ({ limit: is(most), cursor: NONE });
const nothing = () => Promise.resolve({});
const ofOne = async ({ account }: World) => ({ account: await account() });
/** Of an account that has an invoice to be sent. */
const toDispatch = async ({ billing, account }: World) => {
  const accountId = await account();
  await billing.subscriptions.start({ account: accountId, sku: 'plan' });
  return { account: accountId };
};
/** Leased to a reader, of events that there are for it. */
const leased = async (world: World) => {
  const reader = world.name();
  const account = await withUnits(world);
  const polled = await world.billing.events.poll({
    reader,
    accounts: [account],
    from: 'beginning',
  });
  return { reader, leaseId: polled.leaseId!, eventIds: polled.events.map((one) => one.eventId) };
};
const MINUTE = { unit: 'seconds', count: '60' };

const READ: WithoutKey = {
  catalog: {
    listProducts: { optional: { keys: ANY } },
    listOffers: {
      optional: {
        skus: ANY,
        accountId: ANY,
        includePrivate: is(false),
        includeInactive: is(false),
      },
      request: nothing,
    },
    listCoupons: { optional: { codes: ANY } },
    listTaxRates: { optional: { keys: ANY } },
    exportCatalog: {
      optional: { raw: is(false) },
      request: () => Promise.resolve({ format: 'csv' }),
    },
  },
  accounts: {
    list: { optional: { ...page(50), search: ANY }, request: nothing },
    export: { optional: { entries: is(100_000) }, request: ofOne },
    migrateIdentities: {
      optional: { map: NONE, limit: is(10_000), dryRun: is(false) },
      request: ({ name }) =>
        Promise.resolve({
          from: { provider: name() },
          to: name(),
          map: [{ externalId: 'a', to: 'b' }],
        }),
    },
  },
  ledger: {
    check: {
      optional: { amount: is(1), createIfNew: is(false) },
      request: async (world) => ({ account: await withUnits(world), product: 'MSG' }),
    },
    holds: {
      optional: { product: ANY, open: is(true), ...page(100) },
      request: async (world) => {
        const account = await withUnits(world);
        const of = { account, product: 'MSG', amount: 10, expiresIn: HOUR };
        await world.billing.ledger.hold(of);
        return { account };
      },
    },
    balance: { optional: { at: open('the time of the call') } },
    grants: { optional: { product: ANY } },
    entries: {
      optional: { product: ANY, kind: ANY, from: ANY, to: ANY, ...page(100) },
      request: async (world) => ({ account: await withUnits(world) }),
    },
    statement: {
      optional: {
        product: ANY,
        kind: ANY,
        from: ANY,
        to: ANY,
        ...page(100),
        header: is(true),
        raw: is(false),
      },
      request: async (world) => ({ account: await withUnits(world) }),
    },
  },
  payments: {
    attempts: {
      optional: { account: ANY, invoiceId: ANY, orderId: ANY, ...page(100) },
      request: nothing,
    },
    refundsDue: { optional: { account: ANY, ...page(100) }, request: nothing },
    checkoutLink: { optional: { orderId: NONE, invoiceId: NONE } },
  },
  sales: {
    listOrders: { optional: { account: ANY, status: ANY, ...page(50) }, request: nothing },
    commissions: { optional: page(50), request: ofOne },
    listPayouts: { optional: { account: ANY, status: ANY, ...page(50) }, request: nothing },
  },
  subscriptions: {
    list: { optional: { account: ANY, status: ANY, sku: ANY, ...page(50) }, request: nothing },
  },
  invoicing: {
    createInvoices: {
      optional: { account: ANY, limit: is(100_000_000), catchUp: is(false), onProgress: TOLD },
      request: toDispatch,
    },
    dispatchInvoices: {
      optional: {
        account: ANY,
        invoiceIds: ANY,
        limit: is(100_000_000),
        catchUp: is(false),
        onProgress: TOLD,
        onInvoices: TOLD,
      },
      request: async (world) => {
        const one = await toDispatch(world);
        await world.billing.invoicing.createInvoices(one);
        return one;
      },
    },
    runBillingCycle: {
      optional: { limit: is(100_000_000), catchUp: is(false), onProgress: TOLD, onInvoices: TOLD },
      request: async (world) => {
        await world.billing.invoicing.runBillingCycle();
        await toDispatch(world);
        return {};
      },
    },
    resetProducts: {
      optional: { account: ANY, limit: is(10_000), catchUp: is(false) },
      request: toDispatch,
    },
    restoreProducts: {
      optional: { account: ANY, limit: is(10_000), catchUp: is(false) },
      request: toDispatch,
    },
    listInvoices: {
      optional: { account: ANY, status: ANY, number: ANY, ...page(50) },
      request: nothing,
    },
    listCreditNotes: { optional: { account: ANY, invoiceId: ANY, ...page(100) }, request: nothing },
    renderInvoice: {
      optional: { invoiceId: NONE, creditNoteId: NONE, locale: is('en') },
      request: async (world) => ({ invoiceId: await issued(world), format: 'html' }),
    },
  },
  books: {
    balances: { optional: { account: ANY, currency: ANY, from: ANY, to: ANY } },
    postings: {
      optional: {
        account: ANY,
        currency: ANY,
        from: ANY,
        to: ANY,
        kind: ANY,
        reference: ANY,
        ...page(100),
      },
      request: nothing,
    },
  },
  events: {
    poll: {
      optional: {
        types: ANY,
        accounts: ANY,
        limit: is(100),
        most: NONE,
        lease: is(MINUTE),
        from: is('now'),
      },
      request: ({ name }) => Promise.resolve({ reader: name() }),
    },
    take: { optional: { lease: is(MINUTE) }, request: leased },
    extend: { optional: { lease: is(MINUTE) }, request: leased },
    release: { optional: { leaseId: CHECK } },
    acknowledge: { optional: { leaseId: CHECK } },
    list: {
      optional: { account: ANY, types: ANY, since: ANY, until: ANY, limit: is(100), cursor: NONE },
      request: nothing,
    },
    sample: { optional: { account: ANY } },
    saveWebhook: {
      optional: { webhookId: NONE, url: STAYS, types: STAYS, active: is(true) },
      request: () => Promise.resolve({ url: 'https://example.com/hook' }),
    },
    webhookFailures: {
      optional: { limit: is(100) },
      request: async ({ billing }) => {
        const { webhookId } = await billing.events.saveWebhook({ url: 'https://example.com/hook' });
        return { webhookId };
      },
    },
  },
};

/** A call of a table, as what the tests work on. */
interface Tested {
  name: string;
  rules: Rules<Record<string, unknown>>;
}

const testedOf = (table: object): Tested[] =>
  Object.entries(table).flatMap(([room, calls]) =>
    Object.entries(calls as Record<string, Tested['rules']>)
      .filter(
        ([, rules]) =>
          rules.inside ?? Object.values<Default>(rules.optional).some((one) => 'is' in one),
      )
      .map(([name, rules]) => ({ name: `${room}.${name}`, rules })),
  );

/** An answer without what is made up anew each time. */
const withoutNames = (answer: unknown): unknown =>
  JSON.parse(
    JSON.stringify(answer)
      .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'id')
      .replaceAll(/name-\d+|(INV|CN)-\d+|whsec_[^"]+/g, 'name'),
  );

async function prepare(billing: Billing): Promise<void> {
  const { catalog } = billing;
  await catalog.saveProduct({ key: 'MSG', name: 'Messages' });
  await catalog.saveProduct({ key: 'COIN', name: 'Coins', isCurrency: true });
  const items = [{ product: 'MSG', quantity: 100 }];
  const offer = { name: 'Offer', currency: 'USD', items };
  await catalog.saveOffer({ ...offer, sku: 'pack', price: '10.00' });
  await catalog.saveOffer({ ...offer, sku: 'free', price: 0 });
  await catalog.saveOffer({ ...offer, sku: 'for-coins', price: 10, currency: 'COIN' });
  const recurring = { ...offer, billing: 'recurring', interval: MONTH } as const;
  await catalog.saveOffer({ ...recurring, sku: 'plan', price: '10.00' });
  await catalog.saveOffer({ ...recurring, sku: 'free-plan', price: 0 });
}

forRules('defaults under a key', (database) => {
  let world: World;

  beforeAll(async () => {
    const options = { testGateway: true, secrets: { identity: SECRET, webhooks: WEBHOOK_SECRET } };
    const billing = await database.open(new TestClock(START), undefined, options);
    await prepare(billing);
    const own = { name: 'We', address: ADDRESS };
    await billing.invoicing.saveSettings({ seller: own });
    let counter = 0;
    const name = () => `name-${(counter += 1)}`;
    const account = async () => (await billing.accounts.identify({ externalId: name() })).accountId;
    world = { billing, name, account };
  });

  const call = (name: string, request: object): Promise<object> => {
    const [room, method] = name.split('.') as [keyof Rooms, string];
    const calls = world.billing[room] as unknown as Record<
      string,
      (request: object) => Promise<object | object[]>
    >;
    return calls[method]!(request);
  };
  const replayedBy = (answer: object): boolean =>
    (Array.isArray(answer) ? answer : [answer]).every(
      (one: { replayed?: boolean }) => one.replayed === true,
    );

  test.each(testedOf(READ))('$name: written out it answers alike', async ({ name, rules }) => {
    const before = withoutNames(await call(name, await rules.request!(world)));
    for (const [field, standing] of Object.entries<Default>(rules.optional)) {
      if (!('is' in standing)) continue;
      const request = { ...(await rules.request!(world)), [field]: standing.is };
      expect(withoutNames(await call(name, request))).toEqual(before);
    }
  });

  test('lists of requests: written out is left out', async () => {
    const { ledger } = world.billing;
    const bare = { account: await withUnits(world), product: 'MSG', idempotencyKey: world.name() };
    const full = { ...bare, amount: 1, createIfNew: false };
    expect(await ledger.consumeMany([bare])).toMatchObject([{ replayed: false }]);
    expect(await ledger.consumeMany([full])).toMatchObject([{ replayed: true }]);
    const asked = { account: bare.account, product: 'MSG' };
    expect(await ledger.checkMany([{ ...asked, amount: 1, createIfNew: false }])).toEqual(
      await ledger.checkMany([asked]),
    );
  });

  test.each(testedOf(TABLE))('$name: written out is left out', async ({ name, rules }) => {
    const written = Object.entries<Default>(rules.optional).flatMap(([field, standing]) =>
      'is' in standing ? [(request: object) => ({ ...request, [field]: standing.is })] : [],
    );
    for (const writeOut of [...written, ...(rules.inside ?? [])]) {
      const bare = await rules.request!(world);
      const full = { ...bare, ...writeOut(bare) };
      // The one or the other first.
      const idempotencyKey = world.name();
      expect(replayedBy(await call(name, { ...bare, idempotencyKey }))).toBe(false);
      expect(replayedBy(await call(name, { ...full, idempotencyKey }))).toBe(true);

      const again = await rules.request!(world);
      const other = world.name();
      await call(name, { ...again, ...writeOut(again), idempotencyKey: other });
      expect(replayedBy(await call(name, { ...again, idempotencyKey: other }))).toBe(true);
    }
  });
});
