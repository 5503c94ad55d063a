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
const document = parse(read('docs/asyncapi.yaml')) as Json & { components: { messages: Record<string, unknown>; schemas: Record<string, Json> } };
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

/** The schemas of what the app is given, and the types that the client says it has. */
const TYPES = {
  User: 'User', Subject: 'Subject', Position: 'Position', Room: 'RoomInfo', Created: 'Created', Invitation: 'Invitation',
  Member: 'Member', Limits: 'Limits', Rate: 'Rate', Here: 'Presence', Page: 'HistoryPage', Muted: 'Muted', Invited: 'Invited',
  MessageEntry: 'MessageEntry', EditedEntry: 'EditedEntry', DeletedEntry: 'DeletedEntry', MemberEntry: 'MemberEntry',
};
const BASIC: Record<string, string> = { integer: 'number', string: 'string', boolean: 'boolean' };

/** A schema that may be a reference to another. */
function resolved(schema: Json): Json {
  const { $ref: reference } = schema;
  if (typeof reference !== 'string') return schema;
  return reference.slice(2).split('/').reduce<unknown>((at, part) => (at as Json)[part], document) as Json;
}

/** The field as a declaration would say it: `name?: string | null`. Of types that are no basic ones only null is told. */
function declared(name: string, isOptional: boolean, type: string, isNullable: boolean): string {
  const basic = Object.values(BASIC).includes(type) ? type : 'other';
  return `${name}${isOptional ? '?' : ''}: ${basic}${isNullable ? ' | null' : ''}`;
}

/** The fields of a schema, with the names that the client gives them. */
function fieldsOf({ properties, required = [] }: Json): string[] {
  return Object.entries(properties as Json).map(([field, schema]) => {
    const found = resolved(schema as Json);
    const types = [found['type'] ?? found['anyOf']].flat();
    const isNullable = JSON.stringify(types).includes('"null"');
    const is = isNullable && !found['type'] ? resolved(types[0] as Json) : { ...found, type: types[0] };
    const name = field === 'push' ? 'kind' : field.replaceAll(/_./g, (part) => part.slice(1).toUpperCase());
    // What is not there is false. A union of texts is a type of its own.
    const isAlways = name === 'unchanged';
    const type = isAlways ? 'boolean' : is['enum'] ? 'other' : BASIC[String(is['type'])] ?? 'other';
    return declared(name, !isAlways && !(required as string[]).includes(field), type, isNullable);
  }).sort();
}

/** The declarations of the client: the types that each rests on, and its fields. */
const declarations = new Map<string, { on: string[]; fields: string[] }>();
for (const file of ['wire', 'room', 'client', 'subscription']) {
  const text = read(`web/client/dist/${file}.d.ts`).replace(/\/\*\*.*?\*\//gs, '');
  for (const [, name = '', on = '', body = ''] of text.matchAll(/^export (?:interface|type) (\w+)(?: (?:=|extends))?([\w &]*)\{(.*?)^\}/gms)) {
    const fields = [...body.matchAll(/readonly (\w+)(\??): ([^;]+);/g)].map(([, field = '', optional, type = '']) => declared(field, optional === '?', type.replace(' | null', ''), type.includes(' | null')));
    declarations.set(name, { on: on.split(/[ &]+/).filter(Boolean), fields });
  }
}

/** All fields of a type. */
function typed(name: string): string[] {
  const { on, fields } = declarations.get(name) ?? { on: [], fields: [] };
  return [...on.flatMap(typed), ...fields].sort();
}

for (const [schema, type] of Object.entries(TYPES)) {
  test(`the type ${type} has the fields of ${schema}`, () => {
    assert.deepEqual(typed(type), fieldsOf(document.components.schemas[schema] ?? {}));
  });
}
