/** What the node refuses a command with: the table in docs/protocol.md, and shared/contracts/keywire_v1.json. */
export type NodeErrorCode =
  | 'invalid_message'
  | 'unknown_command'
  | 'invalid_field'
  | 'not_signed_in'
  | 'token_invalid'
  | 'session_revoked'
  | 'room_not_found'
  | 'room_taken'
  | 'not_a_member'
  | 'forbidden'
  | 'muted'
  | 'not_subscribed'
  | 'too_many_rooms'
  | 'too_many_invitations'
  | 'too_many_subscriptions'
  | 'not_durable'
  | 'key_reused'
  | 'message_not_found'
  | 'user_not_found'
  | 'last_owner'
  | 'rate_limited'
  | 'unavailable'
  | 'internal';

/**
 * What this library refuses by itself:
 * - `queue_full`: `queueLimit` commands wait already; the only one of these that may succeed later;
 * - `too_big`: the message is over the node's limit, which would end the connection for good;
 * - `closed`: the client is closed, by the app or by the node; what was sent before may have been done all the same;
 * - `outcome_unknown`: the connection went before the node answered a publish in an ephemeral room. It may have been
 *   heard, and is not sent again: such rooms do not know a second try by its key. An app to which a message that is
 *   heard twice does no harm may publish it again. Or before it answered `leave`, `decline` or `uninvite`, which was
 *   sent again and refused as it is when it was done the first time;
 * - `log_replaced`: the room's log became another one while its history was read.
 */
export type ClientErrorCode = 'queue_full' | 'too_big' | 'closed' | 'outcome_unknown' | 'log_replaced';

/** A code of an error. A newer node may say one that this version does not list. */
export type ErrorCode = NodeErrorCode | ClientErrorCode | (string & {});

/** Why something was not done, or may not have been. The message is for a person, the code for a program. */
export class KeywireError extends Error {
  override readonly name: string = 'KeywireError';
  /** What a program looks at. */
  readonly code: ErrorCode;
  /** Whether the same may succeed later. */
  readonly retry: boolean;
  /** In how many milliseconds to try again, where that is known. */
  readonly retryMs: number | undefined;

  constructor(code: ErrorCode, detail: string, retry: boolean = false, retryMs?: number) {
    super(detail);
    this.code = code;
    this.retry = retry;
    this.retryMs = retryMs;
  }
}
