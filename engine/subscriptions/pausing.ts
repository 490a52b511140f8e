import type { Context } from '../database';
import {
  BillingError,
  changeFields,
  input,
  instant,
  isoTime,
  parse,
  type ChangeOptions,
} from '../kernel';
import { changeOfSubscription, subscriptionIdInput, wrongState } from './change-of-subscription';
import type { ChangedAnswer } from './changing';
import { planAdvance, type Standing } from './planning';
import { queuedChanges } from './queued-changes';
import { readSubscription, type Subscription } from './reading';
import { subscriberOf, findSubscription, saveDetails, saveSubscriptions } from './records';
import { reasonOfStatus } from './starting';
import { OfferVersions } from './offer-versions';
import { writeOutcomes } from './writing';

export interface PauseRequest extends ChangeOptions {
  subscriptionId: string;
  /** When it goes on by itself: after the end of the period. Left out: when somebody resumes it. */
  resumeAt?: string | Date | null;
}

export interface ResumeRequest extends ChangeOptions {
  subscriptionId: string;
}

const pauseInput = input({
  subscriptionId: subscriptionIdInput(),
  resumeAt: instant().nullish(),
  ...changeFields,
});

const resumeInput = input({ subscriptionId: subscriptionIdInput(), ...changeFields });

/** Subscriptions that rest for a while: no periods, no invoices, no access. */
export class Pauses {
  constructor(private readonly context: Context) {}

  /**
   * Lets a subscription rest when its period ends: what was paid for can be used until then. Invoices
   * that were issued go on being collected. Again, it sets another time to go on.
   *
   * @throws invalid_input (`resumeAt` before the period ends), unknown_subscription,
   *   subscription_state (not in force, or it ends with its period), idempotency_conflict
   */
  async pause(request: PauseRequest): Promise<Subscription & { replayed: boolean }> {
    const { subscriptionId, idempotencyKey, metadata, tx, ...inputs } = parse(pauseInput, request);
    const { answer, replayed } = await changeOfSubscription(
      this.context,
      { kind: 'pauseSubscription', subscriptionId, request: inputs, idempotencyKey, tx },
      async (session, { subscription: one }) => {
        const resumeAt = inputs.resumeAt ?? null;
        const earliest = requirePausable(one);
        if (resumeAt !== null && earliest !== null && resumeAt <= earliest) {
          throw new BillingError(
            'invalid_input',
            `"resumeAt" must lie behind the end of the period, ${isoTime(earliest)}.`,
            { parameter: 'resumeAt' },
          );
        }
        const pauseAt = one.status === 'paused' ? null : one.periodEnd;
        await saveSubscriptions(session, [{ ...one, pauseAt, resumeAt }]);
        await saveDetails(session, one, { metadata });
        return readSubscription(session, await findSubscription(session, subscriptionId));
      },
    );
    return { ...answer, replayed };
  }

  /**
   * Lets a subscription go on: a new period begins now, and periods are counted from there. A pause
   * that has not taken force is taken back.
   *
   * @returns the subscription; or `allowed: false` with `account_suspended`, `account_closed`
   * @throws unknown_subscription, subscription_state (neither paused nor about to be),
   *   idempotency_conflict
   */
  async resume(request: ResumeRequest): Promise<ChangedAnswer<Subscription>> {
    const { subscriptionId, idempotencyKey, metadata, tx } = parse(resumeInput, request);
    const { answer, replayed } = await changeOfSubscription(
      this.context,
      { kind: 'resumeSubscription', subscriptionId, request: {}, idempotencyKey, tx },
      async (session, standing, now) => {
        const { subscription: one } = standing;
        if (one.status !== 'paused' && one.pauseAt === null) {
          throw wrongState(subscriptionId, one.status, 'it is not paused');
        }
        const reason = reasonOfStatus(await subscriberOf(session, one));
        if (reason === null) {
          if (one.status === 'paused') {
            const resumed = { ...standing, subscription: { ...one, resumeAt: now } };
            const queued = await queuedChanges(session, [one]);
            const change = queued.get(subscriptionId);
            const offers = new OfferVersions();
            await offers.load(session, [one, ...queued.values()]);
            await writeOutcomes(session, [planAdvance(resumed, offers.of, change, now)], now);
          } else {
            await saveSubscriptions(session, [{ ...one, pauseAt: null, resumeAt: null }]);
          }
          await saveDetails(session, one, { metadata });
        }
        const after = await findSubscription(session, subscriptionId);
        return { allowed: reason === null, reason, ...(await readSubscription(session, after)) };
      },
    );
    return { ...answer, replayed };
  }
}

/**
 * Whether a subscription can rest.
 *
 * @returns when it would begin to; null: it rests already
 * @throws subscription_state
 */
function requirePausable(one: Standing['subscription']): number | null {
  const { subscriptionId, status } = one;
  const refuse = (because: string, advice?: string): never => {
    throw wrongState(subscriptionId, status, because, advice);
  };
  if (one.endedAt !== null) refuse('it is over');
  if (status === 'paused') return null;
  if (one.periodNumber === 0) refuse('it has not begun yet', 'Cancel it, and start another one.');
  if (one.cancelAt !== null) {
    refuse('it is cancelled when its period ends', 'Take that back with subscriptions.undo first.');
  }
  if (!one.renews) refuse('it ends with its period, and nothing follows that could rest');
  return one.periodEnd;
}
