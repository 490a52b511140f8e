import { MAX_LOCKED_ACCOUNTS, translate, type Context } from '../database';
import {
  BillingError,
  ONE,
  accountReference,
  changeFields,
  decimalsOf,
  input,
  key,
  parse,
  units,
  type RequestOf,
} from '../kernel';
import {
  failed,
  inOrder,
  isFailed,
  isFine,
  newcomerFields,
  orThrow,
  readEach,
  type FailedItem,
} from './access';
import { ContendedUses, NOT_PLAIN } from './contended-uses';
import type { PlainUse } from './decide-plain';
import type { KnownAccount, KnownPayers } from './known-payers';
import { Lane, PatientLanes } from './lane';
import { PlainUses, type Reason } from './plain-uses';
import { decideForNewcomers } from './newcomers';
import type { LedgerPorts } from './ports';
import { recogniseUse, type Recognised } from './recognise';
import { lookAt } from './sights';
import type { Suggester } from './suggestions';
import type { ConsumeAnswer } from './use-answers';
import { BusyItem, consumeBatch, type WantedUse } from './use-batch';

/** One transaction takes at most so many; longer lists are done in several. */
const MAX_BATCH = MAX_LOCKED_ACCOUNTS;

const consumeInput = input({
  account: accountReference(),
  product: key(),
  /** Units. Default 1. */
  amount: units().optional(),
  ...newcomerFields,
  ...changeFields,
});
export type ConsumeRequest = RequestOf<typeof consumeInput>;

/** Whether others of a failed batch may succeed without the one that spoilt it. */
const mayConcernOne = (error: unknown): boolean =>
  !(error instanceof BillingError && error.code === 'database_unavailable');

/**
 * What became of each item. When nothing at all could be done, it is the call that failed, not one
 * item after the other.
 */
function outcomesOf<T>(settled: ReadonlyArray<PromiseSettledResult<T>>): Array<T | FailedItem> {
  const [first] = settled;
  if (first?.status === 'rejected' && settled.every((item) => item.status === 'rejected')) {
    throw first.reason;
  }
  return settled.map((item) =>
    item.status === 'fulfilled' ? item.value : failed(translate(item.reason)),
  );
}

type Taken = ConsumeAnswer | FailedItem;

/** Takes uses in: the short way for plain ones, the long way for all others. */
export class Uses {
  private readonly plain: PlainUses;
  private readonly contended: ContendedUses;
  private readonly sights: Lane<WantedUse, void>;
  private readonly long: Lane<WantedUse, Taken | BusyItem>;
  private readonly patient: PatientLanes<WantedUse, Taken>;
  /** How many uses came. */
  private arrivals = 0;

  constructor(
    private readonly context: Context,
    private readonly suggester: Suggester,
    private readonly known: KnownPayers,
    private readonly ports: Pick<LedgerPorts, 'refresh' | 'awaited' | 'meet'>,
  ) {
    this.plain = new PlainUses(context, known, (uses, why) => this.detour(uses, why));
    this.contended = new ContendedUses(context, known, mayConcernOne);
    this.sights = new Lane((items) => this.look(items));
    this.long = new Lane((items) => this.runBatch(items), mayConcernOne);
    const { connections } = context.database;
    this.patient = new PatientLanes(
      (items) => this.runPatiently(items),
      mayConcernOne,
      connections,
    );
  }

  /**
   * Takes an amount of a product from an account: all of it or nothing. A denial is an answer.
   * With `createIfNew` somebody who was never met has an account before it is decided.
   *
   * @returns the answer; with the key of an earlier call the first answer, `replayed`
   * @throws invalid_input, unknown_account, unknown_product, idempotency_conflict
   */
  consume(request: ConsumeRequest): Promise<ConsumeAnswer> {
    const known = recogniseUse(request, this.known);
    return known !== null && this.known.detour(known.account.payerId) === undefined
      ? this.addPlain(known, false).then(orThrow)
      : this.consumeParsed(request);
  }

  private async consumeParsed(request: ConsumeRequest): Promise<ConsumeAnswer> {
    const [answer] = await this.consumeMany([request]);
    return orThrow(answer!);
  }

  /**
   * Many uses at once, decided in the order given: an answer or an error for each, after its
   * commit. One bad item fails alone. Concurrent calls of a process share their transactions; lists
   * longer than 500 are done in several, one after the other.
   *
   * @throws invalid_input when items name different transactions
   */
  async consumeMany(
    requests: readonly ConsumeRequest[],
  ): Promise<Array<ConsumeAnswer | FailedItem>> {
    const parsed = readEach(requests, (request): WantedUse => {
      const wish = parse(consumeInput, request);
      return { ...wish, amount: wish.amount ?? ONE };
    });
    const good = parsed.filter(isFine);
    const tx = good[0]?.tx;
    if (good.some((request) => request.tx !== tx)) {
      throw new BillingError('invalid_input', 'All items of one batch must have the same "tx".', {
        parameter: 'tx',
      });
    }
    const decide = async (uses: readonly WantedUse[]): Promise<Taken[]> =>
      tx === undefined || tx === null
        ? outcomesOf(await Promise.allSettled(await this.take(uses)))
        : this.joined(uses, tx);
    return inOrder(parsed, await decideForNewcomers(good, decide, this.ports));
  }

  /**
   * In line, in order. Accounts of which nothing is known are looked up first, all at once, so that
   * uses of one payer keep their order, by whatever name it was called.
   */
  private async take(uses: readonly WantedUse[]): Promise<Array<Promise<Taken>>> {
    const unknown = uses.filter((use) => !this.isKnown(use));
    if (unknown.length > 0) await Promise.all(unknown.map((use) => this.sights.add(use)));
    return uses.map((use) => this.route(use, false));
  }

