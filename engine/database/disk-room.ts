import fs from 'node:fs';

import { BillingError } from '../kernel';

/**
 * Where there is no room for its log, the embedded database does not fail but stands still, and the
 * process with it. So nothing is begun that may write while less is left than several files of the log.
 */
const LEAST_MEGABYTES = 64;
const MEGABYTE = 1_048_576;

/** Megabytes that this process may still fill; where a disk does not say, all is taken for room. */
function roomOf(folder: string): number {
  try {
    const { blocks, bavail, bsize } = fs.statfsSync(folder);
    return blocks === 0 ? Infinity : (bavail * bsize) / MEGABYTE;
  } catch {
    return Infinity;
  }
}

/** @throws database_unavailable while the disk of the folder is full, or nearly so */
export function requireRoom(folder: string): void {
  const room = roomOf(folder);
  if (room >= LEAST_MEGABYTES) return;
  throw new BillingError(
    'database_unavailable',
    `The disk of ${folder} is full: ${Math.floor(room)} MB are left, and the embedded database writes only while ${LEAST_MEGABYTES} are.`,
    {
      parameter: 'connection.embedded',
      advice: 'Make room on it; then all goes on by itself. What is only read can be read.',
    },
  );
}
