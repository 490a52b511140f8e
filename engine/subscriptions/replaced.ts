import type { Session } from '../database';
import { isoTime } from '../kernel';
import { awaitingChanges } from './awaiting-records';
import { queuedChanges } from './queued-changes';
import type { StoredSubscription } from './stored-subscription';

/** What waits for the end of a period, and what a call replaced of that. */

/** Something that waited for the end of the period, or for its payment, and waits no more. */
export interface Replaced {
  kind: 'cancellation' | 'pause' | 'awaiting_change' | 'change';
  /** Of a change those that it would have led to. */
  sku: string;
  quantity: number;
  /** When it would have taken force; of a change that waited for its payment, from when on. */
  at: string;
}

/** What waits, with what tells it from another. */
export interface Waiting extends Replaced {
  /** The parts that it names; one is the same as before as long as it names them all. */
  names: readonly string[];
}

/** What waits for the end of a subscription's period, what takes force first of all. */
export async function waitingFor(session: Session, one: StoredSubscription): Promise<Waiting[]> {
  if (one.endedAt !== null) return [];
  const { sku, quantity, cancelAt, pauseAt, resumeAt, subscriptionId } = one;
  const waiting: Waiting[] = [];
  if (cancelAt !== null) {
    waiting.push({ kind: 'cancellation', sku, quantity, at: isoTime(cancelAt), names: [] });
  }
  if (pauseAt !== null) {
    const names = [`until ${isoTime(resumeAt) ?? 'resumed'}`];
    waiting.push({ kind: 'pause', sku, quantity, at: isoTime(pauseAt), names });
  }
  const awaiting = (await awaitingChanges(session, [one])).get(subscriptionId);
  if (awaiting !== undefined) {
    const { sku: to, quantity: count, effectiveAt, changeId } = awaiting;
    const at = isoTime(effectiveAt);
    waiting.push({ kind: 'awaiting_change', sku: to, quantity: count, at, names: [changeId] });
  }
  const change = (await queuedChanges(session, [one])).get(subscriptionId);
  if (change !== undefined) {
    const names = [
      ...(change.namesOffer ? [`sku ${change.sku}`] : []),
      ...(change.namesQuantity ? [`quantity ${change.quantity}`] : []),
    ];
    const { sku: to, quantity: count } = change;
    waiting.push({ kind: 'change', sku: to, quantity: count, at: isoTime(one.periodEnd), names });
  }
  return waiting;
}

/**
 * What of that a call replaced: what is there no more, or what a cancellation keeps from taking force.
 * Pure.
 */
export function replacedBy(before: readonly Waiting[], after: readonly Waiting[]): Replaced | null {
  const isCancelled = after[0]?.kind === 'cancellation' && before[0]?.kind !== 'cancellation';
  const stays = (one: Waiting): boolean =>
    (!isCancelled || one.kind === 'awaiting_change') &&
    after.some(
      ({ kind, names }) => kind === one.kind && one.names.every((it) => names.includes(it)),
    );
  const gone = before.find((one) => !stays(one));
  if (gone === undefined) return null;
  const { names: _names, ...replaced } = gone;
  return replaced;
}
