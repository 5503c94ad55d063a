import { Timer, type World } from './clock.js';
import { ABNORMAL, FORBIDDEN, TOKEN } from './codes.js';
import { type Happening, Machine, type State, type Task } from './machine.js';
import { bearer, lifetime } from './token.js';
import { type Json, type User, encode, isCount, isJson, parse } from './wire.js';

/** Gives an access token, or null when nobody is signed in; with `force` one that is newer than the last. */
export type GetToken = (wish: { readonly force: boolean }) => Promise<string | null> | string | null;

/** The part of a WebSocket that is used: the browser's, Node's, or a test's. */
export interface Socket {
  /** `event.data` is the text. */
  onmessage: ((event: never) => unknown) | null;
  /** `event.code` is the close code. */
  onclose: ((event: never) => unknown) | null;
  onerror: ((event: never) => unknown) | null;
  onopen: ((event: never) => unknown) | null;
  send(text: string): void;
  close(code?: number): void;
}

/** Makes one. */
export type SocketConstructor = new (url: string, protocols: string[]) => Socket;

/** What a connection is made of. */
export interface Means extends World {
  readonly url: string;
  readonly getToken: GetToken;
  readonly WebSocket: SocketConstructor;
}

/** Whom a connection tells. */
export interface Ears {
  /** Signed in, on a new socket. */
  open(limits: Json): void;
  /** The socket of the last `open` is gone. */
  down(): void;
  /** A reply or a push. */
  frame(frame: Json): void;
  /** Where the connection is has changed. */
  state(state: State): void;
}

/** The subprotocol. */
const PROTOCOL = 'keywire.v1';

/** Carries out what the machine says, with a socket, a timer and `getToken`. */
export class Connection {
  readonly #means: Means;
  readonly #ears: Ears;
  readonly #machine: Machine;
  #socket: Socket | undefined;
  readonly #timer: Timer;
  /** When the timer goes off. */
  #wakesAt = 0;
  /** Counts questions for a token: an answer to an older one is nobody's. */
  #asked = 0;
  #lastId = 0;
  /** The id of the `auth` that is awaited; 0: none, the first id is 1. */
  #authId = 0;
  #limits: Json = {};
  #told: State;
  #isTelling = false;

  constructor(means: Means, ears: Ears) {
    this.#means = means;
    this.#ears = ears;
    this.#machine = new Machine(means);
    this.#timer = new Timer(means.clock);
    this.#told = this.#machine.state;
  }

  get state(): State {
    return this.#machine.state;
  }

  /** Something happens: carries out what follows from it. */
  take(happening: Happening): void {
    const before = this.state.name;
    for (const task of this.#machine.take(happening, this.#means.clock.now())) this.#carryOut(task);
    this.#plan();
    const after = this.state.name;
    // `heard` and `time` come often and change nothing.
    if (before === 'open' && after !== 'open') this.#ears.down();
    if (before !== 'open' && after === 'open') this.#ears.open(this.#limits);
    this.#tell();
  }

  /** Sends a command, if the connection is open; its id. */
  send(body: string): number {
    this.#lastId += 1;
    this.#socket?.send(`{"id":${this.#lastId},${body.slice(1)}`);
    return this.#lastId;
  }

  #carryOut(task: Task): void {
    if (task.do === 'get_token') void this.#getToken(task.force);
    else if (task.do === 'dial') this.#dial(task.token);
    else if (task.do === 'auth') this.#auth(task.token);
    else if (task.do === 'ping') this.send(encode('ping'));
    else this.#drop();
  }

  async #getToken(force: boolean): Promise<void> {
    this.#asked += 1;
    const asked = this.#asked;
    let happening: Happening | undefined;
    try {
      // Not before the caller has come to an end: it may be in the middle of a change.
      await undefined;
      const token = await this.#means.getToken({ force });
      const lifeMs = token === null ? undefined : lifetime(token, this.#means.clock.today());
      happening = { type: 'token', token, lifeMs };
    } catch {
      // What failed is the app's to say: it wrote the function. A renewal is tried again in time.
      if (this.state.name === 'connecting') happening = { type: 'lost', code: ABNORMAL };
    }
    if (happening && asked === this.#asked) this.take(happening);
  }

  #dial(token: string): void {
    const { url, WebSocket } = this.#means;
    let socket: Socket;
    try {
      socket = new WebSocket(url, [PROTOCOL, bearer(token)]);
    } catch {
      this.take({ type: 'lost', code: ABNORMAL });
      return;
    }
    this.#socket = socket;
    socket.onmessage = ({ data }: { readonly data: unknown }) => this.#hear(data, token);
    socket.onclose = ({ code }: { readonly code: number }) => this.take({ type: 'lost', code });
    // Of a handshake that failed some tell this and no close. Later a close follows, and has the code.
    socket.onerror = () => this.take({ type: 'lost', code: ABNORMAL });
    socket.onopen = () => {
      socket.onerror = null;
    };
  }

  /** Forgets the socket: nothing it still says is heard. */
  #drop(): void {
    this.#asked += 1;
    this.#authId = 0;
    const socket = this.#socket;
    this.#socket = undefined;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
    socket.close(1000);
  }

  #hear(data: unknown, token: string): void {
    const frame = parse(data);
    // Whatever speaks so is no node: what follows cannot be trusted to be one's replies.
    if (!frame) return this.take({ type: 'lost', code: ABNORMAL });
    this.take({ type: 'heard' });
    if (frame['push'] === 'welcome') {
      this.#limits = isJson(frame['limits']) ? frame['limits'] : {};
      if (isJson(frame['user'])) this.#signedIn(frame['user']);
      else this.#auth(token);
    } else if (frame['push'] === 'bye') {
      const { code, retry_ms: withinMs } = frame;
      this.take({ type: 'lost', code: isCount(code) ? code : ABNORMAL, ...(isCount(withinMs) && { withinMs }) });
    } else if (frame['id'] === this.#authId) {
      this.#authId = 0;
      if (isJson(frame['ok'])) this.#signedIn(frame['ok']['user']);
      else this.#refused(frame['error']);
    } else {
      this.#ears.frame(frame);
    }
  }

  #auth(token: string): void {
    this.#authId = this.send(encode('auth', { token }));
  }

  #signedIn(user: unknown): void {
    this.take({ type: 'signed_in', user: user as User });
  }

  /** The socket stays as it was: a renewal is tried again in time. */
  #refused(error: unknown): void {
    if (isJson(error) && error['code'] === 'session_revoked') this.take({ type: 'lost', code: FORBIDDEN });
    else if (this.state.name === 'connecting') this.take({ type: 'lost', code: TOKEN });
  }

  /** One timer, for the next thing that is due. Each frame puts that off: then the timer comes early once,
   * and is not set anew a thousand times a second. */
  #plan(): void {
    const next = this.#machine.next();
    if (next === undefined) return this.#timer.stop();
    if (this.#timer.isSet() && this.#wakesAt <= next) return;
    this.#wakesAt = next;
    this.#timer.set(next - this.#means.clock.now(), () => this.take({ type: 'time' }));
  }

  /** Tells where it is now. A listener may change that: then it is told again, after the others were. */
  #tell(): void {
    if (this.#isTelling) return;
    this.#isTelling = true;
    while (this.#told !== this.state) {
      this.#told = this.state;
      this.#ears.state(this.#told);
    }
    this.#isTelling = false;
  }
}
