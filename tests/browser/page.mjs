/* The page in a browser, against the real programs and the simulator: the article's four checks
 * from symptom to mend, by mouse and by keyboard alone; every screen judged by axe, wide and at
 * 320 px, light and dark. Pictures go to SHOTS. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';

import { control, done, is, ok, part } from '../npm/lib.mjs';
import { LONG, browser, faults, forced, judge, keyboard, mouse, open, see, settle, until } from './lib.mjs';

const { BASE, DATABASE_URL, SHOTS, HUBSPOT, STRIPE, ADMIN_TOKEN, VIEWER_TOKEN, COMPANY } = process.env;
const PORTAL = '1234567';

const sql = (text) => execFileSync('psql', ['-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', DATABASE_URL, '-c', text], { encoding: 'utf8' }).trim();
const patchCompany = (properties, more = {}) => control('PATCH', `hubspot/${PORTAL}/companies/${COMPANY}`, { properties, ...more });
const saw = (page, text) => page.getByText(text).first().waitFor();
const ask = async (path) => (await fetch(`${BASE}/api/v1${path}`, { headers: { Authorization: `Bearer ${ADMIN_TOKEN}` } })).json();

/* Nothing of a connection waits or is in work: what is set now stays as it is. */
const idle = (id) => until(async () => {
    const { queue: q } = await ask(`/connections/${id}`);
    return q && q.leased === 0 && q.delayed === 0 && Object.values(q.waiting).every((n) => n === 0);
});

// ---- the article, step by step ----

async function checkOne(page, by) {
    // The user who installed it is gone: the next call is refused.
    await control('POST', `hubspot/${PORTAL}/user_removed`, {});
    sql(`update psync.credential set expires_at = now() - interval '1 minute' where connection_id = ${HUBSPOT}`);
    await see(page, `/admin/integrations/${HUBSPOT}`);
    // Workers know a connection for two seconds: changes come until one meets the refusal.
    await until(async (n) => {
        await patchCompany({ name: `Change ${n}` });
        return sql(`select state from psync.connection where connection_id = ${HUBSPOT}`) === 'reauthorize';
    }, 500);
    await patchCompany({ name: `Revoked by ${by.name}` });
    await page.locator('.banner').getByText('Reauthorize').first().waitFor();
    await saw(page, /Your field mapping is kept/);
    if (by.name === 'mouse') await judge(page, 'reauthorize');
    await by.press('button', 'Reauthorize');
    if (by.name === 'mouse') await judge(page, 'connect');
    await by.press('button', 'Sign in at HubSpot', page.getByRole('dialog'));
    await saw(page, 'HubSpot is connected.');
    await page.locator('.banner').getByText('Connected').waitFor();
    await until(() => sql(`select raw #>> '{properties,name}' from psync.record where record_id = '${COMPANY}'`) === `Revoked by ${by.name}`);
    ok(true, `check 1 by ${by.name}: after the walk what waited goes on by itself`);
    ok(page.url().startsWith(`${BASE}/admin/integrations/${HUBSPOT}`), `check 1 by ${by.name}: the walk ends on the same page`);
}

async function checkTwo(page, by) {
    await idle(STRIPE);
    await see(page, `/admin/integrations/${STRIPE}`);
    const clocks = page.getByRole('region', { name: 'When it was last in step' });
    // Again while it is looked for: a delivery or a catch-up in between is the good news it ought to be.
    await until(async () => {
        sql(`update psync.connection set last_full_success_at = now() - interval '3 days', channel_state = 'stale', probe_missed = 6, next_full_at = now() + interval '9 hours' where connection_id = ${STRIPE}`);
        return (await clocks.locator('.chip', { hasText: 'stale' }).count()) === 2;
    }, 1000);
    ok(true, `check 2 by ${by.name}: both timestamps say stale`);
    await by.press('button', 'Repair webhooks', clocks);
    const dialog = page.getByRole('dialog');
    await dialog.getByText(/signing secret/).waitFor();
    if (by.name === 'mouse') await judge(page, 'repair');
    await by.press('button', /Repair now|Check and repair anyway/, dialog);
    await dialog.getByText('Real-time works again.').waitFor();
    await dialog.getByText(/A signed test delivery was taken/).waitFor();
    if (by.name === 'mouse') await judge(page, 'repaired');
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    await by.press('button', 'Run sync now');
    await page.getByText(/Full sync \d+ done/).first().waitFor();
    await clocks.locator('> div', { hasText: 'Last full sync' }).locator('.chip', { hasText: 'fresh' }).waitFor();
    is(sql(`select full_health from psync_bi.connection_status where connection_id = ${STRIPE}`), 'fresh', `check 2 by ${by.name}: Run sync now mends the last full sync`);
}

