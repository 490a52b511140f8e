import type { Context } from '../database';
import {
  changeFields,
  input,
  instant,
  isoTime,
  parse,
  recordId,
  refused,
  type RequestOf,
} from '../kernel';
import { statusReason } from '../sales';
import {
  changeOfSubscription,
  deniableChange,
  wrongState,
  type ChangedAnswer,
  type ChangedSubscription,
} from './change-of-subscription';
import type { PeriodPorts } from './giving-back';
import { planAdvance, type Standing } from './planning';
import { queuedChanges } from './queued-changes';
import { saveSubscriptions, subscriberOf } from './records';
import { OfferVersions } from './offer-versions';
import { writeOutcomes } from './writing';

const pauseInput = input({
  subscriptionId: recordId(),
  /** When it goes on by itself: after the end of the period. Left out: when somebody resumes it. */
  resumeAt: instant().nullable().default(null),
  ...changeFields,
});
export type PauseRequest = RequestOf<typeof pauseInput>;

const resumeInput = input({ subscriptionId: recordId(), ...changeFields });
export type ResumeRequest = RequestOf<typeof resumeInput>;

/** Subscriptions that rest for a while: no periods, no invoices, no access. */
export class Pauses {
  constructor(
    private readonly context: Context,
    private readonly ports: PeriodPorts,
  ) {}

  /**
   * Lets a subscription rest when its period ends: what was paid for can be used until then. Invoices
   * that were issued go on being collected. Again, it sets another time to go on.
   *
   * @throws invalid_input (`resumeAt` before the period ends), unknown_subscription,
   *   subscription_state (not in force, or it ends with its period), idempotency_conflict
   */
  async pause(request: PauseRequest): Promise<ChangedSubscription> {
    const wanted = parse(pauseInput, request);
    return changeOfSubscription(
      this.context,
      this.ports,
      'pauseSubscription',
      wanted,
      async (session, { subscription: one }) => {
        const { resumeAt } = wanted;
        const earliest = requirePausable(one);
        if (resumeAt !== null && earliest !== null && resumeAt <= earliest) {
          throw refused('resumeAt', `must lie behind the end of the period, ${isoTime(earliest)}`);
        }
        const pauseAt = one.status === 'paused' ? null : one.periodEnd;
        await saveSubscriptions(session, [{ ...one, pauseAt, resumeAt }]);
      },
    );
  }

  /**
   * Lets a subscription go on: a new period begins now, and periods are counted from there. A pause
   * that has not taken force is taken back.
   *
   * @returns the subscription; or `allowed: false` with `account_suspended`, `account_closed`
   * @throws unknown_subscription, subscription_state (it is over, or neither paused nor
   *   about to be), idempotency_conflict
   */
  async resume(request: ResumeRequest): Promise<ChangedAnswer> {
    const wanted = parse(resumeInput, request);
    return deniableChange(
      this.context,
      this.ports,
      'resumeSubscription',
      wanted,
      async (session, standing, now) => {
        const { subscription: one } = standing;
        // What lapsed keeps its pause for the period that late money would begin.
        if (one.endedAt !== null) {
          throw wrongState(one, 'it is over', 'Begin it anew with subscriptions.reactivate.');
        }
        if (one.status !== 'paused' && (one.pauseAt === null || one.cancelAt !== null)) {
          throw wrongState(one, 'it is not paused');
        }
        const reason = statusReason(await subscriberOf(session, one));
        if (reason !== null) return reason;
        if (one.status === 'paused') {
          const resumed = { ...standing, subscription: { ...one, resumeAt: now } };
          const queued = await queuedChanges(session, [one]);
          const change = queued.get(one.subscriptionId);
          const offers = new OfferVersions();
          await offers.load(session, [one, ...queued.values()]);
          await writeOutcomes(session, [planAdvance(resumed, offers.of, change, now)], now);
        } else {
          await saveSubscriptions(session, [{ ...one, pauseAt: null, resumeAt: null }]);
        }
        return null;
      },
    );
  }
}

/**
 * Whether a subscription can rest.
 *
 * @returns when it would begin to; null: it rests already
 * @throws subscription_state
 */
function requirePausable(one: Standing['subscription']): number | null {
  const refuse = (because: string, advice?: string): never => {
    throw wrongState(one, because, advice);
  };
  if (one.endedAt !== null) refuse('it is over');
  if (one.status === 'paused') return null;
  if (one.periodNumber === 0) refuse('it has not begun yet', 'Cancel it, and start another one.');
  if (one.cancelAt !== null) {
    refuse('it is cancelled when its period ends', 'Take that back with subscriptions.undo first.');
  }
  if (!one.renews) refuse('it ends with its period, and nothing follows that could rest');
  return one.periodEnd;
}
