import * as zlib from 'node:zlib';

import { TestClock, openBilling, type Billing } from '../../engine';
import { isDrawable } from '../../engine/invoicing/rendering/pdf';
import { requirePicture } from '../../engine/invoicing/rendering/logo';
import type { Logo } from '../../engine/invoicing/rendering/paper';
import {
  requireWithinBounds,
  type SvgElement,
} from '../../engine/invoicing/rendering/pictures/svg-bounds';
import { print } from '../../engine/invoicing/rendering/printing';
import { newSchema } from '../engine/each-database';
import { openMigrated } from '../postgres/migrated';

/**
 * The accident: a logo with one bit turned over threw where nobody could catch it and ended the process;
 * a kilobyte of SVG took four gigabytes, half a megabyte of PNG one, and comments in a row never ended.
 */

/** Work that was done: lengths that were allowed to be unpacked, threads that were begun. */
const mockWork: { unpacked: number[]; threads: object[] } = { unpacked: [], threads: [] };
/** Memory of threads in megabytes, where a test is about having used it up. */
let mockMemory: number | null = null;

jest.mock('node:zlib', () => {
  const actual = jest.requireActual<typeof zlib>('node:zlib');
  const inflate = (data: Buffer, options: zlib.ZlibOptions, done: zlib.CompressCallback) => {
    mockWork.unpacked.push(options.maxOutputLength ?? Infinity);
    actual.inflate(data, options, done);
  };
  return { ...actual, inflate };
});

jest.mock('node:worker_threads', () => {
  const actual = jest.requireActual<typeof import('node:worker_threads')>('node:worker_threads');
  class Worker extends actual.Worker {
    constructor(
      file: string,
      { resourceLimits, ...options }: import('worker_threads').WorkerOptions,
    ) {
      mockWork.threads.push(resourceLimits!);
      const maxOldGenerationSizeMb = mockMemory ?? resourceLimits!.maxOldGenerationSizeMb;
      super(file, { ...options, resourceLimits: { ...resourceLimits, maxOldGenerationSizeMb } });
    }
  }
  return { ...actual, Worker };
});

beforeEach(() => {
  mockWork.unpacked = [];
  mockWork.threads = [];
});

const SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');

function chunk(type: string, data: Buffer | readonly number[]): Buffer {
  const body = Buffer.concat([Buffer.from(type), Buffer.from(data)]);
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE(body.length - 4, 0);
  frame.writeUInt32BE(zlib.crc32(body), 4);
  return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
}

interface Png {
  width?: number;
  height?: number;
  depth?: number;
  colour?: number;
  interlace?: number;
  /** Before they are packed, each row with its filter. */
  rows?: Buffer;
  packed?: Buffer;
  more?: Buffer[];
}

/** By default 4 by 4 pixels of different colours, half of them clear. */
function png({ width = 4, height = 4, depth = 8, colour = 6, interlace = 0, ...of }: Png = {}) {
  const size = Buffer.alloc(8);
  size.writeUInt32BE(width, 0);
  size.writeUInt32BE(height, 4);
  const rows =
    of.rows ?? Buffer.from(Array.from({ length: 68 }, (_, at) => (at % 17 === 0 ? 0 : at * 3)));
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', [...size, depth, colour, 0, 0, interlace]),
    ...(of.more ?? []),
    chunk('IDAT', of.packed ?? zlib.deflateSync(rows)),
    chunk('IEND', []),
  ]);
}

function segment(marker: number, data: readonly number[]): number[] {
  return [0xff, marker, (data.length + 2) >> 8, (data.length + 2) & 255, ...data];
}

