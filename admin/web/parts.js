// Pieces of screens: notices, chips, dialogs, menus, tables, progress.
import { html, state, say, useEffect, useRef, useShared, useState } from './lib.js';

// ---- words and marks: never colour alone ----

const marks = { ok: '✓', warn: '!', error: '✕', idle: '–', info: 'i' };

export function Chip({ kind = 'idle', children }) {
    return html`<span class=${`chip ${kind}`}><span aria-hidden="true" class="mark">${marks[kind]}</span>${children}</span>`;
}

export const states = {
    connected: ['ok', 'Connected'],
    reauthorize: ['error', 'Reauthorize'],
    disconnected: ['idle', 'Disconnected'],
};
export function StateChip({ value }) {
    const [kind, word] = states[value] ?? ['idle', value];
    return html`<${Chip} kind=${kind}>${word}<//>`;
}

export const results = {
    succeeded: ['ok', 'Succeeded'],
    partial: ['warn', 'Partial'],
    failed: ['error', 'Failed'],
    retrying: ['warn', 'Retrying'],
    skipped: ['idle', 'Skipped'],
    cancelled: ['idle', 'Cancelled'],
    interrupted: ['idle', 'Interrupted'],
    running: ['info', 'Running'],
    queued: ['info', 'Queued'],
};
export function ResultChip({ status, resolved }) {
    const [kind, word] = results[status] ?? ['idle', status];
    return html`<${Chip} kind=${resolved && kind !== 'ok' ? 'idle' : kind}>${word}${resolved ? ', resolved' : ''}<//>`;
}

// ---- what went wrong, and what still works ----

export function supportText(error, more = '') {
    return [
        `pivotal-sync: ${error.message}`,
        `code ${error.code}, status ${error.status}, ${error.path ?? ''}`,
        `page ${location.href}`,
        `at ${error.at ?? new Date().toISOString()}, signed in as ${state.who?.name || state.who?.role || 'nobody'}`,
        more,
    ].filter(Boolean).join('\n');
}

export function CopyButton({ text, children = 'Copy', said = 'Copied.' }) {
    const [done, set] = useState(false);
    const copy = async () => {
        try {
            await navigator.clipboard.writeText(typeof text === 'function' ? text() : text);
            set(true);
            say(said);
            setTimeout(() => set(false), 2000);
        } catch {
            say('The browser does not allow copying.');
        }
    };
    return html`<button type="button" class="quiet" onClick=${copy}>${done ? 'Copied' : children}</button>`;
}

/** A failure: what, what still works, try again, copy for support. */
export function Failure({ error, what, still, again, quiet }) {
    if (!error) return null;
    return html`<div class="notice error" role=${quiet ? undefined : 'alert'}>
        <p>${what ? html`<strong>${what}</strong>${' '}` : null}${error.message}${still ? ` ${still}` : ''}</p>
        <p class="row">
            ${again ? html`<button type="button" onClick=${again}>Try again</button>` : null}
            <${CopyButton} text=${() => supportText(error)}>Copy for support<//>
        </p>
    </div>`;
}

export function Notice({ kind = 'info', children, role }) {
    return html`<div class=${`notice ${kind}`} role=${role}>${children}</div>`;
}

/** Grey lines while something loads, with a word for those who do not see them. */
export function Loading({ lines = 3, what = 'Loading' }) {
    return html`<div class="skeleton" role="status"><span class="hidden">${what}…</span>
        ${Array.from({ length: lines }, (_, i) => html`<span key=${i} class="bone" aria-hidden="true"></span>`)}</div>`;
}

export function Empty({ children, good }) {
    return html`<div class="empty">${good ? html`<span class="big" aria-hidden="true">✓</span>` : null}${children}</div>`;
}

export function NeedsRole({ role }) {
    const { who } = useShared();
    return html`<p class="muted">Changing this needs the role ${role}; you are signed in as ${who?.role}.</p>`;
}

// ---- dialog and drawer: the browser's own, so focus and Esc are its ---- 

export function Dialog({ title, children, onClose, drawer, wide }) {
    const ref = useRef(null);
    const back = useRef(document.activeElement);
    useEffect(() => {
        const d = ref.current;
        if (!d.open) d.showModal();
        d.querySelector('h2')?.focus();
        return () => {
            const to = back.current;
            if (d.open) d.close();
            if (to?.isConnected) to.focus();
        };
    }, []);
    const onCancel = (e) => {
        e.preventDefault();
        onClose();
    };
    return html`<dialog ref=${ref} class=${drawer ? 'drawer' : wide ? 'wide' : ''} aria-labelledby="dialog-title" onCancel=${onCancel}
        onClick=${(e) => e.target === ref.current && drawer && onClose()}>
        <div class="dialog-head">
            <h2 id="dialog-title" tabindex="-1">${title}</h2>
            <button type="button" class="quiet icon" aria-label="Close" onClick=${onClose}>✕</button>
        </div>
        <div class="dialog-body">${children}</div>
    </dialog>`;
}

