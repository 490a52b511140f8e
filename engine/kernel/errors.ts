/**
 * Everything the engine refuses comes out in one of two forms: an answer (`allowed: false` with a
 * reason) when the question was fine and the reply is no, or a BillingError with a stable code when
 * the question itself was wrong or the database could not be asked.
 */

/** Why an answer is "no". A closed list: docs/errors.md explains each, and a test holds both equal. */
export const DENIAL_REASONS = [
  'insufficient_balance',
  'no_subscription',
  'subscription_ended',
  'subscription_cancelled',
  'subscription_paused',
  'payment_overdue',
  'payment_awaited',
  'account_suspended',
  'account_closed',
  'trial_already_used',
  'already_purchased',
  'already_referred',
  'self_referral',
  'offer_unavailable',
  'coupon_unavailable',
  'usage_limit',
  'budget_exhausted',
] as const;

export type DenialReason = (typeof DENIAL_REASONS)[number];

/** What can be thrown. Codes are stable: they are never renamed, only added. */
export const ERROR_CODES = [
  'invalid_input',
  'unknown_account',
  'unknown_product',
  'unknown_offer',
  'unknown_entry',
  'unknown_hold',
  'idempotency_conflict',
  'currency_mismatch',
  'restore_exceeds_use',
  'hold_not_open',
  'order_state',
  'payment_mismatch',
  'refund_ambiguous',
  'refund_exceeds_paid',
  'merge_conflict',
  'unknown_order',
  'unknown_invoice',
  'unknown_subscription',
  'unknown_payout',
  'invoice_state',
  'subscription_state',
  'payout_state',
  'tier_invalid',
  'import_invalid',
  'clock_ahead',
  'catch_up_needed',
  'sandbox_only',
  'forbidden',
  'database_unavailable',
  'database_newer',
  'database_in_use',
  'database_version',
  'lock_timeout',
  'retry_transaction',
  'internal_error',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

export interface BillingErrorDetails {
  /** The parameter that was wrong, as the caller wrote it: `amount`, `items[2].product`. */
  parameter?: string;
  /** What the caller can do about it, in one sentence. */
  advice?: string;
  cause?: unknown;
}

/**
 * The only error the engine throws on purpose. Nothing was changed when it comes out, unless it says that
 * nobody knows: the connection was lost before the answer to a commit.
 *
 * `message` says what happened, `code` is for programs, `parameter` names the input at fault,
 * `advice` says what to do. None of them ever holds a secret, or a row; nor does `cause`.
 */
export class BillingError extends Error {
  override readonly name = 'BillingError';
  readonly code: ErrorCode;
  readonly parameter: string | null;
  readonly advice: string | null;

  constructor(code: ErrorCode, message: string, details: BillingErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.parameter = details.parameter ?? null;
    this.advice = details.advice ?? null;
  }

  /** The error as plain data, for batch results and logs. */
  toJSON(): BillingErrorData {
    return {
      code: this.code,
      message: this.message,
      parameter: this.parameter,
      advice: this.advice,
    };
  }
}

export interface BillingErrorData {
  code: ErrorCode;
  message: string;
  parameter: string | null;
  advice: string | null;
}

export function isBillingError(error: unknown): error is BillingError {
  return error instanceof BillingError;
}

/** Input that makes no sense, by the parameter that is wrong. */
export const invalidInput = (parameter: string, message: string, advice?: string): BillingError =>
  new BillingError('invalid_input', message, { parameter, advice });

/** The same, told of the parameter itself: `"amount" is missing.` */
export const refused = (parameter: string, how: string, advice?: string): BillingError =>
  invalidInput(parameter, `"${parameter}" ${how}.`, advice);