/** One grey pixel, unless it is said to be larger. */
function jpeg({ width = 1, height = 1, frame = 0xc0, components = 1, scans = 1 } = {}): Buffer {
  const sizes = [height >> 8, height & 255, width >> 8, width & 255];
  const parts = Array.from({ length: components }, (_, index) => [index + 1, 0x11, 0]);
  const code = (table: number) => [table, 1, ...Array<number>(15).fill(0), 0];
  const scan = [...segment(0xda, [1, 1, 0, 0, 63, 0]), 0x3f];
  return Buffer.from([
    ...[0xff, 0xd8],
    ...segment(0xdb, [0, ...Array<number>(64).fill(1)]),
    ...segment(frame, [8, ...sizes, components, ...parts.flat()]),
    ...segment(0xc4, [...code(0x00), ...code(0x10)]),
    ...Array.from({ length: scans }, () => scan).flat(),
    ...[0xff, 0xd9],
  ]);
}

const XMLNS = 'xmlns="http://www.w3.org/2000/svg"';
const svg = (inside: string, more = ''): Buffer =>
  Buffer.from(`<svg ${XMLNS} width="40" height="20"${more}>${inside}</svg>`);

/** Each level uses the one before ten times. */
const bomb = (levels: number): string =>
  Array.from({ length: levels }, (_, level) => {
    const inside = level === 0 ? '<path d="M0 0h9"/>' : `<use href="#a${level - 1}"/>`.repeat(10);
    return `<g id="a${level}">${inside}</g>`;
  }).join('');

/** What became of it: 'taken', or the code of the refusal with its parameter. */
const outcomeOf = (content: Buffer): Promise<string> =>
  requirePicture(content).then(
    () => 'taken',
    (error: { code?: string; parameter?: string }) => `${error.code} ${error.parameter}`,
  );
const REFUSED = 'invalid_input logo';

/** How many had each outcome. */
async function outcomesOf(all: Iterable<Buffer>): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const content of all) {
    const outcome = await outcomeOf(content);
    counts[outcome] = (counts[outcome] ?? 0) + 1;
  }
  return counts;
}

function* flippedOf(whole: Buffer): Generator<Buffer> {
  for (let bit = 0; bit < whole.length * 8; bit += 1) {
    const flipped = Buffer.from(whole);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    yield flipped;
  }
}

function* truncatedOf(whole: Buffer): Generator<Buffer> {
  for (let length = 0; length < whole.length; length += 1) yield whole.subarray(0, length);
}

const asPng = (content: Buffer): Logo => ({ mimeType: 'image/png', content });
const asSvg = (content: Buffer): Logo => ({ mimeType: 'image/svg+xml', content });

describe('a PNG', () => {
  test.each<[string, Buffer]>([
    ['with alpha', png()],
    [
      'of few colours, some clear',
      png({
        colour: 3,
        depth: 8,
        rows: Buffer.alloc(20),
        more: [chunk('PLTE', [9, 9, 9]), chunk('tRNS', [0])],
      }),
    ],
    ['interlaced', png({ interlace: 1, rows: Buffer.alloc(71) })],
    ['of 16 bits', png({ colour: 0, depth: 16, rows: Buffer.alloc(36) })],
    ['of one bit', png({ colour: 0, depth: 1, rows: Buffer.alloc(8) })],
  ])('%s is taken and drawn', async (_, content) => {
    const logo = await requirePicture(content);
    expect(logo).toEqual(asPng(content));
    expect(await isDrawable(logo)).toBe(true);
  });

  test('is kept without what does not draw', async () => {
    const content = png({
      more: [
        chunk('tEXt', Buffer.from(`a\0${'b'.repeat(200_000)}`)),
        chunk('fcTL', Buffer.alloc(26)),
      ],
    });
    expect((await requirePicture(content)).content).toEqual(png());
  });

  test('with any one bit turned over, or cut anywhere, is refused', async () => {
    const whole = png();
    expect(await outcomesOf(flippedOf(whole))).toEqual({ [REFUSED]: whole.length * 8 });
    expect(await outcomesOf(truncatedOf(whole))).toEqual({ [REFUSED]: whole.length });
    expect(mockWork.threads).toEqual([]);
  });

  test('of too many pixels is refused by its header, before anything is unpacked', async () => {
    for (const [width, height] of [
      [2_001, 2_000],
      [65_536, 65_536],
      [0xffffffff, 0xffffffff],
      [0, 4],
    ] as const) {
      expect(await outcomeOf(png({ width, height }))).toBe(REFUSED);
    }
    expect(mockWork).toEqual({ unpacked: [], threads: [] });
  });

  test('that unpacks to more than its pixels is unpacked as far as these go', async () => {
    expect(await outcomeOf(png({ rows: Buffer.alloc(50_000_000) }))).toBe(REFUSED);
    expect(await outcomeOf(png({ rows: Buffer.alloc(67) }))).toBe(REFUSED);
    expect(mockWork).toEqual({ unpacked: [68, 68], threads: [] });
  });

  test.each<[string, Buffer]>([
    ['what is packed is none', png({ packed: Buffer.from('nothing of the kind') })],
    ['nothing is packed', png({ packed: Buffer.alloc(0) })],
    [
      'it has a palette of its own making',
      png({ colour: 3, rows: Buffer.alloc(20), more: [chunk('PLTE', [1, 2])] }),
    ],
    ['it has no palette', png({ colour: 3, rows: Buffer.alloc(20) })],
    ['its colours are of a kind that there is not', png({ colour: 5 })],
    ['it has samples of three bits', png({ depth: 3 })],
    ['it has a chunk that nobody knows', png({ more: [chunk('ABCD', [])] })],
    [
      'it has two headers, the second one large',
      png({ more: [png({ width: 60_000, height: 60_000 }).subarray(8, 33)] }),
    ],
  ])('is refused when %s, with all checksums right', async (_, content) => {
    expect(await outcomeOf(content)).toBe(REFUSED);
  });
});

