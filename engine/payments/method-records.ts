import { resolveAccount } from '../accounts';
import { column, table, type RowOf, type Session } from '../database';
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

const METHODS = table('payment_methods', {
  payerId: column.uuid(),
  methodId: column.uuid(),
  accountId: column.uuid(),
  gateway: column.text(),
  isDefault: column.flag(),
  createdAt: column.instant(),
  removedAt: column.instant().orNull,
});

const DETAILS = table('payment_method_details', {
  payerId: column.uuid(),
  methodId: column.uuid(),
  /** The gateway's tokens of it and of its customer. Never shown. */
  reference: column.text(),
  customer: column.text().orNull,
  kind: column.text(),
  brand: column.text().orNull,
  last4: column.text().orNull,
  expMonth: column.integer().orNull,
  expYear: column.integer().orNull,
  metadata: column.json<Record<string, unknown>>(),
});
const KNOWN_BY = DETAILS.omit('payerId', 'methodId');

export type StoredMethod = RowOf<typeof METHODS> & RowOf<typeof KNOWN_BY>;

/** Without its details a method is nothing that could be charged. */
const SELECT = `
select ${METHODS.select('m')}, ${KNOWN_BY.select('d')}
from {schema}.payment_methods m
join {schema}.payment_method_details d on d.payer_id = m.payer_id and d.method_id = m.method_id`;

const FIND = `${SELECT} where m.method_id = $1::uuid`;

const LIST = `${SELECT}
where m.payer_id = $1::uuid and m.removed_at is null
order by m.is_default desc, m.method_id desc`;

const FIND_SAME = `${SELECT}
where m.payer_id = $1::uuid and m.removed_at is null and m.gateway = $2 and d.reference = $3
limit 1`;

const KNOW_ANEW = `
on conflict (payer_id, method_id) do update
  set brand = excluded.brand, last4 = excluded.last4, exp_month = excluded.exp_month,
      exp_year = excluded.exp_year, metadata = t.metadata || excluded.metadata`;

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

const methodOf = (row: object): StoredMethod => ({ ...METHODS.read(row), ...KNOWN_BY.read(row) });

/** Picked one by one, so that no token ever goes along. */
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
  const [row] = isId(methodId) ? await session.query<object>(FIND, [methodId]) : [];
  return row === undefined ? null : methodOf(row);
}

/** What a payer can pay with, the default first. */
export async function listMethods(session: Session, payerId: string): Promise<StoredMethod[]> {
  return (await session.query<object>(LIST, [payerId])).map(methodOf);
}

/** What a payer is charged by; null: nothing is on file. Found among the accounts as they are now. */
export async function defaultMethod(
  session: Session,
  payerId: string,
): Promise<StoredMethod | null> {
  const payer = await resolveAccount(session, { accountId: payerId });
  const [first] = await listMethods(session, payer.payerId);
  return first?.isDefault === true ? first : null;
}

export async function findSameMethod(
  session: Session,
  payerId: string,
  gateway: string,
  reference: string,
): Promise<StoredMethod | null> {
  const [row] = await session.query<object>(FIND_SAME, [payerId, gateway, reference]);
  return row === undefined ? null : methodOf(row);
}

/** Writes a method and what it is known by. The payer is locked. */
export async function writeMethod(session: Session, method: StoredMethod): Promise<void> {
  await METHODS.write(session, [method]);
  await writeMethodDetails(session, method);
}

/** What a method is known by now; what it is charged by stays. The payer is locked. */
export const writeMethodDetails = (session: Session, method: StoredMethod): Promise<void> =>
  DETAILS.write(session, [method], KNOW_ANEW);

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

/** Locks nothing. One that was erased is removed, too: each that is found can be charged. */
const FIND_GATEWAYS = `
select m.payer_id::text as "payerId", m.gateway
from {schema}.payment_methods m
where m.payer_id = any($1::uuid[]) and m.is_default and m.removed_at is null`;

/** The gateways of the methods that payers are charged by; who has none is left out. */
export async function defaultGateways(
  session: Session,
  payerIds: readonly string[],
): Promise<Map<string, string>> {
  const found = await session.query<{ payerId: string; gateway: string }>(FIND_GATEWAYS, [
    [...new Set(payerIds)],
  ]);
  return new Map(found.map(({ payerId, gateway }) => [payerId, gateway]));
}
