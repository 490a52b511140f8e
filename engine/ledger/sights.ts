import type { Context } from '../database';
import { readClock, type Instant } from '../kernel';
import type { KnownPayers } from './known-payers';
import { pocketKey, fill, emptyPocket, type PocketState } from './pockets';
import { readStanding, type StandingView, type Wanted } from './use-statements';

/** What was seen of a number of accounts and products, in one snapshot. */
export interface Seen {
  view: StandingView;
  at: Instant;
  /** By `pocketKey`; those of accounts that exist. */
  pockets: Map<string, PocketState>;
}

/** Looks at what is wanted, and remembers it. Locks nothing. */
export async function lookAt(
  { database, clock }: Context,
  known: KnownPayers,
  wanted: Wanted,
): Promise<Seen> {
  const view = await readStanding(database.prepared, wanted);
  return remember(view, wanted, known, readClock(clock));
}

/** Remembers what was read. */
export function remember(
  view: StandingView,
  wanted: Wanted,
  known: KnownPayers,
  at: Instant,
): Seen {
  const pockets = new Map<string, PocketState>();
  wanted.forEach(({ product }, index) => {
    const account = view.accounts[index];
    if (account) pockets.set(pocketKey({ payerId: account.payerId, product }), emptyPocket());
  });
  fill(pockets, view.holdings);
  const lines = new Map(view.lastLines.map((line) => [line.payerId, line]));
  wanted.forEach(({ account: reference, product: key }, index) => {
    const account = view.accounts[index];
    const product = view.products.get(key);
    if (!account || product === undefined) return;
    const line = lines.get(account.payerId);
    const pocket = pockets.get(pocketKey({ payerId: account.payerId, product: key }))!;
    const seen =
      line === undefined
        ? null
        : {
            last: line.sequence,
            recordedAt: line.recordedAt,
            pocket,
            at: Math.max(at, line.recordedAt),
          };
    const isGated = view.gated.has(account.payerId);
    known.learn({ reference, account, isGated, product, seen });
  });
  return { view, at, pockets };
}
