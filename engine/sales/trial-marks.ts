import { payersOf, resolveAccount, type ResolvedAccount } from '../accounts';
import { column, table, type Session } from '../database';
import { isoTime, type Instant } from '../kernel';
import type { GivenIdentity, HashedIdentity, IdentityHashing } from './identity-hash';
import { freeTrialPlace } from './purchase-marks';

/**
 * Whether a trial was had, and that it was: once for an account, for its payer, and for every identity
 * that was given or leads to either. Identities are known by their hashes alone.
 */

const FIND_MARK = `
select 1 as found
from {schema}.trial_marks
where payer_id = any($1::uuid[]) and (payer_id = $2::uuid or account_id = $3::uuid)
limit 1`;

/**
 * Ascending, so that two claims of the same people can never wait for each other. Under every secret:
 * while it is rotated, one process may keep the old hash and another the new one.
 */
const LOCK_HASHES = `
select pg_advisory_xact_lock(lock) is null as locked
from (
  select distinct hashtextextended(hash, 7719203) as lock
  from unnest($1::text[]) as hash
  order by 1
) as locks`;

/** Those whose time is over: of the people at hand, and some others, so that none stays for long. */
const FORGET_HASHES = `
with others as (
  select hash from {schema}.trial_hashes where claimed_at <= $2::timestamptz
  order by claimed_at limit 100 for update skip locked
)
delete from {schema}.trial_hashes
where claimed_at <= $2::timestamptz
  and (hash in (select decode(hash, 'hex') from unnest($1::text[]) as hash)
       or hash in (select hash from others))`;

const WRITE_HASHES = `
insert into {schema}.trial_hashes (hash, key_id, claimed_at)
select decode(t.hash, 'hex'), t.key_id, $3::timestamptz
from unnest($1::text[], $2::text[]) as t (hash, key_id)
order by t.hash
on conflict (hash) do nothing`;

/** By the primary key's first column; one that an order paid stays. */
const FORGET = `
delete from {schema}.trial_marks
where payer_id = any($1::uuid[]) and sku = $2 and started_at = $3::timestamptz and order_id is null
returning 1 as forgotten`;

/** Those that were written with it. */
const FORGET_OF = `
delete from {schema}.trial_hashes
where hash in (select decode(hash, 'hex') from unnest($1::text[]) as hash)
  and claimed_at = $2::timestamptz`;

const MARKS = table('trial_marks', {
  payerId: column.uuid(),
  accountId: column.uuid(),
  sku: column.text(),
  orderId: column.uuid().orNull,
  startedAt: column.instant(),
  endsAt: column.instant().orNull,
});

/** An identity; `account_id` may be that of the payer whose it is. */
const IDENTITIES = table('identities', {
  accountId: column.uuid(),
  provider: column.text(),
  externalId: column.text(),
});

/** Of some accounts, those that are marked, themselves or by their payers. */
const FIND_MARKED = `
select a.account_id::text as account_id
from {schema}.accounts a
where a.account_id = any($1::uuid[]) and exists (
  select 1 from {schema}.trial_marks m
  where m.payer_id = any(array_append(a.earlier_payers, a.payer_id))
    and (m.payer_id = a.payer_id or m.account_id = a.account_id))`;

/** The identities of some accounts and of their payers. */
const FIND_PEOPLE = `
select ${IDENTITIES.select('p')}
from (
  select a.account_id, i.provider, i.external_id
  from {schema}.accounts a
  join {schema}.identities i on i.account_id in (a.account_id, a.payer_id)
  where a.account_id = any($1::uuid[])) as p`;

const FIND_HASHES = `
select encode(hash, 'hex') as hash
from {schema}.trial_hashes
where hash in (select decode(hash, 'hex') from unnest($1::text[]) as hash)
  and ($2::timestamptz is null or claimed_at > $2::timestamptz)`;

export interface StartedTrial {
  sku: string;
  /** The order whose first phase it is; left out: it was claimed. */
  orderId?: string;
  endsAt?: Instant | null;
  /** Who claims it, beside the identities that lead to the account and its payer. */
  identities?: readonly GivenIdentity[];
}

/** For what begins with a trial phase: an order, or a subscription without one. */
export type Trying = Pick<TrialMarks, 'trialSpent' | 'spendTrial' | 'forgetTrial'>;

export class TrialMarks {
  /**
   * @param hashing null: no secret is known, and only accounts are marked
   * @param keep for how long hashes count, in milliseconds; null: for ever
   */
  constructor(
    readonly hashing: IdentityHashing | null,
    private readonly keep: number | null,
  ) {}

