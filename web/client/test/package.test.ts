import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import * as offered from '../dist/index.js';
import { FakeNode } from './fake_node.js';

/** Bytes that the client may be, joined and compressed. */
const BUDGET = 8_700;
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
