import { atTime, column, table, type Session } from '../database';
import {
  LIMITS,
  PLAIN_ADDRESS_ONLY,
  accountReference,
  input,
  isId,
  isPlainAddress,
  pageFields,
  pageOf,
  parse,
  text,
  visible,
  type RequestOf,
  type z,
} from '../kernel';
import type { AccountStatus } from './resolving';

/** What an account is, as it goes out, and how it is read. */

export interface Identity {
  provider: string;
  externalId: string;
  /** Only there when true: a merge brought two of one provider together, and the other one goes first. */
  secondary?: true;
}

export interface Address {
  line1: string;
  line2: string | null;
  city: string;
  postalCode: string;
  region: string | null;
  /** ISO 3166-1 alpha-2. */
  country: string;
}

/** To whom invoices are addressed. */
export interface Contact {
  name: string | null;
  company: string | null;
  phone: string | null;
  address: Address | null;
}

export const TAX_STATUSES = ['normal', 'exempt', 'reverse_charge'] as const;
export type TaxStatus = (typeof TAX_STATUSES)[number];

export interface TaxId {
  /** `eu_vat`, `us_ein`, ... */
  type: string;
  value: string;
}

export interface Tax {
  status: TaxStatus;
  taxIds: TaxId[];
  /** Where the customer is taxed; null: in the country of the address. */
  country: string | null;
  /** The key of the tax rate to take; null: found by the country. */
  taxRate: string | null;
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
  contact: Contact | null;
  tax: Tax;
  identities: Identity[];
  /** Accounts that were merged into this one and answer as it. */
  aliases: string[];
  metadata: Record<string, unknown>;
  createdAt: string;
  /** When its personal data was erased; null: it was not. */
  erasedAt: string | null;
}

const READ_ACCOUNTS = `
select a.account_id::text as account_id,
       nullif(a.payer_id, a.account_id)::text as parent_id, a.status, a.time_zone,
       ${atTime('a.created_at')} as created_at, ${atTime('a.erased_at')} as erased_at,
       d.name, d.email, d.metadata::text as metadata,
       case when c.account_id is not null then json_build_object(
         'name', c.name, 'company', c.company, 'phone', c.phone,
         'address', case when c.line1 is not null then json_build_object(
           'line1', c.line1, 'line2', c.line2, 'city', c.city, 'postalCode', c.postal_code,
           'region', c.region, 'country', c.country) end) end::text as contact,
       json_build_object(
         'status', coalesce(t.status, 'normal'), 'taxIds', coalesce(t.tax_ids, '[]'),
         'country', t.country, 'taxRate', t.tax_rate)::text as tax,
       coalesce((select json_agg(case when i.secondary
                   then json_build_object('provider', i.provider, 'externalId', i.external_id,
                                          'secondary', true)
                   else json_build_object('provider', i.provider, 'externalId', i.external_id) end
                   order by i.secondary, i.created_at, i.provider, i.external_id)
                 from {schema}.identities i where i.account_id = a.account_id), '[]')::text as identities,
       array(select m.account_id::text from {schema}.accounts m where m.merged_into = a.account_id
             order by m.account_id) as aliases
from {schema}.accounts a
join {schema}.account_details d on d.account_id = a.account_id
left join {schema}.account_contacts c on c.account_id = a.account_id
left join {schema}.account_taxes t on t.account_id = a.account_id`;

const GET_ACCOUNT = `${READ_ACCOUNTS}
where a.account_id = $1::uuid`;

/** $1 an ILIKE pattern, $2 the id it may be, $3 the account to go on after. Newest first. */
const LIST_ACCOUNTS = `${READ_ACCOUNTS}
where a.merged_into is null
  and ($1::text is null or d.name ilike $1 or d.email ilike $1 or a.account_id = $2::uuid
       or exists (select 1 from {schema}.identities i
                  where i.account_id = a.account_id and i.external_id ilike $1)
       or exists (select 1 from {schema}.accounts m
                  where m.merged_into = a.account_id and m.account_id = $2::uuid))
  and ($3::uuid is null or a.account_id < $3::uuid)
order by a.account_id desc
limit $4::integer`;

const ACCOUNTS = table<Account>('accounts', {
  accountId: column.uuid(),
  parentId: column.uuid().orNull,
  status: column.text(),
  name: column.text().orNull,
  email: column.text().orNull,
  timeZone: column.text(),
  contact: column.json<Contact>().orNull,
  tax: column.json(),
  identities: column.json(),
  aliases: column.list('uuid'),
  metadata: column.json(),
  createdAt: column.time(),
  erasedAt: column.time().orNull,
});

/** An account that is known to exist, by its own id. */
export async function readAccount(session: Session, accountId: string): Promise<Account> {
  const [account] = await ACCOUNTS.rows(session, GET_ACCOUNT, [accountId]);
  return account!;
}

export const getInput = input({ account: accountReference() });

const listInput = input({
  /** Parts of names, e-mail addresses and external ids, or an account id. */
  search: text(LIMITS.externalId).optional(),
  ...pageFields,
});
export type ListAccountsRequest = RequestOf<typeof listInput>;

/** Text for ILIKE that finds itself anywhere. */
const containing = (searched: string): string => `%${searched.replace(/[\\%_]/g, '\\$&')}%`;

export async function listAccounts(
  session: Session,
  request: ListAccountsRequest,
): Promise<{ items: Account[]; nextCursor: string | null }> {
  const { search, limit = 50, cursor } = parse(listInput, request);
  const accounts = await ACCOUNTS.rows(session, LIST_ACCOUNTS, [
    search === undefined ? null : containing(search),
    search !== undefined && isId(search) ? search : null,
    cursor ?? null,
    limit + 1,
  ]);
  return pageOf(accounts, limit, ({ accountId }) => accountId);
}

/** An e-mail address to write to, without what nobody sees in it. Nobody is found by it. */
export const emailAddress = (): z.ZodType<string, string> =>
  text(LIMITS.name)
    .transform((value) => visible(value).normalize('NFC'))
    .refine(isPlainAddress, { error: PLAIN_ADDRESS_ONLY });
