/* The simulated Stripe as Stripe's own client sees it. */
import {
    account,
    control,
    done,
    is,
    limitsOff,
    ok,
    part,
    refused,
    stripeKey,
    stripeSetup,
    stripeUrl,
    truth,
    withFault,
} from './lib.mjs';

const { client, errors, here, all, idsOf } = stripeSetup();
const stripe = client();

const sorted = (ids) => [...ids].sort();

await limitsOff();

await part('lists', async () => {
    const lists = {
        customers: [stripe.customers, {}],
        subscriptions: [stripe.subscriptions, { status: 'all' }],
        prices: [stripe.prices, {}],
        products: [stripe.products, {}],
        coupons: [stripe.coupons, {}],
        invoices: [stripe.invoices, {}],
        charges: [stripe.charges, {}],
        payment_intents: [stripe.paymentIntents, {}],
        invoice_payments: [stripe.invoicePayments, {}],
        promotion_codes: [stripe.promotionCodes, {}],
        refunds: [stripe.refunds, {}],
        credit_notes: [stripe.creditNotes, {}],
        disputes: [stripe.disputes, {}],
        subscription_schedules: [stripe.subscriptionSchedules, {}],
        'entitlements/features': [stripe.entitlements.features, {}],
    };
    for (const [resource, [api, filter]] of Object.entries(lists)) {
        const want = await idsOf(resource);
        const limit = Math.max(1, Math.ceil(want.length / 4));
        const got = await all(api.list({ limit: Math.min(limit, 100), ...filter }));
        is(got, want, `${resource}: auto-paging meets all ${want.length}, newest first`);
        if (want.length > 0) {
            const one = await api.retrieve(want[0]);
            is(one.id, want[0], `${resource}: retrieve gives the record asked for`);
        }
    }
});

await part('pages', async () => {
    const want = await idsOf('customers');
    const first = await stripe.customers.list({ limit: 3 });
    is(
        [first.object, first.url, first.has_more],
        ['list', '/v1/customers', true],
        'a page says what it is',
    );
    ok(/^req_/.test(first.lastResponse.requestId), 'and has a request id');
    const second = await stripe.customers.list({ limit: 3, starting_after: first.data[2].id });
    is(
        second.data.map((c) => c.id),
        want.slice(3, 6),
        'starting_after goes on',
    );
    const back = await stripe.customers.list({ limit: 3, ending_before: second.data[0].id });
    is(
        back.data.map((c) => c.id),
        want.slice(0, 3),
        'ending_before comes back',
    );
    const reversed = await all(
        stripe.customers.list({ limit: 50, ending_before: want.at(-1) }),
    );
    is(reversed, want.slice(0, -1).reverse(), 'auto-paging backwards meets the newer ones');
    const dated = await stripe.customers.list({
        limit: 100,
        created: { gte: first.data[2].created },
    });
    ok(
        dated.data.every((c) => c.created >= first.data[2].created) && dated.data.length >= 3,
        'a created filter as the client spells it',
    );
    const known = want.length && (await stripe.customers.retrieve(want.at(-1))).email;
    if (known) {
        const named = await stripe.customers.list({ email: known });
        ok(
            named.data.length > 0 && named.data.every((c) => c.email === known),
            'an e-mail filter',
        );
    }
});

