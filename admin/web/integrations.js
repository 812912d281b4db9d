// Integrations: the list, and the page of one with banner, two clocks, run, causes, webhooks.
import { ago, api, duration, get, go, html, Link, listed, may, num, outside, plural, post, say, sentence, Time, title, useAction, useAddress, useEffect, useGet, useMoved, useRef, useShared, useState, when } from './lib.js';
import { Bars, Busy, Chip, CopyButton, Dialog, Empty, Failure, Gauge, Loading, Menu, NeedsRole, Notice, ResultChip, StateChip } from './parts.js';

export const accountOf = (c) => [c.account_name, c.account_id && (c.provider === 'hubspot' ? `portal ${c.account_id}` : c.account_id)].filter(Boolean).join(' · ');
export const nameOf = (c) => `${title(c.provider)}${c.mode === 'test' ? ' (test mode)' : ''}`;
export const waitingOf = (c) => (c.queue ? Object.values(c.queue.waiting).reduce((a, b) => a + b, 0) + c.queue.delayed + c.queue.parked + c.queue.leased : null);
/* What somebody who helps wants to know of a connection. */
const factsOf = (c, what) => `pivotal-sync: ${what}\n${nameOf(c)}, ${accountOf(c) || 'no account'}, workspace ${c.workspace}, connection ${c.connection_id}\npage ${location.href}\nat ${new Date().toISOString()}`;
const path = (c) => `/admin/integrations/${c.connection_id}`;

// ---- connecting ----

const asked = {
    hubspot: 'companies, contacts, their schemas, lists and owners',
    stripe: 'customers, subscriptions, invoices and payment intents',
};

/** Sign in at the provider, or paste a token; the same for the first time and for Reauthorize. */
export function ConnectDialog({ provider, workspace, mode, account, onClose }) {
    const [token, setToken] = useState('');
    const walk = useAction(async () => {
        const { location: to } = await post('/connections/authorize', { provider, ...(workspace ? { workspace } : {}), ...(mode ? { mode } : {}) });
        location.assign(to);
    });
    const paste = useAction(async (e) => {
        e.preventDefault();
        const r = await post('/connections', { provider, token: token.trim(), ...(workspace ? { workspace } : {}), ...(account ? { account } : {}) });
        setToken('');
        onClose();
        go(`/admin/integrations/${r.connection_id}?walk=connected`);
    });
    return html`<${Dialog} title=${`Connect ${title(provider)}`} onClose=${onClose}>
        <p>We ask to read ${asked[provider]}. Nothing is ever written to ${title(provider)}. Best use a service user: the connection lasts as long as the person who agrees.</p>
        ${account ? html`<p>This connection belongs to account <strong>${account}</strong>. Choose that one; your field mapping is kept.</p>` : null}
        <${Failure} error=${walk.error} />
        <p><${Busy} class="main" busy=${walk.busy} onClick=${walk.act}>Sign in at ${title(provider)}<//></p>
        <details open=${walk.error?.code === 'not_configured'}>
            <summary>Use a token instead</summary>
            <form onSubmit=${paste.act}>
                <label for="token">${provider === 'hubspot' ? 'Private-app token' : 'Restricted key'}</label>
                <input id="token" type="password" autocomplete="off" required value=${token} onInput=${(e) => setToken(e.target.value)} />
                <${Failure} error=${paste.error} />
                <button type="submit" aria-disabled=${paste.busy}>Connect with this token</button>
            </form>
        </details>
    <//>`;
}

// ---- the list ----

