import { BillingError, DENIAL_REASONS, ERROR_CODES, isBillingError } from '../../engine/kernel';

/** The lists as billing-rules.md has them: a code or reason is never renamed or lost. */
const REASONS = `insufficient_balance no_subscription subscription_ended subscription_cancelled
  subscription_paused payment_overdue account_suspended account_closed trial_already_used
  already_purchased already_referred self_referral offer_unavailable coupon_unavailable usage_limit
  budget_exhausted`.split(/\s+/);
const CODES =
  `invalid_input unknown_account unknown_product unknown_offer unknown_entry unknown_hold
  idempotency_conflict currency_mismatch restore_exceeds_use hold_not_open order_state
  payment_mismatch refund_ambiguous refund_exceeds_paid merge_conflict unknown_order unknown_invoice
  unknown_subscription invoice_state subscription_state tier_invalid import_invalid sandbox_only
  forbidden database_unavailable database_newer database_in_use database_version lock_timeout
  retry_transaction`.split(/\s+/);

test('every reason and code of the rules exists, and none twice', () => {
  expect(DENIAL_REASONS).toEqual(expect.arrayContaining(REASONS));
  expect(ERROR_CODES).toEqual(expect.arrayContaining(CODES));
  expect(new Set(DENIAL_REASONS).size).toBe(DENIAL_REASONS.length);
  expect(new Set(ERROR_CODES).size).toBe(ERROR_CODES.length);
  for (const word of [...DENIAL_REASONS, ...ERROR_CODES])
    expect(word).toMatch(/^[a-z]+(_[a-z]+)*$/);
});

test('an error says what happened, where, and what to do', () => {
  const cause = new Error('below');
  const error = new BillingError('unknown_product', 'There is no product "X".', {
    parameter: 'product',
    advice: 'Save it first.',
    cause,
  });
  expect(error).toBeInstanceOf(Error);
  expect(error).toMatchObject({
    name: 'BillingError',
    code: 'unknown_product',
    message: 'There is no product "X".',
    parameter: 'product',
    advice: 'Save it first.',
    cause,
  });
  expect(error.stack).toContain('errors.test.ts');
  expect(isBillingError(error)).toBe(true);
});

test('as JSON it holds what a person may see, and nothing of its cause', () => {
  const error = new BillingError('database_unavailable', 'No database.', {
    cause: new Error('password=secret'),
  });
  expect(JSON.parse(JSON.stringify(error))).toEqual({
    code: 'database_unavailable',
    message: 'No database.',
    parameter: null,
    advice: null,
  });
});

test('without details, parameter and advice are null and there is no cause', () => {
  const error = new BillingError('forbidden', 'No.');
  expect(error.parameter).toBeNull();
  expect(error.advice).toBeNull();
  expect('cause' in error).toBe(false);
});

test('other errors are not ours', () => {
  const lookAlike = Object.assign(new Error('x'), { name: 'BillingError', code: 'forbidden' });
  for (const thing of [lookAlike, { code: 'forbidden' }, null, undefined, 'forbidden']) {
    expect(isBillingError(thing)).toBe(false);
  }
});
