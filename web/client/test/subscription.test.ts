import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Client, type Entry, KeywireError, type Position, type Room } from '../dist/index.js';
import { type HeldClock, HeldSocket, opened, reconnect, settle } from './held.js';

/** An open client on a held clock, and what one of its rooms tells. */
async function followed(): Promise<{ client: Client; clock: HeldClock; room: Room; told: string[] }> {
  const { client, clock } = await opened();
  const room = client.room('general');
  const told: string[] = [];
  room.on('entry', ({ kind, seq }) => told.push(`${kind} ${seq}`));
  room.on('reset', ({ epoch, firstSeq, lastSeq }) => told.push(`reset ${epoch} ${firstSeq} ${lastSeq}`));
  room.on('subscribed', ({ resumed }) => told.push(resumed ? 'resumed' : 'subscribed'));
  room.on('unsubscribed', () => told.push('unsubscribed'));
  room.on('error', ({ code }) => told.push(`error ${code}`));
  return { client, clock, room, told };
}

function accept(more: object = { durable: true, epoch: '-7', seq: 4, first_seq: 1, last_seq: 4 }): void {
  HeldSocket.last().answer('subscribe', { ok: { room: 'general', role: 'member', durable: true, ...more } });
}

function push(kind: string, seq?: number, more: object = {}): void {
  HeldSocket.last().hear({ push: kind, room: 'general', ...(seq !== undefined && { seq }), at: '', user: null, key: '', ...more });
}

/** With which `since` the room was asked for on the newest connection. */
function asked(): unknown[] {
  return HeldSocket.last().commands('subscribe').map(({ since }) => since);
}

test('entries are told in order and once, each to its kind', async () => {
  const { client, room, told } = await followed();
  const messages: unknown[] = [];
  room.on('message', ({ text, seq }) => messages.push([seq, text]));
  const subscribing = room.subscribe();
  accept();
  assert.deepEqual(await subscribing, { durable: true, role: 'member', resumed: false });
  push('message', 4, { text: 'old' });
  push('message', 5, { text: 'a', of_a_later_version: 1 });
  push('message', 5, { text: 'a' });
  push('joined', 6, { subject: { user: 'u2', username: 'bob', role: 'member' } });
  push('deleted', 7, { of: 5 });
  push('message', 6, { text: 'again' });
  assert.deepEqual(told, ['subscribed', 'message 5', 'joined 6', 'deleted 7']);
  assert.deepEqual([messages, room.position], [[[5, 'a']], { epoch: '-7', seq: 7 }]);
  client.close();
});

test('after a reconnect it goes on from where it was, even if nothing had come', async () => {
  const { client, clock, room, told } = await followed();
  void room.subscribe();
  accept();
  await reconnect(clock);
  assert.deepEqual(asked(), [{ epoch: '-7', seq: 4 }]);
  accept();
  push('message', 5);
  await reconnect(clock);
  assert.deepEqual(asked(), [{ epoch: '-7', seq: 5 }]);
  accept();
  assert.deepEqual(told, ['subscribed', 'resumed', 'message 5', 'resumed']);
  client.close();
});

test('an app may go on from where it left off', async () => {
  const { client, room, told } = await followed();
  const since: Position = { epoch: '-7', seq: 1 };
  void room.subscribe({ since });
  assert.deepEqual(asked(), [since]);
  accept({ epoch: '-7', seq: 1 });
  push('message', 2);
  assert.deepEqual(told, ['resumed', 'message 2']);
  client.close();
});

test('a reset is told, and what follows is behind it', async () => {
  const { client, clock, room, told } = await followed();
  void room.subscribe({ since: { epoch: 'old', seq: 90 } });
  accept({ epoch: '-7', seq: 4 });
  push('reset', undefined, { epoch: '-7', first_seq: 2, last_seq: 4 });
  push('message', 5);
  await reconnect(clock);
  assert.deepEqual([told, asked()], [['resumed', 'reset -7 2 4', 'message 5'], [{ epoch: '-7', seq: 5 }]]);
  client.close();
});

test('a reset that a drop has swallowed comes again', async () => {
  const { client, clock, room } = await followed();
  void room.subscribe({ since: { epoch: 'old', seq: 90 } });
  accept({ epoch: '-7', seq: 4 });
  await reconnect(clock);
  assert.deepEqual(asked(), [{ epoch: 'old', seq: 90 }]);
  client.close();
});

test('what comes between the question and its answer is of an older subscription', async () => {
  const { client, room, told } = await followed();
  void room.subscribe();
  push('message', 4);
  accept();
  push('message', 5);
  assert.deepEqual(told, ['subscribed', 'message 5']);
  client.close();
});

test('kinds that are not known have their place, and are not told', async () => {
  const { client, room, told } = await followed();
  void room.subscribe();
  accept();
  push('pinned', 5, { of: 3 });
  push('typing');
  push('message', 6);
  assert.deepEqual(told, ['subscribed', 'message 6']);
  client.close();
});

test('a hole is a fault of the node: the connection is made anew, and the log read from where it was whole', async () => {
  const { client, clock, room, told } = await followed();
  void room.subscribe();
  accept();
  push('message', 6);
  assert.equal(client.state.name, 'waiting');
  await clock.pass(500);
  HeldSocket.last().welcome();
  assert.deepEqual(asked(), [{ epoch: '-7', seq: 4 }]);
  accept();
  push('message', 5);
  push('message', 6);
  assert.deepEqual(told, ['subscribed', 'resumed', 'message 5', 'message 6']);
  client.close();
});

