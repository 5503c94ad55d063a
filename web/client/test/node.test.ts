// Against the built program, which `cargo dev test web` names in TEST_KEYWIRE.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Client, type ClientOptions, type Entry, KeywireError, type MessageEntry, type Room, type State, type User, createClient } from '../dist/index.js';
import { Keywire } from './harness.js';
import { Proxy } from './proxy.js';

const MESSAGES = 1_000;
const DROPS = 20;
const skip = process.env['TEST_KEYWIRE'] === undefined && 'there is no TEST_KEYWIRE: cargo dev test web';
/** The longest that a test may take: some start the program again. */
const timeout = 180_000;

let keywire: Keywire;
const clients: Client[] = [];
const proxies: Proxy[] = [];

before(async () => {
  if (skip) return;
  keywire = await Keywire.start({ ACCESS_TOKEN_LIFETIME: '3s', TOKEN_LEEWAY: '2s' });
  for (const name of ['ann', 'bob']) await keywire.register(name);
});

after(async () => {
  for (const client of clients) client.close();
  for (const proxy of proxies) await proxy.stop();
  await keywire?.stop();
});

/** A way to the node that can be cut. */
async function way(): Promise<Proxy> {
  const proxy = await Proxy.start(Number(new URL(keywire.url).port));
  proxies.push(proxy);
  return proxy;
}

/** A client of a user, which signs in whenever a token is asked for. */
function connect(user: string, options: Partial<ClientOptions> = {}): Client {
  const client = createClient({ url: keywire.url, getToken: () => keywire.token(user), backoff: { base: 20, cap: 500 }, ...options });
  clients.push(client);
  return client;
}

/** The first event that makes this true. */
function event<Event>(on: (listener: (event: Event) => void) => () => void, holds: (event: Event) => boolean): Promise<Event> {
  return new Promise((resolve) => {
    const stop = on((event) => {
      if (!holds(event)) return;
      stop();
      resolve(event);
    });
  });
}

function state(client: Client, name: State['name']): Promise<State> {
  return event((listener) => client.on('state', listener), (state) => state.name === name);
}

/** Resolves when the room has told this text. */
function told(room: Room, text: string): Promise<MessageEntry> {
  return event((listener) => room.on('message', listener), (entry) => entry.text === text);
}

/** Everything a room tells from now on. */
function record(room: Room): Entry[] {
  const entries: Entry[] = [];
  room.on('entry', (entry) => entries.push(entry));
  return entries;
}

/** The whole log of a room, oldest first. */
async function log(room: Room): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const page of room.history({ after: 0 })) entries.push(...page.entries);
  return entries;
}

test('rooms are made, found, joined and left', { skip, timeout }, async () => {
  const [ann, bob] = [connect('ann'), connect('bob')];
  const made = await ann.create('garden', { title: 'The garden', public: true });
  assert.deepEqual([made.room, made.durable, made.public, made.role], ['garden', true, true, 'owner']);
  assert.equal((await ann.create('garden', { title: 'The garden', public: true })).unchanged, true);
  await assert.rejects(bob.create('garden'), (error: unknown) => error instanceof KeywireError && error.code === 'room_taken');
  const found = [];
  for await (const { room } of bob.search('The gar')) found.push(room);
  assert.deepEqual(found, ['garden']);
  const there = bob.room('garden');
  assert.equal((await there.join()).unchanged, false);
  assert.equal((await there.join()).unchanged, true);
  const members = [];
  for await (const { username, role, id } of there.members()) members.push({ username, role, id });
  assert.deepEqual(members.map(({ username, role }) => [username, role]).sort(), [['ann', 'owner'], ['bob', 'member']]);
  const id = members.find(({ username }) => username === 'bob')?.id ?? '';
  const { mutedUntil } = await ann.room('garden').mute(id, { seconds: 60 });
  assert.ok(Date.parse(mutedUntil ?? '') > Date.now());
  await assert.rejects(there.publish('hush'), (error: unknown) => error instanceof KeywireError && error.code === 'muted');
  assert.equal((await ann.room('garden').unmute(id)).mutedUntil, null);
  await ann.room('garden').setRole(id, 'moderator');
  await ann.room('garden').remove(id);
  await assert.rejects(there.publish('hello'), (error: unknown) => error instanceof KeywireError && error.code === 'not_a_member');
  const mine = [];
  for await (const { room, lastSeq } of ann.rooms()) mine.push([room, lastSeq]);
  assert.deepEqual(mine, [['garden', 4]]);
  await ann.create('cellar');
  await assert.rejects(bob.room('cellar').join(), (error: unknown) => error instanceof KeywireError && error.code === 'room_not_found');
  assert.equal((await ann.room('cellar').invite('bob')).user, id);
  const invitations = [];
  for await (const { room, invitedBy } of bob.invitations()) invitations.push([room, invitedBy]);
  assert.deepEqual(invitations, [['cellar', 'ann']]);
  await bob.room('cellar').decline();
  await ann.room('cellar').invite('bob');
  await ann.room('cellar').uninvite(id);
  await assert.rejects(bob.room('cellar').join(), (error: unknown) => error instanceof KeywireError && error.code === 'room_not_found');
  await ann.room('cellar').invite('bob');
  await bob.room('cellar').join();
  await bob.room('cellar').leave();
});

