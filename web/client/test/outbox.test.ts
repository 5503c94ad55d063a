import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KeywireError } from '../dist/index.js';
import { HeldSocket, opened, reconnect, settle } from './held.js';

function refusal(code: string) {
  return (error: unknown): boolean => error instanceof KeywireError && error.code === code;
}

function texts(): unknown[] {
  return HeldSocket.last().commands('publish').map(({ text }) => text);
}

test('replies may come in any order', async () => {
  const { client } = await opened();
  const room = client.room('general');
  const outcomes = Promise.all(['a', 'b', 'c'].map((text) => room.publish(text)));
  const socket = HeldSocket.last();
  for (const [at, seq] of [[2, 9], [0, 7], [1, 8]] as const) socket.hear({ id: socket.commands('publish')[at]?.['id'], ok: { seq, key: '' } });
  assert.deepEqual((await outcomes).map(({ seq }) => seq), [7, 8, 9]);
  client.close();
});

test('a publish without a reply is sent again on the next connection, with the same key and in its place', async () => {
  const { client, clock } = await opened();
  const room = client.room('general');
  const first = room.publish('a');
  const second = room.publish({ data: { n: 2 } });
  const before = HeldSocket.last().commands('publish');
  await reconnect(clock);
  const after = HeldSocket.last().commands('publish');
  assert.deepEqual(after.map(({ key, text, data }) => [key, text, data]), before.map(({ key, text, data }) => [key, text, data]));
  HeldSocket.last().hear({ id: after[0]?.['id'], ok: { seq: 1, key: '', duplicate: true } });
  HeldSocket.last().hear({ id: after[1]?.['id'], ok: { seq: 2, key: '' } });
  assert.deepEqual(await first, { seq: 1, key: before[0]?.['key'], unchanged: false });
  assert.equal((await second).seq, 2);
  client.close();
});

test('no more publishes are without a reply than the node allows', async () => {
  const { client } = await opened({ publishes_in_flight: 2 });
  const room = client.room('general');
  for (const text of ['a', 'b', 'c', 'd']) void room.publish(text);
  assert.deepEqual(texts(), ['a', 'b']);
  HeldSocket.last().answer('publish', { ok: { seq: 1, key: '' } });
  assert.deepEqual(texts(), ['a', 'b', 'c']);
  client.close();
});

test('what is sent again goes before what waited behind it', async () => {
  const { client, clock } = await opened({ publishes_in_flight: 1 });
  for (const text of ['a', 'b', 'c']) void client.room('general').publish(text);
  await reconnect(clock);
  for (let seq = 1; seq <= 3; seq += 1) HeldSocket.last().answer('publish', { ok: { seq, key: '' } });
  assert.deepEqual(texts(), ['a', 'b', 'c']);
  client.close();
});

test('what waits behind a publish in its room waits, too', async () => {
  const { client } = await opened({ publishes_in_flight: 1 });
  const room = client.room('general');
  void room.publish('a');
  void room.publish('b');
  void room.leave();
  void client.room('other').leave();
  assert.deepEqual(HeldSocket.last().commands('leave').map(({ room }) => room), ['other']);
  HeldSocket.last().answer('publish', { ok: { seq: 1, key: '' } });
  assert.deepEqual(HeldSocket.last().sent.map(({ command }) => command), ['publish', 'leave', 'publish', 'leave']);
  client.close();
});

test('one more than the queue holds is refused, connected or not', async () => {
  const { client, clock } = await opened({}, { queueLimit: 3 });
  const room = client.room('general');
  for (const text of ['a', 'b', 'c']) void room.publish(text);
  await assert.rejects(room.publish('d'), refusal('queue_full'));
  HeldSocket.last().answer('publish', { ok: { seq: 1, key: '' } });
  HeldSocket.last().end(1006);
  void room.publish('e');
  await assert.rejects(room.publish('f'), refusal('queue_full'));
  await clock.pass(500);
  HeldSocket.last().welcome();
  assert.deepEqual(texts(), ['a', 'b', 'e']);
  client.close();
});

test('"try again" is tried again with the same key: after what the node says, or a growing wait', async () => {
  const { client, clock } = await opened();
  const publishing = client.room('general').publish('a');
  const refuse = (more: object): void => HeldSocket.last().answer('publish', { error: { code: 'unavailable', detail: '', retry: true, ...more } });
  const waits: number[] = [];
  for (const more of [{}, {}, { retry_ms: 70 }]) {
    refuse(more);
    const sent = texts().length;
    const since = clock.now();
    while (texts().length === sent) await clock.pass(10);
    waits.push(clock.now() - since);
  }
  assert.deepEqual(waits, [500, 1_000, 70]);
  HeldSocket.last().answer('publish', { ok: { seq: 5, key: '' } });
  assert.equal((await publishing).seq, 5);
  assert.equal(new Set(HeldSocket.last().commands('publish').map(({ key }) => key)).size, 1);
  client.close();
});

