// The built program, on a database of its own.

import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Longer than any start takes on a busy machine, in milliseconds. */
const START_LIMIT = 120_000;
const PASSWORD = 'password123';

/** Keywire, which can be killed and started again on the same port and database. */
export class Keywire {
  readonly #dir: string;
  readonly #port: number;
  readonly #settings: Record<string, string>;
  #child: ChildProcess | undefined;
  #ended: Promise<unknown> = Promise.resolve();

  private constructor(dir: string, port: number, settings: Record<string, string>) {
    this.#dir = dir;
    this.#port = port;
    this.#settings = settings;
  }

  /** Starts it with settings of its own; gone with `stop`. */
  static async start(settings: Record<string, string> = {}): Promise<Keywire> {
    const dir = await mkdtemp(join(tmpdir(), 'keywire-client-'));
    // The account of a Postgres that root starts must pass.
    await chmod(dir, 0o755);
    const keywire = new Keywire(dir, await freePort(), settings);
    await keywire.start();
    return keywire;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.#port}/ws`;
  }

  async start(): Promise<void> {
    const settings = { LOCAL_DIR: join(this.#dir, 'local'), PORT: `${this.#port}`, LOG: 'warn', BCRYPT_COST: '4', DATABASE_TIMEOUT: '20s', LIMIT_LOGIN_ADDRESS: 'off', ...this.#settings };
    const child = spawn(process.env['TEST_KEYWIRE'] ?? '', { env: { ...process.env, ...settings }, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    this.#ended = new Promise((resolve) => child.once('exit', resolve));
    let said = '';
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`it is not ready:\n${said}`)), START_LIMIT);
      const listen = (chunk: Buffer): void => {
        said += chunk.toString();
        if (!said.includes('Keywire is ready')) return;
        clearTimeout(timer);
        resolve();
      };
      child.stdout.on('data', listen);
      child.stderr.on('data', listen);
      child.once('error', reject);
      child.once('exit', (code) => {
        clearTimeout(timer);
        reject(new Error(`it ended (${code}):\n${said}`));
      });
    });
  }

  /** As a machine that loses its power: nobody is told. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#ended;
  }

  /** As for an update: it drains first. */
  async restart(): Promise<void> {
    this.#child?.kill('SIGTERM');
    await this.#ended;
    await this.start();
  }

  async stop(): Promise<void> {
    this.#child?.kill('SIGTERM');
    await this.#ended;
    await rm(this.#dir, { recursive: true, force: true });
  }

  async register(username: string): Promise<void> {
    await this.#post('/register', { username, password: PASSWORD });
  }

  /** An access token of a new session. */
  async token(username: string): Promise<string> {
    const { access_token: token } = await this.#post('/login', { username, password: PASSWORD });
    return String(token);
  }

  async #post(path: string, body: object): Promise<Record<string, unknown>> {
    const response = await fetch(`http://127.0.0.1:${this.#port}${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as Record<string, unknown>;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
