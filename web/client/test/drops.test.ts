import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Client, createClient } from '../dist/index.js';
import { type Command, FakeNode, type Peer } from './fake_node.js';

/** Messages, and drops among them. */
const MESSAGES = 1_000;
const DROPS = 20;

/** What a node does at a drop: with the publish that came, and with the connection. */
const WAYS: ((node: FakeNode, peer: Peer, command: Command) => void)[] = [
  // Before it is stored.
  (_, peer) => peer.cut(),
  // Stored, and nobody told.
  (node, peer, command) => {
    node.store(command);
    peer.cut();
  },
  // Stored, and the reply half told.
  (node, peer, command) => {
    const { seq, key } = node.store(command);
    peer.cutInside({ id: command.id, ok: { seq, key } });
  },
  // As a node that is drained.
  (node, peer, command) => {
    node.answer(peer, command);
    peer.say({ push: 'bye', code: 1012, retry_ms: 10 });
    peer.close(1012);
  },
  (_, peer) => peer.close(4008),
];

/** A node whose store is away now and then, whose replies come late and out of order, and which drops who publishes. */
function misbehave(node: FakeNode): { keys: Map<unknown, Set<unknown>>; most: () => number; drops: () => number } {
  const keys = new Map<unknown, Set<unknown>>();
  let heard = 0;
  let drops = 0;
  let most = 0;
  const gone = new WeakSet<Peer>();
  const late = new Map<Peer, Command[]>();
  const answerLate = (peer: Peer): void => {
    const commands = late.get(peer) ?? [];
    late.delete(peer);
    if (!gone.has(peer)) for (const command of commands.reverse()) node.answer(peer, command);
  };
  node.hear = (peer, command) => {
    if (gone.has(peer)) return true;
    if (command.command !== 'publish') return false;
    heard += 1;
    keys.set(command['text'], (keys.get(command['text']) ?? new Set()).add(command['key']));
    if (heard % 50 === 0 && drops < DROPS) {
      WAYS[drops % WAYS.length]?.(node, peer, command);
      drops += 1;
      gone.add(peer);
    } else if (heard % 37 === 0) {
      peer.reply(command, { error: { code: 'unavailable', detail: '', retry: true, retry_ms: 1 } });
    } else {
      const waiting = late.get(peer) ?? [];
      if (waiting.length === 0) setImmediate(() => answerLate(peer));
      waiting.push(command);
      late.set(peer, waiting);
      most = Math.max(most, waiting.length);
    }
    return true;
  };
  return { keys, most: () => most, drops: () => drops };
}

function connect(node: FakeNode): Client {
  return createClient({ url: node.url, getToken: () => 'opaque', queueLimit: MESSAGES, backoff: { base: 2, cap: 10 } });
}

test('1,000 publishes through 20 drops are each acknowledged once, stored once under one key, and told once in order', { timeout: 60_000 }, async () => {
  const node = await FakeNode.start();
  const { keys, most, drops } = misbehave(node);
  node.publishesInFlight = 16;
  const client = connect(node);
  const room = client.room('general');
  const seqs: unknown[] = [];
  const texts: unknown[] = [];
  room.on('message', ({ seq, text }) => {
    seqs.push(seq);
    texts.push(text);
  });
  await room.subscribe();
  let acknowledged = 0;
  const publishing = Array.from({ length: MESSAGES }, async (_, n) => {
    const published = await room.publish(`message ${n}`);
    acknowledged += 1;
    return published;
  });
  const outcomes = await Promise.all(publishing);
  // The last acknowledgement may come before the last push.
  while (seqs.length < MESSAGES) await new Promise((resolve) => room.on('message', resolve));

  const { entries } = node.log('general');
  assert.deepEqual([drops(), acknowledged, entries.length], [DROPS, MESSAGES, MESSAGES]);
  assert.deepEqual([...keys.values()].filter((used) => used.size !== 1), []);
  for (const [n, { seq, key }] of outcomes.entries()) {
    const entry = entries[(seq ?? 0) - 1];
    assert.deepEqual([entry?.['text'], entry?.key], [`message ${n}`, key]);
  }
  assert.deepEqual(seqs, entries.map(({ seq }) => seq));
  assert.deepEqual(texts, entries.map((entry) => entry['text']));
  assert.ok(most() <= 16, `${most()} at once`);
  client.close();
  await node.stop();
});
