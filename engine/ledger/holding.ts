import { changeOfAccount, type Answered, type Changed, type ResolvedAccount } from '../accounts';
import { findProduct, requireUnits, type Product } from '../catalog';
import type { Context, Session } from '../database';
import {
  BillingError,
  ONE,
  accountReference,
  addDuration,
  MAX_UNIT_DECIMALS,
  amount,
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
  type Decimal,
  type DenialReason,
  type Duration,
  type Instant,
  type RequestOf,
  type ResolvedReference,
} from '../kernel';
import { accountDenial, requireCounted, standing, type ResolvedWish } from './access';
import { changeOfLine } from './change-of-line';
import { decideOn, type OpenPocket } from './deciding';
import { isHard, shortReason } from './gates';
import { findHold, holdRecord, type HoldRecord, type StoredHold } from './hold-records';
import { pocketOf, type Journal, type Settled } from './journal';
import { openJournal, writeJournal } from './journal-store';
import { available, isOver, withFreed } from './order-of-use';
import type { Hold, Pocket } from './pockets';
import type { LedgerPorts } from './ports';
import {
  addSuggestions,
  type AwaitedFields,
  type SuggestedOffer,
  type Suggester,
} from './suggestions';

/** Units set aside before the work, and what becomes of them. Rule: billing-rules.md, Hold. */

/** With `payment_awaited` it says what is to be paid. */
export interface HoldAnswer extends AwaitedFields {
  /** Of whom it was asked. */
  accountId: string;
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
  /** The ledger line of the use; null when denied, and when nothing was used. */
  entryId: string | null;
  replayed: boolean;
}

export interface ReleaseAnswer {
  /** Units that went back. Those of a grant whose time is over expire at once. */
  released: string;
  remaining: string;
  holdId: string;
  /** The ledger line of the release. */
  entryId: string;
  replayed: boolean;
}

const holdInput = input({
  account: accountReference(),
  product: key(),
  /** Units. Default 1. */
  amount: units().optional(),
  /** After this time the units are free again. Counted from now in the account's time zone. */
  expiresIn: duration(),
  ...changeFields,
});
export type HoldRequest = RequestOf<typeof holdInput>;

