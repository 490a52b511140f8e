const fs = require('node:fs');
const path = require('node:path');

const { TestEnvironment } = require('jest-environment-node');

const WASM = path.join(__dirname, '../../node_modules/@electric-sql/pglite/dist/pglite.wasm');

let compiled;

/**
 * Node as the suites get it. Each worker keeps PGlite's WebAssembly compiled, and V8 takes it from
 * there: what it has made fast in one suite is fast in the next.
 */
module.exports = class extends TestEnvironment {
  async setup() {
    compiled ??= new WebAssembly.Module(fs.readFileSync(WASM));
    await super.setup();
  }
};
