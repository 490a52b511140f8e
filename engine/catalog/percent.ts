import { amount, type Amount, type Decimal, type z } from '../kernel';

/** A percent up to 100, of at most 4 decimals; `zero` says whether 0 is one. */
export const percent = ({ zero }: { zero: boolean }): z.ZodType<Decimal, Amount> =>
  amount({ decimals: 4, zero, maximum: 100 });
