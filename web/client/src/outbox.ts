import { wait } from './backoff.js';
import { Timer, type World } from './clock.js';
import { KeywireError } from './errors.js';
import { type Json, camel, encode, isCount, isJson, objects } from './wire.js';

/** A command, until it is answered. */
export interface Request {
  readonly command: string;
  readonly room: unknown;
  /** What `encode` made of it. */
  readonly body: string;
  /** Whether it is sent again when its outcome is not known. */
  isRepeatable: boolean;
  done: (ok: Json) => void;
  failed: (error: unknown) => void;
}

/** What an outbox is made of. */
export interface Way extends World {
  /** Commands without an answer at most, sent or not. */
  readonly limit: number;
  /** Sends one now; its id. */
  send(body: string): number;
  /** Whether what is published in this room may be sent: not while a subscription is asked for. */
  isReady(room: string): boolean;
  /** Whether the room is followed, and keeps nothing: neither messages nor their keys. */
  isEphemeral(room: string): boolean;
  /** Connects unless that was done; why not, if that is over. */
  start(): KeywireError | undefined;
}

/** What every command takes. */
export interface Options {
  /** Gives the command up: its promise rejects with the signal's reason, and its outcome is not known. */
  readonly signal?: AbortSignal;
}

/** A request with its place in the order in which they were made. */
interface Item extends Request {
  readonly place: number;
  /**
   * Whether it was published in an ephemeral room: heard, it would be heard again if it were sent again. Only who
   * follows such a room may speak there, so the subscription has told of it before anything can be heard.
   */
  isEphemeral?: boolean;
  /** Whether it may have been carried out: a connection went that it was sent on. */
  wasSent?: boolean;
  /** How often the node has said "try again". */
  attempts?: number;
}

/** What, once done, may take away the right to ask for it again. */
const PARTING = ['leave', 'decline', 'uninvite'];

/** Publishes without a reply at once, until a node says otherwise. */
const IN_FLIGHT = 32;
/** Stands where a room does for all of them: it is no room's name. */
const ALL_ROOMS = '';
/** What an id takes of a message at most, in bytes. */
const ID_BYTES = '"id":,'.length + `${Number.MAX_SAFE_INTEGER}`.length;

/** Commands on their way: what waits to be sent, and what was sent and waits for its reply. */
export class Outbox {
  /** Whether a connection is open. */
  isOpen: boolean = false;
  readonly #way: Way;
  /** By place. */
  #waiting: Item[] = [];
  readonly #inFlight = new Map<number, Item>();
  #lastPlace = 0;
  #publishing = 0;
  #maxPublishing = IN_FLIGHT;
  #maxBytes = Infinity;
  /** Nothing is sent in these rooms until the timers go off. */
  readonly #pauses = new Map<unknown, Timer>();

  constructor(way: Way) {
    this.#way = way;
  }

  /** Connects unless that was done; why not, if that is over. */
  start(): KeywireError | undefined {
    return this.#way.start();
  }

  /** Sends a command when its turn comes; what it was answered. */
  call<T>(command: string, fields: Json, read: (ok: Json) => T, { signal }: Options = {}): Promise<T> {
    return quiet((done, failed) => {
      // Now: the app may change what it gave, and what is no JSON is its own error.
      const body = encode(command, fields);
      signal?.throwIfAborted();
      const refused = this.start() ?? this.#isFull();
      if (refused) throw refused;
      const settle = <V>(how: (value: V) => void) => (value: V): void => {
        signal?.removeEventListener('abort', giveUp);
        how(value);
      };
      this.#lastPlace += 1;
      const item: Item = {
        command,
        room: fields['room'],
        body,
        isRepeatable: true,
        place: this.#lastPlace,
        done: settle((ok: Json) => done(read(ok))),
        failed: settle(failed),
      };
      // Its reply is owed all the same, and counts until it comes.
      const giveUp = (): void => {
        failed(signal?.reason);
        item.isRepeatable = false;
        item.done = item.failed = () => {};
        this.#waiting = this.#waiting.filter((other) => other !== item);
      };
      signal?.addEventListener('abort', giveUp, { once: true });
      this.#waiting.push(item);
      this.flush();
    });
  }

  /** The items of a list that comes in pages, each asked for after the field `mark` of the last item. */
  async *pages<T>(command: string, fields: Json, list: string, mark: string, options: Options): AsyncGenerator<T, void, undefined> {
    let from: Json = {};
    for (;;) {
      const answer = await this.call(command, { ...fields, ...from }, (ok) => ok, options);
      const items = objects(answer[list]);
      for (const item of items) yield camel<T>(item);
      const last = items.at(-1);
      if (answer['more'] !== true || !last) return;
      from = { after: last[mark] };
    }
  }

  /** Sends one at once, before whatever waits. The connection must be open. */
  addFirst(request: Request): void {
    this.#send({ ...request, place: 0 });
  }

  /** The connection is open. */
  open({ publishes_in_flight: publishes, message_bytes: bytes }: Json): void {
    this.isOpen = true;
    this.#maxPublishing = isCount(publishes) && publishes > 0 ? publishes : IN_FLIGHT;
    this.#maxBytes = isCount(bytes) ? bytes : Infinity;
  }

