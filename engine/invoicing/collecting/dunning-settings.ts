import type { Session } from '../../database';
import { changed, input, integer, isoTime, list, oneOf, type Instant } from '../../kernel';

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

const DEFAULT_DUNNING: Dunning = {
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
select retry_after_days as "retryAfterDays", grace_days as "graceDays",
       final_action as "finalAction"
from {schema}.dunning_settings`;

const SAVE = `
insert into {schema}.dunning_settings
  (retry_after_days, grace_days, final_action, saved_at)
values ($1::integer[], $2, $3, $4::timestamptz)
on conflict (sole) do update
  set retry_after_days = excluded.retry_after_days, grace_days = excluded.grace_days,
      final_action = excluded.final_action, saved_at = excluded.saved_at`;

/** What is in force; the defaults when nothing was saved. */
export async function readDunning(session: Session): Promise<Dunning> {
  const [saved] = await session.query<Dunning>(READ);
  return saved ?? DEFAULT_DUNNING;
}

/** Changes what is given; collecting that is under way goes on by it. Who saves takes turns. */
export async function saveDunning(
  session: Session,
  change: { [Field in keyof Dunning]?: Dunning[Field] | undefined },
  now: Instant,
): Promise<void> {
  const { retryAfterDays, graceDays, finalAction } = changed(await readDunning(session), change);
  await session.query(SAVE, [retryAfterDays, graceDays, finalAction, isoTime(now)]);
}
