// Passkeys, from a real browser with its virtual authenticator, over the page's own API.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { post, startBrowser, startKeywire, startPage } from './harness.js';

/// An authenticator in the device, with a fingerprint that is always the right one.
const AUTHENTICATOR = { protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true };
/// COSE's numbers of the algorithms that are offered.
const ALGORITHMS = { EdDSA: -8, ES256: -7 };

let page;
let keywire;
let browser;

before(async () => {
  page = await startPage();
  [keywire, browser] = await Promise.all([startKeywire(page.origin), startBrowser()]);
});

after(async () => {
  await browser?.close();
  await Promise.all([keywire?.stop(), page?.stop()]);
});

/// A user who is signed in, and a tab on the page with an authenticator of its own.
async function begin(name) {
  const credentials = { username: name, password: 'password123' };
  assert.equal((await post(`${keywire.api}/register`, credentials)).status, 201);
  const { body } = await post(`${keywire.api}/login`, credentials);
  const context = await browser.newContext();
  const tab = await context.newPage();
  await tab.goto(`${page.origin}/`);
  const devtools = await context.newCDPSession(tab);
  await devtools.send('WebAuthn.enable');
  const { authenticatorId } = await devtools.send('WebAuthn.addVirtualAuthenticator', { options: AUTHENTICATOR });
  const send = (method, more) => devtools.send(`WebAuthn.${method}`, { authenticatorId, ...more });
  return { tab, send, token: body.access_token, close: () => context.close() };
}

/// Adds a passkey of one algorithm, in the page.
function enrol(tab, token, algorithm) {
  return tab.evaluate(async ({ api, token, algorithm }) => {
    const call = async (path, body) => {
      const headers = { 'content-type': 'application/json', authorization: `Bearer ${token}` };
      const response = await fetch(api + path, { method: 'POST', headers, body: JSON.stringify(body) });
      return { status: response.status, body: await response.json() };
    };
    const { body } = await call('/me/factors/passkey/options', {});
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(body.publicKey);
    publicKey.pubKeyCredParams = publicKey.pubKeyCredParams.filter(({ alg }) => alg === algorithm);
    try {
      const credential = await navigator.credentials.create({ publicKey });
      return await call('/me/factors/passkey', { name: 'Laptop', credential: credential.toJSON() });
    } catch (error) {
      return error.name;
    }
  }, { api: keywire.api, token, algorithm });
}

/// Signs in with whatever passkey the authenticator has, in the page; `twice` sends the same again.
function signIn(tab, { twice = false } = {}) {
  return tab.evaluate(async ({ api, twice }) => {
    const call = async (path, body) => {
      const headers = { 'content-type': 'application/json' };
      const response = await fetch(api + path, { method: 'POST', headers, body: JSON.stringify(body) });
      return { status: response.status, body: await response.json() };
    };
    const { body } = await call('/login/passkey/options', {});
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(body.publicKey);
    try {
      const credential = (await navigator.credentials.get({ publicKey })).toJSON();
      const answer = await call('/login/passkey', { credential });
      return twice ? await call('/login/passkey', { credential }) : answer;
    } catch (error) {
      return error.name;
    }
  }, { api: keywire.api, twice });
}

for (const [name, algorithm] of Object.entries(ALGORITHMS)) {
  test(`a passkey of ${name} is added and signs in without a name or a password`, async () => {
    const user = `ann-${name.toLowerCase()}`;
    const { tab, send, token, close } = await begin(user);
    const added = await enrol(tab, token, algorithm);
    assert.equal(added.status, 201, JSON.stringify(added));
    const { credentials } = await send('getCredentials');
    assert.equal(credentials.length, 1);
    assert.equal(credentials[0].isResidentCredential, true);
    for (let round = 0; round < 2; round += 1) {
      const answer = await signIn(tab);
      assert.equal(answer.status, 200, JSON.stringify(answer));
      assert.equal(answer.body.user.username, user);
      const me = await fetch(`${keywire.api}/me`, { headers: { authorization: `Bearer ${answer.body.access_token}` } });
      assert.equal(me.status, 200);
    }
    await close();
  });
}

test('an authenticator gets one passkey of an account', async () => {
  const { tab, token, close } = await begin('bob');
  assert.equal((await enrol(tab, token, ALGORITHMS.ES256)).status, 201);
  assert.equal(await enrol(tab, token, ALGORITHMS.ES256), 'InvalidStateError');
  await close();
});

test('what signed in once does not sign in again', async () => {
  const { tab, token, close } = await begin('cid');
  await enrol(tab, token, ALGORITHMS.ES256);
  const again = await signIn(tab, { twice: true });
  assert.deepEqual([again.status, again.body.code], [409, 'challenge_invalid']);
  await close();
});

test('who is not verified gets nowhere', async () => {
  const { tab, send, token, close } = await begin('dan');
  await enrol(tab, token, ALGORITHMS.ES256);
  await send('setUserVerified', { isUserVerified: false });
  assert.equal(await signIn(tab), 'NotAllowedError');
  await close();
});

test('a copy of the key whose counter stayed behind is refused', async () => {
  const { tab, send, token, close } = await begin('eve');
  await enrol(tab, token, ALGORITHMS.ES256);
  const { credentials: [copied] } = await send('getCredentials');
  for (let round = 0; round < 2; round += 1) assert.equal((await signIn(tab)).status, 200);
  await send('clearCredentials');
  await send('addCredential', { credential: copied });
  const answer = await signIn(tab);
  assert.deepEqual([answer.status, answer.body.code], [401, 'passkey_invalid']);
  await close();
});

test('a passkey that was removed no longer signs in', async () => {
  const { tab, token, close } = await begin('fay');
  const { body } = await enrol(tab, token, ALGORITHMS.ES256);
  const removed = await fetch(`${keywire.api}/me/factors/${body.id}`, { method: 'DELETE', headers: { authorization: `Bearer ${token}` } });
  assert.equal(removed.status, 204);
  const answer = await signIn(tab);
  assert.deepEqual([answer.status, answer.body.code], [401, 'passkey_invalid']);
  await close();
});
