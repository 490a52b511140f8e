import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { optionsParameter } from './options';
import { parameterOf, writtenIn } from './parameters';
import { simplified, withNumbers } from './simplify';
import { since } from './versions';

/** How a node gives its records. */
export interface Output {
  isSimple: boolean;
  withNumbers: boolean;
}

export const simplifyParameter: INodeProperties = {
  displayName: 'Simplify',
  name: 'simple',
  type: 'boolean',
  default: true,
  description: 'Whether to return a simplified version of the response instead of the raw data',
  displayOptions: { show: since(1.1) },
};

/** For the options of a node. */
export const amountsAsNumbersOption: INodeProperties = {
  displayName: 'Amounts as Numbers',
  name: 'amountsAsNumbers',
  type: 'boolean',
  default: false,
  description:
    'Whether amounts come as numbers where a number is exact (up to 15 digits) instead of as text. Text is compared as a number by <code>.toNumber()</code>, such as <code>{{ $json.usage.remaining.toNumber() > 5 }}</code>.',
};

/** For a node whose operations have options of their own. */
export const outputOptions: INodeProperties = {
  ...optionsParameter([amountsAsNumbersOption]),
  displayName: 'Output Options',
  name: 'outputOptions',
};

/**
 * How a node is to give its records. What is not written down is off: of a version that has it not,
 * or of another node.
 */
export function outputBy(
  written: Record<string, unknown>,
  read: (parameter: string) => unknown,
): Output {
  const isOn = (name: string, within?: string): boolean => {
    const there = within === undefined ? written : written[within];
    if ((there as Record<string, unknown> | undefined)?.[name] === undefined) return false;
    return read(within === undefined ? name : `${within}.${name}`) === true;
  };
  return {
    isSimple: isOn('simple'),
    withNumbers: isOn('amountsAsNumbers', 'options') || isOn('amountsAsNumbers', 'outputOptions'),
  };
}

export const readOutput = (context: IExecuteFunctions, itemIndex: number): Output =>
  outputBy(writtenIn(context), (parameter) => parameterOf(context, parameter, itemIndex));

/** A record as a node is to give it. */
export function givenAs(output: Output, record: object): object {
  const short = output.isSimple ? simplified(record) : record;
  return (output.withNumbers ? withNumbers(short) : short) as object;
}
