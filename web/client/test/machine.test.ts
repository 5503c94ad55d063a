import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { wait } from '../dist/backoff.js';
import { type Rule, ruleOf } from '../dist/codes.js';
import { CHECK_LIMIT, CONNECT_LIMIT, type Happening, Machine, PING_AFTER, PONG_LIMIT, SETTLED_AFTER, TOKEN_LIMIT, type Task } from '../dist/machine.js';
import { HeldClock } from './held.js';

const user = { id: 'u1', username: 'ann' };
const backoff = { base: 500, cap: 20_000 };
const codes = JSON.parse(readFileSync(new URL('../../../shared/contracts/close_codes.json', import.meta.url), 'utf8')) as { code: number; reconnect: Rule }[];

/** A machine at time 0 whose random numbers are all the same. */
function machine(random = 1): Machine {
  return new Machine({ clock: new HeldClock(), backoff, random: () => random });
}

/** One that is open since `now`. */
function opened(now = 0, lifeMs?: number): Machine {
  const it = machine();
  open(it, now, lifeMs);
  return it;
}

function open(it: Machine, now: number, lifeMs?: number): void {
  it.take({ type: 'connect' }, now);
  it.take({ type: 'token', token: 't', lifeMs }, now);
  it.take({ type: 'signed_in', user }, now);
  assert.equal(it.state.name, 'open');
}

function names(tasks: readonly Task[]): string[] {
  return tasks.map((task) => task.do);
}

test('connecting is a token, the handshake and a sign-in', () => {
  const it = machine();
  assert.deepEqual([it.state.name, it.next()], ['idle', undefined]);
  assert.deepEqual(it.take({ type: 'connect' }, 0), [{ do: 'get_token', force: false }]);
  assert.deepEqual(it.take({ type: 'connect' }, 0), []);
  assert.deepEqual(it.take({ type: 'token', token: 't' }, 0), [{ do: 'dial', token: 't' }]);
  assert.deepEqual(it.state, { name: 'connecting', attempt: 0 });
  assert.deepEqual(it.take({ type: 'signed_in', user }, 0), []);
  assert.deepEqual(it.state, { name: 'open', user });
});

test('waits double up to the cap, and are anything from nothing to that', () => {
  const longest = [0, 1, 2, 5, 6, 2_000].map((attempt) => wait({ clock: new HeldClock(), backoff, random: () => 1 }, attempt));
  assert.deepEqual(longest, [500, 1_000, 2_000, 16_000, 20_000, 20_000]);
  assert.equal(wait({ clock: new HeldClock(), backoff, random: () => 0 }, 9), 0);
});

test('every close code of the contract is followed as it says', () => {
  for (const { code, reconnect } of codes) {
    assert.equal(ruleOf(code), reconnect, `${code}`);
    const it = opened();
    const tasks = it.take({ type: 'lost', code }, 10);
    const expected = { backoff: ['drop'], refresh: ['drop', 'get_token'], never: ['drop'] }[reconnect];
    assert.deepEqual(names(tasks), expected, `${code}`);
    const state = { backoff: 'waiting', refresh: 'connecting', never: 'closed' }[reconnect];
    assert.equal(it.state.name, state, `${code}`);
  }
});

test('a code that nobody listed is tried again', () => {
  for (const code of [1005, 1015, 3000, 4999]) assert.equal(ruleOf(code), 'backoff');
});

test('a refused token is renewed by force once, and a second refusal is the end', () => {
  const it = opened();
  assert.deepEqual(it.take({ type: 'lost', code: 4401 }, 1), [{ do: 'drop' }, { do: 'get_token', force: true }]);
  it.take({ type: 'token', token: 'fresh' }, 1);
  it.take({ type: 'lost', code: 4401 }, 2);
  assert.deepEqual(it.state, { name: 'closed', reason: { by: 'node', code: 4401 } });
});

test('the fresh token is asked for until it comes', () => {
  const it = opened();
  it.take({ type: 'lost', code: 4401 }, 1);
  // The callback failed: its server is away.
  it.take({ type: 'lost', code: 1006 }, 2);
  assert.equal(it.state.name, 'waiting');
  assert.deepEqual(it.take({ type: 'time' }, 2 + 500), [{ do: 'get_token', force: true }]);
});

test('a connection that was well may refresh again, and waits shortly again', () => {
  const it = opened();
  it.take({ type: 'lost', code: 4401 }, 0);
  it.take({ type: 'token', token: 'fresh' }, 0);
  it.take({ type: 'signed_in', user }, 0);
  assert.equal(it.next(), SETTLED_AFTER);
  it.take({ type: 'time' }, SETTLED_AFTER);
  assert.deepEqual(names(it.take({ type: 'lost', code: 4401 }, SETTLED_AFTER)), ['drop', 'get_token']);
});

test('a node that greets and fails is not stormed: waits grow until a connection has lasted', () => {
  const it = opened();
  const waits: unknown[] = [];
  let now = 0;
  for (let round = 0; round < 4; round += 1) {
    it.take({ type: 'lost', code: 1011 }, now);
    if (it.state.name === 'waiting') waits.push(it.state.waitMs);
    now = it.next() ?? 0;
    it.take({ type: 'time' }, now);
    it.take({ type: 'token', token: 't' }, now);
    it.take({ type: 'signed_in', user }, now);
  }
  assert.deepEqual(waits, [500, 1_000, 2_000, 4_000]);
  it.take({ type: 'time' }, now + SETTLED_AFTER);
  it.take({ type: 'lost', code: 1011 }, now + SETTLED_AFTER);
  assert.equal(it.state.name === 'waiting' && it.state.waitMs, 500);
});

