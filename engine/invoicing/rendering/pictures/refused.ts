import { BillingError } from '../../../kernel';

/** Refuses a picture: what is wrong with it, and what to do. */
export function refuse(what: string, advice: string): never {
  throw new BillingError('invalid_input', `"logo" ${what}.`, { parameter: 'logo', advice });
}

export const refuseDamaged = (): never =>
  refuse('cannot be drawn: the picture is damaged', 'Save it anew, best as a PNG.');

/** The advice for drawings. */
export const PLAIN = 'Export it as a plain SVG, or as a PNG.';

/** What is decoded has eight bytes a pixel at most. On paper 160 by 60 points are drawn of it. */
export const MOST_PIXELS = 4_000_000;

/** By what the picture says of itself, before anything of it is decoded. */
export function requirePixels(width: number, height: number): void {
  if (width === 0 || height === 0) refuseDamaged();
  if (width * height > MOST_PIXELS) {
    refuse(
      `has ${width} by ${height} pixels, more than ${MOST_PIXELS} in all`,
      'Scale it down: 640 by 240 pixels are plenty on paper.',
    );
  }
}
