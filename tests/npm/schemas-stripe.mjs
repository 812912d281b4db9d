/* Every answer of the simulated Stripe against Stripe's OpenAPI files, of the newest version and of
 * an old one, and its records against Stripe's own samples. */
import {
    account,
    control,
    done,
    is,
    limitsOff,
    ok,
    part,
    stripeKey,
    stripeUrl,
    truth,
    withFault,
} from './lib.mjs';
import { Judge, readJson } from './openapi.mjs';

const here = `stripe/${account}`;
const NEW = '2026-10-28.endive';
const OLD = '2023-08-16';

async function get(path, version, key = stripeKey) {
    const answer = await fetch(`${stripeUrl}${path}`, {
        headers: { Authorization: `Bearer ${key}`, 'Stripe-Version': version },
    });
    const text = await answer.text();
    return { status: answer.status, body: text === '' ? undefined : JSON.parse(text) };
}

await limitsOff();

// ---- what there is to ask for ----

const resources = [
    'charges',
    'coupons',
    'credit_notes',
    'customers',
    'disputes',
    'events',
    'invoice_payments',
    'invoices',
    'payment_intents',
    'plans',
    'prices',
    'products',
    'promotion_codes',
    'refunds',
    'subscription_items',
    'subscription_schedules',
    'subscriptions',
    'tax_ids',
    'entitlements/features',
    'entitlements/active_entitlements',
    'webhook_endpoints',
];
const ids = {};

await part('the account has one of everything', async () => {
    const customers = await truth(`${here}/customers?ids=1`);
    await control('PATCH', `${here}/customers/${customers[0]}`, { name: 'Another name' });
    await control('POST', `${here}/webhook_endpoints`, {
        url: 'http://127.0.0.1:9/hook',
        enabled_events: ['*'],
        notify: false,
    });
    await control('POST', `${here}/accounts`, {}).catch(() => {});
    for (const resource of resources) {
        ids[resource] = await truth(`${here}/${resource}?ids=1`);
        ok(ids[resource].length > 0, `there are ${resource}`);
    }
});

const gone = await (async () => {
    const made = await control('POST', `${here}/customers`, { name: 'Gone', notify: false });
    await control('DELETE', `${here}/customers/${made.id}`, { notify: false });
    return made.id;
})();

const subscription = (await truth(`${here}/subscriptions`))[0];
const searches = {
    customers: "metadata['source']:'sim'",
    charges: "status:'succeeded'",
    invoices: "status:'paid'",
    payment_intents: "status:'succeeded'",
    prices: "active:'true'",
    products: "active:'true'",
    subscriptions: "status:'active'",
};
// The customer who has the entitlement that is seeded.
async function entitledCustomer() {
    for (const id of ids.customers) {
        const path = `${here}/entitlements/active_entitlements?owner=${id}&ids=1`;
        if ((await truth(path)).length > 0) {
            return id;
        }
    }
    throw new Error('nobody is entitled to anything');
}

// What to ask for to see a path of the file: paths, the customers' with a deleted one.
async function pathsOf(template) {
    const [, , ...words] = template.split('/');
    if (template === '/v1/account' || words[0] === 'accounts') {
        return [template.replace('{account}', account)];
    }
    if (words.at(-1) === 'search') {
        return [`${template}?limit=100&query=${encodeURIComponent(searches[words[0]])}`];
    }
    if (words[2] === 'lines') {
        return ids.invoices.slice(0, 20).map((id) => `/v1/invoices/${id}/lines?limit=100`);
    }
    if (words.at(-1).startsWith('{')) {
        const resource = words.slice(0, -1).join('/');
        const all = ids[resource];
        const step = Math.max(1, Math.floor(all.length / 12));
        const some = all.filter((_, i) => i % step === 0);
        return [...some, ...(resource === 'customers' ? [gone] : [])].map(
            (id) => `/v1/${resource}/${id}`,
        );
    }
    if (template === '/v1/subscription_items') {
        return [`${template}?subscription=${subscription.id}&limit=100`];
    }
    if (template === '/v1/entitlements/active_entitlements') {
        return [`${template}?customer=${await entitledCustomer()}`];
    }
    return [`${template}?limit=100${template === '/v1/subscriptions' ? '&status=all' : ''}`];
}

// What an answer with everything expanded is asked with: the members that the schema marks, which
// the answer has.
function expandable(judge, record) {
    const own = judge.api.components.schemas[record?.object];
    return (own?.['x-expandableFields'] ?? []).filter(
        (name) => typeof record[name] === 'string' || name === 'discounts',
    );
}

