import { resolveWithAliases } from '../accounts';
import {
  BillingError,
  accountReference,
  changeFields,
  input,
  integer,
  isId,
  parse,
  text,
  type AccountReference,
  type ChangeOptions,
} from '../kernel';
import { once } from '../database';
import { attemptRecord, findAttempt, listAttempts, type PaymentAttempt } from './attempts';
import { underLocks } from './charging';
import type { PaymentContext } from './ports';
import { decideRefundUnderLocks } from './refunding';
import { findRefund, listRefundsDue, refundRecord, type PaymentRefund } from './refund-records';

/** What was tried and what is owed back: the room's reads, and refunds made by hand. */

const DEFAULT_LIMIT = 100;

const idInput = () => text(100).transform((id) => id.toLowerCase());

const attemptsInput = input({
  account: accountReference().optional(),
  invoiceId: idInput().optional(),
  orderId: idInput().optional(),
  limit: integer(1, 500).optional(),
  cursor: text(100).optional(),
});
const refundsDueInput = input({
  account: accountReference().optional(),
  limit: integer(1, 500).optional(),
  cursor: text(100).optional(),
});
const markRefundedInput = input({
  refundId: idInput(),
  reference: text(255),
  ...changeFields,
});

export interface AttemptsRequest {
  account?: AccountReference;
  invoiceId?: string;
  orderId?: string;
  /** Default 100. */
  limit?: number;
  /** What the page before gave as `nextCursor`. */
  cursor?: string;
}

export type RefundsDueRequest = Pick<AttemptsRequest, 'account' | 'limit' | 'cursor'>;

export interface MarkRefundedRequest extends ChangeOptions {
  refundId: string;
  /** The number of the transfer, or the gateway's id. */
  reference: string;
}

/** Nothing has an id that is none. */
const idOrNobody = (id: string | undefined): string | null =>
  id === undefined ? null : isId(id) ? id : '00000000-0000-0000-0000-000000000000';

/** @throws invalid_input */
function cursorOf(cursor: string | undefined): string | null {
  if (cursor === undefined) return null;
  if (isId(cursor)) return cursor.toLowerCase();
  throw new BillingError('invalid_input', '"cursor" is not one that was given out here.', {
    parameter: 'cursor',
    advice: 'Pass the nextCursor of the page before, or leave it out.',
  });
}

export class PaymentRecords {
  constructor(private readonly context: PaymentContext) {}

  /**
   * Attempts to be paid, the latest first: of an account, an invoice or an order, or all.
   *
   * @throws unknown_account, invalid_input
   */
  async attempts(
    request: AttemptsRequest = {},
  ): Promise<{ items: PaymentAttempt[]; nextCursor: string | null }> {
    const { account, limit = DEFAULT_LIMIT, ...wanted } = parse(attemptsInput, request);
    const { database } = this.context;
    const names = account === undefined ? null : await this.namesOf(account);
    const found = await listAttempts(database, {
      accounts: names?.accounts ?? null,
      payers: names?.payers ?? null,
      invoiceId: idOrNobody(wanted.invoiceId),
      orderId: idOrNobody(wanted.orderId),
      after: cursorOf(wanted.cursor),
      limit: limit + 1,
    });
    const items = found.slice(0, limit).map(attemptRecord);
    return { items, nextCursor: found.length > limit ? items.at(-1)!.attemptId : null };
  }

  /** One attempt. @throws invalid_input (no such attempt) */
  async attempt(request: { attemptId: string }): Promise<PaymentAttempt> {
    const { attemptId } = parse(input({ attemptId: idInput() }), request);
    const found = isId(attemptId) ? await findAttempt(this.context.database, attemptId) : null;
    if (found !== null) return attemptRecord(found);
    throw new BillingError('invalid_input', `There is no attempt "${attemptId}".`, {
      parameter: 'attemptId',
      advice: 'Pass an attemptId that payments.attempts lists.',
    });
  }

  /**
   * Money that is to be given back by hand, since its gateway cannot be asked to; the oldest first.
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
      after: cursorOf(cursor),
      limit: limit + 1,
    });
    const items = found.slice(0, limit).map(refundRecord);
    return { items, nextCursor: found.length > limit ? items.at(-1)!.refundId : null };
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
      (session, handlers, now) =>
        once(
          session,
          {
            kind: 'markRefunded',
            payers: [payerId],
            account: accountId,
            key: idempotencyKey,
            request: { refundId, reference },
            now,
            keep: context.keep,
          },
          async () => {
            const refund = (await findRefund(session, refundId))!;
            const isSame = refund.status === 'succeeded' && refund.reference === reference;
            if (refund.status !== 'due' && !isSame) throw refundNotDue(refundId);
            const outcome = { status: 'succeeded' as const, reference, code: null, message: null };
            const done = await decideRefundUnderLocks(session, handlers, refund, outcome, now);
            return refundRecord(done);
          },
        ),
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
  new BillingError('invalid_input', `There is no refund "${refundId}".`, {
    parameter: 'refundId',
    advice: 'Pass a refundId that payments.refundsDue lists.',
  });

const refundNotDue = (refundId: string): BillingError =>
  new BillingError('invalid_input', `Refund ${refundId} is not waiting to be made by hand.`, {
    parameter: 'refundId',
    advice: 'Its gateway gives the money back, or it is done already.',
  });
