import { BillingError } from '../../engine';

/** JSON out of a field or an expression: text, or the value itself. Undefined when blank. */
export function jsonOf<T>(
  value: unknown,
  field: { displayName: string; parameter: string; example: string },
): T | undefined {
  if (value === undefined || value === null) return undefined;
  // What is of another form goes through, so that the engine refuses it by name.
  if (typeof value !== 'string') return value as T;
  if (value.trim() === '') return undefined;
  try {
    return JSON.parse(value) as T;
  } catch {
    return refuse(field);
  }
}

function refuse(field: { displayName: string; parameter: string; example: string }): never {
  throw new BillingError('invalid_input', `"${field.displayName}" is not valid JSON.`, {
    parameter: field.parameter,
    advice: `Write it such as ${field.example}.`,
  });
}
