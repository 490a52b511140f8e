import { PLAIN, refuse } from './refused';

/** How much there is to draw in an SVG, reckoned before it is drawn. Pure. */

export interface SvgElement {
  name: string;
  attributes: Map<string, string>;
  children: Array<SvgElement | string>;
}

/** In characters: four times as many as a file may have. */
const MOST_DRAWN = 2_000_000;
/** Also by way of what refers to what. */
const MOST_DEEP = 50;

/** An element takes as long to draw as so many characters of a path; a character of text, too. */
const ELEMENT = 100;

/** Inherited: drawn anew with each element inside. */
const INHERITED = ['fill', 'stroke'];
const OWN = ['clip-path', 'mask'];

const isColour = (value: string): boolean => /^#([0-9a-f]{3}|[0-9a-f]{6})$/i.test(value);

/** Of `#a`, `url(#a)`, `url("#a") red` the `a`. */
function referredTo(value: string): string {
  const from = value.indexOf('#');
  const to = from <= 0 ? -1 : value.indexOf(')', from);
  return from === -1 ? '' : value.slice(from + 1, to === -1 ? undefined : to).replace(/["']$/, '');
}

interface Weight {
  drawn: number;
  /** And characters of text: what is painted one by one. */
  elements: number;
  deep: number;
}

const NOTHING: Weight = { drawn: 0, elements: 0, deep: 0 };

const weightOfText = ({ length }: string): Weight => ({
  drawn: length * ELEMENT,
  elements: length,
  deep: 0,
});

const sumOf = (weights: readonly Weight[]): Weight =>
  weights.reduce(
    (sum, { drawn, elements, deep }) => ({
      drawn: sum.drawn + drawn,
      elements: sum.elements + elements,
      deep: Math.max(sum.deep, deep),
    }),
    NOTHING,
  );

class Scales {
  private readonly byId = new Map<string, SvgElement>();
  private readonly weighed = new Map<SvgElement, Weight>();
  /** What is being weighed, each for the one before it. */
  private readonly open = new Set<SvgElement>();

  constructor(root: SvgElement) {
    this.find(root);
  }

  private find(element: SvgElement): void {
    const id = element.attributes.get('id');
    if (id !== undefined && !this.byId.has(id)) this.byId.set(id, element);
    for (const child of element.children) if (typeof child !== 'string') this.find(child);
  }

  /** With all that it refers to, each time anew. */
  weigh(element: SvgElement): Weight {
    const known = this.weighed.get(element);
    if (known !== undefined) return known;
    if (this.open.has(element)) refuse('refers to itself', PLAIN);
    this.open.add(element);
    requireBounds({ ...NOTHING, deep: this.open.size });
    const weight = this.weightOf(element);
    requireBounds(weight);
    this.open.delete(element);
    this.weighed.set(element, weight);
    return weight;
  }

  private weightOf({ attributes, children }: SvgElement): Weight {
    const inside = sumOf([
      this.target(referredTo(attributes.get('href') ?? '')),
      ...children.map((child) =>
        typeof child === 'string' ? weightOfText(child) : this.weigh(child),
      ),
    ]);
    const paintsOf = (names: readonly string[]): Weight =>
      sumOf(names.map((name) => this.paint(attributes.get(name) ?? '')));
    const [own, inherited] = [paintsOf(OWN), paintsOf(INHERITED)];
    const length = [...attributes.values()].reduce((sum, value) => sum + value.length, ELEMENT);
    const elements = 1 + inside.elements;
    return {
      drawn: length + inside.drawn + own.drawn + elements * inherited.drawn,
      elements: elements + own.elements + elements * inherited.elements,
      deep: 1 + Math.max(inside.deep, own.deep, inherited.deep),
    };
  }

  private paint(value: string): Weight {
    return this.target(isColour(value) ? '' : referredTo(value));
  }

  private target(id: string): Weight {
    const element = this.byId.get(id);
    return element === undefined ? NOTHING : this.weigh(element);
  }
}

function requireBounds({ drawn, deep }: Weight): void {
  if (drawn > MOST_DRAWN || deep > MOST_DEEP) refuse('draws too much by repeating itself', PLAIN);
}

/**
 * Refuses a drawing that grows when it is drawn: what is used again counts each time.
 *
 * @throws invalid_input
 */
export function requireWithinBounds(root: SvgElement): void {
  new Scales(root).weigh(root);
}
