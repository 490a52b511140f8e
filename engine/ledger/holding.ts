import { changeOfAccount, type ResolvedAccount } from '../accounts';
import { findProducts, requireUnits, unknownProduct, type Product } from '../catalog';
import type { Context, Session } from '../database';
import {
  BillingError,
  Decimal,
  accountReference,
  addDuration,
  changeFields,
  duration,
  flag,
  formatUnits,
  input,
  isoTime,
  key,
  ledgerId,
  parse,
  text,
  units,
  type AccountReference,
  type ChangeOptions,
  type DenialReason,
  type Duration,
  type DurationRequest,
  type Instant,
  type ResolvedReference,
} from '../kernel';
import { accountDenial, decideRefreshed, standing } from './access';
import { changeOfLine } from './change-of-line';
import { isHard, shortReason } from './gates';
import { findHold, holdRecord, type HoldRecord, type StoredHold } from './hold-records';
import { Journal, type Settled } from './journal';
import { openJournal, writeJournal } from './journal-store';
import { available, isOver, withFreed } from './order-of-use';
import { isDue, type Hold, type Pocket } from './pockets';
import type { LedgerPorts } from './ports';
import { addSuggestions, type SuggestedOffer, type Suggester } from './suggestions';

/** Units set aside before the work, and what becomes of them. Rule: billing-rules.md, Hold. */

export interface HoldRequest extends ChangeOptions {
  account: AccountReference;
  product: string;
  /** Units. Default 1. */
  amount?: string | number;
  /** After this time the units are free again. Counted from now in the account's time zone. */
  expiresIn: DurationRequest;
}

export interface HoldAnswer {
  allowed: boolean;
  reason: DenialReason | null;
  /** Units set aside: all that was asked for, or '0'. */
  held: string;
  /** Units that can be used besides. */
  remaining: string;
  /** The hold, which is a ledger line; null when denied. */
  holdId: string | null;
  expiresAt: string | null;
  replayed: boolean;
  suggestedOffers: SuggestedOffer[];
}

/** What settle, release and extend name a hold by. */
interface HoldReference {
  holdId: string;
  /** Whose hold it must be: the one who holds, or who pays. Whoever asks on behalf of others gives it. */
  account?: AccountReference;
}

export interface SettleRequest extends HoldReference, ChangeOptions {
  /** Units that were really used; less or more than are on hold. Default: all on hold. */
  amount?: string | number;
  /** Deny, and keep the hold open, when not all of the amount is there. Default false. */
  strict?: boolean;
}

export interface SettleAnswer {
  allowed: boolean;
  reason: DenialReason | null;
  /** Units used: on hold, beyond it, and as overage; '0' when denied. */
  consumed: string;
  /** Units that were used and not there: kept on record, taken from nowhere. */
  uncovered: string;
  /** Units of those consumed that no grant paid; only there when there are some. */
  overage?: string;
  remaining: string;
  /** The ledger line of the use; null when denied. */
  entryId: string | null;
  replayed: boolean;
}

export interface ReleaseRequest extends HoldReference, ChangeOptions {}

export interface ReleaseAnswer {
  /** Units that went back. Those of a grant whose time is over expire at once. */
  released: string;
  remaining: string;
  holdId: string;
  /** The ledger line of the release. */
  entryId: string;
  replayed: boolean;
}

export interface ExtendRequest extends HoldReference, ChangeOptions {
  /** The new time, counted from now in the account's time zone. */
  expiresIn: DurationRequest;
}

const holdInput = input({
  account: accountReference(),
  product: key(),
  amount: units().optional(),
  expiresIn: duration(),
  ...changeFields,
});
const reference = { holdId: text(100), account: accountReference().optional() };
const settleInput = input({
  ...reference,
  amount: units().optional(),
  strict: flag().optional(),
  ...changeFields,
});
const releaseInput = input({ ...reference, ...changeFields });
const extendInput = input({ ...reference, expiresIn: duration(), ...changeFields });
/** Under the payer's lock. */
const EXTEND_HOLD = `
update {schema}.holds set expires_at = $3::timestamptz
where payer_id = $1::uuid and sequence = $2::bigint and ended_at is null`;

