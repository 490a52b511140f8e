import { arrayLiteral, type Context, type Session } from '../database';
import {
  ONE,
  accountReference,
  formatUnits,
  input,
  isoTime,
  key,
  parse,
  readClock,
  units,
  type DenialReason,
  type Instant,
  type RequestOf,
} from '../kernel';
import {
  inOrder,
  isCurable,
  isFailed,
  isFine,
  newcomerFields,
  orThrow,
  readEach,
  resolvedWish,
  standing,
  type FailedItem,
  type Wish,
} from './access';
import type { KnownAccount, KnownPayer, KnownPayers } from './known-payers';
import { Lane } from './lane';
import { timesBy } from './ledger-time';
import { firstEnd, withFreed } from './order-of-use';
import { decideForNewcomers, type MayBeNew } from './newcomers';
import { pocketKey, isDue } from './pockets';
import type { LedgerPorts } from './ports';
import { recogniseCheck, type Recognised } from './recognise';
import { lookAt, type Seen } from './sights';
import {
  addSuggestions,
  type AwaitedFields,
  type Shortage,
  type SuggestedOffer,
  type Suggester,
} from './suggestions';

/** With `payment_awaited` it says what is to be paid. */
export interface CheckAnswer extends AwaitedFields {
  /** Of whom it was asked. */
  accountId: string;
  allowed: boolean;
  reason: DenialReason | null;
  /** Units there now; for `period` the level of access; null for unlimited. */
  remaining: string | null;
  unit: string;
  /** The earliest end among the grants counted; null: none of them ends. */
  expiresAt: string | null;
  suggestedOffers: SuggestedOffer[];
}

const checkInput = input({
  account: accountReference(),
  product: key(),
  /** Units; for `period` products the level of access. Default 1. */
  amount: units().optional(),
  ...newcomerFields,
});
export type CheckRequest = RequestOf<typeof checkInput>;

interface Checked {
  answers: Array<CheckAnswer | FailedItem>;
  /** What is missing where a purchase would be a cure. */
  shortages: Array<Shortage & { answer: CheckAnswer }>;
  /** Of whom a period may be due that would change the answer. */
  curable: Set<string>;
}

/** What was seen decides: without writing, in one statement. */
function answerFrom({ view, pockets }: Seen, wishes: readonly Wish[], clock: Instant): Checked {
  const timeOf = timesBy(view.lastLines, clock);
  const shortages: Checked['shortages'] = [];
  const curable = new Set<string>();
  const answers = wishes.map((asked, index): CheckAnswer | FailedItem => {
    const account = view.accounts[index] ?? null;
    const wish = resolvedWish(asked, account, view.products.get(asked.product));
    if (isFailed(wish)) return wish;
    const { accountId, payerId } = wish.account;
    const now = timeOf(payerId);
    const product = wish.product.key;
    const pocket = pockets.get(pocketKey({ payerId, product }))!;
    const grants = withFreed(pocket.grants, pocket.holds, now);
    const there = standing(wish, { ...pocket, grants }, now);
    const end = firstEnd(grants, now, wish.product.kind);
    const given: CheckAnswer = {
      accountId,
      allowed: there.allowed,
      reason: there.reason,
      remaining: there.remaining === null ? null : formatUnits(there.remaining),
      unit: wish.product.unit,
      expiresAt: isoTime(end),
      suggestedOffers: [],
    };
    if (isCurable(there) || isDue(pocket, now)) curable.add(payerId);
    if (there.missing.greaterThan(0)) {
      shortages.push({ answer: given, accountId, product, missing: there.missing });
    }
    return given;
  });
  return { answers, shortages, curable };
}

/** The answer that what is known gives; null when it gives none, or no plain yes. */
function answerKnown(wish: KnownWish, clock: Instant): CheckAnswer | null {
  const { account, payer, pocket, amount } = wish;
  const now = Math.max(clock, payer.recordedAt);
  // What was taken and is not yet committed is not so yet.
  if (payer.writing !== 0 || amount.greaterThan(pocket.available)) return null;
  if (now < pocket.since || now >= pocket.until) return null;
  const end = firstEnd(pocket.grants, now, 'quantity');
  return {
    accountId: account.accountId,
    allowed: true,
    reason: null,
    remaining: formatUnits(pocket.available),
    unit: pocket.product.unit,
    expiresAt: isoTime(end),
    suggestedOffers: [],
  };
}

type KnownWish = Pick<Recognised, 'account' | 'payer' | 'pocket' | 'amount'>;
type Asked = { wish: Wish } | { known: KnownWish };

const wishOf = (asked: Asked): Wish => {
  if ('wish' in asked) return asked.wish;
  const { account, pocket, amount } = asked.known;
  return { account: account.reference, product: pocket.product.key, amount };
};

/** Concurrent batches; more would only be smaller. */
const LANES = 2;

export class Checks {
  private readonly lanes: Array<Lane<Asked, CheckAnswer | FailedItem>>;
  private next = 0;

  constructor(
    private readonly context: Context,
    private readonly suggester: Suggester,
    private readonly known: KnownPayers,
    private readonly ports: Pick<LedgerPorts, 'refresh' | 'awaited' | 'meet'>,
  ) {
    const lanes = context.database.connections >= 2 * LANES ? LANES : 1;
    this.lanes = Array.from({ length: lanes }, () => new Lane((asked) => this.answerAll(asked)));
  }