function Card({ c, onConnect }) {
    const needs = c.state !== 'connected';
    const stale = (health) => (health === 'stale' ? html` <${Chip} kind="warn">stale<//>` : null);
    return html`<li class="card">
        <div class="card-head">
            <h2><${Link} to=${path(c)}>${nameOf(c)}<//></h2>
            <${StateChip} value=${c.state} />
            ${c.paused_at ? html`<${Chip} kind="warn">Paused<//>` : null}
        </div>
        <p class="muted break">${[accountOf(c) || 'No account yet', c.provider === 'stripe' && c.account_id ? c.mode : null, `workspace ${c.workspace}`].filter(Boolean).join(' · ')}</p>
        ${needs
        ? html`<p>${sentence(c.state_reason)}, since <${Time} at=${c.state_since} />. Your field mapping is kept.</p>`
        : html`<p>Incremental <${Time} at=${c.last_incremental_at} short />${stale(c.incremental_health)} · Full <${Time} at=${c.last_full_success_at} />${stale(c.full_health)}</p>`}
        <p><strong>${num(c.in_sync)}</strong> in sync · ${num(c.unwell.excluded ?? 0)} excluded · ${c.failing ? html`<${Link} to=${`${path(c)}/log?errors=1&unresolved=1`}>${plural(c.failing, 'record')} failing<//>` : '0 failing'}</p>
        ${needs && may('admin') ? html`<p><button type="button" class="main" onClick=${() => onConnect(c)} aria-label=${`${c.state === 'reauthorize' ? 'Reauthorize' : 'Connect'} ${nameOf(c)} of ${c.workspace}`}>${c.state === 'reauthorize' ? 'Reauthorize' : 'Connect'}</button></p>` : null}
    </li>`;
}

export function Integrations() {
    const { moved } = useMoved(null);
    const { data, error, loading, reload } = useGet('/connections', moved);
    const spaces = useGet('/workspaces');
    const [connecting, connect] = useState(null);
    const rows = data?.items ?? [];
    const free = [];
    for (const w of spaces.data?.items ?? []) {
        for (const p of ['hubspot', 'stripe']) {
            if (!rows.some((c) => c.workspace === w.name && c.provider === p)) free.push({ provider: p, workspace: w.name });
        }
    }
    return html`<h1 tabindex="-1">Integrations</h1>
        <${Failure} error=${error} what="The integrations could not be read." still="Syncing goes on." again=${reload} />
        ${loading ? html`<${Loading} lines=${4} what="Loading integrations" />` : null}
        ${data && rows.length === 0
        ? html`<${Empty}><p><strong>No integration yet.</strong> Connect HubSpot to see your customers here. Access is read-only: ${asked.hubspot}.</p>${spaces.data?.items.length === 0 ? html`<p>Make a workspace first: <code>pivotal-sync workspace add NAME</code></p>` : may('admin') ? null : html`<${NeedsRole} role="admin" />`}<//>` : null}
        <ul class="cards">${rows.map((c) => html`<${Card} key=${c.connection_id} c=${c} onConnect=${connect} />`)}</ul>
        ${may('admin') && free.length > 0 ? html`<h2>${rows.length > 0 ? 'Connect more' : 'Connect'}</h2><p class="row">${free.map((f) => html`<button type="button" key=${f.workspace + f.provider} onClick=${() => connect(f)}>Connect ${title(f.provider)} for ${f.workspace}</button>`)}</p>` : null}
        ${connecting ? html`<${ConnectDialog} ...${{ provider: connecting.provider, workspace: connecting.workspace, mode: connecting.mode, account: connecting.account_id }} onClose=${() => connect(null)} />` : null}`;
}

// ---- one: banner ----

/* Calls are held back: for how many milliseconds more. Shorter than least is not worth a word. */
const throttledOf = (c, least = 0) => {
    const left = c.throttled_until ? new Date(c.throttled_until) - Date.now() : 0;
    return left > least ? left : 0;
};

function Banner({ c, onConnect }) {
    const waiting = waitingOf(c) ?? 0;
    const promise = html`Your field mapping is kept. ${waiting > 0 ? `${plural(waiting, 'waiting change')} will be applied by ${waiting === 1 ? 'itself' : 'themselves'}.` : ''}`;
    const support = () => factsOf(c, `${c.state} since ${c.state_since}: ${c.state_reason} (${c.state_code || 'no code'})`);
    const by = c.connected_by ? ` by ${c.connected_by}` : '';
    if (c.state === 'reauthorize') {
        return html`<section class="banner error" aria-label="State of the connection">
            <p class="state"><${StateChip} value="reauthorize" /> <span>since <${Time} at=${c.state_since} /></span></p>
            <p>${sentence(c.state_reason)}. ${c.provider === 'hubspot' ? 'HubSpot does not say whether access ended or the app was removed; connecting again mends both.' : ''}</p>
            <p>${promise}</p>
            <p class="row">${may('admin') ? html`<button type="button" class="main" onClick=${onConnect}>Reauthorize</button>` : null}<${CopyButton} text=${support}>Copy for support<//></p>
            ${may('admin') ? null : html`<${NeedsRole} role="admin" />`}
        </section>`;
    }
    if (c.state === 'disconnected') {
        return html`<section class="banner idle" aria-label="State of the connection">
            <p class="state"><${StateChip} value="disconnected" /> <span>since <${Time} at=${c.state_since} /></span></p>
            <p>${sentence(c.state_reason)}.</p><p>${promise}</p>
            ${may('admin') ? html`<button type="button" class="main" onClick=${onConnect}>Connect</button>` : html`<${NeedsRole} role="admin" />`}
        </section>`;
    }
    const throttled = throttledOf(c, 5000);
    const needed = c.scopes?.length && c.scopes_needed ? c.scopes_needed : null;
    const missing = (needed ?? []).filter((s) => !c.scopes.includes(s));
    return html`<section class="banner ok" aria-label="State of the connection">
        <p class="state"><${StateChip} value="connected" /> <span class="muted">${by ? `${by.trim()} ` : ''}since <${Time} at=${c.state_since} />${needed ? html` · <span title=${c.scopes.join(', ')}>${needed.length - missing.length} of ${plural(needed.length, 'permission')}</span>` : ''}</span></p>
        ${missing.length ? html`<p><${Chip} kind="warn">Missing<//> ${listed(missing)}. Connect again with every box ticked.</p>` : null}
        ${c.paused_at ? html`<p><${Chip} kind="warn">Paused<//> by ${c.paused_by} <${Time} at=${c.paused_at} short />. What comes meanwhile waits and is applied afterwards.</p>` : null}
        ${throttled ? html`<p><${Chip} kind="info">Throttled<//> until <${Time} at=${c.throttled_until} seconds />: ${c.throttled_why || `the limit of ${title(c.provider)}`}. It goes on by itself.</p>` : null}
    </section>`;
}

// ---- one: the two clocks ----

const incremental = {
    fresh: ['ok', 'fresh', () => ''],
    quiet: ['idle', 'quiet', (c) => `No changes at ${title(c.provider)} since then, checked ${c.last_catch_up_at ? ago(c.last_catch_up_at) : 'just now'}.`],
    stale: ['warn', 'stale', (c) => (c.probe_missed > 0 ? `${title(c.provider)} had ${plural(c.probe_missed, 'change')} we did not get by webhook; the catch-up did.` : `Webhooks from ${title(c.provider)} are late. The nightly sync still picks up changes.`)],
    unknown: ['warn', 'unknown', (c) => `${title(c.provider)} could not be asked whether it is only quiet. The webhook channel may be broken.`],
    never: ['idle', 'never', () => 'No webhook has arrived yet.'],
    not_connected: ['idle', 'not connected', () => ''],
};

function Clocks({ c, onRepair, onWhy }) {
    const next = c.state === 'connected' ? c.next_full_at : null;
    const [kind, word, text] = incremental[c.incremental_health] ?? incremental.never;
    const run = c.last_run;
    const fullKind = { fresh: 'ok', stale: 'warn' }[c.full_health] ?? 'idle';
    return html`<section class="clocks" aria-label="When it was last in step">
        <div><h2>Last incremental update</h2>
            <p class="figure">${c.last_incremental_at ? html`<${Time} at=${c.last_incremental_at} short />` : 'never'} <${Chip} kind=${kind}>${word}<//></p>
            <p class="muted">${c.last_incremental_at ? html`<${Time} at=${c.last_incremental_at} />` : null}${c.last_incremental_at && text(c) ? ' · ' : ''}${text(c)}</p>
            <p class="row">${kind === 'warn' && may('admin') ? html`<button type="button" onClick=${onRepair}>Repair webhooks</button>` : null}
            ${may('operator') ? html`<button type="button" class="quiet" onClick=${onWhy}>Why?</button>` : null}</p></div>
        <div><h2>Last full sync</h2>
            <p class="figure">${c.last_full_success_at ? html`<${Time} at=${c.last_full_success_at} />` : 'never'} <${Chip} kind=${fullKind}>${c.full_health.replace('_', ' ')}<//></p>
            <p class="muted">${c.last_full_success_at ? html`<${Time} at=${c.last_full_success_at} short /> · ` : ''}${run ? html`${run.status !== 'succeeded' ? html`newest: <${ResultChip} status=${run.status} /> ` : ''}${num(run.seen)} seen, ${num(run.failed)} failed, took ${duration((run.seconds ?? 0) * 1000)}` : 'No full sync has run.'}</p>
            ${c.full_health === 'stale' ? html`<p class="muted">The nightly sync did not end well in time. Press Run sync now and watch the log.</p>` : null}</div>
        <div><h2>Next full sync</h2><p class="figure">${next ? html`<${Time} at=${next} />` : c.state === 'connected' ? 'not planned yet' : 'none'}</p><p class="muted">${next ? html`<${Time} at=${next} short />, ` : c.state === 'connected' ? '' : 'Planned again once it is connected, '}${c.tz}</p></div>
    </section>`;
}

// ---- one: run with live progress ----

const root = { hubspot: 'company', stripe: 'customer' }; // what a run's expected number counts
const many = { company: 'companies' };
export const manyOf = (type) => many[type] ?? `${(type ?? 'record').replaceAll('_', ' ')}s`;

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0;

/* How long the rest takes: at the median rate of the last 30 s, and never less than the quota
 * allows for the calls it costs. null = too early to tell. */
function remaining(list, left, run, quota) {
    const rates = list.slice(1).map((s, i) => ((s.seen - list[i].seen) / (s.at - list[i].at)) * 1000);
    const rate = list.at(-1).at - list[0].at >= 5000 ? median(rates) : 0;
    const allowed = Math.max(0, ...(quota ?? []).map((b) => b.full_rate_per_s ?? 0));
    const floor = allowed > 0 && run.seen > 0 ? (left * run.api_calls) / run.seen / allowed : 0;
    return { rate, seconds: rate > 0 ? Math.ceil(Math.max(left / rate, floor)) : null };
}

export function RunProgress({ c, run, onCancel, cancelling }) {
    const samples = useRef([]);
    const told = useRef(0);
    const now = Date.now();
    const list = samples.current;
    const of = root[c.provider];
    const seen = run.seen_by_type?.[of] ?? run.seen;
    const known = run.expected > 0;
    if (list.length === 0 || now - list.at(-1).at > 1000) list.push({ at: now, seen });
    while (list.length > 2 && now - list[0].at > 30000) list.shift();
    const left = known ? Math.max(0, run.expected - seen) : 0;
    const percent = known ? Math.min(100, Math.floor((seen / run.expected) * 100)) : null;
    const { rate, seconds } = remaining(list, left, run, c.quota);
    const text = known ? `${num(seen)} of ${num(run.expected)} (${percent} %)` : `${num(run.seen)} so far`;
    const phase = run.phase ? `phase ${Math.min((run.phases_done ?? 0) + 1, run.phases)} of ${run.phases}: ${manyOf(run.phase)}` : run.status;
    const other = run.phase && run.phase !== of && run.seen_by_type?.[run.phase] > 0 ? ` · ${manyOf(run.phase)}: ${num(run.seen_by_type[run.phase])} so far` : '';
    const waits = throttledOf(c, 2000);
    useEffect(() => {
        const step = Math.floor((percent ?? 0) / 10);
        if (percent !== null && step > told.current) {
            told.current = step;
            say(`Full sync: ${percent} percent.`);
        }
    }, [percent]);
    return html`<section class="run" aria-label="Full sync">
        <p><strong>Full sync ${run.run_id}</strong> · ${run.status === 'queued' ? 'queued' : phase} · started by ${run.requested_by || run.trigger}${run.started_at ? html` <${Time} at=${run.started_at} short />` : ''}</p>
        ${known ? html`<progress value=${seen} max=${run.expected} aria-label="Full sync" aria-valuetext=${text}></progress>` : html`<progress aria-label="Full sync" aria-valuetext=${text}></progress>`}
        <p>${text}${rate > 0 ? ` · ${rate >= 10 ? Math.round(rate) : rate.toFixed(1)}/s` : ''}${waits ? html` · waiting for the limit, goes on <${Time} at=${c.throttled_until} seconds />` : left > 0 && seconds !== null ? ` · about ${duration(Math.max(1, seconds) * 1000)} left` : ''}${other}</p>
        <p class="muted">${num(run.unchanged)} unchanged · ${num(run.updated)} updated · ${num(run.created)} new · ${num(run.failed)} failed${run.throttled_ms > 1000 ? ` · slowed by the limit of ${title(c.provider)}: ${duration(run.throttled_ms)} so far` : ''}</p>
        ${may('operator') ? html`<p><${Busy} busy=${cancelling} onClick=${onCancel}>Cancel<//></p>` : null}
    </section>`;
}

function Ended({ c, run, again }) {
    const words = { succeeded: ['ok', 'done'], partial: ['warn', `done with ${plural(run.failed, 'problem')}`], failed: ['error', `failed${run.phase ? ` at ${manyOf(run.phase)}` : ''}`], cancelled: ['idle', 'cancelled'] };
    const [kind, word] = words[run.status] ?? ['info', run.status];
    return html`<${Notice} kind=${kind} role="status"><p><strong>Full sync ${run.run_id} ${word}.</strong> ${run.status === 'succeeded' || run.status === 'partial' ? '' : `What was written is kept: `}${num(run.seen)} seen, ${num(run.unchanged)} unchanged, ${num(run.updated)} updated, ${num(run.created)} new${run.failed ? html`, <${Link} to=${`${path(c)}/log?run=${run.run_id}&errors=1`}>${plural(run.failed, 'failed record', 'failed records')}<//>` : ''}. ${run.error_message || ''}</p>
        ${run.status === 'failed' || run.status === 'partial' ? html`<p class="row">${run.status === 'failed' && may('operator') && c.state === 'connected' ? html`<button type="button" onClick=${again}>Run it again</button>` : null}<${CopyButton} text=${() => factsOf(c, `full sync ${run.run_id} ${word}: ${run.error_message || run.error_code || 'see the log'}`)}>Copy for support<//></p>` : null}<//>`;
}