async function checkThree(page, by) {
    await patchCompany({ annualrevenue: '1,2 Mio', name: `Wrong by ${by.name}` });
    await see(page, `/admin/integrations/${HUBSPOT}`);
    await by.press('link', 'View log');
    if (by.name === 'mouse') await by.press('switch', 'Errors only');
    else {
        await page.getByRole('heading', { level: 2, name: 'Log' }).waitFor();
        await settle(page);
        await page.keyboard.press('e');
    }
    await page.getByRole('button', { name: 'Remove filter Errors only' }).waitFor();
    const row = page.locator('tr', { hasText: 'Value does not fit the field' }).filter({ hasNotText: 'resolved' }).first();
    await until(async () => {
        if ((await row.count()) > 0) return true;
        await page.getByRole('button', { name: /newer, show/ }).first().click({ timeout: 500 }).catch(() => {});
        return false;
    });
    if (by.name === 'mouse') await row.locator('.row-link').click();
    else {
        await page.keyboard.press('j');
        for (let i = 0; i < 20 && !(await row.locator('.row-link').evaluate((e) => e === document.activeElement)); i += 1) await page.keyboard.press('j');
        await page.keyboard.press('Enter');
    }
    const drawer = page.getByRole('dialog');
    await drawer.getByText('What happened').waitFor();
    await drawer.getByText(COMPANY).first().waitFor();
    ok((await drawer.getByRole('region', { name: 'Response body' }).textContent()).includes('1,2 Mio'), `check 3 by ${by.name}: the row shows what the provider said`);
    await idle(HUBSPOT);
    await patchCompany({ annualrevenue: '1200000' }, { notify: false }); // so that only the retry mends it
    if (by.name === 'mouse') await by.press('button', 'Retry this record', drawer);
    else await page.keyboard.press('r');
    await drawer.getByText(/The retry succeeded|a later try succeeded/).first().waitFor();
    ok(true, `check 3 by ${by.name}: Retry this record mends it`);
    await page.keyboard.press('Escape');
    await drawer.waitFor({ state: 'detached' });
}

async function checkFour(page, by, customer) {
    await idle(HUBSPOT);
    sql(`update psync.customer set fields = fields || '{"industry": "edited by hand"}' where customer_id = ${customer}`);
    await see(page, `/admin/customers/${customer}`);
    await saw(page, 'edited by hand');
    await by.press('button', 'Actions for this customer');
    await by.press('menuitem', /Resync from HubSpot/);
    const dialog = page.getByRole('dialog');
    await dialog.getByText('edited here, will be overwritten').waitFor();
    if (by.name === 'mouse') await judge(page, 'resync');
    await by.press('button', 'Apply', dialog);
    await dialog.getByText('Pulled fresh from HubSpot.').first().waitFor();
    await by.press('button', 'Close', dialog.locator('.dialog-body'));
    is(sql(`select fields ->> 'industry' <> 'edited by hand' from psync.customer where customer_id = ${customer}`), 't', `check 4 by ${by.name}: Resync from HubSpot restores what the mapping covers`);
}

// ---- setting up, and the queue ----

