/* The providers' OpenAPI 3.0 files as JSON schemas that ajv can judge answers by. */
import fs from 'node:fs';
import path from 'node:path';

import { load } from './lib.mjs';

const Ajv = load('ajv').default;
const addFormats = load('ajv-formats').default;

export const folder = process.env.PROVIDERS;
export const readJson = (name) => JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8'));

const DROPPED = new Set([
    'description',
    'title',
    'example',
    'examples',
    'discriminator',
    'default',
    'deprecated',
    'nullable',
    'readOnly',
    'writeOnly',
    'externalDocs',
]);
const SCHEMAS = new Set(['properties', 'patternProperties']); // maps of schemas, not keywords

/* OpenAPI 3.0 has `nullable` where JSON schema has a type of null. With `closed` a member that the
 * file does not know is a fault too: providers may add members, a simulator must not invent any. */
function schema(from, closed) {
    if (Array.isArray(from)) {
        return from.map((s) => schema(s, closed));
    }
    if (from === null || typeof from !== 'object') {
        return from;
    }
    const to = {};
    for (const [key, value] of Object.entries(from)) {
        if (DROPPED.has(key) || key.startsWith('x-')) {
            continue;
        }
        if (SCHEMAS.has(key)) {
            to[key] = Object.fromEntries(
                Object.entries(value).map(([name, s]) => [name, schema(s, closed)]),
            );
        } else if (key === 'enum' || key === 'required') {
            to[key] = [...value];
        } else {
            to[key] = schema(value, closed);
        }
    }
    if (from['x-open-enum']) {
        delete to.enum; // upstream warns that values will be added
    }
    if (
        closed &&
        to.properties &&
        to.additionalProperties === undefined &&
        Object.keys(to.properties).length > 0
    ) {
        to.additionalProperties = false;
    }
    if (from.nullable !== true) {
        return to;
    }
    if (to.enum && !to.enum.includes(null)) {
        to.enum.push(null);
    }
    if (typeof to.type === 'string' && !to.anyOf) {
        to.type = [to.type, 'null'];
        return to;
    }
    if (to.anyOf && Object.keys(to).length === 1) {
        to.anyOf.push({ type: 'null' });
        return to;
    }
    return { anyOf: [to, { type: 'null' }] };
}

export class Judge {
    constructor(file, { closed = false, mend = () => {} } = {}) {
        this.api = readJson(file);
        mend(this.api.components.schemas);
        this.ajv = new Ajv({
            strict: false,
            allErrors: false,
            verbose: true,
            validateSchema: false,
        });
        addFormats(this.ajv);
        this.ajv.addFormat('unix-time', { type: 'number', validate: Number.isInteger });
        this.ajv.addFormat('decimal', /^-?[0-9]+(\.[0-9]+)?$/);
        const whole = { $id: 'api', components: { schemas: {} } };
        for (const [name, s] of Object.entries(this.api.components.schemas)) {
            whole.components.schemas[name] = schema(s, closed);
        }
        this.closed = closed;
        this.ajv.addSchema(whole);
        this.known = new Map();
    }

    // What is wrong with the value, or null. `of`: a schema of the file.
    wrong(key, of, value) {
        let check = this.known.get(key);
        if (!check) {
            const refs = JSON.parse(
                JSON.stringify(schema(of, this.closed)).replaceAll(
                    '"#/components/',
                    '"api#/components/',
                ),
            );
            check = this.ajv.compile(refs);
            this.known.set(key, check);
        }
        if (check(value)) {
            return null;
        }
        return check.errors
            .slice(0, 8)
            .map(
                (e) =>
                    `${e.instancePath || '/'} ${e.message} ${
                        e.params?.additionalProperty ?? e.params?.allowedValues ?? ''
                    }: ${JSON.stringify(e.data)?.slice(0, 120)}`,
            )
            .join('\n');
    }

    // The same for the answer to a call: its status must be one that the file names.
    wrongAnswer(method, template, status, value) {
        const responses = this.api.paths[template]?.[method]?.responses;
        const said = responses?.[status] ?? (status >= 400 ? responses?.default : undefined);
        if (!said) {
            return `${method} ${template} is not said to answer ${status}: ${JSON.stringify(
                value,
            )?.slice(0, 200)}`;
        }
        const content = said.content?.['application/json']?.schema;
        if (!content) {
            return status !== 204 || value === undefined ? null : `${template} 204 has a body`;
        }
        return this.wrong(`${method} ${template} ${status}`, content, value);
    }

    wrongRecord(name, value) {
        return this.wrong(`record ${name}`, { $ref: `#/components/schemas/${name}` }, value);
    }
}
