// BullMQ with nothing to do in its jobs: `put SECONDS`, then `work SECONDS`, as queue.c prints them.
// usage: bullmq.mjs SOCKET JOBS CONCURRENCY
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.PACKAGES}/`);
const { Queue, Worker } = require('bullmq');
const IORedis = require('ioredis');

const [socket, jobs, concurrency] = [process.argv[2], +process.argv[3], +process.argv[4]];
const connect = () => new (IORedis.default ?? IORedis)({ path: socket, maxRetriesPerRequest: null });
const queue = new Queue('bench', { connection: connect() });
const options = { removeOnComplete: true };
let began = process.hrtime.bigint();
const seconds = () => (Number(process.hrtime.bigint() - began) / 1e9).toFixed(3);

for (let at = 0; at < jobs; at += 500) {
    const some = Math.min(500, jobs - at);
    await queue.addBulk(
        Array.from({ length: some }, (_, i) => ({
            name: 'record',
            data: { object: 'company', id: String(10000000 + at + i) },
            opts: options,
        })),
    );
}
console.log(`put ${seconds()}`);
await new Promise((go) => process.stdin.once('data', go));

let done = 0;
const connection = connect();
const worker = new Worker('bench', async () => {}, { connection, concurrency, autorun: false });
await worker.waitUntilReady();
began = process.hrtime.bigint();
await new Promise((all) => {
    worker.on('completed', () => {
        done += 1;
        if (done === jobs) all();
    });
    worker.run();
});
console.log(`work ${seconds()}`);
process.exit(0);
