import { NO_ACCOUNT, type Context, type Session } from '../database';
import {
  accountReference,
  changeFields,
  input,
  isoTime,
  parse,
  refused,
  text,
  type Instant,
  type RequestOf,
} from '../kernel';
import { aliasesOf } from './aliases';
import { readAccount } from './account';
import { changeAccount } from './changing';
import type { ErasePart, WholeAccount } from './parts';
import { resolveAccount } from './resolving';

/**
 * A person asks to be forgotten: what they are known by and what people wrote about them goes; ids,
 * codes and amounts stay, since the books must add up. Rule: billing-rules.md, Erasure.
 */

const eraseInput = input({
  account: accountReference(),
  /** The account's id once more: it cannot be undone. */
  confirm: text(100),
  ...changeFields,
});
export type EraseRequest = RequestOf<typeof eraseInput>;

export interface EraseAnswer {
  accountId: string;
  /** When it was erased first; again only takes away what was written since. */
  erasedAt: string;
  replayed: boolean;
}

/** Without its identities whoever comes again is a stranger. */
const CLOSE = `
with identities as (
  delete from {schema}.identities where account_id = any($1::uuid[])
), contacts as (
  delete from {schema}.account_contacts where account_id = any($1::uuid[])
), details as (
  update {schema}.account_details
  set name = null, email = null, metadata = '{}', updated_at = $2::timestamptz
  where account_id = any($1::uuid[])
), taxes as (
  update {schema}.account_taxes set tax_ids = '[]', updated_at = $2::timestamptz
  where account_id = any($1::uuid[])
)
update {schema}.accounts
set status = 'closed', erased_at = coalesce(erased_at, $2::timestamptz)
where account_id = any($1::uuid[])`;

/** Answers say what was asked for: names, reasons, metadata may be among it. */
const DELETE_ANSWERS = `
delete from {schema}.answers
where account_id = any($1::uuid[]) and payer_id in (
  select unnest(array_append(a.earlier_payers, a.payer_id) || a.account_id)
  from {schema}.accounts a where a.account_id = any($1::uuid[]))`;

/** Who was identified by a key would be led to the closed account by it. */
const DELETE_IDENTIFY_ANSWERS = `
delete from {schema}.answers
where payer_id = $2::uuid and account_id = $2::uuid
  and (answer::json ->> 'accountId') = any($1::text[])`;

export class Erasures {
  constructor(
    private readonly context: Context,
    private readonly parts: readonly ErasePart[],
  ) {}

  /**
   * Erases what an account says of a person: names, addresses, identities, tax ids, reasons, metadata,
   * first answers to keys. The account is closed for good; its ledger and its money stay, by its id.
   * What is on hold ends as it would have. Hashes of identities that spent a trial stay.
   *
   * @throws invalid_input (`confirm`), unknown_account, idempotency_conflict
   */
  async erase(request: EraseRequest): Promise<EraseAnswer> {
    const wanted = parse(eraseInput, request);
    const parties = async (session: Session) => {
      const owner = await resolveAccount(session, wanted.account);
      const { accountId } = owner;
      if (wanted.confirm.toLowerCase() !== accountId) {
        throw refused(
          'confirm',
          'is not the id of this account',
          'Erasing cannot be undone: repeat the accountId that accounts.get gives.',
        );
      }
      return { owner, locks: [accountId] };
    };
    return changeAccount(
      this.context,
      { ...wanted, kind: 'erase', parties, request: ({ owner }) => ({ account: owner.accountId }) },
      async (session, { owner: { accountId, payerId } }, now) => {
        const names = [accountId, ...(await aliasesOf(session, accountId))];
        return this.empty(session, { accountId, payerId, names }, now);
      },
    );
  }

  private async empty(
    session: Session,
    account: WholeAccount,
    now: Instant,
  ): Promise<Omit<EraseAnswer, 'replayed'>> {
    const { accountId, names } = account;
    for (const part of this.parts) await part(session, account, now);
    await session.query(CLOSE, [names, isoTime(now)]);
    await session.query(DELETE_ANSWERS, [names]);
    await session.query(DELETE_IDENTIFY_ANSWERS, [names, NO_ACCOUNT]);
    const { erasedAt } = await readAccount(session, accountId);
    return { accountId, erasedAt: erasedAt! };
  }
}
