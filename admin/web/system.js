// Queue and quota, activity, the error reference, signing in.
import { api, change, duration, get, go, html, Link, listen, may, num, plural, post, say, state, Time, title, useAction, useEffect, useGet, useMoved, useState } from './lib.js';
import { Busy, Chip, Empty, Failure, Loading } from './parts.js';
import { nameOf, Quota } from './integrations.js';

const lanes = { interactive: 'Interactive (a person waits)', webhook: 'Webhook', run_now: 'Run sync now', nightly: 'Nightly' };

export function Queue() {
    const [round, set] = useState(0);
    const { moved } = useMoved(null);
    useEffect(() => {
        const timer = setInterval(() => state.paused || set((n) => n + 1), 5000);
        return () => clearInterval(timer);
    }, []);
    const [shown, show] = useState('parked');
    const { data, error, loading, reload } = useGet('/queue', `${round} ${moved}`);
    const units = useGet(`/queue/units?state=${shown}`, `${round} ${moved}`);
    const connections = useGet('/connections');
    const named = new Map((connections.data?.items ?? []).map((c) => [c.connection_id, `${nameOf(c)} · ${c.workspace}`]));
    const causes = new Map();
    for (const u of units.data?.items ?? []) if (u.reason) causes.set(u.reason, (causes.get(u.reason) ?? 0) + 1);
    const q = data?.queue;
    const pause = useAction(async (paused, lane) => {
        await post('/queue/pause', { paused, ...(lane ? { lane } : {}) });
        say(`${lane ? lanes[lane] : 'All lanes'}: ${paused ? 'paused' : 'going on'}.`);
        reload();
    });
    return html`<h1 tabindex="-1">Queue and quota</h1>
        <${Failure} error=${error} what="The queue does not answer." still="Webhooks are answered with “try later”; nothing is lost." again=${reload} />
        ${loading ? html`<${Loading} lines=${6} what="Loading the queue" />` : null}
        ${data ? html`<section aria-labelledby="lanes"><h2 id="lanes">Waiting</h2>
            <table class="small"><caption class="hidden">Waiting by lane</caption><thead><tr><th scope="col">Lane</th><th scope="col" class="n">Waiting</th><th scope="col">${may('operator') ? 'Pause' : 'State'}</th></tr></thead><tbody>
            ${Object.entries(lanes).map(([k, w]) => html`<tr key=${k}><th scope="row">${w}</th><td class="n">${num(q.waiting[k])}</td><td class="row">${q.paused.includes(k) ? html`<${Chip} kind="warn">Paused<//> ` : null}
                ${may('operator') && !q.paused_all ? html`<${Busy} class="quiet" busy=${pause.busy} onClick=${() => pause.act(!q.paused.includes(k), k)} aria-label=${`${q.paused.includes(k) ? 'Resume' : 'Pause'} ${w}`}>${q.paused.includes(k) ? 'Resume' : 'Pause'}<//>` : null}</td></tr>`)}
            ${[['In work', q.leased], ['Delayed', q.delayed], ['Parked for a fix', q.parked], ['Needs a person', q.buried]].map(([w, n]) => html`<tr key=${w}><th scope="row">${w}</th><td class="n">${num(n)}</td><td></td></tr>`)}</tbody></table>
            <${Failure} error=${pause.error} />
            ${may('operator') ? html`<p><${Busy} busy=${pause.busy} onClick=${() => pause.act(!q.paused_all)}>${q.paused_all ? 'Resume all lanes' : 'Pause all lanes'}<//> <span class="muted">Webhooks are accepted all the same; what is in work is finished.</span></p>` : null}
            <p class="muted">${q.oldest_age_s > 0 ? `The oldest has waited ${duration(q.oldest_age_s * 1000)}.` : 'Nothing has waited for a second.'}</p></section>
        <section aria-labelledby="units"><h2 id="units">Units</h2>
            <div class="row" role="group" aria-label="Units to show">${['waiting', 'leased', 'delayed', 'parked', 'buried'].map((s) => html`<button type="button" key=${s} aria-pressed=${shown === s} onClick=${() => show(s)}>${{ leased: 'in work', buried: 'needs a person' }[s] ?? s}</button>`)}</div>
            <${Failure} error=${units.error} quiet />
            ${units.data?.items.length === 0 ? html`<${Empty}><p>None.</p><//>` : null}
            ${causes.size > 0 ? html`<p class="row"><span class="muted">By cause</span>${[...causes].map(([why, n]) => html`<span class="tag" key=${why}>${num(n)} ${why}</span>`)}</p>` : null}
            ${units.data?.items.length ? html`<div class="scroll" tabindex="0" role="region" aria-label="Units"><table><caption class="hidden">Units</caption><thead><tr><th scope="col">Connection</th><th scope="col">What</th><th scope="col" class="n">Tries</th><th scope="col">Why</th></tr></thead><tbody>
            ${units.data.items.map((u, i) => html`<tr key=${i}><td>${named.get(u.connection_id) ?? u.connection_id}</td><td>${u.object ?? u.kind} ${u.id ?? ''}</td><td class="n">${u.attempts ?? ''}</td><td>${u.reason || u.trigger || ''}</td></tr>`)}</tbody></table></div>` : null}</section>
        <section aria-labelledby="quota"><h2 id="quota">Quota</h2>
            ${data.quota.length === 0 ? html`<${Empty}><p>No provider has been asked yet.</p><//>` : html`<p class="muted">A person who waits goes first. Webhooks may take up to 90 % of each; Run sync now and the nightly sync share the rest, three to one.</p><${Quota} buckets=${data.quota} account />`}</section>
        <section aria-labelledby="workers"><h2 id="workers">${plural(data.workers.length, 'worker')}</h2>
            ${data.workers.length === 0 ? html`<${Empty}><p>No worker runs: nothing is synced until one does.</p><//>` : html`<ul class="plain">${data.workers.map((w) => html`<li key=${w.worker} class="break">${w.worker} <span class="muted">${(w.holds ?? []).length === 0 ? 'idle' : w.holds.map((x) => `${x.object || 'check'} ×${x.units}, ${duration(Date.now() - x.since_ms)}`).join('; ')}</span></li>`)}</ul>`}</section>` : null}`;
}

// ---- who did what ----

const actionWords = { 'run.start': 'started a full sync', 'run.cancel': 'cancelled a run', 'record.resync': 'resynced', 'connection.connect': 'connected', 'connection.disconnect': 'disconnected', 'connection.pause': 'paused', 'connection.resume': 'resumed', 'mapping.save': 'saved the mapping', 'scope.set': 'chose what is mirrored', 'webhook.repair': 'repaired webhooks', 'queue.pause': 'paused lanes', 'queue.resume': 'resumed lanes', 'connection.connected': 'got it connected', 'connection.reauthorize': 'asks to be reauthorized', 'connection.disconnected': 'disconnected', 'mapping.apply': 'saved the mapping', 'session.end': 'signed out', 'workspace.add': 'made the workspace', 'scope.confirm_removals': 'confirmed removals', 'keys.rotate': 'rotated keys', 'record.erase': 'erased', 'webhook.rotate_secret': 'rotated the signing secret', 'connection.objects': 'chose what kinds are mirrored', 'session.begin': 'signed in', 'token.create': 'made a token', 'token.revoke': 'revoked a token', 'link.add': 'linked', 'link.remove': 'unlinked', 'workspace.set': 'changed the workspace' };

const actionKinds = { 'connection.': 'Connections', 'run.': 'Full syncs', 'record.': 'Records', 'mapping.': 'Field mapping', 'scope.': 'What is mirrored', 'link.': 'Links by hand', 'webhook.': 'Webhooks', 'queue.': 'Queue', 'session.': 'Signing in', 'token.': 'Tokens', 'workspace.': 'Workspaces' };

/* What it was and what it became, as far as the row says. */
function changeOf(detail) {
    const text = (v) => (typeof v === 'object' && v !== null ? JSON.stringify(v) : String(v));
    return Object.entries(detail ?? {}).map(([k, v]) => (v && typeof v === 'object' && 'old' in v && 'new' in v ? `${k}: ${text(v.old)} → ${text(v.new)}` : `${k}: ${text(v)}`)).join(', ');
}

export function Activity({ c, moved }) {
    const [actor, setActor] = useState('');
    const [action, setAction] = useState('');
    const [after, setAfter] = useState('');
    const filter = new URLSearchParams({ ...(c ? { connection: c.connection_id } : {}), ...(actor ? { actor } : {}), ...(action ? { action } : {}) });
    const { data, error, loading, reload } = useGet(`/audit?limit=50&${filter}${after ? `&after=${after}` : ''}`, moved);
    const head = c ? html`<h2>Activity</h2>` : html`<h1 tabindex="-1">Activity</h1>`;
    return html`${head}
        <form class="filters" role="search" onSubmit=${(e) => e.preventDefault()}><div><label for="a-who">Who</label><input id="a-who" type="search" value=${actor} placeholder="Part of a name" onChange=${(e) => { setAfter(''); setActor(e.target.value); }} /></div>
            <div><label for="a-what">What</label><select id="a-what" value=${action} onChange=${(e) => { setAfter(''); setAction(e.target.value); }}><option value="">Anything</option>${Object.entries(actionKinds).map(([k, w]) => html`<option key=${k} value=${k}>${w}</option>`)}</select></div>
            <span class="gap"></span><a class="button" href=${`/api/v1/audit/export?format=csv&${filter}`} download>Export CSV</a><a class="button" href=${`/api/v1/audit/export?format=jsonl&${filter}`} download>JSON lines</a></form>
        <${Failure} error=${error} again=${reload} />
        ${loading ? html`<${Loading} lines=${6} what="Loading activity" />` : null}
        ${data?.items.length === 0 ? html`<${Empty}><p>${actor || action ? 'Nothing matches.' : 'Nobody has done anything yet.'}</p><//>` : null}
        ${data?.items.length ? html`<table class="cards-narrow"><caption class="hidden">Who did what</caption><thead><tr><th scope="col">When</th><th scope="col">Who</th><th scope="col">What</th><th scope="col">To what</th><th scope="col">From</th></tr></thead><tbody>
        ${data.items.map((a) => html`<tr key=${a.audit_id}><td data-label="When" class="when"><${Time} at=${a.at} seconds /></td><td data-label="Who" class=${a.actor.length > 20 ? 'break' : ''}>${a.actor}</td><td data-label="What">${actionWords[a.action] ?? a.action}</td><td data-label="To what" class="break">${a.provider ? `${title(a.provider)} · ` : ''}${a.target}${a.reason ? ` (${a.reason})` : ''}${changeOf(a.detail) ? html` <small>${changeOf(a.detail)}</small>` : ''}${a.workspace ? html` <span class="muted">${a.workspace}</span>` : ''}</td><td data-label="From">${{ page: 'page', cli: 'command', api: 'API', system: 'by itself' }[a.actor_kind] ?? a.actor_kind}</td></tr>`)}</tbody></table>` : null}
        <p class="row">${after ? html`<button type="button" onClick=${() => setAfter('')}>Newest</button>` : null}${data?.next ? html`<button type="button" onClick=${() => setAfter(data.next)}>Older</button>` : null}</p>`;
}

// ---- the error reference ----

const retries = { auto: 'by itself, with growing pauses', after_fix: 'when the cause is mended', manual: 'when somebody asks', never: 'never: nothing would change' };

export function Errors({ hash }) {
    const { data, error, loading, reload } = useGet('/errors');
    const [q, set] = useState('');
    useEffect(() => {
        if (data && hash) document.getElementById(hash)?.scrollIntoView();
    }, [data, hash]);
    const items = (data?.items ?? []).filter((e) => `${e.code} ${e.title} ${e.meaning}`.toLowerCase().includes(q.toLowerCase()));
    return html`<h1 tabindex="-1">Error reference</h1>
        <form class="filters" role="search" onSubmit=${(e) => e.preventDefault()}><div><label for="e-q">Find</label><input id="e-q" type="search" value=${q} onInput=${(e) => set(e.target.value)} /></div></form>
        <${Failure} error=${error} again=${reload} />${loading ? html`<${Loading} lines=${8} />` : null}
        ${data ? html`<p role="status" class="muted">${plural(items.length, 'error type')}</p>` : null}
        ${items.map((e) => html`<section class="panel" key=${e.code} id=${e.code} aria-labelledby=${`t-${e.code}`}><h2 id=${`t-${e.code}`}>${e.title} <small>${e.code}</small></h2>
            <dl class="facts"><dt>Meaning</dt><dd>${e.meaning}</dd><dt>What to do</dt><dd>${e.user_action}</dd><dt>Tried again</dt><dd>${retries[e.retry] ?? e.retry}</dd><dt>Seen as</dt><dd class="break muted">${e.provider_signal}</dd></dl>
            <p class="row"><${Chip} kind=${{ error: 'error', warning: 'warn' }[e.severity] ?? 'idle'}>${e.severity}<//><${Link} to=${`/admin/log?code=${e.code}`}>In the log<//></p></section>`)}`;
}

// ---- signing in ----

/** Where to go after it: an address of this page or the start of a walk, nothing else. */
function next() {
    const then = new URLSearchParams(location.search).get('then') ?? '';
    return /^\/(admin|oauth)\/[\w\-/:%.?&=+]*$/.test(then) ? then : null;
}

export async function signIn(token) {
    const who = await api('POST', '/session', { token });
    const then = next();
    change({ who });
    listen();
    say(`Signed in as ${who.role}.`);
    if (then?.startsWith('/oauth/')) location.assign(then);
    else if (then) go(then, { replace: true });
    else if (location.pathname === '/' || location.pathname === '/admin/sign-in') go('/admin/integrations', { replace: true });
}

export function SignIn({ problem }) {
    const [token, set] = useState('');
    const act = useAction(async (e) => {
        e.preventDefault();
        await signIn(token.trim());
    });
    return html`<main id="main" class="sign-in"><h1 tabindex="-1">Sign in</h1>
        <p>Use a token made by <code>pivotal-sync token create --role viewer|operator|admin</code>.</p>
        <form onSubmit=${act.act}><label for="sign-in-token">Token</label>
            <input id="sign-in-token" type="password" autocomplete="current-password" required value=${token} onInput=${(e) => set(e.target.value)} />
            <${Failure} error=${act.error ?? problem} />
            <button type="submit" class="main" aria-disabled=${act.busy}>Sign in</button></form></main>`;
}
