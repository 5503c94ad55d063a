import { KeywireError } from './errors.js';
import { type Options, type Outbox, quiet } from './outbox.js';
import type { RoomEvents, Subscribed, Subscription } from './subscription.js';
import { type Entry, type Json, type Member, type Position, type Presence, type Role, camel, entryOf, isCount, objects } from './wire.js';

/** What is said: a text, or JSON data. */
export type Content = string | { readonly data: unknown };

/** `key`: a UUID of one's own, to know one's message by when it comes back; else one is made. */
export interface KeyOptions extends Options {
  readonly key?: string;
}

/** What became of a publish. */
export interface Published {
  /** Its place in the log; none in an ephemeral room, or if nothing had to be done. */
  readonly seq: number | undefined;
  readonly key: string;
  /** It was so already: a member joined, a message deleted. */
  readonly unchanged: boolean;
}

/** Who is invited. */
export interface Invited {
  /** The user's id. */
  readonly user: string;
  /** They are a member already. */
  readonly unchanged: boolean;
}

/** Until when somebody may say nothing. */
export interface Muted {
  /** The user's id. */
  readonly user: string;
  /** As RFC 3339; null: they may speak. */
  readonly mutedUntil: string | null;
}

/** Which part of a log: backwards from the end or from `before`, or onwards from `after`. */
export interface HistoryOptions extends Options {
  readonly before?: number;
  readonly after?: number;
  /** Entries of a page at most, 1 to 100. */
  readonly limit?: number;
}

/** Some entries of a log, oldest first. */
export interface HistoryPage {
  readonly room: string;
  readonly epoch: string;
  /** Where the log begins and ends. */
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly entries: Entry[];
}

/** A room of the node's. Making one of these sends nothing. */
export class Room {
  readonly #outbox: Outbox;
  readonly #subscription: Subscription;

  /** For the client: `client.room(name)` gives rooms. */
  constructor(outbox: Outbox, subscription: Subscription) {
    this.#outbox = outbox;
    this.#subscription = subscription;
  }

  get name(): string {
    return this.#subscription.name;
  }

  /** How far entries were delivered: kept by the app, it is a `since` for later. */
  get position(): Position | undefined {
    return this.#subscription.position;
  }

  /** Adds a listener; what it returns removes it. One that throws is reported on the console. */
  on<Name extends keyof RoomEvents>(name: Name, listener: (event: RoomEvents[Name]) => void): () => void {
    return this.#subscription.on(name, listener);
  }

