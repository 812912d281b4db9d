/* The admin program held to admin/openapi.json: each resource is in the file, and each answer is as
 * the file says. What a resource may answer beyond it is allowed: columns are only added. */
import fs from 'node:fs';

import { done, load, ok, part } from './lib.mjs';

const Ajv = load('ajv/dist/2020').default;
const addFormats = load('ajv-formats').default;
const { BASE, TOKEN, HUBSPOT, STRIPE, CUSTOMER, COMPANY, ATTEMPT, OPENAPI } = process.env;
const spec = JSON.parse(fs.readFileSync(OPENAPI, 'utf8'));
const ajv = new Ajv({ strict: false, allErrors: true, allowUnionTypes: true });
addFormats(ajv);
ajv.addSchema(spec, 'spec');

const unescaped = (path) => path.replaceAll('~', '~0').replaceAll('/', '~1');

// Where the schema of an answer stands in the file; undefined when it says nothing of it.
function pointer(path, method, status, type) {
    const answer = spec.paths[path]?.[method]?.responses[status];
    if (answer === undefined) {
        return status >= 400 && spec.paths[path]?.[method]
            ? '#/components/responses/Problem/content/application~1problem+json/schema'
            : undefined;
    }
    return answer.content === undefined
        ? null
        : `#/paths/${unescaped(path)}/${method}/responses/${status}/content/${unescaped(type)}/schema`;
}

const called = new Set();

async function call(method, path, target, body, wanted) {
    called.add(`${method} ${path}`);
    const answer = await fetch(BASE + target, {
        method,
        headers: {
            Authorization: `Bearer ${TOKEN}`,
            ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        },
        body: body === undefined ? undefined : JSON.stringify(body),
    });
    const type = (answer.headers.get('content-type') ?? '').split(';')[0];
    const text = await answer.text();
    const at = pointer(path, method.toLowerCase(), answer.status, type);
    const name = `${method} ${target} answers ${answer.status} as described`;
    if (wanted !== undefined && answer.status !== wanted) {
        return ok(false, name, `${answer.status} instead of ${wanted}: ${text.slice(0, 300)}`);
    }
    if (at === undefined) {
        return ok(false, name, 'the file does not know such an answer');
    }
    if (at === null || !type.endsWith('json')) {
        return ok(true, name);
    }
    const check = ajv.getSchema(`spec${at}`) ?? ajv.compile({ $ref: `spec${at}` });
    const good = check(JSON.parse(text));
    return ok(good, name, `${ajv.errorsText(check.errors)}\n${text.slice(0, 600)}`);
}

const c = '/api/v1/connections/{connection}';
const at = (path, id) => path.replace(/\{\w+\}/, id);
const get = (path, target = path, status = 200) => call('GET', path, target, undefined, status);
const post = (path, target, body, status) => call('POST', path, target, body, status);

await part('looking', async () => {
    for (const path of ['session', 'workspaces', 'connections', 'customers', 'audit', 'errors', 'queue']) {
        await get(`/api/v1/${path}`);
    }
    for (const id of [HUBSPOT, STRIPE]) {
        for (const end of ['', '/attention', '/deliveries', '/pictures', '/runs', '/schema', '/mapping',
            '/mapping/versions']) {
            await get(c + end, at(c, id) + end);
        }
        await get(`${c}/records`, `${at(c, id)}/records?state=in_sync&limit=3`);
        await get(`${c}/webhook-endpoint`, `${at(c, id)}/webhook-endpoint`);
    }
    for (const kind of ['list', 'stage', 'pipeline']) await get(`${c}/scope/choices`, `${at(c, HUBSPOT)}/scope/choices?kind=${kind}&q=a`);
    await get(`${c}/scope/choices`, `${at(c, STRIPE)}/scope/choices?kind=product`);
    await get(`${c}/scope/choices`, `${at(c, STRIPE)}/scope/choices?kind=list`, 400);
    await get(`${c}/scope`, `${at(c, HUBSPOT)}/scope`);
    await get(c, '/api/v1/connections/hubspot?workspace=acme');
    await get(c, '/api/v1/connections/999999', 404);
    await get('/api/v1/runs/{run}', '/api/v1/runs/1');
    await get('/api/v1/customers/{customer}', `/api/v1/customers/${CUSTOMER}`);
    await get('/api/v1/customers', '/api/v1/customers?q=a&archived=no&limit=2');
    await get('/api/v1/queue/units', '/api/v1/queue/units?state=waiting');
    await get('/api/v1/queue/units', '/api/v1/queue/units?state=odd', 400);
    await get('/api/v1/attempts', '/api/v1/attempts?limit=100');
    await get('/api/v1/attempts', '/api/v1/attempts?last=24h&slow=1&status=failed,partial&trigger=webhook');
    await get('/api/v1/attempts', '/api/v1/attempts?last=soon', 400);
    await get('/api/v1/attempts/summary', '/api/v1/attempts/summary?group=1&workspace=acme');
    await get('/api/v1/attempts/export', '/api/v1/attempts/export?format=csv');
    for (const format of ['csv', 'jsonl']) await get('/api/v1/audit/export', `/api/v1/audit/export?format=${format}&action=run`);
    await get('/api/v1/attempts/{attempt}', `/api/v1/attempts/${ATTEMPT}`);
    await get('/api/v1/attempts/{attempt}', '/api/v1/attempts/12', 404);
    await get('/api/v1/events');
});

