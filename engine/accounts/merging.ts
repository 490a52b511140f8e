import { moveAnswers, rehearse, type Context, type Session } from '../database';
import {
  accountReference,
  changeFields,
  flag,
  input,
  isoTime,
  oneOf,
  parse,
  type RequestOf,
  type ResolvedReference,
} from '../kernel';
import { readAccount, type Account } from './account';
import { changeOf, type Parties } from './change-of';
import { REOPEN_FIRST, mergeConflict, tellOf } from './changing';
import { CONTACTS, TAXES } from './details';
import type { Merge, MergePart } from './parts';
import { payersOf, resolveAccount, type ResolvedAccount } from './resolving';

/**
 * One person met as two. No line of a ledger is rewritten: the account that is merged becomes an alias
 * of the other and keeps its past; what is open moves. Rule: billing-rules.md, Merge.
 */

const mergeInput = input({
  /** The account that stays. */
  into: accountReference(),
  /** The account that becomes an alias of it. */
  from: accountReference(),
  /**
   * Whose identity goes first where both have one of the same provider; without it such a merge is
   * refused. The other one goes on leading to the account, as a secondary one.
   */
  prefer: oneOf(['into', 'from']).optional(),
  /** Whether only to say what would happen. */
  dryRun: flag().default(false),
  ...changeFields,
});
export type MergeRequest = RequestOf<typeof mergeInput>;

export interface MergeAnswer {
  /** The account that stays, as it is after the merge. */
  merged: Account;
  /** What moved, by topic. */
  counts: Record<string, number>;
  dryRun: boolean;
  replayed: boolean;
}

/** Providers of which each has an identity that goes first. */
const FIND_CLASHES = `
select i.provider
from {schema}.identities i
join {schema}.identities j
  on j.account_id = $1::uuid and j.provider = i.provider and not j.secondary
where i.account_id = $2::uuid and not i.secondary
order by i.provider`;

const STEP_BACK = `
update {schema}.identities set secondary = true
where account_id = $1::uuid and provider = any($2::text[]) and not secondary`;

const MOVE_IDENTITIES = `
with moved as (
  update {schema}.identities set account_id = $1::uuid where account_id = $2::uuid returning 1
)
select count(*)::integer as moved from moved`;

/** The account itself, its children, and the aliases it has; lines they wrote stay where they are. */
const MOVE_ACCOUNTS = `
with moved as (
  update {schema}.accounts
  set earlier_payers = array_append(array_remove(earlier_payers, payer_id), payer_id),
      payer_id = $1::uuid,
      merged_into = case when account_id = $2::uuid or merged_into = $2::uuid
        then $1::uuid else merged_into end,
      merged_at = case when account_id = $2::uuid then $3::timestamptz else merged_at end
  where payer_id = $2::uuid
  returning account_id, merged_into
)
select account_id::text as account_id, merged_into is not distinct from $1::uuid as alias from moved`;

interface MovedAccount {
  account_id: string;
  alias: boolean;
}

/** What the one that stays lacks comes from the other; where both say something, the one that stays. */
const MOVE_DETAILS = `
with other as (
  select name, email, metadata from {schema}.account_details where account_id = $2::uuid
), taken as (
  update {schema}.account_details d
  set name = coalesce(d.name, other.name), email = coalesce(d.email, other.email),
      metadata = other.metadata || d.metadata, updated_at = $3::timestamptz
  from other where d.account_id = $1::uuid
)
update {schema}.account_details
set name = null, email = null, metadata = '{}', updated_at = $3::timestamptz
where account_id = $2::uuid`;

/** The one that stays keeps its own row, if it has one. */
const movingRow = (name: string, columns: string): string => `
with other as (delete from {schema}.${name} where account_id = $2::uuid returning *)
insert into {schema}.${name} (account_id, ${columns})
select $1::uuid, ${columns} from other
on conflict (account_id) do nothing`;

const MOVE_CONTACT = movingRow('account_contacts', CONTACTS.omit('accountId').names);
const MOVE_TAX = movingRow('account_taxes', TAXES.omit('accountId').names);

export class Merges {
  constructor(
    private readonly context: Context,
    private readonly parts: readonly MergePart[],
  ) {}

