import { referenceKey, type ResolvedAccount } from '../accounts';
import type { Decimal, Instant, ResolvedReference } from '../kernel';
import type { UsedProduct } from './access';
import { available, inOrderOfUse, isOver } from './order-of-use';
import type { Grant, PocketState } from './pockets';
import { floorOf, levelOf, type Floor } from './thresholds';

/**
 * What a process knows of payers from its own last look at them. Never the truth: a use that was
 * decided on it is written only if the database finds it unchanged (record-uses.ts).
 */

/** What one payer has of one product, as it may be used between two moments. */
export interface KnownPocket {
  readonly product: UsedProduct;
  /** In the order of use; the same order for the whole time. */
  readonly grants: Grant[];
  available: Decimal;
  /**
   * Uses that leave less than this have something to tell, which is not plain. A threshold that another
   * process changed since is noticed with the next look.
   */
  readonly floor: Floor | null;
  /** Value of what is left of grants that were drawn on. */
  readonly worth: Map<Grant, Decimal>;
  /**
   * From this moment up to, and without, the next at which a grant begins or ends, a hold is over, a
   * period is due, or what is known is too old.
   */
  readonly since: Instant;
  readonly until: Instant;
}

export class KnownPayer {
  readonly pockets = new Map<string, KnownPocket>();
  /** The last batch that took from it, until its answer is there; 0: none. */
  writing = 0;
  /** Its number in the batch that was made last. */
  position = 0;
  /** The lane its uses are in. */
  lane = 0;
  /** Uses in line or under way. */
  private pending = 0;
  private idle: { promise: Promise<void>; resolve: () => void } | null = null;

  constructor(
    readonly payerId: string,
    /** The number of its last line. */
    public last: number,
    public recordedAt: Instant,
  ) {}

  get isIdle(): boolean {
    return this.pending === 0;
  }

  begin(): void {
    this.pending += 1;
  }

  end(): void {
    this.pending -= 1;
    if (this.pending > 0 || this.idle === null) return;
    this.idle.resolve();
    this.idle = null;
  }

  /** Fulfilled when none of its uses is in line or under way. */
  whenIdle(): Promise<void> {
    if (this.pending === 0) return Promise.resolve();
    if (this.idle === null) {
      let resolve = (): void => undefined;
      const promise = new Promise<void>((fulfil) => (resolve = fulfil));
      this.idle = { promise, resolve };
    }
    return this.idle.promise;
  }
}

/** An account as it was named. */
export class KnownAccount {
  /** Its number in the batch that was made last, and that batch. */
  position = 0;
  batch = 0;
  /** Keys of its uses in that batch. */
  readonly keys = new Set<string>();
  private print: { product: string; amount: Decimal; digest: string } | null = null;

  constructor(
    readonly reference: ResolvedReference,
    readonly accountId: string,
    readonly payerId: string,
    /** Whether uses of it may be plain. */
    readonly mayBePlain: boolean,
  ) {}

  /** The fingerprint of a use; most uses of an account are alike. */
  fingerprint(product: string, amount: Decimal, make: () => string): string {
    const known = this.print;
    if (known !== null && known.product === product && known.amount.equals(amount)) {
      return known.digest;
    }
    const digest = make();
    this.print = { product, amount, digest };
    return digest;
  }
}

/** How many payers, and how many names of accounts, a process keeps in mind; about 1 KB each. */
const MOST = 20_000;

/** What was read of one account and one pocket, in one snapshot. */
export interface Sight {
  reference: ResolvedReference;
  account: ResolvedAccount;
  /** Whether some product is denied to its payer. */
  isGated: boolean;
  product: UsedProduct;
  /** Null: its payer has no line yet. */
  seen: Seen | null;
}

interface Seen {
  /** The payer's last line. */
  last: bigint;
  recordedAt: Instant;
  pocket: PocketState;
  /** The moment it was looked at, by the time that counts in the ledger. */
  at: Instant;
}

/** The long way, while uses of one payer are on it. */
class Detour {
  /** How many uses are on it. */
  uses = 0;
  /** Those that wait for it to begin; null once it has begun. */
  private waiting: Array<{ number: number; go: () => void }> | null = null;

  /**
   * @param first number of the use that it began with
   * @param payer whose plain uses are done first
   */
  constructor(
    readonly payerId: string,
    readonly first: number,
    payer: KnownPayer | undefined,
  ) {
    if (payer === undefined || payer.isIdle) return;
    this.waiting = [];
    void payer.whenIdle().then(() => this.begin());
  }

  /**
   * Fulfilled, in the order in which uses came, when the plain uses of the payer are done: one of
   * those may still turn out not to be plain, and then goes ahead of uses that came after it.
   */
  async turn(number: number): Promise<void> {
    const { waiting } = this;
    if (waiting === null) return;
    await new Promise<void>((go) => waiting.push({ number, go }));
  }

  private begin(): void {
    const waiting = this.waiting ?? [];
    this.waiting = null;
    waiting.sort((one, other) => one.number - other.number);
    for (const { go } of waiting) go();
  }
}

export class KnownPayers {
  /** By the text of `referenceKey`. */
  private readonly accounts = new Map<string, KnownAccount>();
  private readonly payers = new Map<string, KnownPayer>();
  private readonly detours = new Map<string, Detour>();
  /** Products of which uses take nothing: never plain, and of a kind that stays. */
  private readonly uncounted = new Set<string>();

