import { BACKOFF, type Backoff } from './backoff.js';
import { type Clock, REAL_CLOCK } from './clock.js';
import { ABNORMAL } from './codes.js';
import { Connection, type GetToken, type SocketConstructor } from './connection.js';
import { Emitter } from './emitter.js';
import { KeywireError } from './errors.js';
import type { State } from './machine.js';
import { type Options, Outbox, quiet } from './outbox.js';
import { Room } from './room.js';
import { type Base, Subscription } from './subscription.js';
import { Subscriptions } from './subscriptions.js';
import { type Invitation, type Json, type Limits, type RoomBase, type RoomInfo, type User, camel, limitsOf } from './wire.js';

/** What a client is made of. */
export interface ClientOptions {
  /** The node: `wss://example.org/ws`, or in a page `/ws`. */
  readonly url: string;
  /** Gives access tokens. Asked at each connect, and with `force` when one ends soon or was refused. */
  readonly getToken: GetToken;
  /** Commands without an answer at most, in all rooms, sent or not; 100. One more is refused with `queue_full`. */
  readonly queueLimit?: number;
  /** The waits between attempts; half a second to 20 seconds. */
  readonly backoff?: Backoff;
  /** Another WebSocket than the global one, which Node has from 22 on. */
  readonly WebSocket?: SocketConstructor;
  /** For tests: time. */
  readonly clock?: Clock;
  /** For tests: numbers from 0 to 1. */
  readonly random?: () => number;
}

/** What a client tells. */
export interface ClientEvents {
  /** Each change of `client.state`. */
  state: State;
}

/** What a new room is. */
export interface NewRoom {
  /** What people call it; 100 characters at most. */
  readonly title?: string;
  /** Whether what is said is kept; true. */
  readonly durable?: boolean;
  /** Whether anybody may find it and join; false. */
  readonly public?: boolean;
}

/** A room that was made. */
export interface Created extends RoomBase {
  /** What you are there. */
  readonly role: 'owner';
  /** It was there before, just so, and is yours. */
  readonly unchanged: boolean;
}

/** Commands without an answer at most, unless the app says otherwise. */
const QUEUE_LIMIT = 100;

/** One user's connection to Keywire, kept up until `close()`. */
export class Client {
  readonly #events: Emitter<ClientEvents> = new Emitter();
  readonly #subscriptions = new Subscriptions();
  readonly #connection: Connection;
  readonly #outbox: Outbox;
  readonly #base: Base;
  readonly #unwatch: () => void;
  #limits: Limits | undefined;

