const n8n = require('../jest.config.js');

/** `npm run test:queue`: the packed package in a real n8n's queue mode. */
module.exports = {
  ...n8n,
  rootDir: '../../..',
  testMatch: ['<rootDir>/test/n8n/queue/*.test.ts'],
  testPathIgnorePatterns: ['/node_modules/'],
  // As long as it takes: leases run out, and a killed worker is missed only after a minute.
  testTimeout: 1_800_000,
};