describe('a JPEG', () => {
  test('is taken and drawn, grey, in colours and progressive', async () => {
    for (const content of [jpeg(), jpeg({ components: 3 }), jpeg({ frame: 0xc2, scans: 9 })]) {
      const logo = await requirePicture(content);
      expect(logo).toEqual({ mimeType: 'image/jpeg', content });
      expect(await isDrawable(logo)).toBe(true);
    }
  });

  test('with any one bit turned over is taken or refused, and cut anywhere refused', async () => {
    const whole = jpeg();
    const { taken = 0, [REFUSED]: refused = 0 } = await outcomesOf(flippedOf(whole));
    expect(taken + refused).toBe(whole.length * 8);
    expect(await outcomesOf(truncatedOf(whole))).toEqual({ [REFUSED]: whole.length });
  });

  test.each<[string, Buffer]>([
    ['of too many pixels', jpeg({ width: 65_535, height: 65_535 })],
    ['of no pixels', jpeg({ width: 0 })],
    ['of too many scans', jpeg({ frame: 0xc2, scans: 5_000 })],
    ['of arithmetic coding', jpeg({ frame: 0xc9 })],
    ['without loss', jpeg({ frame: 0xc3 })],
    ['of two components', jpeg({ components: 2 })],
    ['that is all markers', Buffer.alloc(400_000, 0xff).fill(0xd8, 1, 2)],
  ])('%s is refused', async (_, content) => {
    expect(await outcomeOf(content)).toBe(REFUSED);
    expect(mockWork.threads).toEqual([]);
  });
});