await part('expansion', async () => {
    const big = (await truth(`${here}/subscriptions`)).find(
        (s) => s.items.total_count > 10 || s.items.data.length > 10,
    );
    const subscription = await stripe.subscriptions.retrieve(big.id, {
        expand: [
            'customer',
            'items.data.price.product',
            'latest_invoice',
            'discounts.source.coupon',
        ],
    });
    is(subscription.customer.object, 'customer', 'a customer is expanded');
    is(subscription.items.data[0].price.product.object, 'product', 'a product, through a list');
    ok(subscription.items.has_more, 'an embedded list shows ten and says that there is more');
    const items = await all(stripe.subscriptionItems.list({ subscription: big.id, limit: 5 }));
    is(items.length, big.items.data.length, 'its own list has them all');
    const page = await stripe.subscriptions.list({
        limit: 100,
        status: 'all',
        expand: ['data.latest_invoice', 'data.discounts.source.coupon'],
    });
    const discounted = page.data.find((s) => s.discounts.length > 0);
    is(discounted?.discounts[0].source.coupon.object, 'coupon', 'a coupon, from a list');
    const invoiced = page.data.find((s) => s.latest_invoice);
    ok(!invoiced || invoiced.latest_invoice.object === 'invoice', 'an invoice, from a list');
    const tiered = await stripe.prices.retrieve('price_1SimScaleGraduated');
    is(tiered.tiers, undefined, 'tiers are shown only when asked for');
    const shown = await stripe.prices.retrieve('price_1SimScaleGraduated', {
        expand: ['tiers'],
    });
    ok(shown.tiers.length > 1, 'and then they are');
    await refused(
        stripe.subscriptions.retrieve(big.id, { expand: ['nonsense'] }),
        (e) => e instanceof errors.StripeInvalidRequestError && e.statusCode === 400,
        'what cannot be expanded is refused',
    );
    await refused(
        stripe.subscriptions.list({ expand: ['data.items.data.price.product'] }),
        (e) =>
            e instanceof errors.StripeInvalidRequestError &&
            e.code === 'property_expansion_max_depth',
        'and so are five levels',
    );
});

await part('invoices and their lines', async () => {
    const whole = await truth(`${here}/invoices`);
    const most = whole.reduce((a, b) => (b.lines.data.length > a.lines.data.length ? b : a));
    const lines = [];
    for await (const line of stripe.invoices.listLineItems(most.id, { limit: 4 })) {
        lines.push(line.id);
    }
    is(
        lines,
        most.lines.data.map((l) => l.id),
        `all ${lines.length} lines of an invoice, in order`,
    );
    const ofOne = await all(stripe.invoices.list({ customer: most.customer, limit: 2 }));
    const want = whole
        .filter((i) => i.customer === most.customer)
        .map((i) => i.id)
        .reverse();
    is(ofOne, want, 'the invoices of one customer');
    const paid = await all(stripe.invoices.list({ status: 'paid', limit: 100 }));
    is(
        paid,
        whole
            .filter((i) => i.status === 'paid')
            .map((i) => i.id)
            .reverse(),
        'the paid ones',
    );
});

await part('search', async () => {
    const subscriptions = await truth(`${here}/subscriptions`);
    const active = subscriptions.filter((s) => s.status === 'active').map((s) => s.id);
    const found = await all(
        stripe.subscriptions.search({ query: "status:'active'", limit: 20 }),
    );
    is(sorted(found), sorted(active), 'auto-paging meets every active subscription');
    const one = (await truth(`${here}/customers`)).find((c) => c.email);
    const byEmail = await stripe.customers.search({ query: `email:'${one.email}'` });
    is(byEmail.object, 'search_result', 'a search says what it is');
    ok(
        byEmail.data.some((c) => c.id === one.id),
        'a customer by its e-mail',
    );
    const prices = await all(stripe.prices.search({ query: "active:'true'", limit: 100 }));
    const livePrices = (await truth(`${here}/prices`)).filter((p) => p.active).map((p) => p.id);
    is(sorted(prices), sorted(livePrices), 'active prices');
    const products = await all(stripe.products.search({ query: "active:'true'", limit: 100 }));
    const liveProducts = (await truth(`${here}/products`))
        .filter((p) => p.active)
        .map((p) => p.id);
    is(sorted(products), sorted(liveProducts), 'active products');
    const open = await all(stripe.invoices.search({ query: "status:'open'", limit: 100 }));
    const opened = (await truth(`${here}/invoices`)).filter((i) => i.status === 'open');
    is(sorted(open), sorted(opened.map((i) => i.id)), 'open invoices');
    await refused(
        stripe.customers.search({ query: 'nonsense' }),
        (e) => e instanceof errors.StripeInvalidRequestError && e.statusCode === 400,
        'a query that cannot be read is refused',
    );
});

