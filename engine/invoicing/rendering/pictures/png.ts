import { promisify } from 'node:util';
import * as zlib from 'node:zlib';

import { refuse, refuseDamaged, requirePixels } from './refused';

/**
 * Looks at a PNG without decoding it: that every chunk is whole (its checksum), that it has not too many
 * pixels, and that what is packed in it is as long as these need and no longer.
 */

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

export const isPng = (content: Buffer): boolean =>
  content.subarray(0, SIGNATURE.length).equals(SIGNATURE);

interface Chunk {
  type: string;
  data: Buffer;
  /** With length, type and checksum. */
  whole: Buffer;
}

/** Length, type and checksum of a chunk. */
const FRAME = 12;

function* chunksOf(content: Buffer): Generator<Chunk> {
  for (let at = SIGNATURE.length; at < content.length;) {
    if (at + FRAME > content.length) return refuseDamaged();
    const end = at + FRAME + content.readUInt32BE(at);
    if (end > content.length) return refuseDamaged();
    const summed = content.subarray(at + 4, end - 4);
    if (zlib.crc32(summed) !== content.readUInt32BE(end - 4)) refuseDamaged();
    const chunk = {
      type: summed.toString('latin1', 0, 4),
      data: summed.subarray(4),
      whole: content.subarray(at, end),
    };
    yield chunk;
    if (chunk.type === 'IEND') return;
    at = end;
  }
  refuseDamaged();
}

/** Samples a pixel and depths of a sample, by the type of colour. */
const COLOURS: ReadonlyMap<number, { samples: number; depths: readonly number[] }> = new Map([
  [0, { samples: 1, depths: [1, 2, 4, 8, 16] }],
  [2, { samples: 3, depths: [8, 16] }],
  [3, { samples: 1, depths: [1, 2, 4, 8] }],
  [4, { samples: 2, depths: [8, 16] }],
  [6, { samples: 4, depths: [8, 16] }],
]);

interface Header {
  width: number;
  height: number;
  colour: number;
  bitsOfPixel: number;
  isInterlaced: boolean;
}

function headerOf({ type, data }: Chunk): Header {
  if (type !== 'IHDR' || data.length !== 13) return refuseDamaged();
  const [width, height] = [data.readUInt32BE(0), data.readUInt32BE(4)];
  requirePixels(width, height);
  const [depth, colour, packing, filter, interlace] = data.subarray(8) as unknown as number[];
  const kind = COLOURS.get(colour!);
  if (kind === undefined || !kind.depths.includes(depth!)) return refuseDamaged();
  if (packing !== 0 || filter !== 0 || interlace! > 1) refuseDamaged();
  return {
    width,
    height,
    colour: colour!,
    bitsOfPixel: kind.samples * depth!,
    isInterlaced: interlace === 1,
  };
}

/** Where the passes of an interlaced picture begin, and their steps: x, y, dx, dy. */
const PASSES = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

/** How long the rows are that are packed in it, each with the byte of its filter. */
function unpackedBytes({ width, height, bitsOfPixel, isInterlaced }: Header): number {
  const passes = isInterlaced ? PASSES : ([[0, 0, 1, 1]] as const);
  return passes.reduce((sum, [x, y, dx, dy]) => {
    const [columns, rows] = [Math.ceil((width - x) / dx), Math.ceil((height - y) / dy)];
    return columns < 1 || rows < 1
      ? sum
      : sum + rows * (1 + Math.ceil((columns * bitsOfPixel) / 8));
  }, 0);
}

/** What draws. The rest is left away: texts, places, other frames, profiles that are packed again. */
const KEPT = new Set(['IHDR', 'PLTE', 'tRNS', 'gAMA', 'cHRM', 'sRGB', 'IDAT', 'IEND']);
const ONCE = new Set(['IHDR', 'PLTE', 'tRNS']);

const inflate = promisify(zlib.inflate);

/**
 * The PNG with nothing in it but what draws.
 *
 * @throws invalid_input
 */
export async function requirePng(content: Buffer): Promise<Buffer> {
  let header: Header | undefined;
  const kept: Chunk[] = [];
  for (const chunk of chunksOf(content)) {
    // Whoever reads it next may take the last of two.
    if (ONCE.has(chunk.type) && kept.some(({ type }) => type === chunk.type)) refuseDamaged();
    header ??= headerOf(chunk);
    // A palette that others than those of palettes only suggest would be taken for their colours.
    if (chunk.type === 'PLTE' && header.colour !== 3) continue;
    if (KEPT.has(chunk.type)) kept.push(chunk);
    // An unknown chunk whose name begins with a capital changes how all others are read.
    else if (/^[A-Z]/.test(chunk.type)) refuseDamaged();
  }
  const dataOf = (type: string): Buffer =>
    Buffer.concat(kept.filter((chunk) => chunk.type === type).map(({ data }) => data));
  const palette = dataOf('PLTE').length;
  if (palette % 3 !== 0 || palette > 768 || (palette === 0) === (header!.colour === 3)) {
    refuseDamaged();
  }
  const length = unpackedBytes(header!);
  const rows = await inflate(dataOf('IDAT'), { maxOutputLength: length }).catch(
    (error: NodeJS.ErrnoException) =>
      error.code === 'ERR_BUFFER_TOO_LARGE'
        ? refuse('holds more than its pixels', 'Save it anew.')
        : refuseDamaged(),
  );
  if (rows.length !== length) refuseDamaged();
  return Buffer.concat([SIGNATURE, ...kept.map(({ whole }) => whole)]);
}