async function chooseList(page, by) {
    const [{ name }] = (await ask(`/connections/${HUBSPOT}/scope/choices?kind=list`)).items.filter((x) => x.id === '42');
    await see(page, `/admin/integrations/${HUBSPOT}/scope`);
    await by.write('Find by name or id', 'nothing is called that');
    await saw(page, 'Nothing of that name.');
    await page.getByLabel('Find by name or id').fill('');
    await by.write('Find by name or id', name.slice(0, 9).toUpperCase());
    await by.press('radio', new RegExp(`^${name}.*members`));
    await by.press('button', 'Show the effect');
    await saw(page, /adds 0, keeps \d+, archives 0/);
    ok(true, `the list is found by name, by ${by.name}`);
    if (by.name !== 'mouse') return;
    await by.press('button', 'Mirror this');
    await page.locator('#said', { hasText: 'A full sync has started.' }).waitFor({ state: 'attached' });
    is(sql(`select scope_kind || ' ' || scope_id from psync.connection where connection_id = ${HUBSPOT}`), 'list 42', 'and mirrored');
}

async function previewOne(page, by) {
    await see(page, `/admin/integrations/${HUBSPOT}/mapping`);
    await page.getByLabel('Property of line 1').waitFor();
    const line = await page.locator('input[aria-label^="Field of line"]').evaluateAll((all) => all.findIndex((e) => e.value === 'name') + 1);
    await page.getByLabel(`Property of line ${line}`).fill('domain');
    await by.write('Find by name or domain', sql(`select fields ->> 'domain' from psync.customer where customer_id = ${customer}`));
    await page.locator(`#p-who option[value="${customer}"]`).waitFor({ state: 'attached' });
    await by.press('button', 'Preview');
    const row = page.getByRole('region', { name: 'Preview with one customer' }).locator('tbody tr', { has: page.locator('th', { hasText: /^name$/ }) });
    await row.getByText('Changes').waitFor();
    ok((await row.textContent()).includes(sql(`select fields ->> 'domain' from psync.customer where customer_id = ${customer}`)), `a mapping is tried on one customer by ${by.name}, and the line shows what it becomes`);
    if (by.name === 'mouse') await judge(page, 'preview-one');
    is(sql(`select count(*) from psync.mapping where connection_id = ${HUBSPOT} and fields::text like '%"name", "source": "domain"%'`), '0', 'nothing was saved');
}

async function pauseLane(page, by) {
    await see(page, '/admin/queue');
    await by.press('button', 'Pause Nightly');
    await page.locator('tr', { hasText: 'Nightly' }).getByText('Paused').waitFor();
    is((await ask('/queue')).queue.paused, ['nightly'], `a lane is paused by ${by.name}`);
    await by.press('button', 'Resume Nightly');
    await page.getByRole('button', { name: 'Pause Nightly' }).waitFor();
    await by.press('button', 'Pause all lanes');
    await page.getByRole('button', { name: 'Resume all lanes' }).waitFor();
    is((await ask('/queue')).queue.paused_all, true, 'or all of them');
    await by.press('button', 'Resume all lanes');
    await page.getByRole('button', { name: 'Pause all lanes' }).waitFor();
    is((await ask('/queue')).queue.paused, [], 'and go on');
}

// ---- ----

fs.mkdirSync(SHOTS, { recursive: true });
const customer = sql(`select customer_id from psync.record_link where record_id = '${COMPANY}'`);
const page = await open(null);

await part('signing in', async () => {
    await page.goto(`${BASE}/admin/integrations`);
    await page.getByLabel('Token').waitFor();
    await judge(page, 'sign-in');
    await page.getByLabel('Token').fill('pst_wrong');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('alert').waitFor();
    await judge(page, 'sign-in-wrong');
    await page.goto(`${BASE}/#token=${ADMIN_TOKEN}`);
    await page.getByRole('heading', { level: 1, name: 'Integrations' }).waitFor();
    ok(!page.url().includes('token'), 'a link that signs in leaves no token in the address');
    await page.getByText('in sync').first().waitFor();
});

await part('the first connection is by a sign-in', async () => {
    await page.goto(`${BASE}/admin/integrations/${HUBSPOT}`);
    await mouse(page).press('button', 'More');
    await mouse(page).press('menuitem', /Connect again/);
    await mouse(page).press('button', 'Sign in at HubSpot', page.getByRole('dialog'));
    await saw(page, 'HubSpot is connected.');
    is(sql(`select kind from psync.credential where connection_id = ${HUBSPOT}`), 'oauth', 'OAuth from the page, and back to it');
});

