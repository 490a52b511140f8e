import { taxRateFor } from '../catalog';
import { column, table, type Context, type Session } from '../database';
import {
  BillingError,
  LIMITS,
  accountReference,
  changeFields,
  country,
  given,
  input,
  isoTime,
  key,
  list,
  oneOf,
  parse,
  text,
  timeZone,
  z,
  type Instant,
  type RequestOf,
} from '../kernel';
import {
  TAX_STATUSES,
  emailAddress,
  readAccount,
  type Account,
  type Contact,
  type Tax,
  type TaxId,
  type TaxStatus,
} from './account';
import { changeAccount } from './changing';
import { resolveAccount } from './resolving';

/** What people change about an account: its status, and to whom and how it is invoiced. */

export const addressInput = input({
  line1: text(LIMITS.name),
  line2: text(LIMITS.name).nullable().default(null),
  city: text(LIMITS.name),
  postalCode: text(20),
  region: text(LIMITS.name).nullable().default(null),
  country: country(),
});
export type AddressInput = RequestOf<typeof addressInput>;

const contactInput = input({
  name: text(LIMITS.name).nullish(),
  company: text(LIMITS.name).nullish(),
  phone: text(50).nullish(),
  address: addressInput.nullish(),
});

const taxInput = input({
  status: oneOf(TAX_STATUSES).optional(),
  taxIds: list(input({ type: text(50), value: text(100) }), 20).optional(),
  country: country().nullish(),
  taxRate: key().nullish(),
});

const updateInput = input({
  account: accountReference(),
  name: text(LIMITS.name).nullish(),
  email: emailAddress().nullish(),
  timeZone: timeZone().optional(),
  status: oneOf(['active', 'suspended', 'closed']).optional(),
  /** Fields that are given change, null clears one; an address is given whole. Null: no contact. */
  contact: contactInput.nullish(),
  /** Fields that are given change, null clears one; `taxIds` is given whole. Null: as at first. */
  tax: taxInput.nullish(),
  ...changeFields,
});
export type UpdateAccountRequest = RequestOf<typeof updateInput>;

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

const DELETE_CONTACT = `delete from {schema}.account_contacts where account_id = $1::uuid`;

export const CONTACTS = table('account_contacts', {
  accountId: column.uuid(),
  name: column.text().orNull,
  company: column.text().orNull,
  phone: column.text().orNull,
  line1: column.text().orNull,
  line2: column.text().orNull,
  city: column.text().orNull,
  postalCode: column.text().orNull,
  region: column.text().orNull,
  country: column.text().orNull,
  updatedAt: column.instant(),
});
const SAVE_CONTACT = CONTACTS.upsert(['accountId']);

const DELETE_TAX = `delete from {schema}.account_taxes where account_id = $1::uuid`;

export const TAXES = table('account_taxes', {
  accountId: column.uuid(),
  status: column.text<TaxStatus>(),
  country: column.text().orNull,
  taxRate: column.text().orNull,
  taxIds: column.json<TaxId[]>(),
  updatedAt: column.instant(),
});
const SAVE_TAX = TAXES.upsert(['accountId']);

/** Of the one who pays: a child's orders and invoices are its parent's. */
const READ_TAX_DETAILS = `
select t.status, coalesce(t.country, c.country) as country, t.tax_rate,
       coalesce(t.tax_ids, '[]')::text as tax_ids
from {schema}.accounts a
left join {schema}.account_taxes t on t.account_id = a.payer_id
left join {schema}.account_contacts c on c.account_id = a.payer_id
where a.account_id = $1::uuid`;

/** What of an account decides about the tax on its orders and invoices. */
export interface TaxDetails {
  /** Where the customer is taxed, else the country of the address; ISO 3166-1 alpha-2. */
  country: string | null;
  taxStatus: TaxStatus;
  /** The key of the rate that was set for the account. */
  taxRate: string | null;
  taxIds: TaxId[];
}