test('bye says within which time to come back', () => {
  const it = machine(0.25);
  open(it, 0);
  it.take({ type: 'lost', code: 1012, withinMs: 8_000 }, 100);
  assert.deepEqual(it.state, { name: 'waiting', attempt: 1, code: 1012, waitMs: 2_000 });
  assert.equal(it.next(), 2_100);
});

test('silence is followed by a ping, and silence after that by another socket', () => {
  const it = opened(100);
  assert.equal(it.next(), 100 + PING_AFTER);
  assert.deepEqual(it.take({ type: 'time' }, 99 + PING_AFTER), []);
  assert.deepEqual(names(it.take({ type: 'time' }, 100 + PING_AFTER)), ['ping']);
  assert.equal(it.next(), 100 + PING_AFTER + PONG_LIMIT);
  assert.deepEqual(names(it.take({ type: 'time' }, 100 + PING_AFTER + PONG_LIMIT)), ['drop']);
  assert.equal(it.state.name, 'waiting');
});

test('any frame is a sign of life', () => {
  const it = opened();
  it.take({ type: 'time' }, PING_AFTER);
  it.take({ type: 'heard' }, PING_AFTER + PONG_LIMIT - 1);
  assert.deepEqual(it.take({ type: 'time' }, PING_AFTER + PONG_LIMIT), []);
  assert.equal(it.next(), PING_AFTER + PONG_LIMIT - 1 + PING_AFTER);
});

test('a check asks at once and gives less time, or ends a wait', () => {
  const it = opened();
  assert.deepEqual(names(it.take({ type: 'check' }, 50)), ['ping']);
  assert.equal(it.next(), 50 + CHECK_LIMIT);
  it.take({ type: 'lost', code: 1006 }, 60);
  assert.deepEqual(names(it.take({ type: 'check' }, 61)), ['get_token']);
});

test('a token is renewed by force before it ends, the oftener the nearer the end is', () => {
  const it = opened(0, 100_000);
  const tries: number[] = [];
  for (let now = 0; now < 99_500; now = it.next() ?? Infinity) {
    it.take({ type: 'heard' }, now);
    if (it.take({ type: 'time' }, now).some((task) => task.do === 'get_token' && task.force)) tries.push(now);
  }
  assert.deepEqual(tries, [80_000, 96_000, 99_200]);
  assert.deepEqual(it.take({ type: 'token', token: 'fresh', lifeMs: 100_000 }, 99_500), [{ do: 'auth', token: 'fresh' }]);
  it.take({ type: 'heard' }, 99_500);
  it.take({ type: 'time' }, 100_200);
  assert.equal(it.state.name, 'open');
});

test('a token that seems to have ended is left to the node', () => {
  const it = opened(0, -3_600_000);
  assert.equal(it.next(), PING_AFTER);
});

test('neither a token nor a handshake is waited for without end', () => {
  const it = machine();
  it.take({ type: 'connect' }, 0);
  assert.equal(it.next(), TOKEN_LIMIT);
  it.take({ type: 'token', token: 't' }, 10);
  assert.equal(it.next(), 10 + CONNECT_LIMIT);
  assert.deepEqual(names(it.take({ type: 'time' }, 10 + CONNECT_LIMIT)), ['drop']);
  assert.equal(it.state.name, 'waiting');
});

test('nobody signed in is the end, while connecting and while open', () => {
  for (const it of [machine(), opened()]) {
    it.take({ type: 'connect' }, 0);
    it.take({ type: 'token', token: null }, 0);
    assert.deepEqual(it.state, { name: 'closed', reason: { by: 'signed_out' } });
  }
});

test('another user\'s token is the end: what waits is not said in that name', () => {
  const it = opened();
  it.take({ type: 'lost', code: 1006 }, 0);
  it.take({ type: 'check' }, 0);
  it.take({ type: 'token', token: 't' }, 0);
  it.take({ type: 'signed_in', user: { id: 'u2', username: 'bob' } }, 0);
  assert.deepEqual(it.state, { name: 'closed', reason: { by: 'signed_out' } });
});

test('after the end nothing happens any more', () => {
  const it = opened();
  assert.deepEqual(names(it.take({ type: 'close' }, 0)), ['drop']);
  const late: Happening[] = [{ type: 'connect' }, { type: 'check' }, { type: 'token', token: 't' }, { type: 'lost', code: 1006 }, { type: 'time' }, { type: 'close' }, { type: 'signed_in', user }];
  for (const happening of late) assert.deepEqual(it.take(happening, 1e9), []);
  assert.deepEqual([it.state, it.next()], [{ name: 'closed', reason: { by: 'app' } }, undefined]);
});

test('what comes too late for the socket that is gone is nothing', () => {
  const it = opened();
  it.take({ type: 'lost', code: 1006 }, 0);
  const late: Happening[] = [{ type: 'token', token: 't' }, { type: 'lost', code: 4403 }, { type: 'signed_in', user }, { type: 'heard' }];
  for (const happening of late) assert.deepEqual(it.take(happening, 1), []);
  assert.equal(it.state.name, 'waiting');
});
