import type { AccountPorts, Room } from '../accounts';
import type { Context } from '../database';
import { Checks } from './check';
import { Uses } from './consume';
import { Deductions } from './deducting';
import { runDue, type DueDone } from './due';
import { Exchanges } from './exchanging';
import { Grants } from './grant';
import { listHolds, type HoldRecord, type HoldsRequest } from './hold-records';
import { Holds } from './holding';
import { KnownPayers } from './known-payers';
import { moveAllUnits } from './moving';
import { Overages } from './overage';
import { NO_PORTS, type LedgerPorts } from './ports';
import { Statements, ownUnitsObstacle } from './reading';
import { Restores } from './restore';
import { readStatement, type StatementPage, type StatementRequest } from './statement';
import type { Suggester } from './suggestions';
import { Transfers } from './transfer';
import { verifyLedger } from './verify';
import { eraseLedger, exportLedger } from './whole-account';

export * from './public';
export { runDue, writeDueOf, type RunDueRequest } from './due';
export { giveUnits, giveUnitsToMany, type Gift, type GrantOrder } from './grant';
export { readGrantRecords } from './grant-records';
export { setGates, type GateReason } from './gates';
export { EARNING_KINDS, ENTRY_KINDS } from './lines';
export type { GrantEnd } from './validity';
export { moveAllUnits, type MovedAll } from './moving';
export { setOverageTerms, type PeriodOverage } from './overage';
export type { LedgerPorts, MovedValue, PaidOutside } from './ports';
export type { Shortage, Suggester } from './suggestions';
export { MAX_PROBLEMS, verifyLedger } from './verify';
export { shareValue } from './value';
export {
  endGrants,
  followGrants,
  prolongGrants,
  readGrantStates,
  withdrawUnits,
  type FollowedGrant,
  type GrantName,
  type GrantState,
  type Withdrawal,
  type WithdrawnUnits,
} from './withdrawing';

/** `billing.ledger`: what accounts have, and how it is used. */
export interface Ledger {
  check: Checks['check'];
  checkMany: Checks['checkMany'];
  consume: Uses['consume'];
  consumeMany: Uses['consumeMany'];
  grant: Grants['grant'];
  bonus: Grants['bonus'];
  deduct: Deductions['deduct'];
  exchange: Exchanges['exchange'];
  transfer: Transfers['transfer'];
  hold: Holds['hold'];
  settle: Holds['settle'];
  release: Holds['release'];
  extend: Holds['extend'];
  /**
   * Holds of an account, newest first, at most `limit`: for a payer all of its ledger, its children's
   * among them; for a child its own, whoever paid. The next page begins behind the last of this one:
   * `cursor` is its `holdId`.
   *
   * @throws unknown_account, unknown_product, invalid_input
   */
  holds(request: HoldsRequest): Promise<HoldRecord[]>;
  restore: Restores['restore'];
  setOverage: Overages['setOverage'];
  overage: Overages['overage'];
  balance: Statements['balance'];
  grants: Statements['grants'];
  entries: Statements['entries'];
  statement(request: StatementRequest): Promise<StatementPage>;
}

/** The room, and what it fills of the ports of earlier ones. */
export interface OpenedLedger extends Room<Ledger, DueDone> {
  moveUnits: AccountPorts['moveUnits'];
}

/**
 * Opens the room. `suggester` is asked what a customer could buy, after a denial only.
 *
 * @param filled what later rooms do when units are paid for, move or are exchanged
 */
export function openLedger(
  context: Context,
  suggester: Suggester,
  filled: Partial<LedgerPorts> = {},
): OpenedLedger {
  const ports: LedgerPorts = { ...NO_PORTS, ...filled };
  const known = new KnownPayers();
  context.onAccountChange.push((accountId) => known.forget(accountId));
  context.onProductChange.push((product) => known.forgetProduct(product));
  const checks = new Checks(context, suggester, known, ports);
  const uses = new Uses(context, suggester, known, ports);
  const grants = new Grants(context, ports);
  const deductions = new Deductions(context, ports);
  const exchanges = new Exchanges(context, suggester, ports);
  const transfers = new Transfers(context, ports);
  const holds = new Holds(context, suggester, ports);
  const restores = new Restores(context);
  const overages = new Overages(context);
  const statements = new Statements(context, ports);
  const calls: Ledger = {
    check: checks.check.bind(checks),
    checkMany: checks.checkMany.bind(checks),
    consume: uses.consume.bind(uses),
    consumeMany: uses.consumeMany.bind(uses),
    grant: grants.grant.bind(grants),
    bonus: grants.bonus.bind(grants),
    deduct: deductions.deduct.bind(deductions),
    exchange: exchanges.exchange.bind(exchanges),
    transfer: transfers.transfer.bind(transfers),
    hold: holds.hold.bind(holds),
    settle: holds.settle.bind(holds),
    release: holds.release.bind(holds),
    extend: holds.extend.bind(holds),
    holds: (request) => listHolds(context, request),
    restore: restores.restore.bind(restores),
    setOverage: overages.setOverage.bind(overages),
    overage: overages.overage.bind(overages),
    balance: statements.balance.bind(statements),
    grants: statements.grants.bind(statements),
    entries: statements.entries.bind(statements),
    statement: (request) => readStatement(statements, request),
  };
  return {
    calls,
    moveUnits: (session, move) => moveAllUnits(session, move, ports, 'units'),
    verify: [(_session, options) => verifyLedger(context.database, options)],
    merge: [async (session, merge) => ({ ...(await moveAllUnits(session, merge, ports)) })],
    export: [exportLedger(calls)],
    erase: [eraseLedger],
    obstacles: [ownUnitsObstacle],
    due: [{ part: 'ledger', run: (limit) => runDue(context, { limit }) }],
  };
}