/** The tax details of the one who pays for an account. */
export async function readTaxDetails(session: Session, accountId: string): Promise<TaxDetails> {
  const [row] = await session.query<{
    status: TaxStatus | null;
    country: string | null;
    tax_rate: string | null;
    tax_ids: string;
  }>(READ_TAX_DETAILS, [accountId]);
  return {
    country: row?.country ?? null,
    taxStatus: row?.status ?? 'normal',
    taxRate: row?.tax_rate ?? null,
    taxIds: JSON.parse(row?.tax_ids ?? '[]') as TaxId[],
  };
}

type ContactChange = z.output<typeof contactInput>;
type TaxChange = z.output<typeof taxInput>;

export class Details {
  constructor(private readonly context: Context) {}

  /**
   * Changes what is given; null clears a name, an e-mail address, a contact or its parts.
   *
   * @throws unknown_account, invalid_input (also for a tax rate that does not exist), forbidden (the
   *   account was erased), idempotency_conflict
   */
  async update(request: UpdateAccountRequest): Promise<Account & { replayed: boolean }> {
    const change = parse(updateInput, request);
    const { account, idempotencyKey, tx, metadata: _metadata, ...inputs } = change;
    return changeAccount(
      this.context,
      {
        kind: 'updateAccount',
        parties: async (session) => ({ owner: await resolveAccount(session, account), locks: [] }),
        request: ({ owner }) => ({ ...inputs, account: owner.accountId }),
        idempotencyKey,
        tx,
      },
      async (session, { owner: { accountId } }, now) => {
        const before = await readAccount(session, accountId);
        if (before.erasedAt !== null) throw wasErased(accountId);
        await session.query(UPDATE_ACCOUNT, [
          accountId,
          change.status ?? null,
          change.timeZone ?? null,
        ]);
        await session.query(UPDATE_DETAILS, [
          accountId,
          change.name !== undefined,
          change.name ?? null,
          change.email !== undefined,
          change.email ?? null,
          change.metadata !== undefined,
          JSON.stringify(change.metadata ?? {}),
          isoTime(now),
        ]);
        if (change.contact !== undefined) {
          await saveContact(session, accountId, change.contact, before.contact, now);
        }
        if (change.tax !== undefined) {
          await saveTax(session, accountId, change.tax, before.tax, now);
        }
        return readAccount(session, accountId);
      },
    );
  }
}

const wasErased = (accountId: string): BillingError =>
  new BillingError('forbidden', `The account ${accountId} was erased.`, {
    parameter: 'account',
    advice: 'accounts.identify makes a new account of a person who comes again.',
  });

const NO_ADDRESS = {
  line1: null,
  line2: null,
  city: null,
  postalCode: null,
  region: null,
  country: null,
};

async function saveContact(
  session: Session,
  accountId: string,
  change: ContactChange | null,
  before: Contact | null,
  now: Instant,
): Promise<void> {
  if (change === null) {
    await session.query(DELETE_CONTACT, [accountId]);
    return;
  }
  const was = before ?? { name: null, company: null, phone: null, address: null };
  const address = { ...NO_ADDRESS, ...given(change.address, was.address) };
  const contact = {
    accountId,
    name: given(change.name, was.name),
    company: given(change.company, was.company),
    phone: given(change.phone, was.phone),
    ...address,
    updatedAt: now,
  };
  await session.query(SAVE_CONTACT, CONTACTS.values([contact]));
}

async function saveTax(
  session: Session,
  accountId: string,
  change: TaxChange | null,
  before: Tax,
  now: Instant,
): Promise<void> {
  if (change === null) {
    await session.query(DELETE_TAX, [accountId]);
    return;
  }
  const { taxRate = null } = change;
  // A rate that was misspelt shows at once.
  if (taxRate !== null) {
    await taxRateFor(session, { country: null, taxRate, taxStatus: 'normal' });
  }
  const tax = {
    accountId,
    status: given(change.status, before.status),
    country: given(change.country, before.country),
    taxRate: given(change.taxRate, before.taxRate),
    taxIds: given(change.taxIds, before.taxIds),
    updatedAt: now,
  };
  await session.query(SAVE_TAX, TAXES.values([tax]));
}
