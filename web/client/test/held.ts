// Time that stands still until a test moves it, and sockets that a test speaks for.

import { type Client, type ClientOptions, type Clock, type Socket, createClient } from '../dist/index.js';

/** A clock on which time passes only in `pass`. */
export class HeldClock implements Clock {
  #now = 1_000;
  #timers: { at: number; call: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  today(): number {
    return this.#now;
  }

  start(ms: number, call: () => void): () => void {
    const timer = { at: this.#now + ms, call };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** How many timers are set. */
  timers(): number {
    return this.#timers.length;
  }

  /** Lets time pass, timer by timer. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= end).sort((one, other) => one.at - other.at)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#now = Math.max(this.#now, next.at);
      next.call();
      await settle();
    }
    this.#now = end;
    await settle();
  }
}

/** Lets promises that are resolved be acted on. */
export async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

/** A socket whose other end is the test. */
export class HeldSocket implements Socket {
  static all: HeldSocket[] = [];
  onmessage: ((event: { data: string }) => unknown) | null = null;
  onclose: ((event: { code: number }) => unknown) | null = null;
  onerror: ((event: object) => unknown) | null = null;
  onopen: ((event: object) => unknown) | null = null;
  readonly url: string;
  readonly protocols: string[];
  readonly sent: Record<string, unknown>[] = [];
  isClosed = false;

  constructor(url: string, protocols: string[]) {
    this.url = url;
    this.protocols = protocols;
    HeldSocket.all.push(this);
  }

  /** The newest. */
  static last(): HeldSocket {
    const last = HeldSocket.all.at(-1);
    if (!last) throw new Error('nobody dialled');
    return last;
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text) as Record<string, unknown>);
  }

  close(): void {
    this.isClosed = true;
  }

  /** The node says something. */
  hear(json: object): void {
    this.onmessage?.({ data: JSON.stringify(json) });
  }

  /** The node greets somebody whom the handshake signed in. */
  welcome(limits: object = {}): void {
    this.onopen?.({});
    this.hear({ push: 'welcome', user: { id: 'u1', username: 'ann' }, limits });
  }

  /** The node closes, or the connection breaks off. */
  end(code: number): void {
    this.onclose?.({ code });
  }

  /** What was sent of one command. */
  commands(command: string): Record<string, unknown>[] {
    return this.sent.filter((sent) => sent['command'] === command);
  }

  /** Answers the last command of this name. */
  answer(command: string, answer: object): void {
    this.hear({ id: this.commands(command).at(-1)?.['id'], ...answer });
  }
}

/** An open client on a held clock, whose node has these limits. */
export async function opened(limits: object = {}, options: Partial<ClientOptions> = {}): Promise<{ client: Client; clock: HeldClock }> {
  const clock = new HeldClock();
  HeldSocket.all = [];
  const client = createClient({ url: 'ws://localhost:1/ws', getToken: () => 'opaque', clock, random: () => 1, WebSocket: HeldSocket, ...options });
  void client.connect();
  await settle();
  HeldSocket.last().welcome(limits);
  return { client, clock };
}

/** Drops the connection, and opens the next one. */
export async function reconnect(clock: HeldClock, code: number = 1006): Promise<void> {
  const before = HeldSocket.all.length;
  HeldSocket.last().end(code);
  while (HeldSocket.all.length === before) await clock.pass(100);
  HeldSocket.last().welcome();
}

/** An access token that ends after so many milliseconds of a held clock. */
export function token(clock: Clock, ms: number): string {
  const part = (json: object): string => Buffer.from(JSON.stringify(json)).toString('base64url');
  return `${part({ alg: 'EdDSA' })}.${part({ exp: (clock.today() + ms) / 1000 })}.c2lnbmF0dXJl`;
}
