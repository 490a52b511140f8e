import { DateTime } from 'luxon';
import type { IExecuteFunctions } from 'n8n-workflow';

/** The editor's dates have no offset: they are in the workflow's time zone. */
export function timeOf(
  context: Pick<IExecuteFunctions, 'getTimezone'>,
  value: unknown,
): string | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  const written = String(value);
  const time = DateTime.fromISO(written, { zone: context.getTimezone() });
  // What is no time the engine refuses, naming the parameter.
  return time.isValid ? time.toUTC().toISO() : written;
}