await part('errors', async () => {
    await refused(
        stripe.customers.retrieve('cus_nobody'),
        (e) =>
            e instanceof errors.StripeInvalidRequestError &&
            e.statusCode === 404 &&
            e.code === 'resource_missing' &&
            e.param === 'id' &&
            /^req_/.test(e.requestId),
        '404: StripeInvalidRequestError with code, param and request id',
    );
    await refused(
        client('rk_test_wrong').customers.list(),
        (e) => e instanceof errors.StripeAuthenticationError && e.statusCode === 401,
        '401: StripeAuthenticationError',
    );
    await control('POST', `${here}/keys`, {
        key: 'rk_test_narrow0000000000000000001',
        permissions: ['customer_read'],
    });
    const narrow = client('rk_test_narrow0000000000000000001');
    ok(
        (await narrow.customers.list({ limit: 1 })).data.length === 1,
        'a narrow key reads its part',
    );
    await refused(
        narrow.prices.list(),
        (e) =>
            e instanceof errors.StripePermissionError &&
            e.statusCode === 403 &&
            e.code === 'more_permissions_required' &&
            e.message.includes("'plan_read'"),
        '403: StripePermissionError that names the permission',
    );
    await control('POST', `${here}/keys`, {
        key: 'rk_test_expired000000000000000001',
        expires_in_s: 3600,
    });
    await control('PATCH', `${here}/keys/rk_test_expired000000000000000001`, { expired: true });
    await refused(
        client('rk_test_expired000000000000000001').customers.list(),
        (e) => e instanceof errors.StripeAuthenticationError && e.code === 'api_key_expired',
        'an expired key: StripeAuthenticationError with its code',
    );
    await refused(
        stripe.customers.list({ nonsense: 1 }),
        (e) =>
            e instanceof errors.StripeInvalidRequestError &&
            e.code === 'parameter_unknown' &&
            e.param === 'nonsense',
        '400: an unknown parameter is named',
    );
    await refused(
        stripe.customers.list({ limit: 101 }),
        (e) => e instanceof errors.StripeInvalidRequestError && e.statusCode === 400,
        '400: a limit of 101',
    );
    const faults = [
        [{ error: 'rate-limit' }, errors.StripeRateLimitError, 429],
        [{ error: 'lock-timeout' }, errors.StripeRateLimitError, 429],
        [{ error: 'api-error' }, errors.StripeAPIError, 500],
        [{ error: 'account-invalid' }, errors.StripePermissionError, 403],
        [{ error: 'ip-allow-list' }, errors.StripePermissionError, 403],
    ];
    for (const [fault, kind, status] of faults) {
        await withFault({ provider: 'stripe', path: '/v1/', ...fault }, () =>
            refused(
                stripe.customers.list(),
                (e) => e instanceof kind && e.statusCode === status,
                `${fault.error}: ${kind.name}`,
            ),
        );
    }
    for (const [name, fault] of Object.entries({
        'a reset connection': { reset: true, times: -1 },
        'a body cut short': { truncate_bytes: 20, times: -1 },
    })) {
        await withFault({ provider: 'stripe', path: '/v1/', ...fault }, () =>
            refused(
                stripe.customers.list(),
                (e) => e instanceof errors.StripeError && !(e.statusCode >= 400),
                `${name} is no answer`,
            ),
        );
    }
    await withFault({ provider: 'stripe', path: '/v1/', error: 'html-502' }, () =>
        refused(
            stripe.customers.list(),
            (e) => e instanceof errors.StripeError,
            'a page of HTML is an error',
        ),
    );
    const patient = client(stripeKey, { maxNetworkRetries: 2 });
    await control('POST', 'faults', {
        provider: 'stripe',
        path: '/v1/',
        error: 'unavailable',
        times: 1,
    });
    ok(
        (await patient.customers.list({ limit: 1 })).data.length === 1,
        'the client tries a 503 again',
    );
    await control('POST', 'faults', {
        provider: 'stripe',
        path: '/v1/',
        error: 'api-error-no-retry',
    });
    await refused(
        patient.customers.list(),
        (e) => e instanceof errors.StripeAPIError,
        'and not what says that it should not be tried',
    );
});