test('many that are to be tried again at once are one failure', async () => {
  const { client, clock } = await opened();
  for (const text of ['a', 'b', 'c']) void client.room('general').publish(text);
  const error = { code: 'unavailable', detail: '', retry: true };
  for (const { id } of HeldSocket.last().commands('publish')) HeldSocket.last().hear({ id, error });
  await clock.pass(499);
  assert.deepEqual(texts(), ['a', 'b', 'c']);
  await clock.pass(1);
  assert.deepEqual(texts(), ['a', 'b', 'c', 'a', 'b', 'c']);
  client.close();
});

test('nothing overtakes a publish that is to be tried again', async () => {
  const { client, clock } = await opened();
  void client.room('general').publish('a');
  HeldSocket.last().answer('publish', { error: { code: 'rate_limited', detail: '', retry: true, retry_ms: 100 } });
  void client.room('general').publish('b');
  assert.deepEqual(texts(), ['a']);
  await clock.pass(100);
  assert.deepEqual(texts(), ['a', 'a', 'b']);
  client.close();
});

test('a room in which a publish is to be tried again waits in its order, and the others go on', async () => {
  const { client, clock } = await opened();
  const [stuck, other] = [client.room('stuck'), client.room('other')];
  const outcomes = Promise.all(['a', 'b'].map((text) => stuck.publish(text)));
  const socket = HeldSocket.last();
  const refuse = (text: string, more: object): void => socket.hear({ id: socket.commands('publish').findLast((sent) => sent['text'] === text)?.['id'], error: { code: 'unavailable', detail: '', retry: true, ...more } });
  refuse('a', { retry_ms: 100 });
  refuse('b', {});
  void stuck.leave();
  void other.publish('c');
  client.search('').next().catch(() => {});
  assert.deepEqual([texts(), socket.commands('leave').length, socket.commands('search').length], [['a', 'b', 'c'], 0, 1]);
  refuse('c', {});
  await clock.pass(99);
  void other.publish('d');
  assert.deepEqual(texts(), ['a', 'b', 'c']);
  await clock.pass(1);
  assert.deepEqual([texts(), socket.commands('leave').length], [['a', 'b', 'c', 'a', 'b'], 1]);
  for (const [at, { id }] of socket.commands('publish').slice(3).entries()) socket.hear({ id, ok: { seq: at + 1, key: '' } });
  assert.deepEqual((await outcomes).map(({ seq }) => seq), [1, 2]);
  await clock.pass(400);
  assert.deepEqual(texts(), ['a', 'b', 'c', 'a', 'b', 'c', 'd']);
  client.close();
  assert.equal(clock.timers(), 0);
});

test('rooms that wait count in the queue, and a new connection waits for none of them', async () => {
  const { client, clock } = await opened({}, { queueLimit: 2 });
  for (const name of ['one', 'two']) {
    void client.room(name).publish(name);
    HeldSocket.last().answer('publish', { error: { code: 'unavailable', detail: '', retry: true, retry_ms: 60_000 } });
  }
  await assert.rejects(client.room('three').publish('three'), refusal('queue_full'));
  await reconnect(clock);
  assert.deepEqual(texts(), ['one', 'two']);
  client.close();
});

test('too many commands hold whatever is to be sent, in every room', async () => {
  const { client, clock } = await opened();
  void client.room('general').publish('a');
  HeldSocket.last().answer('publish', { error: { code: 'rate_limited', detail: '', retry: true, retry_ms: 100 } });
  void client.room('other').publish('b');
  client.search('').next().catch(() => {});
  await clock.pass(99);
  assert.deepEqual(HeldSocket.last().sent.map(({ text }) => text), ['a']);
  await clock.pass(1);
  assert.deepEqual(HeldSocket.last().sent.map(({ text }) => text), ['a', 'a', 'b', undefined]);
  client.close();
});

test('an error without "try again" rejects, with what the node said', async () => {
  const { client } = await opened();
  const publishing = client.room('general').publish('a');
  HeldSocket.last().answer('publish', { error: { code: 'muted', detail: 'You are muted in this room.', unknown: 1 } });
  await assert.rejects(publishing, { name: 'KeywireError', code: 'muted', message: 'You are muted in this room.', retry: false });
  client.close();
});

test('a command that came too fast is sent again; one that the store could not answer goes back to who asked', async () => {
  const { client, clock } = await opened();
  const joining = client.room('general').join();
  HeldSocket.last().answer('join', { error: { code: 'rate_limited', detail: '', retry: true, retry_ms: 5 } });
  await clock.pass(5);
  HeldSocket.last().answer('join', { error: { code: 'unavailable', detail: '', retry: true } });
  await assert.rejects(joining, { code: 'unavailable', retry: true });
  client.close();
});

