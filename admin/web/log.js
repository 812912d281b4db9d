// The log: every filter is in the address, the page stays put while rows arrive, and each row opens
// as a drawer with meaning, action, history and what the provider said.
import { duration, fieldOf, get, go, html, instantOf, Link, may, midnight, num, outside, plural, post, say, state, Time, title, useAction, useEffect, useGet, useMoved, useRef, useShared, useState, when, zoneName } from './lib.js';
import { Busy, Chip, CopyButton, Dialog, Empty, Failure, Loading, Notice, ResultChip, results, Switch } from './parts.js';
import { manyOf } from './integrations.js';

const triggers = { webhook: '⇢ webhook', nightly: '☾ nightly', person: '☝ person', cli: '☝ command', retry: '↻ retry', 'catch-up': '⟳ catch-up', reconnect: '⟳ reconnect', related: '⇢ related' };
const fields = ['errors', 'unresolved', 'slow', 'provider', 'status', 'code', 'field', 'trigger', 'object_type', 'record', 'customer', 'run', 'last', 'from', 'to'];
const startedBy = { webhook: 'Webhook', nightly: 'Nightly', person: 'Person, on the page', cli: 'Person, by command', retry: 'Retry', 'catch-up': 'Catch-up', reconnect: 'Reconnect', related: 'Related record', 'person,cli,retry': 'By hand' };
const ranges = { '1h': 'Last hour', '24h': 'Last 24 hours', today: 'Today', '7d': 'Last 7 days' };
const kinds = { hubspot: ['company', 'contact', 'owner'], stripe: ['customer', 'subscription', 'invoice', 'price', 'product', 'coupon', 'charge', 'payment_intent', 'refund', 'credit_note', 'dispute', 'promotion_code'] };
const shown = {
    errors: () => 'Errors only', unresolved: () => 'Not resolved', slow: () => 'Slow (over 5 s)', provider: title,
    last: (v) => ranges[v] ?? `Last ${v}`, code: (v, names) => names.get(v) ?? v, field: (v) => `Field ${v}`,
    status: (v) => v.split(',').map((s) => results[s]?.[1] ?? s).join(' or '), trigger: (v) => (startedBy[v] ? `Started by: ${startedBy[v].toLowerCase()}` : `Started by ${v}`),
    object_type: (v) => v.replaceAll('_', ' '), record: (v) => `Record ${v}`, customer: (v) => `Customer ${v}`, run: (v) => `Run ${v}`,
    from: (v) => `From ${when(v)}`, to: (v) => `To ${when(v)}`,
};

function read() {
    const q = new URLSearchParams(location.search);
    const filter = {};
    for (const f of fields) if (q.get(f)) filter[f] = q.get(f);
    return { filter, group: q.get('group') === '1', after: q.get('page_after') };
}

function query(filter, more = {}) {
    const q = new URLSearchParams();
    for (const [k, v] of Object.entries({ ...filter, ...more })) if (v) q.set(k, v);
    return q.toString();
}

/* What the API understands: today is a midnight of the zone that is shown. */
const forApi = (filter) => (filter.last === 'today' ? { ...filter, last: '', from: midnight() } : filter);

const recordName = (a) => (a.record_name ? `${a.record_name} (${a.record_id})` : a.record_id);

