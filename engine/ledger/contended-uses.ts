import type { Context } from '../database';
import { readClock } from '../kernel';
import { decidePlain, plainAnswer, type PlainUse } from './decide-plain';
import { KnownPayers } from './known-payers';
import { PatientLanes } from './lane';
import { recordUses } from './record-uses';
import { remember } from './sights';
import type { ConsumeAnswer } from './use-answers';
import { lockStanding } from './use-statements';

/**
 * Plain uses of a payer whom other processes write to just as often: what is known of it is over by
 * the time it is used. They take the payer's lock first, look, decide and write in one transaction,
 * many at a time, until nobody else has written for a while.
 */

/** So many uses of one payer in one batch that failed make it contended; a few are no rush. */
const RUSH = 8;
/** So many batches in a row that nobody else wrote between end it. */
const CALM = 16;

/** A use that is not plain: it goes the long way. */
export const NOT_PLAIN = Symbol('not plain');

export class ContendedUses {
  /** Of each contended payer the number of the last line written here, and how long it has been calm. */
  private readonly payers = new Map<string, { last: number; calm: number }>();
  private readonly lanes: PatientLanes<PlainUse, ConsumeAnswer | typeof NOT_PLAIN>;

  constructor(
    private readonly context: Context,
    private readonly known: KnownPayers,
    failsAlone: (error: unknown) => boolean,
  ) {
    const { connections } = context.database;
    this.lanes = new PatientLanes((uses) => this.run(uses), failsAlone, connections);
  }

  has(payerId: string): boolean {
    return this.payers.size > 0 && this.payers.has(payerId);
  }

  /** Uses of one batch that were not written, since others wrote or hold the lock. */
  notice(uses: readonly PlainUse[]): void {
    const counts = new Map<string, number>();
    for (const { payer } of uses) {
      counts.set(payer.payerId, (counts.get(payer.payerId) ?? 0) + 1);
    }
    for (const [payerId, count] of counts) {
      if (count >= RUSH && !this.has(payerId)) this.payers.set(payerId, { last: 0, calm: 0 });
    }
  }

  add(use: PlainUse): Promise<ConsumeAnswer | typeof NOT_PLAIN> {
    return this.lanes.add(use.payer.payerId, use);
  }

  /** A batch of one payer. */
  private run(uses: readonly PlainUse[]): Promise<Array<ConsumeAnswer | typeof NOT_PLAIN>> {
    const { database, clock, keep } = this.context;
    const { payerId } = uses[0]!.payer;
    return database.transaction(undefined, async (session) => {
      const wanted = uses.map(({ account, pocket }) => ({
        account: account.reference,
        product: pocket.product.key,
      }));
      const view = await lockStanding(session, payerId, wanted);
      const known = new KnownPayers();
      const now = readClock(clock);
      remember(view, wanted, known, now);
      const payer = known.payer(payerId);
      this.watch(payerId, payer?.last ?? 0);

      const fresh: PlainUse[] = [];
      for (const use of uses) {
        const account = known.account(use.account.reference);
        const pocket = payer?.pockets.get(use.pocket.product.key);
        const isThere = account?.payerId === payerId && account.mayBePlain;
        const detour = this.known.detour(payerId);
        // Those after one that is not plain go behind it.
        if (detour !== undefined && use.number >= detour.first) break;
        if (!isThere || payer === undefined || pocket === undefined) break;
        fresh.push({ ...use, account, payer, pocket });
      }
      const { lockTimeout } = database;
      const { batch } = decidePlain(fresh, known, {
        now,
        keep: keep.change,
        lockTimeout,
        before: null,
      });
      if (batch.uses.length === 0) return uses.map(() => NOT_PLAIN);
      const options = { look: true, after: null, token: batch.token };
      const { busy, stale, answered } = await recordUses(session, batch, options);
      if (busy.length + stale.length + answered.length > 0) return uses.map(() => NOT_PLAIN);
      this.payers.set(payerId, { last: payer!.last, calm: this.payers.get(payerId)?.calm ?? 0 });
      // The first of them are the batch, in order.
      return uses.map((_, index) => {
        const use = batch.wanted[index];
        return use === undefined ? NOT_PLAIN : plainAnswer(use, batch.uses[index]!);
      });
    });
  }

  private watch(payerId: string, last: number): void {
    const watched = this.payers.get(payerId);
    if (watched === undefined) return;
    watched.calm = watched.last === last ? watched.calm + 1 : 0;
    if (watched.calm >= CALM) this.payers.delete(payerId);
  }
}
