import { atTime, toInstant, type Session } from '../database';
import { isId, isoTime, type Instant } from '../kernel';

/** A payment method as it goes out: what people recognise it by, and never more. */
export interface PaymentMethod {
  methodId: string;
  account: string;
  payer: string;
  gateway: string;
  /** 'card', 'sepa_debit' ... */
  kind: string;
  brand: string | null;
  last4: string | null;
  expMonth: number | null;
  expYear: number | null;
  isDefault: boolean;
  createdAt: string;
  metadata: Record<string, unknown>;
}

export interface StoredMethod {
  payerId: string;
  methodId: string;
  accountId: string;
  gateway: string;
  /** The gateway's tokens of it and of its customer. Never shown. */
  reference: string;
  customer: string | null;
  kind: string;
  brand: string | null;
  last4: string | null;
  expMonth: number | null;
  expYear: number | null;
  isDefault: boolean;
  createdAt: Instant;
  removedAt: Instant | null;
  metadata: Record<string, unknown>;
}

/** Without its details a method is nothing that could be charged. */
const COLUMNS = `
  m.payer_id::text as payer_id, m.method_id::text as method_id, m.account_id::text as account_id,
  m.gateway, m.is_default, ${atTime('m.created_at')} as created_at,
  ${atTime('m.removed_at')} as removed_at,
  d.reference, d.customer, d.kind, d.brand, d.last4, d.exp_month, d.exp_year,
  d.metadata::text as metadata
from {schema}.payment_methods m
join {schema}.payment_method_details d on d.payer_id = m.payer_id and d.method_id = m.method_id`;

const FIND = `select ${COLUMNS} where m.method_id = $1::uuid`;

const LIST = `
select ${COLUMNS}
where m.payer_id = $1::uuid and m.removed_at is null
order by m.is_default desc, m.method_id desc`;

const FIND_SAME = `
select ${COLUMNS}
where m.payer_id = $1::uuid and m.removed_at is null and m.gateway = $2 and d.reference = $3
limit 1`;

const WRITE = `
insert into {schema}.payment_methods
  (payer_id, method_id, account_id, gateway, is_default, created_at)
values ($1::uuid, $2::uuid, $3::uuid, $4, false, $5::timestamptz)`;

const WRITE_DETAILS = `
insert into {schema}.payment_method_details as old
  (payer_id, method_id, reference, customer, kind, brand, last4, exp_month, exp_year, metadata)
values ($1::uuid, $2::uuid, $3, $4, $5, $6, $7, $8::smallint, $9::smallint, $10::jsonb)
on conflict (payer_id, method_id) do update
  set brand = excluded.brand, last4 = excluded.last4, exp_month = excluded.exp_month,
      exp_year = excluded.exp_year, metadata = old.metadata || excluded.metadata`;

const CLEAR_DEFAULT = `
update {schema}.payment_methods set is_default = false
where payer_id = $1::uuid and is_default`;

const SET_DEFAULT = `
update {schema}.payment_methods set is_default = true
where payer_id = $1::uuid and method_id = $2::uuid`;

const REMOVE = `
update {schema}.payment_methods set removed_at = $3::timestamptz, is_default = false
where payer_id = $1::uuid and method_id = $2::uuid and removed_at is null`;

const FIND_CUSTOMER = `
select reference from {schema}.payment_customers where payer_id = $1::uuid and gateway = $2`;

const KEEP_CUSTOMER = `
insert into {schema}.payment_customers (payer_id, gateway, reference, created_at)
values ($1::uuid, $2, $3, $4::timestamptz)
on conflict (payer_id, gateway) do nothing`;

interface MethodRow {
  payer_id: string;
  method_id: string;
  account_id: string;
  gateway: string;
  is_default: boolean;
  created_at: string;
  removed_at: string | null;
  reference: string;
  customer: string | null;
  kind: string;
  brand: string | null;
  last4: string | null;
  exp_month: number | null;
  exp_year: number | null;
  metadata: string;
}

