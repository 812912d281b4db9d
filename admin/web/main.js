// The page: header, navigation, the screen that the address names, live region, keys.
import { change, get, go, html, Link, listen, Problem, render, say, state, Time, unlisten, api, useAddress, useEffect, useGet, useMoved, useNarrow, useRef, useShared, useState, when, zoneName } from './lib.js';
import { Dialog, Failure, Notice, Switch } from './parts.js';
import { Integration, Integrations, Overview, Webhooks } from './integrations.js';
import { Log } from './log.js';
import { Mapping, Scope } from './setup.js';
import { Customer, Customers } from './customers.js';
import { Activity, Errors, Queue, SignIn, signIn } from './system.js';

const sections = [['/admin/integrations', 'Integrations'], ['/admin/log', 'Log'], ['/admin/customers', 'Customers'], ['/admin/queue', 'Queue'], ['/admin/activity', 'Activity'], ['/admin/errors', 'Errors']];

const ofConnection = {
    '': (p) => html`<${Overview} ...${p} />`,
    log: (p, attempt) => html`<${Log} ...${p} attempt=${attempt} />`,
    mapping: (p) => html`<${Mapping} ...${p} />`,
    scope: (p) => html`<${Scope} ...${p} />`,
    webhooks: (p) => html`<${Webhooks} ...${p} />`,
    activity: (p) => html`<${Activity} ...${p} />`,
};

function Resolve({ provider, rest }) {
    // Addresses with the provider's name, as the article has them.
    const { data, error } = useGet(`/connections/${encodeURIComponent(provider)}`);
    useEffect(() => {
        if (data) go(`/admin/integrations/${data.connection_id}${rest}${location.search}`, { replace: true });
    }, [data]);
    return html`<h1 tabindex="-1">Integration</h1><${Failure} error=${error} />`;
}

/* A screen about every integration, which is asked again when one of them moves. */
function OfAll({ render: draw }) {
    return draw(useMoved(null).moved);
}

function Missing() {
    return html`<h1 tabindex="-1">There is no such page</h1><p><${Link} to="/admin/integrations">Integrations<//></p>`;
}

function Screen({ path, hash }) {
    const parts = path.split('/').slice(2);
    const [section, id, tab = '', deeper] = parts;
    if (!section || section === 'sign-in') return html`<${Integrations} />`;
    if (section === 'integrations' && !id) return html`<${Integrations} />`;
    if (section === 'integrations' && !/^\d+$/.test(id)) return html`<${Resolve} provider=${decodeURIComponent(id)} rest=${parts.slice(2).map((p) => `/${p}`).join('')} />`;
    if (section === 'integrations' && ofConnection[tab]) return html`<${Integration} key=${id} id=${id} tab=${tab}>${(p) => ofConnection[tab](p, deeper)}<//>`;
    if (section === 'log') return html`<${OfAll} render=${(moved) => html`<${Log} c=${null} attempt=${id} moved=${moved} />`} />`;
    if (section === 'customers') return id ? html`<${Customer} key=${id} id=${id} />` : html`<${Customers} />`;
    if (section === 'queue') return html`<${Queue} />`;
    if (section === 'activity') return html`<${OfAll} render=${(moved) => html`<${Activity} c=${null} moved=${moved} />`} />`;
    if (section === 'errors') return html`<${Errors} hash=${hash} />`;
    return html`<${Missing} />`;
}

const keep = (name) => (e) => {
    localStorage.setItem(name, e.target.value);
    change({ [name]: e.target.value });
};

/* In the header; below the screen where the header has no room. */
function Zone() {
    const s = useShared();
    const [, tick] = useState(0);
    useEffect(() => {
        const timer = setInterval(() => tick((n) => n + 1), 20000);
        return () => clearInterval(timer);
    }, []);
    return html`<span class="zone"><label for="zone" class="hidden">Times shown in</label><select id="zone" value=${s.zone} onChange=${keep('zone')}><option value="workspace">Workspace time</option><option value="mine">My time</option><option value="utc">UTC</option></select>
        <span class="muted">${when(new Date().toISOString()).replace('today ', '')} ${zoneName()}</span></span>`;
}

function Choices({ narrow }) {
    const s = useShared();
    useEffect(() => {
        if (s.theme === 'system') delete document.documentElement.dataset.theme;
        else document.documentElement.dataset.theme = s.theme;
    }, [s.theme]);
    return html`<div class="choices">
        ${narrow ? html`<${Zone} />` : null}
        <label for="theme" class="hidden">Colours</label><select id="theme" value=${s.theme} onChange=${keep('theme')}><option value="system">System colours</option><option value="light">Light</option><option value="dark">Dark</option></select>
        <button type="button" class="quiet" aria-pressed=${s.paused} onClick=${() => change({ paused: !s.paused })}>${s.paused ? 'Go on live' : 'Pause live updates'}</button></div>`;
}

