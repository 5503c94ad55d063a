// The client in a real browser, as plain modules without a bundler.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { post, startBrowser, startKeywire, startPage } from './harness.js';

let page;
let keywire;
let browser;
let tab;
let token;

before(async () => {
  page = await startPage();
  [keywire, browser] = await Promise.all([startKeywire(page.origin), startBrowser()]);
  const credentials = { username: 'ann', password: 'password123' };
  await post(`${keywire.api}/register`, credentials);
  token = (await post(`${keywire.api}/login`, credentials)).body.access_token;
  tab = await browser.newPage();
  await tab.goto(`${page.origin}/`);
});

after(async () => {
  await browser?.close();
  await Promise.all([keywire?.stop(), page?.stop()]);
});

test('a page signs in by the handshake, publishes, and is told', async () => {
  const told = await tab.evaluate(async ({ url, token }) => {
    const { createClient } = await import('/client/index.js');
    const client = createClient({ url, getToken: () => token });
    const user = await client.connect();
    await client.create('browser', { public: true });
    const room = client.room('browser');
    await room.subscribe();
    const message = new Promise((resolve) => room.on('message', resolve));
    const { seq, key } = await room.publish('hello');
    const { text, seq: place, key: mine } = await message;
    client.close();
    return { user: user.username, text, isMine: mine === key && place === seq, state: client.state.name };
  }, { url: `${keywire.api}/ws`, token });
  assert.deepEqual(told, { user: 'ann', text: 'hello', isMine: true, state: 'closed' });
});

test('a page whose token is refused gets a fresh one, once', async () => {
  const told = await tab.evaluate(async ({ url, token }) => {
    const { createClient } = await import('/client/index.js');
    const wishes = [];
    const attempt = async (fresh) => {
      const getToken = ({ force }) => {
        wishes.push(force);
        return force ? fresh : 'no token of ours';
      };
      const client = createClient({ url, getToken });
      const outcome = await client.connect().then(({ username }) => username, ({ code }) => code);
      client.close();
      return [outcome, client.state.reason];
    };
    return [await attempt(token), await attempt('nor is this one'), wishes];
  }, { url: `${keywire.api}/ws`, token });
  assert.deepEqual(told, [['ann', { by: 'app' }], ['closed', { by: 'node', code: 4401 }], [false, true, false, true]]);
});
