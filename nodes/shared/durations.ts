import type { INodeProperties } from 'n8n-workflow';

import { BillingError, type Duration } from '../../engine';

/** What a duration counts, as the editor offers it. */
export const durationUnits = [
  { name: 'Days', value: 'day' },
  { name: 'Hours', value: 'hour' },
  { name: 'Minutes', value: 'minute' },
  { name: 'Months', value: 'month' },
  { name: 'Seconds', value: 'second' },
  { name: 'Weeks', value: 'week' },
  { name: 'Years', value: 'year' },
];

/** Days and longer: an offer is neither renewed nor tried by the hour. */
export const longDurationUnits = durationUnits.filter(({ value }) =>
  ['day', 'week', 'month', 'year'].includes(value),
);

/** A length of time in two fields: how many, and of what. */
export function durationFields(options: {
  count: string;
  unit: string;
  description: string;
  units?: typeof durationUnits;
  defaultUnit?: string;
  /** Where 0 means something. */
  least?: number;
}): INodeProperties[] {
  const { count, unit, description, units = durationUnits } = options;
  const { defaultUnit = 'month', least = 1 } = options;
  return [
    {
      displayName: count,
      name: 'count',
      type: 'number',
      default: 1,
      typeOptions: { minValue: least, numberPrecision: 0 },
      description,
    },
    {
      displayName: unit,
      name: 'unit',
      type: 'options',
      options: units,
      default: defaultUnit,
      description: "Counted in the account's time zone",
    },
  ];
}

/** What the two fields say; the engine judges it. */
export function durationOf(written: unknown): Duration {
  const { count, unit } = (written ?? {}) as { count?: unknown; unit?: unknown };
  if (count === undefined || count === null || count === '') {
    throw new BillingError('invalid_input', 'A length of time has no number.', {
      parameter: 'count',
      advice: 'Write how many days, months and so on.',
    });
  }
  return { count, unit } as Duration;
}
