import { changeOfAccount } from '../accounts';
import { findProducts, requireUnits, unknownProduct } from '../catalog';
import type { Context } from '../database';
import {
  BillingError,
  LIMITS,
  accountReference,
  changeFields,
  formatUnits,
  input,
  key,
  ledgerId,
  parse,
  text,
  units,
  type AccountReference,
  type ChangeOptions,
  type DenialReason,
} from '../kernel';
import { decideRefreshed } from './access';
import { shortReason } from './gates';
import { openJournal, writeJournal } from './journal-store';
import { available, withFreed } from './order-of-use';
import { isDue } from './pockets';
import type { LedgerPorts } from './ports';

/** Units that a person takes away by hand. */

export interface DeductRequest extends ChangeOptions {
  account: AccountReference;
  /** A counted product. */
  product: string;
  amount: string | number;
  /** Why. */
  reason: string;
  /** Who says so. */
  author?: string;
}

export interface DeductAnswer {
  allowed: boolean;
  /** Why not: there is less; null when allowed. */
  reason: DenialReason | null;
  /** Units taken: all that was asked for, or '0'. */
  deducted: string;
  remaining: string;
  /** The ledger line; null when denied. */
  entryId: string | null;
  replayed: boolean;
}

const deductInput = input({
  account: accountReference(),
  product: key(),
  amount: units(),
  reason: text(LIMITS.source),
  author: text(LIMITS.source).optional(),
  ...changeFields,
});

export class Deductions {
  constructor(
    private readonly context: Context,
    private readonly ports: Pick<LedgerPorts, 'refresh'>,
  ) {}

  /**
   * Takes units of a counted product away, in the order of use, and never below 0: all of them or
   * nothing. People may do so whatever the account's status. Their value counts as earned.
   *
   * @throws invalid_input (also for products that are not counted), unknown_account,
   *   unknown_product, idempotency_conflict
   */
  async deduct(request: DeductRequest): Promise<DeductAnswer> {
    const wanted = parse(deductInput, request);
    const { amount, reason, author, metadata } = wanted;
    const { answer, replayed } = await changeOfAccount(
      this.context,
      {
        kind: 'deduct',
        account: wanted.account,
        idempotencyKey: wanted.idempotencyKey,
        tx: wanted.tx,
        request: { product: wanted.product, amount, reason, author },
      },
      async (session, { accountId, payerId }, now): Promise<Omit<DeductAnswer, 'replayed'>> => {
        const product = (await findProducts(session, [wanted.product])).get(wanted.product);
        if (product === undefined) throw unknownProduct(wanted.product);
        requireUnits(amount, product, 'amount');
        const { key: productKey, kind } = product;
        if (kind !== 'quantity') {
          throw new BillingError(
            'invalid_input',
            `${productKey} is of kind "${kind}": only counted units can be deducted.`,
            { parameter: 'product' },
          );
        }
        const decide = async (anew: boolean): Promise<Omit<DeductAnswer, 'replayed'> | null> => {
          const journal = await openJournal(session, now, [{ payerId, product: productKey, kind }]);
          const pocket = journal.pocket(payerId, productKey);
          if (!anew && isDue(pocket, now)) return null;
          const time = journal.now(payerId);
          const note = { source: 'manual', reason, author, metadata };
          const taken = journal.spend(pocket, 'deduction', accountId, amount, note);
          const grants = withFreed(pocket.grants, pocket.holds, time);
          const remaining = formatUnits(available(grants, time));
          if (taken === null) {
            const denial = { allowed: false, reason: shortReason(pocket.gate) };
            return { ...denial, deducted: '0', remaining, entryId: null };
          }
          await writeJournal(session, journal, [], now);
          const entryId = ledgerId(payerId, taken.sequence);
          return { allowed: true, reason: null, deducted: formatUnits(amount), remaining, entryId };
        };
        return decideRefreshed(this.ports, session, { payerId, now }, decide);
      },
    );
    return { ...answer, replayed };
  }
}
