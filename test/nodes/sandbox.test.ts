import type { BillingDatabaseCredential } from '../../nodes/shared/connection';
import { optionsOf } from '../../nodes/shared/connection';
import { engines } from '../../nodes/shared/engines';
import { billing, chain, run, runnerWith } from './billing-in-workflows';

/** A credential for a sandbox may come with an imported workflow, without anybody choosing it. */

const sandbox = {
  database: 'embedded',
  folder: 'memory',
  sandbox: true,
} satisfies BillingDatabaseCredential;

afterAll(() => engines.close());

const runsIn = async (node: ReturnType<typeof billing>) => {
  const runner = runnerWith({}, { billingDatabaseApi: sandbox });
  const { nodes } = await runner.run(chain(node));
  return nodes.Billing![0]!;
};

it('a node says that it works in a sandbox, and what its clock shows', async () => {
  await engines.use(optionsOf(sandbox), (engine) =>
    engine.sandbox.advance({ by: { unit: 'day', count: 40 } }),
  );
  const { now } = await engines.use(optionsOf(sandbox), (engine) => engine.sandbox.status());
  const said = (hints: string[]) => {
    expect(hints).toHaveLength(1);
    expect(hints[0]).toMatch(
      /^Sandbox: its clock says \d{4}-\d\d-\d\d \d\d:\d\d, no money moves\.$/,
    );
    // The workflow's time zone may show the day before or after.
    const shown = Date.parse(`${/\d{4}-\d\d-\d\d/.exec(hints[0]!)![0]}T12:00:00Z`);
    expect(Math.abs(shown - Date.parse(now))).toBeLessThan(2 * 86_400_000);
  };
  said((await runsIn(billing('product', 'getAll'))).hints);
});

it('and nothing where money moves', async () => {
  const { nodes } = await run([{}], billing('product', 'getAll'));
  expect(nodes.Billing![0]!.hints).toEqual([]);
});
