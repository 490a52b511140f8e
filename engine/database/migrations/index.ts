import { catalog } from './0001-catalog';
import { accounts } from './0002-accounts';
import { ledger } from './0003-ledger';
import { uses } from './0004-uses';
import { holds } from './0005-holds';
import { plainUses } from './0006-plain-uses';

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

export const MIGRATIONS: readonly Migration[] = [catalog, accounts, ledger, uses, holds, plainUses];
