import { BillingError } from '../../kernel';
import type { Logo, LogoType } from './paper';
import { isDrawable } from './pdf';

const MOST_BYTES = 500_000;
const MOST_TEXT = 700_000;

const refuse = (what: string, advice: string): never => {
  throw new BillingError('invalid_input', `"logo" ${what}.`, { parameter: 'logo', advice });
};

const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const JPEG = Buffer.from([0xff, 0xd8, 0xff]);

function typeOf(content: Buffer): LogoType | null {
  if (content.subarray(0, PNG.length).equals(PNG)) return 'image/png';
  if (content.subarray(0, JPEG.length).equals(JPEG)) return 'image/jpeg';
  return /^\uFEFF?\s*(<\?xml[^>]*>\s*)?(<!--[\s\S]*?-->\s*)*<svg[\s>]/.test(
    content.toString('utf8'),
  )
    ? 'image/svg+xml'
    : null;
}

/** What makes a drawing more than a drawing: scripts, and anything that is fetched from elsewhere. */
const isPlainDrawing = (svg: string): boolean =>
  !/<!(DOCTYPE|ENTITY)|<\s*(script|foreignObject|iframe|style)[\s>/]|\son\w+\s*=|@import/i.test(
    svg,
  ) &&
  [...svg.matchAll(/href\s*=\s*["']?([^"'\s>]*)/gi)].every(([, to]) => /^#/.test(to!)) &&
  [...svg.matchAll(/url\s*\(\s*["']?([^"')]*)/gi)].every(([, to]) => /^#/.test(to!));

/**
 * Looks at a logo before it is kept: its form, its size, that it only draws, and that it can be drawn.
 *
 * @throws invalid_input
 */
export async function requireLogo(given: string): Promise<Logo> {
  if (given.length > MOST_TEXT) {
    refuse(`must not be larger than ${MOST_BYTES} bytes`, 'Use a smaller picture.');
  }
  const text = given.replace(/^data:[^,]{0,100};base64,/, '').replace(/\s/g, '');
  if (text === '' || text.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) {
    refuse('must be a picture in base64', 'Encode the bytes of a PNG, JPEG or SVG file.');
  }
  const content = Buffer.from(text, 'base64');
  if (content.length > MOST_BYTES) {
    refuse(`must not be larger than ${MOST_BYTES} bytes`, 'Use a smaller picture.');
  }
  const mimeType = typeOf(content);
  if (mimeType === null) {
    return refuse('must be a PNG, a JPEG or an SVG', 'Other forms of pictures cannot be printed.');
  }
  if (mimeType === 'image/svg+xml' && !isPlainDrawing(content.toString('utf8'))) {
    refuse(
      'must only draw: no scripts, no styles of its own, nothing from elsewhere',
      'Export it as a plain SVG, or as a PNG.',
    );
  }
  const logo = { mimeType, content };
  if (!(await isDrawable(logo))) {
    refuse('cannot be drawn: the picture is damaged', 'Save it anew, best as a PNG.');
  }
  return logo;
}
