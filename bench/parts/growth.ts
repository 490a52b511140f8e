import { fillLedger, sizeOf } from '../fill';
import { consumeContender, isSound, onServer, openBenchLedger } from '../ledgers';
import { endProgress, progress } from '../progress';
import { withPostgres } from '../postgres';
import { compare, describe, median, ratios } from '../rates';
import { count, rateFigures, rateText, shown, type Part } from '../report';
import { ACCOUNTS, ENTRIES } from '../settings';

const CALLERS = 200;
const LOADS = [ACCOUNTS, 1].map((accounts) => ({ callers: CALLERS, accounts }));
const EMPTY = 'empty';
const GROWN = 'grown';

export const growth: Part = {
  name: 'growth',
  title: `consume() on ${count(ENTRIES)} entries, beside an empty ledger`,
  run: () =>
    withPostgres(async (url, pool) => {
      const open = (schema: string, granted: boolean) =>
        openBenchLedger(onServer(url), { accounts: ACCOUNTS, granted, schema });
      const empty = await open('bench_empty', true);
      const grown = await open('bench_grown', false);
      try {
        const begin = performance.now();
        const { accounts } = grown;
        await fillLedger(pool, { schema: 'bench_grown', accounts, entries: ENTRIES });
        const seconds = (performance.now() - begin) / 1_000;
        const bytes = await sizeOf(pool, 'bench_grown');
        endProgress();
        console.log(`Filled in ${count(seconds)} s; ${(bytes / 1e9).toFixed(2)} GB on disk.`);
        const compared = await compare(
          [consumeContender(empty, EMPTY), consumeContender(grown, GROWN)],
          LOADS,
        );
        progress(`verify of ${count(ENTRIES)} entries`);
        return {
          head: ['callers', 'accounts', 'empty: consume()/s', 'grown: consume()/s', 'to empty'],
          rows: compared.map(({ callers, accounts: number, rates }) => [
            String(callers),
            String(number),
            rateText(rates.get(EMPTY)!),
            rateText(rates.get(GROWN)!),
            shown(median(ratios(rates, GROWN, EMPTY)), 'times'),
          ]),
          figures: compared.flatMap((comparison) => [
            ...rateFigures(comparison),
            {
              what: `${count(ENTRIES)} entries to empty, ${describe(comparison)}`,
              unit: 'times' as const,
              samples: ratios(comparison.rates, GROWN, EMPTY),
              aim: { atLeast: 0.8 },
            },
          ]),
          remarks: [
            `Filled by SQL: ${count(ENTRIES / ACCOUNTS)} lines an account, an answer to each use, a grant every 1,000 lines.`,
            `On disk ${(bytes / ENTRIES).toFixed(0)} bytes a line, with answer and indexes.`,
          ],
          ok: (await isSound(empty.billing)) && (await isSound(grown.billing)),
        };
      } finally {
        await empty.billing.close();
        await grown.billing.close();
      }
    }),
};
