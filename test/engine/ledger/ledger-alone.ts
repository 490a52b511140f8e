import type { Clock, Ledger } from '../../../engine';
import { NO_STANDING, openAccounts, type Accounts } from '../../../engine/accounts';
import { openCatalog, type Catalog } from '../../../engine/catalog';
import {
  DEFAULT_KEEP,
  Database,
  lockAccounts,
  type Context,
  type Session,
} from '../../../engine/database';
import { readClock } from '../../../engine/kernel';
import { moveAllUnits, openLedger, type LedgerPorts } from '../../../engine/ledger';
import { newSchema, serverUrl, type TestDatabase } from '../each-database';

/** What the later rooms would do. */
type Ports = Pick<LedgerPorts, 'movedValue'> & Partial<LedgerPorts>;

/** The rooms up to the ledger, without the later ones: for what those ask of it. */
export interface LedgerAlone {
  context: Context;
  catalog: Catalog;
  accounts: Accounts;
  ledger: Ledger;
  ports: Ports;
  /** Runs work in a transaction under the locks of payers. */
  locked<T>(payers: string[], work: (session: Session, now: number) => Promise<T>): Promise<T>;
}

export async function openLedgerAlone(
  name: TestDatabase['name'],
  clock: Clock,
  ports: Ports,
): Promise<LedgerAlone> {
  const connection =
    name === 'server'
      ? { connectionString: serverUrl(), poolSize: 5 }
      : ({ embedded: 'memory' } as const);
  const database = await Database.open({ connection, schema: newSchema() });
  const context: Context = {
    database,
    clock,
    keep: DEFAULT_KEEP,
    isSandbox: false,
    isBraked: false,
    onAccountChange: [],
    onProductChange: [],
  };
  return {
    context,
    ports,
    catalog: openCatalog(context).calls,
    accounts: openAccounts(
      context,
      {
        trialEligible: () => Promise.resolve(true),
        standing: () => Promise.resolve(NO_STANDING),
        moveUnits: (session, merge) => moveAllUnits(session, merge, ports, 'units'),
      },
      [],
    ).calls,
    ledger: openLedger(
      context,
      (_session, shortages) => Promise.resolve(shortages.map(() => [])),
      ports,
    ).calls,
    locked: (payers, work) =>
      database.transaction(undefined, async (session) => {
        await lockAccounts(session, payers);
        return work(session, readClock(clock));
      }),
  };
}
