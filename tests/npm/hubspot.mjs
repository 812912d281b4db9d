/* The simulated HubSpot as HubSpot's own client sees it. */
import {
    account,
    control,
    done,
    hubspotSecret,
    hubspotToken,
    hubspotUrl,
    is,
    limitsOff,
    load,
    ok,
    part,
    portal,
    refused,
    truth,
    withFault,
} from './lib.mjs';

const { Client } = load('@hubspot/api-client');
const client = (more = {}) =>
    new Client({
        accessToken: hubspotToken,
        basePath: hubspotUrl,
        numberOfApiCallRetries: 0,
        ...more,
    });
const hubspot = client();
const here = `hubspot/${portal}`;
const list = '42';
const isoMs = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
const sorted = (ids) => [...ids].map(String).sort();

await limitsOff();
const companies = await truth(`${here}/companies`);
const contacts = await truth(`${here}/contacts`);
const members = (await truth(`${here}/lists/${list}/members`)).members;

await part('companies', async () => {
    const { basicApi, batchApi } = hubspot.crm.companies;
    const got = await hubspot.crm.companies.getAll(33, undefined, ['name', 'domain', 'plan']);
    is(
        sorted(got.map((c) => c.id)),
        sorted(companies.map((c) => c.id)),
        `getAll meets all ${companies.length}`,
    );
    const want = companies[1];
    const names = ['name', 'domain', 'hs_lastmodifieddate', 'createdate', 'nosuch'];
    const one = await basicApi.getById(want.id, names);
    is(one.properties.name, want.properties.name, 'a single read has what was asked for');
    is('nosuch' in one.properties, false, 'and not what nobody defined');
    ok(
        one.createdAt instanceof Date &&
            one.updatedAt instanceof Date &&
            !Number.isNaN(one.updatedAt.getTime()),
        'its times are times',
    );
    ok(isoMs.test(one.properties.hs_lastmodifieddate), 'a time in a property is ISO 8601');
    is(one.archived, false, 'it is not archived');
    const history = await basicApi.getById(want.id, ['name'], ['name']);
    ok(
        Array.isArray(history.propertiesWithHistory?.name) &&
            history.propertiesWithHistory.name[0].timestamp instanceof Date,
        'values with history',
    );
    const linked = await basicApi.getById(members[0], ['name'], undefined, ['contacts']);
    ok(
        linked.associations.contacts.results.length > 0 &&
            linked.associations.contacts.results.every((a) => a.id && a.type),
        'associations beside the record',
    );

    const ids = companies.slice(0, 100).map((c) => ({ id: c.id }));
    const batch = await batchApi.read({
        inputs: ids,
        properties: ['name'],
        propertiesWithHistory: [],
    });
    is(
        [batch.status, sorted(batch.results.map((r) => r.id))],
        ['COMPLETE', sorted(ids.map((i) => i.id))],
        'a batch of 100',
    );
    ok(
        batch.startedAt instanceof Date && batch.completedAt instanceof Date,
        'says when it was',
    );
    const mixed = await batchApi.read({
        inputs: [ids[0], { id: '7' }],
        properties: ['name'],
        propertiesWithHistory: [],
    });
    is(
        [mixed.results.length, mixed.numErrors, mixed.errors[0].context.ids],
        [1, 1, ['7']],
        'a batch with a missing id: the record, and the id among the errors',
    );
    await refused(
        batchApi.read({
            inputs: Array.from({ length: 101 }, (_, i) => ({ id: String(i + 1) })),
            properties: [],
            propertiesWithHistory: [],
        }),
        (e) => e.code === 400,
        'a batch of 101 is refused',
    );
    const people = await hubspot.crm.contacts.getAll(100, undefined, ['email']);
    is(people.length, contacts.length, 'contacts too');
    const email = contacts[1].properties.email;
    const byEmail = await hubspot.crm.contacts.basicApi.getById(
        email,
        ['email'],
        undefined,
        undefined,
        false,
        'email',
    );
    is(byEmail.id, contacts[1].id, 'a contact by its e-mail');
    const batchByEmail = await hubspot.crm.contacts.batchApi.read({
        inputs: [{ id: email }],
        idProperty: 'email',
        properties: ['email'],
        propertiesWithHistory: [],
    });
    is(
        batchByEmail.results.map((c) => c.id),
        [contacts[1].id],
        'and in a batch',
    );
});