describe('an SVG', () => {
  const DRAWING =
    '<defs><linearGradient id="a"><stop offset="0" stop-color="rgb(1,2,3)"/></linearGradient></defs>' +
    '<g transform="rotate(9)"><path id="b" d="M0 0h9v9z" fill="url(#a)"/></g>' +
    '<use href="#b" x="9"/><text x="1" y="9">A &amp; B</text>';

  test('is taken as it is when it only draws, and is drawn', async () => {
    const logo = await requirePicture(svg(DRAWING));
    expect(logo).toEqual(asSvg(svg(DRAWING)));
    expect(await isDrawable(logo)).toBe(true);
  });

  test.each<[string, Buffer]>([
    ['comments in a row', svg('<!---->'.repeat(60_000) + DRAWING)],
    ['comments ahead of it', Buffer.concat([Buffer.from('<!---->'.repeat(60_000)), svg(DRAWING)])],
    [
      'what programs left in it',
      svg(
        `<metadata><rdf:RDF about="http://a.b/"/></metadata><title>C</title>${DRAWING}<sodipodi:namedview><g/></sodipodi:namedview>`,
        ' xmlns:sodipodi="http://a.b/" inkscape:version="1 (2)" data-name="x (1)" class="c"',
      ),
    ],
    [
      'another name for what is run',
      svg(`<h:script xmlns:h="http://www.w3.org/1999/xhtml">alert(1)</h:script>${DRAWING}`),
    ],
    [
      'blanks and text between elements',
      svg(`\n  text ${DRAWING} <![CDATA[<script>alert(1)</script>]]>`),
    ],
    [
      'styles of elements',
      svg(
        DRAWING.replace(' fill="url(#a)"', ' style="-x:y;fill:url(#a);background:url(http://a.b)"'),
      ),
    ],
    ['links of old', svg(DRAWING.replace('href', 'xlink:href'))],
  ])('is kept without %s', async (_, content) => {
    expect((await requirePicture(content)).content.toString()).toBe(svg(DRAWING).toString());
  });

  test.each<[string, string]>([
    ['a script', '<script>alert(1)</script>'],
    ['a handler', '<rect onclick="alert(1)"/>'],
    ['another page', '<foreignObject><p/></foreignObject>'],
    ['a picture from elsewhere', '<image href="http://a.b/c.png"/>'],
    ['a picture in it', '<image href="data:image/png;base64,AA=="/>'],
    ['a file', '<use href="file:///etc/passwd#a"/>'],
    ['another drawing', '<use xlink:href="http://a.b/c.svg#d"/>'],
    ['a link', '<a href="javascript:alert(1)"><path/></a>'],
    ['a sheet of styles', '<style>*{fill:url(http://a.b)}</style>'],
    ['a paint from elsewhere', '<path fill="url(http://a.b/#c)"/>'],
    ['one in its style', '<path style="fill:url(http://a.b/#c)"/>'],
    ['one in quotes', `<path fill="url('//a.b/#c')"/>`],
    ['one behind an escape', '<path fill="u\\72l(http://a.b/#c)"/>'],
    ['one behind an entity', '<path fill="&#117;rl(http://a.b/#c)"/>'],
    ['another function', `<path fill="image-set('http://a.b/c.png' 1x)"/>`],
    ['what changes it later', '<set attributeName="href" to="http://a.b"/>'],
    ['what moves', '<animate attributeName="href" values="http://a.b"/>'],
    ['marks at each point', '<marker id="m"/><path marker-mid="url(#m)" d="M0 0"/>'],
    ['a name that is no SVG', '<g xmlns="http://www.w3.org/1999/xhtml"/>'],
    ['a control character', '<text>&#8;</text>'],
    ['an element that is not closed', '<g>'],
    ['an attribute that its reader trips over', '<g hasOwnProperty="a" b="c"/>'],
  ])('is refused with %s', async (_, inside) => {
    expect(await outcomeOf(svg(inside))).toBe(REFUSED);
  });

  test.each<[string, string]>([
    ['a type that says what words mean', '<!DOCTYPE svg [<!ENTITY a "b"><!ENTITY c "&a;&a;">]>'],
    ['a sheet of styles from elsewhere', '<?xml-stylesheet href="http://a.b/c.css"?>'],
  ])('is refused with %s ahead', async (_, ahead) => {
    expect(await outcomeOf(Buffer.concat([Buffer.from(ahead), svg('')]))).toBe(REFUSED);
  });

  test.each<[string, string]>([
    ['what uses what uses it, ten times each', bomb(12)],
    ['what uses itself', '<g id="a"><use href="#a"/></g>'],
    ['two that use each other', '<g id="a"><use href="#b"/></g><g id="b"><use href="#a"/></g>'],
    [
      'a long path used often',
      `<path id="a" d="${'M0 0h9'.repeat(3_000)}"/>${'<use href="#a"/>'.repeat(2_000)}`,
    ],
    [
      'a pattern in each of many',
      `<pattern id="a">${'<path/>'.repeat(300)}</pattern><g fill="url(#a)">${'<path/>'.repeat(300)}</g>`,
    ],
    [
      'patterns in patterns',
      bomb(9)
        .replaceAll('<g', '<pattern')
        .replaceAll('</g', '</pattern')
        .replaceAll(/<use href="(#a\d)"/g, '<path fill="url($1)"'),
    ],
    [
      'a mask on each of many',
      `<mask id="a">${'<path/>'.repeat(300)}</mask>${'<path style="mask:url(#a)"/>'.repeat(300)}`,
    ],
    [
      'a chain of uses',
      Array.from({ length: 4_000 }, (_, at) => `<use id="a${at}" href="#a${at + 1}"/>`).join(''),
    ],
    ['very much text', `<text>${'a'.repeat(30_000)}</text>`],
    ['elements without end', '<g/>'.repeat(5_001)],
    ['elements without end that are left away', `<title>${'<g/>'.repeat(5_001)}</title>`],
    ['elements in elements', '<g>'.repeat(60) + '</g>'.repeat(60)],
    [
      'attributes without end',
      `<g ${Array.from({ length: 200 }, (_, at) => `a${at}=""`).join(' ')}/>`,
    ],
    ['a value without end', `<path fill="${'url(#a'.repeat(5_000)}"/>`],
  ])('is refused before it is drawn: %s', async (_, inside) => {
    expect(await outcomeOf(svg(inside))).toBe(REFUSED);
    expect(mockWork.threads).toEqual([]);
  });

  test('is weighed by each element once, however often it is used', () => {
    const looked = { times: 0 };
    class Counted extends Map<string, string> {
      override get(name: string): string | undefined {
        looked.times += 1;
        return super.get(name);
      }
    }
    const element = (name: string, of: Record<string, string>, children: SvgElement[] = []) => ({
      name,
      attributes: new Counted(Object.entries(of)),
      children,
    });
    const levels = Array.from({ length: 40 }, (_, level) =>
      element('g', { id: `a${level}` }, [
        element('use', { href: `#a${level + 1}` }),
        element('use', { href: `#a${level + 1}` }),
      ]),
    );
    expect(() => requireWithinBounds(element('svg', {}, levels))).toThrow('repeating itself');
    expect(looked.times).toBeLessThan(121 * 7);
  });
});

