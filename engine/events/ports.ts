import type { Session } from '../database';
import type { ResolvedReference } from '../kernel';

/** What a later room does for this one. */
export interface EventPorts {
  /**
   * The ids under which events of accounts may stand: their own, and those of accounts that were merged
   * into them.
   *
   * @throws unknown_account
   */
  idsOf(session: Session, accounts: readonly ResolvedReference[]): Promise<string[]>;
}
