import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

import type {
  Column,
  Content,
  ContentImage,
  ContentSvg,
  ContentText,
  TableCell,
  TDocumentDefinitions,
} from 'pdfmake/interfaces';

import type { Logo, Paper } from './paper';

/**
 * Papers as PDF, on A4. The library is loaded with the first paper, since it takes a while; by its
 * printer rather than by its front, which keeps fonts and policies for the whole process.
 */

/** What of pdfkit's document is used. */
interface Printed extends NodeJS.ReadableStream {
  end(): void;
  fontCache: { Roboto?: { normal?: { font: { hasGlyphForCodePoint(point: number): boolean } } } };
}

interface Printer {
  createPdfKitDocument(definition: TDocumentDefinitions): Promise<Printed>;
}

type PrinterClass = new (
  fonts: Record<string, Record<string, string>>,
  files: null,
  urls: { resolve(): void; resolved(): Promise<void>; setUrlAccessPolicy(): void },
  mayRead: (path: string) => boolean,
) => Printer;

const requireHere = createRequire(__filename);

/** Nothing on a paper comes from elsewhere. */
const NO_URLS = {
  resolve: () => undefined,
  resolved: () => Promise.resolve(),
  setUrlAccessPolicy: () => undefined,
};

function newPrinter(): Printer {
  const { default: PdfPrinter } = requireHere('pdfmake/js/Printer') as { default: PrinterClass };
  const folder = join(dirname(requireHere.resolve('pdfmake/package.json')), 'fonts', 'Roboto');
  const Roboto = {
    normal: join(folder, 'Roboto-Regular.ttf'),
    bold: join(folder, 'Roboto-Medium.ttf'),
    italics: join(folder, 'Roboto-Italic.ttf'),
    bolditalics: join(folder, 'Roboto-MediumItalic.ttf'),
  };
  const files: readonly string[] = Object.values(Roboto);
  return new PdfPrinter({ Roboto }, null, NO_URLS, (path) => files.includes(path));
}

async function print(definition: TDocumentDefinitions): Promise<{ content: Buffer; doc: Printed }> {
  const doc = await newPrinter().createPdfKitDocument(definition);
  const chunks: Buffer[] = [];
  return new Promise((resolve, reject) => {
    doc.on('data', (chunk: Buffer) => chunks.push(chunk));
    doc.on('end', () => resolve({ content: Buffer.concat(chunks), doc }));
    doc.on('error', reject);
    doc.end();
  });
}

const LOGO_FIT: [number, number] = [160, 60];

function logoContent({ mimeType, content }: Logo): ContentSvg | ContentImage {
  if (mimeType === 'image/svg+xml') return { svg: content.toString('utf8'), fit: LOGO_FIT };
  return { image: `data:${mimeType};base64,${content.toString('base64')}`, fit: LOGO_FIT };
}

/** Whether a picture can be printed: the only way to find out is to print it. */
export async function isDrawable(logo: Logo): Promise<boolean> {
  try {
    await print({ content: [logoContent(logo)] });
    return true;
  } catch {
    return false;
  }
}

/** Spaces that locales set between digits and signs, and marks of direction, which the font lacks. */
const plain = (text: string): string =>
  text
    .replace(/[\u2000-\u200a\u202f]/g, '\u00a0')
    .replace(/[\u200b-\u200f\u061c\u2066-\u2069]/g, '');

/** How wide a word may be, in ems: the narrowest columns are not wider. */
const WIDEST_WORD = 15;

