import { changeOf, resolveAccount, type ResolvedAccount } from '../accounts';
import { findProduct, requireUnits, type Product } from '../catalog';
import { column, table, type Context, type RowOf, type Session } from '../database';
import {
  BillingError,
  Decimal,
  ZERO,
  accountReference,
  changeFields,
  formatUnits,
  input,
  key,
  ledgerId,
  parse,
  text,
  units,
  type Instant,
  type RequestOf,
  type z,
} from '../kernel';
import { remainingOf } from './access';
import { changeOfLine } from './change-of-line';
import { partsTaken, readGrants } from './holdings';
import { pocketOf, type Journal, type Moved } from './journal';
import { grantIn } from './journal-lines';
import { openJournal, writeJournal } from './journal-store';
import { moveOn, tellBook } from './moving';
import type { HeldUnits } from './order-of-use';
import type { Pocket } from './pockets';
import type { LedgerPorts } from './ports';

/** Uses taken back: their units return to the grants they came from. Rule: billing-rules.md, Restore. */

export interface RestoreAnswer {
  /** Units that can be used again; of products that are not counted, the amount that was taken back. */
  restored: string;
  /** Units that went to a grant whose time is over: they expired at once. */
  expired: string;
  /** Units that had been overage and are none any more; only there when there are some. */
  overage?: string;
  /** Units there now; for `period` the level of access; null for unlimited. */
  remaining: string | null;
  /** The ledger lines written: one for each use. */
  entries: Array<{ entryId: string; useId: string; amount: string }>;
  replayed: boolean;
}

type FirstAnswer = Omit<RestoreAnswer, 'replayed'>;

const restoreInput = input({
  /** The use, as `consume` or `settle` gave its id. Or `account` and `product`: the latest uses first. */
  entryId: text(100).optional(),
  /** With `entryId`: whose use it must be, the one who used or who pays. Else: who used. */
  account: accountReference().optional(),
  product: key().optional(),
  /** Units. With `entryId` the default is all of it that was not restored yet. */
  amount: units().optional(),
  ...changeFields,
});
export type RestoreRequest = RequestOf<typeof restoreInput>;
type Wanted = z.output<typeof restoreInput>;

/** A use as it stands: what was used, from where, and what of it was given back. */
const USES = table('entries', {
  sequence: column.sequence(),
  accountId: column.uuid(),
  product: column.text(),
  amount: column.decimal(),
  overage: column.decimal(),
  grantSequences: column.list(),
  grantAmounts: column.list('numeric'),
  restored: column.decimal(),
});

/** @param which uses `e`, and in which order */
const readUses = (which: string): string => `
select ${USES.select('use')}
from (
  select e.sequence, e.account_id, e.product, -e.amount as amount, coalesce(e.overage, 0) as overage,
         e.grant_sequences, e.grant_amounts, (
           select coalesce(sum(r.amount), 0) from {schema}.entries r
           where r.payer_id = e.payer_id and r.cause_sequence = e.sequence and r.kind = 'restore'
         ) as restored
  from {schema}.entries e
  where e.payer_id = $1::uuid and e.kind = 'use' and ${which}
) as use`;

const READ_USE = readUses('e.sequence = $2::bigint');

const PAGE = 200;

/** Backwards along the primary key, from where the page before ended. */
const READ_LATEST_USES = `${readUses(`
  ($2::bigint is null or e.sequence < $2::bigint)
  and e.product = $3 and ($4::uuid is null or e.account_id = $4::uuid)
  order by e.sequence desc
  limit ${PAGE}`)}
order by use.sequence desc`;

type UseRow = RowOf<typeof USES>;

export interface UseLine extends Omit<UseRow, 'grantSequences' | 'grantAmounts'> {
  /** The trace, in the order of use. */
  parts: HeldUnits['parts'];
}

const useOf = ({ grantSequences, grantAmounts, ...use }: UseRow): UseLine => ({
  ...use,
  parts: partsTaken(grantSequences, grantAmounts),
});

const notRestored = (use: UseLine): Decimal => use.amount.minus(use.restored);

/**
 * What goes back where when an amount of a use is restored. Overage was used last and goes back
 * first, then the trace from its end; what was restored before is skipped. Pure.
 */
export function givenBack(
  use: Pick<UseLine, 'overage' | 'parts' | 'restored'>,
  amount: Decimal,
): { overage: Decimal; parts: HeldUnits['parts'] } {
  let skipped = use.restored;
  let missing = amount;
  const back = (there: Decimal): Decimal => {
    const before = Decimal.min(skipped, there);
    const taken = Decimal.min(missing, there.minus(before));
    skipped = skipped.minus(before);
    missing = missing.minus(taken);
    return taken;
  };
  const overage = back(use.overage);
  const parts = use.parts
    .toReversed()
    .map((part) => ({ sequence: part.sequence, amount: back(part.amount) }))
    .filter((part) => !part.amount.isZero());
  return { overage, parts };
}