  /**
   * Whether an account may use an amount of a product now. Writes nothing but the grants of a
   * subscription's period that is due and that nobody made yet, and with `createIfNew` the account of
   * somebody who was never met.
   * Concurrent calls share a statement, which was begun after each of them.
   *
   * @throws invalid_input, unknown_account, unknown_product
   */
  async check(request: CheckRequest): Promise<CheckAnswer> {
    const known = recogniseCheck(request, this.known);
    if (known !== null) return orThrow(await this.ask({ known }));
    const [answer] = await this.checkMany([request]);
    return orThrow(answer!);
  }

  /** Many checks at once: an answer or an error for each, in order. One bad item fails alone. */
  async checkMany(requests: readonly CheckRequest[]): Promise<Array<CheckAnswer | FailedItem>> {
    const parsed = readEach(requests, readWish);
    const decide = (wishes: readonly Wish[]) =>
      Promise.all(wishes.map((wish) => this.ask({ wish })));
    return inOrder(parsed, await decideForNewcomers(parsed.filter(isFine), decide, this.ports));
  }

  private ask(asked: Asked): Promise<CheckAnswer | FailedItem> {
    this.next = (this.next + 1) % this.lanes.length;
    return this.lanes[this.next]!.add(asked);
  }

  /** What is known answers when the database says that it is still so; the rest is read. */
  private async answerAll(asked: readonly Asked[]): Promise<Array<CheckAnswer | FailedItem>> {
    const { database, clock } = this.context;
    const now = readClock(clock);
    const answers: Array<CheckAnswer | FailedItem | null> = asked.map((one) =>
      'known' in one ? answerKnown(one.known, now) : null,
    );
    const sure = asked.map((one, index) =>
      'known' in one && answers[index] !== null ? one.known : null,
    );
    const changed = await findChanged(database.prepared, sure);
    const open = asked.flatMap((_, index) =>
      answers[index] === null || changed.has(index) ? [index] : [],
    );
    if (open.length > 0) {
      const wishes = open.map((index) => wishOf(asked[index]!));
      const given = await this.answerByLooking(wishes, now);
      open.forEach((index, position) => (answers[index] = given[position]!));
    }
    return answers as Array<CheckAnswer | FailedItem>;
  }

  /** One statement, and another when something is denied; once more if a period was due. */
  private async answerByLooking(
    wishes: readonly Wish[],
    now: Instant,
  ): Promise<Array<CheckAnswer | FailedItem>> {
    const { context, known, ports, suggester } = this;
    const look = async (): Promise<Checked> =>
      answerFrom(await lookAt(context, known, wishes), wishes, now);
    let checked = await look();
    const { curable } = checked;
    if (curable.size > 0 && (await ports.refresh(null, [...curable], now))) checked = await look();
    await addSuggestions(context.database, suggester, ports, checked.shortages);
    return checked.answers;
  }
}

function readWish(request: CheckRequest): MayBeNew {
  const wish = parse(checkInput, request);
  return { ...wish, amount: wish.amount ?? ONE };
}

/** One round trip; the statement is in database/migrations/0005-ledger-calls.ts. */
const FIND_CHANGED = `
select payers, products from {schema}.find_changed($1::uuid[], $2::bigint[], $3::integer[], $4::uuid[],
  $5::text[], $6::text[], $7::text[], $8::text[])`;

/** The positions of those that are not as they are known. Positions of null are left out. */
async function findChanged(
  session: Session,
  wishes: ReadonlyArray<KnownWish | null>,
): Promise<Set<number>> {
  const payers = new Map<KnownPayer, number>();
  const accounts = new Map<KnownAccount, number>();
  const products = new Map<string, string>();
  for (const wish of wishes) {
    if (wish === null) continue;
    const { account, payer, pocket } = wish;
    if (!payers.has(payer)) payers.set(payer, payers.size + 1);
    accounts.set(account, payers.get(payer)!);
    products.set(pocket.product.key, pocket.product.unit);
  }
  if (payers.size === 0) return new Set();
  const list = [...accounts.keys()];
  const identities = list.map(({ reference }) => ('provider' in reference ? reference : null));
  const special = list.some(
    (account, index) => identities[index] !== null || account.accountId !== account.payerId,
  );
  const [row] = await session.query<{ payers: number[] | null; products: string[] | null }>(
    FIND_CHANGED,
    [
      arrayLiteral([...payers.keys()].map(({ payerId }) => payerId)),
      arrayLiteral([...payers.keys()].map(({ last }) => last)),
      arrayLiteral([...accounts.values()]),
      arrayLiteral(list.map(({ accountId }) => accountId)),
      special ? identities.map((identity) => identity?.provider ?? null) : [],
      special ? identities.map((identity) => identity?.externalId ?? null) : [],
      [...products.keys()],
      [...products.values()],
    ],
  );
  const changedPayers = new Set(row!.payers ?? []);
  const changedProducts = new Set(row!.products ?? []);
  const changed = new Set<number>();
  wishes.forEach((wish, index) => {
    if (wish === null) return;
    const { payer, pocket } = wish;
    if (changedPayers.has(payers.get(payer)!) || changedProducts.has(pocket.product.key)) {
      changed.add(index);
    }
  });
  return changed;
}