  /** It is gone: what may be sent again waits for the next, in its old place. */
  down(): void {
    // The others are of a subscription, which asks anew by itself, or were given up.
    for (const item of this.#drop().filter(({ isRepeatable }) => isRepeatable)) {
      if (item.isEphemeral) item.failed(new KeywireError('outcome_unknown', 'It may have been heard. Said again, it may be heard twice.'));
      else this.#waiting.push(item);
      item.wasSent = true;
    }
    this.#sort();
  }

  /** It is over for good. */
  end(error: KeywireError): void {
    for (const item of [...this.#drop(), ...this.#waiting.splice(0)]) item.failed(error);
  }

  /** A reply. One to nothing here is nobody's: a ping's, or a stranger's. */
  reply({ id, ok, error }: Json): void {
    const item = this.#inFlight.get(id as number);
    if (!item) return;
    this.#inFlight.delete(id as number);
    if (isPublish(item)) this.#publishing -= 1;
    if (isJson(ok)) item.done(ok);
    else this.#refused(item, errorOf(error));
    this.flush();
  }

  /** Sends what may be sent, each room's in order: whatever is held holds what is behind it in its room. */
  flush(): void {
    if (!this.isOpen || this.#pauses.has(ALL_ROOMS)) return;
    const held = new Set(this.#pauses.keys());
    this.#waiting = this.#waiting.filter((item) => {
      const { room } = item;
      if (held.has(room) || (isPublish(item) && !this.#mayPublish(room as string))) return held.add(room);
      this.#send(item);
      return false;
    });
  }

  /** Sends nothing from now on; what was sent and has no reply. */
  #drop(): Item[] {
    this.isOpen = false;
    for (const pause of this.#pauses.values()) pause.stop();
    this.#pauses.clear();
    this.#publishing = 0;
    const lost = [...this.#inFlight.values()];
    this.#inFlight.clear();
    return lost;
  }

  /** Subscriptions are not the app's to hold back: they do not count. */
  #isFull(): KeywireError | undefined {
    const sent = [...this.#inFlight.values()].filter(({ place }) => place > 0);
    if (this.#waiting.length + sent.length < this.#way.limit) return undefined;
    return new KeywireError('queue_full', 'Too many commands wait.', true);
  }

  #mayPublish(room: string): boolean {
    return this.#publishing < this.#maxPublishing && this.#way.isReady(room);
  }

  #send(item: Item): void {
    if (this.#isTooBig(item)) {
      return item.failed(new KeywireError('too_big', 'The message is too big.'));
    }
    if (isPublish(item)) {
      this.#publishing += 1;
      item.isEphemeral = this.#way.isEphemeral(item.room as string);
    }
    this.#inFlight.set(this.#way.send(item.body), item);
  }

  /** Sent, it would close the connection with a code after which none is made: all would be lost for one. */
  #isTooBig({ body }: Item): boolean {
    const limit = this.#maxBytes - ID_BYTES;
    // No character of a string takes more than three bytes.
    return body.length * 3 > limit && new TextEncoder().encode(body).length > limit;
  }

  /**
   * A node that says "try again" gets a publish again. Others go back to who asked, unless they only came too fast:
   * then nothing was done.
   */
  #refused(item: Item, error: KeywireError): void {
    if (item.wasSent && PARTING.includes(item.command) && ['room_not_found', 'forbidden'].includes(error.code)) {
      return item.failed(new KeywireError('outcome_unknown', `Asked again, the node says: ${error.message}`));
    }
    const isAgain = error.retry && ((isPublish(item) && !item.isEphemeral) || error.code === 'rate_limited');
    if (!isAgain || !item.isRepeatable) return item.failed(error);
    this.#waiting.push(item);
    this.#sort();
    const { attempts = 0 } = item;
    item.attempts = attempts + 1;
    // What is behind would meet the same, or overtake: in the room, or wherever this connection says too much.
    this.#pause(error.code === 'rate_limited' ? ALL_ROOMS : item.room, attempts, error.retryMs);
  }

  #pause(room: unknown, attempts: number, retryMs: number | undefined): void {
    // Many are answered so at once: that is one failure.
    if (this.#pauses.has(room) && retryMs === undefined) return;
    const pause = this.#pauses.get(room) ?? new Timer(this.#way.clock);
    this.#pauses.set(room, pause);
    pause.set(retryMs ?? wait(this.#way, attempts), () => {
      this.#pauses.delete(room);
      this.flush();
    });
  }

  #sort(): void {
    this.#waiting.sort((one, other) => one.place - other.place);
  }
}

function isPublish({ command }: Item): boolean {
  return command === 'publish';
}

/** The `error` of a reply. */
function errorOf(error: unknown): KeywireError {
  const { code, detail, retry, retry_ms: retryMs } = isJson(error) ? error : {};
  return new KeywireError(String(code), String(detail), retry === true, isCount(retryMs) ? retryMs : undefined);
}

/** A promise of which nobody need know that it failed: who awaits it is told all the same. */
export function quiet<T>(work: (done: (value: T) => void, failed: (error: unknown) => void) => void): Promise<T> {
  const promise = new Promise(work);
  promise.catch(() => {});
  return promise;
}