await part('doing', async () => {
    await post(`${c}/runs`, `${at(c, HUBSPOT)}/runs`);
    await post('/api/v1/runs/{run}/cancel', '/api/v1/runs/1/cancel', undefined, 409);
    await post(`${c}/pause`, `${at(c, HUBSPOT)}/pause`, { paused: false }, 200);
    for (const lane of ['nightly', undefined]) for (const paused of [true, false]) await post('/api/v1/queue/pause', '/api/v1/queue/pause', { lane, paused }, 200);
    await post('/api/v1/queue/pause', '/api/v1/queue/pause', { lane: 'fast', paused: true }, 400);
    await post(`${c}/resync-preview`, `${at(c, HUBSPOT)}/resync-preview`, { record_id: COMPANY }, 200);
    await post(`${c}/resync`, `${at(c, HUBSPOT)}/resync`, { record_id: COMPANY }, 200);
    await post(`${c}/resync`, `${at(c, HUBSPOT)}/resync`, {}, 400);
    await post(`${c}/diagnose`, `${at(c, HUBSPOT)}/diagnose`, {}, 200);
    await post(`${c}/why`, `${at(c, HUBSPOT)}/why`, { record_id: COMPANY }, 200);
    await post(`${c}/why`, `${at(c, HUBSPOT)}/why`, { record_id: 'nobody here' }, 404);
    await post('/api/v1/attempts/retry', '/api/v1/attempts/retry', { dry_run: true }, 200);
    await post('/api/v1/attempts/{attempt}/retry', `/api/v1/attempts/${ATTEMPT}/retry`, undefined, 409);
});

await part('setting up', async () => {
    const { fields } = await (await fetch(`${BASE}${at(c, HUBSPOT)}/mapping`, {
        headers: { Authorization: `Bearer ${TOKEN}` },
    })).json();
    await post(`${c}/mapping/check`, `${at(c, HUBSPOT)}/mapping/check`, { fields }, 200);
    await post(`${c}/mapping/check`, `${at(c, HUBSPOT)}/mapping/check`,
        { fields: [{ field: 'arr', source: 'nope', type: 'number' }] }, 200);
    await post(`${c}/mapping/preview`, `${at(c, HUBSPOT)}/mapping/preview`, { fields }, 200);
    await post(`${c}/mapping/preview`, `${at(c, HUBSPOT)}/mapping/preview`, { fields, customer_id: Number(CUSTOMER) }, 200);
    await post(`${c}/mapping/preview`, `${at(c, HUBSPOT)}/mapping/preview`, { fields, customer_id: 999999 }, 404);
    await post(`${c}/mapping`, `${at(c, HUBSPOT)}/mapping`, { fields, based_on: 0 }, 409);
    await post(`${c}/mapping/rollback`, `${at(c, HUBSPOT)}/mapping/rollback`, { version: 1 }, 201);
    await post(`${c}/scope/preview`, `${at(c, HUBSPOT)}/scope/preview`, { kind: 'list', id: '42' }, 200);
    await post(`${c}/scope`, `${at(c, HUBSPOT)}/scope`, { kind: 'list', id: '4711' });
    await post(`${c}/scope/confirm-removals`, `${at(c, HUBSPOT)}/scope/confirm-removals`, undefined, 409);
    await post(`${c}/webhook-endpoint/repair`, `${at(c, STRIPE)}/webhook-endpoint/repair`, {}, 200);
    await post(`${c}/webhook-endpoint/test`, `${at(c, STRIPE)}/webhook-endpoint/test`, undefined, 200);
    await post(`${c}/webhook-endpoint/rotate-secret`, `${at(c, STRIPE)}/webhook-endpoint/rotate-secret`, {}, 200);
    await post(`${c}/webhook-endpoint/rotate-secret`, `${at(c, HUBSPOT)}/webhook-endpoint/rotate-secret`, {}, 400);
    await post(`${c}/links`, `${at(c, STRIPE)}/links`,
        { object_type: 'customer', record_id: 'cus_none', customer_id: 1 }, 404);
    await call('DELETE', `${c}/links/{object_type}/{record}`,
        `${at(c, STRIPE)}/links/customer/cus_none`, undefined, 404);
    await post('/api/v1/connections', '/api/v1/connections', { provider: 'hubspot', token: 'pat-wrong' });
    await post('/api/v1/connections/authorize', '/api/v1/connections/authorize',
        { provider: 'stripe', workspace: 'acme', mode: 'test' }, 200);
    await post(`${c}/disconnect`, '/api/v1/connections/999999/disconnect', undefined, 404);
    await post('/api/v1/workspaces/{workspace}/settings', '/api/v1/workspaces/acme/settings',
        { business_hours: 'Mon-Fri 08:00-18:00' }, 200);
    await post('/api/v1/workspaces/{workspace}/settings', '/api/v1/workspaces/nowhere/settings', {}, 404);
});

// The session is the test's in Perl.
called.add('POST /api/v1/session').add('DELETE /api/v1/session');
for (const [path, methods] of Object.entries(spec.paths)) {
    for (const method of Object.keys(methods)) {
        const key = `${method.toUpperCase()} ${path}`;
        ok(called.has(key), `${key} was called`);
    }
}
done();