/** Run sync now and what becomes of it. The button lives in the head of the page. */
export function useRun(c, figures, reload) {
    const watched = useRef(null);
    const [ended, setEnded] = useState(null);
    const start = useAction(async () => {
        const r = await post(`/connections/${c.connection_id}/runs`);
        watched.current = r.run_id;
        setEnded(null);
        say(r.started ? 'Full sync started.' : 'A full sync is running already.');
        reload();
        return r;
    });
    const cancel = useAction(async (id) => {
        await post(`/runs/${id}/cancel`);
        say('Cancelled. What was written is kept.');
        reload();
    });
    const newest = figures?.run ?? c.live_run;
    const live = newest && ['queued', 'running'].includes(newest.status) ? newest : null;
    if (live) watched.current = live.run_id;
    useEffect(() => {
        if (!live && watched.current && newest?.run_id === watched.current) {
            const id = watched.current;
            watched.current = null;
            get(`/runs/${id}`).then(setEnded, () => {});
            reload();
        }
    }, [live === null, newest?.run_id, newest?.status]);
    return { start, cancel, live, ended };
}

// ---- one: causes, webhooks, checks ----

function Attention({ c, moved }) {
    const { data, error, loading, reload } = useGet(`/connections/${c.connection_id}/attention`, moved);
    const retry = useAction(async (cause) => {
        const q = `connection=${c.connection_id}&code=${cause.error_code}${cause.error_field ? `&field=${cause.error_field}` : ''}`;
        let next = '';
        let n = 0;
        for (let i = 0; i < 1000; i += 1) {
            const r = await post(`/attempts/retry?${q}`, next ? { next } : {});
            n += r.retried;
            next = r.next;
            if (!next) break;
        }
        say(`${plural(n, 'record')} will be tried again.`);
        reload();
    });
    return html`<section aria-labelledby="attention"><h2 id="attention">Needs attention</h2>
        <${Failure} error=${error ?? retry.error} again=${reload} quiet />
        ${loading ? html`<${Loading} lines=${2} />` : null}
        ${data?.items.length === 0 ? html`<${Empty} good><p>Nothing needs attention.</p><//>` : null}
        ${data?.items.length ? html`<table class="cards-narrow"><caption class="hidden">What failed, by cause</caption>
            <thead><tr><th scope="col">Cause</th><th scope="col">Detail</th><th scope="col" class="n">Records</th><th scope="col">Last seen</th><th scope="col"><span class="hidden">Actions</span></th></tr></thead>
            <tbody>${data.items.map((a) => html`<tr key=${a.error_code + a.error_field}>
                <td data-label="Cause"><${Chip} kind=${a.severity === 'error' ? 'error' : 'warn'}>${a.error_title ?? a.error_code}<//></td>
                <td data-label="Detail" class="break">${a.error_field ? `${a.error_code.startsWith('map_') ? 'field: ' : ''}${a.error_field}` : '–'}</td><td data-label="Records" class="n">${num(a.records)}</td>
                <td data-label="Last seen"><${Time} at=${a.last_at} short /></td>
                <td class="row"><${Link} class="button" to=${`${path(c)}/log?unresolved=1&code=${a.error_code}${a.error_field ? `&field=${encodeURIComponent(a.error_field)}` : ''}`} aria-label=${`Open ${a.error_title}`}>Open<//>
                ${may('operator') && a.retry !== 'never' ? html`<${Busy} busy=${retry.busy} onClick=${() => retry.act(a)} aria-label=${`Retry all ${a.records} of ${a.error_title}`}>${a.records === 1 ? 'Retry' : `Retry all ${num(a.records)}`}<//>` : null}</td></tr>`)}</tbody></table>` : null}
    </section>`;
}

/* A time as the database writes it, as people read it. */
const inWords = (text) => text.replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?[+-]\d\d(:\d\d)?/g, (at) => when(new Date(at.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00')).toISOString()));

export function FindingList({ findings }) {
    const words = { ok: ['ok', 'Fine'], cause: ['error', 'Cause'], skipped: ['idle', 'Skipped'] };
    const cause = findings.find((f) => f.verdict === 'cause');
    return html`<ol class="findings">${findings.map((f, i) => html`<li key=${i}><${Chip} kind=${words[f.verdict][0]}>${words[f.verdict][1]}<//> <strong>${f.check}</strong><br />${inWords(f.text)}</li>`)}</ol>
        ${cause ? html`<${Notice} kind="warn"><p><strong>${inWords(cause.text)}.</strong> ${cause.mend}</p><p class="row">${cause.error_code ? html`<${Link} to=${`/admin/errors#${cause.error_code}`}>What this error means<//>` : null}<${CopyButton} text=${() => findings.map((f) => `${f.verdict}: ${f.check} ${f.text}`).concat(location.href).join('\n')}>Copy for support<//></p><//>`
        : html`<${Notice} kind="ok"><p>Nothing is wrong.</p><//>`}`;
}

export function Diagnose({ c, customer, onClose }) {
    const run = useAction(() => post(`/connections/${c.connection_id}/diagnose`, customer ? { customer_id: customer } : {}));
    const [found, set] = useState(null);
    useEffect(() => {
        run.act().then((r) => {
            if (r) {
                set(r);
                say('The checks are done.');
            }
        });
    }, []);
    return html`<${Dialog} title="The four checks" onClose=${onClose} wide>
        ${run.busy ? html`<${Loading} what=${`Checking, and asking ${title(c.provider)}`} />` : null}
        <${Failure} error=${run.error} />
        ${found ? html`<${FindingList} findings=${found.items} />` : null}<//>`;
}

