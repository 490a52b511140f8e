/**
 * What can happen, and what is told of it. Events hold ids, codes, amounts and times only: no name and
 * no text that a person wrote, so that there is nothing in them to erase. Amounts are formatted, times
 * are ISO 8601. docs/events.md explains each type; a test holds it equal to this file.
 */

export interface SubscriptionData {
  subscriptionId: string;
  sku: string;
  status: string;
  periodStart: string | null;
  periodEnd: string | null;
}

export interface EndedSubscriptionData extends SubscriptionData {
  /** Why: a code such as `expired` or `payment_failed`. */
  reason: string | null;
}

/** A reminder, some days before. */
export interface RenewalData {
  subscriptionId: string;
  sku: string;
  renewsAt: string;
  price: string;
  currency: string;
}

export interface InvoiceData {
  invoiceId: string;
  number: string | null;
  currency: string;
  total: string;
  amountDue: string;
  dueAt: string | null;
}

export interface PaymentData {
  attemptId: string | null;
  gateway: string;
  reference: string | null;
  amount: string;
  currency: string;
  invoiceId: string | null;
  orderId: string | null;
}

/** The data of each type of event. */
export interface EventData {
  'quota.low': { product: string; remaining: string; threshold: string };
  'usage.threshold': { product: string; percent: string; used: string; granted: string };
  'usage.uncovered': { product: string; holdId: string; amount: string };

  'order.paid': { orderId: string; total: string; currency: string };
  'order.refunded': { orderId: string; refundId: string; amount: string; currency: string };
  'refund.due': {
    orderId: string | null;
    invoiceId: string | null;
    paymentId: string;
    gateway: string;
    amount: string;
    currency: string;
    reason: string;
  };

  'subscription.started': SubscriptionData;
  'subscription.renewed': SubscriptionData;
  'subscription.changed': SubscriptionData;
  'subscription.paused': SubscriptionData;
  'subscription.resumed': SubscriptionData;
  'subscription.past_due': SubscriptionData;
  'subscription.overdue': SubscriptionData;
  'subscription.recovered': SubscriptionData;
  'subscription.cancel_scheduled': SubscriptionData;
  'subscription.cancelled': EndedSubscriptionData;
  'subscription.ended': EndedSubscriptionData;
  'subscription.renewal_due': RenewalData;
  'subscription.trial_ending': RenewalData;
  /** `missed`: periods that are over and were never opened. */
  'subscription.catch_up_needed': SubscriptionData & { missed: number };

  'invoice.issued': InvoiceData;
  'invoice.sent': InvoiceData;
  'invoice.paid': InvoiceData;
  'invoice.overdue': InvoiceData;
  'invoice.voided': InvoiceData;
  'invoice.uncollectible': InvoiceData;
  'credit_note.issued': {
    creditNoteId: string;
    number: string;
    invoiceId: string;
    currency: string;
    total: string;
  };

  'card.error': {
    invoiceId: string;
    invoiceNumber: string | null;
    attemptId: string | null;
    /** Null when there was nothing to charge: no card on file. */
    charge: {
      attemptId: string;
      gateway: string;
      reference: string | null;
      methodId: string;
    } | null;
    /** 1 for the first one of the invoice. */
    attempt: number;
    nextAttemptAt: string | null;
    amount: string;
    currency: string;
    /** As the gateway said. */
    code: string | null;
    responseText: string | null;
    rejectReason: string | null;
    /** The same card will not be charged again. */
    hard: boolean;
  };
  'payment.succeeded': PaymentData;
  'payment.refunded': PaymentData;

  'top_up.bought': {
    product: string;
    sku: string;
    orderId: string;
    amount: string;
    currency: string;
  };
  'top_up.failed': {
    product: string;
    sku: string;
    code: string | null;
    rejectReason: string | null;
  };

  /** Of no account: its ids are all zeros. */
  'clock.ahead': { clock: string; database: string };
}

export type EventType = keyof EventData;

export interface EventDescription<T extends EventType> {
  /** Of the form of its data. A new version is only for what an older reader would misunderstand. */
  version: number;
  /** When it happens, for people. */
  when: string;
  /** What its data looks like. */
  sample: EventData[T];
}

const SUBSCRIPTION: SubscriptionData = {
  subscriptionId: '01948b5c-4c00-7000-8000-000000000001',
  sku: 'pro-monthly',
  status: 'active',
  periodStart: '2027-01-31T09:00:00.000Z',
  periodEnd: '2027-02-28T09:00:00.000Z',
};

