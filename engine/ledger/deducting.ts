import { changeOfAccount } from '../accounts';
import { findProduct, requireUnits } from '../catalog';
import type { Context } from '../database';
import {
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
  type DenialReason,
  type RequestOf,
} from '../kernel';
import { requireCounted } from './access';
import { decideOn } from './deciding';
import { shortReason } from './gates';
import { pocketOf } from './journal';
import { writeJournal } from './journal-store';
import { available, withFreed } from './order-of-use';
import type { LedgerPorts } from './ports';

/** Units that a person takes away by hand. */

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
  /** A counted product. */
  product: key(),
  amount: units(),
  /** Why. */
  reason: text(LIMITS.source),
  /** Who says so. */
  author: text(LIMITS.source).optional(),
  ...changeFields,
});
export type DeductRequest = RequestOf<typeof deductInput>;

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
    return changeOfAccount(
      this.context,
      {
        ...wanted,
        kind: 'deduct',
        request: { product: wanted.product, amount, reason, author },
      },
      async (session, account, now): Promise<Omit<DeductAnswer, 'replayed'>> => {
        const product = await findProduct(session, wanted.product);
        requireUnits(amount, product, 'amount');
        requireCounted(product, 'only counted units can be deducted');
        const { accountId, payerId } = account;
        const pockets = [pocketOf(account, product)] as const;
        return decideOn(this.ports, session, now, pockets, async ({ journal, pocket, time }) => {
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
        });
      },
    );
  }
}
