import { KeywireError } from './errors.js';
import { type Options, type Outbox, quiet } from './outbox.js';
import type { RoomEvents, Subscribed, Subscription } from './subscription.js';
import { type Entry, type Json, type Member, type Position, type Presence, type Role, camel, entryOf, isCount, objects } from './wire.js';

/** What is said: a text, or JSON data. */
export type Content = string | { readonly data: unknown };

/** What a command takes that leaves an entry in the log. */
export interface KeyOptions extends Options {
  /** A UUID, to know one's entry by when it comes back, and a second try by; one is made unless it is given. */
  readonly key?: string;
}

/** What became of a command that leaves an entry in the log. */
export interface Published {
  /** The entry's place; none in an ephemeral room, or if nothing had to be done. */
  readonly seq: number | undefined;
  /** The one that was given, or was made. */
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

/** Which part of a log: backwards from the end or from `before`, or onwards from `after`, but not both. */
export interface HistoryOptions extends Options {
  /** Entries before this `seq`. */
  readonly before?: number;
  /** Entries behind this `seq`; 0: from the beginning. */
  readonly after?: number;
  /** Entries of a page at most, 1 to 100; 100. */
  readonly limit?: number;
}

/** Some entries of a log, oldest first. */
export interface HistoryPage {
  readonly room: string;
  /** The log's name; the same in every page. */
  readonly epoch: string;
  /** Where the log begins, */
  readonly firstSeq: number;
  /** and where it ends. */
  readonly lastSeq: number;
  /** Those of kinds that this version knows. */
  readonly entries: Entry[];
}

/**
 * A handle on a room. Whatever the node refuses rejects with a `KeywireError` of its code. What has no answer when the
 * connection goes is sent again on the next one, but for a publish in an ephemeral room.
 */
export class Room {
  readonly #outbox: Outbox;
  readonly #subscription: Subscription;

  /** For the client: `client.room(name)` gives rooms. */
  constructor(outbox: Outbox, subscription: Subscription) {
    this.#outbox = outbox;
    this.#subscription = subscription;
  }

  /** The room's name, which never changes. */
  get name(): string {
    return this.#subscription.name;
  }

  /**
   * How far entries were delivered: kept by the app, it is a `since` for later. Undefined in an ephemeral room, until
   * the node follows up, and after `unsubscribe()`.
   */
  get position(): Position | undefined {
    return this.#subscription.position;
  }

  /** Adds a listener; what it returns removes it. One that throws is reported on the console. */
  on<Name extends keyof RoomEvents>(name: Name, listener: (event: RoomEvents[Name]) => void): () => void {
    return this.#subscription.on(name, listener);
  }

  /**
   * Follows the room: what is said from now on, or exactly what is behind `since`. It goes on after each
   * reconnect from where it was. Resolves when the node first follows up. Rejects if it refuses, of a room that is
   * not open to you with `room_not_found`, of `since` in an ephemeral one with `not_durable`; if `unsubscribe()` comes
   * first, with `not_subscribed`. A room that is followed already stays where it is, whatever `since` says.
   */
  subscribe({ since }: { readonly since?: Position } = {}): Promise<Subscribed> {
    return quiet((done, failed) => this.#subscription.start({ done, failed }, since));
  }

  /**
   * Follows it no more, and lets go of it: its listeners stay as long as the app holds a handle on it, and hear again
   * what comes after another `subscribe()`.
   */
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

  /** Gives one's own message, at the `seq` `of`, another text. Durable rooms only: else `not_durable`. */
  edit(of: number, content: Content, options: KeyOptions = {}): Promise<Published> {
    return this.#keyed('edit', { of, ...said(content) }, options);
  }

  /** Empties the message at the `seq` `of`: one's own, or as a moderator another's. Durable rooms only. */
  delete(of: number, options: KeyOptions = {}): Promise<Published> {
    return this.#keyed('delete', { of }, options);
  }

  /** Becomes a member, of a public room or where one is invited. Members may publish. */
  join(options: KeyOptions = {}): Promise<Published> {
    return this.#keyed('join', {}, options);
  }

  /**
   * Is a member no longer. Rejects with `last_owner` while others are there and none of them is an owner. The room ends
   * with its last member.
   */
  leave(options: KeyOptions = {}): Promise<Published> {
    return this.#keyed('leave', {}, options);
  }

  /** Makes another leave; `user` is an id. For moderators. */
  remove(user: string, options: KeyOptions = {}): Promise<Published> {
    return this.#keyed('remove', { user }, options);
  }

  /** Gives a member, whose id `user` is, another role. For owners. */
  setRole(user: string, role: Role, options: KeyOptions = {}): Promise<Published> {
    return this.#keyed('set_role', { user, role }, options);
  }

  /**
   * Lets somebody find and join a private room, for as long as you moderate it. Rejects with `user_not_found`, and with
   * `too_many_invitations`.
   */
  invite(username: string, options: Options = {}): Promise<Invited> {
    const read = ({ user, unchanged }: Json): Invited => ({ user: String(user), unchanged: unchanged === true });
    return this.#outbox.call('invite', { room: this.name, username }, read, options);
  }

  /** Ends your own invitation. */
  decline(options: Options = {}): Promise<void> {
    return this.#outbox.call('decline', { room: this.name }, () => undefined, options);
  }

  /** Ends the invitation of whose id `user` is: one that you made, or as a moderator another's. */
  uninvite(user: string, options: Options = {}): Promise<void> {
    return this.#outbox.call('uninvite', { room: this.name, user }, () => undefined, options);
  }

  /**
   * A member, whose id `user` is, may say nothing until then, or for so many seconds; ten years at most. For
   * moderators. Resolves with when it ends.
   */
  mute(user: string, until: Date | { readonly seconds: number }, options: Options = {}): Promise<Muted> {
    const end = until instanceof Date ? { until: until.toISOString() } : { seconds: until.seconds };
    return this.#outbox.call('mute', { room: this.name, user, ...end }, camel<Muted>, options);
  }

  /** A member, whose id `user` is, may speak again. For moderators. */
  unmute(user: string, options: Options = {}): Promise<Muted> {
    return this.#outbox.call('unmute', { room: this.name, user }, camel<Muted>, options);
  }

  /** Who belongs to it, by id; asked for as they are read. */
  members(options: Options = {}): AsyncGenerator<Member, void, undefined> {
    return this.#outbox.pages('members', { room: this.name }, 'members', 'id', options);
  }

  /**
   * Who is in it now, the first 100 by id, or those behind the id `after`. Asked once it is subscribed to, and again
   * after each reconnect, `present` and `absent` tell what changes from then on.
   */
  presence({ after, ...options }: Options & { readonly after?: string } = {}): Promise<Presence> {
    this.#subscription.asksPresence();
    return this.#outbox.call('presence', { room: this.name, after }, camel<Presence>, options);
  }

  /** Tells the others that you type, while you follow the room: call it at each key, it is sent once in three seconds. */
  typing(): void {
    this.#subscription.type();
  }

  /**
   * The log of a durable room, page by page; asked for as it is read. Backwards the newest page is first; within a page
   * entries are oldest first. Rejects with `log_replaced` if it becomes another log meanwhile: begin again.
   */
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
