import { lacking, selectOne } from '../contenders';
import { checkContender, isSound, onServer, openBenchLedger } from '../ledgers';
import { withPostgres } from '../postgres';
import { compare, describe, median, ratios } from '../rates';
import { rateFigures, rateText, shown, type Part } from '../report';
import { ACCOUNTS } from '../settings';

const LOADS = [200, 20].flatMap((callers) =>
  [ACCOUNTS, 1].map((accounts) => ({ callers, accounts })),
);
/** The aim is for so many. */
const MANY = 200;

export const checks: Part = {
  name: 'checks',
  title: 'check() beside the cheapest question there is',
  run: () =>
    withPostgres(async (url, pool) => {
      const ledger = await openBenchLedger(onServer(url), { accounts: ACCOUNTS, granted: true });
      try {
        const contenders = [selectOne(pool), checkContender(ledger)];
        const written = await countEntries(pool);
        const compared = await compare(contenders, LOADS);
        if ((await countEntries(pool)) !== written) throw new Error('check() wrote something.');
        return {
          head: ['callers', 'accounts', 'select 1/s', 'check()/s', 'to select 1'],
          rows: compared.map(({ callers, accounts, rates }) => [
            String(callers),
            String(accounts),
            ...contenders.map(({ name }) => rateText(rates.get(name)!)),
            shown(median(ratios(rates, 'check()', 'select 1')), 'times'),
          ]),
          figures: compared.flatMap((comparison) => [
            ...rateFigures(comparison),
            {
              what: `check() to select 1, ${describe(comparison)}`,
              unit: 'times' as const,
              samples: ratios(comparison.rates, 'check()', 'select 1'),
              ...(comparison.callers === MANY && { aim: { atLeast: 0.8 } }),
            },
          ]),
          remarks: [
            ...lacking(contenders),
            'Nobody uses units meanwhile: a check of an account that has changed reads it anew, which costs more.',
          ],
          ok: await isSound(ledger.billing),
        };
      } finally {
        await ledger.billing.close();
      }
    }),
};

async function countEntries(pool: { query(sql: string): Promise<{ rows: unknown[] }> }) {
  const { rows } = await pool.query('select count(*)::int as lines from billing.entries');
  return (rows[0] as { lines: number }).lines;
}
