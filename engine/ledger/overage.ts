import { resolveAccount, changeOfAccount } from '../accounts';
import { findProduct, markProductsUsed, requireUnits } from '../catalog';
import { column, grouped, table, type Context, type Session } from '../database';
import {
  MAX_UNIT_DECIMALS,
  ZERO,
  accountReference,
  amount,
  changeFields,
  input,
  key,
  parse,
  sumOf,
  type AccountReference,
  type Decimal,
  type RequestOf,
} from '../kernel';
import { requireCounted } from './access';

/** How far an account may use more of a product than it was granted. Rule: billing-rules.md, Overage. */

export interface Overage {
  product: string;
  /** Units that may be used beyond the grants in all; '0': none; null: without limit. */
  limit: string | null;
  /** Units that were, and were not restored. */
  used: string;
}

const setOverageInput = input({
  account: accountReference(),
  product: key(),
  /** Units; '0' forbids overage, null is without limit. */
  limit: amount({ decimals: MAX_UNIT_DECIMALS, zero: true }).nullable(),
  ...changeFields,
});
export type SetOverageRequest = RequestOf<typeof setOverageInput>;

const overageInput = input({ account: accountReference(), product: key().optional() });

const TERMS = table('overage_terms', {
  product: column.text(),
  limit: column.amount().named('unit_limit').orNull,
  used: column.amount(),
});

/** Under the payer's lock, as every reader of terms that writes. */
const SAVE_TERMS = `
insert into {schema}.overage_terms as t (payer_id, product, unit_limit)
values ($1::uuid, $2, $3::numeric)
on conflict (payer_id, product) do update set unit_limit = excluded.unit_limit
returning ${TERMS.select('t')}`;

const READ_TERMS = `
select ${TERMS.select('t')}
from {schema}.overage_terms t
where t.payer_id = $1::uuid and ($2::text is null or t.product = $2)
order by t.product`;

/**
 * Of what a period allows; `none` where it allows none. What was never allowed needs no row for that.
 * Where several subscriptions allow it, what others left counts on, up to what they allow in all.
 */
const SAVE_PERIOD_TERMS = `
with n as (
  select *
  from unnest($1::uuid[], $2::text[], $3::numeric[], $4::numeric[], $5::boolean[])
       as n (payer_id, product, more, in_all, is_none)
)
insert into {schema}.overage_terms as t (payer_id, product, unit_limit)
select n.payer_id, n.product, n.more
from n
where not n.is_none or exists (
  select 1 from {schema}.overage_terms o where o.payer_id = n.payer_id and o.product = n.product)
on conflict (payer_id, product) do update
  set unit_limit = (
    select case
      when n.is_none then 0
      when n.in_all is null then null
      else t.used + least(greatest(t.unit_limit - t.used, 0) + n.more, n.in_all) end
    from n
    where n.payer_id = t.payer_id and n.product = t.product)`;

/** How much of a counted product may be used beyond the grants of a period. */
export type PeriodOverage =
  | {
      product: string;
      /** Null: without limit. */
      limit: Decimal | null;
      /** What all subscriptions in force allow, this one among them. Null: without limit. */
      inAll: Decimal | null;
    }
  | { product: string; none: true };

/**
 * Sets how much of products may be used beyond the grants from now on: a limit counts from what was
 * used beyond them so far, so that each period has its own. The payers must be locked.
 */
export async function setOverageTerms(
  session: Session,
  given: ReadonlyArray<PeriodOverage & { payerId: string }>,
): Promise<void> {
  const terms = joined(given);
  if (terms.length === 0) return;
  const limits = terms.map((one) => ('none' in one ? { limit: ZERO, inAll: ZERO } : one));
  await session.query(SAVE_PERIOD_TERMS, [
    terms.map(({ payerId }) => payerId),
    terms.map(({ product }) => product),
    limits.map(({ limit }) => limit?.toFixed() ?? null),
    limits.map(({ inAll }) => inAll?.toFixed() ?? null),
    terms.map((one) => 'none' in one),
  ]);
}

/** One of each payer and product: what periods that open at once allow is added up. */
function joined<T extends PeriodOverage & { payerId: string }>(given: readonly T[]): T[] {
  return [...grouped(given, ({ payerId, product }) => `${payerId} ${product}`).values()].map(
    (same) => {
      const last = same.at(-1)!;
      if ('none' in last) return last;
      const limits = same.map((one) => ('limit' in one ? one.limit : ZERO));
      const some = limits.filter((one) => one !== null);
      return { ...last, limit: some.length < limits.length ? null : sumOf(some) };
    },
  );
}

export class Overages {
  constructor(private readonly context: Context) {}

  /**
   * Allows an account (or, for a child, its parent) to use more of a counted product than it was
   * granted, up to a limit, or forbids it again. What was used beyond stays used; a limit below it
   * allows no more.
   *
   * @throws invalid_input (also for products that are not counted), unknown_account,
   *   unknown_product, idempotency_conflict
   */
  async setOverage(request: SetOverageRequest): Promise<Overage & { replayed: boolean }> {
    const wanted = parse(setOverageInput, request);
    const { product: productKey, limit } = wanted;
    return changeOfAccount(
      this.context,
      {
        ...wanted,
        kind: 'overage',
        request: { product: productKey, limit },
      },
      async (session, { payerId }) => {
        // First: a product's kind must not change between our reading it and its use.
        await markProductsUsed(session, [productKey]);
        const product = await findProduct(session, productKey);
        requireCounted(product, 'only counted products have overage');
        if (limit !== null) requireUnits(limit, product, 'limit');
        const values = [payerId, productKey, limit?.toFixed() ?? null];
        const [saved] = await TERMS.rows(session, SAVE_TERMS, values);
        return saved!;
      },
    );
  }

  /**
   * The overage of an account. A child answers with what its parent has.
   *
   * @returns one when `product` is given (with limit '0' when nothing was ever said), else one for
   *   each product for which something was
   * @throws unknown_account, unknown_product
   */
  async overage(request: { account: AccountReference; product: string }): Promise<Overage>;
  async overage(request: { account: AccountReference }): Promise<Overage[]>;
  async overage(request: {
    account: AccountReference;
    product?: string;
  }): Promise<Overage | Overage[]> {
    const { account, product } = parse(overageInput, request);
    const session: Session = this.context.database;
    const { payerId } = await resolveAccount(session, account);
    if (product !== undefined) await findProduct(session, product);
    const found: Overage[] = await TERMS.rows(session, READ_TERMS, [payerId, product ?? null]);
    return product === undefined ? found : (found[0] ?? { product, limit: '0', used: '0' });
  }
}
