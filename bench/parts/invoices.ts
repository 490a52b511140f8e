import type { Pool } from 'pg';

import { openBilling } from '../../engine';
import { Child } from '../children';
import { LINES, copiedId, copyAccounts, openTemplate } from '../due-invoices';
import { issueByRow } from '../invoices-by-row';
import type { InvoicingAnswer, InvoicingQuestion } from '../invoicing-process';
import { isSound } from '../ledgers';
import { withPostgres } from '../postgres';
import { progress } from '../progress';
import { median } from '../rates';
import { count, shown, type Part } from '../report';
import { INVOICES, INVOICES_BY_ROW, MANY_INVOICES, REPEATS } from '../settings';

const SETS = 'bench_sets';
const MANY = 'bench_many';
const ROWS = 'bench_rows';

/** The ids of copies by number, as `copyAccounts` makes them. */
async function idsOf(pool: Pool, template: string, from: number, to: number): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>(
    `select ${copiedId('$1::text')}::text as id from generate_series($2::int, $3::int) as n`,
    [template, from, to],
  );
  return rows.map(({ id }) => id);
}

async function issueBySets(url: string, schema: string): Promise<InvoicingAnswer> {
  const child = new Child('invoicing-process.ts');
  try {
    return await child.ask<InvoicingAnswer>({ url, schema } satisfies InvoicingQuestion);
  } finally {
    await child.end();
  }
}

const secondsOf = (answer: InvoicingAnswer): number =>
  answer.createSeconds + answer.dispatchSeconds;
const rateOf = (answer: InvoicingAnswer): number => answer.issued / secondsOf(answer);

async function soundOf(url: string, schema: string): Promise<boolean> {
  const billing = await openBilling({ connection: url, schema });
  try {
    return await isSound(billing);
  } finally {
    await billing.close();
  }
}

export const invoices: Part = {
  name: 'invoices',
  title: `${count(INVOICES)} invoices of ${LINES} lines, by sets and row by row`,
  run: () =>
    withPostgres(async (url, pool) => {
      const bySets: InvoicingAnswer[] = [];
      const byRow: number[] = [];
      await openTemplate(url, pool, SETS);
      const rowTemplate = await openTemplate(url, pool, ROWS);
      for (let repeat = 0; repeat < REPEATS; repeat += 1) {
        progress(`invoices, round ${repeat + 1} of ${REPEATS}`);
        const first = repeat * INVOICES + 1;
        await copyAccounts(pool, SETS, first, first + INVOICES - 1);
        const firstRow = repeat * INVOICES_BY_ROW + 1;
        const lastRow = firstRow + INVOICES_BY_ROW - 1;
        await copyAccounts(pool, ROWS, firstRow, lastRow);
        bySets.push(await issueBySets(url, SETS));
        const payers = await idsOf(pool, rowTemplate, firstRow, lastRow);
        byRow.push(INVOICES_BY_ROW / (await issueByRow(url, ROWS, payers)));
      }
      progress(`${count(MANY_INVOICES)} invoices`);
      await openTemplate(url, pool, MANY);
      await copyAccounts(pool, MANY, 1, MANY_INVOICES);
      const many = await issueBySets(url, MANY);
      const ok = (await soundOf(url, SETS)) && (await soundOf(url, MANY));
      const each = bySets.map((answer) => secondsOf(answer) / answer.issued);
      const figures = {
        toRows: bySets.map((answer, index) => rateOf(answer) / byRow[index]!),
        memory: [...bySets, many].map(({ overIdle }) => overIdle / 1e6),
        growth: [secondsOf(many) / many.issued / median(each)],
      };
      const row = (what: string, answers: readonly InvoicingAnswer[]): string[] => [
        what,
        count(median(answers.map(({ createSeconds, issued }) => issued / createSeconds))),
        count(median(answers.map(({ dispatchSeconds, issued }) => issued / dispatchSeconds))),
        count(median(answers.map(rateOf))),
        shown(Math.max(...answers.map(({ overIdle }) => overIdle / 1e6)), 'MB'),
      ];
      return {
        head: ['', 'drafts/s', 'dispatched/s', 'invoices/s', 'MB over idle'],
        rows: [
          row(`by sets, ${count(INVOICES)}`, bySets),
          row(`by sets, ${count(MANY_INVOICES)}`, [many]),
          ['row by row', '', '', count(median(byRow)), ''],
        ],
        figures: [
          { what: 'invoices by sets', unit: '/s' as const, samples: bySets.map(rateOf) },
          { what: 'invoices row by row', unit: '/s' as const, samples: byRow },
          {
            what: 'by sets to row by row',
            unit: 'times' as const,
            samples: figures.toRows,
            aim: { atLeast: 30 },
          },
          {
            what: 'memory over idle',
            unit: 'MB' as const,
            samples: figures.memory,
            counts: 'highest' as const,
            aim: { below: 300 },
          },
          {
            what: `time of an invoice among ${count(MANY_INVOICES)} to one among ${count(INVOICES)}`,
            unit: 'times' as const,
            samples: figures.growth,
            aim: { below: 1.3 },
          },
          {
            what: 'subscriptions brought up to date',
            unit: '/s' as const,
            samples: [...bySets, many].map((one) => one.advanced / one.advanceSeconds),
          },
        ],
        remarks: [
          `Each invoice has a flat fee in arrears and two lines of use; it is drafted, rated, posted, numbered, and its events are written. Row by row: one account after the other on one connection, through knex, on the same tables and without discounts, taxes, credit, tiers or children; ${count(INVOICES_BY_ROW)} a round.`,
          'Subscriptions are brought up to date before, with runDue(), which also writes the expiries of their units.',
        ],
        ok,
      };
    }),
};
