/** A user, as others see one. */
export interface User {
  /** A UUID. */
  readonly id: string;
  readonly username: string;
}

/** What somebody may do in a room. */
export type Role = 'owner' | 'moderator' | 'member';

/** A place in a room's log: everything up to `seq` of the log named `epoch`. */
export interface Position {
  readonly epoch: string;
  readonly seq: number;
}

/** What every entry has. */
export interface EntryBase {
  readonly room: string;
  /** Its place in the log; none in an ephemeral room. */
  readonly seq?: number;
  /** When the node took it, as RFC 3339. */
  readonly at: string;
  /** Whose it is; null once the account is deleted. */
  readonly user: User | null;
  /** The key it was published with. */
  readonly key: string;
}

/** What was said: a text, or JSON data, or neither once it is deleted. */
export interface Said {
  readonly text?: string;
  /** Whatever JSON it was. */
  readonly data?: unknown;
  /** It was said, and is deleted since. */
  readonly deleted?: true;
}

/** The member whom an entry is about. */
export interface Subject {
  /** The user's id. */
  readonly user: string;
  /** Null once the account is deleted. */
  readonly username: string | null;
  /** What they are in the room; absent once they have left. */
  readonly role?: Role;
}

/** Something was said. */
export type MessageEntry = EntryBase & Said & { readonly kind: 'message' };
/** Another text or other data for the message at `of`, a `seq`. */
export type EditedEntry = EntryBase & Said & { readonly kind: 'edited'; readonly of: number };
/** The message at `of`, a `seq`, is deleted. */
export type DeletedEntry = EntryBase & { readonly kind: 'deleted'; readonly of: number };
/** Somebody joined, left, or has another role. */
export type MemberEntry = EntryBase & { readonly kind: 'joined' | 'left' | 'role'; readonly subject: Subject };

/** What stands in a room's log, or is said in an ephemeral room. */
export type Entry = MessageEntry | EditedEntry | DeletedEntry | MemberEntry;

/** The kinds of entries that this version knows. */
const KINDS: ReadonlySet<string> = new Set<Entry['kind']>(['message', 'edited', 'deleted', 'joined', 'left', 'role']);

/** What a room is, wherever it is told of. */
export interface RoomBase {
  /** Its name. */
  readonly room: string;
  /** What people call it; empty if it has none. */
  readonly title: string;
  /** Whether what is said is kept. */
  readonly durable: boolean;
  /** Whether anybody may find it and join. */
  readonly public: boolean;
}

/** A room of a list. */
export interface RoomInfo extends RoomBase {
  /** What you are there; null: no member. */
  readonly role: Role | null;
  /** Until when you may say nothing there, as RFC 3339. */
  readonly mutedUntil?: string;
  /** In `rooms()`, of a durable one: its log's name, and where that begins and ends. */
  readonly epoch?: string;
  readonly firstSeq?: number;
  readonly lastSeq?: number;
}

/** A room that you are invited to. */
export interface Invitation extends RoomBase {
  /** A username. */
  readonly invitedBy: string;
  /** When, as RFC 3339. */
  readonly at: string;
}

/** Who belongs to a room. */
export interface Member {
  /** The user's id. */
  readonly id: string;
  readonly username: string;
  readonly displayName: string | null;
  readonly role: Role;
  /** Until when they may say nothing, as RFC 3339; null: they may speak. */
  readonly mutedUntil: string | null;
}

/** So many in each period of so many milliseconds, and `burst` at once after a rest. */
export interface Rate {
  readonly count: number;
  readonly periodMs: number;
  readonly burst: number;
}

/** What a node lets a connection do; null: no limit. */
export interface Limits {
  /** Bytes of a message. */
  readonly messageBytes: number;
  /** Rooms followed at once. */
  readonly subscriptions: number | null;
  /** Publishes without a reply at once; the client sees to it. */
  readonly publishesInFlight: number;
  /** How fast commands may come. */
  readonly messages: Rate | null;
  /** How fast their bytes may. */
  readonly bytes: Rate | null;
  /** The node asks after so much silence, in milliseconds, */
  readonly pingIntervalMs: number;
  /** and gives the connection up after so much more. */
  readonly pingTimeoutMs: number;
}

/** Who is in a room now. */
export interface Presence {
  readonly room: string;
  /** How many. */
  readonly count: number;
  /** Whether `present` and `absent` are told: not where there are too many. */
  readonly told: boolean;
  /** By id; 100 at most. */
  readonly users: User[];
  /** Whether others follow the last of these. */
  readonly more: boolean;
}

/** A JSON object of the node. What it says is looked at before it is used. */
export type Json = { readonly [field: string]: unknown };

/** A command without its id, as it is on the wire. */
export function encode(command: string, fields?: Json): string {
  return JSON.stringify({ command, ...fields });
}

/** Reads a frame; `undefined` if it is no JSON object. */
export function parse(data: unknown): Json | undefined {
  try {
    const value: unknown = JSON.parse(data as string);
    return isJson(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Whether it is a JSON object. */
export function isJson(value: unknown): value is Json {
  return value instanceof Object && !Array.isArray(value);
}

/** The objects of a list; none if it is no list. */
export function objects(value: unknown): Json[] {
  return Array.isArray(value) ? value.filter(isJson) : [];
}

/** Whether it is a place in a log, or another whole number. */
export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** A push or a listed entry, if it is an entry of a kind that this version knows. */
export function entryOf({ push, ...rest }: Json): Entry | undefined {
  return KINDS.has(push as string) ? ({ kind: push, ...rest } as unknown as Entry) : undefined;
}

/** The limits that a node greets with; none of a node that says none. */
export function limitsOf(json: Json): Limits | undefined {
  const { messages, bytes } = json;
  const rate = (value: unknown): Rate | null => (isJson(value) ? camel<Rate>(value) : null);
  return isCount(json['message_bytes']) ? { ...camel<Limits>(json), messages: rate(messages), bytes: rate(bytes) } : undefined;
}

/** With the names of its fields as JavaScript writes them: `last_seq` becomes `lastSeq`. */
export function camel<T>(json: Json): T {
  const name = (field: string): string => field.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return Object.fromEntries(Object.entries(json).map(([field, value]) => [name(field), value])) as T;
}
