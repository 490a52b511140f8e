import { pages, rehearse, type Context, type Session } from '../database';
import {
  LIMITS,
  canonicalExternalId,
  externalId,
  flag,
  input,
  integer,
  isoTime,
  list,
  oneOf,
  parse,
  provider,
  readClock,
  refused,
  text,
  type Instant,
  type RequestOf,
} from '../kernel';
import { isIdentity } from './identifying';

/** Identities for accounts that are known by something else so far. */

const migrateInput = input({
  from: input({
    provider: provider().optional(),
    metadata: text(LIMITS.name).optional(),
    contact: oneOf(['email']).optional(),
  }),
  /** The provider that the new identities are of. */
  to: provider(),
  /** With identities of a provider: what becomes of which; those not in it are left out. */
  map: list(input({ externalId: externalId(), to: externalId() }), 100_000).optional(),
  /** The most identities to give. Default 10,000. */
  limit: integer(1, 1_000_000).optional(),
  /** Whether only to say what would happen. */
  dryRun: flag().optional(),
});
export type MigrateIdentitiesRequest = Omit<RequestOf<typeof migrateInput>, 'from'> & {
  /** Where the new external ids come from: identities of a provider, a field of metadata, the e-mail address. */
  from: { provider: string } | { metadata: string } | { contact: 'email' };
};

export interface MigrateIdentitiesAnswer {
  /** Identities given. */
  given: number;
  /** Accounts left as they are, the first thousand: their external id is another's, or is none. */
  conflicts: Array<{
    accountId: string;
    externalId: string;
    reason: 'taken' | 'invalid';
    /** Whose it is, when it is taken. */
    takenBy: string | null;
  }>;
  /** How many were left as they are. */
  conflicting: number;
  /** Whether the limit was reached before all were looked at. */
  more: boolean;
  dryRun: boolean;
}

const DEFAULT_LIMIT = 10_000;
const CHUNK = 500;
const MOST_CONFLICTS = 1_000;

/** Accounts that have something at $2 and no identity at $1 yet, behind $3. Which is said by $4. */
const FIND = `
select a.account_id::text as account_id, found.value
from {schema}.accounts a
join {schema}.account_details d on d.account_id = a.account_id
cross join lateral (
  select case $4::text
    when 'contact' then d.email
    when 'metadata' then case
      when jsonb_typeof(d.metadata -> $2::text) in ('string', 'number') then d.metadata ->> $2::text end
    else (select i.external_id from {schema}.identities i
          where i.account_id = a.account_id and i.provider = $2::text and not i.secondary) end as value
) as found
where a.merged_into is null and a.erased_at is null and a.account_id > $3::uuid
  and found.value is not null
  and not exists (
    select 1 from {schema}.identities i where i.account_id = a.account_id and i.provider = $1::text)
order by a.account_id
limit $5::integer`;

/** Neither another's identity nor one of the account's own makes way. */
const GIVE = `
insert into {schema}.identities (provider, external_id, account_id, created_at)
select $1::text, n.external_id, n.account_id, $4::timestamptz
from unnest($2::text[], $3::uuid[]) with ordinality as n (external_id, account_id, position)
order by n.position
on conflict do nothing
returning account_id::text as account_id`;

const FIND_HOLDERS = `
select external_id, account_id::text as account_id from {schema}.identities
where provider = $1::text and external_id = any($2::text[])`;

interface Candidate {
  accountId: string;
  externalId: string;
}

class Migration {
  readonly answer: MigrateIdentitiesAnswer;
  /** What an undone chunk would have given, for those that come later. */
  private readonly promised = new Map<string, string>();

  constructor(
    private readonly context: Context,
    private readonly to: string,
    dryRun: boolean,
    private readonly now: Instant,
  ) {
    this.answer = { given: 0, conflicts: [], conflicting: 0, more: false, dryRun };
  }

  conflict(candidate: Candidate, reason: 'taken' | 'invalid', takenBy: string | null): void {
    this.answer.conflicting += 1;
    if (this.answer.conflicts.length >= MOST_CONFLICTS) return;
    this.answer.conflicts.push({ ...candidate, reason, takenBy });
  }