const endpointSteps = (w) => [
    [w.found, w.found ? `There is an endpoint (${w.id})` : 'There is no endpoint for this connection'],
    [w.enabled, w.enabled ? 'It is switched on' : 'It is switched off'],
    [w.events_ok, w.events_ok ? 'It hears of every kind of change' : `It does not hear of ${w.missing || 'all that is mirrored'}`],
    [w.secret_known, w.secret_known ? 'Its signing secret is known here' : 'Its signing secret is not known here'],
];

/* What was missed is asked for and queued by the server; until its catch-up has ended, and how
 * many records it brought. */
async function caughtUp(c, since) {
    for (let i = 0; i < 60; i += 1) {
        const now = await get(`/connections/${c.connection_id}`);
        if (now.last_catch_up_at && new Date(now.last_catch_up_at) >= since) break;
        if (i === 59) return null;
        await new Promise((done) => setTimeout(done, 500));
    }
    const after = BigInt(since.getTime()) << 20n;
    const s = await get(`/attempts/summary?connection=${c.connection_id}&trigger=catch-up,reconnect&newer_than=${after}`);
    return s.count;
}

function Repair({ c, onClose, reload }) {
    const status = useGet(`/connections/${c.connection_id}/webhook-endpoint`);
    const [done, set] = useState(null); // the endpoint after it
    const [test, setTest] = useState(null);
    const [caught, setCaught] = useState(undefined); // undefined: not asked for, null: still on its way
    const mend = useAction(async (anew, changes) => {
        const since = new Date();
        const r = await post(`/connections/${c.connection_id}/webhook-endpoint/repair`, { anew });
        set(r);
        if (r.supported && !r.problem) {
            setTest(await post(`/connections/${c.connection_id}/webhook-endpoint/test`));
            if (changes) {
                setCaught(null);
                setCaught(await caughtUp(c, since));
            }
        }
        say(r.problem || 'Webhooks are as they should be.');
        reload();
    });
    const w = done ?? status.data;
    const step = (kind, word, text) => html`<li><${Chip} kind=${kind}>${word}<//> ${text}</li>`;
    return html`<${Dialog} title="Repair webhooks" onClose=${onClose} wide>
        ${status.loading ? html`<${Loading} what=${`Asking ${title(c.provider)}`} />` : null}
        <${Failure} error=${status.error ?? mend.error} again=${status.reload} />
        ${w && !w.supported ? html`<p>${title(c.provider)} keeps its webhooks in the app that is installed. Check there that the subscriptions are on and that their address is this gateway; what was missed is being asked for meanwhile.</p>` : null}
        ${w?.supported ? html`<ol class="findings">
            ${endpointSteps(w).map(([ok, text]) => step(ok ? 'ok' : 'warn', ok ? 'Fine' : 'To mend', text))}
            ${test ? step(test.problem ? 'warn' : 'ok', test.problem ? 'Refused' : 'Fine', test.problem ? `A signed test delivery: ${test.problem}` : `A signed test delivery was taken in ${duration(Math.max(1, test.took_ms))}`) : null}
            ${caught === undefined ? null : step(caught === null ? 'info' : 'ok', caught === null ? 'Asked' : 'Fine', caught === null ? `${title(c.provider)} is asked for what was missed` : `What was missed was asked for: ${plural(caught, 'record')} caught up`)}
        </ol><p class="muted break">${w.url}</p>
        ${done && !done.problem && !test?.problem ? html`<${Notice} kind="ok" role="status"><p><strong>Real-time works again.</strong> Checked <${Time} at=${new Date().toISOString()} />.</p><//>` : null}
        ${w.problem ? html`<p>To mend: ${w.problem}.</p>` : null}
        ${!done ? html`<${Busy} class="main" busy=${mend.busy} onClick=${() => mend.act(w.found && !w.secret_known, Boolean(w.problem))}>${w.problem ? 'Repair now' : 'Check and repair anyway'}<//>` : null}` : null}
    <//>`;
}

