// Field mapping with its versions, and what is mirrored.
import { api, get, go, html, Link, listed, may, num, plural, post, say, Time, title, useAction, useEffect, useGet, useState } from './lib.js';
import { Busy, Chip, Dialog, Empty, Failure, Loading, NeedsRole, Notice, Switch } from './parts.js';
import { shownValue } from './customers.js';

const types = ['text', 'number', 'integer', 'bool', 'date', 'datetime', 'enum', 'owner', 'list', 'domain', 'json'];
const converts = ['', 'lower', 'trim', 'plan', 'owner_email', 'label', 'cents'];

function Line({ line, i, set, remove, problems, properties, editable }) {
    const property = properties.find((p) => p.name === line.source);
    const about = property ? `${property.label ?? ''} (${property.type ?? '?'})${property.filled === null || property.filled === undefined ? '' : `, ${property.filled} % have a value`}` : '';
    const edit = (name) => (e) => set({ ...line, [name]: e.target.value });
    const mine = problems.filter((p) => p.line === i + 1);
    if (!editable) return html`<tr><th scope="row">${line.field}</th><td data-label="Property" class="break">${line.source}</td><td data-label="Type">${line.type}</td><td data-label="Conversion">${line.convert || '–'}</td><td></td></tr>`;
    return html`<tr class=${mine.some((p) => p.severity === 'error') ? 'bad' : ''}>
        <td data-label="Field"><input aria-label=${`Field of line ${i + 1}`} value=${line.field} onInput=${edit('field')} /></td>
        <td data-label="Property"><input aria-label=${`Property of line ${i + 1}`} list="properties" value=${line.source} onInput=${edit('source')} /><small class="muted about" title=${about}>${about}</small>
            ${mine.map((p, k) => html`<p key=${k} class=${`problem ${p.severity}`}>${p.severity === 'error' ? '✕' : '!'} ${p.message}</p>`)}</td>
        <td data-label="Type"><select aria-label=${`Type of line ${i + 1}`} value=${line.type} onChange=${edit('type')}>${types.map((t) => {
        const fits = t === line.type || !property?.fits || property.fits.includes(t);
        return html`<option key=${t} value=${t} disabled=${!fits}>${t}${fits ? '' : ` (not from a ${property.type})`}</option>`;
    })}</select></td>
        <td data-label="Conversion"><select aria-label=${`Conversion of line ${i + 1}`} value=${line.convert} onChange=${edit('convert')}>${(converts.includes(line.convert) ? converts : [...converts, line.convert]).map((t) => html`<option key=${t} value=${t}>${t || 'none'}</option>`)}</select></td>
        <td><button type="button" class="quiet" aria-label=${`Remove line ${i + 1}, ${line.field}`} onClick=${remove}>Remove</button></td></tr>`;
}

function differences(a, b) {
    const by = (list) => new Map(list.map((l) => [l.field, `${l.source} (${l.type}${l.convert ? `, ${l.convert}` : ''})`]));
    const x = by(a);
    const y = by(b);
    return [...new Set([...x.keys(), ...y.keys()])].filter((k) => x.get(k) !== y.get(k)).map((k) => ({ field: k, old: x.get(k), now: y.get(k) }));
}