for (const how of [mouse, keyboard]) {
    const by = how(page);
    await part(`check 1 by ${by.name}`, () => checkOne(page, by));
    await part(`check 2 by ${by.name}`, () => checkTwo(page, by));
    await part(`check 3 by ${by.name}`, () => checkThree(page, by));
    await part(`check 4 by ${by.name}`, () => checkFour(page, by, customer));
}

for (const how of [mouse, keyboard]) {
    const by = how(page);
    await part(`preview by ${by.name}`, () => previewOne(page, by));
    await part(`list by ${by.name}`, () => chooseList(page, by));
    await part(`lanes by ${by.name}`, () => pauseLane(page, by));
}

await part('the quota over time', async () => {
    await until(() => sql("select count(*) from psync.gauge_sample where name = 'quota_calls'") !== '0', 500);
    await see(page, `/admin/integrations/${HUBSPOT}`);
    const picture = page.locator('figure', { hasText: 'Calls of the quota' });
    await picture.waitFor();
    ok(/most: [1-9][\d,]* calls/.test(await picture.textContent()), 'calls of the quota have a picture');
});

// Something to look at: one more wrong value, a script in a name, a reauthorize.
await patchCompany({ annualrevenue: 'about 3', name: '<img src=x onerror=alert(1)>' });
await part('every screen', async () => {
    await until(() => sql(`select count(*) from psync.attempt where record_id = '${COMPANY}' and error_message like '%about 3%'`) !== '0');
    const attempt = sql(`select max(attempt_id) from psync.attempt where record_id = '${COMPANY}' and status <> 'succeeded'`);
    const at = `/admin/integrations/${HUBSPOT}`;
    const screens = [
        ['integrations', '/admin/integrations'], ['integration', at], ['integration-stripe', `/admin/integrations/${STRIPE}`],
        ['log', `${at}/log`], ['log-errors', `${at}/log?errors=1&last=24h`], ['log-groups', `${at}/log?group=1`], ['log-nothing', `${at}/log?record=nobody&code=map_type_mismatch`],
        ['row', `${at}/log/${attempt}?errors=1`], ['mapping', `${at}/mapping`], ['scope', `${at}/scope`], ['scope-stripe', `/admin/integrations/${STRIPE}/scope`],
        ['webhooks', `/admin/integrations/${STRIPE}/webhooks`], ['activity', '/admin/activity'], ['customers', '/admin/customers'], ['customers-none', '/admin/customers?q=nobody-here'],
        ['customer', `/admin/customers/${customer}`], ['queue', '/admin/queue'], ['errors', '/admin/errors'], ['missing', '/admin/nothing'],
    ];
    // Two at a time, since judging keeps a processor busy; in windows of their own: a tab that is
    // behind another one need not be drawn.
    const second = await open(ADMIN_TOKEN);
    const judged = async (own) => {
        for (let next = screens.shift(); next; next = screens.shift()) {
            const [name, to] = next;
            await part(name, async () => {
                await see(own, to);
                await judge(own, name);
            });
        }
    };
    await Promise.all([judged(page), judged(second)]);
    await second.context().close();
    for (const [name, to] of [['integrations', '/admin/integrations'], ['integration', at], ['log-errors', `${at}/log?errors=1`], ['row', `${at}/log/${attempt}`], ['queue', '/admin/queue'], ['scope', `${at}/scope`]]) {
        await see(page, to);
        await forced(page, name);
    }
    await see(page, `/admin/customers/${customer}`);
    is(await page.evaluate(() => document.querySelectorAll('img').length), 0, 'a script in a name stays a text');
});