await part('search', async () => {
    const { searchApi } = hubspot.crm.companies;
    const got = [];
    let after;
    let total;
    do {
        const page = await searchApi.doSearch({
            filterGroups: [
                {
                    filters: [
                        {
                            propertyName: 'lifecyclestage',
                            operator: 'EQ',
                            value: 'customer',
                        },
                    ],
                },
            ],
            sorts: ['hs_object_id'],
            properties: ['name', 'lifecyclestage'],
            limit: 40,
            after,
        });
        got.push(...page.results);
        total = page.total;
        after = page.paging?.next?.after;
    } while (after);
    const want = companies.filter((c) => c.properties.lifecyclestage === 'customer');
    is(
        [total, sorted(got.map((r) => r.id))],
        [want.length, sorted(want.map((r) => r.id))],
        'a filter, paged, meets every match',
    );
    ok(
        got.every((r) => r.properties.lifecyclestage === 'customer'),
        'and no other',
    );
    const since = String(Date.now() - 1);
    await control('PATCH', `${here}/companies/${members[0]}`, {
        properties: { plan: 'npm' },
        notify: false,
    });
    const fresh = await searchApi.doSearch({
        filterGroups: [
            {
                filters: [
                    {
                        propertyName: 'hs_lastmodifieddate',
                        operator: 'GTE',
                        value: since,
                    },
                ],
            },
        ],
        sorts: ['hs_lastmodifieddate'],
        properties: ['plan'],
        limit: 10,
    });
    is(
        fresh.results.map((r) => [r.id, r.properties.plan]),
        [[members[0], 'npm']],
        'what changed since a moment',
    );
    const some = await searchApi.doSearch({
        filterGroups: [
            {
                filters: [
                    {
                        propertyName: 'hs_object_id',
                        operator: 'IN',
                        values: members.slice(0, 3),
                    },
                ],
            },
        ],
        properties: ['name'],
        limit: 10,
    });
    is(sorted(some.results.map((r) => r.id)), sorted(members.slice(0, 3)), 'ids by IN');
    await refused(
        searchApi.doSearch({ limit: 201, properties: [] }),
        (e) => e.code === 400,
        'a page of 201 is refused',
    );
});

await part('lists', async () => {
    const { listsApi, membershipsApi } = hubspot.crm.lists;
    const one = (await listsApi.getById(list)).list;
    is(
        [one.listId, one.objectTypeId, one.processingType, one.processingStatus],
        [list, '0-2', 'DYNAMIC', 'COMPLETE'],
        'a list by its id',
    );
    const found = await listsApi.doSearch({ query: '', count: 50, offset: 0 });
    ok(found.lists.some((l) => l.listId === list) && found.total >= 4, 'a search finds them');
    for (const [name, method] of [
        ['in id order', 'getPage'],
        ['in the order of joining', 'getPageOrderedByAddedToListDate'],
    ]) {
        const got = [];
        let after;
        do {
            const page = await membershipsApi[method](list, after, undefined, 40);
            got.push(...page.results);
            after = page.paging?.next?.after;
        } while (after);
        is(sorted(got.map((m) => m.recordId)), sorted(members), `every member, ${name}`);
        ok(
            got.every((m) => m.membershipTimestamp instanceof Date),
            'with its time',
        );
    }
    const of = await membershipsApi.getLists('0-2', members[0]);
    ok(
        of.results.some((m) => m.listId === list),
        'the lists of a record',
    );
    await refused(
        listsApi.getById('99999'),
        (e) => e.code === 404,
        'a list that is not there: 404',
    );
});

await part('associations', async () => {
    const { batchApi, basicApi } = hubspot.crm.associations.v4;
    const inputs = members.slice(0, 100).map((id) => ({ id }));
    const answer = await batchApi.getPage('companies', 'contacts', { inputs });
    const of = new Map(answer.results.map((r) => [r._from.id, r.to]));
    ok(
        of.size > 0 && [...of.keys()].every((id) => members.includes(id)),
        'a batch of companies has its contacts',
    );
    const [company, to] = [...of].find(([, t]) => t.length > 0);
    ok(
        to[0].associationTypes.every((t) => t.category && t.typeId !== undefined),
        'with their types',
    );
    const got = [];
    let after;
    do {
        const page = await basicApi.getPage('companies', company, 'contacts', after, 2);
        got.push(...page.results);
        after = page.paging?.next?.after;
    } while (after);
    is(
        sorted(got.map((r) => r.toObjectId)),
        sorted(to.map((r) => r.toObjectId)),
        'one company, paged, has the same',
    );
    const ids = new Set(contacts.map((c) => c.id));
    ok(
        got.every((r) => ids.has(String(r.toObjectId))),
        'and they are contacts',
    );
});

