/* Every answer of the simulated HubSpot against the OpenAPI file of the calls that we make. */
import {
    control,
    done,
    hubspotSecret,
    hubspotToken,
    hubspotUrl,
    is,
    limitsOff,
    ok,
    part,
    portal,
    receiver,
    truth,
    withFault,
} from './lib.mjs';
import { Judge } from './openapi.mjs';

const here = `hubspot/${portal}`;
const appId = 1160452;
const judge = new Judge('hubspot/hubspot-dated-subset.openapi.json', {
    closed: true,
    mend(schemas) {
        // The prose says that archived owners have no user; the file was made from code that never
        // shows null.
        schemas.PublicOwner.properties.userId.nullable = true;
        // Every error body that is published begins with it, the file leaves it out.
        schemas.Error.properties.status = { type: 'string', enum: ['error'] };
        // How a file of the journal names the list is not published; without it the entry is no use.
        schemas.JournalFile.properties.journalEvents.items.properties.listId = {
            type: 'string',
        };
    },
});
const covered = new Set();

async function call(
    method,
    path,
    { body, form, token = hubspotToken, base = hubspotUrl } = {},
) {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    if (form) {
        headers['Content-Type'] = 'application/x-www-form-urlencoded';
    } else if (body) {
        headers['Content-Type'] = 'application/json';
    }
    const answer = await fetch(`${base}${path}`, {
        method,
        headers,
        redirect: 'manual',
        body: form ? new URLSearchParams(form).toString() : body && JSON.stringify(body),
    });
    const text = await answer.text();
    let json;
    try {
        json = text === '' ? undefined : JSON.parse(text);
    } catch {
        json = text;
    }
    return { status: answer.status, body: json, headers: answer.headers };
}

function fill(template, version, values) {
    return template.replace(/\{(\w+)\}/g, (_, name) =>
        encodeURIComponent(name === 'v' ? version : values[name]),
    );
}

// One call: its status is the one wanted and its body is as the file says.
async function judged(version, method, template, values, want, more = {}) {
    const query = more.query ? `?${more.query}` : '';
    const path = fill(template, version, values) + query;
    const { status, body } = await call(method.toUpperCase(), path, more);
    covered.add(`${version} ${method} ${template}`);
    const wrong = judge.wrongAnswer(method, template, status, body);
    ok(
        status === want && wrong === null,
        `${method} ${path.slice(0, 100)}: ${want}`,
        `${status}: ${wrong ?? JSON.stringify(body)?.slice(0, 300)}`,
    );
    return body;
}

await limitsOff();
await control('PATCH', here, { settings: { association_ids: 'string' } });

const members = (await truth(`${here}/lists/42/members`)).members;
const contacts = (await truth(`${here}/contacts?ids=1`)).map((r) => r.id ?? r);
await control('POST', `${here}/deals`, { properties: { dealname: 'A deal' }, notify: false });
await control('DELETE', `${here}/companies/${members[9]}`, { notify: false });
await control('POST', `${here}/tokens`, {
    token: 'pat-na1-nothing',
    scopes: ['oauth'],
    kind: 'static',
});
const owners = (await call('GET', '/crm/owners/2026-03?limit=100')).body.results;
await control('DELETE', `${here}/owners/${owners.at(-1).id}`);
const developer = { token: null, query: 'hapikey=sim-hubspot-developer-key' };
const objects = '/crm/objects/{v}/{objectType}';
const app = { client_id: 'sim-hubspot-client', client_secret: hubspotSecret };

