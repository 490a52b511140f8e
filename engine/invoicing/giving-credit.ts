import { changeOfAccount, resolveAccount } from '../accounts';
import { post } from '../books';
import type { Context, Session } from '../database';
import {
  BillingError,
  Decimal,
  MAX_UNIT_DECIMALS,
  accountReference,
  amount,
  changeFields,
  currency,
  currencyDecimals,
  formatMoney,
  input,
  oneOf,
  parse,
  requireDecimals,
  text,
  type AccountReference,
  type ChangeOptions,
} from '../kernel';
import { readCredits, writeCredits } from './account-credit';
import { HAND_METHODS, type HandMethod } from './settling';

/** Credit that people give accounts against invoices to come. */

export interface AddCreditRequest extends ChangeOptions {
  account: AccountReference;
  currency: string;
  amount: string | number;
  /** How it was paid; left out: it is given for nothing, and lowers revenue. */
  received?: HandMethod;
  /** Why, in your words. */
  reason?: string;
}

export interface AccountCredit {
  account: string;
  payer: string;
  credits: Array<{ currency: string; amount: string }>;
}

const addCreditInput = input({
  account: accountReference(),
  currency: currency(),
  amount: amount({ decimals: MAX_UNIT_DECIMALS }),
  received: oneOf(HAND_METHODS).optional(),
  reason: text(1_000).optional(),
  ...changeFields,
});

const accountCreditInput = input({ account: accountReference() });

const WRITE_CREDIT_DETAILS = `
insert into {schema}.account_credit_details (payer_id, credit_id, account_id, reason, metadata)
values ($1::uuid, $2::uuid, $3::uuid, $4, $5::jsonb)`;

export class AccountCredits {
  constructor(private readonly context: Context) {}

  /**
   * Gives credit against invoices to come: paid ahead, or for nothing.
   *
   * @returns all credit of the payer
   * @throws unknown_account, currency_mismatch, invalid_input, idempotency_conflict
   */
  async addCredit(request: AddCreditRequest): Promise<AccountCredit & { replayed: boolean }> {
    const wanted = parse(addCreditInput, request);
    const { account: reference, idempotencyKey, metadata, tx, ...inputs } = wanted;
    const decimals = currencyDecimals(wanted.currency);
    if (decimals === null) {
      throw new BillingError('currency_mismatch', `${wanted.currency} is no money of ISO 4217.`, {
        parameter: 'currency',
        advice: 'Invoices are in real money: EUR, USD ...',
      });
    }
    requireDecimals(wanted.amount, decimals, 'amount', wanted.currency);
    return changeOfAccount(
      this.context,
      { kind: 'addCredit', account: reference, request: inputs, idempotencyKey, tx },
      async (session, { accountId, payerId }, now) => {
        const given = { payerId, currency: wanted.currency, amount: wanted.amount };
        const [creditId] = await writeCredits(session, [{ ...given, reason: 'given' }], now);
        await session.query(WRITE_CREDIT_DETAILS, [
          payerId,
          creditId,
          accountId,
          wanted.reason ?? null,
          JSON.stringify(metadata ?? {}),
        ]);
        await post(session, {
          payerId,
          currency: wanted.currency,
          at: now,
          kind: 'credit',
          reference: { type: 'credit', id: creditId! },
          legs: [
            wanted.received === undefined
              ? { account: 'revenue', amount: wanted.amount }
              : { account: 'cash', gateway: 'manual', amount: wanted.amount },
            { account: 'customer_credit', amount: wanted.amount.negated() },
          ],
        });
        return creditRecord(session, accountId, payerId);
      },
    );
  }

  /**
   * The credit that pays an account's next invoices, by currency.
   *
   * @throws unknown_account, invalid_input
   */
  async accountCredit(request: { account: AccountReference }): Promise<AccountCredit> {
    const { account } = parse(accountCreditInput, request);
    const { database } = this.context;
    const { accountId, payerId } = await resolveAccount(database, account);
    return creditRecord(database, accountId, payerId);
  }
}

async function creditRecord(
  session: Session,
  account: string,
  payer: string,
): Promise<AccountCredit> {
  const credits = (await readCredits(session, [payer])).get(payer) ?? new Map<string, Decimal>();
  return {
    account,
    payer,
    credits: [...credits]
      .filter(([, left]) => !left.isZero())
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([of, left]) => ({ currency: of, amount: formatMoney(left, currencyDecimals(of)!) })),
  };
}
