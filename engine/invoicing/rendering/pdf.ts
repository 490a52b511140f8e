import type {
  Column,
  Content,
  ContentImage,
  ContentSvg,
  ContentText,
  TableCell,
} from 'pdfmake/interfaces';

import type { Logo, Paper } from './paper';
import { print, type PrintJob } from './printing';

/** Papers as PDF, on A4: what stands where. They are drawn in a thread of their own. */

const LOGO_FIT: [number, number] = [160, 60];

function logoContent({ mimeType, content }: Logo): ContentSvg | ContentImage {
  if (mimeType === 'image/svg+xml') return { svg: content.toString('utf8'), fit: LOGO_FIT };
  return { image: `data:${mimeType};base64,${content.toString('base64')}`, fit: LOGO_FIT };
}

/** Whether a picture can be printed: the only way to find out is to print it. */
export async function isDrawable(logo: Logo): Promise<boolean> {
  try {
    await print({ definition: { content: [logoContent(logo)] } });
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
const RED = '#a2402a';
const GREEN = '#1f7a4d';

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
  layout: 'ruled',
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

const jobOf = (paper: Paper, number: string | null, logo: Logo | null): PrintJob => ({
  definition: {
    pageSize: 'A4',
    pageMargins: [48, 48, 48, 64],
    info: { title: [paper.title, number].filter((part) => part !== null).join(' ') },
    language: paper.language,
    defaultStyle: { font: 'Roboto', fontSize: 10, lineHeight: 1.2 },
    ...(paper.mark === null || !paper.isVoidOrDraft
      ? {}
      : { watermark: { text: plain(paper.mark), color: GREY, opacity: 0.12, bold: true } }),
    content: [
      titleOf(paper, logo),
      partiesOf(paper),
      tableOf(paper),
      sumsOf(paper),
      ...notesOf(paper),
    ],
  },
  footer: {
    margin: [48, 12, 48, 0],
    columnGap: 16,
    columns: [
      { ...small(paper.footer ?? ''), width: '*' },
      { text: plain(paper.page), fontSize: 8, color: GREY, width: 'auto' },
    ],
  },
  characters: plain([...new Set([...textsOf(paper)].join(''))].join('')),
  lines: paper.lines.length,
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
export const pdfOf = (
  paper: Paper,
  number: string | null,
  logo: Logo | null,
): Promise<{ content: Buffer; complete: boolean }> => print(jobOf(paper, number, logo));
