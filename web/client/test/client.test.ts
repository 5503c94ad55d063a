import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Client, type ClientOptions, KeywireError, createClient } from '../dist/index.js';
import { uuid } from '../dist/room.js';
import { HeldClock, HeldSocket, reconnect, settle, token } from './held.js';

/** A client on a held clock, and what `getToken` was asked for. */
function held(options: Partial<ClientOptions> = {}): { client: Client; clock: HeldClock; wishes: boolean[] } {
  const clock = new HeldClock();
  const wishes: boolean[] = [];
  const getToken = ({ force }: { force: boolean }): string => {
    wishes.push(force);
    return token(clock, 3_600_000);
  };
  HeldSocket.all = [];
  const client = createClient({ url: 'http://localhost:1/ws', getToken, clock, random: () => 1, WebSocket: HeldSocket, ...options });
  return { client, clock, wishes };
}

/** The same, and open. */
async function opened(options: Partial<ClientOptions> = {}): Promise<ReturnType<typeof held>> {
  const it = held(options);
  void it.client.connect();
  await settle();
  HeldSocket.last().welcome();
  return it;
}

function refusal(code: string) {
  return (error: unknown): boolean => error instanceof KeywireError && error.code === code;
}

test('the token goes into the handshake, as the subprotocol that browsers can send', async () => {
  const { client, clock, wishes } = held();
  const connecting = client.connect();
  await settle();
  const { url, protocols } = HeldSocket.last();
  assert.equal(url, 'ws://localhost:1/ws');
  assert.deepEqual(protocols, ['keywire.v1', `keywire.bearer.${Buffer.from(token(clock, 3_600_000)).toString('base64url')}`]);
  HeldSocket.last().welcome();
  assert.deepEqual(await connecting, { id: 'u1', username: 'ann' });
  assert.deepEqual(wishes, [false]);
  client.close();
});

test('a node that does not take the token from the handshake gets it by auth', async () => {
  const { client } = held();
  const connecting = client.connect();
  await settle();
  HeldSocket.last().hear({ push: 'welcome', sign_in_ms: 10_000, limits: {} });
  assert.equal(client.state.name, 'connecting');
  HeldSocket.last().answer('auth', { ok: { user: { id: 'u1', username: 'ann' } } });
  assert.equal((await connecting).username, 'ann');
  client.close();
});

test('a token is renewed in band, and a renewal that is refused leaves the socket as it was', async () => {
  const { client, clock, wishes } = await opened();
  const socket = HeldSocket.last();
  for (let n = 0; n < 150; n += 1) {
    await clock.pass(19_500);
    socket.hear({ push: 'of a later version' });
  }
  assert.deepEqual(wishes, [false, true]);
  assert.deepEqual(socket.sent.map(({ command }) => command), ['auth']);
  socket.answer('auth', { error: { code: 'token_invalid', detail: '' } });
  assert.equal(client.state.name, 'open');
  client.close();
});

test('a renewal of a session that was revoked is the end', async () => {
  const { client, clock } = await opened({ getToken: () => token(new HeldClock(), 10_000) });
  await clock.pass(8_000);
  HeldSocket.last().answer('auth', { error: { code: 'session_revoked', detail: '' } });
  assert.deepEqual(client.state, { name: 'closed', reason: { by: 'node', code: 4403 } });
});

test('a socket that says nothing is asked, and replaced', async () => {
  const { client, clock } = await opened();
  const first = HeldSocket.last();
  await clock.pass(20_000);
  assert.equal(first.commands('ping').length, 1);
  await clock.pass(9_999);
  assert.equal(client.state.name, 'open');
  await clock.pass(1);
  assert.deepEqual([client.state.name, first.isClosed], ['waiting', true]);
  await clock.pass(500);
  assert.notEqual(HeldSocket.last(), first);
  // What the old one still says is nobody's.
  first.hear({ push: 'welcome', user: { id: 'u2', username: 'eve' }, limits: {} });
  assert.equal(client.state.name, 'connecting');
  client.close();
});

test('what is no JSON object ends a socket, not the client', async () => {
  for (const data of ['{', '[]', '1', 'null']) {
    const { client, clock } = await opened();
    HeldSocket.last().onmessage?.({ data });
    assert.equal(client.state.name, 'waiting', data);
    await reconnect(clock);
    assert.equal(client.state.name, 'open', data);
    client.close();
  }
});

test('a token that cannot be had is asked for again', async () => {
  let calls = 0;
  const getToken = (): Promise<string> => {
    calls += 1;
    return calls < 3 ? Promise.reject(new Error('offline')) : Promise.resolve('opaque');
  };
  const { client, clock } = held({ getToken });
  const connecting = client.connect();
  await settle();
  await clock.pass(500);
  await clock.pass(1_000);
  HeldSocket.last().welcome();
  assert.equal((await connecting).username, 'ann');
  client.close();
});

