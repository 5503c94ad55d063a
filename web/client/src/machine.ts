import { wait } from './backoff.js';
import { ABNORMAL, ruleOf } from './codes.js';
import type { World } from './clock.js';
import type { User } from './wire.js';

/** Why a client is closed. */
export interface Reason {
  /** Who did it: the app, `getToken` with null or another user's token, or the node. */
  readonly by: 'app' | 'signed_out' | 'node';
  /** The node's close code. */
  readonly code?: number;
}

/** Where a connection is. */
export type State =
  /** Nothing was asked of it yet. */
  | { readonly name: 'idle' }
  /** On its way: a token, the handshake, the sign-in. `attempt` counts from 0 since it last was well. */
  | { readonly name: 'connecting'; readonly attempt: number }
  /** Signed in. */
  | { readonly name: 'open'; readonly user: User }
  /** It broke off with this code, and tries again after so many milliseconds. */
  | { readonly name: 'waiting'; readonly attempt: number; readonly code: number; readonly waitMs: number }
  /** Over for good. */
  | { readonly name: 'closed'; readonly reason: Reason };

/** What happens to a connection. */
export type Happening =
  | { readonly type: 'connect' }
  /** `getToken` gave a token with so many milliseconds left, or null: nobody is signed in. */
  | { readonly type: 'token'; readonly token: string | null; readonly lifeMs?: number | undefined }
  | { readonly type: 'signed_in'; readonly user: User }
  /** Any frame. */
  | { readonly type: 'heard' }
  /** A Close, or what is as good as one; `withinMs`: the node says within which time to come back. */
  | { readonly type: 'lost'; readonly code: number; readonly withinMs?: number }
  /** There is a reason to doubt the connection, or to hope for one: the network or the page is back. */
  | { readonly type: 'check' }
  | { readonly type: 'time' }
  | { readonly type: 'close' };

/** What is to be done. */
export type Task =
  | { readonly do: 'get_token'; readonly force: boolean }
  | { readonly do: 'dial'; readonly token: string }
  | { readonly do: 'auth'; readonly token: string }
  | { readonly do: 'ping' }
  /** Forget the socket, and any token that is awaited. */
  | { readonly do: 'drop' };

/** Silence after which a ping is sent, in milliseconds. */
export const PING_AFTER = 20_000;
/** Silence after a ping that gives the socket up. */
export const PONG_LIMIT = 10_000;
/** The same after a `check`: somebody waits for the answer. */
export const CHECK_LIMIT = 3_000;
/** The longest that `getToken` is waited for. */
export const TOKEN_LIMIT = 30_000;
/** The longest from dialling to the sign-in. */
export const CONNECT_LIMIT = 15_000;
/**
 * An open connection is well after so long: only then waits begin anew from the shortest, and another
 * refusal of the token is worth another refresh. A node that greets and fails is not stormed.
 */
export const SETTLED_AFTER = 5_000;
/** The part of a token's remaining life after which it is renewed. */
const RENEW_AT = 0.8;
/** The shortest time between two renewals. */
const RENEW_PAUSE = 1_000;

/**
 * What a connection does next, and nothing else: no socket, no timer, no clock. It is told what happens,
 * answers with what is to be done, and says when it wants to be told the time.
 */
export class Machine {
  state: State = { name: 'idle' };
  readonly #world: World;
  /** What `take` has found to be done. */
  #tasks: Task[] = [];
  /** Attempts since the connection was last well. */
  #attempt = 0;
  /** Whether a refused token has led to a refresh since then. */
  #isRefreshed = false;
  /** Whether the next token must be a fresh one. */
  #mustForce = false;
  /** Whose connection it is, since the first sign-in. */
  #userId: string | undefined;
  /** When the token ends. */
  #endsAt: number | undefined;
  /** When the wait, or what is waited for while connecting, is over. */
  #limitAt = 0;
  #heardAt = 0;
  #settledAt = 0;
  /** When an open connection is given up unless something is heard. */
  #deadAt: number | undefined;
  #renewAt: number | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  /** When to tell the time; `undefined`: never, as things are. */
  next(): number | undefined {
    const { name } = this.state;
    if (name === 'waiting' || name === 'connecting') return this.#limitAt;
    if (name !== 'open') return undefined;
    const settled = this.#attempt > 0 || this.#isRefreshed ? this.#settledAt : Infinity;
    return Math.min(settled, this.#deadAt ?? this.#heardAt + PING_AFTER, this.#renewAt ?? Infinity);
  }

  /** Takes in what happens. Whatever comes too late to matter is nothing. */
  take(happening: Happening, now: number): readonly Task[] {
    this.#tasks = [];
    if (this.state.name !== 'closed') this.#happen(happening, now);
    return this.#tasks;
  }

  #happen(happening: Happening, now: number): void {
    const { name } = this.state;
    const isUp = name === 'connecting' || name === 'open';
    switch (happening.type) {
      case 'connect':
        if (name === 'idle') this.#begin(now);
        break;
      case 'token':
        if (isUp) this.#token(happening.token, happening.lifeMs, name, now);
        break;
      case 'signed_in':
        // A renewal changes nothing: it is the same user's, or the node closes.
        if (name === 'connecting') this.#signedIn(happening.user, now);
        break;
      case 'heard':
        this.#heardAt = now;
        this.#deadAt = undefined;
        break;
      case 'lost':
        if (isUp) this.#lose(happening.code, now, happening.withinMs);
        break;
      case 'check':
        if (name === 'waiting') this.#begin(now);
        if (name === 'open') this.#ping(now, CHECK_LIMIT);
        break;
      case 'time':
        this.#time(now);
        break;
      case 'close':
        this.#end({ by: 'app' });
        break;
    }
  }