const verdicts = { accepted: 'accepted', duplicate_event: 'duplicates', joined: 'joined', stale_event: 'old', ignored: 'ignored', wh_signature_invalid: 'bad signatures', wh_signature_missing: 'without signature', wh_timestamp_old: 'too old', unknown_account: 'unknown account' };
const seconds = (s) => (s === null || s === undefined ? '–' : `${s.toFixed(1)} s`);

const families = { general: 'calls', api: 'calls', search: 'search', associations: 'associations', oauth: 'sign-in' };

/* The windows of one account's quota, as bars with words. */
export function Quota({ buckets, account }) {
    return buckets.map((b) => {
        const closed = Math.max(b.closed_until_ms ?? 0, b.breaker_open_until_ms ?? 0);
        const name = `${account ? `${title(b.provider)} ${b.account.replace(':live', '').replace(':test', ' (test)')}: ` : ''}${b.ration === undefined ? families[b.family] ?? b.family : `reads of ${b.month}`}`;
        if (b.ration !== undefined) return html`<${Gauge} key=${`${b.account} reads`} label=${name} value=${b.used} max=${Math.max(b.ration, b.used, 1)} text=${`${num(b.used)} of ${num(b.ration)}`} />`;
        const text = closed > Date.now() ? `closed until ${when(new Date(closed).toISOString(), true)}` : `${b.used} of ${b.burst} at once, ${b.rate_per_s.toFixed(1)}/s`;
        return html`<${Gauge} key=${`${b.account} ${b.family}`} label=${name} value=${closed > Date.now() ? b.burst || 1 : b.used} max=${b.burst || 1} text=${text} />`;
    });
}

/* HubSpot has no daily limit for apps that were installed by OAuth. */
function daily(c) {
    const b = c.quota.find((x) => x.daily_limit);
    return b ? `today ${num(b.daily_limit - b.daily_left)} of ${num(b.daily_limit)}` : `today: no daily limit ${c.credential === 'oauth' ? 'for OAuth' : 'told'}`;
}

