import {
  NO_ACCOUNT,
  atTime,
  lockAccounts,
  once,
  readTime,
  serializationFailure,
  type Context,
  type Session,
} from '../database';
import {
  BillingError,
  DEFAULT_PROVIDER,
  LIMITS,
  accountReference,
  canonicalExternalId,
  changeFields,
  externalId,
  input,
  integer,
  isId,
  isoTime,
  newId,
  oneOf,
  parse,
  provider,
  readClock,
  text,
  timeZone,
  type AccountReference,
  type ChangeOptions,
  type Instant,
  type ResolvedReference,
} from '../kernel';
import { payersOf, resolveAccount, type AccountStatus, type ResolvedAccount } from './resolving';

export interface Identity {
  provider: string;
  externalId: string;
}

export interface Account {
  accountId: string;
  /** The account that pays for it; null: it pays for itself. */
  parentId: string | null;
  /** Set by people. A suspended or closed account is denied. */
  status: AccountStatus;
  name: string | null;
  email: string | null;
  /** IANA zone in which its days and months begin. */
  timeZone: string;
  identities: Identity[];
  metadata: Record<string, unknown>;
  createdAt: string;
}

/** Filled by later rooms when the engine opens. */
export interface AccountPorts {
  /** Whether no trial was ever claimed by the account. */
  trialEligible(session: Session, accountId: string): Promise<boolean>;
  /** Why an account of its own cannot become somebody's child; null when it can. */
  obstaclesToAttach: Array<
    (session: Session, accountId: string, now: Instant) => Promise<string | null>
  >;
}

const email = () =>
  text(LIMITS.name).refine((value) => /^[^\s@]+@[^\s@]+$/.test(value), {
    error: 'must be an e-mail address',
  });

const identifyInput = input({
  provider: provider().optional(),
  externalId: externalId(),
  name: text(LIMITS.name).nullish(),
  email: email().nullish(),
  ...changeFields,
});

const getInput = input({ account: accountReference() });

const listInput = input({
  search: text(LIMITS.externalId).optional(),
  limit: integer(1, 500).optional(),
  cursor: text(LIMITS.externalId).optional(),
});

const updateInput = input({
  account: accountReference(),
  name: text(LIMITS.name).nullish(),
  email: email().nullish(),
  timeZone: timeZone().optional(),
  status: oneOf(['active', 'suspended', 'closed']).optional(),
  ...changeFields,
});

const attachInput = input({
  parent: accountReference().optional(),
  child: accountReference().optional(),
  account: accountReference().optional(),
  ...changeFields,
});

const detachInput = input({
  child: accountReference().optional(),
  account: accountReference().optional(),
  ...changeFields,
});

/**
 * The identity comes first: of two first contacts at the same moment one waits for the other here
 * and then finds the account that exists. (The foreign key is checked at commit.)
 */
const CLAIM_IDENTITY = `
insert into {schema}.identities (provider, external_id, account_id, created_at)
values ($1, $2, $3::uuid, $4::timestamptz)
on conflict (provider, external_id) do nothing
returning account_id::text as account_id`;

const CREATE_ACCOUNT = `
with account as (
  insert into {schema}.accounts (account_id, payer_id, created_at)
  values ($1::uuid, $1::uuid, $2::timestamptz)
)
insert into {schema}.account_details (account_id, name, email, metadata, updated_at)
values ($1::uuid, $3, $4, $5::jsonb, $2::timestamptz)`;

/** Contact data is refreshed by what is given; what is not given stays. Metadata is added to. */
const REFRESH_DETAILS = `
update {schema}.account_details
set name = coalesce($2, name), email = coalesce($3, email),
    metadata = metadata || coalesce($4::jsonb, '{}'), updated_at = $5::timestamptz
where account_id = $1::uuid
  and (name is distinct from coalesce($2, name) or email is distinct from coalesce($3, email)
       or not metadata @> coalesce($4::jsonb, '{}'))`;

const UPDATE_ACCOUNT = `
update {schema}.accounts
set status = coalesce($2, status), time_zone = coalesce($3, time_zone)
where account_id = $1::uuid`;

