import { Child } from '../children';
import type { WorkerQuestion } from '../consuming-process';
import { isSound, onServer, openBenchLedger } from '../ledgers';
import { withPostgres } from '../postgres';
import { inTurns, ratios } from '../rates';
import { rateText, type Part } from '../report';
import { MILLISECONDS } from '../settings';

const CALLERS = 200;
const ONE = 'one process';
const TWO = 'two processes';

export const twoProcesses: Part = {
  name: 'two-processes',
  title: 'Two processes that use units of one account, beside one',
  run: () =>
    withPostgres(async (url) => {
      const { billing, accounts } = await openBenchLedger(onServer(url), {
        accounts: 1,
        granted: true,
      });
      const workers = [new Child('consuming-process.ts'), new Child('consuming-process.ts')];
      try {
        const tell = (worker: Child, question: WorkerQuestion): Promise<{ rate: number }> =>
          worker.ask(question);
        await Promise.all(workers.map((worker) => tell(worker, { url, accounts })));
        const measured = await inTurns('One account', [ONE, TWO], async (name) => {
          const busy = name === TWO ? workers : workers.slice(0, 1);
          const question = { callers: CALLERS / busy.length, milliseconds: MILLISECONDS };
          const answers = await Promise.all(busy.map((worker) => tell(worker, question)));
          return answers.reduce((sum, answer) => sum + answer.rate, 0);
        });
        await Promise.all(workers.map((worker) => worker.end()));
        return {
          head: ['processes', 'callers of each', 'consume()/s in sum'],
          rows: [
            ['1', String(CALLERS), rateText(measured.get(ONE)!)],
            ['2', String(CALLERS / 2), rateText(measured.get(TWO)!)],
          ],
          figures: [
            ...[ONE, TWO].map((name) => ({
              what: `consume() in sum, ${name}, one account`,
              unit: '/s' as const,
              samples: measured.get(name)!,
            })),
            {
              what: 'two processes in sum to one, one account',
              unit: 'times',
              samples: ratios(measured, TWO, ONE),
              aim: { atLeast: 0.5 },
            },
          ],
          remarks: ['Callers are processes of their own in both cases; this one only waits.'],
          ok: await isSound(billing),
        };
      } finally {
        await Promise.all(workers.map((worker) => worker.end()));
        await billing.close();
      }
    }),
};
