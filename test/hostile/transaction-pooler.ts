import { once } from 'node:events';
import * as net from 'node:net';

import pg from 'pg';

import { message, readMessages } from '../accidents/wire';

/** What a client may say before its first question: the codes of a request for TLS and for GSS. */
const REFUSED_AT_START = new Set([80877103, 80877104]);
/** The first byte of `ready` is how the session stands; this: in no transaction. */
const IDLE = 'I';

interface Backend {
  stream: net.Socket;
  end(): Promise<void>;
}

/**
 * A pooler in transaction mode before a Postgres server, as PgBouncer is, and stricter: whoever asks
 * gets the backend that has been idle longest for one transaction, and another for the next one. Names
 * of prepared statements and settings stay with the backend where they were made, for whoever comes.
 */
export class TransactionPooler {
  /** How often a backend was handed out. */
  handedOut = 0;
  private readonly idle: Backend[] = [];
  private readonly waiting: Array<(backend: Backend) => void> = [];
  private readonly clients = new Set<net.Socket>();
  private readonly backends = new Set<Backend>();
  private readonly listener = net.createServer((socket) => this.serve(socket));

  private constructor(private readonly target: string) {}

  static async to(target: string, backends: number): Promise<TransactionPooler> {
    const pooler = new TransactionPooler(target);
    for (let one = 0; one < backends; one += 1) await pooler.addBackend();
    pooler.listener.listen(0, '127.0.0.1');
    await once(pooler.listener, 'listening');
    return pooler;
  }

  get url(): string {
    const url = new URL(this.target);
    url.hostname = '127.0.0.1';
    url.port = String((this.listener.address() as net.AddressInfo).port);
    return url.href;
  }

  async close(): Promise<void> {
    for (const socket of this.clients) socket.destroy();
    for (const backend of this.backends) await backend.end();
    this.listener.close();
    await once(this.listener, 'close');
  }

  /** The driver logs in; from then on its connection is ours. */
  private async addBackend(): Promise<void> {
    const client = new pg.Client({ connectionString: this.target });
    await client.connect();
    const { stream } = (client as unknown as { connection: { stream: net.Socket } }).connection;
    stream.removeAllListeners('data');
    client.on('error', () => undefined);
    const backend: Backend = {
      stream,
      end: async () => {
        this.backends.delete(backend);
        if (stream.closed) return;
        stream.destroy();
        await once(stream, 'close');
      },
    };
    this.backends.add(backend);
    this.giveBack(backend);
  }

  private giveBack(backend: Backend): void {
    const next = this.waiting.shift();
    if (next === undefined) this.idle.push(backend);
    else next(backend);
  }

  private take(): Promise<Backend> {
    this.handedOut += 1;
    const backend = this.idle.shift();
    return backend === undefined
      ? new Promise((resolve) => this.waiting.push(resolve))
      : Promise.resolve(backend);
  }

  private serve(socket: net.Socket): void {
    this.clients.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.clients.delete(socket));
    const session = new ClientSession(
      socket,
      () => this.take(),
      (backend) => this.giveBack(backend),
      // Whatever it had begun is undone by the server.
      (backend) => void backend.end().then(() => this.addBackend()),
    );
    let rest: Buffer = Buffer.alloc(0);
    let isStarting = true;
    const start = (whole: Buffer): void => {
      if (REFUSED_AT_START.has(whole.readInt32BE(4))) {
        socket.write('N');
        return;
      }
      isStarting = false;
      const granted = message('R', Buffer.alloc(4));
      socket.write(Buffer.concat([granted, message('Z', Buffer.from(IDLE))]));
    };
    socket.on('data', (data) => {
      rest = Buffer.concat([rest, data]);
      if (isStarting) rest = readMessages(rest, true, (_, whole) => start(whole));
      else rest = readMessages(rest, false, (type, whole) => session.ask(type, whole));
    });
  }
}

/** One client: its questions go to a backend one by one, and keep it while a transaction is open. */
class ClientSession {
  private backend: Backend | null = null;
  private isTaking = false;
  /** Questions, each of all messages up to where the server is asked to be ready. */
  private readonly questions: Buffer[] = [];
  private parts: Buffer[] = [];
  private isAsking = false;
  private isGone = false;
  private rest: Buffer = Buffer.alloc(0);
  private readonly hear = (data: Buffer): void => this.answer(data);

  constructor(
    private readonly socket: net.Socket,
    private readonly take: () => Promise<Backend>,
    private readonly giveBack: (backend: Backend) => void,
    private readonly discard: (backend: Backend) => void,
  ) {
    socket.on('close', () => this.leave());
  }

  ask(type: string, whole: Buffer): void {
    if (type === 'X') return void this.socket.end();
    this.parts.push(whole);
    if (type !== 'Q' && type !== 'S') return;
    this.questions.push(Buffer.concat(this.parts));
    this.parts = [];
    void this.next();
  }

  private async next(): Promise<void> {
    if (this.isAsking || this.isTaking || this.questions.length === 0) return;
    if (this.backend === null) {
      this.isTaking = true;
      const backend = await this.take();
      this.isTaking = false;
      if (this.isGone) return this.giveBack(backend);
      this.backend = backend;
      backend.stream.on('data', this.hear);
    }
    this.isAsking = true;
    this.backend.stream.write(this.questions.shift()!);
  }

  private answer(data: Buffer): void {
    let status = '';
    this.rest = readMessages(Buffer.concat([this.rest, data]), false, (type, whole) => {
      if (type === 'Z') status = String.fromCharCode(whole[5]!);
    });
    this.socket.write(data);
    if (status === '') return;
    this.isAsking = false;
    if (status === IDLE) {
      const { backend } = this;
      this.backend = null;
      backend!.stream.off('data', this.hear);
      this.giveBack(backend!);
    }
    void this.next();
  }

  private leave(): void {
    this.isGone = true;
    const { backend } = this;
    this.backend = null;
    if (backend === null) return;
    backend.stream.off('data', this.hear);
    this.discard(backend);
  }
}
