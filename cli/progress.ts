import type { Writable } from 'node:stream';

/** Shows how far something is: on a terminal one line that changes, elsewhere a line every tenth. */
export function progressOn(err: Writable & { isTTY?: boolean }): {
  show(progress: { checked: number; total: number }): void;
  end(): void;
} {
  let tenths = 0;
  const share = (checked: number, total: number): number => (total === 0 ? 1 : checked / total);
  return {
    show({ checked, total }) {
      const text = `${Math.floor(100 * share(checked, total))}% (${checked} of about ${total} rows)`;
      if (err.isTTY === true) {
        err.write(`\r\u001b[K${text}`);
        return;
      }
      const reached = Math.floor(10 * share(checked, total));
      if (reached <= tenths) return;
      tenths = reached;
      err.write(`${text}\n`);
    },
    end() {
      if (err.isTTY === true) err.write('\r\u001b[K');
    },
  };
}
