import type { Billing } from '../../../engine';
import type { Session } from '../../../engine/database';
import { DEFAULT_TIMEOUTS } from '../../../engine/database/limits';
import { Statements, connectionOf } from '../../../engine/database/session';
import { invoicedPeriods } from '../../../engine/invoicing/invoiced-periods';
import {
  dunningEnded,
  paymentFailed,
  paymentOverdue,
  paymentRecovered,
  periodsPaid,
} from '../../../engine/subscriptions';

/** Nothing is overdue by the clock unless a test says so. */
const LONG_GRACE = 1_000 * 86_400_000;

/** What collecting tells subscriptions, told by hand, in a transaction of its own. */
export const tellSubscriptions = (billing: Billing, schema: string, now: () => number) => {
  const inSession = <T>(account: string, work: (session: Session) => Promise<T>): Promise<T> =>
    billing.transaction(async (tx) => {
      const { session } = await connectionOf(tx, new Statements(schema), DEFAULT_TIMEOUTS);
      await session.query(`select pg_advisory_xact_lock(hashtextextended($1, 8104593))`, [account]);
      return work(session);
    });
  return {
    /** Any statement on the tables. */
    sql: <Row>(statement: string, values: readonly unknown[] = []): Promise<Row[]> =>
      billing.transaction(async (tx) => {
        const { session } = await connectionOf(tx, new Statements(schema), DEFAULT_TIMEOUTS);
        return session.query<Row>(statement, values);
      }),
    paid: (account: string, subscriptionId: string, ...numbers: number[]) =>
      inSession(account, (session) =>
        periodsPaid(
          session,
          invoicedPeriods,
          numbers.map((number) => ({ payerId: account, subscriptionId, number })),
          now(),
        ),
      ),
    failed: (account: string, ...ids: string[]) =>
      inSession(account, (session) =>
        paymentFailed(session, invoicedPeriods, account, ids, now() + LONG_GRACE, now()),
      ),
    overdue: (account: string, ...ids: string[]) =>
      inSession(account, (session) =>
        paymentOverdue(session, invoicedPeriods, account, ids, now()),
      ),
    recovered: (account: string, ...ids: string[]) =>
      inSession(account, (session) =>
        paymentRecovered(session, invoicedPeriods, account, ids, now()),
      ),
    over: (account: string, id: string, action: 'cancel' | 'keep') =>
      inSession(account, (session) =>
        dunningEnded(session, invoicedPeriods, account, [id], action, now()),
      ),
  };
};
