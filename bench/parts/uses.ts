import { bareStatement, lacking, rateLimiter, selectOne } from '../contenders';
import { consumeContender, isSound, onServer, openBenchLedger } from '../ledgers';
import { withPostgres } from '../postgres';
import { compare, describe, median, ratios, type Comparison } from '../rates';
import { rateFigures, rateText, shown, type Aim, type Figure, type Part } from '../report';
import { ACCOUNTS } from '../settings';

/** To which contender, under which load. */
interface Wanted {
  callers: number;
  accounts: number;
  to: 'rate-limiter-flexible' | 'bare statement';
  aim: Aim;
}

const limiter = 'rate-limiter-flexible';
const bare = 'bare statement';

const WANTED: Wanted[] = [
  { callers: 1, accounts: ACCOUNTS, to: bare, aim: { atLeast: 0.6 } },
  { callers: 20, accounts: ACCOUNTS, to: limiter, aim: { atLeast: 1.2, defectBelow: 1.05 } },
  { callers: 20, accounts: 1, to: limiter, aim: { atLeast: 8, defectBelow: 7 } },
  { callers: 200, accounts: ACCOUNTS, to: limiter, aim: { atLeast: 3, defectBelow: 2.2 } },
  { callers: 200, accounts: 1, to: limiter, aim: { atLeast: 20, defectBelow: 15 } },
];

export const uses: Part = {
  name: 'uses',
  title: 'consume() beside what people use instead',
  run: () =>
    withPostgres(async (url, pool) => {
      const ledger = await openBenchLedger(onServer(url), { accounts: ACCOUNTS, granted: true });
      try {
        const contenders = [
          selectOne(pool),
          await rateLimiter(pool),
          await bareStatement(pool, ACCOUNTS),
          consumeContender(ledger),
        ];
        const compared = await compare(contenders, WANTED);
        return {
          head: [
            'callers',
            'accounts',
            ...contenders.map(({ name }) => `${name}/s`),
            'to limiter',
            'to bare',
          ],
          rows: compared.map((comparison) => [
            String(comparison.callers),
            String(comparison.accounts),
            ...contenders.map(({ name }) => rateText(comparison.rates.get(name)!)),
            ...[limiter, bare].map((to) =>
              shown(median(ratios(comparison.rates, 'consume()', to)), 'times'),
            ),
          ]),
          figures: compared.flatMap((comparison, index) => figuresOf(comparison, WANTED[index]!)),
          remarks: lacking(contenders),
          ok: await isSound(ledger.billing),
        };
      } finally {
        await ledger.billing.close();
      }
    }),
};

function figuresOf(comparison: Comparison, { to, aim }: Wanted): Figure[] {
  const load = describe(comparison);
  return [
    ...rateFigures(comparison),
    {
      what: `consume() to ${to}, ${load}`,
      unit: 'times',
      samples: ratios(comparison.rates, 'consume()', to),
      aim,
    },
  ];
}
