/**
 * The accounts of the money book, and the kinds of postings. docs/money-book.md says which legs each
 * kind has; a test holds both lists equal to that page.
 */

/** What stands on each account, in a sentence. Debits are positive. */
export const CHART = {
  receivable: 'Owed by customers: debited by a sale, credited when it is paid.',
  cash: 'Received, by gateway: what customers paid, less what went back to them.',
  fees: 'Spent on selling, by whom it went to: fees of gateways, commissions for referrals.',
  deferred:
    'Paid for and not used yet: the value left in grants and what is to come of fees, owed as work.',
  revenue:
    'Earned: the value of units that were used or have expired, and fees as their time goes by.',
  tax_payable: 'Tax taken from customers, owed to the state.',
  customer_credit: 'Credit that customers hold against invoices to come.',
  commission_payable: 'Commissions promised and not paid out yet.',
  written_off: 'Given up: owed by customers who will not pay.',
  rounding: 'What rounding to whole units left over.',
  transfer: 'Value on its way from one paying account to another; 0 over all accounts.',
} as const;

export type BookAccount = keyof typeof CHART;
export const BOOK_ACCOUNTS = Object.keys(CHART) as readonly BookAccount[];

/** Why something was posted. */
export const POSTING_KINDS = [
  'outside_grant',
  'sale',
  'payment',
  'earned',
  'refund',
  'rounding',
  'transfer',
  'commission',
  'payout',
  'credit',
  'credit_note',
  'write_off',
] as const;
export type PostingKind = (typeof POSTING_KINDS)[number];
