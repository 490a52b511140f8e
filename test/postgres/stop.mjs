/** After all tests: the server that `start` started, if it did. */
export default async function stop() {
  await globalThis.billingTestPostgres?.destroy();
}
