import type { ILoadOptionsFunctions, INodeListSearchResult } from 'n8n-workflow';

import type { Account, Billing, Offer, Product } from '../../engine';
import { itemError, nodeError } from './itemErrors';
import { withBilling } from './withBilling';

/** What the pickers show. Accounts may be many and come by pages; a catalog is small. */

const ACCOUNTS_A_PAGE = 50;

function labelOfAccount({ name, email, identities, accountId }: Account): string {
  const known = identities.map(({ provider, externalId }) => `${provider}: ${externalId}`);
  const [title = accountId, ...rest] = [name, email, ...known].filter((part) => part !== null);
  return rest.length === 0 ? title : `${title} (${rest.join(', ')})`;
}

const labelOfProduct = ({ name, key }: Product): string =>
  name === key ? name : `${name} (${key})`;

function labelOfOffer({ name, price, currency, ...offer }: Offer): string {
  const remarks = [offer.public ? null : 'private', offer.active ? null : 'inactive'];
  return [`${name}, ${price} ${currency}`, ...remarks].filter((part) => part !== null).join(', ');
}

function holds(filter: string | undefined, ...texts: string[]): boolean {
  const wanted = filter?.trim().toLowerCase() ?? '';
  return texts.some((text) => text.toLowerCase().includes(wanted));
}

/** Reads for a picker. What fails is shown in the picker's place, so it speaks as a node does. */
async function read<T>(
  context: ILoadOptionsFunctions,
  work: (billing: Billing) => Promise<T>,
): Promise<T> {
  try {
    return await withBilling(context, work);
  } catch (error) {
    throw nodeError(context, itemError(error));
  }
}

export async function searchAccounts(
  this: ILoadOptionsFunctions,
  filter?: string,
  paginationToken?: string,
): Promise<INodeListSearchResult> {
  const { items, nextCursor } = await read(this, (billing) =>
    billing.accounts.list({
      search: filter?.trim() || undefined,
      limit: ACCOUNTS_A_PAGE,
      cursor: paginationToken,
    }),
  );
  return {
    results: items.map((account) => ({ name: labelOfAccount(account), value: account.accountId })),
    paginationToken: nextCursor ?? undefined,
  };
}

export async function searchProducts(
  this: ILoadOptionsFunctions,
  filter?: string,
): Promise<INodeListSearchResult> {
  const products = await read(this, (billing) => billing.catalog.listProducts());
  return {
    results: products
      .filter((product) => holds(filter, product.key, product.name))
      .map((product) => ({ name: labelOfProduct(product), value: product.key })),
  };
}

/** Private and inactive offers too: they can be granted and edited. */
export async function searchOffers(
  this: ILoadOptionsFunctions,
  filter?: string,
): Promise<INodeListSearchResult> {
  const offers = await read(this, (billing) =>
    billing.catalog.listOffers({ includePrivate: true, includeInactive: true }),
  );
  return {
    results: offers
      .filter((offer) => holds(filter, offer.sku, offer.name))
      .map((offer) => ({ name: labelOfOffer(offer), value: offer.sku })),
  };
}