function Filters({ base, filter, set, c, names }) {
    const [open, setOpen] = useState(Boolean(filter.code || filter.trigger || filter.object_type || filter.run));
    const [own, setOwn] = useState(Boolean(filter.from || filter.to));
    useEffect(() => setOwn(Boolean(filter.from || filter.to)), [filter.from, filter.to]);
    const pick = (name) => (e) => set({ ...filter, [name]: e.target.value });
    const range = (e) => {
        setOwn(e.target.value === 'own');
        if (e.target.value !== 'own') set({ ...filter, last: e.target.value, from: '', to: '' });
    };
    const end = (name) => (e) => set({ ...filter, last: '', [name]: e.target.value ? instantOf(e.target.value) : '' });
    const option = ([value, word]) => html`<option key=${value} value=${value}>${word}</option>`;
    const provider = c?.provider ?? filter.provider;
    const types = provider ? kinds[provider] ?? [] : Object.values(kinds).flat();
    return html`<form class=${`filters ${open ? '' : 'folded'}`} role="search" aria-label="Filter the log" onSubmit=${(e) => e.preventDefault()}>
        <${Switch} id="errors-only" on=${filter.errors === '1'} set=${(on) => set({ ...filter, errors: on ? '1' : '' })}>Errors only<//>
        <div><label for="f-record">Record or customer</label><input id="f-record" type="search" placeholder="Name or id" value=${filter.record ?? ''} onChange=${pick('record')} /></div>
        <div><label for="f-last">Time</label><select id="f-last" value=${own ? 'own' : filter.last ?? ''} onChange=${range}><option value="">30 days</option>${Object.entries(ranges).map(option)}${filter.last && !ranges[filter.last] ? option([filter.last, `Last ${filter.last}`]) : null}<option value="own">Own range…</option></select></div>
        <div><label for="f-status">Result</label><select id="f-status" value=${filter.status ?? ''} onChange=${pick('status')}><option value="">Any</option>${['succeeded', 'partial', 'failed', 'retrying', 'skipped', 'cancelled', 'interrupted'].map((s) => option([s, results[s][1]]))}</select></div>
        <button type="button" class="quiet" aria-expanded=${open} onClick=${() => setOpen(!open)}>${open ? 'Fewer filters' : 'More filters'}</button>
        ${own ? html`<div class="more own">
            <div><label for="f-from">From (${zoneName()})</label><input id="f-from" type="datetime-local" value=${fieldOf(filter.from)} onChange=${end('from')} /></div>
            <div><label for="f-to">To (${zoneName()})</label><input id="f-to" type="datetime-local" value=${fieldOf(filter.to)} onChange=${end('to')} /></div></div>` : null}
        ${open ? html`<div class="more">
            ${c ? null : html`<div><label for="f-provider">Provider</label><select id="f-provider" value=${filter.provider ?? ''} onChange=${(e) => set({ ...filter, provider: e.target.value, object_type: '' })}><option value="">Any</option>${Object.keys(kinds).map((p) => option([p, title(p)]))}</select></div>`}
            <div><label for="f-code">Error</label><select id="f-code" value=${filter.code ?? ''} onChange=${pick('code')}><option value="">Any</option>${[...names].map(option)}</select></div>
            <div><label for="f-trigger">Started by</label><select id="f-trigger" value=${filter.trigger ?? ''} onChange=${pick('trigger')}><option value="">Anything</option>${Object.entries(startedBy).map(option)}${filter.trigger && !startedBy[filter.trigger] ? option([filter.trigger, filter.trigger]) : null}</select></div>
            <div><label for="f-kind">Kind</label><select id="f-kind" value=${filter.object_type ?? ''} onChange=${pick('object_type')}><option value="">Any</option>${types.map((k) => option([k, k.replaceAll('_', ' ')]))}${filter.object_type && !types.includes(filter.object_type) ? option([filter.object_type, filter.object_type]) : null}</select></div>
            <div><label for="f-run">Run</label><input id="f-run" inputmode="numeric" placeholder="Number" value=${filter.run ?? ''} onChange=${pick('run')} /></div>
        </div>` : null}
        <p class="row views"><span class="muted">Views</span>
            <${Link} to=${`${base}?errors=1`}>Errors only<//><${Link} to=${`${base}?status=skipped`}>Skipped<//><${Link} to=${`${base}?slow=1`}>Slow (over 5 s)<//><${Link} to=${`${base}?trigger=person,cli,retry`}>By hand<//></p>
    </form>`;
}

/* Those that were ticked, one by one; what was refused is said. */
function RetryChosen({ chosen, done }) {
    const run = useAction(async () => {
        let refused = '';
        let n = 0;
        for (const id of chosen) {
            try {
                await post(`/attempts/${id}/retry`);
                n += 1;
            } catch (error) {
                refused = error.message;
            }
        }
        done({ n, left: chosen.size - n, refused });
        say(`${plural(n, 'record')} will be tried again.`);
    });
    return html`<${Busy} busy=${run.busy} onClick=${run.act}>Retry ${num(chosen.size)} chosen<//>`;
}

