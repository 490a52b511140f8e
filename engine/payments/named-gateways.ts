import * as path from 'node:path';
import { pathToFileURL } from 'node:url';

import { BillingError, isBillingError } from '../kernel';
import type { Gateway } from './gateway';

/** Gateways of other packages, by the environment of the process: its operator names them, never a workflow. */

/** Packages, or files by their full paths, with commas between them. */
export const GATEWAYS_VARIABLE = 'BILLING_GATEWAYS';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * What a package of a gateway exports as `openGateway`. Keys and secrets it takes from the environment.
 *
 * @throws when something is missing there; the message says what, and holds no secret
 */
export type OpensGateway = (environment: Environment) => Gateway | Promise<Gateway>;

const refuse = (name: string, problem: string, advice: string, cause?: unknown): BillingError =>
  new BillingError('invalid_input', `${GATEWAYS_VARIABLE} names "${name}", ${problem}`, {
    parameter: GATEWAYS_VARIABLE,
    advice,
    cause,
  });

const wordsOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

async function openNamed(name: string, environment: Environment): Promise<Gateway> {
  let found: { openGateway?: unknown; default?: { openGateway?: unknown } };
  try {
    const from = path.isAbsolute(name) ? pathToFileURL(name).href : name;
    found = (await import(from)) as typeof found;
  } catch (error) {
    const advice = `Install it where n8n-nodes-billing is installed, or take it out of ${GATEWAYS_VARIABLE}.`;
    throw refuse(name, `which cannot be loaded: ${wordsOf(error)}`, advice, error);
  }
  // Of what is not a module of ECMAScript names are not always recognised.
  const openGateway = found.openGateway ?? found.default?.openGateway;
  if (typeof openGateway !== 'function') {
    throw refuse(name, 'which has no gateway.', 'It has to export openGateway (docs/gateways.md).');
  }
  try {
    return await (openGateway as OpensGateway)(environment);
  } catch (error) {
    if (isBillingError(error)) throw error;
    throw refuse(
      name,
      `which does not open: ${wordsOf(error)}`,
      'Give it what it asks for.',
      error,
    );
  }
}

/**
 * Opens the gateways that the environment names, for `openBilling({ gateways })`.
 *
 * @throws invalid_input, parameter BILLING_GATEWAYS: a package that is not there, or that does not open
 */
export async function namedGateways(environment: Environment): Promise<Gateway[]> {
  const written = environment[GATEWAYS_VARIABLE] ?? '';
  const names = written.split(',').map((name) => name.trim());
  const gateways: Gateway[] = [];
  for (const name of names.filter(Boolean)) gateways.push(await openNamed(name, environment));
  return gateways;
}
