import { join } from 'node:path';

/** What a run is told by its environment. */

function whole(name: string, fallback: number): number {
  const text = process.env[name];
  if (text === undefined || text === '') return fallback;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new Error(`${name} must be a whole number above 0, not "${text}".`);
  }
  return value;
}

/** How often each contender has its turn; figures are medians of these. */
export const REPEATS = whole('BENCH_REPEATS', 5);
/** How long a turn takes. */
export const MILLISECONDS = whole('BENCH_MILLISECONDS', 2_000);
/** Ledger lines in the grown schema; verify is measured on at most a million of them. */
export const ENTRIES = whole('BENCH_ENTRIES', 10_000_000);
export const VERIFIED_ENTRIES = Math.min(ENTRIES, 1_000_000);

/** Invoices that a run of the billing cycle issues, and a run for many accounts. */
export const INVOICES = whole('BENCH_INVOICES', 10_000);
export const MANY_INVOICES = whole('BENCH_MANY_INVOICES', 5 * INVOICES);
/** Invoices made row by row for comparison. */
export const INVOICES_BY_ROW = Math.min(INVOICES, 300);

/** Accounts of a load that is spread. */
export const ACCOUNTS = whole('BENCH_ACCOUNTS', 1_000);

/** Where bench.json goes. */
export const FOLDER = process.env.BENCH_FOLDER ?? join(__dirname, '../output');

/** The parts that are asked for by name; null: all that can run here. */
export const ONLY = namesIn(process.env.BENCH_ONLY);

function namesIn(text: string | undefined): string[] | null {
  const names = (text ?? '').split(',').map((name) => name.trim());
  const given = names.filter((name) => name !== '');
  return given.length === 0 ? null : given;
}