await part('dialogs', async () => {
    await page.goto(`${BASE}/admin/customers/${customer}`);
    await mouse(page).press('button', 'Actions for this customer');
    await judge(page, 'menu');
    await page.keyboard.press('Escape');
    await page.goto(`${BASE}/admin/integrations/${HUBSPOT}/log?errors=1`);
    await mouse(page).press('button', 'Retry all failed');
    await page.getByRole('dialog').getByText(/duplicates joined/).waitFor();
    await judge(page, 'retry-all');
    await page.goto(`${BASE}/admin/integrations/${HUBSPOT}`);
    await page.getByLabel(/Name, domain, e-mail/).fill('999999');
    await mouse(page).press('button', 'Check');
    await page.locator('.findings').waitFor();
    await judge(page, 'why');
    // What HubSpot says of its properties comes late, and moves nothing from under a pointer.
    let say;
    const said = new Promise((r) => { say = r; });
    await page.route('**/schema', async (r) => {
        await said;
        await r.continue();
    });
    await page.goto(`${BASE}/admin/integrations/${HUBSPOT}/mapping`);
    const dryRun = page.getByRole('button', { name: 'Dry run on all' });
    await dryRun.waitFor();
    await page.locator('h3', { hasText: 'Versions' }).waitFor();
    const before = await dryRun.boundingBox();
    say();
    await page.locator('.about', { hasText: '(string)' }).first().waitFor();
    is(await dryRun.boundingBox(), before, 'what the provider says late moves no button');
    await page.unrouteAll({ behavior: 'wait' });
    await mouse(page).press('button', 'Dry run on all');
    await page.getByText(/would change/).first().waitFor();
    await judge(page, 'dry-run');
    await page.keyboard.press('?');
    await page.getByRole('dialog').waitFor();
    await judge(page, 'keys');
});

/* An answer of the API with something else in it: states that take a provider hours to be in. */
const otherwise = (path, alter) => page.route(path, async (r) => {
    const answer = await r.fetch();
    const json = await answer.json();
    alter(json);
    await r.fulfill({ response: answer, json });
});

await part('states of an integration', async () => {
    const at = `/admin/integrations/${HUBSPOT}`;
    await see(page, at);
    await mouse(page).press('button', 'More');
    await judge(page, 'menu-integration');
    await mouse(page).press('menuitem', 'Run the four checks');
    await page.locator('.findings').waitFor();
    await judge(page, 'four-checks');
    await page.keyboard.press('Escape');
    await mouse(page).press('button', 'More');
    await mouse(page).press('menuitem', 'Disconnect');
    await judge(page, 'disconnect');
    await mouse(page).press('button', 'Keep', page.getByRole('dialog'));
    await mouse(page).press('button', 'More');
    await mouse(page).press('menuitem', 'Pause');
    await page.locator('.banner').getByText('Paused').waitFor();
    await otherwise(`**/api/v1/connections/${HUBSPOT}`, (c) => Object.assign(c, { throttled_until: new Date(Date.now() + 36e5).toISOString(), throttled_why: 'Rate limit of the day', full_health: 'stale' }));
    await see(page, at);
    await page.locator('.banner').getByText('Throttled').waitFor();
    await judge(page, 'paused-and-throttled');
    await page.unrouteAll({ behavior: 'wait' });
    await see(page, at);
    await mouse(page).press('button', 'More');
    await mouse(page).press('menuitem', 'Resume');
    await page.locator('.banner').getByText('Paused').waitFor({ state: 'detached' });
    // A run whose calls are answered late: its progress, and what a second person sees of it.
    const { id } = await control('POST', 'faults', { provider: 'hubspot', contains: 'batch/read', until_released: true, times: -1 });
    await mouse(page).press('button', 'Run sync now');
    await page.getByRole('region', { name: 'Full sync' }).waitFor();
    await page.getByText(/phase \d of 3: companies/).waitFor();
    await judge(page, 'running');
    is((await fetch(`${BASE}/api/v1/connections/${HUBSPOT}/runs`, { method: 'POST', headers: { Authorization: `Bearer ${ADMIN_TOKEN}` } })).status, 200, 'a second press shows the first run');
    await mouse(page).press('button', 'Cancel', page.getByRole('region', { name: 'Full sync' }));
    await control('DELETE', `faults/${id}`);
    await page.getByText(/Full sync \d+ cancelled/).first().waitFor();
    await judge(page, 'cancelled');
});