/* The mapping as it stands on the page, tried on one customer: those that fail are offered first. */
function PreviewOne({ c, lines, hear }) {
    const [text, setText] = useState('');
    const [q, setQ] = useState('');
    const [who, setWho] = useState('');
    const [got, setGot] = useState(null);
    useEffect(() => {
        const timer = setTimeout(() => setQ(text.trim()), 300);
        return () => clearTimeout(timer);
    }, [text]);
    useEffect(() => setGot(null), [JSON.stringify(lines), who]);
    const failing = useGet(`/connections/${c.connection_id}/records?state=failing&limit=20`);
    const found = useGet(`/customers?workspace=${encodeURIComponent(c.workspace)}&archived=no&limit=20${q ? `&q=${encodeURIComponent(q)}` : ''}`);
    const bad = new Map((q ? [] : failing.data?.items ?? []).filter((r) => r.customer_id).map((r) => [r.customer_id, `${r.name ?? r.record_id} (failing)`]));
    const options = [...bad, ...(found.data?.items ?? []).filter((x) => !bad.has(x.customer_id)).map((x) => [x.customer_id, x.name ?? `Customer ${x.customer_id}`])];
    const id = options.some(([k]) => String(k) === who) ? who : String(options[0]?.[0] ?? '');
    const look = useAction(async (e) => {
        e.preventDefault();
        if (!id) return;
        const r = await post(`/connections/${c.connection_id}/mapping/preview`, { fields: lines, customer_id: Number(id) });
        hear(r.problems);
        setGot(r.valid ? { ...r, name: options.find(([k]) => String(k) === id)?.[1] } : null);
        say(r.valid ? (r.changed ? 'The preview is there.' : 'Nothing would change.') : 'This mapping has errors.');
    });
    const change = new Map((got?.changes[0]?.fields ?? []).map((f) => [f.field, f]));
    const wrong = new Map((got?.failures ?? []).map((f) => [f.field, f.message]));
    return html`<section class="panel" aria-labelledby="one"><h3 id="one">Preview with one customer</h3>
        <form onSubmit=${look.act}><div class="row"><div><label for="p-q">Find by name or domain</label><input id="p-q" type="search" value=${text} onInput=${(e) => setText(e.target.value)} /></div>
            <div><label for="p-who">Customer</label><select id="p-who" value=${id} onChange=${(e) => setWho(e.target.value)}>${options.length === 0 ? html`<option value="">${found.loading ? 'Loading…' : 'Nobody matches'}</option>` : options.map(([k, w]) => html`<option key=${k} value=${k}>${w}</option>`)}</select></div>
            <button type="submit" aria-disabled=${look.busy || !id}>Preview</button></div></form>
        <${Failure} error=${look.error ?? found.error} />
        ${look.busy ? html`<${Loading} lines=${3} what="Trying it on this customer" />` : null}
        ${got ? html`<table class="cards-narrow"><caption>${got.name}: ${got.changed ? plural(change.size, 'field') : 'nothing'} would change. Nothing was written.</caption><thead><tr><th scope="col">Field</th><th scope="col">Now</th><th scope="col">New</th><th scope="col">Result</th></tr></thead>
            <tbody>${lines.map((l, i) => {
        const f = change.get(l.field);
        const value = shownValue(f ? f.new : got.now?.[l.field]);
        return html`<tr key=${i}><th scope="row">${l.field}</th><td data-label="Now" class="break">${shownValue(got.now?.[l.field])}</td><td data-label="New" class="break">${wrong.has(l.field) ? '–' : value}</td>
                <td data-label="Result" class="break">${wrong.has(l.field) ? html`<${Chip} kind="error">Held back<//> ${wrong.get(l.field)}` : f ? html`<${Chip} kind="info">Changes<//>` : html`<${Chip} kind="ok">Same<//>`}</td></tr>`;
    })}</tbody></table>${wrong.has('') ? html`<p class="problem error break">✕ ${wrong.get('')}</p>` : null}` : null}</section>`;
}