test('what is said is told to who follows, and may be edited and deleted', { skip, timeout }, async () => {
  const [ann, bob] = [connect('ann'), connect('bob')];
  await ann.create('talk', { public: true });
  const [hers, his] = [ann.room('talk'), bob.room('talk')];
  const subscribed = await his.subscribe();
  assert.deepEqual(subscribed, { durable: true, role: null, resumed: false });
  const entries = record(his);
  const hello = told(his, 'hello');
  const { seq = 0, key } = await hers.publish('hello');
  assert.deepEqual([(await hello).key, (await hello).user?.username], [key, 'ann']);
  const gone = event((listener) => his.on('deleted', listener), () => true);
  await hers.publish({ data: { n: [1, null] } });
  await hers.edit(seq, 'good day');
  await hers.delete(seq);
  await gone;
  assert.deepEqual(entries.map(({ kind, seq }) => [kind, seq]), [['message', 2], ['message', 3], ['edited', 4], ['deleted', 5]]);
  assert.deepEqual((entries[1] as MessageEntry).data, { n: [1, null] });
  const pages = [];
  for await (const page of his.history({ limit: 2 })) pages.push(page.entries.map(({ seq }) => seq));
  assert.deepEqual(pages, [[4, 5], [2, 3], [1]]);
  assert.equal(((await log(his))[1] as MessageEntry).deleted, true);
});

test('an ephemeral room tells who is there', { skip, timeout }, async () => {
  const ann = connect('ann');
  await ann.create('air', { durable: false });
  const room = ann.room('air');
  assert.equal((await room.subscribe()).durable, false);
  const hello = told(room, 'hello');
  assert.equal((await room.publish('hello')).seq, undefined);
  assert.equal((await hello).seq, undefined);
});

test('what is said in an ephemeral room is heard once at most, through replies that are lost', { skip, timeout }, async () => {
  const proxy = await way();
  const [ann, bob] = [connect('ann', { url: proxy.url }), connect('bob')];
  await ann.create('gusts', { durable: false, public: true });
  const [hers, his] = [ann.room('gusts'), bob.room('gusts')];
  await Promise.all([hers.subscribe(), his.subscribe()]);
  const heard: unknown[] = [];
  his.on('message', ({ text }) => heard.push(text));
  for (let n = 0; n < DROPS; n += 1) {
    const again = event((listener) => hers.on('subscribed', listener), () => true);
    const hearing = told(his, `${n}`);
    proxy.isMute = true;
    const publishing = hers.publish(`${n}`);
    await hearing;
    proxy.cut();
    await assert.rejects(publishing, { code: 'outcome_unknown', retry: false });
    await again;
  }
  const last = told(his, 'last');
  await hers.publish('last');
  await last;
  assert.deepEqual(heard, [...Array(DROPS).keys(), 'last'].map(String));
});

test('who comes and types is told', { skip, timeout }, async () => {
  const [ann, bob] = [connect('ann'), connect('bob')];
  await ann.create('present', { public: true });
  const [hers, his] = [ann.room('present'), bob.room('present')];
  await hers.subscribe();
  assert.deepEqual((await hers.presence()).users.map(({ username }) => username), ['ann']);
  const present = event<User>((listener) => hers.on('present', listener), () => true);
  const typing = event<User>((listener) => hers.on('typing', listener), () => true);
  await his.join();
  await his.subscribe();
  his.typing();
  assert.deepEqual([(await present).username, (await typing).username], ['bob', 'bob']);
  assert.equal((await his.presence()).count, 2);
});

test('what was said meanwhile is told after a reconnect, once and in order', { skip, timeout }, async () => {
  const proxy = await way();
  const [ann, bob] = [connect('ann', { url: proxy.url }), connect('bob')];
  await ann.create('resume', { public: true });
  await bob.room('resume').join();
  const room = ann.room('resume');
  await room.subscribe();
  const entries = record(room);
  proxy.isDown = true;
  const away = state(ann, 'waiting');
  proxy.cut();
  await away;
  for (let n = 0; n < 150; n += 1) await bob.room('resume').publish(`${n}`);
  const last = told(room, '149');
  proxy.isDown = false;
  await last;
  const { seq: first = 0 } = entries[0] ?? {};
  assert.deepEqual(entries.map(({ seq }) => seq), Array.from({ length: 150 }, (_, n) => first + n));
  assert.deepEqual(entries, (await log(room)).slice(-150));
});

