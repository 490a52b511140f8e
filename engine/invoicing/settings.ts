import { createHash } from 'node:crypto';

import { addressInput, emailAddress } from '../accounts';
import { atTime, readTime, sharedChange, type Context, type Session } from '../database';
import {
  BillingError,
  LIMITS,
  changeFields,
  changed,
  given,
  input,
  integer,
  isoTime,
  list,
  parse,
  text,
  z,
  type RequestOf,
} from '../kernel';
import {
  dunningInput,
  readDunning,
  saveDunning,
  type Dunning,
} from './collecting/dunning-settings';
import { requireLogo } from './rendering/logo';
import type { LogoType } from './rendering/paper';
import type { Seller } from './rendering/snapshot';

/** Who sells, how invoices are numbered, and what stands on them. Works empty. */

export interface Numbering {
  /** The series of invoices; each prefix counts from 1, without gaps. */
  prefix: string;
  /** How many digits a number has at least. */
  digits: number;
  /** The series of credit notes. */
  creditNotePrefix: string;
}

/** The settings as the engine reads them when it finalizes. */
export interface StoredSettings {
  seller: Seller | null;
  /** Names a row of invoice_logos: an issued invoice keeps the logo that it had. */
  logoId: string | null;
  numbering: Numbering;
  paymentTerms: { days: number };
  /** BCP 47, for words, dates and money on papers. */
  locale: string;
  /** At the foot of each page. */
  footer: string | null;
  /** Below the sums. */
  notes: string | null;
  /** How many days before a renewal or the end of a trial it is announced. */
  reminderDays: number;
  /** How long names and texts of a finalized invoice are kept. */
  retentionYears: number;
}

export interface InvoicingSettings extends Omit<StoredSettings, 'logoId'> {
  logo: { mimeType: LogoType; bytes: number } | null;
  /** What happens when a payment fails. */
  dunning: Dunning;
  /** When they were saved last; null: never, all are the defaults. */
  savedAt: string | null;
}

const DEFAULT_SETTINGS: StoredSettings = {
  seller: null,
  logoId: null,
  numbering: { prefix: 'INV', digits: 6, creditNotePrefix: 'CN' },
  paymentTerms: { days: 14 },
  locale: 'en',
  footer: null,
  notes: null,
  reminderDays: 3,
  retentionYears: 10,
};

const NO_SELLER: Seller = {
  name: null,
  address: null,
  taxIds: [],
  email: null,
  phone: null,
  website: null,
};

const prefixInput = () =>
  text(20).refine((value) => /^[\p{L}\p{N}][\p{L}\p{N}_./-]*$/u.test(value), {
    error: 'must start with a letter or digit and hold only letters, digits and _ . / -',
  });

export const localeInput = () =>
  text(35).transform((value, context): string => {
    try {
      // What is well-formed may still be none, such as "german".
      const [known] = Intl.DateTimeFormat.supportedLocalesOf(value);
      if (known !== undefined) return known;
    } catch {
      // Not even well-formed.
    }
    context.addIssue({ code: 'custom', message: 'must be a locale such as "en", "de-AT"' });
    return z.NEVER;
  });

const websiteInput = () =>
  text(LIMITS.name).refine((value) => !/[\s<>"']/.test(value), {
    error: 'must be an address such as "example.com"',
  });

const saveSettingsInput = input({
  /** Fields that are given change, null clears one; null as a whole: no seller. */
  seller: input({
    name: text(LIMITS.name).nullish(),
    address: addressInput.nullish(),
    taxIds: list(input({ type: text(50), value: text(100) }), 20).optional(),
    email: emailAddress().nullish(),
    phone: text(50).nullish(),
    website: websiteInput().nullish(),
  }).nullish(),
  /** PNG, JPEG or SVG, in base64 or as a data URL; at most 500 kB. Null: none. */
  logo: z.string({ error: 'must be text' }).nullish(),
  numbering: input({
    prefix: prefixInput().optional(),
    digits: integer(1, 12).optional(),
    creditNotePrefix: prefixInput().optional(),
  }).optional(),
  paymentTerms: input({ days: integer(0, 365) }).optional(),
  dunning: dunningInput().optional(),
  locale: localeInput().optional(),
  footer: text(1_000).nullish(),
  notes: text(4_000).nullish(),
  reminderDays: integer(0, 60).optional(),
  retentionYears: integer(1, 100).optional(),
  ...changeFields,
});
export type SaveSettingsRequest = RequestOf<typeof saveSettingsInput>;

const READ_SETTINGS = `
select s.settings::text as settings, s.logo_id, ${atTime('s.saved_at')} as saved_at
from {schema}.invoicing_settings s`;

/** Two that save at once take turns, so that neither undoes what the other wrote. */
const LOCK_SETTINGS = `
insert into {schema}.invoicing_settings as s (settings, saved_at) values ('{}', $1::timestamptz)
on conflict (sole) do update set saved_at = s.saved_at`;

const SAVE_SETTINGS = `
update {schema}.invoicing_settings
set settings = $1::jsonb, logo_id = $2, saved_at = $3::timestamptz`;

const SAVE_LOGO = `
insert into {schema}.invoice_logos (logo_id, mime_type, content, saved_at)
values ($1, $2, decode($3, 'base64'), $4::timestamptz)
on conflict (logo_id) do nothing`;

const READ_LOGO_SIZE = `
select mime_type, octet_length(content) as bytes from {schema}.invoice_logos where logo_id = $1`;

const READ_LOGO = `
select mime_type, encode(content, 'base64') as content
from {schema}.invoice_logos where logo_id = $1`;

