// Rooms that keep nothing: what is said in them is heard once at most.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Client, KeywireError, type Room } from '../dist/index.js';
import { type HeldClock, HeldSocket, opened, reconnect } from './held.js';

/** An open client on a held clock, and an ephemeral room, which is followed. */
async function followed(): Promise<{ client: Client; clock: HeldClock; room: Room }> {
  const { client, clock } = await opened();
  const room = client.room('air');
  void room.subscribe();
  accept();
  return { client, clock, room };
}

function accept(): void {
  HeldSocket.last().answer('subscribe', { ok: { room: 'air', role: 'member', durable: false } });
}

function texts(): unknown[] {
  return HeldSocket.last().commands('publish').map(({ text }) => text);
}

function refusal(code: string) {
  return (error: unknown): boolean => error instanceof KeywireError && error.code === code && !error.retry;
}

test('what was sent and has no answer when the connection goes is not sent again, and says so', async () => {
  const { client, clock, room } = await followed();
  const first = room.publish('a');
  const second = room.publish('b');
  HeldSocket.last().answer('publish', { ok: { key: '' } });
  HeldSocket.last().end(1006);
  await assert.rejects(first, refusal('outcome_unknown'));
  assert.equal((await second).seq, undefined);
  await clock.pass(500);
  HeldSocket.last().welcome();
  accept();
  assert.deepEqual(texts(), []);
  client.close();
});

test('what waited for the connection, or for the room to be followed, is sent once it is', async () => {
  const { client, clock, room } = await followed();
  HeldSocket.last().end(1006);
  const publishing = room.publish('a');
  await clock.pass(500);
  HeldSocket.last().welcome();
  assert.deepEqual(texts(), []);
  accept();
  assert.deepEqual(texts(), ['a']);
  HeldSocket.last().answer('publish', { ok: { key: '' } });
  assert.equal((await publishing).seq, undefined);
  client.close();
});

test('what was sent before the room was followed was heard by nobody, and is sent again', async () => {
  const { client, clock } = await opened();
  const room = client.room('air');
  void room.publish('a');
  void room.subscribe();
  await reconnect(clock);
  accept();
  assert.deepEqual(texts(), ['a']);
  client.close();
});

test('"try again" is heeded if nothing was done, and else told to who asked', async () => {
  const { client, clock, room } = await followed();
  const publishing = room.publish('a');
  HeldSocket.last().answer('publish', { error: { code: 'rate_limited', detail: '', retry: true, retry_ms: 100 } });
  await clock.pass(100);
  assert.deepEqual(texts(), ['a', 'a']);
  HeldSocket.last().answer('publish', { error: { code: 'unavailable', detail: '', retry: true } });
  await assert.rejects(publishing, { code: 'unavailable', retry: true });
  client.close();
});

test('what has no answer when the client is closed is told that it is closed, of whatever room it is', async () => {
  const { client, room } = await followed();
  const outcomes = [room.publish('a'), client.room('general').publish('b')];
  client.close();
  for (const outcome of outcomes) await assert.rejects(outcome, refusal('closed'));
});