export function Mapping({ c, reload: reloadConnection }) {
    const mapping = useGet(`/connections/${c.connection_id}/mapping`, c.mapping_version);
    const versions = useGet(`/connections/${c.connection_id}/mapping/versions`, c.mapping_version);
    const schema = useGet(c.state === 'connected' ? `/connections/${c.connection_id}/schema` : null);
    const [lines, setLines] = useState(null);
    const [problems, setProblems] = useState([]);
    const [dry, setDry] = useState(null);
    const [note, setNote] = useState('');
    const [saved, setSaved] = useState(null);
    const [diff, setDiff] = useState(null);
    const editable = may('admin');
    const spaces = useGet('/workspaces');
    const plans = spaces.data?.items.find((w) => w.name === c.workspace)?.plans;
    useEffect(() => {
        if (mapping.data) setLines(mapping.data.fields.map((f) => ({ type: 'text', convert: '', ...f })));
    }, [mapping.data]);
    const changed = lines && mapping.data && JSON.stringify(lines) !== JSON.stringify(mapping.data.fields.map((f) => ({ type: 'text', convert: '', ...f })));
    const set = (list) => {
        setLines(list);
        setDry(null);
        setSaved(null);
    };
    // Checked while it is edited, a moment after the last key.
    useEffect(() => {
        if (!changed || !editable || c.state !== 'connected') return undefined;
        const timer = setTimeout(() => post(`/connections/${c.connection_id}/mapping/check`, { fields: lines }).then((r) => setProblems(r.problems), () => {}), 700);
        return () => clearTimeout(timer);
    }, [JSON.stringify(lines)]);
    const tryAll = useAction(async () => {
        const r = await post(`/connections/${c.connection_id}/mapping/preview`, { fields: lines });
        setProblems(r.problems);
        setDry(r.valid ? r : null);
        say(r.valid ? `${num(r.changed)} of ${num(r.customers)} customers would change.` : 'This mapping has errors.');
    });
    const save = useAction(async () => {
        const r = await post(`/connections/${c.connection_id}/mapping`, { fields: lines, based_on: mapping.data.version, note });
        setProblems(r.problems);
        if (!r.valid) return say('This mapping has errors.');
        setSaved(r.version);
        setDry(null);
        setNote('');
        say(`Saved as version ${r.version}.`);
        mapping.reload();
        versions.reload();
        reloadConnection();
        return r;
    });
    const back = useAction(async (version) => {
        const r = await post(`/connections/${c.connection_id}/mapping/rollback`, { version });
        setSaved(r.version);
        say(`Version ${version} is in force again, as version ${r.version}.`);
        mapping.reload();
        versions.reload();
        reloadConnection();
    });
    const errors = problems.filter((p) => p.severity === 'error');
    const run = useAction(async () => {
        await post(`/connections/${c.connection_id}/runs`);
        go(`/admin/integrations/${c.connection_id}`);
    });
    return html`<h2>Field mapping</h2>
        ${!editable ? html`<${NeedsRole} role="admin" />` : null}
        <${Failure} error=${mapping.error} again=${mapping.reload} />
        ${schema.error ? html`<${Failure} error=${schema.error} what=${`${title(c.provider)} was not asked for its properties.`} quiet />` : null}
        ${mapping.loading || !lines ? html`<${Loading} lines=${8} what="Loading the mapping" />` : html`
            <p class="muted">Version ${mapping.data.version}. One way: ${title(c.provider)} fills the fields; nothing is written back. Reconnecting never touches this.</p>
            <datalist id="properties">${(schema.data?.items ?? []).map((p) => html`<option key=${p.name} value=${p.name}>${p.label ?? p.name} (${p.type ?? '?'})</option>`)}</datalist>
            <table class=${`cards-narrow ${editable ? 'edit' : ''}`}><caption class="hidden">Which property fills which field</caption><thead><tr><th scope="col">Field</th><th scope="col">${title(c.provider)} property</th><th scope="col">Type</th><th scope="col">Conversion</th><th scope="col"><span class="hidden">Remove</span></th></tr></thead>
            <tbody>${lines.map((line, i) => html`<${Line} key=${i} ...${{ line, i, problems, editable, properties: schema.data?.items ?? [] }} set=${(l) => set(lines.map((x, k) => (k === i ? l : x)))} remove=${() => set(lines.filter((_, k) => k !== i))} />`)}</tbody></table>
            ${lines.some((l) => l.convert === 'plan') ? html`<p class="muted">Plans of this workspace, compared without case: ${plans?.length ? listed(plans) : 'any, since none are listed'}.</p>` : null}
            ${problems.filter((p) => p.line === 0).map((p, k) => html`<p key=${k} class=${`problem ${p.severity}`}>${p.message}</p>`)}
            ${editable ? html`<p class="row"><button type="button" onClick=${() => set([...lines, { field: '', source: '', type: 'text', convert: '' }])}>Add a line</button>
                <${Busy} busy=${tryAll.busy} onClick=${tryAll.act}>Dry run on all<//>
                ${changed ? html`<button type="button" class="quiet" onClick=${() => { set(mapping.data.fields); setProblems([]); }}>Undo changes</button>` : null}</p>
                <${Failure} error=${tryAll.error ?? save.error ?? back.error ?? run.error} />
                ${tryAll.busy ? html`<${Loading} lines=${2} what="Trying it on every customer" />` : null}
                ${dry ? html`<section class="panel" aria-label="Dry run"><p role="status"><strong>${num(dry.changed)} of ${plural(dry.customers, 'customer')} would change; ${num(dry.failed)} would fail.</strong> Nothing was written.</p>
                    ${dry.changes.slice(0, 10).map((x) => html`<p key=${x.customer_id} class="break"><strong>${x.name ?? x.record_id}</strong>: ${x.fields.map((f) => `${f.field} ${shownValue(f.now)} → ${shownValue(f.new)}`).join('; ')}</p>`)}
                    ${dry.changed > 10 ? html`<p class="muted">and ${num(dry.changed - 10)} more</p>` : null}
                    ${dry.failures.slice(0, 5).map((x, i) => html`<p key=${i} class="problem error break">✕ ${x.name ?? x.record_id}, ${x.field}: ${x.message}</p>`)}</section>` : null}
                <${PreviewOne} c=${c} lines=${lines} hear=${setProblems} />
                <form class="row" onSubmit=${(e) => { e.preventDefault(); if (changed && !save.busy && errors.length === 0) save.act(); }}><label for="note">Note</label><input id="note" value=${note} placeholder="what and why" onInput=${(e) => setNote(e.target.value)} />
                    <button type="submit" class="main" aria-disabled=${!changed || save.busy || errors.length > 0}>Save as version ${mapping.data.version + 1}</button></form>` : null}
            ${saved ? html`<${Notice} kind="ok" role="status"><p><strong>Version ${saved} is in force</strong> for every record that comes from now on.</p>${may('operator') ? html`<p><${Busy} busy=${run.busy} onClick=${run.act}>Run sync now for all records<//></p>` : null}<//>` : null}`}
        <h3>Versions</h3>
        ${versions.data ? html`<table class="cards-narrow"><caption class="hidden">Versions of the mapping</caption><thead><tr><th scope="col">Version</th><th scope="col">When</th><th scope="col">By</th><th scope="col">Note</th><th scope="col"><span class="hidden">Actions</span></th></tr></thead>
            <tbody>${versions.data.items.map((v, i, all) => html`<tr key=${v.version}><th scope="row">${v.version}${i === 0 ? ' (in force)' : ''}</th><td data-label="When"><${Time} at=${v.created_at} /></td><td data-label="By">${v.created_by || '–'}</td><td data-label="Note" class="break">${v.note || '–'}</td>
                <td class="row">${all[i + 1] ? html`<button type="button" class="quiet" aria-label=${`What version ${v.version} changed`} onClick=${() => setDiff({ version: v.version, list: differences(all[i + 1].fields, v.fields) })}>Changes</button>` : null}${i > 0 && editable ? html`<${Busy} busy=${back.busy} aria-label=${`Roll back to version ${v.version}`} onClick=${() => back.act(v.version)}>Roll back<//>` : null}</td></tr>`)}</tbody></table>` : null}
        ${diff ? html`<${Dialog} title=${`What version ${diff.version} changed`} onClose=${() => setDiff(null)}>${diff.list.length === 0 ? html`<p>Nothing.</p>` : html`<dl class="facts">${diff.list.map((d) => html`<dt key=${d.field}>${d.field}</dt><dd>${d.old ?? 'not mapped'} → ${d.now ?? 'not mapped'}</dd>`)}</dl>`}<//>` : null}`;
}

// ---- what is mirrored ----

const kinds = { list: 'List (recommended)', stage: 'Lifecycle stage', pipeline: 'Pipeline' };

function Names({ what, list, count }) {
    return count > 0 ? html`<details><summary>${what} ${num(count)}</summary><ul class="plain scroll">${list.map((r) => html`<li key=${r.record_id}>${r.name ?? ''} <span class="muted">${r.record_id}</span></li>`)}${count > list.length ? html`<li class="muted">and ${num(count - list.length)} more</li>` : null}</ul></details>` : null;
}

const processing = { DYNAMIC: 'active', MANUAL: 'static', SNAPSHOT: 'static' };

/* What there is to choose, found by name. Of Stripe several can be taken, which are one text with
 * commas between them. An id is found as well, also one that no list of them names. */
function Picker({ c, kind, several, value, set, legend }) {
    const [text, setText] = useState('');
    const [q, setQ] = useState('');
    const { data, error, loading, reload } = useGet(`/connections/${c.connection_id}/scope/choices?kind=${kind}&q=${encodeURIComponent(kind === 'list' ? q : '')}`);
    useEffect(() => {
        const timer = setTimeout(() => setQ(text.trim()), 300);
        return () => clearTimeout(timer);
    }, [text]);
    const chosen = new Set(several ? value.split(',').map((v) => v.trim()).filter(Boolean) : value ? [value] : []);
    const known = (data?.items ?? []).filter((x) => `${x.name} ${x.id}`.toLowerCase().includes(q.toLowerCase()));
    const items = q && !known.some((x) => x.id === q) && (kind !== 'list' || /^\d+$/.test(q)) && !loading ? [...known, { id: q, name: `The one with the id ${q}`, processing: '', size: null, changed_at: null }] : known;
    const pick = (id, on) => {
        if (!several) return set(id);
        const next = new Set(chosen);
        if (on) next.add(id);
        else next.delete(id);
        return set([...next].join(','));
    };
    return html`<div class="picker"><label for="s-find">Find by name or id</label><input id="s-find" type="search" value=${text} onInput=${(e) => setText(e.target.value)} />
        <${Failure} error=${error} again=${reload} />
        <fieldset class="picks scroll"><legend class="hidden">${legend}</legend>
            ${loading ? html`<${Loading} lines=${4} what=${`Asking ${title(c.provider)}`} />` : null}
            ${data && items.length === 0 ? html`<p class="muted">${q ? 'Nothing of that name.' : 'There is none.'}</p>` : null}
            ${items.map((x) => html`<label key=${x.id} class="pick"><input type=${several ? 'checkbox' : 'radio'} name="s-pick" value=${x.id} checked=${chosen.has(x.id)} onChange=${(e) => pick(x.id, e.target.checked)} />
                <span class="break">${x.name} <small>${[processing[x.processing], x.size === null ? null : plural(x.size, 'member'), x.id === x.name ? null : x.id].filter(Boolean).join(' · ')}${x.changed_at ? html` · changed <${Time} at=${x.changed_at} />` : ''}</small></span></label>`)}
            ${data?.more ? html`<p class="muted">There are more: find by name.</p>` : null}</fieldset>
        ${several ? html`<p class="muted break">${chosen.size === 0 ? 'Nothing is chosen yet.' : `Chosen: ${[...chosen].join(', ')}`}</p>` : null}</div>`;
}

/* kinds: word -> label; the one named first is offered where nothing is chosen. "all" has no id. */
function ScopeChoice({ c, now, kinds, label, asking, done }) {
    const [kind, setKind] = useState(null);
    const [id, setId] = useState(null);
    const [effect, setEffect] = useState(null);
    const choice = { kind: kind ?? now.scope_kind ?? Object.keys(kinds)[0], id: id ?? now.scope_id ?? '' };
    const look = useAction(async (e) => {
        e?.preventDefault();
        if (choice.kind !== 'all' && !choice.id) return;
        const r = await post(`/connections/${c.connection_id}/scope/preview`, choice);
        setEffect(r);
        say(`Adds ${r.adds}, keeps ${r.keeps}, archives ${r.archives}.`);
    });
    const save = useAction(async () => {
        await post(`/connections/${c.connection_id}/scope`, choice);
        setEffect(null);
        say('Saved. A full sync has started.');
        done();
    });
    return html`<form class="panel" onSubmit=${look.act}>
            <div class="row"><div><label for="s-kind">By</label><select id="s-kind" value=${choice.kind} onChange=${(e) => { setKind(e.target.value); setId(e.target.value === now.scope_kind ? null : ''); setEffect(null); }}>${Object.entries(kinds).map(([k, w]) => html`<option key=${k} value=${k}>${w}</option>`)}</select></div>
            </div>
            ${choice.kind === 'all' ? null : html`<${Picker} key=${choice.kind} c=${c} kind=${choice.kind} several=${c.provider === 'stripe'} value=${choice.id} legend=${label} set=${(v) => { setId(v); setEffect(null); }} />`}
            <p><button type="submit" aria-disabled=${look.busy || (choice.kind !== 'all' && !choice.id)}>Show the effect</button></p>
            ${look.busy ? html`<${Loading} lines=${1} what=${asking} />` : null}
            <${Failure} error=${look.error ?? save.error} />
            ${effect ? html`<p role="status"><strong>${effect.name || choice.id || kinds[choice.kind]}: adds ${num(effect.adds)}, keeps ${num(effect.keeps)}, archives ${num(effect.archives)}.</strong></p>
                <${Names} what="Adds" list=${effect.add} count=${effect.adds} /><${Names} what="Archives" list=${effect.archive} count=${effect.archives} />
                <p><${Busy} class="main" busy=${save.busy} onClick=${save.act}>Mirror this<//></p>` : null}</form>`;
}

function HubspotScope({ c, reload }) {
    const scope = useGet(`/connections/${c.connection_id}/scope`, c.scope_id);
    const now = scope.data;
    const confirm = useAction(async () => {
        await post(`/connections/${c.connection_id}/scope/confirm-removals`);
        say('Confirmed. A full sync archives who is gone.');
        scope.reload();
        reload();
    });
    return html`<${Failure} error=${scope.error} again=${scope.reload} />
        ${scope.loading ? html`<${Loading} />` : null}
        ${now?.held_removals > 0 ? html`<${Notice} kind="warn" role="status"><p><strong>${plural(now.held_removals, 'removal')} held back.</strong> The list shrank suddenly, so nobody was archived. If it was meant, confirm; if not, put them back into the list at HubSpot and do nothing here.</p>
            <${Names} what="Would be archived:" list=${now.removals} count=${now.held_removals} /><${Failure} error=${confirm.error} />
            ${may('admin') ? html`<p><${Busy} class="danger" busy=${confirm.busy} onClick=${confirm.act}>Archive ${num(now.held_removals)}<//></p>` : null}<//>` : null}
        ${now ? html`<p>${now.scope_kind ? html`Mirrored now: <strong>${kinds[now.scope_kind].replace(' (recommended)', '')} ${now.scope_name || now.scope_id}</strong>, ${now.scope_size === null ? 'size unknown' : plural(now.scope_size, 'member')} at HubSpot, ${num(now.mirrored)} here.` : 'Nothing is chosen yet.'} A company outside is never seen by the sync.</p>` : null}
        ${may('admin') && now ? html`<${ScopeChoice} c=${c} now=${now} kinds=${kinds} label="What to mirror" asking="Asking HubSpot for the members" done=${() => { scope.reload(); reload(); }} />` : !may('admin') ? html`<${NeedsRole} role="admin" />` : null}`;
}

function LinkDialog({ c, record, onClose, onDone }) {
    const [q, setQ] = useState('');
    const found = useGet(q.length > 1 ? `/customers?workspace=${encodeURIComponent(c.workspace)}&archived=no&limit=8&q=${encodeURIComponent(q)}` : null);
    const link = useAction(async (customer) => {
        await post(`/connections/${c.connection_id}/links`, { object_type: record.object_type, record_id: record.record_id, customer_id: customer });
        say('Linked; remembered over every sync.');
        onDone();
    });
    return html`<${Dialog} title=${`Link ${record.name ?? record.record_id}`} onClose=${onClose}>
        <p>Which customer does it belong to? A link by hand goes before every match.</p>
        <label for="l-q">Customer by name or domain</label><input id="l-q" type="search" value=${q} onInput=${(e) => setQ(e.target.value)} />
        <${Failure} error=${link.error ?? found.error} />
        ${found.data?.items.length === 0 ? html`<p class="muted">Nobody matches.</p>` : null}
        <ul class="plain">${(found.data?.items ?? []).map((x) => html`<li key=${x.customer_id} class="row"><span class="break">${x.name} <span class="muted">${x.domain ?? ''} #${x.customer_id}</span></span><${Busy} busy=${link.busy} onClick=${() => link.act(x.customer_id)} aria-label=${`Link to ${x.name}`}>Link<//></li>`)}</ul><//>`;
}

const stripeKinds = { all: 'All subscriptions', product: 'Products', lookup_key: 'Lookup keys' };

function StripeScope({ c, reload }) {
    const [tab, setTab] = useState('unmatched');
    const [linking, setLinking] = useState(null);
    const spaces = useGet('/workspaces');
    const records = useGet(`/connections/${c.connection_id}/records?state=${tab}&limit=50`);
    const settings = spaces.data?.items.find((w) => w.name === c.workspace)?.settings ?? {};
    const choose = useAction(async (name, on) => {
        await post(`/workspaces/${encodeURIComponent(c.workspace)}/settings`, { [name]: on ? 'on' : 'off' });
        say('Saved.');
        spaces.reload();
        reload();
    });
    const counts = { unmatched: c.unwell.unmatched ?? 0, ambiguous: c.unwell.ambiguous ?? 0, excluded: c.unwell.excluded ?? 0, failing: c.unwell.failing ?? 0 };
    const words = { unmatched: 'unmatched', ambiguous: 'several customers fit', excluded: 'skipped', failing: 'failing' };
    return html`<p>${c.scope_kind ? html`Subscriptions of the ${stripeKinds[c.scope_kind].toLowerCase()} <strong>${c.scope_name || c.scope_id}</strong>, and customers that have one.` : 'All customers of this account, with their subscriptions.'} <strong>${num(c.in_sync)}</strong> in sync, ${num(counts.unmatched)} unmatched, ${num(counts.ambiguous)} where several fit, ${num(counts.excluded)} skipped.</p>
        ${may('admin') ? html`<p class="row"><${Switch} on=${settings.match_personal_emails === true} set=${(on) => choose.act('match_personal_emails', on)}>Match personal emails<//>
            <${Switch} on=${settings.billing_signal_only === true} set=${(on) => choose.act('billing_signal_only', on)}>Billing signal only<//></p>
            <${ScopeChoice} c=${c} now=${c} kinds=${stripeKinds} label="Which of them" asking="Reading the subscriptions at Stripe" done=${() => { records.reload(); reload(); }} />` : html`<${NeedsRole} role="admin" />`}
        <${Failure} error=${choose.error ?? records.error} />
        <div class="row" role="group" aria-label="Records to show">${Object.entries(words).map(([k, w]) => html`<button type="button" key=${k} aria-pressed=${tab === k} onClick=${() => setTab(k)}>${w} ${num(counts[k])}</button>`)}</div>
        ${records.loading ? html`<${Loading} />` : null}
        ${records.data?.items.length === 0 ? html`<${Empty} good><p>None is ${words[tab]}.</p><//>` : null}
        ${records.data?.items.length ? html`<table class="cards-narrow"><caption class="hidden">Records: ${words[tab]}</caption><thead><tr><th scope="col">Record</th><th scope="col">Why</th><th scope="col"><span class="hidden">Actions</span></th></tr></thead><tbody>
            ${records.data.items.map((r) => html`<tr key=${r.object_type + r.record_id}><td data-label="Record" class="break">${r.name ?? ''} <span class="muted">${r.object_type} ${r.record_id}</span></td><td data-label="Why">${r.reason ?? (r.reason_code || '–')}</td><td>${may('admin') && r.object_type === 'customer' ? html`<button type="button" onClick=${() => setLinking(r)} aria-label=${`Link ${r.name ?? r.record_id}`}>Link…</button>` : null}</td></tr>`)}</tbody></table>` : null}
        ${linking ? html`<${LinkDialog} c=${c} record=${linking} onClose=${() => setLinking(null)} onDone=${() => { setLinking(null); records.reload(); reload(); }} />` : null}`;
}

export function Scope({ c, reload }) {
    return html`<h2>What is mirrored</h2>${c.provider === 'hubspot' ? html`<${HubspotScope} c=${c} reload=${reload} />` : html`<${StripeScope} c=${c} reload=${reload} />`}`;
}
