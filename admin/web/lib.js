// What every screen stands on: the API, the session, live figures, the address, time and numbers.
import { h, render } from './vendor/preact.js';
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from './vendor/hooks.js';
import htm from './vendor/htm.js';

export const html = htm.bind(h);
export { render, useCallback, useEffect, useMemo, useRef, useState };

// ---- one small store for what all screens share ----

const listeners = new Set();
export const state = {
    who: undefined, // undefined: not asked yet; null: nobody
    live: null, // figures of the last event
    liveAt: 0,
    offlineSince: null,
    paused: false,
    said: '', // for the live region
    zone: localStorage.getItem('zone') ?? 'workspace',
    theme: localStorage.getItem('theme') ?? 'system',
    keys: localStorage.getItem('keys') !== 'off',
    workspaceZone: 'UTC',
};

export function change(values) {
    Object.assign(state, values);
    for (const listener of listeners) listener();
}

export function useShared() {
    const [, again] = useState(0);
    // Before the screen is painted: what changes until then would be missed, and the page stay as it is.
    useLayoutEffect(() => {
        const listener = () => again((n) => n + 1);
        listeners.add(listener);
        return () => listeners.delete(listener);
    }, []);
    return state;
}

/** Say something to people who do not see it change. */
export function say(text) {
    change({ said: '' });
    setTimeout(() => change({ said: text }), 30);
}

export const rank = { viewer: 1, operator: 2, admin: 3 };
export const may = (role) => (rank[state.who?.role] ?? 0) >= rank[role];

// ---- the API ----

export class Problem extends Error {
    constructor(status, body, path) {
        super(body?.detail ?? `The server answered ${status}.`);
        this.status = status;
        this.code = body?.code ?? 'unknown';
        this.path = path;
        this.at = new Date().toISOString();
    }
}

export async function api(method, path, body) {
    let answer;
    try {
        answer = await fetch(`/api/v1${path}`, {
            method,
            headers: {
                ...(method === 'GET' ? {} : { 'X-Pivotal-Sync': '1' }),
                ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
            },
            body: body === undefined ? undefined : JSON.stringify(body),
        });
    } catch {
        throw new Problem(0, { code: 'offline', detail: 'The server cannot be reached.' }, path);
    }
    if (answer.status === 204) return null;
    const type = answer.headers.get('Content-Type') ?? '';
    const said = type.includes('json') ? await answer.json().catch(() => null) : null;
    if (answer.ok) return said;
    const problem = new Problem(answer.status, said, path);
    if (problem.code === 'signed_out' && state.who) change({ who: null });
    throw problem;
}

export const get = (path) => api('GET', path);
export const post = (path, body = {}) => api('POST', path, body);

/** Data of a path, asked again when it or `again` changes; what was there stays meanwhile. */
export function useGet(path, again) {
    const [got, set] = useState({ path: null, data: undefined, error: null });
    const [round, next] = useState(0);
    useEffect(() => {
        if (path === null) return undefined;
        let gone = false;
        get(path).then(
            (data) => gone || set({ path, data, error: null }),
            (error) => gone || set((was) => ({ path, data: was.path === path ? was.data : undefined, error })),
        );
        return () => {
            gone = true;
        };
    }, [path, again, round]);
    const fresh = got.path === path;
    return {
        data: fresh ? got.data : undefined,
        error: fresh ? got.error : null,
        loading: path !== null && (!fresh || (got.data === undefined && got.error === null)),
        reload: () => next((n) => n + 1),
    };
}

/** An action behind a button: busy while it runs, and its problem. */
export function useAction(run) {
    const [now, set] = useState({ busy: false, error: null });
    const act = async (...values) => {
        set({ busy: true, error: null });
        try {
            const result = await run(...values);
            set({ busy: false, error: null });
            return result;
        } catch (error) {
            set({ busy: false, error });
            return undefined;
        }
    };
    return { act, busy: now.busy, error: now.error, clear: () => set({ busy: false, error: null }) };
}

// ---- live figures ----

let source = null;
let failures = 0;
let silence; // the server answers within 15 s; a request of which nothing comes back is given up
const SILENT_MS = 30000;

function heard(figures) {
    failures = 0;
    watch();
    if (state.offlineSince) say('Live updates are back.');
    if (figures && !state.paused) change({ live: figures, liveAt: Date.now(), offlineSince: null });
    else if (state.offlineSince) change({ offlineSince: null });
}

/* The server answers, and cannot look itself: its database is away. */
function unknown() {
    watch();
    if (!state.offlineSince) change({ offlineSince: new Date().toISOString() });
}

