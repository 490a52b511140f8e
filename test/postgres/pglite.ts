import * as fs from 'node:fs';
import * as path from 'node:path';

import {
  PGlite as Original,
  protocol,
  type PGliteOptions,
} from '../../node_modules/@electric-sql/pglite/dist/index.cjs';

/**
 * PGlite as the suites get it (jest.config.js maps it here): a database in memory, or in a folder
 * that has none yet, begins as a copy of the one that was begun and migrated before all tests. What
 * child processes open, and what suites open after `beginEmpty`, begins as everybody's does.
 *
 * A copy keeps statements prepared, for tests send the same ones many times, and parsing costs more
 * than running them.
 */
export class PGlite extends Original {
  private readonly prepared?: Prepared;

  constructor(place: string, options: PGliteOptions) {
    const file = isNew(place) ? process.env.BILLING_TEST_DUMP : undefined;
    super(place, file === undefined ? options : { loadDataDir: read(file), ...options });
    if (file !== undefined) this.prepared = new Prepared();
  }

  /** What `query` and `exec` send, message by message. */
  override execProtocolStream(
    ...[message, options]: Parameters<Original['execProtocolStream']>
  ): Promise<Messages> {
    const send = (bytes: Uint8Array): Promise<Messages> => super.execProtocolStream(bytes, options);
    return this.prepared?.answer(message, send) ?? send(message);
  }
}

type Messages = Awaited<ReturnType<Original['execProtocolStream']>>;
type Send = (message: Uint8Array) => Promise<Messages>;

interface Kept {
  name: string;
  /** What it answers when its parameters, or its rows, are asked for. */
  parameters?: Messages;
  rows?: Messages;
}

/** What is kept at most: suites open many schemas, and each has statements of its own. */
const MOST = 500;
const READS_OR_WRITES = /^\s*(select|with|insert|update|delete)\b/i;
const IS_TRANSACTIONS = /^\s*(begin|commit|rollback|savepoint|release|set local)\b/i;

/** The statements of a database, by text. */
class Prepared {
  private kept = new Map<string, Kept>();
  private forgotten: Uint8Array[] = [];
  private count = 0;
  /** The one that is asked for now, and its values, which go with the message after them. */
  private current: Kept | null = null;
  private values: Uint8Array[] = [];

  /** A statement comes as messages: its text, a question for its parameters, its values, another for
   * its rows, and that it be run; or, without any values, as one. */
  async answer(message: Uint8Array, send: Send): Promise<Messages> {
    const { current } = this;
    switch (String.fromCharCode(message[0]!)) {
      case 'P':
        return this.parse(message, textAt(message, 6), send);
      case 'Q':
        if (!IS_TRANSACTIONS.test(textAt(message, 5))) this.forget();
        return send(message);
      case 'D':
        return current === null ? send(message) : this.describe(current, message, send);
      case 'B':
        if (current === null) return send(message);
        this.values = [withName(message, current.name)];
        return [];
      case 'E':
        return send(this.withValues(message));
      default:
        return send(message);
    }
  }

  private async parse(message: Uint8Array, text: string, send: Send): Promise<Messages> {
    this.values = [];
    this.current = this.kept.get(text) ?? null;
    if (this.current !== null) return [];
    const isKept = READS_OR_WRITES.test(text);
    if (!isKept || this.kept.size >= MOST) this.forget();
    if (!isKept) return send(message);
    const name = `test_${(this.count += 1)}`;
    const answer = await send(
      Buffer.concat([...this.forgotten.splice(0), protocol.serialize.parse({ text, name })]),
    );
    this.current = { name };
    this.kept.set(text, this.current);
    return answer;
  }

  private async describe(kept: Kept, message: Uint8Array, send: Send): Promise<Messages> {
    const isOfRows = message[5] === 'P'.charCodeAt(0);
    if (isOfRows) return (kept.rows ??= await send(this.withValues(message)));
    const { name } = kept;
    return (kept.parameters ??= await send(protocol.serialize.describe({ type: 'S', name })));
  }

  private withValues = (message: Uint8Array): Uint8Array =>
    Buffer.concat([...this.values.splice(0), message]);

  /** After whatever may have changed what they mean. */
  private forget(): void {
    for (const { name } of this.kept.values()) {
      this.forgotten.push(protocol.serialize.close({ type: 'S', name }));
    }
    this.kept.clear();
  }
}

const textAt = (message: Uint8Array, from: number): string =>
  Buffer.from(message.subarray(from, message.indexOf(0, from))).toString();

/** A message that binds values to the statement without a name, for another. */
function withName(message: Uint8Array, name: string): Uint8Array {
  const named = Buffer.concat([message.subarray(0, 6), Buffer.from(name), message.subarray(6)]);
  named.writeUInt32BE(named.length - 1, 1);
  return named;
}

const isNew = (place: string): boolean =>
  place === 'memory://' || !fs.existsSync(path.join(place, 'PG_VERSION'));

/** As much of a Blob as PGlite asks for: a real one would copy it all twice. */
const read = (file: string): Blob => {
  const { buffer } = (dump ??= fs.readFileSync(file));
  return { type: '', arrayBuffer: () => Promise.resolve(buffer) } as Blob;
};
let dump: Buffer | undefined;
