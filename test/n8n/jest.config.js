const { transform } = require('../../jest.config.js');

/** `npm run test:n8n`: the packed package in a real n8n, on the embedded database and on a server. */
module.exports = {
  rootDir: '../..',
  testMatch: ['<rootDir>/test/n8n/*.test.ts'],
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/output/'],
  transform,
  globalSetup: '<rootDir>/test/n8n/set-up.ts',
  globalTeardown: '<rootDir>/test/n8n/tear-down.ts',
  testTimeout: 240_000,
  maxWorkers: 1,
};