/** What settle, release and extend name a hold by. */
const reference = {
  holdId: text(100),
  /** Whose hold it must be: the one who holds, or who pays. Whoever asks on behalf of others gives it. */
  account: accountReference().optional(),
};
const settleInput = input({
  ...reference,
  /** Units that were really used; less or more than are on hold, or 0. Default: all on hold. */
  amount: amount({ decimals: MAX_UNIT_DECIMALS, zero: true }).optional(),
  /** Deny, and keep the hold open, when not all of the amount is there. Default false. */
  strict: flag().default(false),
  ...changeFields,
});
const releaseInput = input({ ...reference, ...changeFields });
const extendInput = input({
  ...reference,
  /** The new time, counted from now in the account's time zone. */
  expiresIn: duration(),
  ...changeFields,
});
export type SettleRequest = RequestOf<typeof settleInput>;
export type ReleaseRequest = RequestOf<typeof releaseInput>;
export type ExtendRequest = RequestOf<typeof extendInput>;

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
    private readonly ports: Pick<LedgerPorts, 'refresh' | 'awaited'>,
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
    const { amount = ONE, ...wanted } = parse(holdInput, request);
    return changeOfAccount(
      this.context,
      {
        ...wanted,
        kind: 'hold',
        request: { product: wanted.product, amount, expiresIn: wanted.expiresIn },
      },
      async (session, account, now) => {
        const product = await findProduct(session, wanted.product);
        requireUnits(amount, product, 'amount');
        requireCounted(product, 'it is not counted and cannot be held', {
          advice: 'Ask ledger.check before the work.',
        });
        const wish = { account, product, amount };
        return decideOn(this.ports, session, now, [pocketOf(account, product)], (open) =>
          this.setAside(session, wish, wanted, now, open),
        );
      },
    );
  }

  private async setAside(
    session: Session,
    wish: ResolvedWish,
    { expiresIn, metadata }: { expiresIn: Duration; metadata?: Record<string, unknown> },
    now: Instant,
    { journal, pocket, time, grants }: OpenPocket,
  ): Promise<Omit<HoldAnswer, 'replayed'>> {
    const { accountId, payerId, timeZone } = wish.account;
    const expiresAt = endOf(time, expiresIn, timeZone);
    const { allowed, reason, missing } = standing(wish, { ...pocket, grants, terms: null }, time);
    const hold = allowed
      ? journal.hold(pocket, accountId, wish.amount, expiresAt, { metadata })
      : null;
    if (hold === null) {
      const denied = {
        accountId,
        allowed: false,
        reason,
        held: '0',
        remaining: formatUnits(available(grants, time)),
        holdId: null,
        expiresAt: null,
        suggestedOffers: [],
      };
      const shortage = { answer: denied, accountId, product: wish.product.key, missing };
      await addSuggestions(session, this.suggester, this.ports, [shortage]);
      return denied;
    }
    await writeJournal(session, journal, [], now);
    return {
      accountId,
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
   * Ends a hold with what was really used. Less than is on hold: the rest goes back, with 0 all of it.
   * More: the rest is taken by the order of use, then as overage if that is allowed, and what is not
   * there becomes an `uncovered` entry; with `strict: true` it is denied instead, and the hold stays
   * open. An account that is suspended, or to whom the product is denied, settles what it holds, and more
   * becomes uncovered.
   *
   * Settling again with the same amount gives the first answer, `replayed`, with or without a key.
   *
   * @throws unknown_hold, hold_not_open (released, expired, or settled with another amount),
   *   invalid_input, unknown_account, idempotency_conflict
   */
  async settle(request: SettleRequest): Promise<SettleAnswer> {
    const wanted = parse(settleInput, request);
    const { amount, strict } = wanted;
    return this.changeHold(
      'settle',
      wanted,
      (hold) => ({ amount: amount ?? hold.amount, strict }),
      async (session, row, account, now) => {
        const product = await findProduct(session, row.product);
        const used = amount ?? row.amount;
        requireUnits(used, product, 'amount');
        if (row.outcome === 'settled' && used.equals(row.settled!)) {
          return replayOf<Omit<SettleAnswer, 'replayed'>>(row);
        }
        // The rest is taken of what there is: of a period, too, that is due and not open yet.
        if (used.greaterThan(row.amount) && account.payerId === row.payerId) {
          await this.ports.refresh(session, [row.payerId], now);
        }
        const { journal, pocket, hold } = await openHold(session, row, product, now);
        const { gate } = pocket;
        const reason = accountDenial(account) ?? (isHard(gate) ? gate : null);
        const settled = journal.settle(
          pocket,
          hold,
          used,
          { beyond: reason === null, strict, holdId: ledgerId(row.payerId, row.first) },
          { metadata: wanted.metadata },
        );
        const time = journal.now(row.payerId);
        if (settled === null) {
          const grants = withFreed(pocket.grants, pocket.holds, time);
          const denied = { allowed: false, reason: reason ?? shortReason(gate), entryId: null };
          const remaining = formatUnits(available(grants, time));
          return { answer: { ...denied, consumed: '0', uncovered: '0', remaining } };
        }
        const first = settledAnswer(row.payerId, used, settled, available(pocket.grants, time));
        journal.answerEnd(hold, first);
        await writeJournal(session, journal, [], now);
        return { answer: first };
      },
    );
  }

  /**
   * Ends a hold without a use: all its units go back. Again: the first answer, `replayed`.
   *
   * @throws unknown_hold, hold_not_open (settled or expired), unknown_account, idempotency_conflict
   */
  async release(request: ReleaseRequest): Promise<ReleaseAnswer> {
    const wanted = parse(releaseInput, request);
    return this.changeHold(
      'release',
      wanted,
      () => ({}),
      async (session, row, _account, now) => {
        if (row.outcome === 'released') return replayOf<Omit<ReleaseAnswer, 'replayed'>>(row);
        const product = await findProduct(session, row.product);
        const { journal, pocket, hold } = await openHold(session, row, product, now);
        const { payerId } = row;
        const sequence = journal.release(pocket, hold, { metadata: wanted.metadata });
        const first = {
          released: formatUnits(hold.amount),
          remaining: formatUnits(available(pocket.grants, journal.now(payerId))),
          holdId: ledgerId(payerId, row.first),
          entryId: ledgerId(payerId, sequence),
        };
        journal.answerEnd(hold, first);
        await writeJournal(session, journal, [], now);
        return { answer: first };
      },
    );
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
    return this.changeHold(
      'extend',
      wanted,
      () => ({ expiresIn: wanted.expiresIn }),
      async (session, row, account, now) => {
        const product = await findProduct(session, row.product);
        const { journal, hold } = await openHold(session, row, product, now);
        const time = journal.now(row.payerId);
        const expiresAt = endOf(time, wanted.expiresIn, account.timeZone);
        if (expiresAt <= hold.expiresAt) {
          throw new BillingError(
            'invalid_input',
            `The hold lasts until ${isoTime(hold.expiresAt)} already.`,
            { parameter: 'expiresIn', advice: 'It counts from now; give a longer time.' },
          );
        }
        await session.query(EXTEND_HOLD, [row.payerId, String(row.sequence), isoTime(expiresAt)]);
        return { answer: holdRecord({ ...row, expiresAt }, time) };
      },
    );
  }

  private changeHold<T extends object>(
    kind: string,
    wanted: { holdId: string; account?: ResolvedReference; idempotencyKey?: string; tx?: unknown },
    request: (hold: StoredHold) => Record<string, unknown>,
    work: (
      session: Session,
      row: StoredHold,
      account: ResolvedAccount,
      now: Instant,
    ) => Promise<Answered<T>>,
  ): Promise<Changed<T>> {
    return changeOfLine(
      this.context,
      {
        ...wanted,
        kind,
        id: wanted.holdId,
        request,
        unknown: unknownHold,
        find: findHold,
      },
      work,
    );
  }
}

/** @throws hold_not_open, for one that is over by the clock too */
async function openHold(
  session: Session,
  row: StoredHold,
  product: Product,
  now: Instant,
): Promise<OpenHold> {
  const journal = await openJournal(session, now, [pocketOf(row, product)]);
  const pocket = journal.pocket(row.payerId, row.product);
  const hold = pocket.holds.find((one) => one.sequence === row.sequence);
  const time = journal.now(row.payerId);
  if (hold === undefined || isOver(hold, time)) throw notOpen(row, time);
  return { journal, pocket, hold };
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
    entryId: sequence === null ? null : ledgerId(payerId, sequence),
  };
}
