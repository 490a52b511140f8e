import { findOfferVersion, type Offer } from '../catalog';
import type { Session } from '../database';
import type { OfferOf } from './planning';

/** Versions of offers, each read once. For one run: a version that somebody undoes may come back as another. */
export class OfferVersions {
  private readonly known = new Map<string, Offer>();

  constructor(offers: readonly Offer[] = []) {
    for (const offer of offers) this.known.set(nameOf(offer), offer);
  }

  /** @throws unknown_offer */
  async load(session: Session, names: Iterable<{ sku: string; version: number }>): Promise<void> {
    for (const { sku, version } of names) {
      const name = nameOf({ sku, version });
      if (!this.known.has(name)) {
        this.known.set(name, await findOfferVersion(session, sku, version));
      }
    }
  }

  /** One that was loaded. */
  readonly of: OfferOf = (sku, version) => this.known.get(nameOf({ sku, version }))!;
}

const nameOf = ({ sku, version }: { sku: string; version: number }): string => `${version} ${sku}`;
