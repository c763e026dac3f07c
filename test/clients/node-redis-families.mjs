// node-redis with what needs more than one reply to a command, as its users use it. Arguments: package, host, port, protocol.
import { setTimeout as sleep } from 'node:timers/promises';
import { check, fail, finish, host, pkg, port, prefix, protocol, step } from './report.mjs';

const { BasicClientSideCache, createClient, createClientPool, defineScript, WatchError } = await import(pkg);
const addUp = defineScript({
  SCRIPT: `return redis.call('INCRBY', KEYS[1], ARGV[1]) -- ${prefix}`,
  NUMBER_OF_KEYS: 1,
  parseCommand(parser, key, n) { parser.pushKey(key); parser.push(String(n)); },
  transformReply: (n) => n,
});
const name = `lib${pkg}${protocol}`;
const functions = {
  [name]: {
    [`${name}_add`]: {
      IS_READ_ONLY: false,
      NUMBER_OF_KEYS: 1,
      parseCommand(parser, key, n) { parser.pushKey(key); parser.push(String(n)); },
      transformReply: (n) => n,
    },
  },
};
const options = { RESP: Number(protocol), unstableResp3: true, socket: { host, port: Number(port) }, scripts: { addUp }, functions };
const open = async (more = {}) => {
  const c = createClient({ ...options, ...more });
  c.on('error', (e) => fail(`error event: ${e}`));
  return c.connect();
};
const client = await open();
const other = await open();
const pool = createClientPool(options, { minimum: 1, maximum: 4 });
pool.on('error', (e) => fail(`error event: ${e}`));
await pool.connect();
const p = (name) => `{${prefix}}${name}`;
const later = (f) => sleep(50).then(f);
const plain = (o) => JSON.parse(JSON.stringify(o));

await step('transactions', async () => {
  check('multi', await client.multi().set(p('tx'), '1').incr(p('tx')).get(p('tx')).exec(), ['OK', 2, '2']);
  const e = await client.multi().lPush(p('tx'), 'x').incr(p('tx')).exec().then(() => null, (x) => x);
  check('a failure inside', [e?.errorIndexes, e?.replies?.[1]], [[0], 3]);
  const add = async (c) => {
    for (let done = 0; done < 10;) {
      await c.watch(p('watched'));
      const n = Number(await c.get(p('watched')));
      await c.multi().set(p('watched'), String(n + 1)).exec().then(() => done++, (x) => {
        if (!(x instanceof WatchError)) throw x;
      });
    }
  };
  await Promise.all([add(client), add(other), pool.execute((c) => add(c))]);
  check('increments by watch', await client.get(p('watched')), '30');
});

await step('blocking', async () => {
  const [got] = await Promise.all([pool.blPop([p('bl:none'), p('bl')], 5), later(() => other.rPush(p('bl'), ['a', 'b']))]);
  check('blPop', plain(got), { key: p('bl'), element: 'a' });
  check('blMove', await pool.blMove(p('bl'), p('bl2'), 'LEFT', 'RIGHT', 1), 'b');
  check('brPop of nothing', await pool.brPop(p('bl'), 0.05), null);
  const [z] = await Promise.all([pool.bzPopMin(p('bz'), 5), later(() => other.zAdd(p('bz'), { score: 1, value: 'm' }))]);
  check('bzPopMin', plain(z), { key: p('bz'), value: 'm', score: 1 });
  const [x] = await Promise.all([
    pool.xRead({ key: p('bx'), id: '$' }, { BLOCK: 5000 }),
    later(() => other.xAdd(p('bx'), '1-1', { f: 'v' })),
  ]);
  check('xRead', JSON.stringify(x).includes('"1-1"'), true);
});

await step('pub/sub', async () => {
  for (const [subscribe, publish, glob] of [['subscribe', 'publish', ''], ['pSubscribe', 'publish', '*'], ['sSubscribe', 'sPublish', '']]) {
    const sub = await open();
    const got = [];
    const channels = [p(`${subscribe}1`), p(`${subscribe}2`)];
    for (const c of channels) await sub[subscribe](c + glob, (message, channel) => got.push(`${channel} ${message}`));
    const want = [];
    for (let i = 0; i < 100; i++) {
      check(publish, await client[publish](channels[i % 2], String(i)), 1);
      want.push(`${channels[i % 2]} ${i}`);
    }
    for (let i = 0; got.length < 100 && i < 100; i++) await sleep(20);
    check(`messages of ${subscribe}`, got, want);
    for (const c of channels) await sub[subscribe.replace(/subscribe/i, (s) => (s === 'subscribe' ? 'unsubscribe' : 'Unsubscribe'))](c + glob);
    check('a command after that', String(await sub.echo('free')), 'free'); // a Buffer in RESP2, with any server
    await sub.close();
  }
});

await step('scripts', async () => {
  check('a new script', await client.addUp(p('script'), 2), 2);
  check('a known one', await client.addUp(p('script'), 2), 4);
  check('script flush', await client.scriptFlush(), 'OK');
  check('a lost one', await client.addUp(p('script'), 2), 6);
  check('many at once', (await Promise.all(Array.from({ length: 20 }, () => client.addUp(p('script'), 1)))).at(-1), 26);
  check('in a transaction', await client.multi().addUp(p('script'), 1).exec(), [27]);
  check('eval', await client.eval('return {KEYS[1], ARGV[1]}', { keys: [p('script')], arguments: ['x'] }), [p('script'), 'x']);
  const source = `#!lua name=${name}\nredis.register_function('${name}_add', function(k, a) return redis.call('INCRBY', k[1], a[1]) end)`;
  check('function load', await client.functionLoad(source, { REPLACE: true }), name);
  check('a function', await client[name][`${name}_add`](p('fn'), 3), 3);
  check('function delete', await client.functionDelete(name), 'OK');
});

await step('scan', async () => {
  const keys = new Set();
  for await (const some of client.scanIterator({ MATCH: p('*'), COUNT: 100 })) some.forEach((k) => keys.add(k));
  check('scanIterator', keys.has(p('tx')) && keys.has(p('script')), true);
});

if (protocol === '3') {
  await step('client-side caching', async () => {
    const cache = new BasicClientSideCache({ ttl: 0, maxEntries: 100, evictPolicy: 'LRU', recordStats: true });
    const cached = await open({ clientSideCache: cache });
    for (let round = 0; round < 20; round++) {
      const key = p(`cached:${round % 4}`);
      await other.set(key, String(round));
      let got = null;
      for (let i = 0; got !== String(round) && i < 200; i++, await sleep(5)) got = await cached.get(key); // the invalidation is on its way
      check('a cached get', got, String(round));
      check('the next one', await cached.get(key), String(round));
    }
    check('it came from the cache', cache.stats().hitCount >= 20, true);
    await cached.close();
  });
}

await step('close', () => Promise.all([client.close(), other.close(), pool.close()]));
finish();
