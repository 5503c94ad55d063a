// What every browser test needs: the built program, a page at its public address, and Chromium.

import { spawn } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { chromium } from 'playwright-core';

/// Longer than any start takes on a busy machine, in milliseconds.
const START_LIMIT = 120_000;

/// The built client: `cargo dev test web` builds it.
const CLIENT = new URL('../client/dist/', import.meta.url);

/// Serves an empty page at an address of its own, which stands for the web UI's, and the client under
/// `/client/`: `origin` is what PUBLIC_URL is set to.
export async function startPage() {
  const server = createServer(async (request, response) => {
    if (request.url.startsWith('/client/')) {
      response.setHeader('content-type', 'text/javascript');
      response.end(await readFile(new URL(basename(request.url), CLIENT)));
    } else if (request.url === '/') {
      response.setHeader('content-type', 'text/html');
      response.end('<!doctype html><html lang="en"><title>Keywire</title>');
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, 'localhost', resolve));
  const stop = () => new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
  return { origin: `http://localhost:${server.address().port}`, stop };
}

/// Starts the program on a database of its own; gone with `stop`.
export async function startKeywire(publicUrl) {
  const dir = await mkdtemp(join(tmpdir(), 'keywire-e2e-'));
  // The account of a Postgres that root starts must pass.
  await chmod(dir, 0o755);
  const settings = { LOCAL_DIR: join(dir, 'local'), PORT: '0', PUBLIC_URL: publicUrl, LOG: 'warn', BCRYPT_COST: '4', DATABASE_TIMEOUT: '20s' };
  const child = spawn(process.env.TEST_KEYWIRE, { env: { ...process.env, ...settings }, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  let said = '';
  const port = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`it is not ready:\n${said}`)), START_LIMIT);
    const listen = (chunk) => {
      said += chunk;
      const ready = /Keywire is ready: http:\/\/127\.0\.0\.1:(\d+)/.exec(said);
      if (ready) {
        clearTimeout(timer);
        resolve(ready[1]);
      }
    };
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`it ended (${code}):\n${said}`)));
  });
  const stop = async () => {
    child.kill('SIGTERM');
    await ended;
    await rm(dir, { recursive: true, force: true });
  };
  return { api: `http://localhost:${port}`, stop };
}

/// Starts the browser.
export async function startBrowser() {
  const args = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
  // Its sandbox refuses to be root's.
  if (process.getuid() === 0) args.push('--no-sandbox');
  return chromium.launch({ executablePath: process.env.TEST_CHROMIUM, args });
}

/// Posts JSON from outside the browser.
export async function post(url, body, token) {
  const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
  return { status: response.status, body: await response.json() };
}
