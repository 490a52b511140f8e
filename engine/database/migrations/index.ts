import { catalog } from './0001-catalog';
import { accounts } from './0002-accounts';
import { ledger } from './0003-ledger';
import { uses } from './0004-uses';
import { holds } from './0005-holds';
import { plainUses } from './0006-plain-uses';
import { offers } from './0007-offers';
import { coupons } from './0008-coupons';
import { moves } from './0009-moves';
import { books } from './0010-books';
import { orders } from './0011-orders';
import { trials } from './0012-trials';
import { accountDetails } from './0013-account-details';

/** One step of the schema. Released steps never change; a correction is another step. */
export interface Migration {
  id: number;
  name: string;
  /** The major version of the schema after it. Only a new major may change or take away. */
  major: number;
  /** SQL statements, `{schema}` for the schema's quoted name. */
  statements: string;
}

export const SCHEMA_MAJOR = 2;

export const MIGRATIONS: readonly Migration[] = [
  catalog,
  accounts,
  ledger,
  uses,
  holds,
  plainUses,
  offers,
  coupons,
  moves,
  books,
  orders,
  trials,
  accountDetails,
];
