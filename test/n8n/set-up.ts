/** Before all tests in a real n8n: n8n itself, and this package as it would be published. */
import { ensureHost } from './install';
import { packPackage, type Packed } from './package';

const VARIABLE = 'BILLING_TEST_PACKAGE';

declare global {
  // Jest's own way to hand something from set-up to tear-down.
  var billingTestPackage: Packed | undefined;
}

export default async function setUp(): Promise<void> {
  await ensureHost();
  globalThis.billingTestPackage = await packPackage();
  process.env[VARIABLE] = globalThis.billingTestPackage.tarball;
}

/** The tarball that the set-up made. */
export function packedPackage(): string {
  const tarball = process.env[VARIABLE];
  if (!tarball) throw new Error('run these tests with npm run test:n8n, which packs the package');
  return tarball;
}