  /**
   * Merges one account into another. From then on it answers as that one, by its id and its identities
   * alike: units, children, orders, keys and histories are found there.
   *
   * What the account that stays lacks (name, e-mail, contact, tax details) it takes from the other; its
   * status and time zone stay. It cannot be undone: see what would happen with `dryRun` first.
   *
   * @throws merge_conflict: two identities of one provider and no `prefer`; one of the two is closed,
   *   has a parent, or was merged already; they are one; units of `from` are on hold
   * @throws unknown_account, idempotency_conflict
   */
  async merge(request: MergeRequest): Promise<MergeAnswer> {
    const wanted = parse(mergeInput, request);
    const { prefer, dryRun } = wanted;
    const { context } = this;
    const changed: string[] = [];
    const mergeIn = async (session?: Session): Promise<MergeAnswer> => {
      return changeOf(
        context,
        {
          kind: 'merge',
          parties: (reading) => readPair(reading, wanted),
          // As it was named: afterwards it leads to the other.
          request: ({ into }) => ({
            account: into.accountId,
            from: wanted.from,
            prefer: prefer ?? null,
          }),
          idempotencyKey: dryRun ? undefined : wanted.idempotencyKey,
          tx: wanted.tx,
          within: session,
        },
        async (inside, { into, from }, now) => {
          requireMergeable({ into, from }, wanted.from);
          return { answer: await this.move(inside, { into, from, now, dryRun }, prefer, changed) };
        },
      );
    };
    if (dryRun) return rehearse(context.database, wanted.tx, mergeIn);
    const answer = await mergeIn();
    tellOf(context, changed);
    return answer;
  }

  /** @param changed gets the accounts of which something is not as it was */
  private async move(
    session: Session,
    merge: Merge,
    prefer: 'into' | 'from' | undefined,
    changed: string[],
  ): Promise<Omit<MergeAnswer, 'replayed'>> {
    const { into, from, now, dryRun } = merge;
    const two = [into.accountId, from.accountId];
    await orderIdentities(session, merge, prefer);
    const counts: Record<string, number> = {};
    // While both still stand for themselves.
    for (const part of this.parts) Object.assign(counts, await part(session, merge));
    const [identities] = await session.query<{ moved: number }>(MOVE_IDENTITIES, two);
    const values = [...two, isoTime(now)];
    const accounts = await session.query<MovedAccount>(MOVE_ACCOUNTS, values);
    await session.query(MOVE_DETAILS, values);
    await session.query(MOVE_CONTACT, two);
    await session.query(MOVE_TAX, two);
    const answers = await moveAnswers(session, {
      payers: payersOf(from),
      from: from.accountId,
      into: into.accountId,
      now,
    });
    changed.push(into.accountId, ...accounts.map((account) => account.account_id));
    return {
      merged: await readAccount(session, into.accountId),
      counts: {
        identities: identities!.moved,
        children: accounts.filter(({ alias }) => !alias).length,
        // The account itself is the first of them.
        aliases: accounts.filter(({ alias }) => alias).length,
        answers,
        ...counts,
      },
      dryRun,
    };
  }
}

/** Both accounts; the key belongs to the one that stays. @throws unknown_account */
async function readPair(
  session: Session,
  wanted: { into: ResolvedReference; from: ResolvedReference },
): Promise<Parties & { into: ResolvedAccount; from: ResolvedAccount }> {
  const into = await resolveAccount(session, wanted.into, 'into');
  const from = await resolveAccount(session, wanted.from, 'from');
  return { owner: into, into, from, locks: [into.accountId, from.accountId, from.payerId] };
}

function requireMergeable(
  { into, from }: { into: ResolvedAccount; from: ResolvedAccount },
  reference: ResolvedReference,
): void {
  if ('accountId' in reference && reference.accountId !== from.accountId) {
    throw mergeConflict(
      `The account ${reference.accountId} was merged into ${from.accountId} before.`,
      'from',
      'Name that one if it is to be merged, too.',
    );
  }
  if (into.accountId === from.accountId) {
    throw mergeConflict('"into" and "from" are one account.', 'from');
  }
  const advice = 'Detach it first (accounts.detachChild).';
  if (into.payerId === from.accountId) {
    throw mergeConflict('"into" is a child of "from".', 'into', advice);
  }
  if (from.payerId === into.accountId) {
    throw mergeConflict('"from" is a child of "into".', 'from', advice);
  }
  for (const [parameter, account] of Object.entries({ into, from })) {
    if (account.payerId !== account.accountId) {
      throw mergeConflict(`"${parameter}" has a parent, which pays for it.`, parameter, advice);
    }
    if (account.status === 'closed') {
      throw mergeConflict(`"${parameter}" is closed.`, parameter, REOPEN_FIRST);
    }
  }
}

/** Of two identities of one provider only one goes first. @throws merge_conflict */
async function orderIdentities(
  session: Session,
  { into, from }: Merge,
  prefer: 'into' | 'from' | undefined,
): Promise<void> {
  const two = [into.accountId, from.accountId];
  const clashes = await session.query<{ provider: string }>(FIND_CLASHES, two);
  if (clashes.length === 0) return;
  const providers = clashes.map(({ provider }) => provider);
  if (prefer === undefined) {
    throw mergeConflict(
      `Both accounts have an identity of ${providers.join(', ')}.`,
      'prefer',
      'Say with "prefer" whose goes first: into or from. Both will lead to the account.',
    );
  }
  const loser = prefer === 'into' ? from : into;
  await session.query(STEP_BACK, [loser.accountId, providers]);
}
