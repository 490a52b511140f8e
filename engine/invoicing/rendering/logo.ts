import type { Logo } from './paper';
import { isDrawable } from './pdf';
import { isJpeg, requireJpeg } from './pictures/jpeg';
import { isPng, requirePng } from './pictures/png';
import { refuse, refuseDamaged } from './pictures/refused';
import { mayBeSvg, requireSvg } from './pictures/svg';

/**
 * Logos are strangers' files. Each is looked at without being drawn, when it is saved and whenever a
 * paper is set: its size, its pixels, what stands in it. What is drawn, in a thread of its own
 * (`printing.ts`), is what is left of it then.
 */

const MOST_BYTES = 500_000;
const MOST_TEXT = 700_000;

/**
 * A picture with nothing in it but what draws.
 *
 * @throws invalid_input
 */
export async function requirePicture(content: Buffer): Promise<Logo> {
  requireSize(content.length);
  if (isPng(content)) return { mimeType: 'image/png', content: await requirePng(content) };
  if (isJpeg(content)) {
    requireJpeg(content);
    return { mimeType: 'image/jpeg', content };
  }
  if (!mayBeSvg(content)) {
    refuse('must be a PNG, a JPEG or an SVG', 'Other forms of pictures cannot be printed.');
  }
  const drawing = requireSvg(content);
  requireSize(drawing.length);
  return { mimeType: 'image/svg+xml', content: drawing };
}

function requireSize(bytes: number, most = MOST_BYTES): void {
  if (bytes <= most) return;
  refuse(`must not be larger than ${MOST_BYTES} bytes`, 'Use a smaller picture.');
}

/**
 * Looks at a logo before it is kept, and draws it.
 *
 * @throws invalid_input
 */
export async function requireLogo(given: string): Promise<Logo> {
  requireSize(given.length, MOST_TEXT);
  const text = given.replace(/^data:[^,]{0,100};base64,/, '').replace(/\s/g, '');
  if (text === '' || text.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) {
    refuse('must be a picture in base64', 'Encode the bytes of a PNG, JPEG or SVG file.');
  }
  const logo = await requirePicture(Buffer.from(text, 'base64'));
  if (!(await isDrawable(logo))) refuseDamaged();
  return logo;
}