function RetryAll({ connection, filter, onClose }) {
    const q = query(forApi(filter), { connection });
    const [dry, setDry] = useState(null);
    const [done, setDone] = useState(null);
    const stop = useRef(false);
    const look = useAction(() => post(`/attempts/retry?${q}`, { dry_run: true }));
    useEffect(() => {
        look.act().then((r) => r && setDry(r));
        return () => {
            stop.current = true;
        };
    }, []);
    const run = useAction(async () => {
        let next = '';
        const sum = { retried: 0, left_out: 0, ended: false };
        stop.current = false;
        setDone({ ...sum });
        while (!stop.current) {
            const r = await post(`/attempts/retry?${q}`, next ? { next } : {});
            sum.retried += r.retried;
            sum.left_out += r.left_out;
            next = r.next;
            setDone({ ...sum });
            if (!next) break;
        }
        sum.ended = true;
        setDone({ ...sum, cancelled: stop.current });
        say(`${plural(sum.retried, 'record')} will be tried again.`);
    });
    return html`<${Dialog} title="Retry all that match" onClose=${onClose}>
        ${look.busy ? html`<${Loading} lines=${2} what="Counting" />` : null}
        <${Failure} error=${look.error ?? run.error} />
        ${dry ? html`<p><strong>${plural(dry.attempts, 'attempt')}, ${plural(dry.records, 'record')}</strong> (duplicates joined). ${dry.left_out > 0 ? `${num(dry.left_out)} cannot be retried: ${dry.left_out_why}.` : 'All of them can be retried.'} ${dry.more ? 'There are more than these.' : ''}</p>
            <p>Uses about ${plural(dry.calls, 'call')} of the quota, about ${duration(Math.max(1, Math.ceil(dry.seconds)) * 1000)}.</p>` : null}
        ${done ? html`<progress max=${dry?.retried || 1} value=${done.retried} aria-label="Retrying" aria-valuetext=${`${done.retried} of ${dry?.retried}`}></progress><p role="status">${num(done.retried)} queued${done.ended ? '. They come back here as they are worked.' : '…'}</p>` : null}
        <p class="row">${dry && !done ? html`<${Busy} class="main" busy=${run.busy} onClick=${run.act}>Retry ${plural(dry.retried, 'record')}<//>` : null}
            ${run.busy ? html`<button type="button" onClick=${() => { stop.current = true; }}>Cancel</button>` : html`<button type="button" onClick=${onClose}>${done ? 'Close' : 'Not now'}</button>`}</p><//>`;
}

function Groups({ groups, base, filter }) {
    if (groups.length === 0) return html`<${Empty} good><p>No errors in this selection.</p><//>`;
    const days = Array.from({ length: 30 }, (_, i) => new Date(Date.now() - (29 - i) * 864e5).toISOString().slice(0, 10));
    return html`<table class="cards-narrow"><caption class="hidden">Attempts by cause</caption><thead><tr><th scope="col">Cause</th><th scope="col" class="n">Attempts</th><th scope="col" class="n">Records</th><th scope="col">First</th><th scope="col">Last</th><th scope="col">30 days</th></tr></thead>
        <tbody>${groups.map((g) => {
        const most = Math.max(1, ...Object.values(g.days));
        return html`<tr key=${g.error_code}><td data-label="Cause"><${Chip} kind=${{ error: 'error', warning: 'warn' }[g.severity] ?? 'idle'}><${Link} to=${`${base}?${query({ ...filter, code: g.error_code })}`}>${g.error_title ?? g.error_code}<//><//></td><td class="n" data-label="Attempts">${num(g.attempts)}</td><td class="n" data-label="Records">${num(g.records)}</td><td data-label="First"><${Time} at=${g.first_at} short /></td><td data-label="Last"><${Time} at=${g.last_at} short /></td>
            <td data-label="30 days"><svg class="spark" viewBox="0 0 60 12" preserveAspectRatio="none" aria-hidden="true">${days.map((d, i) => html`<rect key=${d} x=${i * 2} width="1.6" y=${12 - ((g.days[d] ?? 0) / most) * 12} height=${((g.days[d] ?? 0) / most) * 12}></rect>`)}</svg></td></tr>`;
    })}</tbody></table>`;
}

