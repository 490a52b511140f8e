/** n8n in queue mode: a main, a webhook process and two workers, on a Redis and a Postgres of their own. */
import pg from 'pg';
import type { PostgresServer } from '../../postgres/server.mjs' with {
  'resolution-mode': 'import',
};
import type { N8nProcess } from '../n8n-process';
import { freePorts } from '../ports';
import { RealN8n, isReady } from '../real-n8n';
import { RedisServer } from '../redis';

const WORKERS = 2;

export class QueueN8n {
  private readonly workers: (N8nProcess | undefined)[] = [];
  private webhook: N8nProcess | undefined;
  private ports: number[] = [];
  private isDisposed = false;

  private constructor(
    readonly main: RealN8n,
    readonly postgres: PostgresServer,
    readonly redis: RedisServer,
  ) {}

  static async start(packages: readonly string[]): Promise<QueueN8n> {
    const { PostgresServer } = await import('../../postgres/server.mjs');
    const postgres = await PostgresServer.create();
    const redis = await RedisServer.create();
    const url = new URL(postgres.url);
    const client = new pg.Client({ connectionString: postgres.url });
    await client.connect();
    await client.query('create database n8n');
    await client.end();
    const main = new RealN8n({
      packages,
      env: {
        EXECUTIONS_MODE: 'queue',
        QUEUE_BULL_REDIS_HOST: '127.0.0.1',
        QUEUE_BULL_REDIS_PORT: String(redis.port),
        // n8n ends itself when Redis is away for ten seconds; Docker would start it again.
        QUEUE_BULL_REDIS_TIMEOUT_THRESHOLD: '120000',
        DB_TYPE: 'postgresdb',
        DB_POSTGRESDB_HOST: url.hostname,
        DB_POSTGRESDB_PORT: url.port,
        DB_POSTGRESDB_DATABASE: 'n8n',
        DB_POSTGRESDB_USER: url.username,
        DB_POSTGRESDB_PASSWORD: url.password,
      },
    });
    const started = new QueueN8n(main, postgres, redis);
    try {
      started.ports = await freePorts(2 + WORKERS);
      await main.start();
      await started.startWebhook();
      for (let index = 0; index < WORKERS; index += 1) started.startWorker(index);
      return started;
    } catch (error) {
      await started.dispose();
      throw error;
    }
  }

  /** POSTs to a webhook at the webhook process; the answer's JSON, or undefined if it was none of 200. */
  async call(path: string, body: unknown): Promise<Record<string, unknown> | undefined> {
    try {
      const response = await fetch(`http://127.0.0.1:${this.ports[0]}/webhook/${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', connection: 'close' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(30_000),
      });
      const text = await response.text();
      return response.status === 200 ? (JSON.parse(text) as Record<string, unknown>) : undefined;
    } catch {
      // Away, slow, or an answer of none: the caller tries again.
      return undefined;
    }
  }

  async killWorkers(...indices: number[]): Promise<void> {
    await Promise.all(indices.map((index) => this.workers[index]!.kill()));
  }

  async dispose(): Promise<void> {
    this.isDisposed = true;
    const others = [this.webhook, ...this.workers];
    await Promise.all(others.map((process) => process?.kill()));
    await this.main.kill();
    await this.main.dispose();
    await this.redis.stop();
    await this.postgres.destroy();
  }

  private async startWebhook(): Promise<void> {
    const [port, brokerPort] = this.ports;
    const env = { N8N_PORT: String(port), N8N_RUNNERS_BROKER_PORT: String(brokerPort) };
    this.keepUp('webhook', env, (process) => (this.webhook = process));
    while (!(await isReady(`http://127.0.0.1:${port}`))) {
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  private startWorker(index: number): void {
    const env = { N8N_RUNNERS_BROKER_PORT: String(this.ports[2 + index]) };
    this.keepUp('worker', env, (process) => (this.workers[index] = process));
  }

  /** Starts it, and again when it ends, as whatever runs n8n does: killed, or by itself without Redis. */
  private keepUp(
    command: string,
    env: Record<string, string>,
    started: (process: N8nProcess) => void,
  ): void {
    if (this.isDisposed) return;
    const process = this.main.process(command, env);
    started(process);
    void process.ended.then(() => this.keepUp(command, env, started));
  }
}
