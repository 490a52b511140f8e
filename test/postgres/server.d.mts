/** See server.mjs. */
export class PostgresServer {
  static create(options?: {
    major?: number;
    settings?: Record<string, string>;
  }): Promise<PostgresServer>;
  readonly url: string;
  readonly port: number;
  start(): Promise<void>;
  stop(signal?: NodeJS.Signals): Promise<void>;
  destroy(): Promise<void>;
}
export function freePort(): Promise<number>;