describe('what gets as far as the thread that draws', () => {
  const draw = (content: Buffer, milliseconds?: number) =>
    print({ definition: { content: [{ svg: content.toString(), width: 9 }] } }, milliseconds);
  const works = async (): Promise<void> =>
    expect(await isDrawable(asSvg(svg('<path d="M0 0h9"/>')))).toBe(true);

  test('cannot throw where nobody catches it', async () => {
    for (const packed of [Buffer.from('no such thing'), zlib.deflateSync(Buffer.alloc(68, 9))]) {
      expect(await isDrawable(asPng(png({ packed })))).toBe(false);
    }
    await works();
  });

  test('cannot use up memory: it has so much and no more', async () => {
    // A thread that has failed is not used again.
    expect(await isDrawable(asPng(Buffer.alloc(9)))).toBe(false);
    mockMemory = 64;
    try {
      await expect(draw(svg(bomb(12)))).rejects.toThrow(/memory/);
    } finally {
      mockMemory = null;
    }
    expect(mockWork.threads.at(-1)).toMatchObject({ maxOldGenerationSizeMb: 512 });
    await works();
  });

  test('cannot go on without end', async () => {
    await expect(draw(svg(bomb(40)), 1_000)).rejects.toThrow();
    await works();
  });
});

describe('a logo of an invoice', () => {
  const clock = new TestClock(Date.parse('2027-03-01T09:00:00Z'));
  const schema = newSchema();
  let billing: Billing;
  let knex: Awaited<ReturnType<typeof openMigrated>>;
  let invoices = 0;

  beforeAll(async () => {
    knex = await openMigrated(schema);
    billing = await openBilling({ connection: knex.knex, schema, clock });
    await billing.accounts.identify({ externalId: 'buyer' });
  });

  afterAll(async () => {
    expect(await billing.verify()).toMatchObject({ ok: true });
    await billing.close();
    await knex.close();
  });

  /** As an earlier release took it, and issued an invoice with it. */
  async function issuedWith({ mimeType, content }: Logo): Promise<string> {
    invoices += 1;
    const logoId = String(invoices).padStart(64, '0');
    await knex.knex.raw(
      'insert into ??.invoice_logos (logo_id, mime_type, content, saved_at) values (?, ?, ?, now())',
      [schema, logoId, mimeType, content],
    );
    await billing.invoicing.saveSettings({ locale: 'en' });
    await knex.knex.raw('update ??.invoicing_settings set logo_id = ?', [schema, logoId]);
    const { invoiceId } = await billing.invoicing.createInvoice({
      account: { externalId: 'buyer' },
      currency: 'EUR',
      collection: 'send',
      items: [{ description: 'Advice', unitPrice: '1.00' }],
    });
    await billing.invoicing.finalizeInvoice({ invoiceId });
    return invoiceId;
  }

  const render = async (invoiceId: string) => {
    const [pdf, html] = await Promise.all([
      billing.invoicing.renderInvoice({ invoiceId, format: 'pdf' }),
      billing.invoicing.renderInvoice({ invoiceId, format: 'html' }),
    ]);
    return {
      // A picture is an object of its own in a PDF.
      drawn: Buffer.from(pdf.content, 'base64').includes('/Subtype /Image'),
      shown: /<img [^>]*src="([^"]*)"/.exec(html.content.replaceAll('&#x3D;', '='))?.[1] ?? null,
      problems: [pdf.problems, html.problems],
    };
  };
  const PROBLEM = {
    code: 'invalid_input',
    message: expect.stringMatching(/^The logo is left away/) as string,
  };

  test('that cannot be drawn is refused when it is saved', async () => {
    const before = await billing.invoicing.settings();
    const [flipped] = flippedOf(png({ packed: zlib.deflateSync(Buffer.alloc(68, 9)) }));
    for (const content of [flipped!, png({ rows: Buffer.alloc(68, 9) }), svg(bomb(12))]) {
      await expect(
        billing.invoicing.saveSettings({ logo: content.toString('base64') }),
      ).rejects.toMatchObject({ code: 'invalid_input', parameter: 'logo' });
    }
    expect(await billing.invoicing.settings()).toEqual(before);
  });

  test('is on it, in both forms, and there is no problem', async () => {
    const content = png();
    expect(await render(await issuedWith(asPng(content)))).toEqual({
      drawn: true,
      shown: `data:image/png;base64,${content.toString('base64')}`,
      problems: [[], []],
    });
  });

  test.each<[string, Logo]>([
    ['with a bit turned over', asPng([...flippedOf(png())][700]!)],
    ['of too many pixels', asPng(png({ width: 10_000, height: 10_000 }))],
    ['that uses itself', asSvg(svg(bomb(12)))],
    ['that is run', asSvg(svg('<script>alert(1)</script>'))],
    ['of a page', asSvg(svg('<foreignObject/>'))],
    ['from elsewhere', asSvg(svg('<image href="http://a.b/c.png"/>'))],
    ['that is something else', asPng(Buffer.from('GIF89a'))],
  ])('saved before, %s, is left away, and the invoice says so', async (_, logo) => {
    expect(await render(await issuedWith(logo))).toEqual({
      drawn: false,
      shown: null,
      problems: [[PROBLEM], [PROBLEM]],
    });
  });

  test('saved before that nobody can draw is tried once', async () => {
    const invoiceId = await issuedWith(asPng(png({ rows: Buffer.alloc(68, 9) })));
    const pdf = () => billing.invoicing.renderInvoice({ invoiceId, format: 'pdf' });
    expect((await pdf()).problems).toEqual([PROBLEM]);
    const begun = mockWork.threads.length;
    expect((await pdf()).problems).toEqual([PROBLEM]);
    expect(mockWork.threads).toHaveLength(begun);
  });
});
