import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';

import type { IExecuteFunctions, WorkflowExecuteMode } from 'n8n-workflow';

import type { Billing, BillingOptions } from '../../engine';
import { Engines, engines as ofNodes } from '../../nodes/shared/engines';
import { withBilling } from '../../nodes/shared/withBilling';

/** Time passes when the test says so: what waits to be done later is done by `pass`. */
class Idling {
  private readonly waiting = new Set<() => void>();

  readonly later = (work: () => void) => {
    this.waiting.add(work);
    return () => this.waiting.delete(work);
  };

  get length(): number {
    return this.waiting.size;
  }

  pass(): void {
    for (const work of [...this.waiting]) {
      this.waiting.delete(work);
      work();
    }
  }
}

let folder: string;
let idling: Idling;
let engines: Engines;

const options = (): BillingOptions => ({ connection: { embedded: path.join(folder, 'db') } });
const itself = async (billing: Billing) => billing;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'billing-engines-'));
  idling = new Idling();
  engines = new Engines(idling.later);
});

afterEach(async () => {
  await engines.close();
  fs.rmSync(folder, { recursive: true, force: true });
});

describe('engines', () => {
  it('keeps one engine for equal settings, also when many ask at once', async () => {
    const all = await Promise.all([1, 2, 3].map(() => engines.use(options(), itself)));
    expect(new Set(all).size).toBe(1);
    expect(await engines.use(options(), itself)).toBe(all[0]);
    expect(engines.size).toBe(1);
    const memory = { connection: { embedded: 'memory' } };
    expect(await engines.use(memory, itself)).not.toBe(all[0]);
    expect(engines.size).toBe(2);
  });

  it('closes an engine that idled, and opens its folder again with all that was in it', async () => {
    const first = await engines.use(options(), async (billing) => {
      await billing.catalog.saveProduct({ key: 'kept', name: 'Kept' });
      return billing;
    });
    idling.pass();
    expect(engines.size).toBe(0);
    // At once: it has to wait until the folder is free.
    const second = await engines.use(options(), itself);
    expect(second).not.toBe(first);
    expect(await second.catalog.getProduct({ key: 'kept' })).toMatchObject({ name: 'Kept' });
    expect(await second.verify()).toMatchObject({ ok: true });
  });

  it('never closes while a call is under way', async () => {
    let finish = (): void => undefined;
    let began = (): void => undefined;
    const finished = new Promise<void>((resolve) => (finish = resolve));
    const beginning = new Promise<void>((resolve) => (began = resolve));
    const long = engines.use(options(), async (billing) => {
      began();
      await finished;
      return billing.catalog.listProducts();
    });
    await beginning;
    await engines.use(options(), itself);
    expect(idling.length).toBe(0);
    idling.pass();
    expect(engines.size).toBe(1);
    finish();
    expect(await long).toEqual([]);
    expect(idling.length).toBe(1);
  });

  it('goes on waiting from the last call', async () => {
    await engines.use(options(), itself);
    expect(idling.length).toBe(1);
    await engines.use(options(), async () => expect(idling.length).toBe(0));
    expect(idling.length).toBe(1);
  });

  it('does not keep what did not open, and counts failed work as ended', async () => {
    const file = path.join(folder, 'db');
    fs.writeFileSync(file, 'in the way');
    await expect(engines.use(options(), itself)).rejects.toMatchObject({
      code: 'database_unavailable',
    });
    expect(engines.size).toBe(0);
    fs.rmSync(file);
    await expect(engines.use(options(), () => Promise.reject(new Error('work')))).rejects.toThrow(
      'work',
    );
    expect(engines.size).toBe(1);
    expect(idling.length).toBe(1);
  });

  it('leaves an embedded one open that a published workflow has used, also by hand afterwards', async () => {
    const first = await engines.use(options(), itself, true);
    await engines.use(options(), itself);
    expect(idling.length).toBe(0);
    idling.pass();
    expect(await engines.use(options(), itself)).toBe(first);
  });

  it('leaves a database in memory open, since closing would lose it', async () => {
    const memory = { connection: { embedded: 'memory' } };
    const first = await engines.use(memory, itself);
    idling.pass();
    expect(await engines.use(memory, itself)).toBe(first);
  });
});

/** In which a node runs, as far as `withBilling` looks. */
const contextIn = (mode: WorkflowExecuteMode) =>
  ({
    getCredentials: () => Promise.resolve({ database: 'embedded', folder: 'memory' }),
    getMode: () => mode,
  }) as unknown as IExecuteFunctions;

it.each<[WorkflowExecuteMode, boolean]>([
  ['trigger', true],
  ['webhook', true],
  ['manual', false],
  ['cli', false],
])('a run by %s is of a published workflow: %s', async (mode, isPublished) => {
  const use = jest.spyOn(ofNodes, 'use');
  try {
    await withBilling(contextIn(mode), itself);
    expect(use.mock.calls.map(([, , published]) => published)).toEqual([isPublished]);
  } finally {
    use.mockRestore();
  }
});

afterAll(() => ofNodes.close());
