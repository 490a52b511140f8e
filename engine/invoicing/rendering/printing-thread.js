'use strict';

/**
 * The thread in which `printing.ts` has PDFs drawn, one after the other. Plain JavaScript, since a thread
 * begins with a file as it is. The library is used by its printer rather than by its front, which keeps
 * fonts and policies for the whole process.
 */

const { dirname, join } = require('node:path');
const { parentPort } = require('node:worker_threads');

const { default: PdfPrinter } = require('pdfmake/js/Printer');

const FONTS = join(dirname(require.resolve('pdfmake/package.json')), 'fonts', 'Roboto');
const ROBOTO = {
  normal: join(FONTS, 'Roboto-Regular.ttf'),
  bold: join(FONTS, 'Roboto-Medium.ttf'),
  italics: join(FONTS, 'Roboto-Italic.ttf'),
  bolditalics: join(FONTS, 'Roboto-MediumItalic.ttf'),
};

/** Nothing on a paper comes from elsewhere. */
const NO_URLS = {
  resolve: () => undefined,
  resolved: () => Promise.resolve(),
  setUrlAccessPolicy: () => undefined,
};
const mayRead = (path) => Object.values(ROBOTO).includes(path);

/** Layouts of tables are functions, which do not come along with the data. */
const ruled = {
  hLineWidth: (row) => (row === 0 ? 0 : 0.5),
  vLineWidth: () => 0,
  hLineColor: () => '#dfe3e8',
  paddingLeft: (column) => (column === 0 ? 0 : 8),
  paddingRight: () => 0,
  paddingTop: () => 5,
  paddingBottom: () => 5,
};

const footerOf = (footer) => (page, pages) => {
  const last = footer.columns.at(-1);
  const text = last.text.replace('{page}', String(page)).replace('{pages}', String(pages));
  return { ...footer, columns: [...footer.columns.slice(0, -1), { ...last, text }] };
};

const contentOf = (doc) =>
  new Promise((resolve, reject) => {
    const chunks = [];
    doc.on('data', (chunk) => chunks.push(chunk));
    doc.on('end', () => resolve(new Uint8Array(Buffer.concat(chunks))));
    doc.on('error', reject);
    doc.end();
  });

async function print({ definition, footer, characters = '' }) {
  const printer = new PdfPrinter({ Roboto: ROBOTO }, null, NO_URLS, mayRead);
  const doc = await printer.createPdfKitDocument(
    footer === undefined ? definition : { ...definition, footer: footerOf(footer) },
    { tableLayouts: { ruled } },
  );
  const content = await contentOf(doc);
  const font = doc.fontCache.Roboto?.normal?.font;
  const isDrawn = (one) =>
    /\s/.test(one) || font?.hasGlyphForCodePoint(one.codePointAt(0)) === true;
  return { content, complete: [...characters].every(isDrawn) };
}

parentPort.on('message', async (job) => {
  try {
    const printed = await print(job);
    parentPort.postMessage(printed, [printed.content.buffer]);
  } catch (error) {
    parentPort.postMessage({ failure: String(error) });
  }
});
