import { openBilling } from '../engine';
import { answerLines } from './children';
import { consumeContender, onServer, type BenchLedger } from './ledgers';
import { rate } from './rates';

/** One worker among several: uses units of some accounts for a while, whenever it is told to. */

export type WorkerQuestion =
  { url: string; accounts: string[] } | { callers: number; milliseconds: number };

async function main(): Promise<void> {
  let ledger: BenchLedger | null = null;
  let call: (account: number) => Promise<void> = () => Promise.reject(new Error('Not opened yet.'));
  await answerLines<WorkerQuestion>(async (question) => {
    if ('url' in question) {
      const billing = await openBilling({ connection: onServer(question.url) });
      ledger = { billing, accounts: question.accounts };
      const contender = consumeContender(ledger);
      call = (account) => contender.call(account);
      return {};
    }
    const { callers, milliseconds } = question;
    const load = { callers, accounts: ledger!.accounts.length };
    return { rate: await rate(call, load, milliseconds) };
  });
  await (ledger as BenchLedger | null)?.billing.close();
}

void main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
