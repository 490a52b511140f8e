import { refuse, refuseDamaged, requirePixels } from './refused';

/**
 * Looks at a JPEG without decoding it: that its segments follow each other to the end, that it has not
 * too many pixels, and that it is of a form that can be printed.
 */

const START = Buffer.from([0xff, 0xd8, 0xff]);

export const isJpeg = (content: Buffer): boolean => content.subarray(0, START.length).equals(START);

const [END, SCAN] = [0xd9, 0xda];

/** Baseline, extended and progressive. */
const PRINTABLE_FRAMES = [0xc0, 0xc1, 0xc2];

/** Other frames than these: lossless, differential, arithmetic. C4, C8 and CC are no frames. */
const isFrame = (marker: number): boolean =>
  marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);

/** Each goes over all pixels again. */
const MOST_SCANS = 64;

function requireFrame(marker: number, segment: Buffer): void {
  if (!PRINTABLE_FRAMES.includes(marker) || segment.length < 6) {
    refuse('is a JPEG of a rare form', 'Save it as a baseline JPEG, or as a PNG.');
  }
  const [bits, components] = [segment[0], segment[5]!];
  if (bits !== 8 || ![1, 3, 4].includes(components)) {
    refuse('is a JPEG of a rare form', 'Save it as a baseline JPEG, or as a PNG.');
  }
  requirePixels(segment.readUInt16BE(3), segment.readUInt16BE(1));
}

/** Where the marker behind the data of a scan begins; 00 and D0 to D7 after FF belong to the data. */
function endOfScan(content: Buffer, from: number): number {
  let at = content.indexOf(0xff, from);
  while (at !== -1 && at + 1 < content.length) {
    const next = content[at + 1]!;
    if (next !== 0x00 && (next < 0xd0 || next > 0xd7)) return at;
    at = content.indexOf(0xff, at + 2);
  }
  return refuseDamaged();
}

/** @throws invalid_input */
export function requireJpeg(content: Buffer): void {
  let [at, frames, scans] = [2, 0, 0];
  for (;;) {
    // Any number of FF may stand before a marker.
    while (content[at] === 0xff && content[at + 1] === 0xff) at += 1;
    const marker = content[at + 1];
    if (content[at] !== 0xff || marker === undefined) return refuseDamaged();
    if (marker === END) break;
    if (at + 4 > content.length) return refuseDamaged();
    const end = at + 2 + content.readUInt16BE(at + 2);
    if (end < at + 4 || end > content.length) return refuseDamaged();
    if (isFrame(marker)) {
      requireFrame(marker, content.subarray(at + 4, end));
      frames += 1;
    }
    if (marker === SCAN) scans += 1;
    if (frames > 1 || scans > MOST_SCANS || (scans > 0 && frames === 0)) refuseDamaged();
    at = marker === SCAN ? endOfScan(content, end) : end;
  }
  if (scans === 0) refuseDamaged();
}
