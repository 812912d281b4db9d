/* What the client tests share: checks told as TAP, the simulator's control API, a receiver of
 * webhooks. The packages are in a folder outside the source tree, named by NPM_FOLDER. */
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';

export const load = createRequire(path.resolve(process.env.NPM_FOLDER, 'tests.cjs'));
export const hubspotUrl = process.env.SIM_HUBSPOT;
export const stripeUrl = process.env.SIM_STRIPE;
export const portal = '1234567';
export const hubspotToken = 'pat-na1-sim-00000000-0000-0000-0000-000000000001';
export const hubspotSecret = 'sim-hubspot-secret';
export const account = 'acct_1SimDefault';
export const stripeKey = 'rk_test_sim000000000000000000000001';

// ---- checks ----

let checks = 0;

function told(value) {
    const text = JSON.stringify(value);
    return text === undefined ? String(value) : text.slice(0, 600);
}

export function diag(text) {
    for (const line of String(text).split('\n')) {
        console.log(`# ${line}`);
    }
}

export function ok(good, name, why) {
    checks++;
    console.log(`${good ? 'ok' : 'not ok'} - ${name}`);
    if (!good && why !== undefined) {
        diag(why);
    }
    return Boolean(good);
}

export function is(got, want, name) {
    return ok(isDeepStrictEqual(got, want), name, `got  ${told(got)}\nwant ${told(want)}`);
}

// The promise is refused, and in the way that `judge` accepts.
export async function refused(promise, judge, name) {
    try {
        const value = await promise;
        return ok(false, name, `it was answered: ${told(value)}`);
    } catch (e) {
        return ok(judge(e), name, `${e?.constructor?.name}: ${e?.message}`);
    }
}

// A part of a test: what it throws is a failed check, and the parts after it still run.
export async function part(name, body) {
    try {
        await body();
    } catch (e) {
        ok(false, name, e?.stack ?? e);
    }
}

// The last line tells the reader that no check was lost. Ends the script, because a client's timer
// would keep it alive for a minute more.
export function done() {
    process.stdout.write(`done ${checks}\n`, () => process.exit(0));
}

// ---- the simulator ----

export async function control(method, where, body) {
    const answer = await fetch(`${stripeUrl}/_sim/${where}`, {
        method,
        headers: { 'Content-Type': 'application/json' },
        body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) {
        throw new Error(`${method} /_sim/${where}: ${answer.status} ${text}`);
    }
    return text === '' ? undefined : JSON.parse(text);
}

export const truth = (where) => control('GET', where);

export async function withFault(fault, body) {
    const { id } = await control('POST', 'faults', fault);
    try {
        return await body();
    } finally {
        await control('DELETE', `faults/${id}`);
    }
}

// Limits are another test's matter.
export async function limitsOff() {
    await control('PATCH', `hubspot/${portal}`, {
        settings: { limit_general: 0, limit_search: 0, limit_associations: 0, limit_daily: 0 },
    });
    await control('PATCH', `stripe/${account}`, {
        settings: {
            limit_global_test: 0,
            limit_global_live: 0,
            limit_endpoint: 0,
            limit_search: 0,
        },
    });
}

// ---- Stripe's own client ----

export function stripeSetup() {
    const Stripe = load('stripe');
    const at = new URL(stripeUrl);
    const here = `stripe/${account}`;
    return {
        Stripe,
        errors: Stripe.errors,
        here,
        client: (key = stripeKey, more = {}) =>
            new Stripe(key, {
                protocol: 'http',
                host: at.hostname,
                port: at.port,
                maxNetworkRetries: 0,
                telemetry: false,
                ...more,
            }),
        async all(list) {
            const ids = [];
            for await (const record of list) {
                ids.push(record.id);
            }
            return ids;
        },
        // The ids that a list must give: newest first.
        idsOf: async (resource) => (await truth(`${here}/${resource}?ids=1`)).reverse(),
    };
}

// ---- webhooks ----

// Takes deliveries as they came: {path, headers, body}. `next` waits for the first that nobody
// took and that `wanted` accepts.
export async function receiver() {
    const came = [];
    let wake = () => {};
    const server = http.createServer((req, res) => {
        const parts = [];
        req.on('data', (d) => parts.push(d));
        req.on('end', () => {
            came.push({
                path: req.url,
                headers: req.headers,
                body: Buffer.concat(parts).toString('utf8'),
            });
            res.end();
            wake();
        });
    });
    await new Promise((started) => server.listen(0, '127.0.0.1', started));
    return {
        url: `http://127.0.0.1:${server.address().port}`,
        async next(wanted = () => true, withinMs = 10000) {
            const deadline = Date.now() + withinMs;
            for (;;) {
                const i = came.findIndex(wanted);
                if (i >= 0) {
                    return came.splice(i, 1)[0];
                }
                const left = deadline - Date.now();
                if (left <= 0) {
                    throw new Error('the delivery did not come');
                }
                await new Promise((resolve) => {
                    const timer = setTimeout(resolve, left);
                    wake = () => {
                        clearTimeout(timer);
                        resolve();
                    };
                });
            }
        },
        close() {
            server.closeAllConnections();
            server.close();
        },
    };
}

// The same text with one byte that differs, JSON still where it was JSON.
export function oneByteOff(text) {
    const at = text.search(/[0-9](?=[0-9]*[,}"])/);
    return text.slice(0, at) + (text[at] === '1' ? '2' : '1') + text.slice(at + 1);
}

export async function post(url, headers, body) {
    const answer = await fetch(url, { method: 'POST', headers, body });
    await answer.arrayBuffer();
    return answer.status;
}