test('an ephemeral room has no places', async () => {
  const { client, clock, room } = await followed();
  const texts: unknown[] = [];
  room.on('message', (entry: Entry & { text?: string }) => texts.push(entry.text));
  const subscribing = room.subscribe();
  HeldSocket.last().answer('subscribe', { ok: { room: 'general', durable: false, role: null } });
  assert.deepEqual(await subscribing, { durable: false, role: null, resumed: false });
  push('message', undefined, { text: 'a' });
  push('message', undefined, { text: 'a' });
  await reconnect(clock);
  assert.deepEqual([texts, room.position, asked()], [['a', 'a'], undefined, [undefined]]);
  client.close();
});

test('a refusal is an error of its own, and is not tried again', async () => {
  const { client, clock, room, told } = await followed();
  const subscribing = room.subscribe();
  HeldSocket.last().answer('subscribe', { error: { code: 'room_not_found', detail: 'No.' } });
  await assert.rejects(subscribing, (error: unknown) => error instanceof KeywireError && error.code === 'room_not_found');
  await reconnect(clock);
  assert.deepEqual([told, asked()], [['error room_not_found'], []]);
  client.close();
});

test('a node that says "try again" is asked again', async () => {
  const { client, clock, room } = await followed();
  const subscribing = room.subscribe();
  HeldSocket.last().answer('subscribe', { error: { code: 'unavailable', detail: '', retry: true } });
  await clock.pass(499);
  assert.equal(asked().length, 1);
  await clock.pass(1);
  assert.equal(asked().length, 2);
  HeldSocket.last().answer('subscribe', { error: { code: 'rate_limited', detail: '', retry: true, retry_ms: 30 } });
  await clock.pass(30);
  accept();
  assert.equal((await subscribing).durable, true);
  client.close();
});

test('who is no longer a member is told, and is not subscribed again', async () => {
  const { client, clock, room, told } = await followed();
  void room.subscribe();
  accept();
  push('unsubscribed');
  push('message', 5);
  await reconnect(clock);
  assert.deepEqual([told, asked(), room.position], [['subscribed', 'unsubscribed'], [], undefined]);
  client.close();
});

test('unsubscribe() tells the node, and a new subscription begins at the end', async () => {
  const { client, room, told } = await followed();
  void room.subscribe();
  accept();
  room.unsubscribe();
  void room.subscribe();
  push('message', 5);
  assert.deepEqual(HeldSocket.last().sent.map(({ command, since }) => [command, since]), [['subscribe', undefined], ['unsubscribe', undefined], ['subscribe', undefined]]);
  accept({ epoch: '-7', seq: 5 });
  push('message', 6);
  assert.deepEqual(told, ['subscribed', 'subscribed', 'message 6']);
  client.close();
});

test('what is published waits while its room is subscribed to: only who follows an ephemeral room may speak there', async () => {
  const { client, clock, room } = await followed();
  void room.subscribe();
  void room.publish('a');
  void client.room('other').publish('b');
  const sent = (): unknown[] => HeldSocket.last().commands('publish').map(({ text }) => text);
  assert.deepEqual(sent(), ['b']);
  accept();
  assert.deepEqual(sent(), ['b', 'a']);
  await reconnect(clock);
  assert.deepEqual(sent(), ['b']);
  HeldSocket.last().answer('subscribe', { error: { code: 'room_not_found', detail: '' } });
  assert.deepEqual(sent(), ['b', 'a']);
  client.close();
});

test('history is read backwards from the end, or onwards, until the log ends', async () => {
  const { client, room } = await followed();
  const page = (from: number, to: number): object => {
    const entries = Array.from({ length: to - from + 1 }, (_, at) => ({ push: 'message', room: 'general', seq: from + at, text: '' }));
    return { ok: { room: 'general', epoch: '-7', first_seq: 3, last_seq: 9, entries } };
  };
  for (const [options, pages, questions] of [
    [{ limit: 4 }, [[6, 9], [3, 5]], [[undefined, undefined], [6, undefined]]],
    [{ after: 4 }, [[5, 7], [8, 9]], [[undefined, 4], [undefined, 7]]],
  ] as const) {
    const seen: unknown[] = [];
    const before = HeldSocket.last().commands('history').length;
    const reading = (async () => {
      for await (const { entries, firstSeq, lastSeq } of room.history(options)) seen.push([entries[0]?.seq, entries.at(-1)?.seq, firstSeq, lastSeq, entries[0]?.kind]);
    })();
    for (const [from, to] of pages) {
      await settle();
      HeldSocket.last().answer('history', page(from, to));
    }
    await reading;
    assert.deepEqual(seen, pages.map(([from, to]) => [from, to, 3, 9, 'message']));
    assert.deepEqual(HeldSocket.last().commands('history').slice(before).map(({ before, after }) => [before, after]), questions);
  }
  client.close();
});

test('history of a log that became another one ends with an error', async () => {
  const { client, room } = await followed();
  const pages = room.history();
  const answer = async (epoch: string): Promise<void> => {
    await settle();
    HeldSocket.last().answer('history', { ok: { epoch, first_seq: 1, last_seq: 9, entries: [{ push: 'message', seq: 9 }] } });
  };
  const first = pages.next();
  await answer('-7');
  await first;
  const second = pages.next();
  await answer('8');
  await assert.rejects(second, (error: unknown) => error instanceof KeywireError && error.code === 'log_replaced');
  client.close();
});