interface SettingsRow {
  settings: string;
  logo_id: string | null;
  saved_at: string;
}

function storedOf(row: SettingsRow | undefined): StoredSettings {
  if (row === undefined) return DEFAULT_SETTINGS;
  const saved = JSON.parse(row.settings) as Partial<StoredSettings>;
  return { ...DEFAULT_SETTINGS, ...saved, logoId: row.logo_id };
}

/** The settings in force; the defaults where nothing was saved. */
export async function readSettings(session: Session): Promise<StoredSettings> {
  const [row] = await session.query<SettingsRow>(READ_SETTINGS);
  return storedOf(row);
}

/** A logo by its id, in base64; null when there is none. */
export async function readLogo(
  session: Session,
  logoId: string | null,
): Promise<{ mimeType: LogoType; content: string } | null> {
  if (logoId === null) return null;
  const [row] = await session.query<{ mime_type: LogoType; content: string }>(READ_LOGO, [logoId]);
  // Postgres breaks base64 into lines.
  return row === undefined
    ? null
    : { mimeType: row.mime_type, content: row.content.replaceAll('\n', '') };
}

async function settingsRecord(session: Session): Promise<InvoicingSettings> {
  const [row] = await session.query<SettingsRow>(READ_SETTINGS);
  const { logoId, ...settings } = storedOf(row);
  const [logo] = await session.query<{ mime_type: LogoType; bytes: number }>(READ_LOGO_SIZE, [
    logoId,
  ]);
  return {
    ...settings,
    dunning: await readDunning(session),
    logo: logo === undefined ? null : { mimeType: logo.mime_type, bytes: logo.bytes },
    savedAt: readTime(row?.saved_at ?? null),
  };
}

type Change = z.output<typeof saveSettingsInput>;

function sellerOf(change: Change['seller'], was: Seller | null): Seller | null {
  if (change === undefined) return was;
  if (change === null) return null;
  const before = was ?? NO_SELLER;
  const { address, ...plain } = change;
  return { ...changed(before, plain), address: given(address, before.address) };
}

function requireTwoSeries({ prefix, creditNotePrefix }: Numbering): void {
  if (prefix.toLowerCase() !== creditNotePrefix.toLowerCase()) return;
  throw new BillingError(
    'invalid_input',
    `Invoices and credit notes are numbered apart, and both would be "${prefix}".`,
    { parameter: 'numbering.creditNotePrefix', advice: 'Give one of them another prefix.' },
  );
}

const FIND_SERIES_USED = `
select exists (select from {schema}.credit_notes c where c.series = $1) as by_notes,
       exists (select from {schema}.invoices i where i.series = $2 and i.number is not null)
         as by_invoices`;

/** A series that has begun goes on with papers of its kind alone. */
async function requireOwnSeries(
  session: Session,
  { prefix, creditNotePrefix }: Numbering,
): Promise<void> {
  const [used] = await session.query<{ by_notes: boolean; by_invoices: boolean }>(
    FIND_SERIES_USED,
    [prefix, creditNotePrefix],
  );
  const refuse = (series: string, kind: string, field: string): never => {
    throw new BillingError('invalid_input', `"${series}" numbers ${kind} already.`, {
      parameter: `numbering.${field}`,
      advice: 'Invoices and credit notes are numbered apart: choose another prefix.',
    });
  };
  if (used!.by_notes) refuse(prefix, 'credit notes', 'prefix');
  if (used!.by_invoices) refuse(creditNotePrefix, 'invoices', 'creditNotePrefix');
}

export class Settings {
  constructor(private readonly context: Context) {}

  /** The settings in force. */
  async settings(): Promise<InvoicingSettings> {
    return settingsRecord(this.context.database);
  }

  /**
   * Changes what is given. Invoices that were finalized before keep what stood on them.
   *
   * @throws invalid_input (also for a logo that cannot be drawn), idempotency_conflict
   */
  async saveSettings(
    request: SaveSettingsRequest,
  ): Promise<InvoicingSettings & { replayed: boolean }> {
    const change = parse(saveSettingsInput, request);
    const { idempotencyKey, metadata: _metadata, tx, ...inputs } = change;
    const { logo: _logo, seller, dunning, ...plain } = inputs;
    const logo = change.logo ? await requireLogo(change.logo) : null;
    return sharedChange(
      this.context,
      { kind: 'saveSettings', request: inputs, idempotencyKey, tx },
      async (session, now) => {
        await session.query(LOCK_SETTINGS, [isoTime(now)]);
        const { logoId, ...before } = await readSettings(session);
        const numbering = { ...before.numbering, ...change.numbering };
        requireTwoSeries(numbering);
        if (change.numbering !== undefined) await requireOwnSeries(session, numbering);
        const settings: Omit<StoredSettings, 'logoId'> = {
          ...changed(before, { ...plain, numbering }),
          seller: sellerOf(seller, before.seller),
        };
        const kept = change.logo === undefined ? logoId : await saveLogo(session, logo, now);
        await session.query(SAVE_SETTINGS, [JSON.stringify(settings), kept, isoTime(now)]);
        if (dunning !== undefined) await saveDunning(session, dunning, now);
        return settingsRecord(session);
      },
    );
  }
}

async function saveLogo(
  session: Session,
  logo: { mimeType: LogoType; content: Buffer } | null,
  now: number,
): Promise<string | null> {
  if (logo === null) return null;
  const logoId = createHash('sha256').update(logo.content).digest('hex');
  await session.query(SAVE_LOGO, [
    logoId,
    logo.mimeType,
    logo.content.toString('base64'),
    isoTime(now),
  ]);
  return logoId;
}
