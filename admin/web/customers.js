// Customers, and the page of one: where each field came from, Resync from HubSpot or Stripe.
import { api, day, exact, money, get, go, html, Link, may, num, outside, post, say, Time, title, useAction, useEffect, useGet, useState } from './lib.js';
import { Busy, Chip, CopyButton, Dialog, Empty, Failure, Loading, Menu, Notice, StateChip } from './parts.js';
import { Diagnose, Why } from './integrations.js';

const instant = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
export function shownValue(v) {
    if (v === null || v === undefined || v === '') return '–';
    if (typeof v === 'object') return JSON.stringify(v);
    if (typeof v === 'boolean') return v ? 'yes' : 'no';
    if (typeof v === 'number') return exact.format(v);
    return instant.test(v) ? day(v) : String(v);
}

export function Customers() {
    const q = new URLSearchParams(location.search);
    const text = q.get('q') ?? '';
    const archived = q.get('archived') ?? 'no';
    const after = q.get('after') ?? '';
    const params = new URLSearchParams({ limit: '50', ...(text ? { q: text } : {}), ...(archived ? { archived } : {}), ...(after ? { after } : {}) });
    const { data, error, loading, reload } = useGet(`/customers?${params}`);
    const connections = useGet('/connections');
    const to = (values) => go(`/admin/customers?${new URLSearchParams({ ...(text ? { q: text } : {}), archived, ...values })}`);
    const items = data?.items ?? [];
    const asked = connections.data?.items.find((c) => c.provider === 'hubspot') ?? connections.data?.items[0];
    return html`<h1 tabindex="-1">Customers</h1>
        <form class="filters" role="search" onSubmit=${(e) => { e.preventDefault(); to({ q: new FormData(e.target).get('q') }); }}>
            <div><label for="c-q">Name, domain or id</label><input id="c-q" name="q" type="search" defaultValue=${text} value=${text} /></div>
            <div><label for="c-archived">Show</label><select id="c-archived" value=${archived} onChange=${(e) => to({ archived: e.target.value })}><option value="no">Active</option><option value="yes">Archived</option><option value="">All</option></select></div>
            <button type="submit">Search</button></form>
        <${Failure} error=${error} what="The customers could not be read." again=${reload} />
        ${loading ? html`<${Loading} lines=${8} what="Loading customers" />` : null}
        ${data && items.length === 0 ? html`<${Empty}><p>${text ? 'Nobody matches.' : 'No customer yet.'}</p><//>` : null}
        ${data && items.length === 0 && asked ? html`<${Why} key=${text} c=${asked} start=${text} />` : null}
        ${items.length > 0 ? html`<table class="cards-narrow"><caption class="hidden">Customers</caption>
            <thead><tr><th scope="col">Name</th><th scope="col">Domain</th><th scope="col">Owner</th><th scope="col">Plan</th><th scope="col" class="n">MRR</th><th scope="col">Payment</th></tr></thead>
            <tbody>${items.map((c) => html`<tr key=${c.customer_id}><td data-label="Name" class="break"><${Link} to=${`/admin/customers/${c.customer_id}`}>${c.name ?? `Customer ${c.customer_id}`}<//>${c.archived_at ? html` <${Chip}>Archived<//>` : null}</td>
                <td data-label="Domain" class="break">${c.domain ?? '–'}${c.same_domain > 1 ? html` <span class="tag" title="So many customers have this domain">${c.same_domain}</span>` : null}</td><td data-label="Owner" class=${`break ${c.owner ? '' : 'nil'}`}>${c.owner ?? '–'}</td><td data-label="Plan">${c.plan ?? '–'}</td>
                <td data-label="MRR" class=${`n when ${c.mrr === null ? 'nil' : ''}`}>${c.mrr === null ? '–' : money(c.mrr, c.mrr_currency)}</td><td data-label="Payment" class=${c.payment_status ? '' : 'nil'}>${(c.payment_status ?? '–').replace('_', ' ')}</td></tr>`)}</tbody></table>` : null}
        <p class="row">${after ? html`<button type="button" onClick=${() => history.back()}>Page before</button>` : null}${data?.next ? html`<button type="button" onClick=${() => to({ after: data.next })}>Next page</button>` : null}</p>`;
}

// ---- resync with a preview ----

function Resync({ c, links, onClose, onDone }) {
    const [preview, setPreview] = useState(null);
    const [end, setEnd] = useState(null);
    const [asked] = useState(new Date().toISOString());
    const [skip, setSkip] = useState(localStorage.getItem('resync-preview') === 'off');
    const call = (verb) => Promise.all(links.map((l) => post(`/connections/${c.connection_id}/${verb}`, { object_type: l.object_type, record_id: l.record_id })));
    const look = useAction(() => call('resync-preview'));
    const pull = useAction(async () => {
        const r = await call('resync');
        setEnd(r);
        const bad = r.find((x) => x.status !== 'succeeded' && x.error_code !== 'stale_event');
        say(bad ? `It ended with ${bad.error_title}.` : `Pulled fresh from ${title(c.provider)}.`);
        onDone();
    });
    useEffect(() => {
        if (skip) pull.act();
        else look.act().then((r) => r && setPreview(r));
    }, []);
    const fields = (preview ?? []).flatMap((p) => p.changes.flatMap((x) => x.fields));
    const failures = (preview ?? []).flatMap((p) => p.failures);
    const bad = end?.find((x) => x.status !== 'succeeded' && x.error_code !== 'stale_event');
    return html`<${Dialog} title=${`Resync from ${title(c.provider)}`} onClose=${onClose} wide>
        ${look.busy || pull.busy ? html`<${Loading} what=${`Asking ${title(c.provider)} for this record`} />` : null}
        <${Failure} error=${look.error ?? pull.error} />
        ${preview && !end && fields.length === 0 && failures.length === 0 ? html`<${Notice} kind="ok" role="status"><p><strong>Already the same as in ${title(c.provider)}</strong> (<${Time} at=${asked} />).</p><//>` : null}
        ${!end && fields.length > 0 ? html`<table class="cards-narrow"><caption>What would change; only fields that the mapping covers</caption><thead><tr><th scope="col">Field</th><th scope="col">Now</th><th scope="col">New</th></tr></thead>
            <tbody>${fields.map((f) => html`<tr key=${f.field}><th scope="row">${f.field}</th><td data-label="Now" class="break">${shownValue(f.now)}${f.edited_by_hand ? html` <${Chip} kind="warn">edited here, will be overwritten<//>` : null}</td><td data-label="New" class="break">${shownValue(f.new)}</td></tr>`)}</tbody></table>` : null}
        ${!end && failures.map((f, i) => html`<${Notice} kind="warn" key=${i}><p><strong>${f.field || 'Record'}</strong>: ${f.message} (${f.error_code})</p><//>`)}
        ${end ? html`<${Notice} kind=${bad ? 'warn' : 'ok'} role="status"><p><strong>${bad ? `${bad.error_title}.` : `Pulled fresh from ${title(c.provider)}.`}</strong> ${bad?.message ?? 'The fields that the mapping covers are as they are there.'}</p>${bad ? html`<p class="row"><${Link} to=${`/admin/integrations/${c.connection_id}/log/${bad.attempt_id}`}>Open the log row<//><${CopyButton} text=${() => `attempt ${bad.attempt_id}, code ${bad.error_code}\n${bad.message}\n${location.href}`}>Copy for support<//></p>` : null}<//>` : null}
        <p class="row">${preview && !end ? html`<${Busy} class="main" busy=${pull.busy} onClick=${pull.act}>${fields.length > 0 ? 'Apply' : 'Write again anyway'}<//>` : null}<button type="button" onClick=${onClose}>${end ? 'Close' : 'Cancel'}</button></p>
        <label class="check"><input type="checkbox" checked=${skip} onChange=${(e) => { setSkip(e.target.checked); localStorage.setItem('resync-preview', e.target.checked ? 'off' : 'on'); }} /> Next time pull at once, without this preview</label>
    <//>`;
}

const how = { source: 'made from it', hand: 'linked by hand', id: 'matched by id', domain: 'matched by domain' };

export function Customer({ id }) {
    const { data, error, loading, reload } = useGet(`/customers/${id}`);
    const all = useGet('/connections');
    const [open, set] = useState(null);
    if (loading) return html`<h1 tabindex="-1">Customer</h1><${Loading} lines=${8} what="Loading the customer" />`;
    if (!data) return html`<h1 tabindex="-1">Customer</h1><${Failure} error=${error} again=${reload} />`;
    const field = (name) => data.fields.find((f) => f.field === name)?.value;
    const connections = (all.data?.items ?? []).filter((c) => c.workspace === data.workspace);
    const ofProvider = (p) => {
        const linked = data.links.filter((l) => l.provider === p);
        const c = connections.find((x) => x.connection_id === linked[0]?.connection_id) ?? connections.find((x) => x.provider === p);
        return { c, links: linked.filter((l) => l.connection_id === c?.connection_id) };
    };
    const menu = ['hubspot', 'stripe'].map((p) => {
        const { c, links } = ofProvider(p);
        const why = !may('operator') ? 'needs the role operator' : !c || c.state === 'disconnected' ? 'not connected' : links.length === 0 ? 'not linked to a record there' : c.state === 'reauthorize' ? 'reauthorize first' : '';
        return { label: `Resync from ${title(p)}`, disabled: Boolean(why), why, run: () => set({ resync: c, links }) };
    });
    const first = data.links[0] && connections.find((c) => c.connection_id === data.links[0].connection_id);
    menu.push({ label: 'Why is it different?', disabled: !first || !may('operator'), why: !may('operator') ? 'needs the role operator' : '', run: () => set({ diagnose: first }) });
    menu.push({ label: 'View sync log of this customer', disabled: !first, run: () => go(`/admin/log?customer=${id}`) });
    const mrr = field('mrr');
    return html`
        <div class="page-head"><h1 tabindex="-1">${field('name') ?? `Customer ${id}`}${' '}<small>#${id} · ${data.workspace}</small></h1><${Menu} label="Actions for this customer" items=${menu} /></div>
        <p class="row">${field('plan') ? html`<span class="tag">${field('plan')}</span>` : null}${mrr !== undefined && mrr !== null ? html`<span class="tag">MRR ${money(mrr, field('mrr_currency'))}</span>` : null}${field('payment_status') ? html`<span class="tag">Payment ${field('payment_status').replace('_', ' ')}</span>` : null}</p>
        ${data.archived_at ? html`<${Notice} kind="warn"><p><strong>Archived</strong> <${Time} at=${data.archived_at} />: ${data.archived_why}. Its history is kept.</p><//>` : null}
        <section aria-labelledby="fields"><h2 id="fields">Fields and where they came from</h2>
        <table class="cards-narrow"><caption class="hidden">Fields</caption><thead><tr><th scope="col">Field</th><th scope="col">Value</th><th scope="col">From</th></tr></thead><tbody>
            ${data.fields.map((f) => html`<tr key=${f.field}><th scope="row">${f.field}</th><td data-label="Value" class="break">${shownValue(f.value)}${f.edited_by_hand ? html` <${Chip} kind="warn">edited here<//>` : null}</td>
                <td data-label="From" class="break">${f.provider ? html`${title(f.provider)} · ${f.source_property} <details class="inline"><summary>more</summary>${f.object_type} ${f.record_id}, changed there ${f.source_updated_at ? html`<${Time} at=${f.source_updated_at} />` : 'at an unknown time'}, written here <${Time} at=${f.written_at} seconds />${f.trigger ? ` by ${f.trigger}` : ''}, mapping v${f.mapping_version}${(f.also_fed_by ?? []).map((o, i) => html`<br key=${i} />Also fed by ${title(o.provider)} ${o.object_type} ${o.record_id} (${o.source_property}): ${shownValue(o.value)}`)}</details>` : html`<span class="muted">set here</span>`}</td></tr>`)}</tbody></table></section>
        <section aria-labelledby="links"><h2 id="links">Linked records</h2>
        ${data.links.length === 0 ? html`<${Empty}><p>Linked to no record.</p><//>` : html`<ul class="plain">${data.links.map((l) => {
        const c = connections.find((x) => x.connection_id === l.connection_id);
        const there = outside(c, l.object_type, l.record_id);
        return html`<li key=${l.connection_id + l.record_id} class="break">${title(l.provider)} ${l.object_type} ${there ? html`<a href=${there} target="_blank" rel="noopener noreferrer">${l.record_id}</a>` : l.record_id} <span class="muted">${how[l.how] ?? l.how}${l.linked_by ? ` by ${l.linked_by}` : ''} <${Time} at=${l.linked_at} short /></span> ${l.how === 'hand' && may('admin') ? html`<${Unlink} l=${l} reload=${reload} />` : null}</li>`;
    })}</ul>`}</section>
        ${open?.resync ? html`<${Resync} c=${open.resync} links=${open.links} onClose=${() => set(null)} onDone=${reload} />` : null}
        ${open?.diagnose ? html`<${Diagnose} c=${open.diagnose} customer=${Number(id)} onClose=${() => set(null)} />` : null}`;
}

function Unlink({ l, reload }) {
    const take = useAction(async () => {
        await api('DELETE', `/connections/${l.connection_id}/links/${l.object_type}/${encodeURIComponent(l.record_id)}`);
        say('The link is taken away; the record is matched anew.');
        reload();
    });
    return html`<${Busy} busy=${take.busy} onClick=${take.act} aria-label=${`Take the link to ${l.record_id} away`}>Unlink<//><${Failure} error=${take.error} />`;
}