test('a token that comes when another was asked for is nobody\'s', async () => {
  const gives: ((token: string) => void)[] = [];
  const { client, clock } = held({ getToken: () => new Promise((resolve) => gives.push(resolve)) });
  void client.connect();
  await settle();
  await clock.pass(30_000 + 500);
  assert.equal(gives.length, 2);
  gives[0]?.('late');
  await settle();
  assert.equal(HeldSocket.all.length, 0);
  gives[1]?.('in time');
  await settle();
  assert.equal(HeldSocket.all.length, 1);
  client.close();
});

test('a token that comes after close() connects nobody', async () => {
  let give = (_: string): void => {};
  const { client, clock } = held({ getToken: () => new Promise((resolve) => (give = resolve)) });
  const connecting = client.connect();
  await settle();
  client.close();
  give('late');
  await settle();
  assert.deepEqual([HeldSocket.all.length, clock.timers()], [0, 0]);
  await assert.rejects(connecting, refusal('closed'));
});

test('close() leaves no timer, no listener and nothing that waits', async () => {
  const { client, clock } = await opened();
  const room = client.room('general');
  const outcomes = [room.subscribe(), room.publish('one'), client.create('new'), client.connect()];
  HeldSocket.last().answer('publish', { error: { code: 'unavailable', detail: '', retry: true } });
  client.close();
  const settled = await Promise.allSettled(outcomes);
  assert.deepEqual(settled.map(({ status }) => status), ['rejected', 'rejected', 'rejected', 'fulfilled']);
  assert.deepEqual([clock.timers(), HeldSocket.last().isClosed], [0, true]);
  await assert.rejects(room.publish('two'), refusal('closed'));
  await assert.rejects(room.subscribe(), refusal('closed'));
  await assert.rejects(client.connect(), refusal('closed'));
  await assert.rejects(client.rooms().next(), refusal('closed'));
  assert.equal(HeldSocket.all.length, 1);
});

test('a promise that nobody looks at ends no process', async () => {
  const unhandled: unknown[] = [];
  const note = (error: unknown): unknown => unhandled.push(error);
  process.on('unhandledRejection', note);
  const { client } = await opened();
  void client.room('general').publish('one');
  void client.room('general').subscribe();
  void client.room('general').invite('bob');
  void client.create('new');
  client.close();
  void client.connect();
  void client.room('general').publish('two');
  await settle();
  await settle();
  process.off('unhandledRejection', note);
  assert.deepEqual(unhandled, []);
});

test('a listener that throws keeps nothing from the others', async (context) => {
  const { client } = await opened();
  const report = context.mock.method(console, 'error', () => {});
  const states: string[] = [];
  client.on('state', () => {
    throw new Error('mine');
  });
  client.on('state', ({ name }) => states.push(name));
  client.close();
  assert.deepEqual([states, report.mock.callCount()], [['closed'], 1]);
});

test('a listener may close, and all are told where that leads', async () => {
  const { client } = held();
  const states: string[] = [];
  client.on('state', ({ name }) => {
    if (name === 'open') client.close();
  });
  client.on('state', ({ name }) => states.push(name));
  void client.connect();
  await settle();
  HeldSocket.last().welcome();
  assert.deepEqual(states, ['connecting', 'open', 'closed']);
});

test('a page that is seen again asks whether the connection is alive', async () => {
  const page = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: 'visible' });
  const globals = { addEventListener: page.addEventListener.bind(page), removeEventListener: page.removeEventListener.bind(page), document };
  Object.assign(globalThis, globals);
  const { client, clock } = await opened();
  document.dispatchEvent(new Event('visibilitychange'));
  assert.equal(HeldSocket.last().commands('ping').length, 1);
  await clock.pass(3_000);
  assert.equal(client.state.name, 'waiting');
  page.dispatchEvent(new Event('online'));
  assert.equal(client.state.name, 'connecting');
  client.close();
  for (const name of Object.keys(globals)) Reflect.deleteProperty(globalThis, name);
});

test('where there is no WebSocket one must be given, which is said at once', () => {
  const there = Object.getOwnPropertyDescriptor(globalThis, 'WebSocket');
  Reflect.deleteProperty(globalThis, 'WebSocket');
  assert.throws(() => createClient({ url: 'ws://localhost:1/ws', getToken: () => null }), /no WebSocket/);
  createClient({ url: 'ws://localhost:1/ws', getToken: () => null, WebSocket: HeldSocket }).close();
  if (there) Object.defineProperty(globalThis, 'WebSocket', there);
});

test('keys are UUIDs of version 4', () => {
  const keys = Array.from({ length: 200 }, uuid);
  for (const key of keys) assert.match(key, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(new Set(keys).size, keys.length);
});
