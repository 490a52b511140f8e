/** The machine's own `redis-server`, with nothing on disk, on a port of its own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createConnection } from 'node:net';
import * as os from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePorts } from './ports';

export class RedisServer {
  private child: ChildProcess | undefined;

  private constructor(readonly port: number) {}

  static async create(): Promise<RedisServer> {
    const [port] = await freePorts(1);
    const server = new RedisServer(port!);
    await server.start();
    return server;
  }

  async start(): Promise<void> {
    const args = ['--port', String(this.port), '--bind', '127.0.0.1', '--save', ''];
    this.child = spawn('redis-server', [...args, '--dir', os.tmpdir()], { stdio: 'ignore' });
    const failed = new Promise<never>((_resolve, reject) => {
      this.child!.once('error', reject);
      this.child!.once('exit', (code) => reject(new Error(`redis-server ended with ${code}`)));
    });
    failed.catch(() => undefined);
    while ((await Promise.race([this.ask('PING'), failed])) === undefined) await sleep(50);
  }

  /** Ends it, and all that was in it is gone. */
  async stop(): Promise<void> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  async empty(): Promise<void> {
    await this.ask('FLUSHALL');
  }

  /** The answer to a command; undefined while nobody listens. */
  private ask(command: string): Promise<string | undefined> {
    return new Promise((resolve) => {
      const socket = createConnection(this.port, '127.0.0.1', () => socket.write(`${command}\r\n`));
      socket.once('error', () => resolve(undefined));
      socket.once('data', (answer) => {
        resolve(String(answer));
        socket.destroy();
      });
    });
  }
}
