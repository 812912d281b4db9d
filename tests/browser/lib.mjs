/* What the browser tests share: a page that reports its faults, two ways to use it, waiting, and
 * the judge of how a screen looks and reads. */
import fs from 'node:fs';
import path from 'node:path';

import { load, ok } from '../npm/lib.mjs';

const { chromium } = load('playwright-core');
const axeSource = fs.readFileSync(load.resolve('axe-core/axe.min.js'), 'utf8');
const { BASE, SHOTS, SHOTS_ALL, CHROMIUM } = process.env;

/* Patience and no promise: a busy machine needs it, and a quiet one never does. */
export const LONG = 90000;

export const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: ['--headless=new', '--disable-dev-shm-usage'] });
export const faults = [];

export async function open(token, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: 'reduce', ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(LONG);
    page.asking = new Set(); // requests that are not answered yet; the events never are for long
    page.on('request', (r) => r.url().includes('/api/v1/events') || page.asking.add(r));
    page.failed = [];
    for (const end of ['requestfinished', 'requestfailed']) page.on(end, (r) => page.asking.delete(r));
    page.on('requestfailed', (r) => page.failed.push(`${r.url()} ${r.failure()?.errorText}`));
    page.on('framenavigated', (f) => f === page.mainFrame() && page.asking.clear());
    page.on('dialog', (d) => {
        faults.push(`a script of somebody's: ${d.message()}`);
        d.dismiss().catch(() => {});
    });
    page.on('pageerror', (e) => faults.push(`${e.message}\n${e.stack}`));
    page.on('console', (m) => {
        if (m.type() === 'error' && !/status of (401|403|404|409|429|50\d)|ERR_INTERNET_DISCONNECTED|net::ERR/.test(m.text())) faults.push(m.text());
    });
    if (token) {
        await page.goto(`${BASE}/#token=${token}`);
        await page.getByRole('heading', { level: 1, name: 'Integrations' }).waitFor();
    }
    return page;
}

export async function until(condition, every_ms = 100) {
    const end = Date.now() + LONG;
    for (let n = 0; Date.now() < end; n += 1) {
        if (await condition(n)) return;
        await new Promise((r) => setTimeout(r, every_ms));
    }
    throw new Error(`not within ${LONG} ms: ${condition}`);
}

/* Open an address of ours. */
export async function see(page, to) {
    await page.goto(`${BASE}${to}`);
    await page.locator('main h1, dialog h2').first().waitFor().catch(async (e) => {
        const text = await page.evaluate(() => document.body.innerText.slice(0, 400)).catch(() => 'no answer');
        throw new Error(`${to} shows: ${text}\nfailed: ${page.failed.slice(-5).join(', ')}\nasking: ${[...page.asking].map((r) => r.url()).join(', ')}\n${e.message}`);
    });
}

/* Nothing is loading any more: what comes late would move what is about to be pressed from under
 * the pointer between its going down and up, and the press would be lost. */
export async function settle(page) {
    await until(() => page.asking.size === 0, 20);
    await page.waitForFunction(() => !document.querySelector('.skeleton'));
    await page.evaluate(() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r))));
}

// ---- two ways to use it ----

export const mouse = (page) => ({
    name: 'mouse',
    async press(role, name, scope = page) {
        const target = scope.getByRole(role, { name }).first();
        await target.waitFor();
        await settle(page);
        await target.click();
    },
    async write(name, text) {
        await page.getByLabel(name).first().fill(text);
    },
});

// Tab until the focus is on what a screen reader would call by that name, then Enter.
export const keyboard = (page) => ({
    name: 'keyboard alone',
    async press(role, name, scope = page) {
        const target = scope.getByRole(role, { name }).first();
        await target.waitFor();
        await settle(page);
        if (role === 'menuitem') {
            for (let i = 0; i < 12 && !(await target.evaluate((e) => e === document.activeElement)); i += 1) await page.keyboard.press('ArrowDown');
        } else {
            for (let i = 0; i < 200 && !(await target.evaluate((e) => e === document.activeElement)); i += 1) await page.keyboard.press('Tab');
        }
        if (!(await target.evaluate((e) => e === document.activeElement))) throw new Error(`the Tab key does not reach ${name}`);
        await page.keyboard.press(role === 'radio' ? 'Space' : 'Enter');
    },
    async write(name, text) {
        const target = page.getByLabel(name).first();
        await target.waitFor();
        await settle(page);
        for (let i = 0; i < 200 && !(await target.evaluate((e) => e === document.activeElement)); i += 1) await page.keyboard.press('Tab');
        await page.keyboard.type(text);
    },
});

