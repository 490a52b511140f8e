import type { Session } from '../database';
import { ZERO, formatUnits, formatValue, isoTime, ledgerId, type Instant } from '../kernel';
import { readCountingGrants } from './holdings';
import { hasExpired } from './order-of-use';
import type { Grant } from './pockets';
import { unitValue, valueLeft } from './value';

/** A grant as it goes out. */
export interface GrantRecord {
  grantId: string;
  product: string;
  initial: string;
  /** Units that can be used at this moment; an expired grant has none. */
  remaining: string;
  /** Units set aside by holds; they do not expire until the hold ends. */
  held: string;
  /** Smaller is used first. */
  priority: number;
  validFrom: string;
  /** The instant from which it does not count; null: never. */
  expiresAt: string | null;
  source: string | null;
  /** The money it was bought for, 8 decimals; '0.00000000' when it was given. */
  value: string;
  /** Of it, what the units that remain and those on hold carry, 8 decimals. */
  valueLeft: string;
  /** For showing: what one unit was bought for, 8 decimals. */
  unitValue: string;
  currency: string | null;
}

/** @param grant as it counts at `now`: holds that are over have given their units back */
export function grantRecord(grant: Grant, source: string | null, now: Instant): GrantRecord {
  const remaining = hasExpired(grant, now) ? ZERO : grant.remaining;
  return {
    grantId: ledgerId(grant.payerId, grant.sequence),
    product: grant.product,
    initial: formatUnits(grant.initial),
    remaining: formatUnits(remaining),
    held: formatUnits(grant.held),
    priority: grant.priority,
    validFrom: isoTime(grant.validFrom),
    expiresAt: isoTime(grant.expiresAt),
    source,
    value: formatValue(grant.value),
    valueLeft: formatValue(valueLeft(grant.value, remaining.plus(grant.held), grant.initial)),
    unitValue: formatValue(unitValue(grant.value, grant.initial)),
    currency: grant.currency,
  };
}

/** Grants of one ledger by their numbers, as they go out, in the order asked for. */
export async function readGrantRecords(
  session: Session,
  payerId: string,
  sequences: readonly bigint[],
  clock: Instant,
): Promise<GrantRecord[]> {
  const { grants, now } = await readCountingGrants(session, payerId, sequences, clock);
  return grants.map((grant) => grantRecord(grant, grant.source, now));
}
