import Table from 'cli-table3';

import { describe, median, type Comparison } from './rates';

/** What we want a figure to be. */
export interface Aim {
  atLeast?: number;
  below?: number;
  /** Below this it is not only short of the aim, but a defect. */
  defectBelow?: number;
}

/** One measured thing. */
export interface Figure {
  what: string;
  unit: '/s' | 'times' | 'MB' | 's' | 'ms';
  /** One for each repeat. */
  samples: readonly number[];
  /** Which of the samples counts: the median (default), or the worst where a limit must hold. */
  counts?: 'median' | 'highest';
  aim?: Aim;
}

/** What a part found out. */
export interface PartReport {
  head: string[];
  rows: string[][];
  figures: Figure[];
  /** What is not in the figures: what contenders lack, how it was measured. */
  remarks: string[];
  /** Whether verify() found nothing wrong with what was written. */
  ok: boolean;
}

/** A part that cannot run here, and why. */
export interface Skipped {
  skipped: string;
}

export interface Part {
  /** For BENCH_ONLY. */
  name: string;
  title: string;
  run(): Promise<PartReport | Skipped>;
}

export function valueOf({ samples, counts }: Figure): number {
  return counts === 'highest' ? Math.max(...samples) : median(samples);
}

export type Verdict = 'met' | 'missed' | 'missed, a defect';

/** Null: it has no aim. */
export function verdictOf(figure: Figure): Verdict | null {
  const { aim } = figure;
  if (aim === undefined) return null;
  const value = valueOf(figure);
  if (value >= (aim.atLeast ?? -Infinity) && value < (aim.below ?? Infinity)) return 'met';
  return value < (aim.defectBelow ?? -Infinity) ? 'missed, a defect' : 'missed';
}

function aimText({ atLeast, below, defectBelow }: Aim): string {
  const wanted = atLeast === undefined ? `below ${below}` : `at least ${atLeast}`;
  return defectBelow === undefined ? wanted : `${wanted}, never below ${defectBelow}`;
}

/** As many digits as mean something. */
export const shown = (value: number, unit: Figure['unit']): string =>
  unit === 'times' ? value.toFixed(2) : count(value, Math.abs(value) < 10 ? 1 : 0);

export const count = (value: number, digits = 0): string =>
  value.toLocaleString('en', { maximumFractionDigits: digits });

/** What each contender did, with all repeats, for bench.json. */
export const rateFigures = (comparison: Comparison): Figure[] =>
  [...comparison.rates].map(([name, samples]) => ({
    what: `${name}, ${describe(comparison)}`,
    unit: '/s',
    samples,
  }));

/** A median of rates, for a table. */
export const rateText = (samples: readonly number[]): string => count(median(samples));

/** A line a figure: value, spread over the repeats, aim, verdict. */
export function figureLine(figure: Figure): string {
  const { what, unit, samples, aim } = figure;
  const value = unit === '/s' ? '/s' : ` ${unit}`;
  const spread =
    samples.length === 1
      ? ''
      : ` (${shown(Math.min(...samples), unit)} to ${shown(Math.max(...samples), unit)})`;
  const verdict = aim === undefined ? 'no aim' : `aim: ${aimText(aim)}: ${verdictOf(figure)}`;
  return `${what}: ${shown(valueOf(figure), unit)}${value}${spread}; ${verdict}`;
}

export function printReport({ head, rows, figures, remarks, ok }: PartReport): void {
  const table = new Table({ head, style: { head: [], border: [] } });
  table.push(...rows);
  console.log(table.toString());
  // The others are in the table, and with their repeats in bench.json.
  for (const figure of figures)
    if (figure.aim !== undefined) console.log(`- ${figureLine(figure)}`);
  for (const remark of remarks) console.log(`  ${remark}`);
  console.log(`  verify: ${ok ? 'ok' : 'PROBLEMS'}`);
}

/** For bench.json. */
export const figureJson = (figure: Figure): object => ({
  ...figure,
  value: valueOf(figure),
  verdict: verdictOf(figure),
});