/** $2, $4, $6: whether the field is given at all, since null clears it. */
const UPDATE_DETAILS = `
update {schema}.account_details
set name = case when $2::boolean then $3 else name end,
    email = case when $4::boolean then $5 else email end,
    metadata = case when $6::boolean then $7::jsonb else metadata end,
    updated_at = $8::timestamptz
where account_id = $1::uuid`;

const READ_ACCOUNTS = `
select a.account_id::text as account_id,
       nullif(a.payer_id, a.account_id)::text as parent_id, a.status, a.time_zone,
       ${atTime('a.created_at')} as created_at, d.name, d.email, d.metadata::text as metadata,
       coalesce((select json_agg(json_build_object('provider', i.provider, 'externalId', i.external_id)
                                 order by i.created_at, i.provider, i.external_id)
                 from {schema}.identities i where i.account_id = a.account_id), '[]')::text as identities
from {schema}.accounts a
join {schema}.account_details d on d.account_id = a.account_id`;

const GET_ACCOUNT = `${READ_ACCOUNTS}
where a.account_id = $1::uuid`;

/** $1 an ILIKE pattern, $2 the id it may be, $3 the account to go on after. Newest first. */
const LIST_ACCOUNTS = `${READ_ACCOUNTS}
where ($1::text is null or d.name ilike $1 or d.email ilike $1 or a.account_id = $2::uuid
       or exists (select 1 from {schema}.identities i
                  where i.account_id = a.account_id and i.external_id ilike $1))
  and ($3::uuid is null or a.account_id < $3::uuid)
order by a.account_id desc
limit $4::integer`;

const HAS_CHILDREN = `
select 1 as found from {schema}.accounts where payer_id = $1::uuid and account_id <> $1::uuid limit 1`;

const SET_PAYER = `
update {schema}.accounts
set earlier_payers = array_append(array_remove(earlier_payers, payer_id), payer_id),
    payer_id = $2::uuid
where account_id = $1::uuid`;

interface AccountRow {
  account_id: string;
  parent_id: string | null;
  status: AccountStatus;
  time_zone: string;
  created_at: string;
  name: string | null;
  email: string | null;
  metadata: string;
  identities: string;
}

function accountOf(row: AccountRow): Account {
  return {
    accountId: row.account_id,
    parentId: row.parent_id,
    status: row.status,
    name: row.name,
    email: row.email,
    timeZone: row.time_zone,
    identities: JSON.parse(row.identities) as Identity[],
    metadata: JSON.parse(row.metadata) as Record<string, unknown>,
    createdAt: readTime(row.created_at),
  };
}

/** Text for ILIKE that finds itself anywhere. */
const containing = (searched: string): string => `%${searched.replace(/[\\%_]/g, '\\$&')}%`;

export interface IdentifyRequest extends ChangeOptions {
  provider?: string;
  externalId: string | number;
  name?: string | null;
  email?: string | null;
}

export interface IdentifyAnswer {
  accountId: string;
  /** Whether this call created the account. */
  created: boolean;
  trialEligible: boolean;
  replayed: boolean;
}

export interface UpdateAccountRequest extends ChangeOptions {
  account: AccountReference;
  name?: string | null;
  email?: string | null;
  timeZone?: string;
  status?: AccountStatus;
}

export interface AttachChildRequest extends ChangeOptions {
  /** The one who will pay. */
  parent?: AccountReference;
  /** The one who will use what the parent has. */
  child?: AccountReference;
  /** Stands for whichever of the two is not named. */
  account?: AccountReference;
}

export type DetachChildRequest = Omit<AttachChildRequest, 'parent'>;

/** `billing.accounts`: who is billed. */
export class Accounts {
  constructor(
    private readonly context: Context,
    private readonly ports: AccountPorts,
  ) {}

