import { TestClock, type Billing } from '../../../engine';
import { forRules } from '../each-database';

const START = Date.parse('2027-03-01T09:00:00Z');

const PNG =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const base64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64');
const svg = (inner: string): string =>
  base64(`<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20">${inner}</svg>`);

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown; parameter: unknown }) => ({
      code: error.code,
      parameter: error.parameter,
    }),
  );

forRules('settings of invoices', (database) => {
  let billing: Billing;

  beforeAll(async () => {
    billing = await database.open(new TestClock(START));
  });

  const issue = async (externalId: string) => {
    const { accountId } = await billing.accounts.identify({ externalId });
    const { invoiceId } = await billing.invoicing.createInvoice({
      account: accountId,
      currency: 'EUR',
      collection: 'send',
      items: [{ description: 'Advice', unitPrice: '10.00' }],
    });
    return billing.invoicing.finalizeInvoice({ invoiceId });
  };

  it('there are defaults for all of them', async () => {
    expect(await billing.invoicing.settings()).toEqual({
      seller: null,
      logo: null,
      numbering: { prefix: 'INV', digits: 6, creditNotePrefix: 'CN' },
      paymentTerms: { days: 14 },
      dunning: { retryAfterDays: [3, 5, 7], graceDays: 7, finalAction: 'cancel' },
      locale: 'en',
      footer: null,
      notes: null,
      reminderDays: 3,
      retentionYears: 10,
      savedAt: null,
    });
  });

  it('what is given changes, null clears, the rest stays', async () => {
    await billing.invoicing.saveSettings({
      seller: { name: 'Acme', email: 'a@example.com', taxIds: [{ type: 'eu_vat', value: 'DE1' }] },
      logo: `data:image/png;base64,${PNG}`,
      notes: 'Thank you.',
      locale: 'de-at',
    });
    const saved = await billing.invoicing.saveSettings({
      seller: { email: null, phone: '+49 30 1' },
      dunning: { graceDays: 3 },
      numbering: { digits: 4 },
      notes: null,
    });
    expect(saved).toMatchObject({
      seller: { name: 'Acme', email: null, phone: '+49 30 1', address: null },
      logo: { mimeType: 'image/png', bytes: 70 },
      numbering: { prefix: 'INV', digits: 4, creditNotePrefix: 'CN' },
      dunning: { retryAfterDays: [3, 5, 7], graceDays: 3 },
      locale: 'de-AT',
      notes: null,
      savedAt: new Date(START).toISOString(),
      replayed: false,
    });
    const { replayed: _replayed, ...settings } = saved;
    expect(await billing.invoicing.settings()).toEqual(settings);
    expect(await billing.invoicing.saveSettings({ seller: null, logo: null })).toMatchObject({
      seller: null,
      logo: null,
    });
  });

  it('numbers, terms and series follow them from the next invoice on', async () => {
    await billing.invoicing.saveSettings({ numbering: { prefix: 'INV', digits: 6 } });
    expect(await issue('a')).toMatchObject({
      number: 'INV-000001',
      dueAt: '2027-03-15T09:00:00.000Z',
    });
    await billing.invoicing.saveSettings({
      numbering: { prefix: 'R2027', digits: 3 },
      paymentTerms: { days: 30 },
    });
    expect(await issue('b')).toMatchObject({
      number: 'R2027-001',
      series: 'R2027',
      dueAt: '2027-03-31T09:00:00.000Z',
    });
    await billing.invoicing.saveSettings({ numbering: { prefix: 'INV' } });
    expect(await issue('c')).toMatchObject({ number: 'INV-002' });
    expect(await issue('d')).toMatchObject({ number: 'INV-003' });
    const { invoiceId } = await issue('e');
    await billing.invoicing.createCreditNote({ invoiceId, amount: '1.00' });
    // A series goes on with papers of its kind alone.
    for (const [numbering, field] of [
      [{ prefix: 'CN', creditNotePrefix: 'INV' }, 'prefix'],
      [{ prefix: 'NEW', creditNotePrefix: 'R2027' }, 'creditNotePrefix'],
    ] as const) {
      expect(await failure(billing.invoicing.saveSettings({ numbering }))).toEqual({
        code: 'invalid_input',
        parameter: `numbering.${field}`,
      });
    }
  });

  it('the same key answers the same', async () => {
    const first = await billing.invoicing.saveSettings({ notes: 'a', idempotencyKey: 'k' });
    await billing.invoicing.saveSettings({ notes: 'b' });
    expect(await billing.invoicing.saveSettings({ notes: 'a', idempotencyKey: 'k' })).toEqual({
      ...first,
      replayed: true,
    });
    expect(await billing.invoicing.settings()).toMatchObject({ notes: 'b' });
    expect(
      await failure(billing.invoicing.saveSettings({ notes: 'c', idempotencyKey: 'k' })),
    ).toMatchObject({ code: 'idempotency_conflict' });
  });

  it('an SVG that only draws is fine', async () => {
    const logo = svg('<rect width="40" height="20" fill="#369"/>');
    expect(await billing.invoicing.saveSettings({ logo })).toMatchObject({
      logo: { mimeType: 'image/svg+xml' },
    });
  });

  it.each([
    ['text that is no base64', 'no picture'],
    ['another kind of file', base64('GIF89a.................')],
    ['a damaged PNG', base64('\x89PNG\r\n\x1a\nnothing more')],
    ['an SVG with a script', svg('<script>alert(1)</script>')],
    ['an SVG that listens', svg('<rect onload="alert(1)"/>')],
    ['an SVG that fetches', svg('<image href="http://example.com/x.png"/>')],
    ['an SVG that reads a file', svg('<image xlink:href="/etc/hostname"/>')],
    ['an SVG that declares entities', base64('<!DOCTYPE svg [<!ENTITY a "b">]><svg></svg>')],
    ['a picture that is too large', base64(`\x89PNG\r\n\x1a\n${'x'.repeat(500_001)}`)],
  ])('refused as a logo: %s', async (_name, logo) => {
    const before = await billing.invoicing.settings();
    expect(await failure(billing.invoicing.saveSettings({ logo }))).toEqual({
      code: 'invalid_input',
      parameter: 'logo',
    });
    expect(await billing.invoicing.settings()).toEqual(before);
  });

  it.each([
    ['a locale that is none', { locale: 'no such locale' }, 'locale'],
    ['one series for both', { numbering: { prefix: 'cn' } }, 'numbering.creditNotePrefix'],
    ['a prefix with spaces', { numbering: { prefix: 'a b' } }, 'numbering.prefix'],
    [
      'an address in no country',
      { seller: { address: { country: 'XX' } } },
      'seller.address.line1',
    ],
    ['a field that nobody knows', { colour: 'red' }, 'colour'],
    ['a term below 0', { paymentTerms: { days: -1 } }, 'paymentTerms.days'],
  ])('refused: %s', async (_name, wrong, parameter) => {
    expect(await failure(billing.invoicing.saveSettings(wrong as never))).toEqual({
      code: 'invalid_input',
      parameter,
    });
  });
});
