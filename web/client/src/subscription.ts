import { wait } from './backoff.js';
import { Timer, type World } from './clock.js';
import { Emitter } from './emitter.js';
import type { KeywireError } from './errors.js';
import type { Outbox } from './outbox.js';
import { type DeletedEntry, type EditedEntry, type Entry, type Json, type MemberEntry, type MessageEntry, type Position, type Role, type User, encode, entryOf, isCount } from './wire.js';

/** What a subscription stands on. */
export interface Subscribed {
  /** Whether what is said is kept; if not, there are no positions and no history. */
  readonly durable: boolean;
  /** What you are in the room; null: a reader of a public one. */
  readonly role: Role | null;
  /** Whether it goes on from where the client left off; else something may have been said meanwhile. */
  readonly resumed: boolean;
}

/** The log no longer reaches back to where the client left off, or it is another one. */
export interface Reset {
  /** The log's name. */
  readonly epoch: string;
  /** Where it begins now: history reaches back to here. */
  readonly firstSeq: number;
  /** What follows is behind this one. */
  readonly lastSeq: number;
}

/** What may be lost of a room. */
export interface Missed {
  /** Messages: the room is ephemeral, and nobody has them any more. */
  readonly messages: boolean;
  /** Who came and went: you have asked `presence()` since you follow the room. Ask it again. */
  readonly presence: boolean;
}

/** What a room tells. */
export interface RoomEvents {
  /** Every entry, in order, once; your own, too. Each is told by its kind as well. */
  entry: Entry;
  /** Somebody said something. */
  message: MessageEntry;
  /** A message has another text. */
  edited: EditedEntry;
  /** A message is deleted. */
  deleted: DeletedEntry;
  /** Somebody is a member now. */
  joined: MemberEntry;
  /** Somebody is a member no longer; `user` and `subject` differ if they were removed. */
  left: MemberEntry;
  /** A member has another role. */
  role: MemberEntry;
  /** Somebody is there who was not. */
  present: User;
  /** Somebody is there no longer. */
  absent: User;
  /** Whether these two are told from here on; if so, ask `presence()`: changes before were not told. */
  presence: { readonly told: boolean };
  /** The node dropped what it had to tell, because you read too slowly. What a log keeps is never dropped. */
  missed: Missed;
  /** Somebody types. Forget it after five seconds. */
  typing: User;
  /** Forget what you have of this room: what follows does not join it. */
  reset: Reset;
  /** The node follows up: at first, and after each reconnect. */
  subscribed: Subscribed;
  /** You are no longer a member of this private room, or were the last one of a room, which has ended. */
  unsubscribed: undefined;
  /** The subscription was refused, and is not tried again. */
  error: KeywireError;
}

/** What a subscription is made of. */
export interface Base extends World {
  readonly outbox: Outbox;
  /** Somebody follows this one, or listens to it. */
  keep(subscription: Subscription): void;
  /** It is of use only to who has a handle on it. */
  release(subscription: Subscription): void;
  /** The node broke its word: the log has no holes. */
  fault(): void;
}

/** Somebody who waits for the subscription. */
interface Waiter {
  readonly done: (subscribed: Subscribed) => void;
  readonly failed: (error: KeywireError) => void;
}

/** The shortest time between two `typing` of a room. */
const TYPING_PAUSE = 3_000;

/** Where one room's log is read, over any number of connections. */
export class Subscription {
  readonly #events: Emitter<RoomEvents> = new Emitter();
  readonly name: string;
  /** How far entries were delivered; none in an ephemeral room. */
  position: Position | undefined;
  readonly #base: Base;
  /** `asking`: until the reply, what comes in the room is of an older subscription. */
  #status: 'off' | 'asking' | 'on' = 'off';
  #subscribed: Subscribed | undefined;
  #waiters: Waiter[] = [];
  /** Counts questions: a reply to an older one is nobody's. */
  #asked = 0;
  #attempt = 0;
  #typedAt = -Infinity;
  /** Whether the app keeps who is there. */
  #isPresenceAsked = false;
  readonly #retry: Timer;

  constructor(name: string, base: Base) {
    this.name = name;
    this.#base = base;
    this.#retry = new Timer(base.clock);
  }

  /** Adds a listener; what it returns removes it. */
  on<Name extends keyof RoomEvents>(name: Name, listener: (event: RoomEvents[Name]) => void): () => void {
    this.#base.keep(this);
    const remove = this.#events.on(name, listener);
    return () => {
      remove();
      this.#rest();
    };
  }

  /** Whether the node's answer is awaited. */
  isAsking(): boolean {
    return this.#status === 'asking';
  }

  /** Whether the room is followed, and keeps nothing. */
  isEphemeral(): boolean {
    return this.#status === 'on' && this.#subscribed?.durable === false;
  }

