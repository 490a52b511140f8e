import type { AccountPorts, Room } from '../accounts';
import type { Context } from '../database';
import { bound } from '../kernel';
import { Balances } from './balances';
import { Checks } from './check';
import { Uses } from './consume';
import { Deductions } from './deducting';
import { runDue, type DueDone } from './due';
import { Entries } from './entries';
import { Exchanges } from './exchanging';
import { Grants } from './grant';
import { HoldRecords } from './hold-records';
import { Holds } from './holding';
import { KnownPayers } from './known-payers';
import { moveAllUnits } from './moving';
import { Overages } from './overage';
import { NO_PORTS, type LedgerPorts } from './ports';
import { Restores } from './restore';
import type { Suggester } from './suggestions';
import { Transfers } from './transfer';
import { verifyLedger } from './verify';
import { eraseLedger, exportLedger, ownUnitsObstacle } from './whole-account';

export * from './public';
export { runDue, writeDueOf, type RunDueRequest } from './due';
export { ledgerTime, ledgerTimeSql } from './ledger-time';
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
export { unitsUsed } from './used-units';
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
export interface Ledger
  extends
    Pick<Checks, 'check' | 'checkMany'>,
    Pick<Uses, 'consume' | 'consumeMany'>,
    Pick<Grants, 'grant' | 'bonus'>,
    Pick<Deductions, 'deduct'>,
    Pick<Exchanges, 'exchange'>,
    Pick<Transfers, 'transfer'>,
    Pick<Holds, 'hold' | 'settle' | 'release' | 'extend'>,
    Pick<HoldRecords, 'holds'>,
    Pick<Restores, 'restore'>,
    Pick<Overages, 'setOverage' | 'overage'>,
    Pick<Balances, 'balance' | 'grants'>,
    Pick<Entries, 'entries' | 'statement'> {}

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
  const calls: Ledger = {
    ...bound(new Checks(context, suggester, known, ports), 'check', 'checkMany'),
    ...bound(new Uses(context, suggester, known, ports), 'consume', 'consumeMany'),
    ...bound(new Grants(context, ports), 'grant', 'bonus'),
    ...bound(new Deductions(context, ports), 'deduct'),
    ...bound(new Exchanges(context, suggester, ports), 'exchange'),
    ...bound(new Transfers(context, ports), 'transfer'),
    ...bound(new Holds(context, suggester, ports), 'hold', 'settle', 'release', 'extend'),
    ...bound(new HoldRecords(context), 'holds'),
    ...bound(new Restores(context, ports), 'restore'),
    ...bound(new Overages(context), 'setOverage', 'overage'),
    ...bound(new Balances(context, ports), 'balance', 'grants'),
    ...bound(new Entries(context, ports), 'entries', 'statement'),
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
