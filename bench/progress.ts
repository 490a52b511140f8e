/** Where a run is, on stderr: a line that is written over, or one now and then where none can be. */

const EVERY_MS = 10_000;
let lastSaid = 0;

export function progress(text: string): void {
  if (process.stderr.isTTY) {
    process.stderr.write(`\r${text}\u001b[K`);
    return;
  }
  if (performance.now() - lastSaid < EVERY_MS) return;
  lastSaid = performance.now();
  process.stderr.write(`  ... ${text}\n`);
}

/** Before something else is printed. */
export function endProgress(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K');
}
