/* What the simulated HubSpot delivers before HubSpot's own client, and what that client signs before
 * our gateway. */
import {
    control,
    done,
    hubspotSecret,
    hubspotToken,
    hubspotUrl,
    is,
    limitsOff,
    load,
    ok,
    oneByteOff,
    part,
    portal,
    post,
    receiver,
    refused,
    truth,
} from './lib.mjs';

const { Client, Signature } = load('@hubspot/api-client');
const client = (more = {}) =>
    new Client({
        accessToken: hubspotToken,
        basePath: hubspotUrl,
        numberOfApiCallRetries: 0,
        ...more,
    });
const here = `hubspot/${portal}`;

await limitsOff();
const { members } = await truth(`${here}/lists/42/members`);

const inbox = await receiver();
const decoded = (d) => JSON.parse(d.body);

function valid(delivery, url, version, secret = hubspotSecret) {
    return Signature.isValid({
        clientSecret: secret,
        method: 'POST',
        url,
        requestBody: delivery.body,
        signatureVersion: version,
        signature:
            delivery.headers[
                version === 'v3' ? 'x-hubspot-signature-v3' : 'x-hubspot-signature'
            ],
        timestamp: delivery.headers['x-hubspot-request-timestamp'],
    });
}

await part('webhooks', async () => {
    const publicUrl = 'https://gw.example.com/webhooks/hubspot';
    await control('POST', 'webhooks/config', {
        hubspot: {
            url: `${inbox.url}/hook`,
            public_url: publicUrl,
            client_secret: hubspotSecret,
        },
        retry_factor: 0.001,
    });
    await control('PATCH', `${here}/companies/${members[1]}`, {
        properties: { name: 'Åke & Söhne “GmbH” 株式会社' },
    });
    const delivery = await inbox.next();
    is(
        decoded(delivery).map((e) => [e.subscriptionType, e.objectId, e.propertyName])[0],
        ['company.propertyChange', Number(members[1]), 'name'],
        'a change is delivered',
    );
    ok(
        valid(delivery, publicUrl, 'v3'),
        'isValid accepts its v3 signature, over the public URL',
    );
    ok(valid(delivery, publicUrl, 'v1'), 'and its v1');
    is(
        valid({ ...delivery, body: oneByteOff(delivery.body) }, publicUrl, 'v3'),
        false,
        'one byte changed: refused',
    );
    is(valid(delivery, 'https://gw.example.com/other', 'v3'), false, 'another URL: refused');
    is(valid(delivery, publicUrl, 'v3', 'other'), false, 'another secret: refused');
    await control('POST', 'webhooks/send', {
        provider: 'hubspot',
        timestamp_offset_ms: -300500,
        events: [{ objectId: 1 }],
    });
    const stale = await inbox.next();
    await refused(
        (async () => valid(stale, publicUrl, 'v3'))(),
        (e) => /Timestamp/.test(e.message),
        'a stale delivery: refused as too old',
    );
    await control('POST', 'webhooks/send', {
        provider: 'hubspot',
        secret: 'wrong',
        events: [{ objectId: 1 }],
    });
    is(
        valid(await inbox.next(), publicUrl, 'v3'),
        false,
        'signed with a wrong secret: refused',
    );
});

await part('subscriptions', async () => {
    const developer = client({
        accessToken: undefined,
        developerApiKey: 'sim-hubspot-developer-key',
    });
    const { settingsApi, subscriptionsApi } = developer.webhooks;
    const appId = 1160452;
    const set = await settingsApi.configure(appId, {
        targetUrl: `${inbox.url}/target`,
        throttling: { maxConcurrentRequests: 10, period: 'SECONDLY' },
    });
    is(set.targetUrl, `${inbox.url}/target`, 'the target URL is set');
    const made = await subscriptionsApi.create(appId, {
        eventType: 'company.propertyChange',
        propertyName: 'name',
        active: true,
    });
    ok(made.id && made.active && made.createdAt instanceof Date, 'a subscription is made');
    ok(
        (await subscriptionsApi.getAll(appId)).results.some((s) => s.id === made.id),
        'and listed',
    );
    const paused = await subscriptionsApi.update(Number(made.id), appId, { active: false });
    is(paused.active, false, 'and paused');
    await subscriptionsApi.archive(Number(made.id), appId);
    await refused(
        subscriptionsApi.getById(Number(made.id), appId),
        (e) => e.code === 404,
        'and gone',
    );
    client();
});

// ---- our gateway ----

const gateway = process.env.GATEWAY;

await part('the gateway', async () => {
    const url = `${gateway}/webhooks/hubspot`;
    const event = JSON.stringify([
        {
            eventId: 1,
            subscriptionId: 2,
            portalId: Number(portal),
            appId: 1160452,
            occurredAt: Date.now(),
            subscriptionType: 'company.propertyChange',
            attemptNumber: 0,
            objectId: Number(members[2]),
            propertyName: 'name',
            propertyValue: 'Ünïcødé “Ltd” 株式',
            changeSource: 'CRM_UI',
        },
    ]);
    const signed = (body, more = {}) => {
        const timestamp = more.timestamp ?? Date.now();
        return {
            'Content-Type': 'application/json',
            'X-HubSpot-Request-Timestamp': String(timestamp),
            'X-HubSpot-Signature-v3': Signature.getSignature('POST', 'v3', {
                clientSecret: hubspotSecret,
                url,
                requestBody: body,
                ...more,
                timestamp,
            }),
        };
    };
    is(
        await post(url, signed(event), event),
        200,
        'it accepts what is signed as the client does',
    );
    is(await post(url, signed(event), oneByteOff(event)), 401, 'and not with one byte changed');
    is(
        await post(url, signed(event, { clientSecret: 'other' }), event),
        401,
        'nor signed with another secret',
    );
    is(
        await post(url, signed(event, { url: `${url}/other` }), event),
        401,
        'nor for another URL',
    );
    is(
        await post(url, signed(event, { timestamp: Date.now() - 301000 }), event),
        401,
        'nor 301 s old',
    );
    is(
        await post(
            url,
            {
                'X-HubSpot-Signature': Signature.getSignature('POST', 'v1', {
                    clientSecret: hubspotSecret,
                    requestBody: event,
                }),
            },
            event,
        ),
        401,
        'nor with the oldest signature alone',
    );

    await control('DELETE', 'webhooks/log');
    await control('POST', 'webhooks/config', { hubspot: { url, public_url: url } });
    await control('PATCH', `${here}/companies/${members[3]}`, { properties: { plan: 'gw' } });
    await control('POST', 'webhooks/flush', { deadline_ms: 10000 });
    const { attempts } = await truth('webhooks/log');
    is([...new Set(attempts.map((a) => a.status))], [200], 'and what the simulator sends');
});

inbox.close();
done();