const methodOf = (row: MethodRow): StoredMethod => ({
  payerId: row.payer_id,
  methodId: row.method_id,
  accountId: row.account_id,
  gateway: row.gateway,
  reference: row.reference,
  customer: row.customer,
  kind: row.kind,
  brand: row.brand,
  last4: row.last4,
  expMonth: row.exp_month,
  expYear: row.exp_year,
  isDefault: row.is_default,
  createdAt: toInstant(row.created_at),
  removedAt: row.removed_at === null ? null : toInstant(row.removed_at),
  metadata: JSON.parse(row.metadata) as Record<string, unknown>,
});

export const methodRecord = (method: StoredMethod): PaymentMethod => ({
  methodId: method.methodId,
  account: method.accountId,
  payer: method.payerId,
  gateway: method.gateway,
  kind: method.kind,
  brand: method.brand,
  last4: method.last4,
  expMonth: method.expMonth,
  expYear: method.expYear,
  isDefault: method.isDefault,
  createdAt: isoTime(method.createdAt),
  metadata: method.metadata,
});

/** A method by its id, removed ones too as long as their details are kept. */
export async function findMethod(session: Session, methodId: string): Promise<StoredMethod | null> {
  const [row] = isId(methodId) ? await session.query<MethodRow>(FIND, [methodId]) : [];
  return row === undefined ? null : methodOf(row);
}

/** What a payer can pay with, the default first. */
export async function listMethods(session: Session, payerId: string): Promise<StoredMethod[]> {
  return (await session.query<MethodRow>(LIST, [payerId])).map(methodOf);
}

export async function findSameMethod(
  session: Session,
  payerId: string,
  gateway: string,
  reference: string,
): Promise<StoredMethod | null> {
  const [row] = await session.query<MethodRow>(FIND_SAME, [payerId, gateway, reference]);
  return row === undefined ? null : methodOf(row);
}

/** Writes a method and what it is known by. The payer is locked. */
export async function writeMethod(
  session: Session,
  method: Omit<StoredMethod, 'isDefault' | 'removedAt'>,
): Promise<void> {
  const { payerId, methodId, accountId, gateway, createdAt } = method;
  await session.query(WRITE, [payerId, methodId, accountId, gateway, isoTime(createdAt)]);
  await writeMethodDetails(session, method);
}

export async function writeMethodDetails(
  session: Session,
  method: Omit<StoredMethod, 'isDefault' | 'removedAt' | 'accountId' | 'gateway' | 'createdAt'>,
): Promise<void> {
  await session.query(WRITE_DETAILS, [
    method.payerId,
    method.methodId,
    method.reference,
    method.customer,
    method.kind,
    method.brand,
    method.last4,
    method.expMonth,
    method.expYear,
    JSON.stringify(method.metadata),
  ]);
}

export async function setDefault(
  session: Session,
  { payerId, methodId }: Pick<StoredMethod, 'payerId' | 'methodId'>,
): Promise<void> {
  await session.query(CLEAR_DEFAULT, [payerId]);
  await session.query(SET_DEFAULT, [payerId, methodId]);
}

export async function removeMethod(
  session: Session,
  { payerId, methodId }: Pick<StoredMethod, 'payerId' | 'methodId'>,
  now: Instant,
): Promise<void> {
  await session.query(REMOVE, [payerId, methodId, isoTime(now)]);
}

/** The gateway's name for a payer. */
export async function findCustomer(
  session: Session,
  payerId: string,
  gateway: string,
): Promise<string | null> {
  const [row] = await session.query<{ reference: string }>(FIND_CUSTOMER, [payerId, gateway]);
  return row?.reference ?? null;
}

export async function keepCustomer(
  session: Session,
  payerId: string,
  gateway: string,
  reference: string,
  now: Instant,
): Promise<void> {
  await session.query(KEEP_CUSTOMER, [payerId, gateway, reference, isoTime(now)]);
}