await part('properties, owners, pipelines, account', async () => {
    const all = (await hubspot.crm.properties.coreApi.getAll('companies')).results;
    const one = all.find((p) => p.name === 'lifecyclestage');
    is(
        [one?.type, one?.fieldType],
        ['enumeration', one?.fieldType],
        'the properties of companies',
    );
    ok(
        all.every(
            (p) => p.name && p.label !== undefined && p.type && p.fieldType && p.groupName,
        ),
        'each with what the client needs',
    );
    const known = new Set(all.map((p) => p.name));
    ok(
        Object.keys(companies[0].properties).every((n) => known.has(n)),
        'every value of a company has its definition',
    );
    const byName = await hubspot.crm.properties.coreApi.getByName('companies', 'name');
    is(byName.name, 'name', 'a property by its name');
    const { ownersApi } = hubspot.crm.owners;
    const owners = [];
    let after;
    do {
        const page = await ownersApi.getPage(undefined, after, 2, false);
        owners.push(...page.results);
        after = page.paging?.next?.after;
    } while (after);
    ok(
        owners.length > 2 &&
            owners.every((o) => o.id && o.createdAt instanceof Date && !o.archived),
        'owners, paged',
    );
    is(
        (await ownersApi.getPage(owners[0].email)).results.map((o) => o.id),
        [owners[0].id],
        'an owner by e-mail',
    );
    is(
        (await ownersApi.getById(Number(owners[0].id))).email,
        owners[0].email,
        'an owner by id',
    );
    const pipelines = (await hubspot.crm.pipelines.pipelinesApi.getAll('deals')).results;
    ok(pipelines.length > 0 && pipelines[0].stages.length > 0, 'pipelines and their stages');
    const account = await hubspot.apiRequest({ path: '/account-info/v3/details' });
    is((await account.json()).portalId, Number(portal), 'account details');
    const dated = await hubspot.apiRequest({
        path: '/crm/objects/2026-03/companies/batch/read',
        method: 'POST',
        body: { inputs: [{ id: members[0] }], properties: ['name'] },
    });
    is(
        (await dated.json()).results.map((r) => r.id),
        [members[0]],
        'a path with a date in it',
    );
});

await part('errors', async () => {
    const { basicApi } = hubspot.crm.companies;
    await refused(
        basicApi.getById('7'),
        (e) => e.code === 404 && e.body.category === 'OBJECT_NOT_FOUND' && e.body.correlationId,
        '404 with category and correlation id',
    );
    await refused(
        client({ accessToken: 'pat-na1-wrong' }).crm.companies.basicApi.getPage(),
        (e) => e.code === 401 && e.body.category === 'INVALID_AUTHENTICATION',
        '401 with its category',
    );
    await control('POST', `${here}/tokens`, {
        token: 'pat-na1-narrow',
        scopes: ['oauth', 'crm.objects.companies.read'],
        kind: 'static',
    });
    const narrow = client({ accessToken: 'pat-na1-narrow' });
    ok(
        (await narrow.crm.companies.basicApi.getPage(1)).results.length === 1,
        'a narrow token reads its part',
    );
    await refused(
        narrow.crm.owners.ownersApi.getPage(),
        (e) =>
            e.code === 403 &&
            e.body.category === 'MISSING_SCOPES' &&
            JSON.stringify(e.body).includes('crm.objects.owners.read'),
        '403 names the scope',
    );
    await withFault({ provider: 'hubspot', error: 'rate-ten-secondly', times: -1 }, () =>
        refused(
            basicApi.getPage(),
            (e) => e.code === 429 && e.body.policyName === 'TEN_SECONDLY_ROLLING',
            '429 names the policy',
        ),
    );
    await withFault({ provider: 'hubspot', error: 'http-502', times: -1 }, () =>
        refused(basicApi.getPage(), (e) => e.code === 502, '502 with its page of HTML'),
    );
    await control('POST', 'faults', { provider: 'hubspot', error: 'rate-search', times: 1 });
    const patient = client({ numberOfApiCallRetries: 2 }); // means: two tries
    const found = await patient.crm.companies.searchApi.doSearch({ limit: 1, properties: [] });
    is(found.results.length, 1, 'the client tries a 429 of search again, by its words');
    client(); // what decorates the calls is one for all clients: without retries again
});

await part('OAuth', async () => {
    const uri = 'http://127.0.0.1:1/callback';
    const scopes = ['oauth', 'crm.objects.companies.read'];
    const url = new URL(
        hubspot.oauth.getAuthorizationUrl(
            'sim-hubspot-client',
            uri,
            scopes.join(' '),
            undefined,
            'state 1',
        ),
    );
    const walk = await fetch(`${hubspotUrl}${url.pathname}${url.search}`, {
        redirect: 'manual',
    });
    const back = new URL(walk.headers.get('location'));
    is(back.searchParams.get('state'), 'state 1', "the client's authorize URL leads back");
    const { tokensApi, accessTokensApi } = hubspot.oauth;
    const app = ['sim-hubspot-client', hubspotSecret];
    const token = await tokensApi.create(
        'authorization_code',
        back.searchParams.get('code'),
        uri,
        ...app,
    );
    ok(
        token.accessToken && token.refreshToken && token.expiresIn === 1800,
        'a code gives tokens',
    );
    const again = await tokensApi.create(
        'refresh_token',
        undefined,
        undefined,
        ...app,
        token.refreshToken,
    );
    ok(again.accessToken !== token.accessToken, 'a refresh gives another');
    const page = await client({
        accessToken: again.accessToken,
    }).crm.companies.basicApi.getPage(1);
    is(page.results.length, 1, 'which reads');
    const info = await accessTokensApi.get(again.accessToken);
    is([info.hubId, info.scopes], [Number(portal), scopes], 'and tells its account and scopes');
    await refused(
        tokensApi.create('refresh_token', undefined, undefined, ...app, 'wrong'),
        (e) => e.code === 400 && e.body.status === 'BAD_REFRESH_TOKEN',
        'a wrong one is refused',
    );
});

done();