const RENEWAL: RenewalData = {
  subscriptionId: SUBSCRIPTION.subscriptionId,
  sku: 'pro-monthly',
  renewsAt: '2027-02-28T09:00:00.000Z',
  price: '29.00',
  currency: 'USD',
};

const INVOICE: InvoiceData = {
  invoiceId: '01948b5c-4c00-7000-8000-000000000002',
  number: 'INV-000042',
  currency: 'USD',
  total: '34.51',
  amountDue: '34.51',
  dueAt: '2027-02-14T09:00:00.000Z',
};

const PAYMENT: PaymentData = {
  attemptId: '01948b5c-4c00-7000-8000-000000000003',
  gateway: 'test',
  reference: 'test_ch_01948b5c',
  amount: '34.51',
  currency: 'USD',
  invoiceId: INVOICE.invoiceId,
  orderId: null,
};

const ORDER_ID = '01948b5c-4c00-7000-8000-000000000004';

/** Every type of event, with its version, when it happens, and a sample of its data. */
export const EVENTS: { readonly [T in EventType]: EventDescription<T> } = {
  'quota.low': {
    version: 1,
    when: "What is left of a product fell below the product's low-balance threshold. Once: it can happen again after the balance has been at or above it.",
    sample: { product: 'TOKENS', remaining: '199', threshold: '200' },
  },
  'usage.threshold': {
    version: 1,
    when: 'So many percent of what was granted are used. Once for each percentage and period or refill.',
    sample: { product: 'TOKENS', percent: '80', used: '800', granted: '1000' },
  },
  'usage.uncovered': {
    version: 1,
    when: 'A hold was settled for more than the account had. The amount is what nothing paid for.',
    sample: {
      product: 'TOKENS',
      holdId: '01948b5c-4c00-7000-8000-000000000005.12',
      amount: '30',
    },
  },

  'order.paid': {
    version: 1,
    when: 'An order was paid, and what it holds was granted.',
    sample: { orderId: ORDER_ID, total: '40.00', currency: 'USD' },
  },
  'order.refunded': {
    version: 1,
    when: 'Money of an order was given back, all of it or a part.',
    sample: {
      orderId: ORDER_ID,
      refundId: '01948b5c-4c00-7000-8000-000000000006',
      amount: '20.00',
      currency: 'USD',
    },
  },
  'refund.due': {
    version: 1,
    when: 'A payment came that cannot be used any more, and is to be given back.',
    sample: {
      orderId: ORDER_ID,
      invoiceId: null,
      paymentId: 'pay_981',
      gateway: 'manual',
      amount: '40.00',
      currency: 'USD',
      reason: 'already_purchased',
    },
  },

  'subscription.started': {
    version: 1,
    when: 'A subscription began, with a trial phase or without.',
    sample: SUBSCRIPTION,
  },
  'subscription.renewed': {
    version: 1,
    when: 'A subscription went into its next period.',
    sample: {
      ...SUBSCRIPTION,
      periodStart: '2027-02-28T09:00:00.000Z',
      periodEnd: '2027-03-31T09:00:00.000Z',
    },
  },
  'subscription.changed': {
    version: 1,
    when: 'The offer or the quantity of a subscription changed.',
    sample: { ...SUBSCRIPTION, sku: 'business-monthly' },
  },
  'subscription.paused': {
    version: 1,
    when: 'A pause took force.',
    sample: { ...SUBSCRIPTION, status: 'paused' },
  },
  'subscription.resumed': {
    version: 1,
    when: 'A subscription goes on after a pause.',
    sample: SUBSCRIPTION,
  },
  'subscription.past_due': {
    version: 1,
    when: 'A payment for it failed for the first time. What it brought can still be used.',
    sample: { ...SUBSCRIPTION, status: 'past_due' },
  },
  'subscription.overdue': {
    version: 1,
    when: 'The grace period after a failed payment is over: uses are denied until it is paid.',
    sample: { ...SUBSCRIPTION, status: 'past_due' },
  },
  'subscription.recovered': {
    version: 1,
    when: 'What was owed has been paid.',
    sample: SUBSCRIPTION,
  },
  'subscription.cancel_scheduled': {
    version: 1,
    when: 'A subscription was cancelled for the end of its period; until then it can be undone.',
    sample: SUBSCRIPTION,
  },
  'subscription.cancelled': {
    version: 1,
    when: 'A cancellation took force.',
    sample: { ...SUBSCRIPTION, status: 'cancelled', reason: 'cancelled' },
  },
  'subscription.ended': {
    version: 1,
    when: 'A subscription ended and does not renew.',
    sample: { ...SUBSCRIPTION, status: 'ended', reason: 'expired' },
  },
  'subscription.renewal_due': {
    version: 1,
    when: 'A subscription is about to renew: some days before, so that a person can be told.',
    sample: RENEWAL,
  },
  'subscription.trial_ending': {
    version: 1,
    when: 'A trial phase is about to end: some days before, with the price that follows.',
    sample: RENEWAL,
  },
  'subscription.catch_up_needed': {
    version: 1,
    when: 'A subscription has missed more periods than are made up for unasked. Nothing of it is opened or invoiced until a run is told to catch up. Once.',
    sample: { ...SUBSCRIPTION, missed: 5 },
  },

  'invoice.issued': {
    version: 1,
    when: 'An invoice got its number and will not change any more.',
    sample: INVOICE,
  },
  'invoice.sent': {
    version: 1,
    when: 'An issued invoice was handed out to be sent to the customer.',
    sample: INVOICE,
  },
  'invoice.paid': {
    version: 1,
    when: 'Nothing of an invoice is left to pay.',
    sample: { ...INVOICE, amountDue: '0.00' },
  },
  'invoice.overdue': {
    version: 1,
    when: 'An invoice that the customer pays without being charged was not paid by its due date.',
    sample: INVOICE,
  },
  'invoice.voided': {
    version: 1,
    when: 'An unpaid invoice was declared void. It keeps its number.',
    sample: { ...INVOICE, amountDue: '0.00' },
  },
  'invoice.uncollectible': {
    version: 1,
    when: 'An invoice was written off.',
    sample: INVOICE,
  },
  'credit_note.issued': {
    version: 1,
    when: 'A credit note corrects an invoice.',
    sample: {
      creditNoteId: '01948b5c-4c00-7000-8000-000000000007',
      number: 'CN-000003',
      invoiceId: INVOICE.invoiceId,
      currency: 'USD',
      total: '9.99',
    },
  },

  'card.error': {
    version: 1,
    when: 'An invoice could not be collected: the charge was refused, or there was no card to charge.',
    sample: {
      invoiceId: INVOICE.invoiceId,
      invoiceNumber: 'INV-000042',
      attemptId: PAYMENT.attemptId,
      charge: {
        attemptId: '01948b5c-4c00-7000-8000-000000000003',
        gateway: 'test',
        reference: 'test_ch_01948b5c',
        methodId: '01948b5c-4c00-7000-8000-000000000008',
      },
      attempt: 1,
      nextAttemptAt: '2027-02-03T09:00:00.000Z',
      amount: '34.51',
      currency: 'USD',
      code: 'card_declined',
      responseText: 'The card was declined.',
      rejectReason: 'insufficient_funds',
      hard: false,
    },
  },
  'payment.succeeded': {
    version: 1,
    when: 'A payment arrived.',
    sample: PAYMENT,
  },
  'payment.refunded': {
    version: 1,
    when: 'A payment was given back by its gateway, all of it or a part.',
    sample: PAYMENT,
  },

  'top_up.bought': {
    version: 1,
    when: 'The balance fell below its limit, and more was bought automatically.',
    sample: {
      product: 'TOKENS',
      sku: 'tokens-1000',
      orderId: ORDER_ID,
      amount: '10.00',
      currency: 'USD',
    },
  },
  'top_up.failed': {
    version: 1,
    when: 'An automatic purchase was refused; none is tried again in this period.',
    sample: {
      product: 'TOKENS',
      sku: 'tokens-1000',
      code: 'card_declined',
      rejectReason: 'insufficient_funds',
    },
  },

  'clock.ahead': {
    version: 1,
    when: 'A run of what comes due by time was refused: the clock of its process is more than a day ahead of the database. At most once a day, and of no account: its ids are all zeros.',
    sample: { clock: '2028-02-28T09:00:00.000Z', database: '2027-02-28T09:00:00.000Z' },
  },
};

/** The types of events, in the order in which the documentation explains them. */
export const EVENT_TYPES = Object.keys(EVENTS) as [EventType, ...EventType[]];