const unknownEntry = (entryId: string): BillingError =>
  new BillingError('unknown_entry', `There is no use "${entryId}" of this account.`, {
    parameter: 'entryId',
    advice: 'Pass the entryId that ledger.consume or ledger.settle gave.',
  });

const exceedsUse = (asked: Decimal | null, left: Decimal, product: string): BillingError =>
  new BillingError(
    'restore_exceeds_use',
    asked === null
      ? `All of this use of ${product} was restored already.`
      : `${formatUnits(asked)} of ${product} cannot be restored: ${formatUnits(left)} were used and not restored yet.`,
    { parameter: 'amount' },
  );

/** What one restore takes back of one use. */
interface TakenBack {
  use: UseLine;
  amount: Decimal;
}

export class Restores {
  constructor(
    private readonly context: Context,
    private readonly ports: Pick<LedgerPorts, 'movedValue' | 'restored'>,
  ) {}

  /**
   * Takes uses back: by the entry of one use, or by account, product and amount, the latest uses first
   * (of a payer all uses on its ledger, of a child its own there, then those before it had a parent).
   * Units return to the grants they came from, in the reverse order; never more than was used in sum.
   * Those of an account that got a parent since go on to the parent, as its other units did.
   *
   * @returns what is usable again, what expired at once, and the lines written
   * @throws unknown_entry, restore_exceeds_use, invalid_input, unknown_account, unknown_product,
   *   idempotency_conflict
   */
  async restore(request: RestoreRequest): Promise<RestoreAnswer> {
    const wanted = parse(restoreInput, request);
    const { entryId, account, product, amount } = wanted;
    if (entryId !== undefined) {
      if (product !== undefined) {
        throw new BillingError('invalid_input', '"entryId" and "product" exclude each other.', {
          parameter: 'product',
        });
      }
      return this.restoreEntry({ ...wanted, entryId });
    }
    const missing = (parameter: string): BillingError =>
      new BillingError('invalid_input', `"${parameter}" is missing.`, {
        parameter,
        advice: 'Name the use by "entryId", or by "account", "product" and "amount".',
      });
    if (account === undefined) throw missing('entryId');
    if (product === undefined) throw missing('product');
    if (amount === undefined) throw missing('amount');
    return this.restoreLatest({ ...wanted, account, product, amount });
  }

  private async restoreEntry(wanted: Wanted & { entryId: string }): Promise<RestoreAnswer> {
    return changeOfLine(
      this.context,
      {
        ...wanted,
        kind: 'restore',
        id: wanted.entryId,
        request: () => ({ amount: wanted.amount ?? null }),
        unknown: unknownEntry,
        find: (session, { payerId, sequence }) => readUse(session, payerId, sequence),
      },
      async (session, use, { payerId, home }, now) => {
        const product = await findProduct(session, use.product);
        const left = notRestored(use);
        const amount = wanted.amount ?? left;
        requireUnits(amount, product, 'amount');
        if (left.isZero() || amount.greaterThan(left)) {
          throw exceedsUse(wanted.amount ?? null, left, product.key);
        }
        const back = { product, taken: [{ use, amount }], metadata: wanted.metadata };
        return { answer: await takeBack(session, this.ports, { payerId, home }, back, now) };
      },
    );
  }

  private async restoreLatest(
    wanted: Wanted & Required<Pick<Wanted, 'account' | 'product' | 'amount'>>,
  ): Promise<RestoreAnswer> {
    const { product: productKey, amount } = wanted;
    return changeOf(
      this.context,
      {
        ...wanted,
        kind: 'restore',
        parties: async (session) => {
          const owner = await resolveAccount(session, wanted.account);
          return { owner, locks: [owner.accountId] };
        },
        request: ({ owner }) => ({ product: productKey, amount, account: owner.accountId }),
      },
      async (session, { owner }, now) => {
        const product = await findProduct(session, productKey);
        requireUnits(amount, product, 'amount');
        const home = owner.payerId;
        const { metadata } = wanted;
        const answers: FirstAnswer[] = [];
        for (const { payerId, taken } of await latestUses(session, owner, product, amount)) {
          const back = { product, taken, metadata };
          answers.push(await takeBack(session, this.ports, { payerId, home }, back, now));
        }
        return { answer: together(answers) };
      },
    );
  }
}

/** What several ledgers gave back. What is there counts after the last. */
const together = (answers: readonly FirstAnswer[]): FirstAnswer =>
  answers.reduce((all, one) => {
    const sum = (a = '0', b = '0'): string => formatUnits(new Decimal(a).plus(b));
    const overage = sum(all.overage, one.overage);
    return {
      restored: sum(all.restored, one.restored),
      expired: sum(all.expired, one.expired),
      ...(overage === '0' ? {} : { overage }),
      remaining: one.remaining,
      entries: [...all.entries, ...one.entries],
    };
  });

