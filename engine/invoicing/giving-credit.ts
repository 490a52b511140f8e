import { changeOfAccount, resolveAccount } from '../accounts';
import { post } from '../books';
import { column, table, type Context, type Session } from '../database';
import {
  Decimal,
  accountReference,
  changeFields,
  currency,
  currencyDecimals,
  formatMoney,
  input,
  oneOf,
  parse,
  requireDecimals,
  text,
  units,
  type RequestOf,
} from '../kernel';
import { readCredits, writeCredits } from './account-credit';
import { requireMoneyOf } from './manual-invoices';
import { HAND_METHODS } from './settling';

/** Credit that people give accounts against invoices to come. */

export interface AccountCredit {
  account: string;
  payer: string;
  credits: Array<{ currency: string; amount: string }>;
}

const addCreditInput = input({
  account: accountReference(),
  currency: currency(),
  amount: units(),
  /** How it was paid; left out: it is given for nothing, and lowers revenue. */
  received: oneOf(HAND_METHODS).optional(),
  /** Why, in your words. */
  reason: text(1_000).optional(),
  ...changeFields,
});
export type AddCreditRequest = RequestOf<typeof addCreditInput>;

const accountCreditInput = input({ account: accountReference() });

const DETAILS = table('account_credit_details', {
  payerId: column.uuid(),
  creditId: column.uuid(),
  accountId: column.uuid(),
  reason: column.text().orNull,
  metadata: column.json<Record<string, unknown>>(),
});

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
    const { account: reference, idempotencyKey, metadata = {}, tx, ...inputs } = wanted;
    const { reason = null } = inputs;
    requireDecimals(wanted.amount, requireMoneyOf(wanted.currency), 'amount', wanted.currency);
    return changeOfAccount(
      this.context,
      { kind: 'addCredit', account: reference, request: inputs, idempotencyKey, tx },
      async (session, { accountId, payerId }, now) => {
        const given = { payerId, currency: wanted.currency, amount: wanted.amount };
        const [id] = await writeCredits(session, [{ ...given, reason: 'given' }], now);
        const creditId = id!;
        await DETAILS.write(session, [{ payerId, creditId, accountId, reason, metadata }]);
        await post(session, {
          payerId,
          currency: wanted.currency,
          at: now,
          kind: 'credit',
          reference: { type: 'credit', id: creditId },
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
   * The credit that pays an account's next invoices, by currency; a child has neither.
   *
   * @throws unknown_account, invalid_input
   */
  async accountCredit(request: RequestOf<typeof accountCreditInput>): Promise<AccountCredit> {
    const { account } = parse(accountCreditInput, request);
    const { database } = this.context;
    const { accountId, payerId } = await resolveAccount(database, account);
    if (accountId !== payerId) return { account: accountId, payer: payerId, credits: [] };
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
