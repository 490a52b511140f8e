import { findOffer, findProducts, requireUnits, unknownProduct } from '../catalog';
import {
  column,
  fingerprint,
  serializationFailure,
  sharedChange,
  table,
  type Context,
  type Session,
} from '../database';
import {
  Decimal,
  ONE,
  changeFields,
  duration,
  flag,
  formatUnits,
  input,
  isoTime,
  key,
  list,
  parse,
  refused,
  amount,
  units,
  type Duration,
  type DurationUnit,
  type RequestOf,
  type z,
} from '../kernel';

/** What is given for a referral: units of a product, or what an offer holds. */
export type ReferralBonus =
  | { product: string; quantity: string; expiresAfter: Duration | null }
  | { sku: string; quantity: number };

export interface ReferralProgram {
  version: number;
  /** Whether anything is given for orders that are paid from now on. */
  active: boolean;
  referrerBonus: ReferralBonus | null;
  referredBonus: ReferralBonus | null;
  /** Percent of an order's net amount: to who brought the buyer, and to who brought that one. */
  commission: { levels: string[] } | null;
  metadata: Record<string, unknown>;
  createdAt: string;
}

/** Roughly, in days: what lasts longer than a thousand years was meant to have no end. */
const DAYS: Readonly<Record<DurationUnit, number>> = {
  second: 1 / 86_400,
  minute: 1 / 1_440,
  hour: 1 / 24,
  day: 1,
  week: 7,
  month: 30,
  year: 365,
};
const LONGEST_LIFE = 1000 * DAYS.year;

/** As coupons and tax rates have them. */
const PERCENT_DECIMALS = 4;

const bonusInput = input({
  /** Units of a product, or a sku: one of the two. */
  product: key().optional(),
  sku: key().optional(),
  /** Of an offer: default 1. */
  quantity: units().optional(),
  expiresAfter: duration().nullable().default(null),
}).transform(({ quantity, ...bonus }) => ({
  ...bonus,
  quantity: quantity ?? (bonus.sku === undefined ? undefined : ONE),
}));

const programInput = input({
  active: flag().default(true),
  referrerBonus: bonusInput.nullable().default(null),
  referredBonus: bonusInput.nullable().default(null),
  commission: input({
    levels: list(amount({ decimals: PERCENT_DECIMALS }), 2, 1),
  })
    .nullable()
    .default(null),
  ...changeFields,
});

export type SetReferralProgramRequest = RequestOf<typeof programInput>;
type WrittenBonus = z.output<typeof bonusInput>;

type Terms = Pick<ReferralProgram, 'referrerBonus' | 'referredBonus' | 'commission' | 'metadata'>;

const PROGRAMS = table('referral_programs', {
  version: column.integer(),
  active: column.flag(),
  terms: column.json<Terms>(),
  createdAt: column.time(),
});

const FIND_PROGRAM = `
select ${PROGRAMS.select('p')} from {schema}.referral_programs p
order by p.version desc
limit 1`;

/** Of two at once one finds its number taken, and is run again. */
const WRITE_PROGRAM = `${PROGRAMS.insert('on conflict (version) do nothing')} returning version`;

/** The present program; null when none was ever set. */
export async function findProgram(session: Session): Promise<ReferralProgram | null> {
  const [row] = await PROGRAMS.rows(session, FIND_PROGRAM);
  if (row === undefined) return null;
  const { terms, ...program } = row;
  return { ...program, ...terms };
}

async function checkedBonus(
  session: Session,
  written: WrittenBonus | null,
  parameter: string,
): Promise<ReferralBonus | null> {
  if (written === null) return null;
  const { product: productKey, sku, quantity } = written;
  if ((productKey === undefined) === (sku === undefined)) {
    throw refused(parameter, 'must name a product or a sku, one of the two');
  }
  if (sku !== undefined) {
    if (!quantity!.isInteger() || quantity!.greaterThan(1_000_000)) {
      throw refused(`${parameter}.quantity`, 'must be a whole number from 1 to 1000000');
    }
    if (written.expiresAfter !== null) {
      throw refused(`${parameter}.expiresAfter`, 'is said by the offer itself', 'Leave it out.');
    }
    await findOffer(session, sku);
    return { sku, quantity: Number.parseInt(quantity!.toFixed(), 10) };
  }
  const product = (await findProducts(session, [productKey!])).get(productKey!);
  if (product === undefined) throw unknownProduct(productKey!, `${parameter}.product`);
  if (quantity === undefined) throw refused(`${parameter}.quantity`, 'is missing');
  requireUnits(quantity, product, `${parameter}.quantity`);
  const { expiresAfter } = written;
  if (expiresAfter !== null) requireReachable(expiresAfter, `${parameter}.expiresAfter`);
  return { product: product.key, quantity: formatUnits(quantity), expiresAfter };
}

/** The bonus comes with somebody's payment, which an end beyond all time would make fail. */
function requireReachable(life: Duration, parameter: string): void {
  if (life.count * DAYS[life.unit] <= LONGEST_LIFE) return;
  throw refused(parameter, 'is longer than 1000 years', 'Leave it out for what never ends.');
}

function checkedLevels(levels: readonly Decimal[] | undefined): { levels: string[] } | null {
  if (levels === undefined) return null;
  const sum = levels.reduce((all, level) => all.plus(level));
  if (sum.greaterThan(100)) {
    throw refused('commission.levels', 'must not sum to more than 100 percent');
  }
  return { levels: levels.map(formatUnits) };
}

export class ReferralPrograms {
  constructor(private readonly context: Context) {}

  /** What is given for referrals at present; null when nothing was ever set. */
  async referralProgram(): Promise<ReferralProgram | null> {
    return findProgram(this.context.database);
  }

  /**
   * Sets what is given for referrals, as a whole: what is left out is not given. It counts for orders
   * that are paid from then on; every version is kept.
   *
   * @returns the program, with `replayed`
   * @throws invalid_input, unknown_product, unknown_offer, idempotency_conflict
   */
  async setReferralProgram(
    request: SetReferralProgramRequest,
  ): Promise<ReferralProgram & { replayed: boolean }> {
    const wanted = parse(programInput, request);
    const { idempotencyKey, metadata, tx, ...asked } = wanted;
    return sharedChange(
      this.context,
      { kind: 'setReferralProgram', request: asked, idempotencyKey, tx },
      async (session, now) => {
        const old = await findProgram(session);
        const terms: Terms = {
          referrerBonus: await checkedBonus(session, wanted.referrerBonus, 'referrerBonus'),
          referredBonus: await checkedBonus(session, wanted.referredBonus, 'referredBonus'),
          commission: checkedLevels(wanted.commission?.levels),
          metadata: metadata ?? old?.metadata ?? {},
        };
        const { active } = wanted;
        if (old !== null && sameTerms(old, { ...terms, active })) return old;
        const version = (old?.version ?? 0) + 1;
        const createdAt = isoTime(now);
        const values = PROGRAMS.values([{ version, active, terms, createdAt }]);
        const written = await session.query(WRITE_PROGRAM, values);
        if (written.length === 0) throw serializationFailure('another program was set meanwhile');
        return { version, active, ...terms, createdAt };
      },
    );
  }
}

function sameTerms(old: ReferralProgram, terms: Terms & { active: boolean }): boolean {
  const { version: _version, createdAt: _createdAt, ...content } = old;
  return fingerprint(content).equals(fingerprint(terms));
}
