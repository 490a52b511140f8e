import type { Context } from '../database';
import { Checks } from './check';
import { Uses } from './consume';
import { Grants } from './grant';
import { Holds } from './holding';
import { KnownPayers } from './known-payers';
import { Overages } from './overage';
import { Statements } from './reading';
import { Restores } from './restore';
import { readStatement, type StatementPage, type StatementRequest } from './statement';
import type { Suggester } from './suggestions';

export { runDue, type DueDone, type RunDueRequest } from './due';
export { isFailed, type FailedItem } from './access';
export type { CheckAnswer, CheckRequest } from './check';
export type { ConsumeRequest } from './consume';
export {
  changeOfAccount,
  giveUnits,
  type GrantOrder,
  type GrantRecord,
  type GrantRequest,
} from './grant';
export type {
  ExtendRequest,
  HoldAnswer,
  HoldRecord,
  HoldRequest,
  HoldStatus,
  HoldsRequest,
  ReleaseAnswer,
  ReleaseRequest,
  SettleAnswer,
  SettleRequest,
} from './holding';
export type { EntryKind } from './journal';
export type { Overage, SetOverageRequest } from './overage';
export { ownUnitsObstacle, type Balance, type EntriesRequest, type Entry } from './reading';
export type { RestoreAnswer, RestoreRequest } from './restore';
export type { StatementPage, StatementRequest } from './statement';
export type { Shortage, SuggestedOffer, Suggester } from './suggestions';
export { verifyLedger, type Problem, type Verification, type VerifyOptions } from './verify';
export type { ConsumeAnswer } from './use-batch';

/** `billing.ledger`: what accounts have, and how it is used. */
export interface Ledger {
  check: Checks['check'];
  checkMany: Checks['checkMany'];
  consume: Uses['consume'];
  consumeMany: Uses['consumeMany'];
  grant: Grants['grant'];
  hold: Holds['hold'];
  settle: Holds['settle'];
  release: Holds['release'];
  extend: Holds['extend'];
  holds: Holds['holds'];
  restore: Restores['restore'];
  setOverage: Overages['setOverage'];
  overage: Overages['overage'];
  balance: Statements['balance'];
  grants: Statements['grants'];
  entries: Statements['entries'];
  statement(request: StatementRequest): Promise<StatementPage>;
}

/** Opens the room. `suggester` is asked what a customer could buy, after a denial only. */
export function openLedger(context: Context, suggester: Suggester): Ledger {
  const known = new KnownPayers();
  context.onAccountChange.push((accountId) => known.forget(accountId));
  const checks = new Checks(context, suggester, known);
  const uses = new Uses(context, suggester, known);
  const grants = new Grants(context);
  const holds = new Holds(context, suggester);
  const restores = new Restores(context);
  const overages = new Overages(context);
  const statements = new Statements(context);
  return {
    check: checks.check.bind(checks),
    checkMany: checks.checkMany.bind(checks),
    consume: uses.consume.bind(uses),
    consumeMany: uses.consumeMany.bind(uses),
    grant: grants.grant.bind(grants),
    hold: holds.hold.bind(holds),
    settle: holds.settle.bind(holds),
    release: holds.release.bind(holds),
    extend: holds.extend.bind(holds),
    holds: holds.holds.bind(holds),
    restore: restores.restore.bind(restores),
    setOverage: overages.setOverage.bind(overages),
    overage: overages.overage.bind(overages),
    balance: statements.balance.bind(statements),
    grants: statements.grants.bind(statements),
    entries: statements.entries.bind(statements),
    statement: (request) => readStatement(statements, request),
  };
}
