/** Everything this package offers; the rest of the files are its own affair. */

export { type Client, type ClientEvents, type ClientOptions, type Created, type NewRoom, createClient } from './client.js';
export type { Backoff } from './backoff.js';
export type { Clock } from './clock.js';
export type { GetToken, Socket, SocketConstructor } from './connection.js';
export { type ClientErrorCode, type ErrorCode, KeywireError, type NodeErrorCode } from './errors.js';
export type { Reason, State } from './machine.js';
export type { Content, HistoryOptions, HistoryPage, Invited, KeyOptions, Muted, Published, Room } from './room.js';
export type { Options } from './outbox.js';
export type { Missed, Reset, RoomEvents, Subscribed } from './subscription.js';
export type { DeletedEntry, EditedEntry, Entry, EntryBase, Invitation, Limits, MemberEntry, Member, MessageEntry, Position, Presence, Rate, Role, RoomBase, RoomInfo, Said, Subject, User } from './wire.js';
