import { extractText, getDocumentProxy } from 'unpdf';

import { TestClock, type Billing } from '../../../engine';
import { forRules } from '../each-database';

const DAY = 86_400_000;
const START = Date.parse('2027-03-01T09:00:00Z');
const LOGO = Buffer.from(
  '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="40" height="20"/></svg>',
).toString('base64');

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown; parameter: unknown }) => ({
      code: error.code,
      parameter: error.parameter,
    }),
  );

/** Spaces of all kinds as one. */
const plain = (text: string): string => text.replace(/\s+/g, ' ');

forRules('papers', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    await billing.catalog.saveTaxRate({ key: 'de', name: 'MwSt.', percent: '19', country: 'DE' });
  });

  const customer = async (more: object = {}): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({
      externalId: `customer-${counter}`,
      name: 'Ada <b>Lovelace</b>',
    });
    await billing.accounts.update({
      account: accountId,
      timeZone: 'Europe/Berlin',
      contact: {
        company: 'Analytical & Co',
        address: { line1: 'Main Street 1', city: 'Berlin', postalCode: '10115', country: 'DE' },
      },
      tax: { country: 'DE', taxIds: [{ type: 'eu_vat', value: 'DE123456789' }] },
      ...more,
    });
    return accountId;
  };

  const draft = async (account: string, lines = 1) => {
    const { invoiceId } = await billing.invoicing.createInvoice({
      account,
      currency: 'EUR',
      collection: 'send',
      items: Array.from({ length: lines }, (_, index) => ({
        description: `Advice ${index + 1}`,
        quantity: 2,
        unitPrice: '617.25',
        ...(index === 0 ? { discount: '4.50' } : {}),
      })),
    });
    return invoiceId;
  };

  const issued = async (account: string, lines = 1): Promise<string> => {
    const invoiceId = await draft(account, lines);
    await billing.invoicing.finalizeInvoice({ invoiceId });
    return invoiceId;
  };

  const html = async (request: object): Promise<string> => {
    const paper = await billing.invoicing.renderInvoice({ ...request, format: 'html' });
    expect(paper).toMatchObject({ mimeType: 'text/html', complete: true });
    return plain(paper.content);
  };

  const pdf = async (request: object) => {
    const paper = await billing.invoicing.renderInvoice({ ...request, format: 'pdf' });
    expect(paper.mimeType).toBe('application/pdf');
    const bytes = Buffer.from(paper.content, 'base64');
    expect(bytes.subarray(0, 5).toString()).toBe('%PDF-');
    const { totalPages, text } = await extractText(await getDocumentProxy(new Uint8Array(bytes)), {
      mergePages: false,
    });
    return { ...paper, totalPages, pages: text.map(plain) };
  };

  it('without settings it says that the seller is missing', async () => {
    const invoiceId = await issued(await customer());
    const { fileName, pages, complete } = await pdf({ invoiceId });
    expect(fileName).toMatch(/^INV-\d{6}\.pdf$/);
    expect(complete).toBe(true);
    expect(pages[0]).toContain('The seller has not entered their details yet.');
    expect(pages[0]).toContain('Analytical & Co');
  });

  describe('with settings', () => {
    beforeAll(async () => {
      await billing.invoicing.saveSettings({
        seller: {
          name: 'Müller & Söhne',
          address: { line1: 'Hafen 2', city: 'Hamburg', postalCode: '20457', country: 'DE' },
          taxIds: [{ type: 'eu_vat', value: 'DE999' }],
        },
        logo: LOGO,
        footer: 'Amtsgericht Hamburg',
        notes: 'Danke!',
        locale: 'de',
      });
    });

    it('an invoice has seller, buyer, numbers, dates and money as its locale writes them', async () => {
      const invoiceId = await issued(await customer());
      const { number } = await billing.invoicing.getInvoice({ invoiceId });
      const { totalPages, pages } = await pdf({ invoiceId });
      expect(totalPages).toBe(1);
      const page = await html({ invoiceId });
      for (const paper of [pages[0]!, page.replaceAll('&amp;', '&')]) {
        for (const text of [
          'Rechnung',
          number!,
          'Müller & Söhne',
          'Hafen 2',
          '20457 Hamburg',
          'EU VAT DE999',
          'Analytical & Co',
          'Deutschland',
          '1. März 2027',
          '15. März 2027',
          'Advice 1',
          '617,25 €',
          '-4,50 €',
          '1.230,00 €',
          'MwSt. 19 % (1.230,00 €)',
          '233,70 €',
          '1.463,70 €',
          'Zahlbar bis 15. März 2027.',
          'Danke!',
          'Amtsgericht Hamburg',
        ]) {
          expect(paper).toContain(text);
        }
      }
      expect(pages[0]).toContain('Seite 1 von 1');
    });

    it('HTML is escaped, without scripts, and brings its logo along', async () => {
      const account = await customer({ contact: { company: '<script>alert(1)</script>' } });
      const page = await html({ invoiceId: await issued(account) });
      expect(page).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
      expect(page).not.toMatch(/<script|javascript:|<link|@import|src="http/);
      expect(page).toContain(`src="data:image/svg+xml;base64,${LOGO}"`);
      expect(page).toContain('<html lang="de" dir="ltr">');
    });

    it.each([
      ['en-US', 'Invoice', 'March 1, 2027', '€1,463.70'],
      ['fr', 'Facture', '1 mars 2027', '1 463,70 €'],
      ['es', 'Factura', '1 de marzo de 2027', '1463,70 €'],
      ['ru', 'Счёт', '1 марта 2027 г.', '1 463,70 €'],
      ['fa', 'صورتحساب', '۱۰ اسفند ۱۴۰۵', '۱٬۴۶۳٫۷۰'],
      ['ja', 'Invoice', '2027年3月1日', '€1,463.70'],
    ])('in %s: words, dates and money', async (locale, title, date, total) => {
      const invoiceId = await issued(await customer());
      const page = await html({ invoiceId, locale });
      for (const text of [title, date, total]) expect(page).toContain(text);
      expect(page).toContain(locale === 'fa' ? 'dir="rtl"' : 'dir="ltr"');
    });

    it('a PDF of a locale that its font cannot write is set in English', async () => {
      const invoiceId = await issued(await customer());
      const { pages, complete } = await pdf({ invoiceId, locale: 'fa' });
      expect(pages[0]).toContain('Invoice');
      expect(pages[0]).toContain('March 1, 2027');
      expect(complete).toBe(true);
    });

    it('names in any script do not break it, and it says that the PDF lacks them', async () => {
      const account = await customer({ contact: { company: '株式会社 例 علی 👍' } });
      const invoiceId = await issued(account);
      expect(await pdf({ invoiceId })).toMatchObject({ complete: false, totalPages: 1 });
      expect(await html({ invoiceId })).toContain('株式会社 例 علی 👍');
    });

    it('what was issued stays as it was: names, logo and words', async () => {
      const account = await customer();
      const invoiceId = await issued(account);
      const before = await html({ invoiceId });
      await billing.accounts.update({ account, name: 'Somebody else', contact: null });
      await billing.invoicing.saveSettings({ logo: null, notes: 'Changed', locale: 'en' });
      expect(await html({ invoiceId })).toBe(before);
      await billing.invoicing.saveSettings({ logo: LOGO, notes: 'Danke!', locale: 'de' });
    });

    it('drafts, void and paid ones are marked', async () => {
      const invoiceId = await draft(await customer());
      const paper = await pdf({ invoiceId });
      expect(paper.fileName).toBe(`${invoiceId}.pdf`);
      expect(paper.pages[0]).toContain('Entwurf');
      await billing.invoicing.finalizeInvoice({ invoiceId });
      expect(await html({ invoiceId })).not.toContain('class="mark"');
      await billing.invoicing.markPaid({ invoiceId, method: 'cash' });
      const paid = await html({ invoiceId });
      expect(paid).toContain('<span class="mark">Bezahlt</span>');
      expect(paid).not.toContain('Zahlbar bis');
      const other = await issued(await customer());
      await billing.invoicing.voidInvoice({ invoiceId: other });
      expect((await pdf({ invoiceId: other })).pages[0]).toContain('Ungültig');
    });

    it('a credit note names its invoice, and what it takes back', async () => {
      const invoiceId = await issued(await customer());
      const { number } = await billing.invoicing.getInvoice({ invoiceId });
      const { creditNoteId, number: own } = await billing.invoicing.createCreditNote({
        invoiceId,
        amount: '119.00',
      });
      for (const paper of [(await pdf({ creditNoteId })).pages[0]!, await html({ creditNoteId })]) {
        for (const text of ['Gutschrift', own, `Zu Rechnung`, number!, '100,00 €', '119,00 €']) {
          expect(paper).toContain(text);
        }
      }
      const corrected = await html({ invoiceId });
      expect(corrected).toContain('-119,00 €');
      expect(corrected).toContain('1.344,70 €');
    });

    it('reverse charge and exemption are noted, and no tax is taken', async () => {
      const status = (taxStatus: string) => ({ tax: { status: taxStatus, country: 'DE' } });
      const reversed = await issued(await customer(status('reverse_charge')));
      const page = await html({ invoiceId: reversed });
      expect(page).toContain('Steuerschuldnerschaft des Leistungsempfängers');
      expect(page).not.toContain('MwSt.');
      const exempt = await issued(await customer(status('exempt')));
      expect(await html({ invoiceId: exempt })).toContain('Von der Steuer befreit');
    });

    it('a word that is wider than its column pushes nothing off the page', async () => {
      const account = await customer({ contact: { company: 'W'.repeat(180) } });
      const { invoiceId } = await billing.invoicing.createInvoice({
        account,
        currency: 'EUR',
        collection: 'send',
        items: [{ description: 'x'.repeat(900), unitPrice: '617.25', discount: '4.50' }],
      });
      const { number } = await billing.invoicing.finalizeInvoice({ invoiceId });
      const all = (await pdf({ invoiceId })).pages.join(' ');
      for (const text of [number!, '617,25 €', '-4,50 €', '612,75 €', '15. März 2027', 'Menge']) {
        expect(all).toContain(text);
      }
    });

    it('of a line that is higher than a page nothing is lost', async () => {
      const { invoiceId } = await billing.invoicing.createInvoice({
        account: await customer(),
        currency: 'EUR',
        items: [{ description: 'row\n'.repeat(150), unitPrice: '617.25' }],
      });
      const all = (await pdf({ invoiceId })).pages.join(' ');
      expect(all.match(/row/g)).toHaveLength(150);
      expect(all).toContain('617,25 €');
    });

    it('a thousand lines go over pages, each with the heads', async () => {
      const invoiceId = await issued(await customer(), 1_000);
      const { totalPages, pages } = await pdf({ invoiceId });
      expect(totalPages).toBeGreaterThan(20);
      for (const [index, page] of pages.slice(0, -1).entries()) {
        expect(page).toContain('Bezeichnung');
        expect(page).toContain(`Seite ${index + 1} von ${totalPages}`);
      }
      const all = pages.join(' ');
      for (const line of [1, 500, 1_000]) expect(all).toContain(`Advice ${line} `);
    });

    it('a day is the one that the account has', async () => {
      clock.set(Date.parse('2027-04-30T11:30:00Z'));
      const account = await customer({ timeZone: 'Pacific/Kiritimati' });
      expect(await html({ invoiceId: await issued(account) })).toContain('1. Mai 2027');
      clock.set(Date.parse('2027-05-01T09:00:00Z'));
    });
  });

  it('texts are forgotten after the retention date; amounts stay', async () => {
    const invoiceId = await issued(await customer());
    const { creditNoteId } = await billing.invoicing.createCreditNote({
      invoiceId,
      amount: '1.00',
    });
    await billing.invoicing.markPaid({ invoiceId, method: 'cash' });
    const other = await issued(await customer());
    await billing.invoicing.saveSettings({ retentionYears: 2 });
    clock.set(Date.parse('2029-04-30T09:00:00Z'));
    await billing.runDue();
    expect(await html({ invoiceId })).toContain('Analytical');
    clock.set(Date.parse('2029-05-01T09:00:00Z') + DAY);
    await billing.runDue();
    for (const paper of [{ invoiceId }, { creditNoteId }]) {
      expect(
        await failure(billing.invoicing.renderInvoice({ ...paper, format: 'html' })),
      ).toMatchObject({ code: 'invoice_state' });
    }
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({
      paid: '1462.70',
      lines: [{ description: null }],
    });
    // What is not paid is kept however old it is.
    expect(await html({ invoiceId: other })).toContain('Analytical');
  });

  it('refused: nothing named, both named, what there is not, and odd locales', async () => {
    const { renderInvoice } = billing.invoicing;
    const id = '01948b5c-4c00-7000-8000-000000000002';
    expect(await failure(renderInvoice({ format: 'pdf' }))).toMatchObject({
      code: 'invalid_input',
    });
    expect(
      await failure(renderInvoice({ format: 'pdf', invoiceId: id, creditNoteId: id })),
    ).toMatchObject({ code: 'invalid_input' });
    expect(await failure(renderInvoice({ format: 'pdf', invoiceId: id }))).toMatchObject({
      code: 'unknown_invoice',
    });
    expect(
      await failure(renderInvoice({ format: 'pdf', invoiceId: id, locale: '../x' })),
    ).toMatchObject({ code: 'invalid_input', parameter: 'locale' });
    expect(await failure(renderInvoice({ format: 'docx' as never, invoiceId: id }))).toMatchObject({
      code: 'invalid_input',
      parameter: 'format',
    });
  });
});
