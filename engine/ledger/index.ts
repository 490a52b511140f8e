import type { Context } from '../database';
import { Checks } from './check';
import { Uses } from './consume';
import { Grants } from './grant';
import { Statements } from './reading';
import type { Suggester } from './suggestions';

export { isFailed, type FailedItem } from './access';
export type { CheckAnswer, CheckRequest } from './check';
export type { ConsumeAnswer, ConsumeRequest } from './consume';
export {
  changeOfAccount,
  giveUnits,
  type GrantOrder,
  type GrantRecord,
  type GrantRequest,
} from './grant';
export type { EntryKind } from './journal';
export { ownUnitsObstacle, type Balance, type EntriesRequest, type Entry } from './reading';
export type { Shortage, SuggestedOffer, Suggester } from './suggestions';
export { verifyLedger, type Problem, type Verification } from './verify';

/** `billing.ledger`: what accounts have, and how it is used. */
export interface Ledger {
  check: Checks['check'];
  checkMany: Checks['checkMany'];
  consume: Uses['consume'];
  consumeMany: Uses['consumeMany'];
  grant: Grants['grant'];
  balance: Statements['balance'];
  grants: Statements['grants'];
  entries: Statements['entries'];
}

/** Opens the room. `suggester` is asked what a customer could buy, after a denial only. */
export function openLedger(context: Context, suggester: Suggester): Ledger {
  const checks = new Checks(context, suggester);
  const uses = new Uses(context, suggester);
  const grants = new Grants(context);
  const statements = new Statements(context);
  return {
    check: checks.check.bind(checks),
    checkMany: checks.checkMany.bind(checks),
    consume: uses.consume.bind(uses),
    consumeMany: uses.consumeMany.bind(uses),
    grant: grants.grant.bind(grants),
    balance: statements.balance.bind(statements),
    grants: statements.grants.bind(statements),
    entries: statements.entries.bind(statements),
  };
}