await part('states of webhooks', async () => {
    await see(page, `/admin/integrations/${HUBSPOT}/webhooks`);
    await judge(page, 'webhooks-hubspot');
    await see(page, `/admin/integrations/${STRIPE}/webhooks`);
    await mouse(page).press('button', 'Send a test event');
    await saw(page, 'The test delivery was taken');
    await judge(page, 'webhooks-tested');
    await mouse(page).press('button', 'Rotate the signing secret');
    await judge(page, 'rotate');
    await mouse(page).press('button', 'Rotate', page.getByRole('dialog'));
    await saw(page, 'Another secret is in force.');
    is(sql(`select cardinality(webhook_secrets) from psync.credential where connection_id = ${STRIPE}`), '2', 'a secret is turned, and the one until now stays good');
});

await part('states of the log', async () => {
    const log = `/admin/integrations/${HUBSPOT}/log`;
    await otherwise('**/api/v1/attempts?**', (list) => Object.assign(list, { items: [], next: null }));
    await see(page, `/admin/integrations/${STRIPE}/log?errors=1`);
    await saw(page, 'No errors in the last 30 days.');
    await judge(page, 'log-no-errors');
    await page.unrouteAll({ behavior: 'wait' });
    await see(page, `${log}?errors=1&unresolved=1`);
    await settle(page);
    await mouse(page).press('button', 'More filters');
    await page.getByLabel('Time', { exact: true }).selectOption('own');
    await page.getByLabel(/^From/).fill('2020-01-02T03:04');
    await page.getByRole('button', { name: /Remove filter From/ }).waitFor();
    ok(/from=2020-01-02T0\d%3A04/.test(page.url()), 'an own range is in the address', page.url());
    await settle(page);
    const tick = page.getByRole('checkbox', { name: new RegExp(`Choose company .*${COMPANY}`) }).first();
    await tick.check();
    await page.getByRole('button', { name: 'Retry 1 chosen' }).waitFor();
    await judge(page, 'log-chosen');
    await mouse(page).press('button', 'Retry 1 chosen');
    await saw(page, '1 record queued.');
    ok(true, 'those that were ticked are tried again');
    await page.getByLabel('Time', { exact: true }).selectOption('today');
    await page.getByRole('button', { name: 'Remove filter Today' }).waitFor();
    await settle(page);
    ok(page.url().includes('last=today'), 'today stays relative in the address');
    await see(page, '/admin/log?provider=hubspot');
    await page.locator('.row-link').first().waitFor();
    const rows = await page.locator('tbody tr').count();
    await patchCompany({ name: 'Comes while the log is read' });
    await page.getByRole('button', { name: /newer, show/ }).waitFor();
    is(await page.locator('tbody tr').count(), rows, 'the page stays put while rows arrive');
    await judge(page, 'log-all-newer');
});

