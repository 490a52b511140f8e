import Decimal from 'decimal.js';

/** What nodes give in short: what matters first, and nothing that says nothing. */

interface Kind {
  /** The fields by which a record of the kind is known. */
  marks: readonly string[];
  /** What a person looks for, in that order; what else there is follows. */
  first: readonly string[];
  /** What only the whole record has: no id, and nothing that another node takes. */
  without: readonly string[];
}

const kind = (marks: string, first: string, without = ''): Kind => ({
  marks: marks.split(' '),
  first: first.split(' '),
  without: without.split(' '),
});

/** The first whose marks a record has is its kind, so the one with more of them stands before. */
const KINDS: readonly Kind[] = [
  kind(
    'invoiceId lines amountDue',
    'invoiceId number status account payer name email currency total amountDue paid dueAt issuedAt periodStart lines',
    'series kind taxStatus carried collectedBy taxes sentAt',
  ),
  kind(
    'lineId position net',
    'lineId description product sku quantity unitPrice net tax total position',
    'version subtotal taxRate',
  ),
  kind(
    'creditNoteId lines',
    'creditNoteId number invoiceId invoiceNumber account payer currency total to reason note issuedAt lines',
    'series taxes',
  ),
  kind(
    'orderId items currency',
    'allowed reason orderId status account payer currency total paid refunded items coupon paymentId expiresAt paidAt',
    'subtotal net taxRate',
  ),
  kind(
    'sku position unitPrice',
    'sku name quantity unitPrice discount tax total refunded position',
    'version subtotal net',
  ),
  kind(
    'subscriptionId interval',
    'allowed reason subscriptionId status account payer sku name quantity price currency interval period renews next',
    'version bill collectedBy anchorAt',
  ),
  kind(
    'sku billing items',
    'sku name price listPrice currency billing interval items',
    'version collect createdAt updatedAt',
  ),
  kind(
    'product quantity refill',
    'product quantity expiresAfter',
    'priority share leadTime expiresAtNextPayment refill',
  ),
  kind('sku price product', 'sku name price listPrice trialPrice currency product quantity'),
  kind('key unit isCurrency', 'key name unit kind decimals', 'createdAt updatedAt'),
  kind(
    'code duration redeemed',
    'code name percent amount currency duration redeemed maxRedemptions maxPerAccount startsAt expiresAt skus active',
    'createdAt updatedAt',
  ),
  kind(
    'key percent inclusive country',
    'key name percent country inclusive',
    'createdAt updatedAt',
  ),
  kind('accountId identities', 'accountId name email status parentId identities standing'),
  kind('accountId created', 'accountId created trialEligible'),
  kind('product available held', 'product available unit held expiresAt debt'),
  kind(
    'grantId initial',
    'grantId product remaining initial held expiresAt source value currency',
    'priority validFrom valueLeft unitValue',
  ),
  kind(
    'entryId kind effectiveAt',
    'entryId kind product amount account effectiveAt source',
    'recordedAt value',
  ),
  kind('holdId status', 'holdId status product amount account expiresAt settled'),
  kind(
    'attemptId status',
    'attemptId status invoiceId orderId amount currency account payer gateway methodId rejectReason message hard actionUrl',
    'surplus',
  ),
  kind('methodId last4', 'methodId kind brand last4 expMonth expYear isDefault account gateway'),
  kind('eventId type', 'eventId type occurredAt account payer data', 'version recordedAt'),
  kind('eventId owner', 'eventId occurredAt invoice charge owner amount currency message'),
  kind(
    'invoiceId amountDue retried',
    'invoiceId number status account payer name email currency total amountDue paid dueAt',
  ),
  kind(
    'allowed reason',
    'allowed reason consumed held remaining unit expiresAt accountId entryId holdId suggestedOffers',
  ),
];

/** What people or other systems put in, and what an import changes in it; it stays as it is. */
const OPAQUE: readonly string[] = ['metadata', 'fields'];

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** No null and nothing empty; a list that is empty says so where people look for it. */
function saysSomething(value: unknown, isLookedFor: boolean): boolean {
  if (Array.isArray(value)) return isLookedFor || value.length > 0;
  if (isRecord(value)) return Object.keys(value).length > 0;
  return value !== null && value !== undefined;
}

/** A record in short, and all that it holds. */
export function simplified(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(simplified);
  if (!isRecord(value)) return value;
  const known = KINDS.find(({ marks }) => marks.every((mark) => mark in value));
  const first = known?.first.filter((name) => name in value) ?? [];
  const others = Object.keys(value).filter(
    (name) => !first.includes(name) && known?.without.includes(name) !== true,
  );
  const fields = [...first, ...others]
    .map((name) => [name, OPAQUE.includes(name) ? value[name] : simplified(value[name])] as const)
    .filter(([name, field]) => saysSomething(field, known === undefined || first.includes(name)));
  return Object.fromEntries(fields);
}

/** The fields that are amounts: of units, of money, and of what is worth. */
const AMOUNTS = new Set(
  `amount amountDue available balance below bonus carried consumed credit credited creditNoted debit
  debt deducted discount due earned expired flatPrice held initial limit listPrice
  lowBalanceThreshold net overage paid pending price quantity received refund refundDue refunded
  released remaining restored reversed rounding settled share size spent subtotal tax threshold total
  trialPrice unitPrice unitValue units unposted upTo used value valueLeft`.split(/\s+/),
);

/** A JS number tells so many digits apart for certain. */
const EXACT_DIGITS = 15;

function numberOf(amount: string): string | number {
  if (!/^-?\d+(\.\d+)?$/.test(amount)) return amount;
  return new Decimal(amount).precision() <= EXACT_DIGITS ? Number(amount) : amount;
}

/** Amounts as numbers, but those that a number cannot hold to the last digit. */
export function withNumbers(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withNumbers);
  if (!isRecord(value)) return value;
  const fields = Object.entries(value).map(([name, field]) => {
    if (OPAQUE.includes(name)) return [name, field] as const;
    const isAmount = typeof field === 'string' && AMOUNTS.has(name);
    return [name, isAmount ? numberOf(field) : withNumbers(field)] as const;
  });
  return Object.fromEntries(fields);
}