  /** One transaction. Two of the chunk with one id: the first gets it. */
  async give(candidates: readonly Candidate[]): Promise<void> {
    const open = candidates.filter(({ externalId: id }) => !this.promised.has(id));
    const given = await this.insert(open);
    const holders = await this.holdersOf(candidates.filter((one) => !given.has(one.accountId)));
    for (const candidate of candidates) {
      if (given.has(candidate.accountId)) {
        this.answer.given += 1;
        if (this.answer.dryRun) this.promised.set(candidate.externalId, candidate.accountId);
        continue;
      }
      const id = candidate.externalId;
      this.conflict(candidate, 'taken', holders.get(id) ?? this.promised.get(id) ?? null);
    }
  }

  /** Gives the accounts that got theirs. */
  private async insert(candidates: readonly Candidate[]): Promise<ReadonlySet<string>> {
    if (candidates.length === 0) return new Set();
    const { database } = this.context;
    const insertIn = async (session: Session): Promise<ReadonlySet<string>> => {
      const rows = await session.query<{ account_id: string }>(GIVE, [
        this.to,
        candidates.map((candidate) => candidate.externalId),
        candidates.map(({ accountId }) => accountId),
        isoTime(this.now),
      ]);
      return new Set(rows.map((row) => row.account_id));
    };
    return this.answer.dryRun
      ? rehearse(database, undefined, insertIn)
      : database.transaction(undefined, insertIn);
  }

  private async holdersOf(candidates: readonly Candidate[]): Promise<Map<string, string>> {
    if (candidates.length === 0) return new Map();
    const rows = await this.context.database.query<{ external_id: string; account_id: string }>(
      FIND_HOLDERS,
      [this.to, candidates.map((candidate) => candidate.externalId)],
    );
    return new Map(rows.map((row) => [row.external_id, row.account_id]));
  }
}

/** What is wanted of whom. @throws invalid_input unless it is said in exactly one way */
function sourceOf(from: { provider?: string; metadata?: string; contact?: string }): {
  kind: string;
  name: string;
} {
  const [first, ...others] = Object.entries(from).filter(([, name]) => name !== undefined);
  if (first !== undefined && others.length === 0) return { kind: first[0], name: first[1]! };
  throw refused('from', 'names one of "provider", "metadata" and "contact"');
}

export async function migrateIdentities(
  context: Context,
  request: MigrateIdentitiesRequest,
): Promise<MigrateIdentitiesAnswer> {
  const wanted = parse(migrateInput, request);
  const { kind, name } = sourceOf(wanted.from);
  const { to, map, limit = DEFAULT_LIMIT, dryRun = false } = wanted;
  if (map !== undefined && kind !== 'provider') {
    throw refused('map', 'goes with identities of a provider');
  }
  const mapped =
    map && new Map(map.map((row) => [canonicalExternalId(name, row.externalId), row.to]));
  const migration = new Migration(context, to, dryRun, readClock(context.clock));
  const found = pages<{ account_id: string; value: string }>({
    key: { account_id: 'uuid' },
    size: CHUNK,
    find: ([after], size) => context.database.query(FIND, [to, name, after, kind, size]),
  });
  for await (const rows of found) {
    const candidates: Candidate[] = [];
    for (const { account_id: accountId, value } of rows) {
      const id = mapped === undefined ? value : mapped.get(value);
      if (id === undefined) continue;
      const read = externalId().safeParse(id);
      if (!read.success || !isIdentity(to, read.data)) {
        migration.conflict({ accountId, externalId: id }, 'invalid', null);
        continue;
      }
      candidates.push({ accountId, externalId: canonicalExternalId(to, read.data) });
    }
    const room = limit - migration.answer.given;
    await migration.give(candidates.slice(0, room));
    if (candidates.length > room || (rows.length === CHUNK && migration.answer.given >= limit)) {
      migration.answer.more = true;
      break;
    }
  }
  return migration.answer;
}
