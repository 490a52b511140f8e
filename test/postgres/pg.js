const { hash } = require('node:crypto');

const pg = require('../../node_modules/pg');

/** What a connection keeps at most: suites open many schemas, and each has statements of its own. */
const MOST = 500;

/**
 * The driver as the suites get it (jest.config.js maps it here): a connection keeps statements
 * prepared, for tests send the same ones many times, and parsing costs the server more than running
 * them. BILLING_TEST_PREPARED=0 leaves it to the engine, for suites that look at what that keeps.
 */
class Client extends pg.Client {
  names = new Map();

  query(statement, values, callback) {
    const isText = typeof statement === 'string';
    const sent = isText ? values : statement?.values;
    const isOurs = Array.isArray(sent) && sent.length > 0 && statement.name === undefined;
    if (!isOurs || process.env.BILLING_TEST_PREPARED === '0') {
      return super.query(statement, values, callback);
    }
    const name = this.nameOf(isText ? statement : statement.text);
    if (isText) return super.query({ name, text: statement, values }, callback);
    statement.name = name;
    return super.query(statement, values, callback);
  }

  nameOf(text) {
    let name = this.names.get(text);
    if (name === undefined && this.names.size < MOST) {
      name = `test_${hash('sha256', text, 'hex').slice(0, 24)}`;
      this.names.set(text, name);
    }
    return name;
  }
}

module.exports = Object.assign(Object.create(pg), { Client });
