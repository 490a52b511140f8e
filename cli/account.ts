import { BillingError, type AccountReference } from '../engine';

/** How an account is named on the command line. */
export interface AccountOptions {
  account?: string;
  provider?: string;
  externalId?: string;
}

/** @throws invalid_input unless it is named in exactly one way */
export function accountOf({ account, provider, externalId }: AccountOptions): AccountReference {
  const byIdentity = provider !== undefined || externalId !== undefined;
  if (account !== undefined && !byIdentity) return account;
  if (account === undefined && externalId !== undefined) return { provider, externalId };
  throw new BillingError('invalid_input', 'An account is named by its id or by an identity.', {
    parameter: 'account',
    advice: 'Give --account, or --external-id and its --provider.',
  });
}