for (const version of ['2026-03', '2026-09']) {
    await part(`${version} records`, async () => {
        for (const objectType of ['companies', 'contacts', 'deals', '0-2', '0-1']) {
            const of = { objectType };
            let after = '';
            do {
                const page = await judged(version, 'get', objects, of, 200, {
                    query: `limit=100&properties=name,email,plan,createdate&associations=contacts,companies${after}`,
                });
                after = page.paging?.next ? `&after=${page.paging.next.after}` : '';
            } while (after);
        }
        const of = { objectType: 'companies' };
        await judged(version, 'get', objects, of, 200, { query: 'archived=true' });
        await judged(version, 'get', objects, of, 200, {
            query: 'limit=50&propertiesWithHistory=name',
        });
        await judged(version, 'get', objects, of, 400, { query: 'limit=1000' });
        const one = { ...of, objectId: members[0] };
        const all = (await truth(`${here}/companies/${members[0]}`)).properties;
        const query = `properties=${Object.keys(all).join(',')}&associations=contacts,deals`;
        await judged(version, 'get', `${objects}/{objectId}`, one, 200, { query });
        await judged(version, 'get', `${objects}/{objectId}`, one, 200, {
            query: 'propertiesWithHistory=name,plan',
        });
        await judged(
            version,
            'get',
            `${objects}/{objectId}`,
            { ...of, objectId: members[9] },
            200,
            {
                query: 'archived=true',
            },
        );
        await judged(version, 'get', `${objects}/{objectId}`, { ...of, objectId: '7' }, 404);
        await judged(version, 'get', `${objects}/{objectId}`, one, 401, {
            token: 'pat-na1-wrong',
        });
        await judged(version, 'get', `${objects}/{objectId}`, one, 403, {
            token: 'pat-na1-nothing',
        });
        const batch = (ids, more = {}) => ({
            body: {
                inputs: ids.map((id) => ({ id })),
                properties: ['name'],
                propertiesWithHistory: [],
                ...more,
            },
        });
        const read = `${objects}/batch/read`;
        await judged(version, 'post', read, of, 200, batch(members.slice(10, 110)));
        await judged(
            version,
            'post',
            read,
            of,
            200,
            batch(members.slice(10, 20), { propertiesWithHistory: ['name'] }),
        );
        await judged(version, 'post', read, of, 207, batch([members[0], '7']));
        await judged(version, 'post', read, of, 400, batch([]));
        await judged(
            version,
            'post',
            read,
            { objectType: 'contacts' },
            200,
            batch(contacts.slice(0, 50)),
        );
        const search = `${objects}/search`;
        const filter = { propertyName: 'lifecyclestage', operator: 'EQ', value: 'customer' };
        await judged(version, 'post', search, of, 200, {
            body: {
                filterGroups: [{ filters: [filter] }],
                sorts: ['hs_object_id'],
                limit: 50,
                properties: ['name', 'plan'],
            },
        });
        await judged(version, 'post', search, of, 200, {
            body: { query: 'no such words at all' },
        });
        await judged(version, 'post', search, of, 400, { body: { limit: 1000 } });
    });

    await part(`${version} associations`, async () => {
        const to = { objectType: 'companies', objectId: members[0], toObjectType: 'contacts' };
        await judged(
            version,
            'get',
            `${objects}/{objectId}/associations/{toObjectType}`,
            to,
            200,
            { query: 'limit=1' },
        );
        await judged(
            version,
            'get',
            `${objects}/{objectId}/associations/{toObjectType}`,
            to,
            200,
        );
        const read = '/crm/associations/{v}/{fromObjectType}/{toObjectType}/batch/read';
        const pair = { fromObjectType: 'companies', toObjectType: 'contacts' };
        const inputs = members.slice(10, 110).map((id) => ({ id }));
        const known = await judged(version, 'post', read, pair, 200, { body: { inputs } });
        ok(known.results.length > 0, `${version}: and there are some`);
        await control('PATCH', here, { settings: { associations_missing: '207' } });
        await judged(version, 'post', read, pair, 207, {
            body: { inputs: [inputs[0], { id: '7' }] },
        });
        await control('PATCH', here, { settings: { associations_missing: 'absent' } });
        await judged(version, 'post', read, pair, 400, { body: { inputs: [] } });
    });

    await part(`${version} lists`, async () => {
        for (const listId of ['42', '43', '44', '45']) {
            await judged(version, 'get', '/crm/lists/{v}/{listId}', { listId }, 200);
        }
        await judged(version, 'get', '/crm/lists/{v}/{listId}', { listId: '42' }, 200, {
            query: 'includeFilters=true',
        });
        await judged(version, 'get', '/crm/lists/{v}/{listId}', { listId: '99999' }, 404);
        await judged(version, 'post', '/crm/lists/{v}/search', {}, 200, {
            body: { query: '', count: 50, offset: 0 },
        });
        for (const order of ['', '/join-order']) {
            const memberships = `/crm/lists/{v}/{listId}/memberships${order}`;
            let after = '';
            do {
                const page = await judged(version, 'get', memberships, { listId: '42' }, 200, {
                    query: `limit=100${after}`,
                });
                after = page.paging?.next ? `&after=${page.paging.next.after}` : '';
            } while (after);
            await judged(version, 'get', memberships, { listId: '43' }, 200);
        }
        await judged(
            version,
            'get',
            '/crm/lists/{v}/records/{objectTypeId}/{recordId}/memberships',
            { objectTypeId: '0-2', recordId: members[0] },
            200,
        );
    });

    await part(`${version} definitions`, async () => {
        for (const objectType of ['companies', 'contacts', 'deals', '0-2']) {
            await judged(
                version,
                'get',
                '/crm/properties/{v}/{objectType}',
                { objectType },
                200,
            );
        }
        await judged(version, 'get', '/crm/owners/{v}', {}, 200, { query: 'limit=2' });
        await judged(version, 'get', '/crm/owners/{v}', {}, 200, { query: 'limit=100' });
        await judged(version, 'get', '/crm/owners/{v}', {}, 200, { query: 'archived=true' });
        await judged(version, 'get', '/crm/owners/{v}', {}, 403, { token: 'pat-na1-nothing' });
        await judged(
            version,
            'get',
            '/crm/pipelines/{v}/{objectType}',
            { objectType: 'deals' },
            200,
        );
        await judged(version, 'get', '/account-info/{v}/details', {}, 200);
    });

    await part(`${version} errors`, async () => {
        for (const error of ['rate-ten-secondly', 'rate-daily', 'rate-search']) {
            await withFault({ provider: 'hubspot', error, times: -1 }, () =>
                judged(version, 'get', objects, { objectType: 'companies' }, 429),
            );
        }
        for (const [error, status] of [
            ['token-expired', 401],
            ['token-invalid', 401],
            ['missing-scopes', 403],
            ['not-found', 404],
            ['validation', 400],
        ]) {
            await withFault({ provider: 'hubspot', error, times: -1 }, () =>
                judged(version, 'get', objects, { objectType: 'companies' }, status),
            );
        }
    });

    await part(`${version} OAuth`, async () => {
        const uri = 'http://127.0.0.1:1/callback';
        const walk = await call(
            'GET',
            `/oauth/authorize?client_id=${app.client_id}&redirect_uri=${encodeURIComponent(
                uri,
            )}&scope=oauth%20crm.objects.companies.read&state=s`,
            { token: null },
        );
        const code = new URL(walk.headers.get('location')).searchParams.get('code');
        const token = (form, want) =>
            judged(version, 'post', '/oauth/{v}/token', {}, want, {
                token: null,
                form: { ...app, ...form },
            });
        const grant = { grant_type: 'authorization_code', redirect_uri: uri, code };
        const got = await token(grant, 200);
        await token(grant, 400);
        await token({ grant_type: 'refresh_token', refresh_token: got.refresh_token }, 200);
        await token({ grant_type: 'refresh_token', refresh_token: 'wrong' }, 400);
        const introspect = (form) =>
            judged(version, 'post', '/oauth/{v}/token/introspect', {}, 200, {
                token: null,
                form: { ...app, ...form },
            });
        await introspect({ token: got.access_token, token_type_hint: 'access_token' });
        await introspect({ token: got.refresh_token, token_type_hint: 'refresh_token' });
        is(
            await introspect({ token: 'wrong' }),
            { active: false },
            `${version}: a token nobody knows`,
        );
        await judged(version, 'post', '/oauth/{v}/token/revoke', {}, 200, {
            token: null,
            form: { ...app, token: got.refresh_token, token_type_hint: 'refresh_token' },
        });
    });

    await part(`${version} webhook settings`, async () => {
        const set = '/app-webhooks/{v}/{appId}/settings';
        await judged(version, 'put', set, { appId }, 200, {
            ...developer,
            body: {
                targetUrl: 'https://gw.example.com/h',
                throttling: { maxConcurrentRequests: 10, period: 'SECONDLY' },
            },
        });
        await judged(version, 'get', set, { appId }, 200, developer);
        const all = '/app-webhooks/{v}/{appId}/subscriptions';
        const made = await judged(version, 'post', all, { appId }, 201, {
            ...developer,
            body: { eventType: 'company.propertyChange', propertyName: 'name', active: true },
        });
        await judged(version, 'get', all, { appId }, 200, developer);
        const one = { appId, subscriptionId: made.id };
        await judged(version, 'get', `${all}/{subscriptionId}`, one, 200, developer);
        await judged(version, 'patch', `${all}/{subscriptionId}`, one, 200, {
            ...developer,
            body: { active: false },
        });
        await judged(version, 'delete', `${all}/{subscriptionId}`, one, 204, developer);
        await judged(version, 'get', `${all}/{subscriptionId}`, one, 404, developer);
        await judged(version, 'get', all, { appId }, 401, { token: 'wrong' });
    });

    await part(`${version} the journal`, async () => {
        await control('PATCH', `${here}/companies/${members[1]}`, {
            properties: { plan: version },
        });
        await control('POST', `${here}/lists/43/add`, { ids: [members[1]] });
        await control('POST', `${here}/lists/43/remove`, { ids: [members[1]] });
        const { body } = await call('POST', '/oauth/2026-03/token', {
            token: null,
            form: {
                ...app,
                grant_type: 'client_credentials',
                scope: 'developer.webhooks_journal.read',
            },
        });
        const token = body.access_token;
        const journal = '/webhooks-journal/journal/{v}';
        const first = await judged(version, 'get', `${journal}/earliest`, {}, 200, { token });
        const last = await judged(version, 'get', `${journal}/latest`, {}, 200, { token });
        await judged(
            version,
            'get',
            `${journal}/offset/{offset}/next`,
            { offset: last.currentOffset },
            204,
            { token },
        );
        for (const at of [first, last]) {
            const file = (await call('GET', at.url, { token: null, base: '' })).body;
            const wrong = judge.wrongRecord('JournalFile', file);
            ok(
                wrong === null && file.journalEvents.length > 0,
                `${version}: a journal file`,
                wrong,
            );
        }
    });
}