const expansions = [
    [
        '/v1/subscriptions',
        'status=all&expand[]=data.customer&expand[]=data.latest_invoice',
        true,
    ],
    ['/v1/subscriptions', 'status=all&expand[]=data.discounts.source.coupon'],
    [
        '/v1/subscriptions',
        'status=all&expand[]=data.items.data.price&expand[]=data.latest_invoice.payments',
    ],
    ['/v1/subscriptions/{subscription_exposed_id}', 'expand[]=items.data.price.product', true],
    [
        '/v1/subscriptions/{subscription_exposed_id}',
        'expand[]=customer&expand[]=latest_invoice',
        true,
    ],
    [
        '/v1/prices',
        'expand[]=data.tiers&expand[]=data.currency_options&expand[]=data.product',
        true,
    ],
    ['/v1/products', 'expand[]=data.default_price', true],
    ['/v1/coupons', 'expand[]=data.applies_to', true],
    ['/v1/customers', 'expand[]=data.subscriptions&expand[]=data.tax_ids', true],
    [
        '/v1/invoices',
        'expand[]=data.customer&expand[]=data.payments&expand[]=data.discounts.source.coupon',
    ],
    ['/v1/invoices', 'expand[]=data.customer', true],
    ['/v1/charges', 'expand[]=data.customer&expand[]=data.payment_intent', true],
];

// The lists are checked whole, page by page, so that every record is seen once.
for (const [file, version] of [
    ['stripe/openapi-subset.json', NEW],
    ['stripe/openapi-subset-2023-08-16.json', OLD],
]) {
    // What Stripe adds without breaking anything shows in old versions too, so only the newest file
    // names every member.
    const judge = new Judge(file, { closed: version === NEW });
    let answers = 0;
    for (const template of Object.keys(judge.api.paths)) {
        await part(`${version} ${template}`, async () => {
            const wrong = new Set();
            let last;
            for (const path of await pathsOf(template)) {
                for (let next = path; next;) {
                    const { status, body } = await get(next, version);
                    answers++;
                    const w = judge.wrongAnswer('get', template, status, body);
                    if (w) {
                        wrong.add(`${next}\n${w}`);
                    }
                    last = body?.data?.[0] ?? (body?.data ? last : body) ?? last;
                    const more = body?.has_more && body.data?.length > 0;
                    next =
                        more && body.object === 'list'
                            ? `${path}&starting_after=${body.data.at(-1).id}`
                            : more && body.next_page
                              ? `${path}&page=${body.next_page}`
                              : null;
                }
            }
            for (const name of template.endsWith('}') ? expandable(judge, last) : []) {
                const path = `${template.replace(/\{.*\}/, last.id)}?expand[]=${name}`;
                const { status, body } = await get(path, version);
                answers++;
                const w = judge.wrongAnswer('get', template, status, body);
                if (w) {
                    wrong.add(`${path}\n${w}`);
                }
            }
            ok(wrong.size === 0, `${version} ${template}`, [...wrong].slice(0, 4).join('\n'));
        });
    }
    ok(answers > 150, `${version}: ${answers} answers`);

    await part(`${version} expansions`, async () => {
        const calls = version === NEW ? expansions : expansions.filter(([, , old]) => old);
        for (const [template, query] of calls) {
            const path = template.replace(/\{.*\}/, subscription.id);
            const { status, body } = await get(
                `${path}?limit=100&${query}`.replace(path === template ? '' : 'limit=100&', ''),
                version,
            );
            const w = judge.wrongAnswer('get', template, status, body);
            ok(w === null, `${version} ${template}?${query}`, w);
        }
    });

    await part(`${version} errors`, async () => {
        await control('POST', `${here}/keys`, {
            key: 'rk_test_schemas00000000000000001',
            permissions: [],
        });
        const calls = [
            ['/v1/customers/cus_nobody', stripeKey, 404],
            ['/v1/customers', 'rk_test_wrong', 401],
            ['/v1/customers', 'rk_test_schemas00000000000000001', 403],
            ['/v1/customers?limit=0', stripeKey, 400],
            ['/v1/customers?nonsense=1', stripeKey, 400],
        ];
        for (const [path, key, want] of calls) {
            const { status, body } = await get(path, version, key);
            is(
                [status, judge.wrongRecord('error', body)],
                [want, null],
                `${version} ${want}: ${path}`,
            );
        }
        for (const error of [
            'rate-limit',
            'endpoint-rate',
            'concurrency',
            'lock-timeout',
            'api-error',
            'api-key-expired',
            'more-permissions',
            'account-invalid',
            'ip-allow-list',
            'idempotency-in-use',
            'dependency-failed',
            'unavailable',
        ]) {
            await withFault({ provider: 'stripe', error, times: -1 }, async () => {
                const { status, body } = await get('/v1/customers', version);
                ok(
                    status >= 400 && judge.wrongRecord('error', body) === null,
                    `${version} ${status}: ${error}`,
                    judge.wrongRecord('error', body),
                );
            });
        }
    });

    await part(`${version} events`, async () => {
        const wrong = [];
        const kinds = new Set();
        // An event keeps the shape of the version that the account had when it was made.
        await control('PATCH', here, { api_version: version });
        await control('POST', 'mutate', { n: 200, provider: 'stripe' });
        await control('PATCH', here, { api_version: NEW });
        for (const event of (await get('/v1/events?limit=100', version)).body.data) {
            const { object } = event.data;
            if (version !== event.api_version) {
                continue;
            }
            const name = object.deleted ? `deleted_${object.object}` : object.object;
            if (!judge.api.components.schemas[name]) {
                continue; // a kind of object that this version did not know
            }
            kinds.add(object.object);
            const w = judge.wrongRecord(name, object);
            if (w) {
                wrong.push(`${event.type}: ${w}`);
            }
        }
        ok(
            wrong.length === 0 && kinds.size > 2,
            `${version}: what events hold (${[...kinds].sort().join(', ')})`,
            wrong.slice(0, 4).join('\n'),
        );
    });

    // The check must see a wrong answer, or it proves nothing.
    await part(`${version} wrong answers`, async () => {
        const unseen = [];
        for (const template of Object.keys(judge.api.paths)) {
            const [path] = await pathsOf(template);
            await withFault(
                { provider: 'stripe', body: { damaged: true }, status: 200, times: -1 },
                async () => {
                    const { status, body } = await get(path, version);
                    if (
                        body.damaged !== true ||
                        judge.wrongAnswer('get', template, status, body) === null
                    ) {
                        unseen.push(template);
                    }
                },
            );
        }
        is(unseen, [], `${version}: another body is seen on every path`);
        const damages = {
            'a boolean as text': ['"livemode": false', '"livemode": "false"'],
            'a time as text': ['"created": ', '"created": "x", "c": '],
            'a member that is missing': ['"id"', '"di"'],
            'another kind of object': ['"object": "customer"', '"object": "costumer"'],
            'null where none may be': ['"livemode": false', '"livemode": null'],
            'a list without has_more': ['"has_more"', '"has_moer"'],
        };
        for (const [name, [find, put]] of Object.entries(damages)) {
            await withFault(
                { provider: 'stripe', replace: [{ find, with: put }], times: -1 },
                async () => {
                    const { status, body } = await get('/v1/customers?limit=3', version);
                    ok(
                        judge.wrongAnswer('get', '/v1/customers', status, body) !== null,
                        `${version}: seen: ${name}`,
                    );
                },
            );
        }
    });
}