function RealTime({ c, moved }) {
    const { data, error, reload } = useGet(`/connections/${c.connection_id}/deliveries`, moved);
    const d = data;
    const bad = d ? Object.entries(d.verdicts).filter(([v]) => v.startsWith('wh_')).reduce((n, [, k]) => n + k, 0) : 0;
    const calls = (c.quota ?? []).reduce((n, b) => n + (b.hour_ms === Math.floor(Date.now() / 3600000) * 3600000 ? b.hour_calls : 0), 0);
    const main = (c.quota ?? []).filter((b) => b.family !== 'oauth' && b.family !== 'search' && b.family !== 'associations');
    return html`<section aria-labelledby="realtime"><h2 id="realtime">Real-time, queue and quota</h2>
        <${Failure} error=${error} again=${reload} quiet />
        <dl class="facts">
            <dt>Real-time</dt><dd>${d ? html`${d.last[0] ? html`last event <${Time} at=${d.last[0].received_at} short />` : 'no event yet'} · lag p95 ${seconds(d.lag_p95_seconds)} · ${bad > 0 ? html`<${Chip} kind="error">${plural(bad, 'bad signature')}<//>` : '0 bad signatures'} · 24 h: ${Object.entries(d.verdicts).map(([v, n]) => `${num(n)} ${verdicts[v] ?? v}`).join(', ') || 'none'}` : '…'} · <${Link} to=${`${path(c)}/webhooks`}>Webhooks<//></dd>
            <dt>Queue</dt><dd>${c.queue ? html`${num(waitingOf(c))} waiting${c.queue.paused_all ? html` <${Chip} kind="warn">All lanes are paused<//>` : c.queue.paused.length ? html` <${Chip} kind="warn">Paused: ${c.queue.paused.join(', ').replace('_', ' ')}<//>` : ''}${c.queue.oldest_age_s > 0 ? `, oldest ${duration(c.queue.oldest_age_s * 1000)}` : ''} · ${plural(c.queue.workers, 'worker')}, ${num(c.queue.leased)} in work` : 'The queue does not answer.'} · <${Link} to="/admin/queue">Queue and quota<//></dd>
            <dt>Quota</dt><dd>${c.quota === null ? 'The queue does not answer.' : main.length === 0 ? `${title(c.provider)} has not been asked yet.` : html`<${Quota} buckets=${main} /><span class="muted">${plural(calls, 'call')} this hour${c.provider === 'hubspot' ? ` · ${daily(c)}` : ''}</span>`}</dd>
        </dl></section>`;
}

/* The endpoint at the provider, each event on or off, a delivery of our own, another secret. */
function Endpoint({ c, types, onRepair }) {
    const status = useGet(c.state === 'connected' ? `/connections/${c.connection_id}/webhook-endpoint` : null);
    const [turning, turn] = useState(false);
    const test = useAction(() => post(`/connections/${c.connection_id}/webhook-endpoint/test`));
    const [tested, setTested] = useState(null);
    const w = status.data;
    const off = w?.supported && w.missing ? w.missing.split(', ') : [];
    const rows = [...types.filter((t) => !t.event_type.startsWith('pivotal_sync.')).map((t) => ({ ...t, on: !off.includes(t.event_type) })), ...off.filter((o) => !types.some((t) => t.event_type === o)).map((o) => ({ event_type: o, events: 0, last_at: null, on: false }))];
    const tryIt = async () => {
        const r = await test.act();
        if (!r) return;
        setTested(r);
        say(r.problem ? `The test delivery was refused: ${r.problem}` : 'The test delivery was taken.');
    };
    return html`
        <${Failure} error=${status.error} what=${`${title(c.provider)} was not asked about the subscription.`} again=${status.reload} quiet />
        ${status.loading ? html`<${Loading} lines=${1} what=${`Asking ${title(c.provider)}`} />` : null}
        ${w ? html`<p>${!w.supported ? `${title(c.provider)} keeps the subscription in the app that is installed.` : w.problem ? html`<${Chip} kind="warn">To mend<//> ${w.problem}` : html`<${Chip} kind="ok">Subscription on<//> every kind of change is heard of, and the signing secret is known.`}</p><p class="muted break">${w.url}</p>` : null}
        <${Failure} error=${test.error} />
        ${tested ? html`<${Notice} kind=${tested.problem ? 'warn' : 'ok'} role="status"><p><strong>${tested.problem ? 'The test delivery was refused.' : 'The test delivery was taken'}</strong>${tested.problem ? ` ${tested.problem}` : `, in ${duration(Math.max(1, tested.took_ms))}. It shows below as ignored.`}</p><//>` : null}
        <p class="row">${may('operator') ? html`<${Busy} busy=${test.busy} onClick=${tryIt}>Send a test event<//>` : null}
            ${may('admin') ? html`<button type="button" onClick=${onRepair}>Repair webhooks</button>` : null}
            ${may('admin') && c.provider === 'stripe' ? html`<button type="button" onClick=${() => turn(true)}>Rotate the signing secret</button>` : null}</p>
        <h3>Subscriptions heard from in the last 7 days</h3>
        ${rows.length === 0 ? html`<${Empty}><p>None.</p><//>` : html`<table class="cards-narrow"><caption class="hidden">Subscriptions</caption><thead><tr><th scope="col">Event</th><th scope="col">State</th><th scope="col" class="n">Events</th><th scope="col">Last seen</th></tr></thead><tbody>
        ${rows.map((t) => html`<tr key=${t.event_type}><th scope="row" class="break">${t.event_type}</th><td data-label="State">${t.on ? html`<${Chip} kind="ok">${w?.supported ? 'On' : 'Heard from'}<//>` : html`<${Chip} kind="warn">Off<//>`}</td><td data-label="Events" class="n">${num(t.events)}</td><td data-label="Last seen"><${Time} at=${t.last_at} short /></td></tr>`)}</tbody></table>`}
        ${turning ? html`<${Rotate} c=${c} onClose=${() => turn(false)} done=${status.reload} />` : null}`;
}

function Rotate({ c, onClose, done }) {
    const [secret, set] = useState('');
    const [end, setEnd] = useState(null);
    const act = useAction(async (e) => {
        e.preventDefault();
        const r = await post(`/connections/${c.connection_id}/webhook-endpoint/rotate-secret`, secret.trim() ? { secret: secret.trim() } : {});
        set('');
        setEnd(r);
        say('The signing secret is another one now.');
        done();
    });
    return html`<${Dialog} title="Rotate the signing secret" onClose=${onClose}>
        ${end ? html`<${Notice} kind=${end.problem ? 'warn' : 'ok'} role="status"><p><strong>Another secret is in force.</strong> The one until now stays good for deliveries that are on their way. ${end.problem}</p><//><p><button type="button" onClick=${onClose}>Close</button></p>`
        : html`<p>Without a secret here, ${title(c.provider)} makes a new endpoint, and the old one is deleted after it. If you rolled the secret at ${title(c.provider)}, give it here. Either way the one until now stays good for deliveries that are on their way.</p>
        <form onSubmit=${act.act}><label for="whsec">Signing secret, if you rolled it</label><input id="whsec" type="password" autocomplete="off" placeholder="whsec_…" value=${secret} onInput=${(e) => set(e.target.value)} />
            <${Failure} error=${act.error} />
            <p class="row"><button type="submit" class="main" aria-disabled=${act.busy}>Rotate</button><button type="button" onClick=${onClose}>Keep it</button></p></form>`}<//>`;
}