// ---- how each screen looks and reads ----

const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/* What can be read where the system chooses the colours: text that stands out from what is behind
 * it, a state that is not told by colour alone. */
export async function forced(page, name) {
    await page.emulateMedia({ forcedColors: 'active' });
    await settle(page);
    const bad = await page.evaluate(() => {
        const rgb = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
        const light = ([r, g, b]) => [r, g, b].map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const behind = (e) => {
            for (let at = e; at; at = at.parentElement) {
                const c = rgb(getComputedStyle(at).backgroundColor);
                if (c.length === 3 || c[3] > 0.5) return c;
            }
            return [255, 255, 255];
        };
        const found = [];
        for (const e of document.querySelectorAll('#app *, dialog *')) {
            const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
            if (!own || !e.checkVisibility() || e.closest('.hidden')) continue;
            const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
            if ((a + 0.05) / (b + 0.05) < 4.5) found.push(`${e.tagName}.${e.className}: ${e.textContent.slice(0, 30)}`);
        }
        for (const e of document.querySelectorAll('button, .button, input:not([type=radio], [type=checkbox]), select')) {
            if (e.checkVisibility() && !e.matches('.quiet, .switch, [role=menuitem]') && parseFloat(getComputedStyle(e).borderTopWidth) === 0) found.push(`no edge: ${e.outerHTML.slice(0, 60)}`);
        }
        for (const e of document.querySelectorAll('[role=switch] .track')) {
            const knob = getComputedStyle(e, '::after').backgroundColor;
            if (knob === getComputedStyle(e).backgroundColor) found.push('the knob of a switch is not seen');
        }
        return found;
    });
    await picture(page, `${name}-forced`, true);
    await page.emulateMedia({ forcedColors: 'none' });
    ok(bad.length === 0, `${name}: to be read in the system's own colours`, bad.join('\n'));
}

async function axe(page, name) {
    if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axeSource);
    const found = await page.evaluate(async (tags) => {
        const r = await window.axe.run(document, { runOnly: { type: 'tag', values: tags }, resultTypes: ['violations'] });
        return r.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => `${n.target.join(' ')} ${n.any[0]?.message ?? ''}`).join(' | ')}`);
    }, TAGS);
    return found.map((f) => `${name}: ${f}`);
}

// Two of the four pictures are always taken; all of them with SHOTS_ALL.
async function picture(page, name, always) {
    if (!always && !SHOTS_ALL) return;
    await page.screenshot({ path: path.join(SHOTS, `${name}.png`), fullPage: !(await page.locator('dialog[open]').count()) });
}

/* loading: as it is while an answer is waited for. */
export async function judge(page, name, { loading = false } = {}) {
    const settled = async () => loading || settle(page);
    await settled();
    let bad = await axe(page, `${name} wide light`);
    await picture(page, `${name}-wide-light`, true);
    await page.emulateMedia({ colorScheme: 'dark' });
    await picture(page, `${name}-wide-dark`, false);
    await page.setViewportSize({ width: 320, height: 720 });
    await settled();
    bad = bad.concat(await axe(page, `${name} 320 dark`));
    await picture(page, `${name}-320-dark`, true);
    const wide = await page.evaluate(() => {
        const over = document.documentElement.scrollWidth - document.documentElement.clientWidth;
        return over > 0 ? [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, .hidden, .body')).slice(0, 3).map((e) => `${e.tagName}.${e.className} ${e.textContent.slice(0, 30)}`).concat(`${over} px`) : [];
    });
    const off = await page.evaluate(() => [...document.querySelectorAll('main button, main a, [role=menuitem], dialog button')].filter((e) => {
        const { left, right, width } = e.getBoundingClientRect();
        return width > 0 && (left < 0 || right > innerWidth + 1) && !e.closest('.scroll, .hidden, .body');
    }).slice(0, 3).map((e) => `${e.textContent.slice(0, 40)} is out of the window`));
    await page.emulateMedia({ colorScheme: 'light' });
    await picture(page, `${name}-320-light`, false);
    await page.setViewportSize({ width: 1280, height: 900 });
    bad = bad.concat(off.map((o) => `${name} at 320 px: ${o}`), wide.length ? [`${name} at 320 px scrolls sideways: ${wide.join(', ')}`] : []);
    ok(bad.length === 0, `${name}: 0 violations, no sideways scroll`, bad.join('\n'));
}
