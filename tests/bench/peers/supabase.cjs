// The full sync of @supabase/stripe-sync-engine: prints `sync SECONDS CPU_SECONDS PEAK_KB` for each
// object named. Its calls go to the simulator by plain HTTP, which spares it TLS.
// usage: supabase.cjs STRIPE_URL DATABASE_URL KEY OBJECT...
const http = require('node:http');
const https = require('node:https');
const { createRequire } = require('node:module');

const [stripeUrl, databaseUrl, key, ...objects] = process.argv.slice(2);
const target = new URL(stripeUrl);
const agent = new http.Agent({ keepAlive: true });
https.request = (options, callback) => {
    const request = http.request({ ...options, host: target.hostname, port: target.port, protocol: 'http:', agent }, callback);
    // The client writes its request when the socket says that TLS is there.
    request.on('socket', (s) => s.connecting && s.once('connect', () => s.emit('secureConnect')));
    return request;
};

const load = createRequire(`${process.env.PACKAGES}/`);
const { StripeSync, runMigrations } = load('@supabase/stripe-sync-engine');

(async () => {
    await runMigrations({ databaseUrl, schema: 'stripe' });
    const sync = new StripeSync({
        poolConfig: { connectionString: databaseUrl, max: 10 },
        stripeSecretKey: key,
        stripeWebhookSecret: 'whsec_unused',
        backfillRelatedEntities: false,
    });
    for (const object of objects) {
        const [began, cpu] = [process.hrtime.bigint(), process.cpuUsage()];
        await sync.syncBackfill({ object });
        const used = process.cpuUsage(cpu);
        console.log(`sync ${Number(process.hrtime.bigint() - began) / 1e9} ${(used.user + used.system) / 1e6} ${process.resourceUsage().maxRSS}`);
    }
    process.exit(0);
})().catch((e) => {
    console.error(e);
    process.exit(1);
});