test('1,000 messages through 20 drops: none is lost, none doubled', { skip, timeout }, async () => {
  const proxy = await way();
  const [ann, bob] = [connect('ann', { url: proxy.url, queueLimit: MESSAGES }), connect('bob')];
  await ann.create('drops', { public: true });
  const [hers, his] = [ann.room('drops'), bob.room('drops')];
  await Promise.all([hers.subscribe(), his.subscribe()]);
  const [sent, seen] = [record(hers), record(his)];
  let acknowledged = 0;
  let cuts = 0;
  let drops = 0;
  ann.on('state', ({ name }) => {
    drops += name === 'waiting' ? 1 : 0;
  });
  const outcomes = await Promise.all(Array.from({ length: MESSAGES }, async (_, n) => {
    const published = await hers.publish(`${n}`);
    acknowledged += 1;
    // One cut after the other, the last long before the end; at once, or in the middle of what is said next.
    if (cuts === drops && cuts < DROPS && acknowledged > cuts * 30) {
      proxy.cut((cuts % 7) * 40);
      cuts += 1;
    }
    return published;
  }));
  for (const [room, entries] of [[hers, sent], [his, seen]] as const) {
    while (entries.length < MESSAGES) await event((listener) => room.on('message', listener), () => true);
  }
  const stored = (await log(his)).filter(({ kind }) => kind === 'message') as MessageEntry[];
  assert.deepEqual([drops, acknowledged, stored.length], [DROPS, MESSAGES, MESSAGES]);
  assert.deepEqual([sent, seen], [stored, stored]);
  const texts = new Map(stored.map(({ seq, text }) => [seq, text]));
  for (const [n, { seq }] of outcomes.entries()) assert.equal(texts.get(seq), `${n}`);
});

test('a socket outlives its token, because it is renewed in band', { skip, timeout }, async () => {
  let renewals = 0;
  let noted = (): void => {};
  const renewed = new Promise<void>((resolve) => (noted = resolve));
  const getToken = ({ force }: { force: boolean }): Promise<string> => {
    if (force && (renewals += 1) === 3) noted();
    return keywire.token('ann');
  };
  const client = connect('ann', { getToken });
  const states: string[] = [];
  client.on('state', ({ name }) => states.push(name));
  await client.connect();
  await renewed;
  await client.rooms().next();
  assert.deepEqual(states, ['connecting', 'open']);
});

test('a token that has ended is renewed once, and one that has ended all the same is the end', { skip, timeout }, async () => {
  const ended = await keywire.token('ann');
  // 4401: the node closes when the token ends, and this one is not renewed in band.
  const opaque = connect('ann', { getToken: () => ended });
  await opaque.connect();
  const closed = await state(opaque, 'closed');
  assert.deepEqual(closed, { name: 'closed', reason: { by: 'node', code: 4401 } });
  const wishes: boolean[] = [];
  const getToken = ({ force }: { force: boolean }): Promise<string> => {
    wishes.push(force);
    return force ? keywire.token('ann') : Promise.resolve(ended);
  };
  const client = connect('ann', { getToken });
  assert.equal((await client.connect()).username, 'ann');
  assert.deepEqual(wishes, [false, true]);
  client.close();
});

test('a node that is stopped says bye, and nothing is lost by that', { skip, timeout }, async () => {
  // Of the time that the node gives, and of every wait, a hundredth.
  const ann = connect('ann', { random: () => 0.01, queueLimit: MESSAGES });
  await ann.create('stopped', { public: true });
  const room = ann.room('stopped');
  await room.subscribe();
  const entries = record(room);
  const away = state(ann, 'waiting');
  let restart: Promise<void> | undefined;
  const outcomes = await Promise.all(Array.from({ length: MESSAGES }, async (_, n) => {
    const { seq } = await room.publish(`${n}`);
    if (n === 300) restart = keywire.restart();
    return seq;
  }));
  await restart;
  const bye = await away;
  assert.ok(bye.name === 'waiting' && bye.code === 1012);
  while (entries.length < MESSAGES) await event((listener) => room.on('message', listener), () => true);
  assert.deepEqual(entries, (await log(room)).filter(({ kind }) => kind === 'message'));
  assert.equal(new Set(outcomes).size, MESSAGES);
});

test('a node that is killed and started again loses nothing that was acknowledged, and doubles nothing', { skip, timeout }, async () => {
  const ann = connect('ann', { queueLimit: MESSAGES });
  await ann.create('killed', { public: true });
  const room = ann.room('killed');
  await room.subscribe();
  const entries = record(room);
  let kill: Promise<void> | undefined;
  const outcomes = await Promise.all(Array.from({ length: MESSAGES }, async (_, n) => {
    const { seq } = await room.publish(`${n}`);
    if (n === 300) kill = keywire.kill().then(() => keywire.start());
    return seq;
  }));
  await kill;
  while (entries.length < MESSAGES) await event((listener) => room.on('message', listener), () => true);
  const stored = (await log(room)).filter(({ kind }) => kind === 'message') as MessageEntry[];
  assert.deepEqual(entries, stored);
  assert.deepEqual(outcomes.map((seq) => stored.find((entry) => entry.seq === seq)?.text), outcomes.map((_, n) => `${n}`));
});
