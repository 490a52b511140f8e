import type { Session } from '../../database';
import { input, integer, isoTime, list, oneOf, type Instant } from '../../kernel';

/** When a payment that failed is tried again, and what comes in the end. */

export const FINAL_ACTIONS = ['cancel', 'uncollectible', 'keep'] as const;
export type FinalAction = (typeof FINAL_ACTIONS)[number];

export interface Dunning {
  /** After so many days from the attempt before, a further attempt each. */
  retryAfterDays: number[];
  /** For so many days from the first failure access goes on. */
  graceDays: number;
  /**
   * After the last attempt: `cancel` ends the subscriptions, `uncollectible` writes the invoice off,
   * `keep` leaves both as they are.
   */
  finalAction: FinalAction;
}

export const DEFAULT_DUNNING: Readonly<Dunning> = {
  retryAfterDays: [3, 5, 7],
  graceDays: 7,
  finalAction: 'cancel',
};

/** For `invoicing.saveSettings`: fields that are left out stay. */
export const dunningInput = () =>
  input({
    retryAfterDays: list(integer(1, 90), 20).optional(),
    graceDays: integer(0, 365).optional(),
    finalAction: oneOf(FINAL_ACTIONS).optional(),
  });

const READ = `
select retry_after_days as days, grace_days, final_action from {schema}.dunning_settings`;

const SAVE = `
insert into {schema}.dunning_settings
  (retry_after_days, grace_days, final_action, saved_at)
values ($1::integer[], $2, $3, $4::timestamptz)
on conflict (sole) do update
  set retry_after_days = excluded.retry_after_days, grace_days = excluded.grace_days,
      final_action = excluded.final_action, saved_at = excluded.saved_at`;

/** What is in force; the defaults when nothing was saved. */
export async function readDunning(session: Session): Promise<Dunning> {
  const [row] = await session.query<{
    days: number[];
    grace_days: number;
    final_action: FinalAction;
  }>(READ);
  if (row === undefined) return { ...DEFAULT_DUNNING };
  return {
    retryAfterDays: row.days,
    graceDays: row.grace_days,
    finalAction: row.final_action,
  };
}

/** Changes what is given; collecting that is under way goes on by it. Who saves takes turns. */
export async function saveDunning(
  session: Session,
  change: Partial<Dunning>,
  now: Instant,
): Promise<Dunning> {
  const before = await readDunning(session);
  const dunning: Dunning = {
    retryAfterDays: change.retryAfterDays ?? before.retryAfterDays,
    graceDays: change.graceDays ?? before.graceDays,
    finalAction: change.finalAction ?? before.finalAction,
  };
  const { retryAfterDays, graceDays, finalAction } = dunning;
  await session.query(SAVE, [retryAfterDays, graceDays, finalAction, isoTime(now)]);
  return dunning;
}
