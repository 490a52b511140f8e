import { setTimeout as sleep } from 'node:timers/promises';

import { BillingError, invalidInput } from '../kernel';
import type { Gateway } from './gateway';

/** The longest a gateway may take to answer, in milliseconds. What comes later is looked up. */
const PATIENCE = 30_000;

export interface GatewayInfo {
  name: string;
  /** Whether the engine can charge through it by itself. */
  charges: boolean;
  refunds: boolean;
  checkout: boolean;
  webhooks: boolean;
}

/** The gateways that this process can use. */
export class Gateways {
  private readonly byName: ReadonlyMap<string, Gateway>;

  /**
   * @param gateways no two of one name
   * @param mayTest whether the test gateway may be used here
   */
  constructor(
    gateways: readonly Gateway[],
    private readonly mayTest: () => boolean,
  ) {
    this.byName = new Map(gateways.map((gateway) => [gateway.name, gateway]));
  }

  list(): GatewayInfo[] {
    return [...this.byName.values()]
      .filter(({ name }) => this.mayTest() || name !== 'test')
      .map((gateway) => ({
        name: gateway.name,
        charges: gateway.charges,
        refunds: gateway.refunds,
        checkout: gateway.checkoutLink !== undefined,
        webhooks: gateway.readWebhook !== undefined,
      }));
  }

  /** Null when this process does not have it: somebody else's, or one that is gone. */
  find(name: string): Gateway | null {
    if (name === 'test' && !this.mayTest()) return null;
    return this.byName.get(name) ?? null;
  }

  /** Whether this process can charge through it. */
  canCharge(name: string): boolean {
    return this.find(name)?.charge !== undefined;
  }

  /** Names of those that this process can charge through. */
  charging(): string[] {
    return [...this.byName.keys()].filter((name) => this.canCharge(name));
  }

  /** @throws sandbox_only, invalid_input */
  require(name: string): Gateway {
    if (name === 'test' && !this.mayTest()) {
      throw new BillingError(
        'sandbox_only',
        'The test gateway moves no money: it is for sandboxes.',
        {
          parameter: 'gateway',
          advice: 'Mark an empty schema as a sandbox, or open the engine with testGateway: true.',
        },
      );
    }
    const gateway = this.byName.get(name);
    if (gateway !== undefined) return gateway;
    const names = this.list().map((one) => one.name);
    const said = `There is no gateway "${name}" here.`;
    throw invalidInput('gateway', said, `There are: ${names.join(', ')}.`);
  }
}

/** What a call gave; lost: it threw, or took too long, and nobody knows what became of it. */
export type Called<T> = { given: T } | { lost: string };

/** Calls a gateway, outside any transaction. Never throws. */
export async function ask<T>(
  { timeout = PATIENCE }: Gateway,
  call: () => Promise<T>,
): Promise<Called<T>> {
  const patience = new AbortController();
  try {
    const lost = 'The gateway did not answer in time.';
    const tooLong = sleep(timeout, { lost }, { signal: patience.signal, ref: false });
    const called = Promise.resolve()
      .then(call)
      .then((given) => ({ given }));
    return await Promise.race([called, tooLong]);
  } catch (error) {
    return { lost: error instanceof Error ? error.message : 'The gateway could not be asked.' };
  } finally {
    patience.abort();
  }
}
