// BullMQ as its users use it: 1000 jobs, each done once. Arguments: package, host, port, protocol, prefix with a hash tag, milliseconds
// from one job to the next. The last jobs come after the test has done its part.
import { setTimeout as sleep } from 'node:timers/promises';
import { check, fail, finish, host, meanwhile, pkg, port, protocol, step } from './report.mjs';

const { FlowProducer, Queue, QueueEvents, Worker } = await import(pkg);
const [prefix, pace] = [process.argv[6], Number(process.argv[7])];
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
if (protocol === '3') connection.protocol = 3;
const jobs = 1000;
const done = new Map(); // number of a job -> how often it was done
const completed = new Map(); // id of a job -> how often an event said so
let calls = 0;

const options = { connection, prefix };
const queue = new Queue('paint', options);
const events = new QueueEvents('paint', options);
const flows = new FlowProducer(options);
const worker = new Worker('paint', async (job) => {
  calls++;
  if (job.name === 'fails once' && job.attemptsMade === 0) throw new Error('as it should');
  if (job.name === 'parent') check('children', Object.values(await job.getChildrenValues()).length, 4);
  await job.updateProgress(50);
  done.set(job.data.n, (done.get(job.data.n) ?? 0) + 1);
  return { n: job.data.n };
}, { ...options, concurrency: 20 });
for (const part of [queue, events, flows, worker]) part.on('error', (e) => fail(`error event: ${e?.stack ?? e}`));
events.on('completed', ({ jobId }) => completed.set(jobId, (completed.get(jobId) ?? 0) + 1));

await step('start', async () => {
  await Promise.all([queue.waitUntilReady(), events.waitUntilReady(), worker.waitUntilReady()]);
});

const part = meanwhile();

await step('add', async () => {
  let n = 0;
  for (let i = 0; i < 10; i++) {
    const children = Array.from({ length: 4 }, () => ({ name: 'child', queueName: 'paint', data: { n: n++ } }));
    await flows.add({ name: 'parent', queueName: 'paint', data: { n: n++ }, children });
  }
  for (let i = 0; i < 6; i++) await queue.addBulk(Array.from({ length: 50 }, () => ({ name: 'one of many', data: { n: n++ } })));
  for (let i = 0; i < 50; i++) await queue.add('fails once', { n: n++ }, { attempts: 2, backoff: { type: 'fixed', delay: 50 } });
  for (let i = 0; i < 100; i++) await queue.add('delayed', { n: n++ }, { delay: 500 + 5 * i });
  while (n < jobs) {
    if (n === jobs - 100) await part;
    const job = await queue.add('one', { n }, { priority: n % 10 === 0 ? 3 : undefined });
    if (n % 50 === 0) check('result', await job.waitUntilFinished(events, 20000), { n });
    n++;
    await sleep(pace);
  }
});

await step('every job is done, and done once', async () => {
  const until = Date.now() + 20000;
  while ((done.size < jobs || completed.size < jobs) && Date.now() < until) await sleep(20);
  check('jobs done', done.size, jobs);
  check('jobs done twice', [...done].filter(([, times]) => times > 1), []);
  check('calls', calls, jobs + 50);
  check('events', completed.size, jobs);
  check('events doubled', [...completed].filter(([, times]) => times > 1), []);
  check('counts', await queue.getJobCounts('completed', 'failed', 'waiting', 'active', 'delayed', 'prioritized'), {
    completed: jobs, failed: 0, waiting: 0, active: 0, delayed: 0, prioritized: 0,
  });
});

await step('pause and resume', async () => {
  await queue.pause();
  check('paused', await queue.isPaused(), true);
  await queue.resume();
});

await step('close', async () => {
  await worker.close();
  await queue.obliterate();
  await Promise.all([queue.close(), events.close(), flows.close()]);
});
finish();
