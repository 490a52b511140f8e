import { openBilling, type Billing, type Connection } from '../engine';
import type { Contender } from './rates';

export const PRODUCT = 'UNITS';
/** More than a run can use up. */
export const UNITS = 1_000_000_000;
/** The units were paid for, so that every use carries the value it earned. */
export const PAID = { amount: '47000000.00', currency: 'USD' };

export interface BenchLedger {
  billing: Billing;
  /** Ids of accounts. */
  accounts: string[];
}

/** How many accounts are made at a time. */
const AT_A_TIME = 20;

/** The name by which other systems would know an account. */
export const externalId = (account: number): string => `account-${account}`;

/** Connections enough for all that the engine wants to do at once. */
export const onServer = (url: string): Connection => ({ connectionString: url, poolSize: 20 });

/** Opens a ledger with so many accounts, with or without units. */
export async function openBenchLedger(
  connection: Connection,
  { accounts: wanted, granted, schema }: { accounts: number; granted: boolean; schema?: string },
): Promise<BenchLedger> {
  const billing = await openBilling({ connection, schema });
  try {
    await billing.catalog.saveProduct({ key: PRODUCT, name: 'Units' });
    const accounts: string[] = [];
    let next = 0;
    const make = async (): Promise<void> => {
      while (next < wanted) {
        const number = next;
        next += 1;
        const { accountId } = await billing.accounts.identify({ externalId: externalId(number) });
        if (granted) {
          const grant = { account: accountId, product: PRODUCT, quantity: UNITS, paid: PAID };
          await billing.ledger.grant(grant);
        }
        accounts[number] = accountId;
      }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, make));
    return { billing, accounts };
  } catch (error) {
    await billing.close();
    throw error;
  }
}

/** One use after the other, each with a key of its own. */
export function consumeContender(
  { billing, accounts }: BenchLedger,
  name = 'consume()',
): Contender {
  let key = 0;
  return {
    name,
    lacks: '',
    async call(account) {
      key += 1;
      const answer = await billing.ledger.consume({
        account: accounts[account]!,
        product: PRODUCT,
        idempotencyKey: `${process.pid}-${key}`,
      });
      if (!answer.allowed || answer.replayed) throw new Error('A use was not taken.');
    },
  };
}

export function checkContender({ billing, accounts }: BenchLedger): Contender {
  return {
    name: 'check()',
    lacks: '',
    async call(account) {
      const answer = await billing.ledger.check({ account: accounts[account]!, product: PRODUCT });
      if (!answer.allowed) throw new Error('A check was denied.');
    },
  };
}

/** Whether the books are in order; says what is not. */
export async function isSound(billing: Billing): Promise<boolean> {
  const { ok, problems } = await billing.verify();
  for (const { code, message } of problems.slice(0, 10)) console.error(`${code}: ${message}`);
  return ok;
}