const unknownHold = (holdId: string): BillingError =>
  new BillingError('unknown_hold', `There is no hold "${holdId}" of this account.`, {
    parameter: 'holdId',
    advice: 'Pass the holdId that ledger.hold gave.',
  });

const notOpen = (row: StoredHold, now: Instant): BillingError => {
  const { holdId, status, endedAt } = holdRecord(row, now);
  const [what, advice] =
    status === 'settled'
      ? ['was settled with another amount', 'Correct it with ledger.restore or ledger.consume.']
      : [`was ${status === 'expired' ? 'over' : status}`, 'Record the use with ledger.consume.'];
  return new BillingError('hold_not_open', `The hold "${holdId}" ${what} at ${endedAt}.`, {
    parameter: 'holdId',
    advice,
  });
};

/** The end of a hold that begins now. */
function endOf(now: Instant, expiresIn: Duration, timeZone: string): Instant {
  try {
    return addDuration(now, expiresIn, timeZone);
  } catch (error) {
    if (!(error instanceof BillingError)) throw error;
    throw new BillingError(error.code, error.message, { parameter: 'expiresIn', cause: error });
  }
}

async function readProduct(session: Session, productKey: string): Promise<Product> {
  const product = (await findProducts(session, [productKey])).get(productKey);
  if (product === undefined) throw unknownProduct(productKey);
  return product;
}

/** A hold that is open, in the journal of the transaction that is about to end it. */
interface OpenHold {
  journal: Journal;
  pocket: Pocket;
  hold: Hold;
}

export class Holds {
  constructor(
    private readonly context: Context,
    private readonly suggester: Suggester,
    private readonly ports: Pick<LedgerPorts, 'refresh'>,
  ) {}

  /**
   * Sets an amount of a counted product aside: all of it or nothing, by the order of use, never as
   * overage. It frees itself at `expiresAt`; until then its units do not expire. A denial is an answer.
   *
   * @returns the answer; with the key of an earlier call the first answer, `replayed`
   * @throws invalid_input (also for products that are not counted), unknown_account,
   *   unknown_product, idempotency_conflict
   */
  async hold(request: HoldRequest): Promise<HoldAnswer> {
    const wanted = parse(holdInput, request);
    const amount = wanted.amount ?? new Decimal(1);
    const { answer, replayed } = await changeOfAccount(
      this.context,
      {
        kind: 'hold',
        account: wanted.account,
        idempotencyKey: wanted.idempotencyKey,
        tx: wanted.tx,
        request: { product: wanted.product, amount, expiresIn: wanted.expiresIn },
      },
      async (session, account, now) => {
        const product = await readProduct(session, wanted.product);
        requireUnits(amount, product, 'amount');
        if (product.kind !== 'quantity') {
          throw new BillingError(
            'invalid_input',
            `${product.key} is of kind "${product.kind}": it is not counted and cannot be held.`,
            { parameter: 'product', advice: 'Ask ledger.check before the work.' },
          );
        }
        const wish = { account, product, amount };
        const { payerId } = account;
        return decideRefreshed(this.ports, session, { payerId, now }, (anew) =>
          this.setAside(session, wish, wanted, now, anew),
        );
      },
    );
    return { ...answer, replayed };
  }