/** A button that opens a menu, by the pattern of the APG. items: {label, run, disabled, why}. */
export function Menu({ label, items, children = '⋯' }) {
    const [open, set] = useState(false);
    const box = useRef(null);
    const button = useRef(null);
    const focus = (i) => {
        const all = [...box.current.querySelectorAll('[role=menuitem]')];
        all[(i + all.length) % all.length]?.focus();
    };
    useEffect(() => {
        if (!open) return undefined;
        focus(0);
        const away = (e) => box.current?.contains(e.target) || set(false);
        document.addEventListener('pointerdown', away);
        return () => document.removeEventListener('pointerdown', away);
    }, [open]);
    const close = () => {
        set(false);
        button.current.focus();
    };
    const onKeyDown = (e) => {
        const all = open ? [...box.current.querySelectorAll('[role=menuitem]')] : [];
        const at = all.indexOf(document.activeElement);
        const keys = {
            ArrowDown: () => (open ? focus(at + 1) : set(true)),
            ArrowUp: () => open && focus(at - 1),
            Home: () => open && focus(0),
            End: () => open && focus(-1),
            Escape: () => open && close(),
        };
        if (open && e.key === 'Tab') set(false);
        if (keys[e.key]) {
            e.preventDefault();
            e.stopPropagation();
            keys[e.key]();
        }
    };
    return html`<div class="menu" ref=${box} onKeyDown=${onKeyDown}>
        <button type="button" ref=${button} class="icon" aria-haspopup="menu" aria-expanded=${open} aria-label=${label} onClick=${() => set(!open)}>${children}</button>
        ${open ? html`<ul role="menu" aria-label=${label}>
            ${items.map((item) => html`<li role="none" key=${item.label}>
                <button type="button" role="menuitem" tabindex="-1" aria-disabled=${Boolean(item.disabled)}
                    onClick=${() => {
                        if (item.disabled) return;
                        close();
                        item.run();
                    }}>${item.label}${item.why ? html`<small>${item.why}</small>` : null}</button>
            </li>`)}
        </ul>` : null}
    </div>`;
}

export function Switch({ on, set, children, id }) {
    return html`<button type="button" id=${id} role="switch" aria-checked=${on} class="switch" onClick=${() => set(!on)}><span aria-hidden="true" class="track"></span>${children}</button>`;
}

export function Busy({ busy, children, ...rest }) {
    return html`<button type="button" aria-disabled=${busy} ...${rest} onClick=${busy ? undefined : rest.onClick}>${busy ? html`<span class="dots" aria-hidden="true"></span>` : null}${children}</button>`;
}

// ---- a picture for those who would rather look than read; the numbers beside it ----

export function Bars({ label, rows, unit }) {
    const highest = Math.max(0, ...rows.map((r) => r.value));
    const most = highest || 1;
    const width = 100 / rows.length;
    return html`<figure class="picture">
        <figcaption>${label} <span class="muted">${highest > 0 ? `most: ${highest.toLocaleString('en')} ${unit}` : `no ${unit} yet`}</span></figcaption>
        <svg class=${highest > 0 ? '' : 'flat'} viewBox="0 0 100 30" preserveAspectRatio="none" role="img" aria-label=${`${label}: ${rows.length} bars, the highest ${highest} ${unit}`}>
            ${rows.map((r, i) => html`<g key=${r.name}>
                <rect class="bar" x=${i * width + width * 0.12} width=${width * 0.76} y=${30 - (r.value / most) * 29} height=${(r.value / most) * 29}><title>${r.name}: ${r.value} ${unit}${r.bad ? `, ${r.bad} errors` : ''}</title></rect>
                ${r.bad ? html`<rect class="bad" x=${i * width + width * 0.12} width=${width * 0.76} y=${30 - Math.max(1, (r.bad / most) * 29)} height=${Math.max(1, (r.bad / most) * 29)}><title>${r.name}: ${r.bad} errors</title></rect>` : null}
            </g>`)}
        </svg>
        <div class="ends" aria-hidden="true"><span>${rows[0]?.name}</span><span>${rows.at(-1)?.name}</span></div>
        <details><summary>The numbers</summary><div class="scroll" tabindex="0" role="region" aria-label=${`${label}: the numbers`}><table><caption class="hidden">${label}</caption><thead><tr><th scope="col">When</th><th scope="col" class="n">${unit}</th>${rows.some((r) => r.bad !== undefined) ? html`<th scope="col" class="n">errors</th>` : null}</tr></thead>
            <tbody>${rows.map((r) => html`<tr key=${r.name}><th scope="row">${r.name}</th><td class="n">${r.shown ?? r.value}</td>${r.bad !== undefined ? html`<td class="n">${r.bad}</td>` : null}</tr>`)}</tbody></table></div></details>
    </figure>`;
}

/** Share of something, as a bar with words. */
export function Gauge({ label, value, max, text }) {
    return html`<div class="gauge"><span>${label}</span><progress value=${value} max=${max} aria-label=${label} aria-valuetext=${text}></progress><span class="n">${text}</span></div>`;
}
