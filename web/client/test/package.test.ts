import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import * as offered from '../dist/index.js';
import type { NodeErrorCode } from '../dist/index.js';
import { FakeNode } from './fake_node.js';

/** Bytes that the client may be, joined and compressed. */
const BUDGET = 8_000;
/** Every code of the type: a missing one does not compile, nor does one too many. */
const ERRORS: Record<NodeErrorCode, true> = {
  invalid_message: true, unknown_command: true, invalid_field: true, not_signed_in: true, token_invalid: true,
  session_revoked: true, room_not_found: true, room_taken: true, not_a_member: true, forbidden: true, muted: true,
  not_subscribed: true, too_many_subscriptions: true, not_durable: true, key_reused: true, message_not_found: true,
  user_not_found: true, last_owner: true, rate_limited: true, unavailable: true, internal: true,
};

function read(path: string): string {
  return readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
}

test('it stays small', () => {
  const files = readdirSync(new URL('../dist/', import.meta.url)).filter((name) => name.endsWith('.js'));
  // Without indentation and imports of each other, as whatever joins them leaves them: names stay as they are.
  const joined = files.map((name) => read(`dist/${name}`)).join('').replace(/^ +|^import .*\n/gm, '');
  const { length } = gzipSync(joined, { level: 9 });
  assert.ok(length <= BUDGET, `${length} bytes`);
});

test('it needs nothing', () => {
  assert.equal((JSON.parse(read('package.json')) as { dependencies?: object }).dependencies, undefined);
  for (const name of readdirSync(new URL('../dist/', import.meta.url)).filter((name) => name.endsWith('.js'))) {
    for (const [, from] of read(`dist/${name}`).matchAll(/ from '([^']+)'/g)) assert.match(from ?? '', /^\.\//, name);
  }
});

test('it offers what index.ts says, and no more', () => {
  assert.deepEqual(Object.keys(offered).sort(), ['KeywireError', 'createClient']);
});

test('it knows every error of the protocol', () => {
  const section = read('../../docs/protocol.md').split('### Errors')[1] ?? '';
  const documented = [...section.matchAll(/^\| `([a-z_]+)` \| (?:yes|no) \|/gm)].map(([, code]) => code);
  assert.deepEqual(documented.sort(), Object.keys(ERRORS).sort());
});

test('the example of the README runs', async (context) => {
  const example = /```ts\n(.*?)```/s.exec(read('README.md'))?.[1] ?? '';
  const node = await FakeNode.start();
  const said: string[] = [];
  context.mock.method(console, 'log', (...words: unknown[]) => said.push(words.join(' ')));
  const here = example
    .replace("'@keywire/client'", `'${new URL('../dist/index.js', import.meta.url).href}'`)
    .replace('ws://localhost:8080/ws', node.url);
  const myAccessToken = (force: boolean): string => `token ${force}`;
  Object.assign(globalThis, { myAccessToken });
  await import(`data:text/javascript,${encodeURIComponent(here)}`);
  Reflect.deleteProperty(globalThis, 'myAccessToken');
  await node.stop();
  assert.deepEqual([said.at(-2), said.at(-1)].sort(), ['closed', 'stored at 1']);
  assert.deepEqual(said.slice(0, 2), ['connecting', 'open']);
  assert.equal(said.filter((line) => line.startsWith('1 ') && line.endsWith('hello')).length, 1);
});
