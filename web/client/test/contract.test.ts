// What the client says and understands is what shared/contracts/ holds, which the node's tests read, too.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type Client, type Entry, type NodeErrorCode, type Position, type Role, type Room } from '../dist/index.js';
import { HeldClock, HeldSocket, opened, settle, token } from './held.js';

type Json = Record<string, unknown>;
/** Fields of commands; each command has some. */
interface Fields {
  room: string;
  since?: Position;
  text: string;
  data: unknown;
  key: string;
  of: number;
  before: number;
  after: unknown;
  limit: number;
  query: string;
  title: string;
  durable: boolean;
  public: boolean;
  username: string;
  until?: string;
  seconds: number;
  user: string;
  role: Role;
}

const contract = JSON.parse(readFileSync(new URL('../../../shared/contracts/keywire_v1.json', import.meta.url), 'utf8')) as {
  commands: Json[];
  pushes: Json[];
  replies: Json[];
  errors: { code: NodeErrorCode; retry: boolean }[];
};
/** Every code of the type: a missing one does not compile, nor does one too many. */
const ERRORS: Record<NodeErrorCode, true> = {
  invalid_message: true, unknown_command: true, invalid_field: true, not_signed_in: true, token_invalid: true,
  session_revoked: true, room_not_found: true, room_taken: true, not_a_member: true, forbidden: true, muted: true,
  not_subscribed: true, too_many_rooms: true, too_many_invitations: true, too_many_subscriptions: true, not_durable: true, key_reused: true, message_not_found: true,
  user_not_found: true, last_owner: true, rate_limited: true, unavailable: true, internal: true,
};
/** The second page of a list is asked for after this one. */
const AFTER: Record<string, string> = { rooms: 'room', invitations: 'room', members: 'id' };

/** Makes the client say a command of the contract. */
const SAY: Record<string, (client: Client, room: Room, fields: Fields) => unknown> = {
  ping: (client) => client.check(),
  subscribe: (_, room, { since }) => room.subscribe(since && { since }),
  unsubscribe: (_, room) => {
    void room.subscribe();
    room.unsubscribe();
  },
  publish: (_, room, { text, data, key }) => room.publish(text ?? { data }, key ? { key } : {}),
  edit: (_, room, { of, text, key }) => room.edit(of, text, { key }),
  delete: (_, room, { of, key }) => room.delete(of, { key }),
  history: (_, room, { before, after, limit }) => room.history({ ...(before && { before }), ...(after !== undefined && { after: Number(after) }), ...(limit && { limit }) }).next(),
  search: (client, _, { query }) => client.search(query).next(),
  create: (client, _, { room, title, durable, public: isPublic }) => client.create(room, { title, durable, public: isPublic }),
  presence: (_, room, { after }) => room.presence({ after: String(after) }),
  typing: (_, room) => {
    void room.subscribe();
    HeldSocket.last().answer('subscribe', { ok: { durable: false } });
    room.typing();
  },
  join: (_, room, { key }) => room.join({ key }),
  leave: (_, room, { key }) => room.leave({ key }),
  invite: (_, room, { username }) => room.invite(username),
  decline: (_, room) => room.decline(),
  uninvite: (_, room, { user }) => room.uninvite(user),
  remove: (_, room, { user, key }) => room.remove(user, { key }),
  set_role: (_, room, { user, role, key }) => room.setRole(user, role, { key }),
  rooms: (client, _, { after }) => secondPage('rooms', client.rooms(), String(after)),
  mute: (_, room, { user, until, seconds }) => room.mute(user, until === undefined ? { seconds } : new Date(until)),
  unmute: (_, room, { user }) => room.unmute(user),
  invitations: (client, _, { after }) => secondPage('invitations', client.invitations(), String(after)),
  members: (_, room, { after }) => secondPage('members', room.members(), String(after)),
};

/** Reads a list until its second page is asked for. */
async function secondPage(command: string, list: AsyncGenerator<unknown>, after: string): Promise<void> {
  void list.next();
  await settle();
  HeldSocket.last().answer(command, { ok: { [command]: [{ [AFTER[command] ?? '']: after }], more: true } });
  list.next().catch(() => {});
  await settle();
}

for (const { id, ...expected } of contract.commands.filter(({ command }) => command !== 'auth')) {
  test(`command ${id} of the contract, ${expected['command']}, is said as it stands there`, async () => {
    const { client } = await opened();
    const command = String(expected['command']);
    const saying = SAY[command]?.(client, client.room('general'), expected as unknown as Fields);
    if (saying instanceof Promise) saying.catch(() => {});
    await settle();
    const { id: _, ...said } = HeldSocket.last().commands(command).at(-1) ?? {};
    // A date knows milliseconds, too.
    if (typeof said['until'] === 'string') said['until'] = said['until'].replace('.000Z', 'Z');
    // Whatever may have a key has one of the client's.
    if (expected['key'] === undefined && command === 'publish') expected['key'] = said['key'];
    assert.deepEqual(said, expected);
    client.close();
  });
}

test('auth is said as it stands there', async () => {
  const [auth] = contract.commands;
  const clock = new HeldClock();
  const tokens = [token(clock, 10_000), String(auth?.['token'])];
  const { client } = await opened({}, { clock, getToken: () => tokens.shift() ?? '' });
  await clock.pass(8_000);
  assert.deepEqual(HeldSocket.last().sent.map(({ id: _, ...said }) => said), [{ command: 'auth', token: auth?.['token'] }]);
  client.close();
});

