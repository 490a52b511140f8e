import type { IExecuteFunctions } from 'n8n-workflow';

/**
 * A parameter's value for one item. Resolving parameters is most of what a node does with a thousand
 * items, and most parameters are the same for all of them: one that holds no expression is read once.
 */
export function parameterOf(
  context: IExecuteFunctions,
  name: string,
  itemIndex: number,
  fallback?: unknown,
): unknown {
  const { written, constants } = rememberedOf(context);
  // 'options.metadata' stands in 'options'. What is not written down has a default, which may be an
  // expression.
  const raw = written[name.split('.')[0]!];
  const isConstant = raw !== undefined && !holdsExpression(raw);
  if (isConstant && constants.has(name)) return constants.get(name);
  const value: unknown = context.getNodeParameter(name, itemIndex, fallback, {
    extractValue: true,
  });
  if (isConstant) constants.set(name, value);
  return value;
}

/** The node's parameters as they are written in the workflow, with the defaults of those shown. */
export const writtenIn = (context: IExecuteFunctions): Record<string, unknown> =>
  rememberedOf(context).written;

interface Remembered {
  /** The parameters as they are written in the workflow. */
  written: Record<string, unknown>;
  constants: Map<string, unknown>;
}

/** By execution of a node. */
const remembered = new WeakMap<object, Remembered>();

function rememberedOf(context: IExecuteFunctions): Remembered {
  let entry = remembered.get(context);
  if (entry === undefined) {
    entry = { written: context.getNode().parameters, constants: new Map() };
    remembered.set(context, entry);
  }
  return entry;
}

function holdsExpression(value: unknown): boolean {
  if (typeof value === 'string') return value.startsWith('=');
  if (typeof value !== 'object' || value === null) return false;
  return Object.values(value).some(holdsExpression);
}
