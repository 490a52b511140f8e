import { payersOf, resolveAccount, resolveWithAliases } from '../accounts';
import { NO_ACCOUNT, once } from '../database';
import {
  accountReference,
  changeFields,
  input,
  invalidInput,
  isId,
  pageFields,
  pageOf,
  parse,
  recordId,
  text,
  type BillingError,
  type RequestOf,
} from '../kernel';
import { attemptRecord, findAttempt, listAttempts, type PaymentAttempt } from './attempts';
import type { PaymentContext } from './ports';
import { decideRefundUnderLocks } from './refunding';
import { findRefund, listRefundsDue, refundRecord, type PaymentRefund } from './refund-records';
import { underLocks } from './under-locks';

/** What was tried and what is owed back: the room's reads, and refunds made by hand. */

const DEFAULT_LIMIT = 100;

const attemptsInput = input({
  account: accountReference().optional(),
  invoiceId: recordId().optional(),
  orderId: recordId().optional(),
  ...pageFields,
});
export type AttemptsRequest = RequestOf<typeof attemptsInput>;

const refundsDueInput = attemptsInput.omit({ invoiceId: true, orderId: true });
export type RefundsDueRequest = RequestOf<typeof refundsDueInput>;

const markRefundedInput = input({
  refundId: recordId(),
  /** The number of the transfer, or the gateway's id. */
  reference: text(255),
  ...changeFields,
});
export type MarkRefundedRequest = RequestOf<typeof markRefundedInput>;

/** Nothing has an id that is none. */
const idOrNobody = (id: string | undefined): string | undefined =>
  id === undefined || isId(id) ? id : NO_ACCOUNT;

export class PaymentRecords {
  constructor(private readonly context: PaymentContext) {}

  /**
   * Attempts to be paid, the latest first, 100 at once: of an account, an invoice or an order, or all.
   *
   * @throws unknown_account, invalid_input
   */
  async attempts(
    request: AttemptsRequest = {},
  ): Promise<{ items: PaymentAttempt[]; nextCursor: string | null }> {
    const { account, limit = DEFAULT_LIMIT, ...wanted } = parse(attemptsInput, request);
    const { database } = this.context;
    const found = await listAttempts(database, {
      ...(account && (await this.namesOf(account))),
      invoiceId: idOrNobody(wanted.invoiceId),
      orderId: idOrNobody(wanted.orderId),
      after: wanted.cursor,
      limit: limit + 1,
    });
    return pageOf(found.map(attemptRecord), limit, ({ attemptId }) => attemptId);
  }

  /** One attempt. @throws invalid_input (no such attempt) */
  async attempt(request: { attemptId: string }): Promise<PaymentAttempt> {
    const { attemptId } = parse(input({ attemptId: recordId() }), request);
    const found = isId(attemptId) ? await findAttempt(this.context.database, attemptId) : null;
    if (found !== null) return attemptRecord(found);
    throw invalidInput(
      'attemptId',
      `There is no attempt "${attemptId}".`,
      'Pass an attemptId that payments.attempts lists.',
    );
  }

  /**
   * Money that is to be given back by hand, since its gateway cannot be asked to; the oldest first,
   * 100 at once.
   *
   * @throws unknown_account, invalid_input
   */
  async refundsDue(
    request: RefundsDueRequest = {},
  ): Promise<{ items: PaymentRefund[]; nextCursor: string | null }> {
    const { account, cursor, limit = DEFAULT_LIMIT } = parse(refundsDueInput, request);
    const names = account === undefined ? null : await this.namesOf(account);
    const found = await listRefundsDue(this.context.database, {
      accounts: names === null ? null : [...names.accounts, ...names.payers],
      after: cursor ?? null,
      limit: limit + 1,
    });
    return pageOf(found.map(refundRecord), limit, ({ refundId }) => refundId);
  }

  /**
   * Says that money on the list of `refundsDue` was given back.
   *
   * @throws invalid_input (no such refund, or not one to be made by hand), idempotency_conflict
   */
  async markRefunded(request: MarkRefundedRequest): Promise<PaymentRefund & { replayed: boolean }> {
    const { refundId, reference, idempotencyKey } = parse(markRefundedInput, request);
    const { context } = this;
    const found = isId(refundId) ? await findRefund(context.database, refundId) : null;
    if (found === null) throw refundMissing(refundId);
    const { payerId, accountId, purpose, purposeId } = found;
    const { answer, replayed } = await underLocks(
      context,
      purpose,
      purposeId,
      async (session, handlers, now) => {
        const owner = await resolveAccount(session, { accountId });
        return once(
          session,
          {
            kind: 'markRefunded',
            payers: [...new Set([payerId, ...payersOf(owner)])],
            account: owner.accountId,
            key: idempotencyKey,
            request: { refundId, reference },
            now,
            keep: context.keep,
            isLocked: true,
          },
          async () => {
            const refund = (await findRefund(session, refundId))!;
            const isSame = refund.status === 'succeeded' && refund.reference === reference;
            if (refund.status !== 'due' && !isSame) throw refundNotDue(refundId);
            const outcome = { status: 'succeeded' as const, reference, code: null, message: null };
            const done = await decideRefundUnderLocks(session, handlers, refund, outcome, now);
            return refundRecord(done);
          },
        );
      },
    );
    return { ...answer, replayed };
  }

  private async namesOf(
    account: Parameters<typeof resolveWithAliases>[1],
  ): Promise<{ accounts: string[]; payers: string[] }> {
    const found = await resolveWithAliases(this.context.database, account);
    const accounts = [found.accountId, ...found.aliases.map(({ accountId }) => accountId)];
    return { accounts, payers: found.accountId === found.payerId ? accounts : [] };
  }
}

const refundMissing = (refundId: string): BillingError =>
  invalidInput(
    'refundId',
    `There is no refund "${refundId}".`,
    'Pass a refundId that payments.refundsDue lists.',
  );

const refundNotDue = (refundId: string): BillingError =>
  invalidInput(
    'refundId',
    `Refund ${refundId} is not waiting to be made by hand.`,
    'Its gateway gives the money back, or it is done already.',
  );
