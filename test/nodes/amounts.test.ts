import { plainAmount } from '../../nodes/shared/amounts';

describe('amounts out of parameters', () => {
  it.each([
    [1, '1'],
    [0.5, '0.5'],
    [1e-7, '0.0000001'],
    [0.1 + 0.2, '0.30000000000000004'],
    [-2, '-2'],
    [0, '0'],
    [Number.MAX_SAFE_INTEGER, '9007199254740991'],
  ])('%d is plain text: %s', (number, text) => expect(plainAmount(number)).toBe(text));

  it.each([[undefined], [null], [''], ['1.50'], ['1e3'], [NaN], [Infinity], [2 ** 53], [true]])(
    '%p is left to the engine',
    (value) => expect(plainAmount(value)).toBe(value),
  );
});
