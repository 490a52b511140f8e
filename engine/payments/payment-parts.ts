import type { ErasePart, ExportPart, MergePart } from '../accounts';
import { isoTime } from '../kernel';
import { attemptRecord, listAttempts } from './attempts';
import { listMethods, methodRecord } from './method-records';
import { refundRecord, refundsOfAccounts } from './refund-records';

/** What payments have to say when accounts are exported, erased or merged. */

/** Of a child what it has itself, from before it had a parent: those of its parent are that one's. */
export const exportPayments: ExportPart = async (session, { accountId, names }) => {
  const attempts = await listAttempts(session, { accounts: names, payers: names });
  const methods = await listMethods(session, accountId);
  return {
    paymentMethods: methods.map(methodRecord),
    paymentAttempts: attempts.map(attemptRecord),
    paymentRefunds: (await refundsOfAccounts(session, names)).map(refundRecord),
  };
};

const REMOVE_METHODS = `
update {schema}.payment_methods set removed_at = $2::timestamptz, is_default = false
where payer_id = any($1::uuid[]) and removed_at is null`;

const DELETE_METHOD_DETAILS = `
delete from {schema}.payment_method_details where payer_id = any($1::uuid[])`;

const DELETE_CUSTOMERS = `
delete from {schema}.payment_customers where payer_id = any($1::uuid[])`;

const DELETE_ATTEMPT_DETAILS = `
delete from {schema}.payment_attempt_details d
using {schema}.payment_attempts a
where (a.account_id = any($1::uuid[]) or a.payer_id = any($1::uuid[]))
  and d.payer_id = a.payer_id and d.attempt_id = a.attempt_id`;

/** How the person paid, and what gateways said of it, goes; that money moved stays. */
export const erasePayments: ErasePart = async (session, { names }, now) => {
  await session.query(REMOVE_METHODS, [names, isoTime(now)]);
  await session.query(DELETE_METHOD_DETAILS, [names]);
  await session.query(DELETE_CUSTOMERS, [names]);
  await session.query(DELETE_ATTEMPT_DETAILS, [names]);
};

const COUNT_METHODS = `
select count(*)::int as methods from {schema}.payment_methods
where payer_id = $1::uuid and removed_at is null`;

/** The account that stays keeps its own default, if it has one. */
const MOVE_METHODS = `
update {schema}.payment_methods m
set payer_id = $2::uuid,
    is_default = m.is_default and not exists (
      select from {schema}.payment_methods o where o.payer_id = $2::uuid and o.is_default)
where m.payer_id = $1::uuid`;

const MOVE_METHOD_DETAILS = `
update {schema}.payment_method_details set payer_id = $2::uuid where payer_id = $1::uuid`;

/** Methods go along; attempts stay as they are, and are found through the alias. */
export const mergePayments: MergePart = async (session, { into, from, dryRun }) => {
  const [counted] = await session.query<{ methods: number }>(COUNT_METHODS, [from.payerId]);
  if (!dryRun) {
    await session.query(MOVE_METHODS, [from.payerId, into.payerId]);
    await session.query(MOVE_METHOD_DETAILS, [from.payerId, into.payerId]);
  }
  return { paymentMethods: counted!.methods };
};
