import Decimal from 'decimal.js';

/**
 * An amount out of a parameter, as the engine takes it. The editor's number fields and JSON give
 * JS numbers: 0.5 becomes '0.5', 1e-7 becomes '0.0000001'. What is no amount goes through
 * unchanged, so that the engine refuses it by name; so do whole numbers too large for a JS number,
 * of which some digits are lost already.
 */
export function plainAmount(value: unknown): unknown {
  if (typeof value !== 'number' || !Number.isFinite(value)) return value;
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) return value;
  return new Decimal(value).toFixed();
}