const retryable = (a) => a.record_id && !a.resolved && ['failed', 'partial', 'retrying'].includes(a.status) && a.retry !== 'never';

function Rows({ items, link, chosen, choose, all: ofAll }) {
    const pick = may('operator') && items.some(retryable);
    const toggle = (id) => () => {
        const next = new Set(chosen);
        if (!next.delete(id)) next.add(id);
        choose(next);
    };
    const all = items.filter(retryable).map((a) => a.attempt_id);
    const every = all.length > 0 && all.every((id) => chosen.has(id));
    return html`<table class="cards-narrow log"><caption class="hidden">Sync attempts, the newest first</caption>
        <thead><tr>${pick ? html`<th scope="col"><input type="checkbox" aria-label="Choose all that can be retried" checked=${every} onChange=${() => choose(new Set(every ? [] : all))} /></th>` : null}<th scope="col" aria-sort="descending">Time (${zoneName()})</th><th scope="col">Started by</th><th scope="col">Record</th><th scope="col">Result</th><th scope="col">Error</th><th scope="col" class="n">Duration</th><th scope="col" class="n">Errors</th><th scope="col" class="n">Try</th></tr></thead>
        <tbody>${items.map((a) => html`<tr key=${a.attempt_id}>
            ${pick ? html`<td class=${retryable(a) ? 'tick' : 'tick none'}>${retryable(a) ? html`<label><input type="checkbox" aria-label=${`Choose ${a.object_type} ${recordName(a)}`} checked=${chosen.has(a.attempt_id)} onChange=${toggle(a.attempt_id)} /></label>` : null}</td>` : null}
            <td data-label="Time" class="when"><${Link} class="row-link" to=${link(a.attempt_id)} data-attempt=${a.attempt_id}><${Time} at=${a.started_at} seconds /><//></td>
            <td data-label="Started by" class="when">${triggers[a.trigger] ?? a.trigger}${a.actor ? html` <span class="muted">${a.actor}</span>` : ''}</td>
            <td data-label="Record" class="break what">${a.record_id ? html`${a.record_name ?? ''} <span class="muted">${ofAll ? `${title(a.provider)} ` : ''}${a.object_type.replaceAll('_', ' ')} ${a.record_id}</span>` : html`${a.object_type ? `${num(a.seen)} ${a.seen === 1 ? a.object_type.replaceAll('_', ' ') : manyOf(a.object_type)}` : plural(a.seen, 'record')} <span class="muted">${ofAll ? `${title(a.provider)} ` : ''}${a.run_id ? `run ${a.run_id}` : ''}</span>`}</td>
            <td data-label="Result"><${ResultChip} status=${a.status} resolved=${a.resolved} /></td>
            <td data-label="Error" class=${a.error_code ? '' : 'nil'}>${a.error_title ?? (a.error_code || '–')}${a.error_field ? html` <span class="muted">${a.error_field}</span>` : ''}</td>
            <td data-label="Duration" class="n">${duration(a.duration_ms)}</td><td data-label="Errors" class=${`n ${a.error_count ? '' : 'nil'}`}>${a.error_count || '–'}</td><td data-label="Try" class="n">${a.attempt_no}</td></tr>`)}</tbody></table>`;
}