  /**
   * Follows the room: what is said from now on, or exactly what is behind `since`. It goes on after each
   * reconnect from where it was. Resolves when the node first follows up; rejects if it refuses.
   */
  subscribe({ since }: { readonly since?: Position } = {}): Promise<Subscribed> {
    return quiet((done, failed) => this.#subscription.start({ done, failed }, since));
  }

  /** Follows it no more, and lets go of it: its listeners stay as long as the app holds a handle on it. */
  unsubscribe(): void {
    this.#subscription.stop(new KeywireError('not_subscribed', 'Unsubscribed.'));
  }

  /**
   * Says something; resolves when it is stored, or taken in an ephemeral room. In a durable room it is sent again
   * under its key until then. In an ephemeral one, where only members who follow it may speak, it is heard once at
   * most: sent, and without an answer when the connection goes, it rejects with `outcome_unknown`.
   */
  publish(content: Content, options: KeyOptions = {}): Promise<Published> {
    return this.#keyed('publish', said(content), options);
  }

  /** Gives one's own message another text. */
  edit(of: number, content: Content, options: KeyOptions = {}): Promise<Published> {
    return this.#keyed('edit', { of, ...said(content) }, options);
  }

  /** Empties a message. */
  delete(of: number, options: KeyOptions = {}): Promise<Published> {
    return this.#keyed('delete', { of }, options);
  }

  join(options: KeyOptions = {}): Promise<Published> {
    return this.#keyed('join', {}, options);
  }

  leave(options: KeyOptions = {}): Promise<Published> {
    return this.#keyed('leave', {}, options);
  }

  /** Makes another leave; `user` is an id. */
  remove(user: string, options: KeyOptions = {}): Promise<Published> {
    return this.#keyed('remove', { user }, options);
  }

  setRole(user: string, role: Role, options: KeyOptions = {}): Promise<Published> {
    return this.#keyed('set_role', { user, role }, options);
  }

  /** Lets somebody find and join a private room. */
  invite(username: string, options: Options = {}): Promise<Invited> {
    const read = ({ user, unchanged }: Json): Invited => ({ user: String(user), unchanged: unchanged === true });
    return this.#outbox.call('invite', { room: this.name, username }, read, options);
  }

  /** A member may say nothing until then; `user` is an id. Resolves with when it ends. */
  mute(user: string, until: Date | { readonly seconds: number }, options: Options = {}): Promise<Muted> {
    const end = until instanceof Date ? { until: until.toISOString() } : { seconds: until.seconds };
    return this.#outbox.call('mute', { room: this.name, user, ...end }, camel<Muted>, options);
  }

  /** A member may speak again. */
  unmute(user: string, options: Options = {}): Promise<Muted> {
    return this.#outbox.call('unmute', { room: this.name, user }, camel<Muted>, options);
  }

  /** Who belongs to it; asked for as it is read. */
  members(options: Options = {}): AsyncGenerator<Member, void, undefined> {
    return this.#outbox.pages('members', { room: this.name }, 'members', 'id', options);
  }

  /** Who is in it now. Asked once it is subscribed to, `present` and `absent` tell what changes from then on. */
  presence({ after, ...options }: Options & { readonly after?: string } = {}): Promise<Presence> {
    this.#subscription.asksPresence();
    return this.#outbox.call('presence', { room: this.name, after }, camel<Presence>, options);
  }

  /** Tells the others that you type: call it at each key, it is sent once in three seconds. */
  typing(): void {
    this.#subscription.type();
  }

  /** The log, page by page; asked for as it is read. */
  async *history({ before, after, limit, signal }: HistoryOptions = {}): AsyncGenerator<HistoryPage, void, undefined> {
    let epoch: string | undefined;
    // JSON leaves out what is undefined.
    let from: Json = { before, after };
    for (;;) {
      const fields = { room: this.name, ...from, limit };
      const [page, places] = await this.#outbox.call('history', fields, pageOf, signal && { signal });
      if (epoch !== undefined && epoch !== page.epoch) throw new KeywireError('log_replaced', 'Begin again: this is another log.');
      epoch = page.epoch;
      const [first, last] = [places[0], places.at(-1)];
      if (first === undefined || last === undefined) return;
      yield page;
      if (after === undefined ? first <= page.firstSeq : last >= page.lastSeq) return;
      from = after === undefined ? { before: first } : { after: last };
    }
  }

  #keyed(command: string, fields: Json, { key = uuid(), ...options }: KeyOptions): Promise<Published> {
    const read = ({ seq, unchanged }: Json): Published => ({ seq: isCount(seq) ? seq : undefined, key, unchanged: unchanged === true });
    return this.#outbox.call(command, { room: this.name, ...fields, key }, read, options);
  }
}

function said(content: Content): Json {
  return typeof content === 'string' ? { text: content } : { data: content.data };
}

/** A page, and the places of its entries: there may be kinds among them that are not known here. */
function pageOf(answer: Json): [HistoryPage, number[]] {
  const entries = objects(answer['entries']);
  const known = entries.map(entryOf).filter((entry) => entry !== undefined);
  return [{ ...camel<HistoryPage>(answer), entries: known }, entries.map(({ seq }) => seq).filter(isCount)];
}

/** A random UUID, version 4. `crypto.randomUUID` is missing on pages without TLS. */
export function uuid(): string {
  const drawn = crypto.getRandomValues(new Uint8Array(36));
  // Digits are drawn for every 0, and for the 8 one of which only two bits are free.
  return '00000000-0000-4000-8000-000000000000'.replace(/[08]/g, (digit, at: number) => {
    const bits = drawn[at] ?? 0;
    return (digit === '8' ? 8 | (bits & 3) : bits & 15).toString(16);
  });
}
