import type { Subscription } from './subscription.js';

/**
 * A client's subscriptions, by the names of their rooms. What is followed or listened to is kept; whatever else is
 * gone with the app's last handle on it, and until then is what all handles on that room are on.
 */
export class Subscriptions {
  readonly #kept = new Map<string, Subscription>();
  readonly #known = new Map<string, WeakRef<Subscription>>();
  /** Another of the same name may have come when it is told. */
  readonly #gone: FinalizationRegistry<string> = new FinalizationRegistry((name) => {
    if (!this.#known.get(name)?.deref()) this.#known.delete(name);
  });

  /** The one of this name, if it is kept. */
  get(name: string): Subscription | undefined {
    return this.#kept.get(name);
  }

  /** All that are kept. */
  all(): Iterable<Subscription> {
    return this.#kept.values();
  }

  /** The one of this name, made unless somebody holds it. */
  find(name: string, make: () => Subscription): Subscription {
    const known = this.#known.get(name)?.deref();
    if (known) return known;
    const made = make();
    this.#known.set(name, new WeakRef(made));
    this.#gone.register(made, name);
    return made;
  }

  keep(subscription: Subscription): void {
    this.#kept.set(subscription.name, subscription);
  }

  release({ name }: Subscription): void {
    this.#kept.delete(name);
  }
}
