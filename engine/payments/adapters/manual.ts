import type { Gateway } from '../gateway';

/** Bank transfer and cash: people say what came in; nothing is charged and nothing given back by it. */
export const manualGateway: Gateway = { name: 'manual', charges: false, refunds: false };
