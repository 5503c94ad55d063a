import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import { type Client, type ClientOptions, type Clock, type State, createClient } from '../dist/index.js';
import { FakeNode } from './fake_node.js';

const codes = JSON.parse(readFileSync(new URL('../../../shared/contracts/close_codes.json', import.meta.url), 'utf8')) as { code: number; name: string; reconnect: string }[];
/** Twenty times as fast as the real one. */
const FAST: Clock = {
  now: () => performance.now() * 20,
  today: () => Date.now() * 20,
  start(ms, call) {
    const timer = setTimeout(call, ms / 20);
    return () => clearTimeout(timer);
  },
};

let node: FakeNode;
let clients: Client[];
let wishes: boolean[];

beforeEach(async () => {
  node = await FakeNode.start();
  clients = [];
  wishes = [];
});

afterEach(async () => {
  for (const client of clients) client.close();
  await node.stop();
});

function connect(options: Partial<ClientOptions> = {}): Client {
  const getToken = ({ force }: { force: boolean }): string => {
    wishes.push(force);
    return `token ${wishes.length}`;
  };
  const client = createClient({ url: node.url, getToken, backoff: { base: 5, cap: 40 }, ...options });
  clients.push(client);
  return client;
}

/** The first state, now or later, of which this holds. */
async function until(client: Client, holds: (state: State) => boolean): Promise<State> {
  return new Promise((resolve) => {
    const look = (state: State): void => {
      if (!holds(state)) return;
      stop();
      resolve(state);
    };
    const stop = client.on('state', look);
    look(client.state);
  });
}

/** The next change to a state of this name. */
function next(client: Client, name: State['name']): Promise<State> {
  const { state } = client;
  return until(client, (now) => now !== state && now.name === name);
}

for (const { code, name, reconnect } of codes) {
  test(`${code} ${name} is followed by ${reconnect}`, async () => {
    const client = connect();
    await client.connect();
    const away = until(client, (state) => state.name !== 'open');
    if (code === 1006) node.last().cut();
    else node.last().close(code);
    const state = await away;
    if (reconnect === 'never') {
      assert.deepEqual(state, { name: 'closed', reason: { by: 'node', code } });
      return;
    }
    assert.equal(state.name, reconnect === 'refresh' ? 'connecting' : 'waiting');
    if (state.name === 'waiting') assert.equal(state.code, code);
    await until(client, ({ name }) => name === 'open');
    assert.deepEqual(wishes, [false, reconnect === 'refresh']);
    assert.equal(node.last().token, 'token 2');
    if (reconnect === 'backoff') return;
    node.last().close(code);
    assert.deepEqual(await next(client, 'closed'), { name: 'closed', reason: { by: 'node', code } });
  });
}

test('a token that is refused right after the handshake is renewed once', async () => {
  node.greet = (peer) => {
    if (peer.token !== 'token 1') return false;
    peer.close(4401);
    return true;
  };
  const client = connect();
  await client.connect();
  assert.deepEqual(wishes, [false, true]);
});

test('bye is a close: nothing after it is heard', async () => {
  const client = connect();
  await client.connect();
  const away = next(client, 'waiting');
  node.last().say({ push: 'bye', code: 1012, retry_ms: 40 });
  node.last().close(4403);
  const state = await away;
  assert.ok(state.name === 'waiting' && state.code === 1012 && state.waitMs <= 40);
  await until(client, ({ name }) => name === 'open');
});

test('bye with a code that is the end is the end', async () => {
  const client = connect();
  await client.connect();
  node.last().say({ push: 'bye', code: 4403, retry_ms: 0 });
  assert.deepEqual(await next(client, 'closed'), { name: 'closed', reason: { by: 'node', code: 4403 } });
});

test('a node that is not there is tried until it is', async () => {
  await node.stop();
  const client = connect();
  const connecting = client.connect();
  await until(client, (state) => state.name === 'waiting' && state.attempt > 2);
  client.close();
  await assert.rejects(connecting);
  node = await FakeNode.start();
});

test('a node that stalls is asked and left, and what was on its way goes to the next', async () => {
  node.hear = (peer) => peer === node.peers[0];
  const client = connect({ clock: FAST });
  await client.connect();
  const { seq } = await client.room('general').publish('hello');
  assert.equal(seq, 1);
  assert.deepEqual(node.peers[0]?.commands.map(({ command }) => command), ['publish', 'ping']);
});

test('a handshake that is never finished is given up', async () => {
  node.greet = (peer) => peer === node.peers[0];
  const client = connect({ clock: FAST });
  assert.equal((await client.connect()).username, 'ann');
  assert.notEqual(node.peers.length, 1);
});

test('a drop in the middle of a frame tells nothing', async () => {
  const client = connect();
  const room = client.room('general');
  const texts: unknown[] = [];
  room.on('message', ({ text }) => texts.push(text));
  await room.subscribe();
  let drops = 0;
  node.hear = (peer, command) => {
    if (command.command !== 'publish' || drops === 3) return false;
    drops += 1;
    peer.rooms.clear();
    const stored = node.store(command);
    peer.cutInside(drops === 2 ? stored : { id: command.id, ok: stored });
    return true;
  };
  const published = await room.publish('hello');
  assert.equal(published.seq, 1);
  const again = await room.publish('again');
  assert.deepEqual([again.seq, texts], [2, ['hello', 'again']]);
});

test('strange pushes, doubled entries and replies to nobody change nothing', async () => {
  const client = connect();
  const room = client.room('general');
  const seqs: unknown[] = [];
  room.on('entry', ({ seq }) => seqs.push(seq));
  await room.subscribe();
  node.hear = (peer, command) => {
    for (const strange of [{}, { push: 'typing', room: 'general' }, { push: null }, { id: 999, ok: {} }, { id: null, error: { code: 'invalid_message' } }, { push: 'message', room: 'elsewhere', seq: 7 }, { push: 'reset', room: 'general' }]) peer.say(strange);
    node.answer(peer, command);
    for (const entry of node.log('general').entries.slice(-3)) peer.say(entry);
    return true;
  };
  for (const text of ['a', 'b', 'c', 'd']) await room.publish(text);
  assert.deepEqual([seqs, client.state.name, node.peers.length], [[1, 2, 3, 4], 'open', 1]);
});

test('"unavailable" is tried again with the same key until the store is back', async () => {
  let refusals = 0;
  node.hear = (peer, command) => {
    if (command.command !== 'publish' || refusals === 3) return false;
    refusals += 1;
    // Its outcome is not known: this time it was stored.
    if (refusals === 2) node.store(command);
    peer.reply(command, { error: { code: 'unavailable', detail: 'The store is away.', retry: true } });
    return true;
  };
  const { seq } = await connect().room('general').publish('hello');
  assert.equal(seq, 1);
  assert.equal(new Set(node.last().commands.map(({ key }) => key)).size, 1);
  assert.equal(node.log('general').entries.length, 1);
});