await part('coverage', async () => {
    await judged('2026-03', 'delete', '/appinstalls/{v}/external-install', {}, 204, {
        token: await (async () => {
            const walk = await call(
                'GET',
                `/oauth/authorize?client_id=${app.client_id}&redirect_uri=${encodeURIComponent(
                    'http://127.0.0.1:1/c',
                )}&scope=oauth`,
                { token: null },
            );
            const code = new URL(walk.headers.get('location')).searchParams.get('code');
            return (
                await call('POST', '/oauth/2026-03/token', {
                    token: null,
                    form: {
                        ...app,
                        grant_type: 'authorization_code',
                        redirect_uri: 'http://127.0.0.1:1/c',
                        code,
                    },
                })
            ).body.access_token;
        })(),
    });
    covered.add('2026-09 delete /appinstalls/{v}/external-install'); // once is enough: it ends the app
    const missed = Object.entries(judge.api.paths)
        .flatMap(([template, methods]) =>
            Object.keys(methods).flatMap((method) =>
                ['2026-03', '2026-09'].map((v) => `${v} ${method} ${template}`),
            ),
        )
        .filter((c) => !covered.has(c));
    is(missed, [], 'every call of the file was made, in both versions');
});

await part('deliveries', async () => {
    const inbox = await receiver();
    await control('POST', 'webhooks/drop', {});
    await control('POST', 'webhooks/config', {
        hubspot: { url: inbox.url, public_url: inbox.url },
    });
    await control('POST', 'mutate', { n: 100, provider: 'hubspot' });
    await control('POST', `${here}/companies/merge`, {
        primary: members[20],
        merged: [members[21]],
        new_id: true,
    });
    await control('POST', `${here}/associations`, {
        from: 'companies',
        from_id: members[22],
        to: 'contacts',
        to_id: contacts[0],
        primary: true,
    });
    await control('DELETE', `${here}/companies/${members[23]}`);
    await control('POST', `${here}/companies/${members[23]}/restore`, {});
    await control('POST', 'webhooks/flush', { deadline_ms: 10000 });
    const wrong = [];
    const kinds = new Set();
    for (;;) {
        const delivery = await inbox.next(() => true, kinds.size ? 50 : 5000).catch(() => null);
        if (!delivery) {
            break;
        }
        for (const event of JSON.parse(delivery.body)) {
            kinds.add(event.subscriptionType);
            const w = judge.wrongRecord('WebhookEvent', event);
            if (w) {
                wrong.push(`${event.subscriptionType}: ${w}`);
            }
        }
    }
    ok(
        wrong.length === 0 && kinds.size >= 6,
        `events are as the file says: ${[...kinds].sort().join(', ')}`,
        wrong.slice(0, 5).join('\n'),
    );
    inbox.close();
});

