import type { z } from '../../engine/kernel';

type Validation = typeof import('../../engine/kernel/validation');

/** The schemas with which the engine has read requests, one after the other. */
export const seen: z.ZodType[] = [];

/** For `jest.mock` of `engine/kernel/validation`: itself, and what it reads with is seen. */
export function watched(): Validation {
  const actual = jest.requireActual<Validation>('../../engine/kernel/validation');
  const parse: Validation['parse'] = (schema, given) => {
    seen.push(schema);
    return actual.parse(schema, given);
  };
  return { ...actual, parse };
}
