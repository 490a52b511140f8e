import { SCENARIOS, type Tried } from './scenarios';
import { Shop } from './shop';
import { DEFAULT_AMOUNTS, type CompleteTrial, type GatewayTrial } from './trial';

/** What a runner of tests gives: `node:test`, Jest, Vitest and Mocha all do, some of them as globals. */
export interface TestRunner {
  describe(name: string, tests: () => void): unknown;
  it(name: string, test: () => Promise<void>): unknown;
  /** Jest's and Vitest's name; `after` is that of Mocha and `node:test`. */
  afterAll?(work: () => Promise<void>): unknown;
  after?(work: () => Promise<void>): unknown;
}

/**
 * Tries a gateway through a real engine, on an embedded database in memory: a test for each scenario that
 * the trial brings what it needs for (docs/gateways.md lists them). After each the provider's book and
 * the engine's are compared.
 *
 * @param runner default: the globals of Jest, Vitest or Mocha
 */
export function describeGateway<Provider>(
  name: string,
  trial: GatewayTrial<Provider>,
  runner: TestRunner = globalThis as unknown as TestRunner,
): void {
  const { describe, it } = runner;
  // What a scenario is given comes from the trial alone: it only hands the provider back to it.
  const tried = { amounts: DEFAULT_AMOUNTS, ...trial } as unknown as CompleteTrial<never>;
  describe(`gateway ${name}`, () => {
    let opening: Promise<Shop<never>> | undefined;
    for (const scenario of SCENARIOS.filter(({ fits }) => fits(tried))) {
      it(scenario.name, async () => {
        opening ??= Shop.open(tried);
        const shop = await opening;
        await scenario.run({ trial: tried, shop, alone: aloneWith(tried) });
        await shop.agree();
      });
    }
    const afterAll = runner.afterAll ?? runner.after;
    afterAll?.(async () => (await opening)?.close());
  });
}

const aloneWith =
  (trial: CompleteTrial<never>): Tried['alone'] =>
  async (work) => {
    const { gateway, provider, close } = await trial.open();
    try {
      return await work(gateway, () => trial.book(provider));
    } finally {
      await close?.();
    }
  };