const isTooWide = (word: string): boolean =>
  [...word].reduce((sum, one) => sum + (/[a-ln-vx-z0-9.,:;'_/-]/.test(one) ? 0.6 : 0.9), 0) >
  WIDEST_WORD;

/** What does not fit into its column would push everything beside it off the page: it may break anywhere. */
const wrapped = (text: string): ContentText['text'] => {
  const words = plain(text).split(/([^\S\u00a0]+)/);
  return words.some(isTooWide)
    ? words.map((word) => (isTooWide(word) ? { text: word, wordBreak: 'break-all' } : word))
    : plain(text);
};

/** Of a row that is kept together and is higher than a page, what is beyond the page would be lost. */
const fitsOnPage = (text: string): boolean => text.length + 40 * text.split('\n').length < 700;

const GREY = '#667085';
const LINE = '#dfe3e8';
const RED = '#a2402a';
const GREEN = '#1f7a4d';

const RULED = {
  hLineWidth: (row: number): number => (row === 0 ? 0 : 0.5),
  vLineWidth: (): number => 0,
  hLineColor: (): string => LINE,
  paddingLeft: (column: number): number => (column === 0 ? 0 : 8),
  paddingRight: (): number => 0,
  paddingTop: (): number => 5,
  paddingBottom: (): number => 5,
};

const small = (text: string): ContentText => ({ text: wrapped(text), fontSize: 8, color: GREY });
const linesOf = (lines: readonly string[]): Content =>
  lines.map((text) => ({ text: wrapped(text) }));

const right = (text: string, more: object = {}): TableCell => ({
  text: plain(text),
  alignment: 'right',
  noWrap: true,
  ...more,
});
const head = (text: string): TableCell => right(text, { fontSize: 8, color: GREY });

function titleOf(paper: Paper, logo: Logo | null): Content {
  const mark =
    paper.mark === null
      ? []
      : [
          {
            text: plain(paper.mark),
            color: paper.isVoidOrDraft ? RED : GREEN,
            margin: [0, 2, 0, 0],
          } as Content,
        ];
  return {
    columns: [
      { width: '*', stack: [{ text: plain(paper.title), fontSize: 20, bold: true }, ...mark] },
      logo === null ? { width: 'auto', text: '' } : { ...logoContent(logo), width: 'auto' },
    ] as Column[],
  };
}

const partiesOf = (paper: Paper): Content => ({
  margin: [0, 24, 0, 24],
  columnGap: 20,
  columns: [
    { width: '*', stack: [small(paper.sellerLabel), linesOf(paper.seller)] },
    { width: '*', stack: [small(paper.buyerLabel), linesOf(paper.buyer)] },
    {
      width: '*',
      stack: paper.facts.map(({ label, value }) => ({
        columns: [
          { ...small(label), width: 'auto' },
          { text: wrapped(value), alignment: 'right' },
        ],
        columnGap: 8,
      })),
    },
  ],
});

const tableOf = ({ lines, heads, hasDiscount }: Paper): Content => ({
  layout: RULED,
  table: {
    headerRows: 1,
    dontBreakRows: lines.every(({ description }) => fitsOnPage(description)),
    widths: ['*', 'auto', 'auto', ...(hasDiscount ? ['auto'] : []), 'auto'],
    body: [
      [
        { text: plain(heads.description), fontSize: 8, color: GREY },
        head(heads.quantity),
        head(heads.unitPrice),
        ...(hasDiscount ? [head(heads.discount)] : []),
        head(heads.net),
      ],
      ...lines.map((line): TableCell[] => [
        { stack: [{ text: wrapped(line.description) }, ...line.details.map(small)] },
        right(line.quantity),
        right(line.unitPrice),
        ...(hasDiscount ? [right(line.discount)] : []),
        right(line.net),
      ]),
    ],
  },
});

const sumsOf = (paper: Paper): Content => ({
  margin: [0, 12, 0, 0],
  columns: [
    { width: '*', text: '' },
    {
      width: 'auto',
      layout: 'noBorders',
      table: {
        dontBreakRows: true,
        keepWithHeaderRows: 1,
        body: paper.sums.map(({ label, value, strong }): TableCell[] => [
          { text: wrapped(label), bold: strong },
          right(value, { bold: strong }),
        ]),
      },
    },
  ],
});

const notesOf = (paper: Paper): Content[] =>
  paper.notes.map((text) => ({ text: wrapped(text), margin: [0, 10, 0, 0], fontSize: 9 }));

const definitionOf = (
  paper: Paper,
  number: string | null,
  logo: Logo | null,
): TDocumentDefinitions => ({
  pageSize: 'A4',
  pageMargins: [48, 48, 48, 64],
  info: { title: [paper.title, number].filter((part) => part !== null).join(' ') },
  language: paper.language,
  defaultStyle: { font: 'Roboto', fontSize: 10, lineHeight: 1.2 },
  ...(paper.mark === null || !paper.isVoidOrDraft
    ? {}
    : { watermark: { text: plain(paper.mark), color: GREY, opacity: 0.12, bold: true } }),
  footer: (page, pages) => ({
    margin: [48, 12, 48, 0],
    columns: [
      { ...small(paper.footer ?? ''), width: '*' },
      {
        ...small(paper.page.replace('{page}', String(page)).replace('{pages}', String(pages))),
        width: 'auto',
      },
    ],
    columnGap: 16,
  }),
  content: [
    titleOf(paper, logo),
    partiesOf(paper),
    tableOf(paper),
    sumsOf(paper),
    ...notesOf(paper),
  ],
});

/** Everything that is written on a paper. */
function* textsOf(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value;
  else if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) yield* textsOf(inner);
  }
}

/**
 * Sets a paper as a PDF.
 *
 * @returns `complete` false: something is written in a script that the font does not have
 */
export async function pdfOf(
  paper: Paper,
  number: string | null,
  logo: Logo | null,
): Promise<{ content: Buffer; complete: boolean }> {
  const { content, doc } = await print(definitionOf(paper, number, logo));
  const font = doc.fontCache.Roboto?.normal?.font;
  const isDrawn = (text: string): boolean =>
    [...plain(text)].every(
      (one) => /\s/.test(one) || font?.hasGlyphForCodePoint(one.codePointAt(0)!) === true,
    );
  return { content, complete: [...textsOf(paper)].every(isDrawn) };
}
