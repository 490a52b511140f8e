import type { Clock } from '../kernel';
import type { Keep } from './answers';
import type { Database } from './database';

/** What every room is opened with. */
export interface Context {
  database: Database;
  clock: Clock;
  /** How long first answers are kept. */
  keep: Keep;
  /**
   * Told when an account has got another payer or status here. Who keeps accounts in mind forgets it
   * then; that it was forgotten is no promise, since other processes change accounts, too.
   */
  onAccountChange: Array<(accountId: string) => void>;
}
