/* What the simulated Stripe delivers before Stripe's own client, and what that client signs before
 * our gateway. */
import {
    control,
    done,
    is,
    limitsOff,
    ok,
    oneByteOff,
    part,
    post,
    receiver,
    refused,
    stripeSetup,
    truth,
} from './lib.mjs';

const { Stripe, client, errors, here, all, idsOf } = stripeSetup();
const stripe = client();

await limitsOff();

const secrets = ['whsec_npm_first_000000000000000001', 'whsec_npm_second_00000000000000001'];
const inbox = await receiver();

await part('webhooks', async () => {
    await control('POST', 'webhooks/config', {
        stripe: { url: `${inbox.url}/hook`, secrets, mode: 'test' },
        retry_factor: 0.001,
    });
    const [target] = await idsOf('customers');
    await control('PATCH', `${here}/customers/${target}`, {
        name: 'Åke & Söhne “GmbH” 株式会社',
    });
    const delivery = await inbox.next((d) => d.body.includes('customer.updated'));
    const header = delivery.headers['stripe-signature'];
    for (const secret of secrets) {
        const event = stripe.webhooks.constructEvent(delivery.body, header, secret);
        is(
            [event.type, event.data.object.id, event.data.object.name],
            ['customer.updated', target, 'Åke & Söhne “GmbH” 株式会社'],
            'constructEvent accepts a delivery, with either secret of a rolling one',
        );
        const [t] = /t=(\d+)/.exec(header).slice(1);
        const own = stripe.webhooks.generateTestHeaderString({
            payload: delivery.body,
            secret,
            timestamp: Number(t),
        });
        ok(
            header.split(',').includes(own.split(',')[1]),
            'the client signs it with the same v1',
        );
    }
    const later = await stripe.webhooks.constructEventAsync(delivery.body, header, secrets[0]);
    is(later.livemode, false, 'constructEventAsync too');
    const bad = errors.StripeSignatureVerificationError;
    await refused(
        (async () =>
            stripe.webhooks.constructEvent(oneByteOff(delivery.body), header, secrets[0]))(),
        (e) => e instanceof bad,
        'one byte changed: refused',
    );
    await refused(
        (async () => stripe.webhooks.constructEvent(delivery.body, header, 'whsec_other'))(),
        (e) => e instanceof bad,
        'another secret: refused',
    );
    const named = await stripe.events.retrieve(JSON.parse(delivery.body).id);
    is(named.data.object.id, target, 'the event can be read by its id');
    is(
        await all(stripe.events.list({ limit: 100, type: 'customer.updated' })),
        (await idsOf('events')).filter((id) => id === named.id),
        'and is in the list of its type',
    );

    await control('POST', 'webhooks/send', {
        provider: 'stripe',
        timestamp_offset_ms: -400000,
        events: [{ type: 'customer.updated', object: { id: target, object: 'customer' } }],
    });
    const stale = await inbox.next();
    await refused(
        (async () =>
            stripe.webhooks.constructEvent(
                stale.body,
                stale.headers['stripe-signature'],
                secrets[0],
            ))(),
        (e) => e instanceof bad && /tolerance/.test(e.message),
        'a stale delivery: refused as too old',
    );
    await control('POST', 'webhooks/send', {
        provider: 'stripe',
        secret: 'whsec_wrong',
        events: [{ type: 'customer.updated', object: { id: target, object: 'customer' } }],
    });
    const wrong = await inbox.next();
    await refused(
        (async () =>
            stripe.webhooks.constructEvent(
                wrong.body,
                wrong.headers['stripe-signature'],
                secrets[0],
            ))(),
        (e) => e instanceof bad,
        'a delivery signed with a wrong secret on purpose: refused',
    );
    await control('POST', 'webhooks/config', { stripe: { thin: true } });
    await control('PATCH', `${here}/customers/${target}`, { name: 'Thin' });
    const thin = await inbox.next();
    const note = stripe.parseEventNotification(
        thin.body,
        thin.headers['stripe-signature'],
        secrets[0],
    );
    is(
        [note.type, note.related_object?.id],
        ['v1.customer.updated', target],
        'parseEventNotification accepts a thin event and knows what it is about',
    );
    is((await note.fetchRelatedObject()).name, 'Thin', 'it fetches the record');
    is((await note.fetchEvent()).id, note.id, 'and the whole event');
    await control('POST', 'webhooks/config', { stripe: { url: null } });
});

await part('an endpoint made by the client', async () => {
    const made = await stripe.webhookEndpoints.create({
        url: `${inbox.url}/made`,
        enabled_events: ['customer.updated'],
    });
    ok(/^whsec_/.test(made.secret), 'its secret is told once');
    is((await stripe.webhookEndpoints.retrieve(made.id)).secret, undefined, 'and not again');
    const [target] = await idsOf('customers');
    await control('PATCH', `${here}/customers/${target}`, { name: 'Once more' });
    const delivery = await inbox.next((d) => d.path === '/made');
    is(
        stripe.webhooks.constructEvent(
            delivery.body,
            delivery.headers['stripe-signature'],
            made.secret,
        ).data.object.name,
        'Once more',
        'it gets what it listens to, signed with it',
    );
    is((await stripe.webhookEndpoints.del(made.id)).deleted, true, 'and can be deleted');
});

// ---- our gateway ----

const gateway = process.env.GATEWAY;

await part('the gateway', async () => {
    const url = `${gateway}/webhooks/stripe/${process.env.STRIPE_CONNECTION}`;
    const secret = process.env.STRIPE_SECRET;
    const event = JSON.stringify(
        {
            id: 'evt_npm_1',
            object: 'event',
            api_version: Stripe.API_VERSION ?? null,
            created: Math.floor(Date.now() / 1000),
            livemode: false,
            type: 'customer.updated',
            pending_webhooks: 1,
            request: null,
            data: {
                object: { id: 'cus_npm_1', object: 'customer', name: 'Ünïcødé “Ltd” 株式' },
            },
        },
        null,
        2,
    );
    const signed = (payload, more = {}) => ({
        'Content-Type': 'application/json; charset=utf-8',
        'Stripe-Signature': stripe.webhooks.generateTestHeaderString({
            payload,
            secret,
            ...more,
        }),
    });
    is(await post(url, signed(event), event), 200, 'it accepts what the client signed');
    is(
        await post(url, signed(event), event.replace('cus_npm_1', 'cus_npm_2')),
        401,
        'and not with one byte changed',
    );
    is(
        await post(url, signed(event, { secret: 'whsec_other' }), event),
        401,
        'nor signed with another secret',
    );
    const past = Math.floor(Date.now() / 1000) - 400;
    is(await post(url, signed(event, { timestamp: past }), event), 401, 'nor 400 s old');
    is(await post(url, {}, event), 401, 'nor unsigned');

    await control('DELETE', 'webhooks/log');
    await control('POST', 'webhooks/config', {
        stripe: { url, secrets: ['whsec_rolled_out', secret], mode: 'test' },
    });
    const [target] = await idsOf('customers');
    await control('PATCH', `${here}/customers/${target}`, { name: 'To the gateway' });
    await control('POST', 'webhooks/flush', { deadline_ms: 10000 });
    const { attempts } = await truth('webhooks/log');
    is([...new Set(attempts.map((a) => a.status))], [200], 'and what the simulator sends');
});

inbox.close();
done();
