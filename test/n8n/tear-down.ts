/** After all tests in a real n8n. See set-up.ts. */
export default function tearDown(): void {
  globalThis.billingTestPackage?.remove();
}