// The check must see a wrong answer, or it proves nothing.
await part('wrong answers', async () => {
    const of = { objectType: 'companies', objectId: members[0] };
    const damages = [
        ['get', objects, {}, '"id":"', '"id": 1, "di":"', 'an id that is a number'],
        ['get', objects, {}, '"createdAt"', '"cratedAt"', 'a time that is missing'],
        [
            'get',
            `${objects}/{objectId}`,
            {},
            '"archived":false',
            '"archived":"false"',
            'a boolean as text',
        ],
        [
            'get',
            `${objects}/{objectId}`,
            {},
            '"properties":{',
            '"properties":{"n":1,',
            'a value that is a number',
        ],
        [
            'get',
            '/crm/lists/{v}/{listId}/memberships',
            { listId: '42' },
            '"recordId"',
            '"record"',
            'a member without its id',
        ],
        ['get', '/crm/owners/{v}', {}, '"results"', '"result"', 'a page without results'],
    ];
    for (const [method, template, values, find, put, name] of damages) {
        const path = fill(template, '2026-03', { ...of, ...values });
        await withFault(
            { provider: 'hubspot', replace: [{ find, with: put }], times: -1 },
            async () => {
                const { status, body } = await call(method.toUpperCase(), path);
                ok(
                    status === 200 &&
                        judge.wrongAnswer(method, template, status, body) !== null,
                    `seen: ${name}`,
                    JSON.stringify(body).slice(0, 300),
                );
            },
        );
    }
    const unseen = [];
    for (const [template, methods] of Object.entries(judge.api.paths)) {
        for (const method of Object.keys(methods).filter((m) => m === 'get')) {
            const path = fill(template, '2026-03', {
                ...of,
                toObjectType: 'contacts',
                listId: '42',
                objectTypeId: '0-2',
                recordId: members[0],
                appId,
                subscriptionId: '1',
                offset: 'x',
            });
            await withFault(
                { provider: 'hubspot', status: 200, body: { damaged: true }, times: -1 },
                async () => {
                    const { status, body } = await call('GET', path);
                    if (judge.wrongAnswer(method, template, status, body) === null) {
                        unseen.push(template);
                    }
                },
            );
        }
    }
    is(unseen, [], 'another body is seen on every path');
});

done();