await part('states of other screens', async () => {
    let go;
    const held = new Promise((r) => { go = r; });
    await page.route(/attempts(\/summary)?\?/, async (r) => {
        await held;
        await r.continue();
    });
    await see(page, `/admin/integrations/${HUBSPOT}/log`);
    await page.locator('.skeleton').waitFor();
    await judge(page, 'log-loading', { loading: true });
    go();
    await page.locator('.row-link').first().waitFor();
    await page.unrouteAll({ behavior: 'wait' });
    await page.route('**/api/v1/connections', (r) => r.fulfill({ contentType: 'application/json', body: '{"items":[],"next":null}' }));
    await see(page, '/admin/integrations');
    await saw(page, 'No integration yet.');
    await judge(page, 'integrations-none');
    await page.unrouteAll({ behavior: 'wait' });
    await page.route('**/api/v1/queue', (r) => r.fulfill({ status: 503, contentType: 'application/problem+json', body: JSON.stringify({ code: 'unavailable', detail: 'Redis is away.' }) }));
    await see(page, '/admin/queue');
    await saw(page, 'nothing is lost.');
    await judge(page, 'queue-failed');
    await page.unrouteAll({ behavior: 'wait' });
    await see(page, `/admin/integrations/${HUBSPOT}/activity`);
    await page.getByLabel('What').selectOption('connection.');
    await settle(page);
    await judge(page, 'activity-connections');
    await see(page, `/admin/integrations/${STRIPE}/scope`);
    await settle(page);
    const link = page.getByRole('button', { name: /^Link / }).first();
    if (await link.count()) {
        await link.click();
        await page.getByLabel('Customer by name or domain').fill('cedar');
        await page.getByRole('button', { name: /^Link to / }).first().waitFor();
        await settle(page);
        await judge(page, 'link');
        await page.keyboard.press('Escape');
    }
    sql(`update psync.customer set archived_at = now(), archived_why = 'deleted at HubSpot' where customer_id = ${customer}`);
    await see(page, `/admin/customers/${customer}`);
    await judge(page, 'customer-archived');
    await see(page, '/admin/customers?archived=yes');
    await judge(page, 'customers-archived');
    sql(`update psync.customer set archived_at = null, archived_why = null where customer_id = ${customer}`);
});

// The session is known before the first paint: what a window in the background, or a busy machine, does.
await part('a paint that comes late', async () => {
    const slow = await open(ADMIN_TOKEN);
    await slow.addInitScript(() => {
        const later = window.setTimeout;
        window.requestAnimationFrame = (f) => later(() => f(performance.now()), 2000);
        window.setTimeout = (f, ms, ...rest) => later(f, ms < 200 ? 2000 : ms, ...rest);
    });
    await see(slow, '/admin/integrations');
    ok(await slow.getByRole('heading', { name: 'Integrations' }).count(), 'the page is drawn all the same');
    await slow.context().close();
});

await part('who may not', async () => {
    const viewer = await open(VIEWER_TOKEN);
    await viewer.goto(`${BASE}/admin/integrations/${HUBSPOT}`);
    await saw(viewer, 'View log');
    is(await viewer.getByRole('button', { name: 'Run sync now' }).count(), 0, 'a viewer is shown no button that would be refused');
    await viewer.goto(`${BASE}/admin/integrations/${HUBSPOT}/mapping`);
    await saw(viewer, /needs the role admin/);
    await judge(viewer, 'viewer-mapping');
    await viewer.context().close();
});