  account(reference: ResolvedReference): KnownAccount | undefined {
    return this.accounts.get(referenceKey(reference));
  }

  accountByKey(key: string): KnownAccount | undefined {
    return this.accounts.get(key);
  }

  payer(payerId: string): KnownPayer | undefined {
    return this.payers.get(payerId);
  }

  isUncounted(product: string): boolean {
    return this.uncounted.has(product);
  }

  isCurrent(payer: KnownPayer): boolean {
    return this.payers.get(payer.payerId) === payer;
  }

  /** Uses of a payer that are on the long way, where those that came after the first follow. */
  detour(payerId: string): Detour | undefined {
    return this.detours.get(payerId);
  }

  /**
   * @param number of the use that goes there, in the order in which uses came
   * @param payer that has uses under way
   */
  beginDetour(payerId: string, number: number, payer: KnownPayer | undefined): Detour {
    let detour = this.detours.get(payerId);
    if (detour === undefined) {
      detour = new Detour(payerId, number, payer);
      this.detours.set(payerId, detour);
    }
    detour.uses += 1;
    return detour;
  }

  endDetour(detour: Detour): void {
    detour.uses -= 1;
    if (detour.uses === 0) this.detours.delete(detour.payerId);
  }

  /** Forgets what a payer has: something is not as it was known. */
  drop(payer: KnownPayer): void {
    if (this.isCurrent(payer)) this.payers.delete(payer.payerId);
  }

  /** Forgets who an account is, and those it pays for, by whatever name. */
  forget(accountId: string): void {
    for (const [key, account] of this.accounts) {
      if (account.accountId === accountId || account.payerId === accountId) {
        this.accounts.delete(key);
      }
    }
  }

  /** Forgets what anybody has of a product. */
  forgetProduct(product: string): void {
    for (const payer of this.payers.values()) payer.pockets.delete(product);
  }

  /**
   * Remembers what was seen. What is known of a payer is never replaced by an older sight, nor by a
   * newer one while uses that were decided on it are under way.
   */
  learn({ reference, account, isGated, product, seen }: Sight): void {
    const mayBePlain =
      !isGated &&
      account.status === 'active' &&
      account.payerStatus === 'active' &&
      // Keys are looked up under earlier payers, too.
      account.earlierPayers.length === 0;
    const { accountId, payerId } = account;
    const key = referenceKey(reference);
    const known = this.accounts.get(key);
    if (known?.payerId !== payerId || known.mayBePlain !== mayBePlain) {
      this.accounts.set(key, new KnownAccount(reference, accountId, payerId, mayBePlain));
    }
    this.forgetOldest();
    if (product.kind !== 'quantity') this.uncounted.add(product.key);
    if (!mayBePlain || product.kind !== 'quantity' || seen === null) return;
    const pocket = pocketOf(product, seen);
    if (pocket === null) return;
    const last = Number(seen.last);
    let payer = this.payers.get(payerId);
    if (payer === undefined || (payer.last < last && payer.isIdle)) {
      payer = new KnownPayer(payerId, last, seen.recordedAt);
      this.payers.set(payerId, payer);
    } else if (payer.last !== last || payer.writing !== 0) {
      return;
    }
    if (!payer.pockets.has(product.key) || payer.isIdle) payer.pockets.set(product.key, pocket);
  }

  /** A tenth at once; those that are needed are learned again. */
  private forgetOldest(): void {
    if (this.payers.size > MOST) {
      for (const payerId of oldest(this.payers)) this.payers.delete(payerId);
    }
    if (this.accounts.size > MOST)
      for (const key of oldest(this.accounts)) this.accounts.delete(key);
  }
}

const oldest = <K>(map: ReadonlyMap<K, unknown>): K[] => [...map.keys()].slice(0, MOST / 10);

/**
 * So long what is known of an account is good without another look. What others write into its ledger is
 * seen at once; that a payment failed is not written there, nor when the time of grace after it is over.
 */
const KNOWN_FOR = 60_000;

/** Null when something of it is over, or due, and must be written first. */
function pocketOf(product: UsedProduct, { pocket, at }: Seen): KnownPocket | null {
  if (pocket.holds.some((hold) => isOver(hold, at))) return null;
  const { due } = pocket;
  if (due !== null && due <= at) return null;
  const moments = [due ?? Infinity, ...pocket.holds.map((hold) => hold.expiresAt)];
  for (const { expiresAt, validFrom, remaining } of pocket.grants) {
    if (expiresAt !== null && expiresAt <= at && remaining.greaterThan(0)) return null;
    moments.push(validFrom, expiresAt ?? Infinity);
  }
  const there = available(pocket.grants, at);
  const { thresholds } = pocket;
  // Units that were used up count as granted up to their grant's end.
  moments.push(...(thresholds?.spent ?? []).map(({ endsAt }) => endsAt ?? Infinity));
  return {
    product,
    grants: inOrderOfUse(pocket.grants, at),
    available: there,
    floor: thresholds && floorOf(thresholds, levelOf(pocket.grants, thresholds, at), there),
    worth: new Map(),
    since: at,
    until: Math.min(at + KNOWN_FOR, ...moments.filter((moment) => moment > at)),
  };
}
