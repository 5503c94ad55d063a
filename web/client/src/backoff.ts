import type { World } from './clock.js';

/** How long to wait between attempts. */
export interface Backoff {
  /** The longest first wait, in milliseconds. */
  readonly base: number;
  /** The longest wait of all, in milliseconds. */
  readonly cap: number;
}

/** Half a second at first, 20 seconds at most. */
export const BACKOFF: Backoff = { base: 500, cap: 20_000 };

/**
 * "Full jitter": anything from 0 to a limit that doubles. Clients that were cut together do not come back
 * together, which a fixed part of the wait would make them do.
 */
export function wait({ backoff: { base, cap }, random }: World, attempt: number): number {
  return random() * Math.min(cap, base * 2 ** attempt);
}