  #time(now: number): void {
    if (this.state.name === 'open') this.#upkeep(now);
    else if (now < this.#limitAt) return;
    else if (this.state.name === 'waiting') this.#begin(now);
    else if (this.state.name === 'connecting') this.#lose(ABNORMAL, now);
  }

  #upkeep(now: number): void {
    if (now >= this.#settledAt) {
      this.#attempt = 0;
      this.#isRefreshed = false;
    }
    if (this.#deadAt !== undefined && now >= this.#deadAt) return this.#lose(ABNORMAL, now);
    if (this.#deadAt === undefined && now >= this.#heardAt + PING_AFTER) this.#ping(now, PONG_LIMIT);
    if (this.#renewAt !== undefined && now >= this.#renewAt) {
      this.#tasks.push({ do: 'get_token', force: true });
      // If nothing comes of it, it is tried again, the oftener the nearer the end is.
      this.#planRenewal(now);
    }
  }

  #begin(now: number): void {
    this.#limitAt = now + TOKEN_LIMIT;
    this.#tasks.push({ do: 'get_token', force: this.#mustForce });
    this.state = { name: 'connecting', attempt: this.#attempt };
  }

  #token(token: string | null, lifeMs: number | undefined, name: 'connecting' | 'open', now: number): void {
    if (token === null) return this.#end({ by: 'signed_out' });
    this.#mustForce = false;
    this.#endsAt = lifeMs === undefined ? undefined : now + lifeMs;
    this.#planRenewal(now);
    if (name === 'open') {
      this.#tasks.push({ do: 'auth', token });
    } else {
      this.#limitAt = now + CONNECT_LIMIT;
      this.#tasks.push({ do: 'dial', token });
    }
  }

  /** A token that seems to have ended is left to the node: this clock may be the wrong one. */
  #planRenewal(now: number): void {
    const left = (this.#endsAt ?? now) - now;
    this.#renewAt = left > 0 ? now + Math.max(RENEW_PAUSE, left * RENEW_AT) : undefined;
  }

  /** What waits to be sent is one user's: it is not said in the name of another. */
  #signedIn(user: User, now: number): void {
    this.#userId ??= user.id;
    if (user.id !== this.#userId) return this.#end({ by: 'signed_out' });
    this.#heardAt = now;
    this.#deadAt = undefined;
    this.#settledAt = now + SETTLED_AFTER;
    this.state = { name: 'open', user };
  }

  #ping(now: number, limit: number): void {
    this.#tasks.push({ do: 'ping' });
    this.#deadAt = Math.min(this.#deadAt ?? Infinity, now + limit);
  }

  /** The connection is gone, with this code, to be tried again after a while if the code allows that. */
  #lose(code: number, now: number, withinMs?: number): void {
    const rule = ruleOf(code);
    if (rule === 'never' || (rule === 'refresh' && this.#isRefreshed)) {
      return this.#end({ by: 'node', code });
    }
    this.#tasks.push({ do: 'drop' });
    if (rule === 'refresh') {
      this.#isRefreshed = true;
      this.#mustForce = true;
      return this.#begin(now);
    }
    const waitMs = withinMs === undefined ? wait(this.#world, this.#attempt) : this.#world.random() * withinMs;
    this.#attempt += 1;
    this.#limitAt = now + waitMs;
    this.state = { name: 'waiting', attempt: this.#attempt, code, waitMs };
  }

  #end(reason: Reason): void {
    this.#tasks.push({ do: 'drop' });
    this.state = { name: 'closed', reason };
  }
}