await part('deleted records', async () => {
    const made = await control('POST', `${here}/customers`, {
        name: 'Gone soon',
        notify: false,
    });
    await control('DELETE', `${here}/customers/${made.id}`, { notify: false });
    const gone = await stripe.customers.retrieve(made.id);
    is(
        [gone.id, gone.object, gone.deleted],
        [made.id, 'customer', true],
        'a deleted customer says so, with 200',
    );
});

await part('an old version', async () => {
    const old = client(stripeKey, { apiVersion: '2023-08-16' });
    const page = await old.subscriptions.list({
        limit: 100,
        status: 'all',
        expand: ['data.customer'],
    });
    ok(
        page.data.every(
            (s) =>
                s.current_period_end > s.current_period_start &&
                s.customer.object === 'customer',
        ),
        'a subscription has its period',
    );
    is(
        page.data.find((s) => s.discount)?.discount.coupon.object,
        'coupon',
        'and one discount, with its coupon whole',
    );
    const invoices = (await old.invoices.list({ limit: 100 })).data;
    ok(
        invoices.some((i) => typeof i.subscription === 'string' && i.paid === true),
        'an invoice names its subscription and whether it is paid',
    );
    ok(
        invoices[0].lines.data.every((l) => l.price?.object === 'price'),
        'a line has its price',
    );
    const now = (await stripe.subscriptions.list({ limit: 1 })).data[0];
    ok(
        now.current_period_end === undefined && now.items.data[0].current_period_end > 0,
        'the newest has the period in its items',
    );
});

await part('OAuth', async () => {
    const platform = client('sk_test_simplatform0000000000000001');
    const back = 'http://127.0.0.1:1/callback';
    const walk = async () => {
        const answer = await fetch(
            `${stripeUrl}/oauth/v2/authorize?${new URLSearchParams({
                client_id: 'ca_sim0000000000000000000000000001',
                redirect_uri: back,
                state: 's 1',
            })}`,
            { redirect: 'manual' },
        );
        return new URL(answer.headers.get('location')).searchParams;
    };
    const grant = (form) => platform.rawRequest('POST', '/v1/oauth/token', form);
    const came = await walk();
    is(came.get('state'), 's 1', 'the walk leads back');
    const token = await grant({ grant_type: 'authorization_code', code: came.get('code') });
    is(token.stripe_user_id, account, 'a code gives a token of the account');
    const connected = client(token.access_token);
    is((await connected.accounts.retrieve()).id, account, 'which reads');
    const renewed = await grant({
        grant_type: 'refresh_token',
        refresh_token: token.refresh_token,
    });
    ok(
        renewed.access_token && renewed.access_token !== token.access_token,
        'and can be renewed',
    );
    await refused(
        grant({ grant_type: 'authorization_code', code: came.get('code') }),
        (e) =>
            e instanceof errors.StripeError &&
            e.statusCode === 400 &&
            /invalid_grant/.test(JSON.stringify([e.type, e.rawType, e.message, e.raw])),
        'a code works once',
    );
    await control('PATCH', here, { connected: true });
    is(
        (await platform.customers.list({ limit: 1 }, { stripeAccount: account })).data.length,
        1,
        'the platform acts on a connected account',
    );
    await refused(
        platform.customers.list({ limit: 1 }, { stripeAccount: 'acct_nobody' }),
        (e) => e instanceof errors.StripePermissionError && e.code === 'account_invalid',
        'and on no other',
    );
    is(
        (await client().customers.list({ limit: 1 })).data.length,
        1,
        'the account has its own key still',
    );
});

done();