// ---- Stripe's own samples ----

const samples = readJson('stripe/fixtures3.json').resources;

// Samples that the schema refuses: the first member that it requires and the sample has not yet.
const SAMPLES_BEHIND = {
    account: 'specified_commercial_transactions_act_url',
    charge: 'electronic_commerce_indicator',
    dispute: 'intended_submission_method',
    payment_intent: 'allowed_payment_method_types',
    product: 'tax_details',
    subscription: 'feedback_option',
    subscription_item: 'current_trial',
    subscription_schedule: 'pause_schedules',
};

await part('samples', async () => {
    const judge = new Judge('stripe/openapi-subset.json');
    const behind = {};
    let judged = 0;
    for (const [name, sample] of Object.entries(samples)) {
        if (judge.api.components.schemas[name]?.properties?.object) {
            judged++;
            const w = judge.wrongRecord(name, sample);
            if (w) {
                behind[name] = /required property '(.*?)'/.exec(w)?.[1] ?? w;
            }
        }
    }
    is(
        [judged, behind],
        [37, SAMPLES_BEHIND],
        'the schemas accept 29 of 37 samples, the others are older',
    );
});

const kindOf = (v) => (v === null ? 'null' : Array.isArray(v) ? 'array' : typeof v);

// The kinds of value at each path of a record: {"items.data[].price": Set(object)}.
function shape(value, path, into) {
    const kind = kindOf(value);
    (into[path] ??= new Set()).add(kind);
    if (kind === 'array') {
        value.forEach((v) => shape(v, `${path}[]`, into));
    } else if (kind === 'object' && !path.endsWith('metadata')) {
        for (const [name, v] of Object.entries(value)) {
            shape(v, path ? `${path}.${name}` : name, into);
        }
    }
    return into;
}

