import { simplified, withNumbers } from '../../nodes/shared/simplify';

const offer = {
  sku: 'pack',
  version: 3,
  name: 'Pack',
  price: '5.00',
  listPrice: null,
  currency: 'USD',
  billing: 'one_time',
  interval: null,
  bonuses: [],
  collect: null,
  items: [
    { product: 'messages', quantity: '10', expiresAfter: null, priority: 50, refill: false },
    { product: 'credits', quantity: '1', expiresAfter: { unit: 'day', count: 3 }, refill: true },
  ],
  metadata: { sku: null, tags: [] },
  createdAt: '2026-01-01T00:00:00.000Z',
};

describe('records in short', () => {
  it.each<[string, object, object]>([
    [
      'an offer, with its items',
      offer,
      {
        sku: 'pack',
        name: 'Pack',
        price: '5.00',
        currency: 'USD',
        billing: 'one_time',
        items: [
          { product: 'messages', quantity: '10' },
          { product: 'credits', quantity: '1', expiresAfter: { unit: 'day', count: 3 } },
        ],
        metadata: { sku: null, tags: [] },
      },
    ],
    [
      'a yes: nothing to buy is said, nothing else that is empty',
      {
        suggestedOffers: [],
        expiresAt: null,
        unit: 'message',
        remaining: '0',
        reason: null,
        allowed: true,
        replayed: false,
      },
      { allowed: true, remaining: '0', unit: 'message', suggestedOffers: [], replayed: false },
    ],
    [
      'a no, with what can be bought',
      {
        allowed: false,
        reason: 'insufficient_balance',
        entryId: null,
        suggestedOffers: [
          {
            product: 'messages',
            quantity: '10',
            sku: 'pack',
            name: 'Pack',
            price: '5.00',
            listPrice: null,
            currency: 'USD',
          },
        ],
      },
      {
        allowed: false,
        reason: 'insufficient_balance',
        suggestedOffers: [
          {
            sku: 'pack',
            name: 'Pack',
            price: '5.00',
            currency: 'USD',
            product: 'messages',
            quantity: '10',
          },
        ],
      },
    ],
    [
      'an order that was denied, as a no',
      {
        allowed: false,
        reason: 'already_purchased',
        sku: 'pack',
        orderId: null,
        suggestedOffers: [],
      },
      { allowed: false, reason: 'already_purchased', suggestedOffers: [], sku: 'pack' },
    ],
    [
      'an account: its empty parts go, whoever it is stays',
      {
        accountId: 'a',
        parentId: null,
        status: 'active',
        name: 'Ann',
        email: null,
        contact: { name: null, address: { city: null } },
        identities: [{ provider: 'telegram', externalId: '7' }],
        aliases: [],
        metadata: {},
      },
      {
        accountId: 'a',
        name: 'Ann',
        status: 'active',
        identities: [{ provider: 'telegram', externalId: '7' }],
      },
    ],
    [
      'a kind that nobody knows: as it is, without what says nothing',
      { ok: true, problems: [], checked: { entries: 3 }, savedAt: null },
      { ok: true, problems: [], checked: { entries: 3 } },
    ],
  ])('%s', (_name, record, short) => {
    expect(simplified(record)).toEqual(short);
    expect(JSON.stringify(simplified(record))).toBe(JSON.stringify(short));
  });
});

describe('amounts as numbers', () => {
  it.each([
    ['40.00', 40],
    ['-0.5', -0.5],
    ['0.00000001', 1e-8],
    ['123456789.012345', 123456789.012345],
    ['1234567890.123456', '1234567890.123456'],
    ['9007199254740993', '9007199254740993'],
    ['1000000000000000000000', 1e21],
  ])('%s is %p', (amount, given) => {
    expect(withNumbers({ amount })).toEqual({ amount: given });
  });

  it('are amounts alone: nothing that is called by digits', () => {
    const record = {
      number: '000123',
      externalId: '1001',
      sku: '100',
      percent: '12.5',
      metadata: { amount: '5' },
      available: null,
      refund: { amount: '2.50', units: [{ product: '7', quantity: '3' }] },
      total: 'none',
    };
    expect(withNumbers(record)).toEqual({
      ...record,
      refund: { amount: 2.5, units: [{ product: '7', quantity: 3 }] },
    });
  });
});