export function Webhooks({ c, moved }) {
    const { data, error, loading, reload } = useGet(`/connections/${c.connection_id}/deliveries`, moved);
    const [repair, set] = useState(false);
    return html`<h2>Webhooks</h2>
        <${Failure} error=${error} what="The deliveries could not be read." still="Webhooks are taken all the same." again=${reload} />
        ${loading ? html`<${Loading} />` : null}
        ${data ? html`
            <p class="row">Last 24 hours: ${Object.entries(data.verdicts).map(([v, n]) => html`<span key=${v} class="tag">${num(n)} ${verdicts[v] ?? v}</span>`)}${Object.keys(data.verdicts).length === 0 ? 'no delivery' : ''}
            <span class="muted">lag p50 ${seconds(data.lag_p50_seconds)}, p95 ${seconds(data.lag_p95_seconds)}</span></p>
            <${Endpoint} c=${c} types=${data.types} onRepair=${() => set(true)} />
            <h3>Last ten</h3>
            ${data.last.length === 0 ? html`<${Empty}><p>None.</p><//>` : html`<table class="cards-narrow"><caption class="hidden">Last ten deliveries</caption><thead><tr><th scope="col">Time</th><th scope="col">Verdict</th><th scope="col">Event</th><th scope="col">Record</th><th scope="col" class="n">Lag</th></tr></thead><tbody>
            ${data.last.map((e) => html`<tr key=${e.event_no}><td data-label="Time" class="when"><${Time} at=${e.received_at} seconds /></td><td data-label="Verdict">${verdicts[e.verdict] ?? e.verdict}</td><td data-label="Event" class="break">${e.event_type || '–'} <span class="muted">${e.event_id}</span></td><td data-label="Record" class="break">${e.object_type || e.record_id ? `${e.object_type} ${e.record_id}` : '–'}</td><td data-label="Lag" class="n">${duration(e.lag_ms)}</td></tr>`)}</tbody></table>`}` : null}
        ${repair ? html`<${Repair} c=${c} onClose=${() => set(false)} reload=${reload} />` : null}`;
}

export function Why({ c, start = '' }) {
    const [text, set] = useState(start);
    const [found, setFound] = useState(null);
    const ask = useAction(async (e) => {
        e?.preventDefault();
        setFound(null);
        const r = await post(`/connections/${c.connection_id}/why`, { record_id: text.trim() });
        setFound(r);
        say('The checks are done.');
    });
    const there = found && outside(c, found.object_type, found.record_id);
    return html`<section class="panel" aria-labelledby="why"><h2 id="why">Why is this record missing?</h2>
        <form class="row" onSubmit=${ask.act}>
            <label for="why-text">Name, domain, e-mail, id or address at ${title(c.provider)}</label>
            <input id="why-text" required value=${text} onInput=${(e) => set(e.target.value)} />
            <button type="submit" aria-disabled=${ask.busy}>${found ? 'Check again' : 'Check'}</button>
        </form>
        ${ask.busy ? html`<${Loading} what=${`Asking ${title(c.provider)}`} />` : null}
        <${Failure} error=${ask.error} />
        ${found ? html`<p><span class="muted break">${found.object_type} ${found.record_id}</span>${there ? html` · <a href=${there} target="_blank" rel="noopener noreferrer">Open in ${title(c.provider)}</a>` : null}</p><${FindingList} findings=${found.items} />` : null}
    </section>`;
}

// ---- one: overview ----

/* "1 Nov" of a day that is a day of the workspace already. */
const dayName = (day) => new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' }).format(new Date(day));

function Pictures({ c, moved }) {
    const [round, set] = useState(0);
    useEffect(() => {
        const timer = setInterval(() => set((n) => n + 1), 60000);
        return () => clearInterval(timer);
    }, []);
    const { data } = useGet(`/connections/${c.connection_id}/pictures`, round);
    if (!data) return html`<${Loading} lines=${2} what="Loading pictures" />`;
    return html`<section class="pictures" aria-label="Pictures">
        <${Bars} label="Attempts and errors, 30 days" unit="attempts" rows=${data.days.map((d) => ({ name: dayName(d.day), value: d.attempts, bad: d.errors }))} />
        <${Bars} label="Deliveries, 24 hours" unit="events" rows=${data.hours.map((d) => ({ name: when(d.hour), value: d.events }))} />
        <${Bars} label="Calls of the quota, 24 hours" unit="calls" rows=${data.hours.map((d) => ({ name: when(d.hour), value: d.calls }))} />
        <${Bars} label="Lag p95, 24 hours" unit="seconds" rows=${data.hours.map((d) => ({ name: when(d.hour), value: Math.round((d.lag_p95_seconds ?? 0) * 100) / 100 }))} />
    </section>`;
}

