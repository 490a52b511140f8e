import { isoTime, type Instant } from '../kernel';

/**
 * SQL that reads a time as milliseconds since 1970, in text: the drivers parse times differently,
 * and the form of a time in text depends on settings of the server.
 */
export const atTime = (column: string): string =>
  `(extract(epoch from ${column}) * 1000)::bigint::text`;

/** What `atTime` gave, as an ISO string; null stays null. */
export function readTime(milliseconds: string): string;
export function readTime(milliseconds: string | null): string | null;
export function readTime(milliseconds: string | null): string | null {
  return milliseconds === null ? null : isoTime(toInstant(milliseconds));
}

export function toInstant(milliseconds: string): Instant {
  return Number.parseInt(milliseconds, 10);
}
