/* What a stranger does who follows the link that `up --demo` prints: signs in, sees figures move,
 * reads the log, opens a row and a customer, and pulls that customer fresh. The picture of the
 * integration is kept as SHOTS/demo-integration.png. */
import fs from 'node:fs';
import path from 'node:path';

import { done, is, ok, part } from '../npm/lib.mjs';
import { browser, faults, mouse, open, settle, until } from './lib.mjs';

const { LINK, SHOTS } = process.env;
fs.mkdirSync(SHOTS, { recursive: true });
const page = await open(null);
const by = mouse(page);

await part('the link', async () => {
    await page.goto(LINK);
    await page.getByRole('heading', { level: 1, name: 'Integrations' }).waitFor();
    ok(!page.url().includes('token'), 'the printed link signs in, and leaves no token in the address');
    await page.getByText('in sync').first().waitFor();
    is(await page.locator('.card').count(), 2, 'both integrations are there');
});

await part('live figures', async () => {
    await by.press('link', 'HubSpot');
    await page.locator('.banner').getByText('Connected').waitFor();
    const accepted = async () => Number(/([\d,]+) accepted/.exec(await page.locator('dd', { hasText: 'last event' }).textContent())?.[1].replaceAll(',', '') ?? 0);
    await until(async () => (await accepted()) > 0);
    const first = await accepted();
    await until(async () => (await accepted()) > first);
    ok(true, 'figures move while it is looked at');
    await page.getByText('not planned yet').waitFor({ state: 'detached' }); // the scheduler's next look
    await page.setViewportSize({ width: 1280, height: 830 });
    await settle(page);
    await page.screenshot({ path: path.join(SHOTS, 'demo-integration.png') });
    await page.setViewportSize({ width: 1280, height: 900 });
});

await part('the log', async () => {
    await by.press('link', 'View log');
    const top = page.locator('.row-link').first();
    await top.waitFor();
    const newest = await top.getAttribute('data-attempt');
    await page.getByRole('button', { name: /newer, show/ }).waitFor();
    is(await top.getAttribute('data-attempt'), newest, 'rows stay put while new ones arrive');
    await page.getByRole('button', { name: /newer, show/ }).click();
    await until(async () => (await top.getAttribute('data-attempt')) !== newest);
    await settle(page);
    await top.click();
    await page.getByRole('dialog').getByRole('heading', { name: 'Attempts' }).waitFor();
    ok(true, 'a row opens');
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
});

await part('a customer', async () => {
    await by.press('link', 'Customers', page.getByRole('navigation', { name: 'Sections' }));
    await page.locator('td[data-label=Name] a').first().waitFor();
    await settle(page);
    await page.locator('td[data-label=Name] a').first().click();
    await page.getByRole('heading', { name: 'Fields and where they came from' }).waitFor();
    await by.press('button', 'Actions for this customer');
    await by.press('menuitem', /Resync from HubSpot/);
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: /^(Apply|Write again anyway)$/ }).waitFor();
    await by.press('button', /^(Apply|Write again anyway)$/, dialog);
    await dialog.getByText('Pulled fresh from HubSpot.').first().waitFor();
    ok(true, 'Resync from HubSpot pulls it fresh');
    await page.keyboard.press('Escape');
});

await part('the other sections', async () => {
    for (const [link, heading] of [['Queue', 'Queue and quota'], ['Activity', 'Activity'], ['Errors', 'Error reference'], ['Log', 'Log of all integrations']]) {
        await by.press('link', link, page.getByRole('navigation', { name: 'Sections' }));
        await page.getByRole('heading', { name: heading }).waitFor();
        await settle(page);
        is(await page.locator('.notice.error').count(), 0, `${heading} is there`);
    }
});

is(faults, [], 'no script failed and no policy was broken');
await browser.close();
done();
