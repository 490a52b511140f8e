import { mkdtemp, rm } from 'node:fs/promises';
import * as os from 'node:os';
import { join } from 'node:path';

import { consumeContender, isSound, openBenchLedger } from '../ledgers';
import { compare } from '../rates';
import { rateFigures, rateText, type Part } from '../report';
import { ACCOUNTS } from '../settings';

const LOADS = [20, 200].flatMap((callers) =>
  [ACCOUNTS, 1].map((accounts) => ({ callers, accounts })),
);

export const embedded: Part = {
  name: 'embedded',
  title: 'consume() on the embedded database, in a folder',
  async run() {
    const folder = await mkdtemp(join(os.tmpdir(), 'billing-bench-'));
    try {
      const connection = { embedded: join(folder, 'billing') };
      const ledger = await openBenchLedger(connection, { accounts: ACCOUNTS, granted: true });
      try {
        const compared = await compare([consumeContender(ledger)], LOADS);
        return {
          head: ['callers', 'accounts', 'consume()/s'],
          rows: compared.map(({ callers, accounts, rates }) => [
            String(callers),
            String(accounts),
            rateText(rates.get('consume()')!),
          ]),
          figures: compared.flatMap(rateFigures),
          remarks: ['Postgres in WebAssembly, in the process of the callers, fsync on.'],
          ok: await isSound(ledger.billing),
        };
      } finally {
        await ledger.billing.close();
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};
