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
import { events } from './0014-events';
import { gates } from './0015-gates';
import { payments } from './0016-payments';
import { subscriptions } from './0017-subscriptions';
import { invoices } from './0018-invoices';
import { invoicePapers } from './0019-invoice-papers';
import { collecting } from './0020-collecting';
import { sandbox } from './0021-sandbox';
import { subscriptionChanges } from './0022-subscription-changes';
import { fees } from './0023-fees';

/** One step of the schema. Released steps never change; a correction is another step. */
export interface Migration {
  id: number;
  name: string;
  /** The major version of the schema after it. Only a new major may change or take away. */
  major: number;
  /** SQL statements, `{schema}` for the schema's quoted name. */
  statements: string;
}

export const SCHEMA_MAJOR = 3;

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
  events,
  gates,
  payments,
  subscriptions,
  invoices,
  invoicePapers,
  collecting,
  sandbox,
  subscriptionChanges,
  fees,
];
