// A node of keywire.v1 for tests: raw RFC 6455 over node:http, rooms in memory, and any ill behaviour
// that a test asks of it.

import { createHash } from 'node:crypto';
import { type IncomingMessage, type Server, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';

/** What a client said. */
export type Command = Record<string, unknown> & { id: number; command: string };
/** An entry of a log. */
export type Stored = Record<string, unknown> & { seq: number; key: string };

/** What RFC 6455 §4.2.2 appends to a key. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const TEXT = 1;
const CLOSE = 8;

/** A room in memory. */
export class Log {
  epoch = '-1';
  readonly entries: Stored[] = [];
}

/** One client, as the node sees it. */
export class Peer {
  readonly token: string;
  readonly commands: Command[] = [];
  readonly rooms = new Set<string>();
  readonly #socket: Duplex;
  #received = Buffer.alloc(0);

  constructor(socket: Duplex, token: string, heard: (peer: Peer, command: Command) => void) {
    this.#socket = socket;
    this.token = token;
    socket.on('error', () => {});
    socket.on('data', (bytes: Buffer) => {
      this.#received = Buffer.concat([this.#received, bytes]);
      for (let frame = this.#next(); frame; frame = this.#next()) {
        if (frame.opcode === CLOSE) this.#socket.end(encode(CLOSE, frame.payload));
        if (frame.opcode !== TEXT) continue;
        const command = JSON.parse(frame.payload.toString()) as Command;
        this.commands.push(command);
        heard(this, command);
      }
    });
  }

  say(json: object): void {
    this.write(encode(TEXT, Buffer.from(JSON.stringify(json))));
  }

  write(bytes: Buffer): void {
    if (this.#socket.writable) this.#socket.write(bytes);
  }

  reply(command: Command, answer: object): void {
    this.say({ id: command.id, ...answer });
  }

  close(code: number): void {
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE(code);
    this.write(encode(CLOSE, payload));
    this.#socket.end();
  }

  /** Breaks off, without a Close. */
  cut(): void {
    this.#socket.destroy();
  }

  /** Breaks off in the middle of a frame. */
  cutInside(json: object): void {
    const frame = encode(TEXT, Buffer.from(JSON.stringify(json)));
    this.#socket.write(frame.subarray(0, frame.length >> 1), () => this.#socket.destroy());
  }

  /** The next frame that is there as a whole. Clients mask theirs (§5.3). */
  #next(): { opcode: number; payload: Buffer } | undefined {
    const bytes = this.#received;
    const short = (bytes[1] ?? 0) & 0x7f;
    const head = short === 127 ? 10 : short === 126 ? 4 : 2;
    if (bytes.length < head + 4) return undefined;
    const length = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short;
    const end = head + 4 + length;
    if (bytes.length < end) return undefined;
    const mask = bytes.subarray(head, head + 4);
    const payload = Buffer.from(bytes.subarray(head + 4, end)).map((byte, at) => byte ^ (mask[at % 4] ?? 0));
    this.#received = bytes.subarray(end);
    return { opcode: (bytes[0] ?? 0) & 0x0f, payload: Buffer.from(payload) };
  }
}

/** An unmasked frame. */
export function encode(opcode: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(payload.length < 126 ? 2 : 4);
  head[0] = 0x80 | opcode;
  head[1] = Math.min(payload.length, 126);
  if (payload.length >= 126) head.writeUInt16BE(payload.length, 2);
  return Buffer.concat([head, payload]);
}

/** The node. */
export class FakeNode {
  readonly url: string;
  readonly peers: Peer[] = [];
  readonly logs = new Map<string, Log>();
  /** Publishes of which each peer may have so many without a reply; more are an error of the client. */
  publishesInFlight = 32;
  /** Called when somebody has connected; true: it has been seen to. */
  greet: (peer: Peer) => boolean = () => false;
  /** Called with each command; true: it has been seen to. */
  hear: (peer: Peer, command: Command) => boolean = () => false;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/ws`;
    server.on('upgrade', (request: IncomingMessage, socket: Duplex) => this.#upgrade(request, socket));
  }

  static async start(): Promise<FakeNode> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new FakeNode(server);
  }

  /** Stops, and cuts whoever is there. */
  async stop(): Promise<void> {
    for (const peer of this.peers) peer.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** The newest peer. */
  last(): Peer {
    const last = this.peers.at(-1);
    if (!last) throw new Error('nobody connected');
    return last;
  }

  log(room: string): Log {
    const log = this.logs.get(room) ?? new Log();
    this.logs.set(room, log);
    return log;
  }

  /** Stores what is published, once for each key, and tells who is subscribed; its place. */
  store({ room, key, text }: Command): Stored {
    const { entries } = this.log(room as string);
    const before = entries.find((entry) => entry.key === key);
    if (before) return before;
    const stored = { push: 'message', room, seq: entries.length + 1, at: '2026-11-25T10:00:00Z', user: null, key: key as string, text };
    entries.push(stored);
    for (const peer of this.peers) if (peer.rooms.has(room as string)) peer.say(stored);
    return stored;
  }

  #upgrade(request: IncomingMessage, socket: Duplex): void {
    const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}${GUID}`).digest('base64');
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(', ');
    const entry = offered.find((protocol) => protocol.startsWith('keywire.bearer.')) ?? '';
    const token = Buffer.from(entry.slice('keywire.bearer.'.length), 'base64url').toString();
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: keywire.v1\r\n\r\n`);
    const peer = new Peer(socket, token, (of, command) => {
      if (!this.hear(of, command)) this.answer(of, command);
    });
    this.peers.push(peer);
    if (!this.greet(peer)) this.welcome(peer);
  }

  welcome(peer: Peer): void {
    peer.say({ push: 'welcome', user: { id: 'u1', username: 'ann' }, limits: { message_bytes: 65_536, publishes_in_flight: this.publishesInFlight } });
  }

  /** As a node answers that is well. */
  answer(peer: Peer, command: Command): void {
    const room = command['room'] as string;
    const log = this.log(room);
    switch (command.command) {
      case 'subscribe': {
        const since = command['since'] as { seq: number } | undefined;
        const seq = since?.seq ?? log.entries.length;
        peer.reply(command, { ok: { room, durable: true, role: 'member', epoch: log.epoch, seq, first_seq: 1, last_seq: log.entries.length } });
        for (const entry of log.entries.slice(seq)) peer.say(entry);
        peer.rooms.add(room);
        break;
      }
      case 'publish': {
        const { seq, key } = this.store(command);
        peer.reply(command, { ok: { seq, key } });
        break;
      }
      case 'auth':
        peer.reply(command, { ok: { user: { id: 'u1', username: 'ann' } } });
        break;
      default:
        peer.reply(command, { ok: {} });
    }
  }
}
