import type { Backoff } from './backoff.js';

/** Time and timers, so that tests can hold them. */
export interface Clock {
  /** Milliseconds that only go forward. */
  now(): number;
  /** The time of day, in milliseconds since 1970: tokens end by it. */
  today(): number;
  /** Calls once, after so many milliseconds; what it returns takes that back. */
  start(ms: number, call: () => void): () => void;
}

/** What is not the same in a test. */
export interface World {
  readonly clock: Clock;
  /** Numbers from 0 to 1. */
  readonly random: () => number;
  readonly backoff: Backoff;
}

/** The longest timer: above 2^31 - 1 ms one fires at once. Whoever needs longer asks again. */
const LONGEST = 3_600_000;

/** The real ones. */
export const REAL_CLOCK: Clock = {
  now: () => performance.now(),
  today: () => Date.now(),
  start(ms, call) {
    const timer = setTimeout(call, Math.min(Math.max(ms, 0), LONGEST));
    return () => clearTimeout(timer);
  },
};

/** One timer: setting it anew takes back what was set before. */
export class Timer {
  readonly #clock: Clock;
  #stop: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  isSet(): boolean {
    return this.#stop !== undefined;
  }

  set(ms: number, call: () => void): void {
    this.stop();
    this.#stop = this.#clock.start(ms, () => {
      this.#stop = undefined;
      call();
    });
  }

  stop(): void {
    this.#stop?.();
    this.#stop = undefined;
  }
}
