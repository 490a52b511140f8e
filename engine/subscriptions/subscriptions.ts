import { idsWithAliases, resolveAccount } from '../accounts';
import type { Context } from '../database';
import {
  accountReference,
  input,
  key,
  oneOf,
  pageFields,
  pageOf,
  parse,
  readClock,
  recordId,
  type RequestOf,
} from '../kernel';
import { refreshPayers } from './advancing';
import type { PeriodPorts } from './giving-back';
import { readSubscription, readSubscriptions, type Subscription } from './reading';
import { findSubscription, ownerAndPayer } from './records';
import {
  SUBSCRIPTIONS,
  SUBSCRIPTION_STATUSES,
  type StoredSubscription,
} from './stored-subscription';

const getInput = input({ subscriptionId: recordId() });
const listInput = input({
  account: accountReference().optional(),
  status: oneOf(SUBSCRIPTION_STATUSES).optional(),
  sku: key().optional(),
  ...pageFields,
});
export type ListSubscriptionsRequest = RequestOf<typeof listInput>;

/**
 * Newest first; ids are made in the order of time. $1 who subscribed or $2 who pays, aliases included
 * (both null: anybody), $3 status, $4 sku, $5 the one to go on after.
 */
const LIST = `
select ${SUBSCRIPTIONS.select('s')} from {schema}.subscriptions s
where (coalesce($1::uuid[], $2::uuid[]) is null
       or s.account_id = any($1::uuid[]) or s.payer_id = any($2::uuid[]))
  and ($3::text is null or s.status = $3) and ($4::text is null or s.sku = $4)
  and ($5::uuid is null or s.subscription_id < $5::uuid)
order by s.subscription_id desc
limit $6::integer`;

export class SubscriptionReads {
  constructor(
    private readonly context: Context,
    private readonly ports: PeriodPorts,
  ) {}

  /** @throws unknown_subscription */
  async get(request: RequestOf<typeof getInput>): Promise<Subscription> {
    const { subscriptionId } = parse(getInput, request);
    const { database } = this.context;
    const found = await findSubscription(database, subscriptionId);
    if (!(await this.refresh(found))) return readSubscription(database, found);
    return readSubscription(database, await findSubscription(database, subscriptionId));
  }

  /**
   * Subscriptions, newest first, by pages: all; those that an account pays for, its children's among
   * them; or those that a child has. Those of accounts that were merged into it are its own.
   *
   * @param request `limit` up to 500 (default 50); `cursor` the `nextCursor` of the page before
   * @throws invalid_input, unknown_account
   */
  async list(
    request: ListSubscriptionsRequest = {},
  ): Promise<{ items: Subscription[]; nextCursor: string | null }> {
    const { account, status, sku, limit = 50, cursor } = parse(listInput, request);
    const { database } = this.context;
    const named = account === undefined ? null : await resolveAccount(database, account);
    const now = readClock(this.context.clock);
    if (named !== null) await refreshPayers(this.context, this.ports, null, [named.payerId], now);
    const names = named === null ? null : await idsWithAliases(database, [named]);
    const found = await SUBSCRIPTIONS.rows(database, LIST, [
      names,
      named?.payerId === named?.accountId ? names : null,
      status ?? null,
      sku ?? null,
      cursor ?? null,
      limit + 1,
    ]);
    const page = pageOf(found, limit, ({ subscriptionId }) => subscriptionId);
    return { ...page, items: await readSubscriptions(database, page.items) };
  }

  /** Opens what is due: the first reader does what a job would do. */
  private async refresh(found: StoredSubscription): Promise<boolean> {
    if (found.nextDueAt === null) return false;
    const [, { payerId }] = await ownerAndPayer(this.context.database, found);
    return refreshPayers(this.context, this.ports, null, [payerId], readClock(this.context.clock));
  }
}
