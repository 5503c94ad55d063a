// A wire that can be cut, between a client and a node.

import { type Server, type Socket, connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';

/** Carries bytes to a port of this machine, until it is told not to. */
export class Proxy {
  /** Whether whoever connects is turned away. */
  isDown = false;
  /** Whether what is said to the clients of now is lost, until they are cut. */
  isMute = false;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Bytes to the client after which its connection is cut. */
  #left = Infinity;

  private constructor(server: Server, port: number) {
    this.#server = server;
    server.on('connection', (client) => this.#carry(client, connect(port, '127.0.0.1')));
  }

  static async start(port: number): Promise<Proxy> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Proxy(server, port);
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}/ws`;
  }

  /** Cuts everybody, after so many more bytes to them: most likely in the middle of a frame. */
  cut(bytes: number = 0): void {
    this.#left = bytes;
    if (bytes === 0) this.#cut();
  }

  async stop(): Promise<void> {
    this.#cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #cut(): void {
    this.#left = Infinity;
    this.isMute = false;
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  #carry(client: Socket, node: Socket): void {
    for (const socket of [client, node]) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        client.destroy();
        node.destroy();
      });
    }
    if (this.isDown) return void client.destroy();
    client.on('data', (bytes) => node.write(bytes));
    node.on('data', (bytes) => {
      if (this.isMute) return;
      client.write(bytes.subarray(0, this.#left));
      this.#left -= bytes.length;
      if (this.#left <= 0) this.#cut();
    });
  }
}
