// node-redis as its users use it. Arguments: package, host, port, protocol.
import { big, binary, check, fail, finish, host, pkg, port, prefix, protocol, restart, step } from './report.mjs';

const { createClient, RESP_TYPES } = await import(pkg);
const client = createClient({
  RESP: Number(protocol),
  name: 'js-client',
  socket: { host, port: Number(port), reconnectStrategy: () => 50 },
});
client.on('error', (e) => fail(`error event: ${e}`));
const p = (name) => prefix + name;
const plain = (o) => (o && typeof o === 'object' && !Array.isArray(o) ? { ...o } : o);

await step('connect', async () => {
  await client.connect();
  check('ping', await client.ping(), 'PONG');
  check('name', await client.clientGetName(), 'js-client');
  check('info', (await client.info('server')).match(/^(redis|server)_mode:standalone\r$/m) !== null, true);
});

await step('strings', async () => {
  check('set', await client.set(p('s'), 'v', { EX: 100 }), 'OK');
  check('get', await client.get(p('s')), 'v');
  check('ttl', (await client.ttl(p('s'))) > 90, true);
  check('incrby', await client.incrBy(p('n'), 5), 5);
  check('missing', await client.get(p('none')), null);
  check('getdel', await client.getDel(p('n')), '5');
});

await step('hashes', async () => {
  check('hset', await client.hSet(p('h'), { a: 1, b: 'two' }), 2);
  check('hgetall', plain(await client.hGetAll(p('h'))), { a: '1', b: 'two' });
  check('hmget', await client.hmGet(p('h'), ['b', 'none']), ['two', null]);
  check('hincrby', await client.hIncrBy(p('h'), 'a', 2), 3);
});

await step('lists', async () => {
  check('rpush', await client.rPush(p('l'), ['a', 'b', 'c']), 3);
  check('lrange', await client.lRange(p('l'), 0, -1), ['a', 'b', 'c']);
  check('lpop', await client.lPop(p('l')), 'a');
});

await step('sets and sorted sets', async () => {
  check('sadd', await client.sAdd(p('set'), ['x', 'y']), 2);
  check('smembers', [...(await client.sMembers(p('set')))].sort(), ['x', 'y']);
  check('zadd', await client.zAdd(p('z'), [{ score: 1.5, value: 'one' }, { score: 2, value: 'two' }]), 2);
  check('zscore', await client.zScore(p('z'), 'one'), 1.5);
  check('zrange', (await client.zRangeWithScores(p('z'), 0, -1)).map((x) => [x.value, x.score]), [['one', 1.5], ['two', 2]]);
});

await step('streams', async () => {
  check('xadd', await client.xAdd(p('x'), '1-1', { f: 'v' }), '1-1');
  check('xlen', await client.xLen(p('x')), 1);
  check('xrange', (await client.xRange(p('x'), '-', '+')).map((m) => [m.id, plain(m.message)]), [['1-1', { f: 'v' }]]);
});

await step('a pipeline of 1000', async () => {
  const work = [];
  for (let i = 0; i < 500; i++) work.push(client.set(p(`pipe:${i}`), `v${i}`), client.get(p(`pipe:${i}`)));
  const replies = await Promise.all(work);
  check('replies', replies.every((v, i) => v === (i % 2 ? `v${(i - 1) / 2}` : 'OK')), true);
});

await step('many keys', async () => {
  const keys = Array.from({ length: 20 }, (_, i) => p(`multi:${i}`));
  check('mset', await client.mSet(keys.map((k, i) => [k, `${i}`])), 'OK');
  check('mget', await client.mGet([...keys, p('none')]), [...keys.map((_, i) => `${i}`), null]);
  check('exists', await client.exists(keys), 20);
  check('del', await client.del(keys), 20);
});

await step('big and binary', async () => {
  const key = Buffer.concat([Buffer.from(prefix), binary]);
  const buffers = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  check('set big', await client.set(p('big'), big), 'OK');
  check('get big', (await client.get(p('big'))) === big, true);
  check('set binary', await client.set(key, binary), 'OK');
  check('get binary', (await buffers.get(key)).equals(binary), true);
});

await step('an error of the server', async () => {
  const e = await client.incr(p('l')).then(() => null, (x) => x);
  check('WRONGTYPE', String(e?.message).startsWith('WRONGTYPE'), true);
});

await step('restart', async () => {
  await restart(async () => {
    let pong = null; // a command in flight while the connection breaks is rejected, as node-redis documents
    while (pong === null) pong = await client.ping().catch(() => new Promise((r) => setTimeout(() => r(null), 20)));
    check('after the restart', pong, 'PONG');
  });
  check('name after the restart', await client.clientGetName(), 'js-client');
  check('get after the restart', await client.get(p('s')), 'v');
});

await step('close', () => client.close());
finish();