  private async setAside(
    session: Session,
    wish: { account: ResolvedAccount; product: Product; amount: Decimal },
    { expiresIn, metadata }: { expiresIn: Duration; metadata?: Record<string, unknown> },
    now: Instant,
    anew: boolean,
  ): Promise<Omit<HoldAnswer, 'replayed'> | null> {
    const { accountId, payerId, timeZone } = wish.account;
    const { key: product, kind } = wish.product;
    const journal = await openJournal(session, now, [{ payerId, product, kind }]);
    const pocket = journal.pocket(payerId, product);
    if (!anew && isDue(pocket, now)) return null;
    const time = journal.now(payerId);
    const expiresAt = endOf(time, expiresIn, timeZone);
    const grants = withFreed(pocket.grants, pocket.holds, time);
    const there = standing(wish, { grants, terms: null, gate: pocket.gate }, time);
    const hold = there.allowed
      ? journal.hold(pocket, accountId, wish.amount, expiresAt, { metadata })
      : null;
    if (hold === null) {
      const denied = {
        allowed: false,
        reason: there.reason,
        held: '0',
        remaining: formatUnits(available(grants, time)),
        holdId: null,
        expiresAt: null,
        suggestedOffers: [],
      };
      const { missing } = there;
      const shortages = missing.isZero() ? [] : [{ answer: denied, accountId, product, missing }];
      await addSuggestions(session, this.suggester, shortages);
      return denied;
    }
    await writeJournal(session, journal, [], now);
    return {
      allowed: true,
      reason: null,
      held: formatUnits(wish.amount),
      remaining: formatUnits(available(pocket.grants, time)),
      holdId: ledgerId(payerId, hold.sequence),
      expiresAt: isoTime(expiresAt),
      suggestedOffers: [],
    };
  }

  /**
   * Ends a hold with what was really used. Less than is on hold: the rest goes back. More: the rest
   * is taken by the order of use, then as overage if that is allowed, and what is not there becomes an
   * `uncovered` entry; with `strict: true` it is denied instead, and the hold stays open. An account
   * that is suspended, or to whom the product is denied, settles what it holds, and more becomes
   * uncovered.
   *
   * Settling again with the same amount gives the first answer, `replayed`, with or without a key.
   *
   * @throws unknown_hold, hold_not_open (released, expired, or settled with another amount),
   *   invalid_input, unknown_account, idempotency_conflict
   */
  async settle(request: SettleRequest): Promise<SettleAnswer> {
    const wanted = parse(settleInput, request);
    const { amount, strict = false } = wanted;
    const { answer, replayed } = await this.changeHold(
      'settle',
      wanted,
      { amount: amount ?? null, strict },
      async (session, line, account, now) => {
        const row = (await findHold(session, line))!;
        const product = await readProduct(session, row.product);
        const used = amount ?? row.amount;
        requireUnits(used, product, 'amount');
        if (row.outcome === 'settled' && used.equals(row.settled!)) {
          return replayOf<Omit<SettleAnswer, 'replayed'>>(row);
        }
        // The rest is taken of what there is: of a period, too, that is due and not open yet.
        if (used.greaterThan(row.amount) && account.payerId === line.payerId) {
          await this.ports.refresh(session, [line.payerId], now);
        }
        const { journal, pocket, hold } = await this.openHold(session, row, product, now);
        const { gate } = pocket;
        const reason = accountDenial(account) ?? (isHard(gate) ? gate : null);
        const settled = journal.settle(
          pocket,
          hold,
          used,
          { beyond: reason === null, strict },
          { metadata: wanted.metadata },
        );
        const time = journal.now(line.payerId);
        if (settled === null) {
          const grants = withFreed(pocket.grants, pocket.holds, time);
          return {
            answer: {
              allowed: false,
              reason: reason ?? shortReason(gate),
              consumed: '0',
              uncovered: '0',
              remaining: formatUnits(available(grants, time)),
              entryId: null,
            },
            replayed: false,
          };
        }
        const first = settledAnswer(line.payerId, used, settled, available(pocket.grants, time));
        journal.answerEnd(hold, first);
        await writeJournal(session, journal, [], now);
        return { answer: first, replayed: false };
      },
    );
    return { ...answer, replayed };
  }