const keyHelp = [['/', 'Filter the log'], ['e', 'Errors only'], ['j k', 'Next and previous row'], ['Enter', 'Open the row'], ['r', 'Retry this record (in a row)'], ['Esc', 'Close'], ['?', 'This help']];

function Help({ onClose }) {
    const s = useShared();
    return html`<${Dialog} title="Keys" onClose=${onClose}><dl class="facts keys">${keyHelp.map(([k, w]) => html`<dt key=${k}><kbd>${k}</kbd></dt><dd>${w}</dd>`)}</dl>
        <${Switch} on=${s.keys} set=${(on) => { localStorage.setItem('keys', on ? 'on' : 'off'); change({ keys: on }); }}>Single keys<//><//>`;
}

function App() {
    const s = useShared();
    const address = useAddress();
    const url = new URL(address, location.href);
    const [help, setHelp] = useState(false);
    const narrow = useNarrow();
    const spaces = useGet(s.who ? '/workspaces' : null, s.who?.token_id);
    const first = useRef(true);
    const path = url.pathname;
    const screen = path.split('/').slice(0, 5).filter((p, i, all) => !(i === 5 || (all[4] === 'log' && i > 4))).join('/');

    useEffect(() => {
        const tz = spaces.data?.items[0]?.tz;
        if (tz && tz !== s.workspaceZone) change({ workspaceZone: tz });
    }, [spaces.data]);
    useEffect(() => {
        const onKey = (e) => {
            if (e.key === '?' && state.keys && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName)) setHelp(true);
        };
        addEventListener('keydown', onKey);
        return () => removeEventListener('keydown', onKey);
    }, []);
    // A new screen: its heading is the title, and has the focus.
    useEffect(() => {
        const h1 = document.querySelector('h1');
        document.title = `${h1?.firstChild?.textContent?.trim() || 'pivotal-sync'} – pivotal-sync`;
        if (!first.current && s.who && !document.querySelector('dialog[open]')) h1?.focus();
        first.current = false;
    }, [screen, s.who === null]);

    if (s.who === undefined) return html`<p class="boot" role="status">Loading…</p>`;
    if (s.who === null) return html`<${SignIn} problem=${s.problem} /><div role="status" aria-live="polite" class="hidden">${s.said}</div>`;
    const signOut = async () => {
        await api('DELETE', '/session').catch(() => {});
        unlisten();
        change({ who: null });
    };
    return html`<a class="skip" href="#main">Skip to the content</a>
        <header class="top"><${Link} to="/admin/integrations" class="brand">pivotal-sync<//>
            <nav aria-label="Sections"><ul>${sections.map(([to, word]) => html`<li key=${to}><${Link} to=${to} aria-current=${path.startsWith(to) ? 'page' : undefined}>${word}<//></li>`)}</ul></nav>
            ${narrow ? null : html`<${Zone} />`}<div class="who"><span class="muted">${s.who.name || 'signed in'} · ${s.who.role}</span><button type="button" class="quiet" onClick=${() => setHelp(true)} aria-label="Help on keys">?</button><button type="button" class="quiet" onClick=${signOut}>Sign out</button></div></header>
        ${s.offlineSince ? html`<div class="offline" role="status">Live updates stopped <${Time} at=${s.offlineSince} seconds />, reconnecting. What you see may be old.</div>` : null}
        <main id="main" tabindex="-1"><${Screen} path=${path} hash=${url.hash.slice(1)} /></main>
        <footer class="foot"><${Choices} narrow=${narrow} /></footer>
        ${help ? html`<${Help} onClose=${() => setHelp(false)} />` : null}
        <div role="status" aria-live="polite" class="hidden" id="said">${s.said}</div>`;
}

// ---- the start: a link with a token signs in, and the token leaves the address at once ----

const given = /[#&]token=([\w.-]+)/.exec(location.hash)?.[1];
if (given) history.replaceState(null, '', location.pathname + location.search);
render(html`<${App} />`, document.getElementById('app'));
try {
    if (given) await signIn(given);
    else {
        change({ who: await get('/session') });
        listen();
        if (location.pathname === '/') go('/admin/integrations', { replace: true });
    }
} catch (error) {
    change({ who: null, problem: error instanceof Problem && error.code !== 'signed_out' ? error : undefined });
}
