// What a client keeps of the rooms that it was asked for, counted on the heap.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { queryObjects } from 'node:v8';
import { type Client, createClient } from '../dist/index.js';
import { Subscription } from '../dist/subscription.js';
import { HeldClock, HeldSocket, opened, settle } from './held.js';

const VISITS = 10_000;

/** How many rooms anything refers to, once what has ended is forgotten. It collects first. */
async function rooms(): Promise<number> {
  await settle();
  return queryObjects(Subscription, { format: 'count' });
}

/** How many rooms a client may find again by their names. */
function names(): number {
  return queryObjects(WeakRef, { format: 'count' });
}

/** The node answers whatever was asked of it. */
function answer(): void {
  const socket = HeldSocket.last();
  for (const { id, room } of socket.sent.splice(0)) socket.hear({ id, ok: { room, role: null, durable: false } });
}

/** Goes into a room, listens, looks around, and goes. */
function visit(client: Client, name: string): void {
  const room = client.room(name);
  room.on('message', () => {});
  void room.subscribe();
  answer();
  void room.publish('hello');
  void room.presence();
  room.typing();
  room.unsubscribe();
  answer();
}

test(`after ${VISITS} rooms a client is what it was`, { timeout: 120_000 }, async () => {
  const { client } = await opened();
  const [before, known] = [await rooms(), names()];
  for (let n = 0; n < VISITS; n += 1) {
    visit(client, `room-${n}`);
    // What was found through a WeakRef stays until the job ends.
    if (n % 1_000 === 0) await settle();
  }
  assert.equal(await rooms(), before);
  while (names() > known) await settle();
  client.close();
});

test('a room that is asked for and not used, refused, or no longer listened to is let go', async () => {
  const { client } = await opened();
  const before = await rooms();
  void client.room('looked at').publish('hello');
  void client.room('refused').subscribe();
  HeldSocket.last().answer('subscribe', { error: { code: 'room_not_found', detail: '' } });
  void client.room('left').subscribe();
  answer();
  HeldSocket.last().hear({ push: 'unsubscribed', room: 'left' });
  client.room('heard').on('message', () => {})();
  assert.equal(await rooms(), before);
  client.close();
});

test('a room that is followed or listened to is kept, without a handle on it', async () => {
  const { client } = await opened();
  const before = await rooms();
  const texts: unknown[] = [];
  client.room('heard').on('message', ({ text }) => texts.push(text));
  void client.room('followed').subscribe();
  answer();
  assert.equal(await rooms(), before + 2);
  void client.room('heard').subscribe();
  answer();
  HeldSocket.last().hear({ push: 'message', room: 'heard', text: 'a' });
  // Not the app's doing: it may come back.
  HeldSocket.last().hear({ push: 'unsubscribed', room: 'heard' });
  assert.equal(await rooms(), before + 2);
  void client.room('heard').subscribe();
  answer();
  HeldSocket.last().hear({ push: 'message', room: 'heard', text: 'b' });
  assert.deepEqual(texts, ['a', 'b']);
  client.close();
});

test('all handles on a room are on the same, also after unsubscribe()', async () => {
  const { client } = await opened();
  const texts: unknown[] = [];
  const first = client.room('general');
  first.on('message', ({ text }) => texts.push(text));
  void first.subscribe();
  answer();
  client.room('general').unsubscribe();
  await rooms();
  void client.room('general').subscribe();
  answer();
  HeldSocket.last().hear({ push: 'message', room: 'general', text: 'a' });
  assert.deepEqual([texts, first.name], [['a'], 'general']);
  client.close();
});

test('a closed client keeps no room that nobody holds', async () => {
  const before = await rooms();
  const client = createClient({ url: 'ws://localhost:1/ws', getToken: () => null, clock: new HeldClock(), WebSocket: HeldSocket });
  client.room('general').subscribe().catch(() => {});
  await settle();
  assert.deepEqual([client.state.name, await rooms()], ['closed', before]);
});
