import { Child } from '../children';
import { fillLedger } from '../fill';
import { onServer, openBenchLedger } from '../ledgers';
import { withPostgres } from '../postgres';
import { inTurns, median } from '../rates';
import { count, shown, type Figure, type Part } from '../report';
import { ACCOUNTS, VERIFIED_ENTRIES } from '../settings';
import type { VerifyAnswer, VerifyQuestion } from '../verifying-process';

const SHAPES = new Map([
  ['bench_spread', { what: `${count(ACCOUNTS)} accounts`, accounts: ACCOUNTS }],
  ['bench_one', { what: 'one account', accounts: 1 }],
]);
const MILLION = 1_000_000;
const MEGABYTE = 1_000_000;

export const verify: Part = {
  name: 'verify',
  title: `verify() of ${count(VERIFIED_ENTRIES)} entries`,
  run: () =>
    withPostgres(async (url, pool) => {
      for (const [schema, { accounts: number }] of SHAPES) {
        const { billing, accounts } = await openBenchLedger(onServer(url), {
          accounts: number,
          granted: false,
          schema,
        });
        await billing.close();
        await fillLedger(pool, { schema, accounts, entries: VERIFIED_ENTRIES });
      }
      const answers = new Map<string, VerifyAnswer[]>([...SHAPES.keys()].map((key) => [key, []]));
      let ok = true;
      const seconds = await inTurns('verify', [...SHAPES.keys()], async (schema, warmUp) => {
        // The first look at rows that nobody has read writes hint bits; later ones are all alike.
        const answer = await verifyInChild({ url, schema });
        ok &&= answer.ok;
        if (!warmUp) answers.get(schema)!.push(answer);
        return answer.seconds;
      });
      const memory = (schema: string): number[] =>
        answers.get(schema)!.map(({ overIdle }) => overIdle / MEGABYTE);
      const perMillion = (schema: string): number[] =>
        seconds.get(schema)!.map((value) => (value * MILLION) / VERIFIED_ENTRIES);
      return {
        head: ['entries', 'of', 'seconds', 'seconds a million', 'MB over idle', 'MB in all'],
        rows: [...SHAPES].map(([schema, { what }]) => [
          count(VERIFIED_ENTRIES),
          what,
          shown(median(seconds.get(schema)!), 's'),
          shown(median(perMillion(schema)), 's'),
          shown(Math.max(...memory(schema)), 'MB'),
          shown(Math.max(...answers.get(schema)!.map(({ peak }) => peak / MEGABYTE)), 'MB'),
        ]),
        figures: [...SHAPES].flatMap(([schema, { what }]): Figure[] => [
          {
            what: `memory over idle, ${what}`,
            unit: 'MB',
            samples: memory(schema),
            counts: 'highest',
            aim: { below: 300 },
          },
          { what: `time for a million, ${what}`, unit: 's', samples: perMillion(schema) },
        ]),
        remarks: [
          'Each in a process of its own, the highest of all repeats. Over idle: above the engine open and nothing to do, as resident memory or as heap in use with its garbage, whichever rose more.',
          'Answers are verified, too: one to each use.',
        ],
        ok,
      };
    }),
};

async function verifyInChild(question: VerifyQuestion): Promise<VerifyAnswer> {
  const child = new Child('verifying-process.ts');
  try {
    return await child.ask<VerifyAnswer>(question);
  } finally {
    await child.end();
  }
}