test('every push of the contract is understood', async () => {
  const { client } = await opened();
  const room = client.room('general');
  const told: unknown[] = [];
  room.on('entry', ({ kind, ...rest }: Entry) => told.push({ push: kind, ...rest }));
  room.on('reset', ({ epoch, firstSeq, lastSeq }) => told.push({ push: 'reset', room: 'general', epoch, first_seq: firstSeq, last_seq: lastSeq }));
  room.on('unsubscribed', () => told.push({ push: 'unsubscribed', room: 'general' }));
  for (const kind of ['present', 'absent', 'typing'] as const) room.on(kind, (user) => told.push({ push: kind, room: 'general', user }));
  room.on('presence', ({ told: isTold }) => told.push({ push: 'presence', room: 'general', told: isTold }));
  room.on('missed', () => told.push({ push: 'missed' }));
  const expected = contract.pushes.filter(({ push }) => push !== 'welcome' && push !== 'bye');
  for (const push of expected) {
    // Each alone: their places are those of no one log.
    void room.subscribe();
    HeldSocket.last().answer('subscribe', { ok: { durable: true, epoch: '-8213', seq: Number(push['seq'] ?? 42) - 1 } });
    void room.presence();
    HeldSocket.last().hear(push);
    room.unsubscribe();
  }
  assert.deepEqual(told, expected);
  client.close();
});

test('the bye of the contract is a close, and says within which time to come back', async () => {
  const { client } = await opened();
  const bye = contract.pushes.find(({ push }) => push === 'bye') ?? {};
  HeldSocket.last().hear(bye);
  assert.deepEqual(client.state, { name: 'waiting', attempt: 1, code: bye['code'], waitMs: bye['retry_ms'] });
  client.close();
});

/** What the app is given for an `ok`; nothing where it asked for nothing. Lists give their first item. */
const READ: Record<string, (ok: Json, fields: Json) => unknown> = {
  auth: () => undefined,
  ping: () => undefined,
  unsubscribe: () => undefined,
  subscribe: ({ durable, role }, { since }) => ({ durable, role, resumed: since !== undefined }),
  history: ({ entries, ...page }) => ({ ...renamed(page), entries: (entries as Json[]).map(({ push, ...entry }) => ({ kind: push, ...entry })) }),
  rooms: firstOf,
  search: firstOf,
  create: ({ unchanged, ...room }) => ({ ...room, unchanged: unchanged === true }),
  mute: renamed,
  unmute: renamed,
  invitations: firstOf,
  invite: ({ user, unchanged }) => ({ user, unchanged: unchanged === true }),
  decline: () => undefined,
  uninvite: () => undefined,
  members: firstOf,
  presence: renamed,
  typing: () => undefined,
};

/** Whatever has a key. */
function readKeyed({ seq, unchanged }: Json, { key }: Json): unknown {
  return { seq, key, unchanged: unchanged === true };
}

function firstOf({ rooms, invitations, members }: Json): unknown {
  return renamed(((rooms ?? invitations ?? members) as Json[])[0] ?? {});
}

/** With the names of its fields as JavaScript writes them. */
function renamed(json: Json): Json {
  const name = (field: string): string => field.replaceAll(/_./g, (part) => part.slice(1).toUpperCase());
  return Object.fromEntries(Object.entries(json).map(([field, value]) => [name(field), value]));
}

/** The command that a reply of the contract answers. */
function asked({ id }: Json): Json {
  return contract.commands.find((command) => command['id'] === id) ?? {};
}

for (const reply of contract.replies.filter(({ ok }) => ok)) {
  const { command, ...fields } = asked(reply);
  const ok = reply['ok'] as Json;
  test(`the contract's answer ${JSON.stringify(ok)} to ${command} is understood`, async () => {
    const { client } = await opened();
    const room = client.room('general');
    const lists: Record<string, () => AsyncGenerator<unknown>> = { rooms: () => client.rooms(), search: () => client.search('gen'), invitations: () => client.invitations(), members: () => room.members() };
    const list = lists[String(command)];
    const answer = list ? list().next() : SAY[String(command)]?.(client, room, fields as unknown as Fields);
    await settle();
    HeldSocket.last().answer(String(command), { ok });
    const given = await (answer as Promise<unknown>);
    const value = list || command === 'history' ? (given as IteratorResult<unknown>).value : given;
    assert.deepEqual(value, (READ[String(command)] ?? readKeyed)(ok, fields));
    assert.equal(client.state.name, 'open');
    client.close();
  });
}

test('every error of a reply of the contract is understood', async () => {
  const { client, clock } = await opened();
  for (const { error } of contract.replies.filter((reply) => reply['error'])) {
    const joining = client.room('general').join();
    HeldSocket.last().answer('join', { error });
    const { code, retry_ms: retryMs } = error as Json;
    if (typeof retryMs === 'number') {
      const sent = HeldSocket.last().commands('join').length;
      await clock.pass(retryMs);
      assert.equal(HeldSocket.last().commands('join').length, sent + 1);
      HeldSocket.last().answer('join', { ok: {} });
      assert.equal((await joining).unchanged, false);
    } else {
      await assert.rejects(joining, { code, retry: false });
    }
  }
  client.close();
});

test('the limits of the contract are told to the app', async () => {
  const { limits } = contract.pushes.find(({ push }) => push === 'welcome') as { limits: Json };
  const { client } = await opened();
  assert.equal(client.limits, undefined);
  HeldSocket.last().end(1006);
  client.check();
  await settle();
  HeldSocket.last().welcome(limits);
  const rates = { messages: renamed(limits['messages'] as Json), bytes: renamed(limits['bytes'] as Json) };
  assert.deepEqual(client.limits, { ...renamed(limits), ...rates });
  client.close();
});

test('every error of the contract is a code of the type', () => {
  assert.deepEqual(contract.errors.map(({ code }) => code).sort(), Object.keys(ERRORS).sort());
});