  /**
   * Ends a hold without a use: all its units go back. Again: the first answer, `replayed`.
   *
   * @throws unknown_hold, hold_not_open (settled or expired), unknown_account, idempotency_conflict
   */
  async release(request: ReleaseRequest): Promise<ReleaseAnswer> {
    const wanted = parse(releaseInput, request);
    const { answer, replayed } = await this.changeHold(
      'release',
      wanted,
      {},
      async (session, line, _account, now) => {
        const row = (await findHold(session, line))!;
        if (row.outcome === 'released') return replayOf<Omit<ReleaseAnswer, 'replayed'>>(row);
        const product = await readProduct(session, row.product);
        const { journal, pocket, hold } = await this.openHold(session, row, product, now);
        const sequence = journal.release(pocket, hold, { metadata: wanted.metadata });
        const first = {
          released: formatUnits(hold.amount),
          remaining: formatUnits(available(pocket.grants, journal.now(line.payerId))),
          holdId: ledgerId(line.payerId, line.sequence),
          entryId: ledgerId(line.payerId, sequence),
        };
        journal.answerEnd(hold, first);
        await writeJournal(session, journal, [], now);
        return { answer: first, replayed: false };
      },
    );
    return { ...answer, replayed };
  }

  /**
   * Moves the end of an open hold to a later time, counted from now.
   *
   * @returns the hold
   * @throws unknown_hold, hold_not_open, invalid_input (not later), unknown_account,
   *   idempotency_conflict
   */
  async extend(request: ExtendRequest): Promise<HoldRecord & { replayed: boolean }> {
    const wanted = parse(extendInput, request);
    const { answer, replayed } = await this.changeHold(
      'extend',
      wanted,
      { expiresIn: wanted.expiresIn },
      async (session, line, account, now) => {
        const row = (await findHold(session, line))!;
        const product = await readProduct(session, row.product);
        const { journal, hold } = await this.openHold(session, row, product, now);
        const time = journal.now(line.payerId);
        const expiresAt = endOf(time, wanted.expiresIn, account.timeZone);
        if (expiresAt <= hold.expiresAt) {
          throw new BillingError(
            'invalid_input',
            `The hold lasts until ${isoTime(hold.expiresAt)} already.`,
            { parameter: 'expiresIn', advice: 'It counts from now; give a longer time.' },
          );
        }
        await session.query(EXTEND_HOLD, [line.payerId, line.sequence, isoTime(expiresAt)]);
        return { answer: holdRecord((await findHold(session, line))!, time), replayed: false };
      },
    );
    return { ...answer, replayed };
  }

  private changeHold<T extends object>(
    kind: string,
    wanted: {
      holdId: string;
      account?: ResolvedReference;
      idempotencyKey?: string;
      tx?: unknown;
    },
    request: Record<string, unknown>,
    work: Parameters<typeof changeOfLine<T>>[2],
  ): Promise<{ answer: T; replayed: boolean }> {
    return changeOfLine(
      this.context,
      {
        kind,
        id: wanted.holdId,
        account: wanted.account,
        request,
        idempotencyKey: wanted.idempotencyKey,
        tx: wanted.tx,
        unknown: unknownHold,
        findAccount: async (session, line) => (await findHold(session, line))?.accountId ?? null,
      },
      work,
    );
  }

  /** @throws hold_not_open, for one that is over by the clock too */
  private async openHold(
    session: Session,
    row: StoredHold,
    { kind }: Product,
    now: Instant,
  ): Promise<OpenHold> {
    const { payerId, product } = row;
    const journal = await openJournal(session, now, [{ payerId, product, kind }]);
    const pocket = journal.pocket(payerId, product);
    const hold = pocket.holds.find((one) => one.sequence === row.sequence);
    const time = journal.now(payerId);
    if (hold === undefined || isOver(hold, time)) throw notOpen(row, time);
    return { journal, pocket, hold };
  }
}

const replayOf = <T>(row: StoredHold): { answer: T; replayed: true } => ({
  answer: JSON.parse(row.answer!) as T,
  replayed: true,
});

function settledAnswer(
  payerId: string,
  amount: Decimal,
  { sequence, overage, uncovered }: Settled,
  left: Decimal,
): Omit<SettleAnswer, 'replayed'> {
  return {
    allowed: true,
    reason: null,
    consumed: formatUnits(amount.minus(uncovered)),
    uncovered: formatUnits(uncovered),
    ...(overage.isZero() ? {} : { overage: formatUnits(overage) }),
    remaining: formatUnits(left),
    entryId: ledgerId(payerId, sequence),
  };
}
