import { existsSync, readFileSync, readdirSync } from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';

import { packPackage } from '../test/n8n/package';
import { RealN8n, type WorkflowNode } from '../test/n8n/real-n8n';
import { progress } from './progress';
import type { Skipped } from './report';
import { ONLY } from './settings';

/** Whether starting n8n would find one of the right version (test/n8n/install.ts), not install it. */
function isInstalled(): boolean {
  const base = process.env.XDG_CACHE_HOME || join(os.homedir(), '.cache');
  const cache = join(base, 'n8n-nodes-billing');
  if (!existsSync(cache)) return false;
  const host = join(__dirname, '../test/n8n/host/package.json');
  const { dependencies } = JSON.parse(readFileSync(host, 'utf8')) as {
    dependencies: { n8n: string };
  };
  return readdirSync(cache).some((name) => {
    const receipt = join(cache, name, 'install.json');
    if (!/^n8n-[0-9a-f]+$/.test(name) || !existsSync(receipt)) return false;
    return (JSON.parse(readFileSync(receipt, 'utf8')) as { n8n: string }).n8n === dependencies.n8n;
  });
}

/** Runs a part in a real n8n with the package in it, where one is there or the part is asked for by name. */
export async function withN8n<T>(
  part: string,
  work: (real: RealN8n) => Promise<T>,
): Promise<T | Skipped> {
  if (ONLY?.includes(part) !== true && !isInstalled()) {
    return {
      skipped: `no real n8n is installed here. BENCH_ONLY=${part} installs one (3 GB, some minutes), as does npm run test:n8n.`,
    };
  }
  progress('packing the package for n8n');
  const packed = await packPackage();
  const real = new RealN8n({ packages: [packed.tarball] });
  try {
    progress('starting n8n');
    await real.start();
    return await work(real);
  } finally {
    await real.dispose();
    packed.remove();
  }
}

/** A webhook, which answers when all is done, with nodes one behind the other. */
export function workflowBehindWebhook(
  name: string,
  path: string,
  nodes: WorkflowNode[],
  answer: { responseData?: 'noData' } = {},
) {
  const names = ['Webhook', ...nodes.map((node) => node.name)];
  const to = (node: string) => ({ main: [[{ node, type: 'main', index: 0 }]] });
  return {
    name,
    nodes: [
      {
        name: 'Webhook',
        type: 'n8n-nodes-base.webhook',
        typeVersion: 2,
        position: [0, 0] as [number, number],
        webhookId: path,
        parameters: { httpMethod: 'POST', path, responseMode: 'lastNode', ...answer },
      },
      ...nodes,
    ],
    connections: Object.fromEntries(nodes.map((node, index) => [names[index]!, to(node.name)])),
    settings: { executionOrder: 'v1' },
  };
}