  /** Subscribes, from `since` on or from the end. */
  start(waiter: Waiter, since?: Position): void {
    const closed = this.#base.outbox.start();
    if (closed) return waiter.failed(closed);
    if (this.#status === 'on' && this.#subscribed) return waiter.done(this.#subscribed);
    this.#waiters.push(waiter);
    if (this.#status !== 'off') return;
    this.#status = 'asking';
    this.#base.keep(this);
    this.position = since;
    if (this.#base.outbox.isOpen) this.open();
  }

  /**
   * Ends it. A place is of no use any more: what follows is not listened to. Listeners stay, for as long as the app
   * holds on to the room.
   */
  stop(error: KeywireError): void {
    this.#base.release(this);
    if (this.#status === 'off') return;
    if (this.#base.outbox.isOpen) {
      this.#send('unsubscribe', {}, () => {}, () => {});
    }
    this.#off(error);
  }

  /** Tells the others that the user types. Of no use later: what cannot be told now is not told. */
  type(): void {
    const now = this.#base.clock.now();
    if (this.#status !== 'on' || now < this.#typedAt + TYPING_PAUSE) return;
    this.#typedAt = now;
    this.#send('typing', {}, () => {}, () => {});
  }

  /** The app asks who is there. */
  asksPresence(): void {
    this.#isPresenceAsked = this.#status !== 'off';
  }

  /** The node has dropped pushes of any rooms: tells it where something may be lost. */
  missed(): void {
    if (this.#status !== 'on') return;
    const missed = { messages: this.isEphemeral(), presence: this.#isPresenceAsked };
    if (missed.messages || missed.presence) this.#events.emit('missed', missed);
  }

  /** The connection is open: asks the node, if anybody wants it to. */
  open(): void {
    if (this.#status === 'off') return;
    this.#status = 'asking';
    this.#asked += 1;
    const asked = this.#asked;
    const since = this.position;
    const isMine = (): boolean => asked === this.#asked;
    this.#send('subscribe', { since }, (ok) => {
      if (isMine()) this.#accepted(ok, since !== undefined);
    }, (error) => {
      if (isMine()) this.#refused(error as KeywireError);
    });
  }

  /** The connection is gone. */
  down(): void {
    this.#asked += 1;
    this.#retry.stop();
    if (this.#status === 'on') this.#status = 'asking';
  }

  /** It is over for good. */
  end(error: KeywireError): void {
    this.down();
    this.#off(error);
  }

  /** A push of this room. */
  receive(push: Json): void {
    if (this.#status !== 'on') return;
    if (push['push'] === 'reset') return this.#reset(push);
    if (push['push'] === 'unsubscribed') {
      this.#off();
      this.#events.emit('unsubscribed', undefined);
      return;
    }
    const { push: kind, user, told } = push;
    if (kind === 'present' || kind === 'absent' || kind === 'typing') return this.#events.emit(kind, user as User);
    if (kind === 'presence') return this.#events.emit('presence', { told: told !== false });
    // A newer node may have kinds that are not known here. They have their place in the log all the same.
    const { seq } = push;
    if (isCount(seq)) {
      if (!this.position || seq <= this.position.seq) return;
      if (seq > this.position.seq + 1) return this.#base.fault();
      // Before anybody is told: a listener that throws, or reads the position, finds it done.
      this.position = { epoch: this.position.epoch, seq };
    }
    const entry = entryOf(push);
    if (entry) this.#deliver(entry);
  }

  #send(command: string, fields: Json, done: (ok: Json) => void, failed: (error: unknown) => void): void {
    const body = encode(command, { room: this.name, ...fields });
    this.#base.outbox.addFirst({ command, room: this.name, body, isRepeatable: false, done, failed });
  }

  #deliver(entry: Entry): void {
    this.#events.emit('entry', entry);
    this.#events.emit(entry.kind, entry as never);
  }

  #accepted({ durable, role, epoch, seq }: Json, resumed: boolean): void {
    this.#status = 'on';
    this.#attempt = 0;
    // A place that was given stays until entries or a `reset` move it: what the reply says of it is lost
    // with the connection, if that breaks between the reply and the `reset`.
    if (!this.position && isCount(seq)) this.position = { epoch: String(epoch), seq };
    const subscribed: Subscribed = { durable: durable !== false, role: (role ?? null) as Role | null, resumed };
    this.#subscribed = subscribed;
    for (const { done } of this.#waiters.splice(0)) done(subscribed);
    this.#events.emit('subscribed', subscribed);
    this.#base.outbox.flush();
  }

  #refused(error: KeywireError): void {
    if (!error.retry) {
      this.#off(error);
      this.#events.emit('error', error);
      return;
    }
    const ms = error.retryMs ?? wait(this.#base, this.#attempt);
    this.#attempt += 1;
    this.#retry.set(ms, () => this.open());
  }

  #reset({ epoch, first_seq: firstSeq, last_seq: lastSeq }: Json): void {
    if (!isCount(firstSeq) || !isCount(lastSeq)) return;
    this.position = { epoch: String(epoch), seq: lastSeq };
    this.#events.emit('reset', { epoch: String(epoch), firstSeq, lastSeq });
  }

  #off(error?: KeywireError): void {
    this.#status = 'off';
    this.#asked += 1;
    this.#retry.stop();
    this.position = undefined;
    this.#isPresenceAsked = false;
    this.#rest();
    if (error) for (const { failed } of this.#waiters.splice(0)) failed(error);
    this.#base.outbox.flush();
  }

  /** Nobody would notice if it were another one, but who has a handle on it. */
  #rest(): void {
    if (this.#status === 'off' && this.#events.isEmpty()) this.#base.release(this);
  }
}
