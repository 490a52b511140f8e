import { plainAmount } from '../../../shared/amounts';

/** Reading what the editor's collections give for an offer. The engine judges what stands in it. */

export const orUndefined = (value: unknown) => (value === '' || value === null ? undefined : value);

export const amountOf = (value: unknown) => orUndefined(plainAmount(value)) as string | undefined;

/** Fields without those that the editor left empty. */
export const filled = (fields: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));

/** The entries of a collection that may be added empty. */
export const entriesOf = (written: unknown, group: string): Array<Record<string, unknown>> =>
  ((written as Record<string, unknown> | undefined)?.[group] ?? []) as Array<
    Record<string, unknown>
  >;
