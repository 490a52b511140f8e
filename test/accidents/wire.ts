import { once } from 'node:events';
import * as net from 'node:net';

/** Messages of the protocol that a server answers with "ready": `Query` and `Sync`. */
const ASKS = new Set(['Q', 'S']);

/** An error as a server sends it: fields by their letters. */
export type ServerError = Record<'S' | 'C' | 'M', string> & Record<string, string>;

type Fault = 'none' | 'silent' | { error: ServerError };

/** Calls back with each message of a stream of the protocol, and gives what is no whole one yet. */
export function readMessages(
  buffer: Buffer,
  isStarting: boolean,
  read: (type: string, whole: Buffer) => void,
): Buffer {
  let rest = buffer;
  let starting = isStarting;
  for (;;) {
    const head = starting ? 0 : 1;
    if (rest.length < head + 4) return rest;
    const length = head + rest.readInt32BE(head);
    if (rest.length < length) return rest;
    read(starting ? '' : String.fromCharCode(rest[0]!), rest.subarray(0, length));
    rest = rest.subarray(length);
    starting = false;
  }
}

export const message = (type: string, body: Buffer): Buffer => {
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
};

const refusal = (error: ServerError): Buffer => {
  const fields = Object.entries(error).map(([letter, text]) => `${letter}${text}\0`);
  return Buffer.concat([
    message('E', Buffer.from(`${fields.join('')}\0`)),
    message('Z', Buffer.from('I')),
  ]);
};

/**
 * A wire to a Postgres server, through this process, that can go wrong: silent (what is sent is taken,
 * and nothing comes any more), or with an error in place of what the server would have answered.
 */
export class Wire {
  /** How often something was asked, on all connections. */
  asked = 0;
  /** Connections of the engine's that it has not ended. */
  readonly open = new Set<net.Socket>();
  /** So long the server's answers take, in milliseconds. */
  delay = 0;
  private fault: Fault = 'none';
  /** At which question from now on the fault begins. */
  private from = 0;
  private isAnswerLost = false;
  private refusals = 0;
  private readonly listener = net.createServer((socket) => this.carry(socket));

  private constructor(private readonly target: URL) {}

  static async to(url: string): Promise<Wire> {
    const wire = new Wire(new URL(url));
    wire.listener.listen(0, '127.0.0.1');
    await once(wire.listener, 'listening');
    return wire;
  }

  get url(): string {
    const url = new URL(this.target);
    url.hostname = '127.0.0.1';
    url.port = String((this.listener.address() as net.AddressInfo).port);
    return url.href;
  }

  /** Nothing comes from the nth question on; `answerLost`: the server gets that one. */
  silence({ at = 1, answerLost = false } = {}): void {
    this.fault = 'silent';
    this.from = this.asked + at;
    this.isAnswerLost = answerLost;
  }

  /** Each question from the nth on, or so many of them, is answered with this error. */
  refuse(error: ServerError, { at = 1, times = Infinity } = {}): void {
    this.fault = { error };
    this.from = this.asked + at;
    this.refusals = times;
  }

  /** New connections are carried again. Those that went silent stay so. */
  restore(): void {
    this.fault = 'none';
  }

  async close(): Promise<void> {
    for (const socket of this.open) socket.destroy();
    this.listener.close();
    await once(this.listener, 'close');
  }

  private get isFaulty(): boolean {
    return this.fault !== 'none' && this.asked >= this.from;
  }

  private carry(socket: net.Socket): void {
    this.open.add(socket);
    const server = net.connect(Number(this.target.port), this.target.hostname);
    let isSilent = false;
    let isStarting = true;
    let rest: Buffer = Buffer.alloc(0);
    /** What belongs to a question that is not whole yet: the server has not run it then, either. */
    let held: Buffer[] = [];
    const pass = (): void => {
      for (const whole of held) server.write(whole);
      held = [];
    };
    const take = (type: string, whole: Buffer): void => {
      const isQuestion = ASKS.has(type);
      held.push(whole);
      if (!isQuestion && !isStarting && 'PBDECH'.includes(type)) return;
      isStarting = false;
      if (isQuestion) this.asked += 1;
      if (this.fault === 'silent' && this.isFaulty) {
        if (isQuestion && this.isAnswerLost && !isSilent) pass();
        isSilent = true;
      } else if (isQuestion && typeof this.fault === 'object' && this.isFaulty) {
        held = [];
        this.refusals -= 1;
        socket.write(refusal(this.fault.error));
        if (this.refusals === 0) this.restore();
      }
      if (isSilent) held = [];
      else pass();
    };
    socket.on('data', (data) => {
      rest = readMessages(Buffer.concat([rest, data]), isStarting, take);
    });
    server.on('data', (data) => {
      if (isSilent) return;
      if (this.delay === 0) socket.write(data);
      else setTimeout(() => socket.write(data), this.delay);
    });
    for (const one of [socket, server]) one.on('error', () => undefined);
    socket.on('close', () => {
      this.open.delete(socket);
      server.destroy();
    });
    server.on('close', () => {
      if (!isSilent) socket.destroy();
    });
  }
}