  /**
   * Finds the account of a person by the id another system knows them by, or creates it. Never
   * joins accounts by name or e-mail: those are contact data.
   *
   * External ids are compared after Unicode NFC and trimming, case counts; e-mail addresses
   * (provider `email`) are compared in lower case.
   */
  async identify(request: IdentifyRequest): Promise<IdentifyAnswer> {
    const wanted = parse(identifyInput, request);
    const providerName = wanted.provider ?? DEFAULT_PROVIDER;
    const id = canonicalExternalId(providerName, wanted.externalId);
    const now = readClock(this.context.clock);
    return this.context.database.transaction(wanted.tx, async (session) => {
      const { answer, replayed } = await once(
        session,
        {
          kind: 'identify',
          payers: [NO_ACCOUNT],
          account: NO_ACCOUNT,
          key: wanted.idempotencyKey,
          request: {
            provider: providerName,
            externalId: id,
            name: wanted.name ?? null,
            email: wanted.email ?? null,
          },
          now,
          keep: this.context.keep,
        },
        async () => {
          const newAccount = newId();
          const at = isoTime(now);
          const claimed = await session.query(CLAIM_IDENTITY, [providerName, id, newAccount, at]);
          if (claimed.length > 0) {
            await session.query(CREATE_ACCOUNT, [
              newAccount,
              at,
              wanted.name ?? null,
              wanted.email ?? null,
              JSON.stringify(wanted.metadata ?? {}),
            ]);
          }
          const { accountId } = await resolveAccount(session, {
            provider: providerName,
            externalId: id,
          });
          if (claimed.length === 0 && (wanted.name || wanted.email || wanted.metadata)) {
            await session.query(REFRESH_DETAILS, [
              accountId,
              wanted.name ?? null,
              wanted.email ?? null,
              wanted.metadata === undefined ? null : JSON.stringify(wanted.metadata),
              at,
            ]);
          }
          return {
            accountId,
            created: claimed.length > 0,
            trialEligible: await this.ports.trialEligible(session, accountId),
          };
        },
      );
      return { ...answer, replayed };
    });
  }

  /** @throws unknown_account */
  async get(request: { account: AccountReference }): Promise<Account> {
    const { account } = parse(getInput, request);
    const { accountId } = await resolveAccount(this.context.database, account);
    return this.read(this.context.database, accountId);
  }

  /**
   * Accounts, newest first, by pages.
   *
   * @param request `search` finds parts of names, e-mail addresses and external ids, or an account
   *   id; `limit` up to 500 (default 50); `cursor` the `nextCursor` of the page before
   */
  async list(
    request: { search?: string; limit?: number; cursor?: string } = {},
  ): Promise<{ items: Account[]; nextCursor: string | null }> {
    const { search, limit = 50, cursor } = parse(listInput, request);
    if (cursor !== undefined && !isId(cursor)) {
      throw new BillingError('invalid_input', '"cursor" is none that this list gave.', {
        parameter: 'cursor',
      });
    }
    const rows = await this.context.database.query<AccountRow>(LIST_ACCOUNTS, [
      search === undefined ? null : containing(search),
      search !== undefined && isId(search) ? search : null,
      cursor ?? null,
      limit + 1,
    ]);
    const items = rows.slice(0, limit).map(accountOf);
    return { items, nextCursor: rows.length > limit ? items.at(-1)!.accountId : null };
  }

  /** Changes what is given; null clears a name or e-mail. @throws unknown_account */
  async update(request: UpdateAccountRequest): Promise<Account & { replayed: boolean }> {
    const change = parse(updateInput, request);
    const {
      idempotencyKey: _key,
      metadata: _metadata,
      tx: _tx,
      account: _account,
      ...inputs
    } = change;
    const asked = () => Promise.resolve(inputs);
    return this.change(
      'updateAccount',
      change,
      change.account,
      asked,
      async (session, account, now) => {
        await session.query(UPDATE_ACCOUNT, [
          account.accountId,
          change.status ?? null,
          change.timeZone ?? null,
        ]);
        await session.query(UPDATE_DETAILS, [
          account.accountId,
          change.name !== undefined,
          change.name ?? null,
          change.email !== undefined,
          change.email ?? null,
          change.metadata !== undefined,
          JSON.stringify(change.metadata ?? {}),
          isoTime(now),
        ]);
        return this.read(session, account.accountId);
      },
    );
  }

