import type { Clock } from '../kernel';
import type { Keep } from './answers';
import type { Database } from './database';
import type { Session } from './session';

/** What every room is opened with. */
export interface Context {
  database: Database;
  clock: Clock;
  /** How long first answers are kept. */
  keep: Keep;
  /** Whether this is a schema to try things out in. To be read where it is needed, not kept. */
  readonly isSandbox: boolean;
  /** Whether a clock that is wrong is kept from what comes due by time (subscriptions/brake.ts). */
  readonly isBraked: boolean;
  /**
   * Told when an account has got another payer or status here. Who keeps accounts in mind forgets it
   * then; that it was forgotten is no promise, since other processes change accounts, too.
   */
  onAccountChange: Array<(accountId: string) => void>;
  /** Told when a product was saved here: its thresholds may be others now. Just as little a promise. */
  onProductChange: Array<(product: string) => void>;
}

/** What one room checks of its own tables; the parts of all rooms make `billing.verify()`. */
export type VerifyPart = (
  session: Session,
  options?: { onProgress?: (progress: { checked: number; total: number }) => void },
) => Promise<{
  /** Rows looked at, by table. */
  checked: Record<string, number>;
  problems: Array<{ code: string; table: string; id: string; message: string }>;
}>;

/** What one room has to do as time passes. Gives how much it did, by name, and what it passed over. */
export interface DuePart<Done extends object = object> {
  part: string;
  run(
    limit: number,
    options?: {
      /** What was missed for long, too. */
      catchUp?: boolean;
    },
  ): Promise<Done & { problems?: ReadonlyArray<{ code: string; message: string }> }>;
}
