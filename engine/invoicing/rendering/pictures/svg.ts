import { createRequire } from 'node:module';

import { isBillingError } from '../../../kernel';
import { PLAIN, refuse, refuseDamaged } from './refused';
import { requireWithinBounds, type SvgElement } from './svg-bounds';

/**
 * An SVG is read once, from its beginning to its end, by `sax`, and written anew with what is listed
 * here. So nothing but elements that draw ever reaches a page, a PDF or the next reader: no comments, no
 * declarations, no names of other programs, no text outside of text.
 */

/** What of `sax` is used; pdfmake reads SVGs by it, too. */
interface Reader {
  onopentagstart: (tag: { name: string }) => void;
  onattribute: (attribute: { name: string; value: string }) => void;
  onclosetag: () => void;
  ontext: (text: string) => void;
  oncdata: (text: string) => void;
  ondoctype: () => void;
  onprocessinginstruction: (instruction: { name: string }) => void;
  onerror: (error: Error) => void;
  write(text: string): { close(): void };
}

const requireHere = createRequire(__filename);

const words = (list: string): ReadonlySet<string> => new Set(list.trim().split(/\s+/));

/** What draws. */
const ELEMENTS = words(`
  svg g defs symbol use path rect circle ellipse line polyline polygon text tspan textPath
  linearGradient radialGradient stop clipPath mask pattern`);

/** What draws nothing on paper: left away, with all that is in it. */
const LEFT_AWAY = words('title desc metadata filter');

/** What text may stand in. */
const TEXTS = words('text tspan textPath');

const PRESENTATION = words(`
  alignment-baseline baseline-shift clip-path clip-rule color direction display dominant-baseline fill
  fill-opacity fill-rule font-family font-size font-stretch font-style font-variant font-weight
  letter-spacing mask opacity overflow paint-order stop-color stop-opacity stroke stroke-dasharray
  stroke-dashoffset stroke-linecap stroke-linejoin stroke-miterlimit stroke-opacity stroke-width
  text-anchor text-decoration vector-effect visibility word-spacing writing-mode`);

const ATTRIBUTES = words(`
  id x y x1 y1 x2 y2 cx cy r rx ry fx fy fr dx dy d points width height viewBox preserveAspectRatio
  transform rotate offset pathLength textLength lengthAdjust startOffset gradientUnits
  gradientTransform spreadMethod clipPathUnits maskUnits maskContentUnits patternUnits
  patternContentUnits patternTransform xml:space ${[...PRESENTATION].join(' ')}`);

const FUNCTIONS = words('url rgb rgba hsl hsla matrix translate scale rotate skewX skewY');

const SVG = 'http://www.w3.org/2000/svg';

const MOST_ELEMENTS = 5_000;
const MOST_ATTRIBUTES = 100;
const MOST_DEEP = 50;

/** Of every value but these, which are drawn as they are long. */
const MOST_VALUE = 4_000;
const LONG = words('d points');

const refuseName = (name: string): never =>
  refuse(`must only draw, and has "${name.slice(0, 40)}"`, PLAIN);

/** No XML: neither text nor a value may have it. */
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/;

