// ioredis as its users use it. Arguments: package, host, port, protocol.
import { big, binary, check, fail, finish, host, pkg, port, prefix, protocol, restart, step } from './report.mjs';

const { default: Redis } = await import(pkg);
const options = { host, port: Number(port), connectionName: 'js-client', retryStrategy: () => 50, maxRetriesPerRequest: null };
if (protocol === '3') options.protocol = 3;
const redis = new Redis(options);
redis.on('error', (e) => fail(`error event: ${e}`));
const p = (name) => prefix + name;

await step('connect', async () => {
  check('ping', await redis.ping(), 'PONG');
  check('name', await redis.client('GETNAME'), 'js-client');
  check('info', (await redis.info('server')).match(/^(redis|server)_mode:standalone\r$/m) !== null, true);
});

await step('strings', async () => {
  check('set', await redis.set(p('s'), 'v', 'EX', 100), 'OK');
  check('get', await redis.get(p('s')), 'v');
  check('ttl', (await redis.ttl(p('s'))) > 90, true);
  check('incrby', await redis.incrby(p('n'), 5), 5);
  check('missing', await redis.get(p('none')), null);
  check('getdel', await redis.getdel(p('n')), '5');
});

await step('hashes', async () => {
  check('hset', await redis.hset(p('h'), { a: 1, b: 'two' }), 2);
  check('hgetall', await redis.hgetall(p('h')), { a: '1', b: 'two' });
  check('hmget', await redis.hmget(p('h'), 'b', 'none'), ['two', null]);
  check('hincrby', await redis.hincrby(p('h'), 'a', 2), 3);
});

await step('lists', async () => {
  check('rpush', await redis.rpush(p('l'), 'a', 'b', 'c'), 3);
  check('lrange', await redis.lrange(p('l'), 0, -1), ['a', 'b', 'c']);
  check('lpop', await redis.lpop(p('l')), 'a');
});

await step('sets and sorted sets', async () => {
  check('sadd', await redis.sadd(p('set'), 'x', 'y'), 2);
  check('smembers', (await redis.smembers(p('set'))).sort(), ['x', 'y']);
  check('zadd', await redis.zadd(p('z'), 1.5, 'one', 2, 'two'), 2);
  check('zscore', Number(await redis.zscore(p('z'), 'one')), 1.5);
  check('zrange', (await redis.zrange(p('z'), 0, -1)).map(String), ['one', 'two']);
});

await step('streams', async () => {
  check('xadd', await redis.xadd(p('x'), '1-1', 'f', 'v'), '1-1');
  check('xlen', await redis.xlen(p('x')), 1);
  check('xrange', await redis.xrange(p('x'), '-', '+'), [['1-1', ['f', 'v']]]);
});

await step('a pipeline of 1000', async () => {
  const pipe = redis.pipeline();
  for (let i = 0; i < 500; i++) pipe.set(p(`pipe:${i}`), `v${i}`).get(p(`pipe:${i}`));
  const replies = await pipe.exec();
  check('length', replies.length, 1000);
  check('replies', replies.every(([e, v], i) => e === null && v === (i % 2 ? `v${(i - 1) / 2}` : 'OK')), true);
});

await step('many keys', async () => {
  const keys = Array.from({ length: 20 }, (_, i) => p(`multi:${i}`));
  check('mset', await redis.mset(...keys.flatMap((k, i) => [k, `${i}`])), 'OK');
  check('mget', await redis.mget(...keys, p('none')), [...keys.map((_, i) => `${i}`), null]);
  check('exists', await redis.exists(...keys), 20);
  check('del', await redis.del(...keys), 20);
});

await step('big and binary', async () => {
  const key = Buffer.concat([Buffer.from(prefix), binary]);
  check('set big', await redis.set(p('big'), big), 'OK');
  check('get big', (await redis.get(p('big'))) === big, true);
  check('set binary', await redis.set(key, binary), 'OK');
  check('get binary', (await redis.getBuffer(key)).equals(binary), true);
});

await step('an error of the server', async () => {
  const e = await redis.incr(p('l')).then(() => null, (x) => x);
  check('WRONGTYPE', String(e?.message).startsWith('WRONGTYPE'), true);
});

await step('restart', async () => {
  await restart(async () => check('after the restart', await redis.ping(), 'PONG'));
  check('name after the restart', await redis.client('GETNAME'), 'js-client');
  check('get after the restart', await redis.get(p('s')), 'v');
});

await step('quit', async () => check('quit', await redis.quit(), 'OK'));
finish();
