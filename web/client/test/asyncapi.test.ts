// docs/asyncapi.yaml is what AsyncAPI says a document is, and says of every message what the contract says.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { Ajv, type ValidateFunction } from 'ajv';
import formats from 'ajv-formats';
import { parse } from 'yaml';

type Json = { [field: string]: unknown };

const read = (path: string): string => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');
const document = parse(read('docs/asyncapi.yaml')) as Json & { components: { messages: Record<string, unknown> } };
const contract = JSON.parse(read('shared/contracts/keywire_v1.json')) as Record<'commands' | 'pushes' | 'replies', Json[]>;

function validator(): Ajv {
  const ajv = new Ajv({ strict: false });
  formats.default(ajv);
  return ajv;
}

/** With no field in any object but those that are described. */
function closed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(closed);
  if (!(value instanceof Object)) return value;
  const schema = Object.fromEntries(Object.entries(value).map(([name, part]) => [name, closed(part)]));
  return schema['type'] === 'object' && schema['properties'] ? { ...schema, additionalProperties: false } : schema;
}

const ajv = validator().addSchema(closed(document) as Json, 'document');

/** What judges the payload of a message of the document. */
function judge(name: string): ValidateFunction {
  const found = ajv.getSchema(`document#/components/messages/${name}/payload`);
  assert.ok(found, `no message ${name}`);
  return found;
}

/** The names of the document's messages of a kind. */
function names(kind: string): string[] {
  return Object.keys(document.components.messages).filter((name) => name.startsWith(`${kind}.`)).sort();
}

/** Every message of the contract, with its name in the document. */
const messages: [string, Json][] = [
  ...contract.commands.map((command): [string, Json] => [`command.${String(command['command'])}`, command]),
  ...contract.pushes.map((push): [string, Json] => [`push.${String(push['push'])}`, push]),
  ...contract.replies.map((reply): [string, Json] => {
    const command = contract.commands.find(({ id }) => id === reply['id']);
    return [reply['ok'] ? `ok.${String(command?.['command'])}` : 'error', reply];
  }),
];

test('the document is one of AsyncAPI 3.0.0', () => {
  const schema = createRequire(import.meta.url)('@asyncapi/specs/schemas/3.0.0-without-$id.json') as Json;
  const judge = validator().compile(schema);
  assert.ok(judge(document), JSON.stringify(judge.errors));
  assert.ok(!judge({ ...document, asyncapi: '2.6.0' }));
  assert.ok(!judge({ ...document, operations: { ping: { action: 'receives', channel: { $ref: '#/channels/v1' } } } }));
  assert.ok(!judge({ ...document, channel: {} }));
});

test('every reference leads somewhere, and every message is in a channel', () => {
  const text = JSON.stringify(document);
  for (const [, path] of text.matchAll(/"\$ref":"#\/([^"]*)"/g)) {
    const found = path?.split('/').reduce<unknown>((at, part) => (at as Json | undefined)?.[part], document);
    assert.ok(found, path);
  }
  for (const name of Object.keys(document.components.messages)) {
    const parts = text.split(`"#/components/messages/${name}"`).length + text.split(`/messages/${name}"`).length;
    assert.ok(parts > 4, `${name} is in no channel or operation`);
  }
});

test('the document has the messages of the contract, and no others', () => {
  for (const kind of ['command', 'ok', 'push']) {
    const there = new Set(messages.map(([name]) => name).filter((name) => name.startsWith(`${kind}.`)));
    assert.deepEqual(names(kind), [...there].sort());
  }
});

test('every message of the contract is as the document says', () => {
  for (const [name, message] of messages) {
    const judged = judge(name);
    assert.ok(judged(message), `${name}: ${JSON.stringify(message)}: ${JSON.stringify(judged.errors)}`);
  }
});

test('a message that lacks a field, or has one that is not described, is not', () => {
  for (const [name, message] of messages) {
    const judged = judge(name);
    assert.ok(!judged({ ...message, colour: 'red' }), name);
    const what = name.startsWith('push.') ? 'push' : name.startsWith('command.') ? 'command' : 'id';
    const { [what]: _, ...less } = message;
    assert.ok(!judged(less), name);
    const inner = message['ok'] ?? message['error'];
    if (inner) assert.ok(!judged({ ...message, [message['ok'] ? 'ok' : 'error']: { ...inner, colour: 'red' } }), name);
  }
});
