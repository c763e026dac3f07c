package differ

import (
	"crypto/sha1"
	"encoding/hex"
)

// scripts are good on any number of keys and arguments; some fail, and some answer what a proxy could take for its own business.
var scripts = []string{
	`return redis.call('GET', KEYS[1])`,
	`return redis.call('SET', KEYS[1], ARGV[1])`,
	`return redis.call('RPUSH', KEYS[1], unpack(ARGV))`,
	`return redis.call('LRANGE', KEYS[1], 0, -1)`,
	`return {#KEYS, #ARGV, KEYS[1], ARGV[1], false, true, 3.99, {1, 'two', {3}}}`,
	`return redis.status_reply('FINE')`,
	`return redis.error_reply('MOVED 5 127.0.0.1:1')`,
	`return redis.error_reply('ASK 5 127.0.0.1:1')`,
	`return {err = 'TRYAGAIN not really'}`,
	`error('on purpose')`,
	`return redis.call('NOSUCH')`,
	`return redis.pcall('INCR', KEYS[1])`,
	`redis.call('SET', KEYS[1], 'x') return redis.call('LPUSH', KEYS[1], 'y')`,
	`redis.setresp(3) return redis.call('HGETALL', KEYS[1])`,
	`redis.setresp(3) return {double = 1.5}`,
	`return cjson.encode({KEYS[1], ARGV[1]})`,
	`return 'x' syntax error`,
	`return redis.call('SMEMBERS', KEYS[1])[1] == nil`,
	`#!lua flags=no-writes
return redis.call('SET', KEYS[1], 'x')`,
	`return nil`,
	`return 1`,
}

const library = `#!lua name=lib
redis.register_function('put', function(keys, args) return redis.call('SET', keys[1], args[1]) end)
redis.register_function{function_name='take', callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}`

func sha1Hex(s string) string {
	sum := sha1.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}