  /**
   * Makes one account the child of another: from then on it uses, and is billed through, its
   * parent. One level only. Lines already written stay with whom they were written for.
   *
   * @returns the child
   * @throws merge_conflict when the child has units of its own, or a family would become deeper
   */
  async attachChild(request: AttachChildRequest): Promise<Account & { replayed: boolean }> {
    const wanted = parse(attachInput, request);
    const parentReference = wanted.parent ?? (wanted.child ? wanted.account : undefined);
    const childReference = wanted.child ?? (wanted.parent ? wanted.account : undefined);
    if (!parentReference || !childReference) {
      throw new BillingError('invalid_input', '"parent" and "child" must both be given.', {
        parameter: parentReference ? 'child' : 'parent',
      });
    }
    const asked = async (session: Session) => ({
      parent: (await resolveAccount(session, parentReference, 'parent')).accountId,
    });
    return this.change(
      'attachChild',
      wanted,
      childReference,
      asked,
      async (session, child, now) => {
        const parent = await resolveAccount(session, parentReference, 'parent');
        await lockAccounts(session, [child.payerId, child.accountId, parent.accountId]);
        await this.requireAttachable(session, child, parentReference, now);
        if (child.payerId !== parent.accountId) {
          await session.query(SET_PAYER, [child.accountId, parent.accountId]);
        }
        return this.read(session, child.accountId);
      },
    );
  }

  /** Lets a child pay for itself again. What it used as a child stays with the parent. */
  async detachChild(request: DetachChildRequest): Promise<Account & { replayed: boolean }> {
    const wanted = parse(detachInput, request);
    const reference = wanted.child ?? wanted.account;
    if (!reference) {
      throw new BillingError('invalid_input', '"child" is missing.', { parameter: 'child' });
    }
    const asked = () => Promise.resolve({});
    return this.change('detachChild', wanted, reference, asked, async (session, child) => {
      await lockAccounts(session, [child.payerId, child.accountId]);
      const { payerId } = await resolveAccount(session, { accountId: child.accountId });
      if (payerId !== child.payerId) throw serializationFailure('the child got another parent');
      if (payerId !== child.accountId) {
        await session.query(SET_PAYER, [child.accountId, child.accountId]);
      }
      return this.read(session, child.accountId);
    });
  }

  /** Checked under the locks of all three, after which nobody can change the families. */
  private async requireAttachable(
    session: Session,
    before: ResolvedAccount,
    parentReference: ResolvedReference,
    now: Instant,
  ): Promise<void> {
    const parent = await resolveAccount(session, parentReference, 'parent');
    const child = await resolveAccount(session, { accountId: before.accountId }, 'child');
    const refuse = (message: string, parameter: string, advice?: string): never => {
      throw new BillingError('merge_conflict', message, { parameter, advice });
    };
    if (parent.accountId === child.accountId) {
      refuse('An account cannot be its own parent.', 'parent');
    }
    if (parent.payerId !== parent.accountId) {
      refuse('The parent is itself a child; there is one level only.', 'parent');
    }
    if (child.payerId === parent.accountId) return;
    if (child.payerId !== child.accountId) {
      refuse('The child already has another parent.', 'child', 'Detach it first.');
    }
    const children = await session.query(HAS_CHILDREN, [child.accountId]);
    if (children.length > 0) {
      refuse('The child has children of its own; there is one level only.', 'child');
    }
    for (const obstacle of this.ports.obstaclesToAttach) {
      const reason = await obstacle(session, child.accountId, now);
      if (reason !== null) refuse(reason, 'child', 'Use them up, or attach before granting.');
    }
  }

  private async read(session: Session, accountId: string): Promise<Account> {
    const [row] = await session.query<AccountRow>(GET_ACCOUNT, [accountId]);
    return accountOf(row!);
  }

  /** A change of one account, once for its key; `asked` gives the inputs beside the account. */
  private async change(
    kind: string,
    request: { idempotencyKey?: string; tx?: unknown },
    reference: ResolvedReference,
    asked: (session: Session) => Promise<Record<string, unknown>>,
    work: (session: Session, account: ResolvedAccount, now: Instant) => Promise<Account>,
  ): Promise<Account & { replayed: boolean }> {
    const { idempotencyKey, tx } = request;
    const now = readClock(this.context.clock);
    const changed = await this.context.database.transaction(tx, async (session) => {
      const account = await resolveAccount(session, reference);
      const { answer, replayed } = await once(
        session,
        {
          kind,
          payers: payersOf(account),
          account: account.accountId,
          key: idempotencyKey,
          request: { ...(await asked(session)), account: account.accountId },
          now,
          keep: this.context.keep,
        },
        () => work(session, account, now),
      );
      return { ...answer, replayed };
    });
    for (const tell of this.context.onAccountChange) tell(changed.accountId);
    return changed;
  }
}