test('what has no answer is sent again on the next connection, whatever it is', async () => {
  const { client, clock } = await opened();
  const creating = client.create('new', { public: true });
  const inviting = client.room('new').invite('bob');
  assert.deepEqual(HeldSocket.last().commands('create').map(({ id: _, ...fields }) => fields), [{ command: 'create', room: 'new', public: true }]);
  await reconnect(clock);
  assert.deepEqual(HeldSocket.last().sent.map(({ command }) => command), ['create', 'invite']);
  HeldSocket.last().answer('create', { ok: { room: 'new', unchanged: true } });
  assert.equal((await creating).unchanged, true);
  HeldSocket.last().answer('invite', { ok: { user: 'u2' } });
  assert.deepEqual(await inviting, { user: 'u2', unchanged: false });
  client.close();
});

test('what is refused on a second try as if the first had been carried out may have been', async () => {
  for (const [command, code, expected] of [
    ['leave', 'room_not_found', 'outcome_unknown'],
    ['decline', 'room_not_found', 'outcome_unknown'],
    ['leave', 'last_owner', 'last_owner'],
    ['join', 'room_not_found', 'room_not_found'],
  ] as const) {
    const { client, clock } = await opened();
    const asked = client.room('a')[command]();
    await reconnect(clock);
    HeldSocket.last().answer(command, { error: { code, detail: '', retry: false } });
    await assert.rejects(asked, (error) => error instanceof KeywireError && error.code === expected);
    const again = client.room('a')[command]();
    HeldSocket.last().answer(command, { error: { code, detail: '', retry: false } });
    await assert.rejects(again, (error) => error instanceof KeywireError && error.code === code, 'a first try');
    client.close();
  }
});

test('a message that would end the connection for good is not sent', async () => {
  const { client } = await opened({ message_bytes: 200 });
  const room = client.room('general');
  await assert.rejects(room.publish('x'.repeat(100)), refusal('too_big'));
  await assert.rejects(room.publish('\u{1f600}'.repeat(25)), refusal('too_big'));
  void room.publish('fits');
  assert.deepEqual(texts(), ['fits']);
  client.close();
});

test('what is published is what it was then', async () => {
  const { client, clock } = await opened();
  HeldSocket.last().end(1006);
  const data = { n: 1 };
  void client.room('general').publish({ data });
  data.n = 2;
  await assert.rejects(client.room('general').publish({ data: 1n }), TypeError);
  await clock.pass(500);
  HeldSocket.last().welcome();
  assert.deepEqual(HeldSocket.last().commands('publish').map(({ data }) => data), [{ n: 1 }]);
  client.close();
});

test('a command can be given up', async () => {
  const { client, clock } = await opened({ publishes_in_flight: 1 });
  const room = client.room('general');
  const controller = new AbortController();
  const options = { signal: controller.signal };
  const outcomes = [room.publish('a', options), room.publish('b', options), room.history(options).next()];
  await settle();
  controller.abort(new Error('enough'));
  for (const outcome of outcomes) await assert.rejects(outcome, /enough/);
  await assert.rejects(room.publish('c', options), /enough/);
  // The node owes the reply all the same.
  void room.publish('d');
  assert.deepEqual(texts(), ['a']);
  HeldSocket.last().answer('publish', { ok: { seq: 1, key: '' } });
  assert.deepEqual(texts(), ['a', 'd']);
  await reconnect(clock);
  assert.deepEqual(texts(), ['d']);
  client.close();
});

test('lists are read page by page, as they are wanted', async () => {
  const { client } = await opened();
  const names: string[] = [];
  const reading = (async () => {
    for await (const { room, lastSeq } of client.rooms()) names.push(`${room} ${lastSeq}`);
  })();
  await settle();
  HeldSocket.last().answer('rooms', { ok: { rooms: [{ room: 'a', last_seq: 1 }, { room: 'b', last_seq: 2 }], more: true } });
  await settle();
  assert.equal(HeldSocket.last().commands('rooms').at(-1)?.['after'], 'b');
  HeldSocket.last().answer('rooms', { ok: { rooms: [{ room: 'c', last_seq: 3 }], more: false } });
  await reading;
  assert.deepEqual(names, ['a 1', 'b 2', 'c 3']);
  const members = client.room('a').members();
  const first = members.next();
  await settle();
  HeldSocket.last().answer('members', { ok: { members: [{ id: 'u1', display_name: null, muted_until: null }], more: true } });
  assert.deepEqual((await first).value, { id: 'u1', displayName: null, mutedUntil: null });
  members.next().catch(() => {});
  await settle();
  assert.equal(HeldSocket.last().commands('members').at(-1)?.['after'], 'u1');
  client.close();
});