  private isKnown({ account: reference, product }: WantedUse): boolean {
    if (this.known.isUncounted(product)) return true;
    const account = this.known.account(reference);
    if (account === undefined) return false;
    const payer = this.known.payer(account.payerId);
    return !account.mayBePlain || payer?.pockets.has(product) === true;
  }

  private route(use: WantedUse, again: boolean): Promise<Taken> {
    const account = this.known.account(use.account);
    if (account === undefined) return this.addLong(use);
    const plain = use.metadata === undefined ? this.takePlain(account, use, again) : null;
    return plain ?? this.takeLong(use, account.payerId, (this.arrivals += 1));
  }

  /** Puts a use on the short way; null when it is none for it. */
  private takePlain(
    account: KnownAccount,
    { product, amount, idempotencyKey: key }: Omit<WantedUse, 'account'>,
    again: boolean,
  ): Promise<Taken> | null {
    const payer = this.known.payer(account.payerId);
    const pocket = payer?.pockets.get(product);
    if (payer === undefined || pocket === undefined || !account.mayBePlain) return null;
    if (this.known.detour(account.payerId) !== undefined) return null;
    if (decimalsOf(amount) > pocket.product.decimals) return null;
    return this.addPlain({ account, payer, pocket, amount, key }, again);
  }

  private addPlain(use: Recognised, again: boolean): Promise<Taken> {
    const { account, payer, pocket, amount, key } = use;
    const number = (this.arrivals += 1);
    return new Promise((resolve, reject) => {
      const plain = { number, account, payer, pocket, amount, key, again, resolve, reject };
      if (this.contended.has(payer.payerId)) this.addContended(plain);
      else this.plain.add(plain);
    });
  }

  private addContended(use: PlainUse): void {
    this.contended
      .add(use)
      .then((answer): Taken | Promise<Taken> =>
        answer === NOT_PLAIN
          ? this.takeLong(wantedOf(use), use.account.payerId, use.number)
          : answer,
      )
      .then((taken) => use.resolve(taken), use.reject);
  }

  /** Behind the plain uses of the payer that came before; those that come after wait behind it. */
  private async takeLong(
    use: WantedUse,
    payerId: string,
    number: number,
    payer = this.known.payer(payerId),
  ): Promise<Taken> {
    const detour = this.known.beginDetour(payerId, number, payer);
    try {
      await detour.turn(number);
      const taken = await this.addLong(use);
      // It wrote: what is known is not so any more.
      if (payer !== undefined && !isFailed(taken) && taken.allowed) this.known.drop(payer);
      return taken;
    } finally {
      this.known.endDetour(detour);
    }
  }

  /** By the lane that waits for nobody; when the account is busy, by one that waits for it alone. */
  private async addLong(use: WantedUse): Promise<Taken> {
    const taken = await this.long.add(use);
    return taken instanceof BusyItem ? this.patient.add(taken.payerId, use) : taken;
  }

  /** Uses that were taken for plain and are not. */
  private detour(uses: readonly PlainUse[], why: Reason): void {
    const overtaken = why === 'busy' || why === 'stale';
    if (overtaken) this.contended.notice(uses);
    for (const use of uses) {
      const { payerId } = use.account;
      if (overtaken && this.contended.has(payerId)) {
        this.addContended(use);
        continue;
      }
      const taken =
        why === 'stale' && !use.again && this.known.detour(payerId) === undefined
          ? this.sights.add(wantedOf(use)).then(() => this.route(wantedOf(use), true))
          : this.takeLong(wantedOf(use), payerId, use.number, use.payer);
      taken.then((answer) => use.resolve(answer), use.reject);
    }
  }

  private async look(uses: readonly WantedUse[]): Promise<void[]> {
    await lookAt(this.context, this.known, uses);
    return uses.map(() => undefined);
  }

  /** In a caller's transaction nothing is shared with others. */
  private async joined(
    requests: readonly WantedUse[],
    tx: unknown,
  ): Promise<Array<ConsumeAnswer | FailedItem>> {
    const answers: Array<ConsumeAnswer | FailedItem> = [];
    for (let start = 0; start < requests.length; start += MAX_BATCH) {
      answers.push(...(await this.runPatiently(requests.slice(start, start + MAX_BATCH), tx)));
    }
    return answers;
  }

  private async runBatch(items: readonly WantedUse[]): Promise<Array<Taken | BusyItem>> {
    const { context, suggester, ports } = this;
    // Behind those that already wait for their account, so that none overtakes them.
    const behind = items.map(({ account }) => {
      const payerId = this.known.account(account)?.payerId;
      return payerId !== undefined && this.patient.has(payerId) ? new BusyItem(payerId) : null;
    });
    const free = items.filter((_, index) => behind[index] === null);
    if (free.length === 0) return behind as BusyItem[];
    const taken = await context.database.transaction(undefined, async (session) => {
      const options = { context, suggester, ports, wait: false };
      return consumeBatch(session, free, options);
    });
    return behind.map((busy) => busy ?? taken.shift()!);
  }

  private async runPatiently(items: readonly WantedUse[], tx?: unknown): Promise<Taken[]> {
    const { context, suggester, ports } = this;
    return context.database.transaction(tx, async (session) => {
      const options = { context, suggester, ports, wait: true };
      const answers = await consumeBatch(session, items, options);
      // Who waits meets no busy account.
      return answers as Taken[];
    });
  }
}

const wantedOf = ({ account, pocket, amount, key }: PlainUse): WantedUse => ({
  account: account.reference,
  product: pocket.product.key,
  amount,
  idempotencyKey: key,
});
