import { column, type Session } from '../database';
import { recordEvents } from '../events';
import { Decimal, currencyDecimals, formatMoney, isoTime, type Instant } from '../kernel';

/** Money that moves for something: what an attempt to be paid and a refund have in common. */

/** What can be paid for. */
export const PURPOSES = ['invoice', 'order'] as const;
export type Purpose = (typeof PURPOSES)[number];

/** Something that is paid for, by whom. */
export interface PaidFor {
  payerId: string;
  purpose: Purpose;
  purposeId: string;
}

/** A transfer as rules work on it. */
export interface Transfer extends PaidFor {
  accountId: string;
  amount: Decimal;
  currency: string;
  /** The gateway's id of it. */
  reference: string | null;
  code: string | null;
  createdAt: Instant;
  finishedAt: Instant | null;
  /** In the hands of one process until then; what it left behind is looked up afterwards. */
  leasedUntil: Instant | null;
}

export const transferColumns = {
  payerId: column.uuid(),
  accountId: column.uuid(),
  purpose: column.text<Purpose>(),
  purposeId: column.uuid(),
  amount: column.decimal(),
  currency: column.text(),
  reference: column.text().orNull,
  code: column.text().orNull.named('response_code'),
  createdAt: column.instant(),
  finishedAt: column.instant().orNull,
  leasedUntil: column.instant().orNull,
};

/** How long a transfer is left to the process that has it: longer than any gateway may take. */
const LEASE = 120_000;
/** How long until a gateway is asked again that said "later", or nothing that makes sense. */
export const ASK_AGAIN = { pending: 3_600_000, unknown: 300_000 };

export const leaseFrom = (now: Instant): Instant => now + LEASE;

/** A lease that ends later than any is given was given by a clock that was moved back since. */
export const latestLease = (now: Instant): Instant => now + 2 * ASK_AGAIN.pending;

/** Whether a process has it just now. */
export const isInHand = ({ leasedUntil }: Transfer, now: Instant): boolean =>
  leasedUntil !== null && leasedUntil > now && leasedUntil <= latestLease(now);

/** Money as it goes out, by its currency alone. */
export const moneyOf = (amount: Decimal, currency: string): string =>
  formatMoney(amount, currencyDecimals(currency) ?? 2);

/** What something is paid for, as it goes out. */
export const purposeRecord = ({ purpose, purposeId }: Pick<PaidFor, 'purpose' | 'purposeId'>) => ({
  invoiceId: purpose === 'invoice' ? purposeId : null,
  orderId: purpose === 'order' ? purposeId : null,
});

/** Tells that money came, or went back. */
export const tellOfTransfer = (
  session: Session,
  type: 'payment.succeeded' | 'payment.refunded',
  transfer: Transfer & { attemptId: string | null; gateway: string | null },
  at: Instant,
): Promise<void> => {
  const { payerId, accountId, attemptId, reference, amount, currency } = transfer;
  const gateway = transfer.gateway!;
  const money = { gateway, amount: moneyOf(amount, currency), currency };
  const data = { attemptId, reference, ...money, ...purposeRecord(transfer) };
  return recordEvents(session, [{ type, payerId, accountId, at, data }]);
};

/** A transfer as it goes out. */
export function transferRecord<T extends Transfer>(transfer: T) {
  const {
    payerId,
    accountId,
    purpose: _purpose,
    purposeId: _id,
    leasedUntil: _leased,
    ...said
  } = transfer;
  return {
    ...said,
    account: accountId,
    payer: payerId,
    ...purposeRecord(transfer),
    amount: moneyOf(said.amount, said.currency),
    createdAt: isoTime(said.createdAt),
    finishedAt: isoTime(said.finishedAt),
  };
}

export type TransferRecord = ReturnType<typeof transferRecord<Transfer>>;