/** Calls nothing and fetches nothing: known functions alone, addresses only of what stands in the drawing. */
function isPlainValue(name: string, value: string): boolean {
  if (value.length > (LONG.has(name) ? Infinity : MOST_VALUE) || CONTROLS.test(value)) return false;
  if (name === 'id') return true;
  const parts = value.split('(');
  return (
    !value.includes('\\') &&
    parts.slice(1).every((inside, index) => {
      const [called] = /[\w-]{0,12}$/.exec(parts[index]!.slice(-12))!;
      return FUNCTIONS.has(called) && (called !== 'url' || /^["']?#/.test(inside));
    })
  );
}

/** What of a `style` is kept, each as it would be as an attribute. */
function* stylesOf(value: string): Generator<[string, string]> {
  for (const declaration of value.split(';')) {
    const [name = '', ...rest] = declaration.split(':');
    if (PRESENTATION.has(name.trim())) yield [name.trim(), rest.join(':').trim()];
  }
}

/** Keeps, refuses or leaves away an attribute of an element that is kept. */
function addAttribute(element: SvgElement, name: string, value: string): void {
  const keep = (key: string, of: string): void => {
    if (!isPlainValue(key, of)) refuseName(`${name}="${of}`);
    element.attributes.set(key, of);
  };
  if (/^on/i.test(name)) refuseName(name);
  if (name === 'href' || name === 'xlink:href') {
    if (!value.startsWith('#')) refuseName(`${name}="${value}`);
    keep('href', value);
  } else if (name === 'style') {
    for (const [property, of] of stylesOf(value)) keep(property, of);
  } else if (name === 'xmlns') {
    if (value !== SVG) refuseName(`xmlns="${value}`);
    if (element.name === 'svg') element.attributes.set(name, value);
  } else if (ATTRIBUTES.has(name) && !element.attributes.has(name)) keep(name, value);
}

/** The elements that are kept. */
function read(text: string): SvgElement {
  const { parser } = requireHere('sax') as {
    parser(strict: true, options: { strictEntities: true }): Reader;
  };
  const reader = parser(true, { strictEntities: true });
  const seen = { elements: 0, attributes: 0, depth: 0 };
  let root: SvgElement | undefined;
  const open: SvgElement[] = [];
  /** How deep it is in something that is left away. */
  let away = 0;

  const count = (what: keyof typeof seen, most: number): void => {
    seen[what] += 1;
    if (seen[what] > most) refuse(`has too much in it (${what}: more than ${most})`, PLAIN);
  };
  const addText = (value: string): void => {
    const element = open.at(-1);
    if (away > 0 || element === undefined || !TEXTS.has(element.name)) return;
    if (CONTROLS.test(value)) refuseDamaged();
    element.children.push(value);
  };

  reader.onopentagstart = ({ name }) => {
    seen.attributes = 0;
    count('elements', MOST_ELEMENTS);
    count('depth', MOST_DEEP);
    if (root === undefined && name !== 'svg') refuseDamaged();
    if (away > 0 || LEFT_AWAY.has(name) || name.includes(':')) away += 1;
    else if (!ELEMENTS.has(name)) refuseName(`<${name}`);
    else {
      const element: SvgElement = { name, attributes: new Map(), children: [] };
      open.at(-1)?.children.push(element);
      root ??= element;
      open.push(element);
    }
  };
  reader.onattribute = ({ name, value }) => {
    count('attributes', MOST_ATTRIBUTES);
    if (away === 0) addAttribute(open.at(-1)!, name, value);
  };
  reader.onclosetag = () => {
    seen.depth -= 1;
    if (away > 0) away -= 1;
    else open.pop();
  };
  reader.ontext = addText;
  reader.oncdata = addText;
  reader.ondoctype = () => refuseName('<!DOCTYPE');
  reader.onprocessinginstruction = ({ name }) => {
    if (name !== 'xml') refuseName(`<?${name}`);
  };
  reader.onerror = refuseDamaged;
  try {
    reader.write(text).close();
  } catch (error) {
    // What its reader trips over is refused as what it cannot read.
    if (isBillingError(error)) throw error;
    refuseDamaged();
  }
  return root ?? refuseDamaged();
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
};
const escaped = (text: string): string => text.replace(/[&<>"]/g, (one) => ESCAPES[one]!);

function written(part: SvgElement | string): string {
  if (typeof part === 'string') return escaped(part);
  const { name, attributes, children } = part;
  const tag = [name, ...[...attributes].map(([key, value]) => `${key}="${escaped(value)}"`)];
  if (children.length === 0) return `<${tag.join(' ')}/>`;
  return `<${tag.join(' ')}>${children.map(written).join('')}</${name}>`;
}

/** Whether it begins as one. What it is, its reader finds out. */
export const mayBeSvg = (content: Buffer): boolean => textOf(content).startsWith('<');

/** `trimStart` takes the mark of byte order, too. */
const textOf = (content: Buffer): string => content.toString('utf8').trimStart();

/**
 * The SVG with nothing in it but what draws.
 *
 * @throws invalid_input
 */
export function requireSvg(content: Buffer): Buffer {
  const root = read(textOf(content));
  if (!root.attributes.has('xmlns')) root.attributes.set('xmlns', SVG);
  requireWithinBounds(root);
  return Buffer.from(written(root));
}