function parentOf(path) {
    return path.endsWith('[]')
        ? path.slice(0, -2)
        : path.slice(0, Math.max(0, path.lastIndexOf('.')));
}

function differences(name, records, sample) {
    const got = {};
    records.forEach((r) => shape(r, '', got));
    const want = shape(sample, '', {});
    const found = [];
    for (const [path, kinds] of Object.entries(want)) {
        if (path === '' || path.endsWith('[]')) {
            continue;
        }
        if (!got[path]) {
            if (got[parentOf(path)]?.has('object')) {
                found.push(`${name} lacks ${path}`);
            }
            continue;
        }
        const a = [...kinds].filter((k) => k !== 'null');
        const b = [...got[path]].filter((k) => k !== 'null');
        if (a.length > 0 && b.length > 0 && !b.some((k) => a.includes(k))) {
            found.push(`${name} has ${b} instead of ${a} at ${path}`);
        }
    }
    for (const path of Object.keys(got)) {
        if (!want[path] && !path.endsWith('[]') && want[parentOf(path)]?.has('object')) {
            found.push(`${name} adds ${path}`);
        }
    }
    return found;
}

const NEWER = 'newer than the sample; in the OpenAPI file';
const OPTIONAL = 'optional: only where the account or the card has it';
const KNOWN = {
    'account lacks settings.bacs_debit_payments': OPTIONAL,
    'account lacks settings.card_issuing': OPTIONAL,
    'account lacks settings.invoices': OPTIONAL,
    'account lacks settings.payouts': OPTIONAL,
    'account lacks settings.sepa_debit_payments': OPTIONAL,
    'account adds business_profile.specified_commercial_transactions_act_url': NEWER,
    'charge lacks payment_method_details.card.extended_authorization': OPTIONAL,
    'charge lacks payment_method_details.card.incremental_authorization': OPTIONAL,
    'charge lacks payment_method_details.card.multicapture': OPTIONAL,
    'charge lacks payment_method_details.card.network_token': OPTIONAL,
    'charge lacks payment_method_details.card.overcapture': OPTIONAL,
    'charge lacks refunds': 'shown when expanded; the sample was made so',
    'charge adds outcome.risk_level': 'optional: the sample has no risk evaluation',
    'charge adds outcome.risk_score': 'optional: the sample has no risk evaluation',
    'charge adds payment_method_details.card.electronic_commerce_indicator': NEWER,
    'dispute adds evidence_details.submission_method': NEWER,
    'dispute adds intended_submission_method': NEWER,
    'invoice lacks subscription': 'gone since basil, the sample still has it',
    'invoice adds lines.data[].pricing.price_details':
        "optional: the sample's line has no price",
    'invoice_payment adds payment.payment_intent': 'the sample was paid by other means',
    'payment_intent adds allowed_payment_method_types': NEWER,
    'payment_intent adds payment_record': NEWER,
    'product adds tax_details': NEWER,
    'subscription adds cancellation_details.feedback_option': NEWER,
    'subscription adds items.data[].current_trial': NEWER,
    'subscription adds trial_settings.end_behavior.billing_cycle_anchor': NEWER,
    'subscription_schedule lacks default_settings.automatic_tax': OPTIONAL,
    'subscription_schedule adds pause_schedules': NEWER,
};

await part('shapes', async () => {
    const of = {
        charge: 'charges',
        coupon: 'coupons',
        credit_note: 'credit_notes',
        customer: 'customers',
        dispute: 'disputes',
        invoice: 'invoices',
        invoice_payment: 'invoice_payments',
        payment_intent: 'payment_intents',
        plan: 'plans',
        price: 'prices',
        product: 'products',
        promotion_code: 'promotion_codes',
        refund: 'refunds',
        subscription: 'subscriptions',
        subscription_schedule: 'subscription_schedules',
        tax_id: 'tax_ids',
        event: 'events',
        'entitlements.feature': 'entitlements/features',
        webhook_endpoint: 'webhook_endpoints',
    };
    const found = differences(
        'account',
        [(await get('/v1/account', NEW)).body],
        samples.account,
    );
    for (const [name, resource] of Object.entries(of)) {
        const records = (await get(`/v1/${resource}?limit=100`, NEW)).body.data;
        const sample = samples[name];
        if (name === 'event') {
            // what an event is about has a sample of its own
            [...records, sample].forEach((e) => {
                e.data = {};
            });
        }
        found.push(...differences(name, records, sample));
    }
    is(
        found.filter((d) => !KNOWN[d]),
        [],
        "records have the shape of Stripe's samples",
    );
    is(
        Object.keys(KNOWN).filter((d) => !found.includes(d)),
        [],
        'and every known difference is one',
    );
});

done();
