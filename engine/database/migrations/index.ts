import { database } from './0001-database';
import { catalog } from './0002-catalog';
import { accounts } from './0003-accounts';
import { ledger } from './0004-ledger';
import { ledgerCalls } from './0005-ledger-calls';
import { books } from './0006-books';
import { events } from './0007-events';
import { payments } from './0008-payments';
import { sales } from './0009-sales';
import { subscriptions } from './0010-subscriptions';
import { invoicing } from './0011-invoicing';
import { sandbox } from './0012-sandbox';
import { changes } from './0013-changes';
import { plans } from './0014-plans';
import { hardening } from './0015-hardening';
import { money } from './0016-money';

/**
 * One step of the schema. Released steps never change; a correction is another step, and a function
 * that changes is written there anew as a whole.
 */
export interface Migration {
  id: number;
  name: string;
  /** The major version of the schema after it. Only a new major may change or take away. */
  major: number;
  /** SQL statements, `{schema}` for the schema's quoted name. */
  statements: string;
}

export const SCHEMA_MAJOR = 1;

export const MIGRATIONS: readonly Migration[] = [
  database,
  catalog,
  accounts,
  ledger,
  ledgerCalls,
  books,
  events,
  payments,
  sales,
  subscriptions,
  invoicing,
  sandbox,
  changes,
  plans,
  hardening,
  money,
];