await part('what fails', async () => {
    await page.goto(`${BASE}/admin/integrations/${HUBSPOT}/log/12345?errors=1`);
    await saw(page, 'This row is gone');
    await judge(page, 'row-gone');
    // 10 MB of what nobody expects, and then the row vanishes while it is looked at.
    const big = JSON.stringify({ status: 'error', message: '<img src=x onerror=alert(2)>', correlationId: 'c-10mb', pad: '<script>alert(3)</script>'.repeat(4e5) });
    await control('POST', 'faults', { provider: 'hubspot', contains: COMPANY, times: 1, status: 400, body: big });
    const answered = await (await fetch(`${BASE}/api/v1/connections/${HUBSPOT}/resync`, { method: 'POST', headers: { Authorization: `Bearer ${ADMIN_TOKEN}`, 'Content-Type': 'application/json' }, body: JSON.stringify({ record_id: COMPANY }) })).json();
    is(sql(`select length(body) <= 65536 from psync.attempt_body where attempt_id = ${answered.attempt_id}`), 't', `of ${big.length} bytes of an answer 64 KB are kept`);
    await see(page, `/admin/integrations/${HUBSPOT}/log/${answered.attempt_id}`);
    const drawer = page.getByRole('dialog');
    await drawer.getByText('cut at 64 KB').waitFor();
    const shown = await drawer.getByRole('region', { name: 'Response body' }).textContent();
    ok(shown.includes('onerror=alert(2)') && shown.length <= 65536, 'and shown as text');
    is(await page.evaluate(() => document.querySelectorAll('img, main script, dialog script').length), 0, 'of which nothing runs');
    await judge(page, 'row-10-mb');
    sql(`delete from psync.attempt_body where attempt_id = ${answered.attempt_id}; delete from psync.attempt where attempt_id = ${answered.attempt_id}`);
    await mouse(page).press('button', 'Retry this record', drawer);
    await drawer.getByRole('alert').waitFor();
    ok(/no such attempt|nothing of that number|gone|no attempt/i.test(await drawer.getByRole('alert').textContent()), 'a row that vanishes under the hand is told of', await drawer.getByRole('alert').textContent());
    await page.route('**/api/v1/attempts?**', (r) => r.fulfill({ status: 503, contentType: 'application/problem+json', body: JSON.stringify({ code: 'unavailable', detail: 'The database is away.' }) }));
    await page.goto(`${BASE}/admin/integrations/${HUBSPOT}/log`);
    await saw(page, 'Syncing goes on.');
    await judge(page, 'log-failed');
    await page.unrouteAll({ behavior: 'wait' });
    await page.goto(`${BASE}/admin/integrations`);
    await page.getByText('in sync').first().waitFor();
    await page.route('**/api/v1/events', (r) => r.abort());
    await page.context().setOffline(true);
    await page.locator('.offline').waitFor();
    await judge(page, 'offline');
    // The server is there, and cannot look itself.
    await page.unrouteAll({ behavior: 'wait' });
    await page.context().setOffline(false);
    await page.locator('.offline').waitFor({ state: 'detached', timeout: 3 * LONG });
    await page.route('**/api/v1/events', (r) => r.fulfill({ contentType: 'text/event-stream', body: 'retry: 200\nevent: stale\ndata: {}\n\n' }));
    await page.locator('.offline').waitFor();
    ok(true, 'a server that cannot look says so, and what is shown is called old');
    await page.context().setOffline(true);
    // A request that nobody answers, as behind a proxy that lost it: given up, and asked again.
    let held = 0;
    await page.unrouteAll({ behavior: 'wait' });
    await page.route('**/api/v1/events', () => { held += 1; }, { times: 1 });
    await page.context().setOffline(false);
    await page.locator('.offline').waitFor({ state: 'detached', timeout: 3 * LONG });
    is(held, 1, 'live updates come back by themselves, also behind a request that is lost');
});

await part('signing in at Stripe', async () => {
    const walk = async () => {
        await see(page, `/admin/integrations/${STRIPE}`);
        await mouse(page).press('button', 'More');
        await mouse(page).press('menuitem', /Connect again/);
        await mouse(page).press('button', 'Sign in at Stripe', page.getByRole('dialog'));
    };
    await control('POST', 'stripe/accounts', { account: 'acct_1Other', customers: 0 });
    await control('PATCH', 'stripe/oauth', { account: 'acct_1Other' });
    await walk();
    await saw(page, /acct_1Other.*belongs to acct_1SimDefault/);
    ok(true, 'another account is refused, and both are named');
    await judge(page, 'walk-refused');
    await control('PATCH', 'stripe/oauth', { account: 'acct_1SimDefault' });
    await walk();
    await saw(page, 'Stripe is connected.');
    ok(page.url().startsWith(`${BASE}/admin/integrations/${STRIPE}`), 'the walk at Stripe ends on the same page too');
    is(sql(`select kind from psync.credential where connection_id = ${STRIPE}`), 'oauth', 'with a token of Stripe');
    await judge(page, 'walked');
});

await part('disconnected', async () => {
    await see(page, `/admin/integrations/${STRIPE}`);
    await mouse(page).press('button', 'More');
    await mouse(page).press('menuitem', 'Disconnect');
    await mouse(page).press('button', /^Disconnect /, page.getByRole('dialog'));
    await page.locator('.banner .state').getByText('Disconnected').waitFor();
    await judge(page, 'disconnected');
    await see(page, '/admin/integrations');
    await page.locator('.card').first().locator('.chip', { hasText: 'Disconnected' }).waitFor();
    await judge(page, 'integrations-worst-first');
});

is(faults, [], 'no script failed and no policy was broken');
await browser.close();
done();
