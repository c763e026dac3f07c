// ioredis with what needs more than one reply to a command, as its users use it. Arguments: package, host, port, protocol.
import { setTimeout as sleep } from 'node:timers/promises';
import { check, fail, finish, host, pkg, port, prefix, protocol, step } from './report.mjs';

const { default: Redis } = await import(pkg);
const options = { host, port: Number(port) };
if (protocol === '3') options.protocol = 3;
const open = (more = {}) => {
  const r = new Redis({ ...options, ...more });
  r.on('error', (e) => fail(`error event: ${e}`));
  return r;
};
const redis = open();
const other = open();
const p = (name) => `{${prefix}}${name}`;
const later = (f) => sleep(50).then(f);

await step('transactions', async () => {
  check('multi', await redis.multi().set(p('tx'), 1).incr(p('tx')).get(p('tx')).exec(), [[null, 'OK'], [null, 2], [null, '2']]);
  const failed = await redis.multi().lpush(p('tx'), 'x').incr(p('tx')).exec();
  check('a failure inside', [String(failed[0][0]?.message).startsWith('WRONGTYPE'), failed[1]], [true, [null, 3]]);
  check('unpipelined multi', await redis.multi({ pipeline: false }), 'OK');
  check('queued', await redis.incr(p('tx')), 'QUEUED');
  check('exec', await redis.exec(), [[null, 4]]);
  await redis.watch(p('tx'));
  await other.incr(p('tx'));
  check('exec after a change', await redis.multi().set(p('tx'), 'lost').exec(), null);
  const add = async (client) => {
    for (let done = 0; done < 10;) {
      await client.watch(p('watched'));
      const n = Number(await client.get(p('watched')));
      if (await client.multi().set(p('watched'), n + 1).exec()) done++;
    }
  };
  await Promise.all([add(redis), add(other)]);
  check('increments by watch', await redis.get(p('watched')), '20');
});

await step('blocking', async () => {
  const [got] = await Promise.all([redis.blpop(p('bl:none'), p('bl'), 5), later(() => other.rpush(p('bl'), 'a', 'b'))]);
  check('blpop', got, [p('bl'), 'a']);
  check('blmove', await redis.blmove(p('bl'), p('bl2'), 'LEFT', 'RIGHT', 1), 'b');
  check('brpop of nothing', await redis.brpop(p('bl'), 0.05), null);
  const [z] = await Promise.all([redis.bzpopmin(p('bz'), 5), later(() => other.zadd(p('bz'), 1, 'm'))]);
  check('bzpopmin', z.map(String), [p('bz'), 'm', '1']);
  const [x] = await Promise.all([redis.xread('BLOCK', 5000, 'STREAMS', p('bx'), '$'), later(() => other.xadd(p('bx'), '1-1', 'f', 'v'))]);
  // A map in RESP3, whichever way the library shows it, holds the same two things.
  check('xread', JSON.stringify(x).includes('["1-1",["f","v"]]'), true);
});

await step('pub/sub', async () => {
  for (const [subscribe, publish, event, glob] of [
    ['subscribe', 'publish', 'message', ''],
    ['psubscribe', 'publish', 'pmessage', '*'],
    ['ssubscribe', 'spublish', 'smessage', ''],
  ]) {
    const sub = open();
    const got = [];
    sub.on(event, (...args) => got.push(args.slice(-2).join(' ')));
    const channels = [p(`${subscribe}1`), p(`${subscribe}2`)];
    check(subscribe, await sub[subscribe](...channels.map((c) => c + glob)), 2);
    const want = [];
    for (let i = 0; i < 100; i++) {
      check(publish, await redis[publish](channels[i % 2], i), 1);
      want.push(`${channels[i % 2]} ${i}`);
    }
    for (let i = 0; got.length < 100 && i < 100; i++) await sleep(20);
    check(`${event}s`, got, want);
    check(`un${subscribe}`, await sub[subscribe.replace('subscribe', 'unsubscribe')](), 0);
    check('a command after that', await sub.echo('free'), 'free');
    await sub.quit();
  }
});

await step('scripts', async () => {
  const lua = `return redis.call('INCRBY', KEYS[1], ARGV[1]) -- ${prefix}`;
  redis.defineCommand('addUp', { numberOfKeys: 1, lua });
  check('a new script', await redis.addUp(p('script'), 2), 2);
  check('a known one', await redis.addUp(p('script'), 2), 4);
  check('script flush', await redis.script('FLUSH'), 'OK');
  check('a lost one', await redis.addUp(p('script'), 2), 6);
  const pipe = redis.pipeline();
  for (let i = 0; i < 20; i++) pipe.addUp(p('script'), 1);
  check('in a pipeline', (await pipe.exec()).at(-1), [null, 26]);
  check('in a transaction', await redis.multi().addUp(p('script'), 1).exec(), [[null, 27]]);
  check('eval', await redis.eval('return {KEYS[1], ARGV[1]}', 1, p('script'), 'x'), [p('script'), 'x']);
  const name = `lib${pkg}${protocol}`;
  const source = `#!lua name=${name}\nredis.register_function('${name}_add', function(k, a) return redis.call('INCRBY', k[1], a[1]) end)`;
  check('function load', await redis.function('LOAD', 'REPLACE', source), name);
  check('fcall', await redis.fcall(`${name}_add`, 1, p('fn'), 3), 3);
  check('function delete', await redis.function('DELETE', name), 'OK');
});

await step('scan', async () => {
  const keys = new Set();
  for await (const some of redis.scanStream({ match: p('*'), count: 100 })) some.forEach((k) => keys.add(k));
  check('scanStream', keys.has(p('tx')) && keys.has(p('script')), true);
});

await step('automatic pipelines', async () => {
  const auto = open({ enableAutoPipelining: true });
  const replies = await Promise.all(Array.from({ length: 200 }, (_, i) => auto.incr(p(`auto:${i % 2}`))));
  check('replies', replies, Array.from({ length: 200 }, (_, i) => Math.floor(i / 2) + 1));
  await auto.quit();
});

await step('quit', async () => check('quit', await Promise.all([redis.quit(), other.quit()]), ['OK', 'OK']));
finish();
