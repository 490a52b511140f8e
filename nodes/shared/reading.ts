import { isResourceLocatorValue, type IExecuteFunctions } from 'n8n-workflow';

import { BillingError } from '../../engine';
import { plainAmount } from './amounts';
import { fieldName } from './itemErrors';
import { parameterOf } from './parameters';

/**
 * Reading parameters for one item. What an expression gives is only known when it runs: mostly
 * text or a number, and nothing at all when an item lacks the field. Nothing must never pass for a
 * default: an item without its amount would be charged for one unit, one without its provider
 * would be looked up among other people's ids.
 */

/** The error for a value that an item does not have. */
export function missing(displayName: string, parameter: string): BillingError {
  return new BillingError('invalid_input', `"${displayName}" is missing.`, {
    parameter,
    advice:
      'The expression in it gives nothing for this item: check the name of the field it reads, or set a value.',
  });
}

/** The error for a list to which nothing was added. */
export const noItems = (parameter: string): BillingError =>
  new BillingError('invalid_input', '"Items" is missing.', {
    parameter,
    advice: 'Add an item: press "Add Item", and say what it is and how many.',
  });

const isNothing = (value: unknown): boolean =>
  value === undefined || value === null || value === '';

/** What is chosen in a picker, or written as text. n8n unwraps those alone that no collection holds. */
export const chosenOf = (value: unknown): unknown =>
  isResourceLocatorValue(value) ? value.value : value;

/**
 * A value that must be there, as it comes; the engine judges what it is. The type says what the
 * engine expects, its own check sees to it.
 */
export function readRequired<T = string>(
  context: IExecuteFunctions,
  parameter: string,
  displayName: string,
  itemIndex: number,
): T {
  const value = parameterOf(context, parameter, itemIndex);
  if (isNothing(value)) throw missing(displayName, parameter);
  return value as T;
}

/** An amount that must be there. */
export function readAmount(
  context: IExecuteFunctions,
  parameter: string,
  displayName: string,
  itemIndex: number,
): string {
  return plainAmount(readRequired<unknown>(context, parameter, displayName, itemIndex)) as string;
}

/** Words with commas between them, or a list of them: SKUs, percents. */
export const wordsOf = (written: unknown): string[] =>
  (Array.isArray(written) ? written : String(written ?? '').split(','))
    .map((word) => String(word).trim())
    .filter((word) => word !== '');

/** Those of the fields that were added and emptied: the engine takes null for "remove it". */
export const emptied = (
  written: Record<string, unknown>,
  removable: readonly string[],
): Record<string, null> =>
  Object.fromEntries(
    removable.filter((field) => chosenOf(written[field]) === '').map((field) => [field, null]),
  );

/**
 * Options of a collection. A field that was added and left empty is as good as not added; one whose
 * expression gives nothing is a slip, except where `mayBeNothing` says that items may lack it.
 */
export function readOptions(
  context: IExecuteFunctions,
  parameter: string,
  itemIndex: number,
  mayBeNothing: readonly string[] = [],
): Record<string, unknown> {
  const options = context.getNodeParameter(parameter, itemIndex, {}) as Record<string, unknown>;
  const chosen = Object.entries(options).map(([name, value]) => [name, chosenOf(value)] as const);
  const filled = chosen.filter(([name, value]) => {
    if ((value === undefined || value === null) && !mayBeNothing.includes(name)) {
      throw missing(fieldName(name), name);
    }
    return !isNothing(value);
  });
  return Object.fromEntries(filled);
}