function lost() {
    failures += 1;
    // Each answer ends and is asked for again, so one failure means nothing.
    if (failures >= 2 && !state.offlineSince) change({ offlineSince: new Date().toISOString() });
    if (source?.readyState === EventSource.CLOSED) {
        source = null;
        setTimeout(() => state.who && listen(), 2000);
    }
}

function again() {
    source?.close();
    source = null;
    listen();
}

function watch() {
    clearTimeout(silence);
    silence = setTimeout(() => {
        lost();
        again();
    }, SILENT_MS);
}

export function listen() {
    if (source || !state.who) return;
    source = new EventSource('/api/v1/events');
    watch();
    source.addEventListener('open', watch);
    source.addEventListener('figures', (e) => heard(JSON.parse(e.data)));
    source.addEventListener('still', () => heard(null));
    source.addEventListener('stale', unknown);
    source.addEventListener('error', lost);
}

export function unlisten() {
    clearTimeout(silence);
    source?.close();
    source = null;
    change({ live: null, offlineSince: null });
}

// The browser knows at once when its network is gone or back.
addEventListener('offline', () => state.who && change({ offlineSince: new Date().toISOString() }));
addEventListener('online', again);

document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
        clearTimeout(silence);
        source?.close();
        source = null;
    } else listen();
});

/** What moved of a connection, at most once a second: a number to ask again by. */
export function useMoved(connectionId) {
    const { live } = useShared();
    const one = live?.connections?.find((c) => c.connection_id === connectionId);
    const text = JSON.stringify(connectionId === null ? live?.connections : one);
    const [moved, set] = useState(0);
    const seen = useRef(text);
    const timer = useRef(null);
    useEffect(() => {
        if (seen.current !== undefined && seen.current !== text && !timer.current) {
            timer.current = setTimeout(() => {
                timer.current = null;
                set((n) => n + 1);
            }, 1000);
        }
        seen.current = text;
    }, [text]);
    useEffect(() => () => clearTimeout(timer.current), []);
    return { moved, figures: one };
}

// ---- the address ----

export function go(to, { replace = false } = {}) {
    history[replace ? 'replaceState' : 'pushState'](null, '', to);
    dispatchEvent(new Event('moved'));
}

export function useAddress() {
    const [at, set] = useState(() => location.pathname + location.search + location.hash);
    useLayoutEffect(() => {
        const moved = () => set(location.pathname + location.search + location.hash);
        addEventListener('popstate', moved);
        addEventListener('moved', moved);
        return () => {
            removeEventListener('popstate', moved);
            removeEventListener('moved', moved);
        };
    }, []);
    return at;
}

/** Whether the window is too narrow for all of the header. */
const narrowQuery = matchMedia('(max-width: 900px)');
export function useNarrow() {
    const [narrow, set] = useState(narrowQuery.matches);
    useEffect(() => {
        const changed = () => set(narrowQuery.matches);
        narrowQuery.addEventListener('change', changed);
        return () => narrowQuery.removeEventListener('change', changed);
    }, []);
    return narrow;
}

/** A link inside the page. */
export function Link({ to, children, ...rest }) {
    const onClick = (e) => {
        if (e.metaKey || e.ctrlKey || e.shiftKey || e.altKey || e.button !== 0) return;
        e.preventDefault();
        go(to);
    };
    return html`<a href=${to} onClick=${onClick} ...${rest}>${children}</a>`;
}

// ---- time and numbers ----

export function zone() {
    if (state.zone === 'utc') return 'UTC';
    return state.zone === 'mine' ? undefined : state.workspaceZone;
}

const formats = new Map();
function format(options) {
    const key = JSON.stringify([options, zone()]);
    if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat('en-GB', { ...options, timeZone: zone() }));
    return formats.get(key);
}

const dayOf = (date) => format({ year: 'numeric', month: '2-digit', day: '2-digit' }).format(date);

/** "today 03:04", "Mon 16 Nov, 09:12". */
export function when(iso, seconds = false) {
    const date = new Date(iso);
    const clock = format({ hour: '2-digit', minute: '2-digit', ...(seconds ? { second: '2-digit' } : {}) }).format(date);
    const day = dayOf(date);
    if (day === dayOf(new Date())) return `today ${clock}`;
    if (day === dayOf(new Date(Date.now() - 864e5))) return `yesterday ${clock}`;
    if (day === dayOf(new Date(Date.now() + 864e5))) return `tomorrow ${clock}`;
    const thisYear = day.slice(-4) === dayOf(new Date()).slice(-4);
    return `${format(thisYear ? { weekday: 'short', day: 'numeric', month: 'short' } : { day: 'numeric', month: 'short', year: 'numeric' }).format(date)}, ${clock}`;
}