  constructor({ url, getToken, queueLimit = QUEUE_LIMIT, backoff = BACKOFF, WebSocket = globalThis.WebSocket, clock = REAL_CLOCK, random = Math.random }: ClientOptions) {
    if (!WebSocket) throw new TypeError('There is no WebSocket here: give one.');
    const address = new URL(url, globalThis.location?.href);
    address.protocol = address.protocol.replace('http', 'ws');
    const world = { clock, random, backoff };
    this.#connection = new Connection({ ...world, url: address.href, getToken, WebSocket }, {
      open: (limits) => this.#opened(limits),
      down: () => this.#down(),
      frame: (frame) => this.#hear(frame),
      state: (state) => this.#changed(state),
    });
    this.#outbox = new Outbox({
      ...world,
      limit: queueLimit,
      send: (body) => this.#connection.send(body),
      isReady: (room) => !this.#subscriptions.get(room)?.isAsking(),
      isEphemeral: (room) => this.#subscriptions.get(room)?.isEphemeral() ?? false,
      start: () => this.#start(),
    });
    this.#base = {
      ...world,
      outbox: this.#outbox,
      keep: (subscription) => this.#subscriptions.keep(subscription),
      release: (subscription) => this.#subscriptions.release(subscription),
      fault: () => this.#connection.take({ type: 'lost', code: ABNORMAL }),
    };
    this.#unwatch = watch(() => this.check());
  }

  /** Where the connection is. */
  get state(): State {
    return this.#connection.state;
  }

  /** What the node of the last connection lets it do; undefined before the first one. */
  get limits(): Limits | undefined {
    return this.#limits;
  }

  /** Adds a listener; what it returns removes it. One that throws is reported on the console. */
  on<Name extends keyof ClientEvents>(name: Name, listener: (event: ClientEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  /**
   * Connects, as the first command does too. Resolves with who is signed in, however long that takes; rejects with
   * `closed` if it will never be.
   */
  connect(): Promise<User> {
    return quiet((done, failed) => {
      this.#start();
      const look = (state: State): void => {
        if (state.name === 'open') done(state.user);
        else if (state.name === 'closed') failed(closedError(state));
        else return;
        stop();
      };
      const stop = this.on('state', look);
      look(this.state);
    });
  }

  /** Asks whether the connection is alive, or tries at once if it waits. Pages do so when they are seen again. */
  check(): void {
    this.#connection.take({ type: 'check' });
  }

  /** Ends it for good. What has no answer yet rejects with `closed`; what was sent may be done all the same. */
  close(): void {
    this.#connection.take({ type: 'close' });
  }

  /**
   * A handle on the room of this name; asks the node nothing. All handles on a room are on the same: what one listens
   * to another may subscribe to. None need be held while the room is followed or listened to.
   */
  room(name: string): Room {
    return new Room(this.#outbox, this.#subscriptions.find(name, () => new Subscription(name, this.#base)));
  }

  /** The rooms you belong to, by name; asked for as they are read. */
  rooms(options: Options = {}): AsyncGenerator<RoomInfo, void, undefined> {
    return this.#outbox.pages('rooms', {}, 'rooms', 'room', options);
  }

  /** Public rooms whose name or title begins so, by name; asked for as they are read. */
  search(query: string, options: Options = {}): AsyncGenerator<RoomInfo, void, undefined> {
    return this.#outbox.pages('search', { query }, 'rooms', 'room', options);
  }

  /** The rooms you are invited to, by name; asked for as they are read. */
  invitations(options: Options = {}): AsyncGenerator<Invitation, void, undefined> {
    return this.#outbox.pages('invitations', {}, 'invitations', 'room', options);
  }

  /**
   * Makes a room, of which you are the owner. Its name is 1 to 64 of `a-z`, `0-9`, `.`, `_` and `-`, first a letter or
   * a digit, and never changes. Rejects with `room_taken` if another is there, and with `too_many_rooms`.
   */
  create(name: string, { title, durable, public: isPublic }: NewRoom = {}, options: Options = {}): Promise<Created> {
    // JSON leaves out what is undefined.
    const fields = { room: name, title, durable, public: isPublic };
    const read = (ok: Json): Created => ({ ...camel<Created>(ok), unchanged: ok['unchanged'] === true });
    return this.#outbox.call('create', fields, read, options);
  }

  /** Connects unless that was done; why not, if the client is closed. */
  #start(): KeywireError | undefined {
    this.#connection.take({ type: 'connect' });
    const { state } = this;
    return state.name === 'closed' ? closedError(state) : undefined;
  }

  #opened(limits: Json): void {
    this.#limits = limitsOf(limits);
    this.#outbox.open(limits);
    for (const subscription of this.#subscriptions.all()) subscription.open();
    this.#outbox.flush();
  }

  #down(): void {
    // Then all of it ends in `#changed`, with one error.
    if (this.state.name === 'closed') return;
    for (const subscription of this.#subscriptions.all()) subscription.down();
    this.#outbox.down();
  }

  #hear(frame: Json): void {
    const { push } = frame;
    if (push === undefined) this.#outbox.reply(frame);
    // It is about all rooms.
    else if (push === 'missed') for (const subscription of this.#subscriptions.all()) subscription.missed();
    else this.#subscriptions.get(frame['room'] as string)?.receive(frame);
  }

  #changed(state: State): void {
    if (state.name === 'closed') {
      this.#unwatch();
      const error = closedError(state);
      for (const subscription of this.#subscriptions.all()) subscription.end(error);
      this.#outbox.end(error);
    }
    this.#events.emit('state', state);
  }
}

/**
 * Makes a client. It connects with `connect()`, or with the first thing that is asked of it. Throws a `TypeError` if
 * the URL is none, or there is no WebSocket.
 */
export function createClient(options: ClientOptions): Client {
  return new Client(options);
}

function closedError({ reason }: State & { readonly name: 'closed' }): KeywireError {
  return new KeywireError('closed', `Closed: ${reason.code ?? reason.by}.`);
}

/** In a page: calls when it is seen again, or the network is back. Timers of hidden pages are late. */
function watch(call: () => void): () => void {
  const page = globalThis as Partial<Pick<typeof globalThis, 'addEventListener' | 'removeEventListener' | 'document'>>;
  const seen = (): void => {
    if (page.document?.visibilityState === 'visible') call();
  };
  page.addEventListener?.('online', call);
  page.document?.addEventListener('visibilitychange', seen);
  return () => {
    page.removeEventListener?.('online', call);
    page.document?.removeEventListener('visibilitychange', seen);
  };
}