export function Log({ c, attempt, moved }) {
    const base = c ? `/admin/integrations/${c.connection_id}/log` : '/admin/log';
    const { filter, group, after } = read();
    const shared = useShared();
    const connection = c ? String(c.connection_id) : '';
    const asked = forApi(filter);
    const q = query(asked, { connection });
    const errors = useGet('/errors');
    const names = new Map((errors.data?.items ?? []).map((e) => [e.code, e.title]));
    const list = useGet(`/attempts?${query(asked, { connection, after, limit: 50 })}`);
    const summary = useGet(`/attempts/summary?${q}${group ? '&group=1' : ''}`);
    const [retry, setRetry] = useState(false);
    const [newer, setNewer] = useState(0);
    const [chosen, choose] = useState(new Set());
    const [put, setPut] = useState(null);
    const items = list.data?.items ?? [];
    const first = items[0]?.attempt_id;
    const to = (f, more = {}) => go(`${base}?${query(f, { group: group ? '1' : '', ...more })}`);
    const link = (id) => `${base}/${id}${location.search}`;

    // Rows that came since: counted, never inserted.
    useEffect(() => {
        if (!first || after) return;
        get(`/attempts/summary?${q}&newer_than=${first}`).then((s) => setNewer(s.count), () => {});
    }, [moved, first, q]);
    useEffect(() => setNewer(0), [first]);
    useEffect(() => {
        choose(new Set());
        setPut(null);
    }, [q, after]);

    useEffect(() => {
        const onKey = (e) => {
            if (!state.keys || e.ctrlKey || e.metaKey || e.altKey || document.querySelector('dialog[open]') || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName)) return;
            const links = [...document.querySelectorAll('.row-link')];
            const at = links.indexOf(document.activeElement);
            const keys = { '/': () => document.getElementById('f-record')?.focus(), e: () => to({ ...filter, errors: filter.errors ? '' : '1' }), j: () => links[Math.min(at + 1, links.length - 1)]?.focus(), k: () => links[Math.max(at - 1, 0)]?.focus() };
            if (keys[e.key]) {
                e.preventDefault();
                keys[e.key]();
            }
        };
        addEventListener('keydown', onKey);
        return () => removeEventListener('keydown', onKey);
    });

    const chips = Object.entries(filter);
    const count = summary.data;
    const text = count ? `${count.more ? 'more than ' : ''}${plural(count.count, 'attempt')}` : '…';
    const ids = items.map((a) => a.attempt_id);
    return html`${c ? html`<h2>Log</h2>` : html`<h1 tabindex="-1">Log of all integrations</h1>`}
        <${Filters} names=${names} base=${base} c=${c} filter=${filter} set=${(f) => to(f)} />
        <div class="row chips"><span role="status"><strong>${text}</strong></span>
            ${chips.map(([k, v]) => html`<button type="button" key=${k} class="tag" onClick=${() => to({ ...filter, [k]: '' })} aria-label=${`Remove filter ${shown[k](v, names)}`}>${shown[k](v, names)} <span aria-hidden="true">✕</span></button>`)}
            ${chips.length > 1 ? html`<button type="button" class="quiet" onClick=${() => to({})}>Clear filters</button>` : null}
            <span class="gap"></span>
            <${Switch} on=${group} set=${(on) => to(filter, { group: on ? '1' : '' })}>Group by cause<//>
            ${chosen.size > 0 ? html`<${RetryChosen} chosen=${chosen} done=${(r) => { setPut(r); choose(new Set()); list.reload(); }} />` : null}
            ${may('operator') && count?.count > 0 ? html`<button type="button" onClick=${() => setRetry(true)}>Retry all failed</button>` : null}
            <a class="button" href=${`/api/v1/attempts/export?format=csv&${q}`} download>Export CSV</a><a class="button" href=${`/api/v1/attempts/export?format=jsonl&${q}`} download>JSON lines</a>
        </div>
        ${put ? html`<${Notice} kind=${put.left ? 'warn' : 'ok'} role="status"><p><strong>${plural(put.n, 'record')} queued.</strong> They come back here as they are worked.${put.left ? ` ${num(put.left)} left out: ${put.refused}` : ''}</p><//>` : null}
        <${Failure} error=${list.error ?? summary.error} what="The log could not be read." still="Syncing goes on." again=${list.reload} />
        ${newer > 0 ? html`<p class="newer"><button type="button" onClick=${() => { setNewer(0); list.reload(); summary.reload(); }}>${num(newer)} newer, show</button></p>` : null}
        ${list.loading ? html`<${Loading} lines=${8} what="Loading the log" />` : null}
        ${group && summary.data?.groups ? html`<${Groups} groups=${summary.data.groups} base=${base} filter=${filter} />` : null}
        ${!group && list.data && items.length === 0 ? chips.length === 1 && filter.errors ? html`<${Empty} good><p>No errors in the last 30 days.</p><//>` : chips.length > 0 ? html`<${Empty}><p>Nothing matches.</p><p><button type="button" onClick=${() => to({})}>Clear filters</button></p><//>` : html`<${Empty}><p>No attempt yet. Each webhook, nightly sync and resync leaves a row here.</p><//>` : null}
        ${!group && items.length > 0 ? html`<${Rows} ...${{ items, link, chosen, choose }} all=${!c} />` : null}
        <p class="row">${after ? html`<button type="button" onClick=${() => history.back()}>Newer page</button>` : null}
            ${!group && list.data?.next ? html`<${Link} class="button" to=${`${base}?${query(filter, { page_after: list.data.next })}`}>Older<//>` : null}</p>
        <p class="muted">Older than <${Time} at=${new Date(Date.now() - 30 * 864e5).toISOString()} /> is removed after 30 days.</p>
        ${retry ? html`<${RetryAll} connection=${connection} filter=${filter} onClose=${() => { setRetry(false); list.reload(); }} />` : null}
        ${attempt ? html`<${Drawer} key=${attempt} id=${attempt} moved=${moved} ids=${ids} link=${link} onClose=${() => go(`${base}${location.search}`)} onDone=${list.reload} />` : null}`;
}

// ---- one row ----

/** JSON as it came: numbers keep their digits. Text that is none, or was cut, is shown as it is. */
export function parseExact(text) {
    let i = 0;
    const fail = () => {
        throw new SyntaxError(`at ${i}`);
    };
    const blank = () => {
        while (/\s/.test(text[i] ?? '')) i += 1;
    };
    const take = (pattern) => {
        pattern.lastIndex = i;
        const m = pattern.exec(text);
        if (!m) fail();
        i += m[0].length;
        return m[0];
    };
    function value(depth) {
        blank();
        if (depth > 64) fail();
        const c = text[i];
        if (c === '{' || c === '[') {
            const list = { type: c, items: [] };
            i += 1;
            blank();
            const end = c === '{' ? '}' : ']';
            if (text[i] === end) {
                i += 1;
                return list;
            }
            for (;;) {
                blank();
                let name = null;
                if (c === '{') {
                    name = take(/"(?:[^"\\]|\\.)*"/y);
                    blank();
                    if (text[i] !== ':') fail();
                    i += 1;
                }
                list.items.push([name, value(depth + 1)]);
                blank();
                if (text[i] === ',') i += 1;
                else if (text[i] === end) {
                    i += 1;
                    return list;
                } else fail();
            }
        }
        return { type: 'leaf', text: c === '"' ? take(/"(?:[^"\\]|\\.)*"/y) : take(/-?[0-9.eE+-]+|true|false|null/y) };
    }
    const root = value(0);
    blank();
    if (i < text.length) fail();
    return root;
}

function Node({ name, node, depth }) {
    const key = name === null ? null : html`<span class="key">${name}</span>: `;
    if (node.type === 'leaf') return html`<div>${key}<span class="leaf">${node.text}</span></div>`;
    const [a, b] = node.type === '{' ? ['{', '}'] : ['[', ']'];
    if (node.items.length === 0) return html`<div>${key}${a}${b}</div>`;
    return html`<details open=${depth < 4}><summary>${key}${a} <span class="muted">${node.items.length}</span></summary><div class="inner">${node.items.map(([k, v], i) => html`<${Node} key=${i} name=${k} node=${v} depth=${depth + 1} />`)}</div><div>${b}</div></details>`;
}

function BodyView({ body }) {
    const [raw, set] = useState(false);
    let tree = null;
    try {
        tree = parseExact(body.body);
    } catch {
        tree = null;
    }
    const bytes = new TextEncoder().encode(body.body).length;
    return html`<h3>Response body</h3>
        <p class="row"><span class="muted">${bytes < 1024 ? `${bytes} bytes` : `${(bytes / 1024).toFixed(1)} KB`}${body.truncated ? ', cut at 64 KB' : ''}${body.redactions > 0 ? `, ${plural(body.redactions, 'value')} hidden` : ''}</span>
            ${tree ? html`<button type="button" class="quiet" aria-pressed=${raw} onClick=${() => set(!raw)}>${raw ? 'Pretty' : 'Raw'}</button>` : null}
            <${CopyButton} text=${body.body}>Copy body<//>
            <a class="button quiet" download="response.json" href=${URL.createObjectURL(new Blob([body.body], { type: 'text/plain' }))}>Download</a></p>
        <div class="body" tabindex="0" role="region" aria-label="Response body">${tree && !raw ? html`<${Node} name=${null} node=${tree} depth=${0} />` : html`<pre>${body.body}</pre>`}</div>`;
}

const FIRST = 5;

/* The newest tries of this record; the older ones on request, so that what follows is near. */
function History({ list, id, link }) {
    const [all, set] = useState(list.findIndex((o) => o.attempt_id === id) >= FIRST);
    return html`<ol class="history">${list.slice(0, all ? undefined : FIRST).map((o) => html`<li key=${o.attempt_id} aria-current=${o.attempt_id === id ? 'true' : undefined}><${Link} to=${link(o.attempt_id)}><${Time} at=${o.started_at} seconds /><//> <${ResultChip} status=${o.status} /> <span class="muted">${triggers[o.trigger] ?? o.trigger}${o.actor ? ` by ${o.actor}` : ''}${o.error_title ? ` · ${o.error_title}` : ''}</span></li>`)}</ol>
        ${!all && list.length > FIRST ? html`<p><button type="button" class="quiet" onClick=${() => set(true)}>${plural(list.length - FIRST, 'older try', 'older tries')}</button></p>` : null}`;
}

function Drawer({ id, moved, ids, link, onClose, onDone }) {
    const { data, error, loading, reload } = useGet(`/attempts/${id}`, moved);
    const [outcome, setOutcome] = useState(null);
    const retry = useAction(async () => {
        const a = data.attempt;
        const unit = await post(`/attempts/${id}/retry`);
        say('Trying again.');
        const q = query({ connection: a.connection_id, object_type: unit.object_type, record: unit.record_id, newer_than: data.history[0]?.attempt_id ?? id });
        for (let i = 0; i < 120; i += 1) {
            const r = await get(`/attempts?${q}&limit=1`);
            if (r.items[0]) {
                setOutcome(r.items[0]);
                say(r.items[0].status === 'succeeded' ? 'It succeeded.' : `It ended with ${r.items[0].error_title ?? r.items[0].status}.`);
                reload();
                onDone();
                return;
            }
            await new Promise((done) => setTimeout(done, 250));
        }
        say('It is still waiting; the work goes on.');
    });
    const at = ids.indexOf(id);
    useEffect(() => {
        const onKey = (e) => {
            if (!state.keys || e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName)) return;
            if (e.key === 'j' && ids[at + 1]) go(link(ids[at + 1]), { replace: true });
            if (e.key === 'k' && at > 0) go(link(ids[at - 1]), { replace: true });
            if (e.key === 'r' && data && !data.retry_refused && may('operator') && !retry.busy) retry.act();
        };
        addEventListener('keydown', onKey);
        return () => removeEventListener('keydown', onKey);
    });
    const a = data?.attempt;
    const heading = a ? (a.error_title ?? (a.status === 'succeeded' ? 'Succeeded' : a.status)) : 'Log row';
    const there = a && outside(data.connection, a.object_type, a.record_id);
    return html`<${Dialog} title=${heading} onClose=${onClose} drawer>
        ${loading ? html`<${Loading} lines=${6} what="Loading the row" />` : null}
        ${error ? error.status === 404 ? html`<${Notice} kind="info"><p>This row is gone: rows are removed after 30 days.</p><//>` : html`<${Failure} error=${error} again=${reload} />` : null}
        ${a ? html`
            <p class="row"><span class="muted">A-${a.attempt_id}</span> <${ResultChip} status=${a.status} resolved=${a.resolved} /><${CopyButton} text=${() => location.href} said="The link is copied.">Copy link<//></p>
            <p class="break">${a.object_type.replaceAll('_', ' ')} ${a.record_id ? recordName(a) : ''}${there ? html` <a href=${there} rel="noopener noreferrer" target="_blank">open in ${title(a.provider)}</a>` : null}${a.customer_id ? html` · <${Link} to=${`/admin/customers/${a.customer_id}`}>customer #${a.customer_id}<//>` : null}</p>
            ${data.explanation ? html`<dl class="facts">
                <dt>What happened</dt><dd>${data.explanation.meaning} ${a.error_message ? html`<span class="break">${a.error_message}</span>` : ''}
                    ${data.mapping_line ? html`<br /><span class="muted">Mapping: ${data.mapping_line.field} ← ${data.mapping_line.source} (${data.mapping_line.type}${data.mapping_line.convert ? `, ${data.mapping_line.convert}` : ''})</span>` : null}</dd>
                <dt>What to do</dt><dd>${data.explanation.user_action} ${a.error_field ? html`<${Link} to=${`/admin/integrations/${a.connection_id}/mapping`}>Edit mapping<//>` : null} <${Link} to=${`/admin/errors#${a.error_code}`}>More about this error<//></dd></dl>` : null}
            ${outcome ? html`<${Notice} kind=${outcome.status === 'succeeded' ? 'ok' : 'warn'} role="status"><p><strong>${outcome.status === 'succeeded' ? 'The retry succeeded.' : `The retry ended: ${outcome.error_title ?? outcome.status}.`}</strong> ${outcome.error_message}</p><//>` : null}
            <${Failure} error=${retry.error} />
            <p class="row">${may('operator') ? html`<${Busy} class="main" busy=${retry.busy} aria-disabled=${retry.busy || Boolean(data.retry_refused)} aria-describedby=${data.retry_refused ? 'refused' : undefined} onClick=${data.retry_refused ? undefined : retry.act}>Retry this record<//>` : null}
                <span class="muted" id="refused">${data.retry_refused ? `Not now: ${data.retry_refused}.` : a.next_retry_at ? html`Next automatic try <${Time} at=${a.next_retry_at} />.` : 'Next automatic try: none.'}</span></p>
            <h3>Attempts</h3>
            <${History} list=${data.history} id=${id} link=${link} />
            <h3>Details</h3>
            <p class="break">${triggers[a.trigger] ?? a.trigger}${a.events > 1 ? `, stands for ${a.events} deliveries` : ''} · queued ${duration(a.queue_wait_ms)} · ran ${duration(a.duration_ms)}${a.lag_ms !== null ? ` · ${duration(a.lag_ms)} after the event` : ''} · worker ${a.worker}${a.run_id ? ` · run ${a.run_id}` : ''} · try ${a.attempt_no}</p>
            ${a.endpoint ? html`<p class="break">Request ${data.body?.method ?? ''} ${a.endpoint} · ${a.http_status ?? 'no answer'}${a.provider_request_id ? ` · ${a.provider === 'hubspot' ? 'correlationId' : 'Request-Id'} ${a.provider_request_id}` : ''}</p>` : null}
            ${data.body?.body ? html`<${BodyView} body=${data.body} />` : html`<p class="muted">No answer of the provider is kept for this row.</p>`}
            <p class="row"><${CopyButton} text=${() => `${heading}\nattempt ${a.attempt_id}, ${a.provider} ${a.object_type} ${a.record_id ?? ''}, customer ${a.customer_id ?? '-'}\ncode ${a.error_code}, request ${a.provider_request_id || '-'}\n${a.error_message}\nat ${a.started_at}\n${location.href}`}>Copy for support<//>
                ${at > 0 ? html`<${Link} class="button quiet" to=${link(ids[at - 1])}>Newer row<//>` : null}${at >= 0 && ids[at + 1] ? html`<${Link} class="button quiet" to=${link(ids[at + 1])}>Older row<//>` : null}</p>` : null}
    <//>`;
}