export function Overview({ c, moved, run, onRepair, onWhy }) {
    return html`
        <${Clocks} c=${c} onRepair=${onRepair} onWhy=${onWhy} />
        ${run.live ? html`<${RunProgress} key=${run.live.run_id} c=${c} run=${run.live} cancelling=${run.cancel.busy} onCancel=${() => run.cancel.act(run.live.run_id)} />` : null}
        ${run.ended && !run.live ? html`<${Ended} c=${c} run=${run.ended} again=${run.start.act} />` : null}
        <section aria-labelledby="records"><h2 id="records">Records</h2>
            <p><strong>${num(c.in_sync)}</strong> in sync · ${num(c.unwell.excluded ?? 0)} excluded · ${num(c.unwell.unmatched ?? 0)} unmatched · ${num(c.failing)} failing ${c.failing ? html`<${Link} to=${`${path(c)}/log?errors=1&unresolved=1`}>see failing<//>` : null}</p>
            ${c.scope_kind ? html`<p class="muted">Mirrored: ${c.scope_kind} ${c.scope_name || c.scope_id}${c.scope_size ? `, ${plural(c.scope_size, 'member')}` : ''}</p>` : c.provider === 'hubspot' && c.state === 'connected' ? html`<${Notice} kind="warn"><p>Nothing is mirrored yet. <${Link} to=${`${path(c)}/scope`}>Choose what is mirrored<//>.</p><//>` : null}
        </section>
        <${Attention} c=${c} moved=${moved} />
        <${RealTime} c=${c} moved=${moved} />
        <${Pictures} c=${c} moved=${moved} />
        <${Why} c=${c} />`;
}

/** The page of one integration; tab is what the address says, render draws it. */
export function Integration({ id, tab, children }) {
    const { moved, figures } = useMoved(Number(id));
    const { data, error, loading, reload } = useGet(`/connections/${id}`, moved);
    const address = useAddress();
    const [open, set] = useState(null); // connect, repair, diagnose, disconnect
    const { zone } = useShared();
    const walked = new URLSearchParams(location.search).get('walk') === 'connected';
    if (loading) return html`<h1 tabindex="-1">Integration</h1><${Loading} lines=${6} what="Loading the integration" />`;
    if (!data) return html`<h1 tabindex="-1">Integration</h1><${Failure} error=${error} what="The integration could not be read." still="Syncing goes on." again=${reload} />`;
    return html`<${Loaded} ...${{ c: data, error, reload, moved, figures, tab, open, set, walked, children, address, zone }} />`;
}

const tabs = [['', 'Overview'], ['log', 'Log'], ['mapping', 'Field mapping'], ['scope', 'What is mirrored'], ['webhooks', 'Webhooks'], ['activity', 'Activity']];

function Loaded({ c, error, reload, moved, figures, tab, open, set, walked, children }) {
    const run = useRun(c, figures, reload);
    const pause = useAction(async (paused) => {
        await post(`/connections/${c.connection_id}/pause`, { paused });
        say(paused ? 'Paused.' : 'Resumed.');
        reload();
    });
    const disconnect = useAction(async () => {
        await post(`/connections/${c.connection_id}/disconnect`);
        set(null);
        say('Disconnected.');
        reload();
    });
    const waiting = waitingOf(c) ?? 0;
    const menu = [
        { label: 'Run the four checks', run: () => set('diagnose'), disabled: !may('operator'), why: may('operator') ? '' : 'needs the role operator' },
        { label: c.paused_at ? 'Resume' : 'Pause', run: () => pause.act(!c.paused_at), disabled: !may('operator'), why: may('operator') ? '' : 'needs the role operator' },
        { label: 'Repair webhooks', run: () => set('repair'), disabled: !may('admin'), why: may('admin') ? '' : 'needs the role admin' },
        { label: 'Connect again', run: () => set('connect'), disabled: !may('admin'), why: may('admin') ? '' : 'needs the role admin' },
        { label: 'Disconnect', run: () => set('disconnect'), disabled: !may('admin') || c.state === 'disconnected', why: may('admin') ? '' : 'needs the role admin' },
    ];
    return html`
        <div class="page-head"><h1 tabindex="-1">${nameOf(c)}${' '}<small>${accountOf(c)} · ${c.workspace}</small></h1>
            <div class="row">
            ${may('operator') ? html`<${Busy} class="main" busy=${run.start.busy || Boolean(run.live)} aria-disabled=${run.start.busy || Boolean(run.live) || c.state !== 'connected'} onClick=${c.state === 'connected' && !run.live ? run.start.act : undefined}>${run.live ? 'Syncing…' : 'Run sync now'}<//>` : null}
            <${Link} class="button" to=${`${path(c)}/log`}>View log<//>
            <${Menu} label="More" items=${menu} /></div></div>
        ${walked ? html`<${Notice} kind="ok" role="status"><p><strong>${title(c.provider)} is connected.</strong> ${waiting > 0 ? `${plural(waiting, 'waiting change')} ${waiting === 1 ? 'is' : 'are'} being applied.` : 'Sync goes on by itself; what changed meanwhile is being caught up.'}</p><//>` : null}
        <${Failure} error=${run.start.error ?? run.cancel.error ?? pause.error} />
        <${Failure} error=${error} what="What you see may be old." again=${reload} />
        ${tab === '' && !may('operator') ? html`<${NeedsRole} role="operator" />` : null}
        <${Banner} c=${c} onConnect=${() => set('connect')} />
        <nav class="tabs" aria-label="Of this integration"><ul>${tabs.map(([p, word]) => html`<li key=${p}><${Link} to=${`${path(c)}${p ? `/${p}` : ''}`} aria-current=${tab === p ? 'page' : undefined}>${word}<//></li>`)}</ul></nav>
        ${children({ c, moved, figures, run, reload, onRepair: () => set('repair'), onWhy: () => set('diagnose') })}
        ${open === 'connect' ? html`<${ConnectDialog} provider=${c.provider} workspace=${c.workspace} mode=${c.provider === 'stripe' ? c.mode : undefined} account=${c.account_id} onClose=${() => set(null)} />` : null}
        ${open === 'repair' ? html`<${Repair} c=${c} reload=${reload} onClose=${() => set(null)} />` : null}
        ${open === 'diagnose' ? html`<${Diagnose} c=${c} onClose=${() => set(null)} />` : null}
        ${open === 'disconnect' ? html`<${Dialog} title=${`Disconnect ${nameOf(c)}?`} onClose=${() => set(null)}>
            <p>The token is forgotten and sync stops. Field mapping, what is mirrored and the history are kept; connect again any time.</p>
            <${Failure} error=${disconnect.error} />
            <p class="row"><${Busy} class="danger" busy=${disconnect.busy} onClick=${disconnect.act}>Disconnect ${c.account_name || c.account_id}<//><button type="button" onClick=${() => set(null)}>Keep</button></p><//>` : null}`;
}