  /**
   * Whether the account, its payer, or one of their identities had a trial. Exact under the payer's
   * lock as far as the account goes; of two accounts of one person the first to spend it wins.
   */
  async trialSpent(
    session: Session,
    account: ResolvedAccount,
    now: Instant,
    identities: readonly GivenIdentity[] = [],
  ): Promise<boolean> {
    if (await this.marked(session, account)) return true;
    const hashes = await this.hashesOf(session, account, identities);
    return (await this.knownHashes(session, hashes.flat(), now)).size > 0;
  }

  /** The same for many accounts at once, without locks: for showing prices. */
  async spentAmong(
    session: Session,
    accountIds: readonly string[],
    now: Instant,
  ): Promise<Set<string>> {
    const marked = await session.query<{ account_id: string }>(FIND_MARKED, [accountIds]);
    const spent = new Set(marked.map((row) => row.account_id));
    const { hashing } = this;
    const rest = accountIds.filter((id) => !spent.has(id));
    if (hashing === null || rest.length === 0) return spent;
    const people = await IDENTITIES.rows(session, FIND_PEOPLE, [rest]);
    const hashes = people.map((one) => hashing.hashesOf(one));
    const known = await this.knownHashes(session, hashes.flat(), now);
    people.forEach(({ accountId }, index) => {
      if (hashes[index]!.some(({ hash }) => known.has(hash))) spent.add(accountId);
    });
    return spent;
  }

  /**
   * Spends the trial of the account, its payer and all identities. The payer must be locked.
   *
   * @returns false, and nothing written, when it was spent before
   */
  async spendTrial(
    session: Session,
    account: ResolvedAccount,
    trial: StartedTrial,
    now: Instant,
  ): Promise<boolean> {
    const hashes = await this.hashesOf(session, account, trial.identities ?? []);
    const all = hashes.flat().map(({ hash }) => hash);
    if (all.length > 0) await session.query(LOCK_HASHES, [all]);
    if (await this.marked(session, account)) return false;
    if ((await this.knownHashes(session, hashes.flat(), now)).size > 0) return false;
    const { payerId, accountId } = account;
    const { sku, orderId = null, endsAt = null } = trial;
    await MARKS.write(session, [{ payerId, accountId, sku, orderId, endsAt, startedAt: now }]);
    if (all.length === 0) return true;
    if (this.keep !== null) await session.query(FORGET_HASHES, [all, this.since(now)]);
    const newest = hashes.map((ofOne) => ofOne[0]!);
    await session.query(WRITE_HASHES, [
      newest.map(({ hash }) => hash),
      newest.map(({ keyId }) => keyId),
      isoTime(now),
    ]);
    return true;
  }

  /**
   * A trial that was to begin later never will: it was none, for whoever paid for the account then either.
   * The payers must be locked.
   *
   * @param at when it was put down
   */
  async forgetTrial(
    session: Session,
    account: ResolvedAccount,
    { sku, at, payerId }: { sku: string; at: Instant; payerId: string },
    now: Instant,
  ): Promise<void> {
    const payer = await resolveAccount(session, { accountId: payerId });
    const payers = [...new Set([...payersOf(account), payerId, payer.accountId])];
    const forgotten = await session.query(FORGET, [payers, sku, isoTime(at)]);
    if (forgotten.length === 0) return;
    await freeTrialPlace(session, payers, { sku, takenAt: at }, now);
    const own = await this.hashesOf(session, account, []);
    const people = [...own, ...(await this.hashesOf(session, payer, []))];
    const hashes = people.flat().map(({ hash }) => hash);
    if (hashes.length > 0) await session.query(FORGET_OF, [hashes, isoTime(at)]);
  }

  private since(now: Instant): string | null {
    return isoTime(this.keep === null ? null : now - this.keep);
  }

  private async marked(session: Session, account: ResolvedAccount): Promise<boolean> {
    const { payerId, accountId } = account;
    return (await session.query(FIND_MARK, [payersOf(account), payerId, accountId])).length > 0;
  }

  private async knownHashes(
    session: Session,
    hashes: readonly HashedIdentity[],
    now: Instant,
  ): Promise<Set<string>> {
    if (hashes.length === 0) return new Set();
    const rows = await session.query<{ hash: string }>(FIND_HASHES, [
      hashes.map(({ hash }) => hash),
      this.since(now),
    ]);
    return new Set(rows.map(({ hash }) => hash));
  }

  /** For each identity its hashes, the one to keep first; none without a secret. */
  private async hashesOf(
    session: Session,
    account: ResolvedAccount,
    given: readonly GivenIdentity[],
  ): Promise<HashedIdentity[][]> {
    const { hashing } = this;
    if (hashing === null) return [];
    const own = await IDENTITIES.rows(session, FIND_PEOPLE, [[account.accountId]]);
    return [...own, ...given].map((identity) => hashing.hashesOf(identity));
  }
}
