import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { Writable } from 'node:stream';

import { run } from '../../cli/program';
import { namedGateways, openBilling } from '../../engine';
import { Engines } from '../../nodes/shared/engines';
import { newSchema, onServer, serverUrl } from '../engine/each-database';

/** Packages of gateways that the operator of a process names. */

let folder: string;

const file = (name: string, text: string): string => {
  const place = path.join(folder, name);
  fs.writeFileSync(place, text);
  return place;
};

/** Charges all, if it has its key. */
const CHARGES = `(name) => (environment) => {
  if (!environment.PIX_KEY) throw new Error('PIX_KEY is missing');
  const outcome = (key) => ({ status: 'succeeded', reference: 'pix_' + key });
  return {
    name, charges: true, refunds: false,
    attachMethod: async ({ token }) => ({ reference: token, kind: 'pix' }),
    charge: async ({ idempotencyKey }) => outcome(idempotencyKey),
  };
}`;

beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'billing-gateways-'));
  file('pix.cjs', `Object.assign(exports, { openGateway: (${CHARGES})('pix') });`);
  file('iban.mjs', `export const openGateway = (${CHARGES})('iban');`);
  file('none.cjs', `exports.gateway = {};`);
  file('broken.cjs', `require('a-package-that-is-nowhere');`);
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const naming = (...names: string[]) => ({
  BILLING_GATEWAYS: names.map((name) => path.join(folder, name)).join(' , '),
  PIX_KEY: 'secret',
});

describe('gateways that the environment names', () => {
  it('are none where it names none', async () => {
    expect(await namedGateways({})).toEqual([]);
    expect(await namedGateways({ BILLING_GATEWAYS: ' , ' })).toEqual([]);
  });

  it('are opened with the environment, in either form of a module', async () => {
    const gateways = await namedGateways(naming('pix.cjs', 'iban.mjs'));
    expect(gateways.map(({ name }) => name)).toEqual(['pix', 'iban']);
    const billing = await openBilling({ connection: { embedded: 'memory' }, gateways });
    expect((await billing.payments.gateways()).map(({ name }) => name)).toEqual(
      expect.arrayContaining(['pix', 'iban']),
    );
    await billing.close();
  });

  it.each([
    [
      'a package that is not installed',
      { BILLING_GATEWAYS: 'a-package-that-is-nowhere' },
      /nowhere/,
    ],
    ['one that needs what is not installed', () => naming('broken.cjs'), /nowhere/],
    ['one that has no gateway', () => naming('none.cjs'), /has no gateway/],
    [
      'one that lacks its key',
      () => ({ ...naming('pix.cjs'), PIX_KEY: undefined }),
      /does not open: PIX_KEY is missing/,
    ],
  ])('%s is an error that names it', async (_, environment, message) => {
    const given = typeof environment === 'function' ? environment() : environment;
    await expect(namedGateways(given)).rejects.toMatchObject({
      code: 'invalid_input',
      parameter: 'BILLING_GATEWAYS',
      message: expect.stringMatching(message) as string,
    });
  });

  it('are there for the nodes, and a name that is taken opens nothing', async () => {
    const engines = new Engines();
    const names = () =>
      engines.use({ connection: { embedded: 'memory' } }, async (billing) =>
        (await billing.payments.gateways()).map(({ name }) => name),
      );
    file('manual.cjs', `exports.openGateway = (${CHARGES})('manual');`);
    const before = { ...process.env };
    try {
      Object.assign(process.env, naming('manual.cjs'));
      await expect(names()).rejects.toMatchObject({ code: 'invalid_input' });
      Object.assign(process.env, naming('pix.cjs'));
      expect(await names()).toContain('pix');
    } finally {
      process.env = before;
      await engines.close();
    }
  });
});

onServer(() => {
  test('the command line charges through them', async () => {
    const schema = newSchema();
    const gateways = await namedGateways(naming('pix.cjs'));
    const billing = await openBilling({ connection: serverUrl(), schema, gateways });
    const { accountId: account } = await billing.accounts.identify({ externalId: 'ana' });
    await billing.payments.saveMethod({ account, gateway: 'pix', token: 'ana@pix' });
    const items = [{ description: 'Work', unitPrice: '25.00' }];
    const { invoiceId } = await billing.invoicing.createInvoice({
      account,
      currency: 'BRL',
      items,
    });
    await billing.invoicing.finalizeInvoice({ invoiceId });
    const cycle = async (environment: Record<string, string | undefined>) => {
      const written: string[] = [];
      const sink = new Writable({
        write(chunk: Buffer, _, done) {
          written.push(chunk.toString());
          done();
        },
      });
      const around = { BILLING_DATABASE_URL: serverUrl(), ...environment };
      const code = await run(['run-cycle', '--schema', schema], {
        ...{ out: sink, err: sink, environment: around },
      });
      return [code, written.join('')];
    };
    expect(await cycle({})).toEqual([1, expect.stringContaining('gateway_missing')]);
    const withoutKey = { ...naming('pix.cjs'), PIX_KEY: undefined };
    expect(await cycle(withoutKey)).toEqual([2, expect.stringContaining('PIX_KEY is missing')]);
    expect(await cycle(naming('pix.cjs'))).toEqual([0, expect.stringContaining('1 invoices paid')]);
    expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
    await billing.close();
  });
});
