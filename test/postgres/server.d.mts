/** See server.mjs. */
export class PostgresServer {
  static memory(): string;
  static create(options?: {
    major?: number;
    settings?: Record<string, string>;
    /** The folder below which its own is made; the temporary one when left out. */
    place?: string;
  }): Promise<PostgresServer>;
  readonly url: string;
  readonly port: number;
  start(): Promise<void>;
  stop(signal?: NodeJS.Signals): Promise<void>;
  destroy(): Promise<void>;
}
export function freePort(): Promise<number>;
