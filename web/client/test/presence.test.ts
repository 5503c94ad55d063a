import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Client, Room } from '../dist/index.js';
import { type HeldClock, HeldSocket, opened, reconnect, settle } from './held.js';

const BOB = { id: 'u2', username: 'bob' };

/** An open client on a held clock, and one of its rooms, which is followed. */
async function followed(): Promise<{ client: Client; clock: HeldClock; room: Room }> {
  const { client, clock } = await opened();
  const room = client.room('general');
  void room.subscribe();
  accept();
  return { client, clock, room };
}

function accept(): void {
  HeldSocket.last().answer('subscribe', { ok: { room: 'general', role: 'member', durable: false } });
}

test('who is there is asked for, and what changes from then on is told', async () => {
  const { client, room } = await followed();
  const told: string[] = [];
  for (const event of ['present', 'absent', 'typing'] as const) room.on(event, ({ username }) => told.push(`${event} ${username}`));
  room.on('presence', ({ told: isTold }) => told.push(`presence ${isTold}`));
  const asking = room.presence().then(({ count, users }) => told.push(`${count} ${users[0]?.username}`));
  HeldSocket.last().answer('presence', { ok: { room: 'general', count: 1, told: true, users: [BOB], more: false } });
  await settle();
  for (const push of ['absent', 'present', 'typing']) HeldSocket.last().hear({ push, room: 'general', user: BOB });
  HeldSocket.last().hear({ push: 'presence', room: 'general', told: false });
  HeldSocket.last().hear({ push: 'presence', room: 'other', told: true });
  await asking;
  assert.deepEqual(told, ['1 bob', 'absent bob', 'present bob', 'typing bob', 'presence false']);
  client.close();
});

test('who types says so once in three seconds, and only to who follows', async () => {
  const { client, clock, room } = await followed();
  const said = (): unknown[] => HeldSocket.last().commands('typing').map(({ room: name }) => name);
  room.typing();
  client.room('general').typing();
  client.room('other').typing();
  await clock.pass(2_999);
  room.typing();
  assert.deepEqual(said(), ['general']);
  await clock.pass(1);
  room.typing();
  assert.deepEqual(said(), ['general', 'general']);
  await clock.pass(3_000);
  const lost = reconnect(clock);
  room.typing();
  await lost;
  room.typing();
  assert.deepEqual(said(), [], 'not before the room is followed again');
  accept();
  room.typing();
  assert.deepEqual(said(), ['general']);
  client.close();
});

test('what the node dropped is told where something may be lost, and what', async () => {
  const { client, clock, room: air } = await followed();
  const told: unknown[] = [];
  const names = ['general', 'asked', 'quiet', 'asking', 'off'];
  for (const name of names) {
    const room = client.room(name);
    room.on('missed', (missed) => told.push([name, missed]));
    room.on('presence', () => told.push([name, 'presence']));
    if (name === 'general' || name === 'off') continue;
    void room.subscribe();
    if (name !== 'asking') HeldSocket.last().answer('subscribe', { ok: { room: name, role: 'member', durable: true, epoch: '-7', seq: 4 } });
  }
  for (const name of ['asked', 'off']) void client.room(name).presence();
  HeldSocket.last().hear({ push: 'missed' });
  assert.deepEqual(told.splice(0), [['general', { messages: true, presence: false }], ['asked', { messages: false, presence: true }]]);

  void air.presence();
  await reconnect(clock);
  HeldSocket.last().hear({ push: 'missed' });
  assert.deepEqual(told, [], 'not of what is followed anew');
  const [subscribe] = HeldSocket.last().commands('subscribe');
  HeldSocket.last().hear({ id: subscribe?.['id'], ok: { room: 'general', role: 'member', durable: false } });
  HeldSocket.last().hear({ push: 'missed' });
  assert.deepEqual(told.splice(0), [['general', { messages: true, presence: true }]]);
  air.unsubscribe();
  HeldSocket.last().hear({ push: 'missed' });
  assert.deepEqual(told, []);
  client.close();
});