/** What a field for date and time shows of an instant in the chosen zone, and back. */
export function fieldOf(iso) {
    if (!iso || Number.isNaN(Date.parse(iso))) return '';
    return new Intl.DateTimeFormat('sv-SE', { dateStyle: 'short', timeStyle: 'short', timeZone: zone() }).format(new Date(iso)).replace(' ', 'T');
}
export function instantOf(field) {
    const wanted = Date.parse(`${field}:00Z`);
    if (Number.isNaN(wanted)) return '';
    let at = wanted;
    // Twice: the first step may cross the night in which clocks are changed.
    for (let i = 0; i < 2; i += 1) at += wanted - Date.parse(`${fieldOf(new Date(at).toISOString())}:00Z`);
    return new Date(at).toISOString();
}
export const midnight = () => instantOf(`${fieldOf(new Date().toISOString()).slice(0, 10)}T00:00`);

export function zoneName() {
    const parts = format({ timeZoneName: 'short', hour: 'numeric' }).formatToParts(new Date());
    return parts.find((p) => p.type === 'timeZoneName')?.value ?? 'UTC';
}

/** "41 min ago", "in 6 h". */
export function ago(iso) {
    const s = (new Date(iso) - Date.now()) / 1000;
    const size = Math.abs(s);
    if (size < 45) return s <= 0 ? 'just now' : 'in a moment';
    const text = size < 3570 ? `${Math.round(size / 60)} min` : size < 129600 ? `${Math.round(size / 3600)} h` : `${Math.round(size / 86400)} days`;
    return s <= 0 ? `${text} ago` : `in ${text}`;
}

export function Time({ at, seconds, short }) {
    if (!at) return html`<span>never</span>`;
    const iso = new Date(at).toISOString();
    return html`<time datetime=${iso} title=${`${when(at, true)} ${zoneName()} (${iso})`}>${short ? ago(at) : when(at, seconds)}</time>`;
}

/** "USD 37.50": with the decimals of the currency. */
export function money(value, currency) {
    try {
        return new Intl.NumberFormat('en', { style: 'currency', currency, currencyDisplay: 'code' }).format(value).replaceAll('\u00a0', ' ');
    } catch {
        return `${num(value)} ${currency ?? ''}`;
    }
}
/** "19 Sept 2023, 00:00", for what is long ago. */
export const day = (iso) => format({ day: 'numeric', month: 'short', year: 'numeric', hour: '2-digit', minute: '2-digit' }).format(new Date(iso));
export const exact = new Intl.NumberFormat('en', { maximumFractionDigits: 20 });
const numbers = new Intl.NumberFormat('en');
export const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) : '');
/** Of many words one list: "a", "a and b", "a, b and c". */
export const listed = (words) => new Intl.ListFormat('en-GB', { type: 'conjunction' }).format(words);
export const num = (n) => (n === null || n === undefined ? '–' : numbers.format(n));
export const plural = (n, one, many = `${one}s`) => `${num(n)} ${n === 1 ? one : many}`;

export function duration(ms) {
    if (ms === null || ms === undefined) return '–';
    if (ms < 1000) return `${Math.round(ms)} ms`;
    const s = ms / 1000;
    if (s < 60) return `${s < 10 ? Number(s.toFixed(1)) : Math.round(s)} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
    return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
}

export const titles = { hubspot: 'HubSpot', stripe: 'Stripe' };
export const title = (provider) => titles[provider] ?? provider ?? 'Provider';

/** The record's own page at the provider; null when it cannot be known. */
export function outside(c, type, id) {
    if (!c || !id) return null;
    if (c.provider === 'hubspot' && /^[a-z0-9.-]+$/.test(c.ui_domain ?? 'app.hubspot.com')) {
        const kind = { company: '0-2', contact: '0-1' }[type];
        return kind && `https://${c.ui_domain ?? 'app.hubspot.com'}/contacts/${encodeURIComponent(c.account_id)}/record/${kind}/${encodeURIComponent(id)}`;
    }
    const kind = { customer: 'customers', subscription: 'subscriptions', invoice: 'invoices', price: 'prices', product: 'products' }[type];
    return c.provider === 'stripe' && kind ? `https://dashboard.stripe.com/${c.mode === 'test' ? 'test/' : ''}${kind}/${encodeURIComponent(id)}` : null;
}