async function readUse(
  session: Session,
  payerId: string,
  sequence: string,
): Promise<UseLine | null> {
  const [row] = await USES.rows(session, READ_USE, [payerId, sequence]);
  return row === undefined ? null : useOf(row);
}

/** What came back goes on to who pays by now, with its value, expiry and priority. */
function moveHome(
  journal: Journal,
  pocket: Pocket,
  home: string,
  parts: HeldUnits['parts'],
): Moved[] {
  const target = journal.pocket(home, pocket.product);
  journal.writeDue(target);
  return parts.flatMap(({ sequence, amount }) => {
    const grant = grantIn(pocket, sequence);
    const draw = { grant, amount: Decimal.min(amount, grant.remaining) };
    if (draw.amount.isZero()) return [];
    const accounts = { from: pocket.payerId, into: home };
    return [moveOn(journal, { source: pocket, target }, draw, accounts)];
  });
}

/**
 * The latest uses that an amount covers, by ledger: where the account uses now, then where it did before
 * it had a parent.
 *
 * @throws restore_exceeds_use
 */
async function latestUses(
  session: Session,
  { accountId, payerId }: ResolvedAccount,
  product: Product,
  amount: Decimal,
): Promise<Array<{ payerId: string; taken: TakenBack[] }>> {
  let missing = amount;
  const found = new Map([...new Set([payerId, accountId])].map((id) => [id, [] as TakenBack[]]));
  for (const [ledger, taken] of found) {
    const only = ledger === accountId ? null : accountId;
    let before: string | null = null;
    while (!missing.isZero()) {
      const rows: UseRow[] = await USES.rows(session, READ_LATEST_USES, [
        ledger,
        before,
        product.key,
        only,
      ]);
      for (const use of rows.map(useOf)) {
        const back = Decimal.min(missing, notRestored(use));
        if (back.isZero()) continue;
        taken.push({ use, amount: back });
        missing = missing.minus(back);
      }
      if (rows.length < PAGE) break;
      before = String(rows.at(-1)!.sequence);
    }
  }
  if (!missing.isZero()) throw exceedsUse(amount, amount.minus(missing), product.key);
  return [...found].flatMap(([id, taken]) => (taken.length > 0 ? [{ payerId: id, taken }] : []));
}

/**
 * Writes the lines of a restore, one for each use, and tells of what may have been billed. Both payers
 * must be locked.
 *
 * @param where the ledger of the uses, and who pays by now for whose ledger that is
 */
async function takeBack(
  session: Session,
  ports: Pick<LedgerPorts, 'movedValue' | 'restored'>,
  where: { payerId: string; home: string },
  back: {
    product: Product;
    taken: readonly TakenBack[];
    metadata: Record<string, unknown> | undefined;
  },
  now: Instant,
): Promise<FirstAnswer> {
  const { payerId, home } = where;
  const { product, taken, metadata } = back;
  const pockets = [...new Set([payerId, home])].map((payer) =>
    pocketOf({ payerId: payer }, product),
  );
  const journal = await openJournal(session, now, pockets);
  const pocket = journal.pocket(payerId, product.key);
  const gaveUnits = new Set(taken.flatMap(({ use }) => use.parts.map(({ sequence }) => sequence)));
  const names = [...gaveUnits].map((sequence) => ({ payerId, sequence }));
  for (const grant of await readGrants(session, names)) journal.include(grant);
  const entries: RestoreAnswer['entries'] = [];
  let [all, expired, overage] = [ZERO, ZERO, ZERO];
  const moves: Moved[] = [];
  for (const { use, amount } of taken) {
    const given = givenBack(use, amount);
    const { accountId, sequence } = use;
    const line = { accountId, sequence, amount, ...given };
    const restored = journal.restore(pocket, line, { metadata });
    entries.push({
      entryId: ledgerId(payerId, restored.sequence),
      useId: ledgerId(payerId, sequence),
      amount: formatUnits(amount),
    });
    all = all.plus(amount);
    expired = expired.plus(restored.expired);
    overage = overage.plus(given.overage);
    if (home !== payerId) moves.push(...moveHome(journal, pocket, home, given.parts));
  }
  await writeJournal(session, journal, [], now);
  await tellBook(session, ports, moves, { from: payerId, into: home, now });
  if (!overage.isZero()) {
    const beyond = taken.filter(({ use }) => use.overage.greaterThan(ZERO));
    await ports.restored(
      session,
      payerId,
      beyond.map(({ use }) => use.sequence),
    );
  }
  const { grants } = journal.pocket(home, product.key);
  const left = remainingOf(product.kind, grants, journal.now(home));
  return {
    restored: formatUnits(all.minus(expired).minus(overage)),
    expired: formatUnits(expired),
    ...(overage.isZero() ? {} : { overage: formatUnits(overage) }),
    remaining: left === null ? null : formatUnits(left),
    entries,
  };
}
