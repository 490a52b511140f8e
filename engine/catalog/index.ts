import type { Context } from '../database';
import { Offers } from './offers';
import { Products } from './products';

export {
  DEFAULT_PRIORITY,
  decimalsOfCurrency,
  findOffer,
  findOffers,
  type Offer,
  type OfferItem,
  type SaveOfferRequest,
} from './offers';
export {
  findProducts,
  markProductsUsed,
  requireUnits,
  unknownProduct,
  type Product,
  type ProductKind,
  type SaveProductRequest,
} from './products';

/** `billing.catalog`: what can be used, and what is sold. */
export interface Catalog {
  saveProduct: Products['saveProduct'];
  getProduct: Products['getProduct'];
  listProducts: Products['listProducts'];
  saveOffer: Offers['saveOffer'];
  getOffer: Offers['getOffer'];
  listOffers: Offers['listOffers'];
}

export function openCatalog(context: Context): Catalog {
  const products = new Products(context);
  const offers = new Offers(context);
  return {
    saveProduct: products.saveProduct.bind(products),
    getProduct: products.getProduct.bind(products),
    listProducts: products.listProducts.bind(products),
    saveOffer: offers.saveOffer.bind(offers),
    getOffer: offers.getOffer.bind(offers),
    listOffers: offers.listOffers.bind(offers),
  };
}
