package test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	goredis "github.com/redis/go-redis/v9"
	"github.com/valkey-io/valkey-go"

	"slotproxy/internal/testcluster"
)

// endpoint is what a client scenario gets: an address behind which a proxy, or for comparison a bare server, answers.
type endpoint struct {
	addr    string
	restart func() // replaces the proxy by another one on the same port; nil where there is none
}

var (
	bigValue  = strings.Repeat("x", 1<<20)
	binaryKey = "\x00\x01\r\n$*\xff\xfe\x80\x00"
)

// scenarios are the Go client libraries, each used as its users use it.
var scenarios = []struct {
	name string
	run  func(t *testing.T, e endpoint, prefix string)
}{
	{"go-redis RESP2", func(t *testing.T, e endpoint, prefix string) { runGoRedis(t, e, prefix, 2) }},
	{"go-redis RESP3", func(t *testing.T, e endpoint, prefix string) { runGoRedis(t, e, prefix, 3) }},
	{"valkey-go RESP3", func(t *testing.T, e endpoint, prefix string) { runValkeyGo(t, e, prefix, false) }},
	{"valkey-go RESP2", func(t *testing.T, e endpoint, prefix string) { runValkeyGo(t, e, prefix, true) }},
	{"redigo", runRedigo},
}

// The scenarios themselves must be right: they pass against the server that the proxy pretends to be.
func TestClientLibrariesWorkWithABareServer(t *testing.T) {
	server := sharedServer(t, testcluster.NeedNewest(t))
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) { s.run(t, endpoint{addr: server.Addr}, "bare:"+s.name+":") })
	}
	runScripts(t, "", endpoint{addr: server.Addr})
}

func TestClientLibrariesWorkThroughTheProxyAndAcrossItsRestart(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		cluster := sharedCluster(t, v)
		p := startProxy(t, cluster.Addrs()[:1])
		want(t, p.dial(t), "+OK", "FLUSHALL")
		e := endpoint{addr: p.addr, restart: func() {
			p.kill()
			p = startProxyWith(t, proxyOptions{Seeds: cluster.Addrs()[:1], Listen: p.addr})
		}}
		for _, s := range scenarios {
			t.Run(s.name, func(t *testing.T) { s.run(t, e, s.name+":") })
		}
		if v == testcluster.NeedNewest(t) {
			runScripts(t, "", e)
		}
	})
}

// checker compares what a library returned.
type checker struct{ t *testing.T }

func (c checker) eq(what string, got any, err error, want any) {
	c.t.Helper()
	if err != nil || !reflect.DeepEqual(got, want) {
		c.t.Errorf("%s: got %s (%v), want %s", what, brief(got), err, brief(want))
	}
}

func brief(v any) string {
	s := fmt.Sprintf("%#v", v)
	return s[:min(len(s), 200)]
}

// serverMode tells whether INFO describes a server that is not a cluster; Valkey renamed the field in 8.0.
func serverMode(info string) string {
	for line := range strings.Lines(info) {
		if mode, ok := strings.CutPrefix(strings.TrimSpace(line), "redis_mode:"); ok {
			return mode
		}
		if mode, ok := strings.CutPrefix(strings.TrimSpace(line), "server_mode:"); ok {
			return mode
		}
	}
	return ""
}

// goRedisLog collects what go-redis has to say; it has one logger for the process.
var goRedisLog struct {
	sync.Mutex
	lines []string
}

type goRedisLogger struct{}

func (goRedisLogger) Printf(_ context.Context, format string, v ...any) {
	goRedisLog.Lock()
	defer goRedisLog.Unlock()
	goRedisLog.lines = append(goRedisLog.lines, fmt.Sprintf(format, v...))
}

func runGoRedis(t *testing.T, e endpoint, prefix string, proto int) {
	goredis.SetLogger(goRedisLogger{})
	ctx, k, c := context.Background(), func(s string) string { return prefix + s }, checker{t}
	r := goredis.NewClient(&goredis.Options{Addr: e.addr, Protocol: proto, ClientName: "go-client", PoolSize: 4})
	defer func() { _ = r.Close() }()

	s, err := r.Ping(ctx).Result()
	c.eq("PING", s, err, "PONG")
	s, err = r.ClientGetName(ctx).Result()
	c.eq("CLIENT GETNAME", s, err, "go-client")
	s, err = r.Info(ctx, "server").Result()
	c.eq("INFO", serverMode(s), err, "standalone")
	s, err = r.Set(ctx, k("s"), "v", time.Minute).Result()
	c.eq("SET", s, err, "OK")
	s, err = r.Get(ctx, k("s")).Result()
	c.eq("GET", s, err, "v")
	_, err = r.Get(ctx, k("none")).Result()
	c.eq("GET of nothing", errors.Is(err, goredis.Nil), nil, true)
	n, err := r.HSet(ctx, k("h"), "a", 1, "b", "two").Result()
	c.eq("HSET", n, err, int64(2))
	m, err := r.HGetAll(ctx, k("h")).Result()
	c.eq("HGETALL", m, err, map[string]string{"a": "1", "b": "two"})
	n, err = r.RPush(ctx, k("l"), "a", "b", "c").Result()
	c.eq("RPUSH", n, err, int64(3))
	list, err := r.LRange(ctx, k("l"), 0, -1).Result()
	c.eq("LRANGE", list, err, []string{"a", "b", "c"})
	n, err = r.SAdd(ctx, k("set"), "x").Result()
	c.eq("SADD", n, err, int64(1))
	list, err = r.SMembers(ctx, k("set")).Result()
	c.eq("SMEMBERS", list, err, []string{"x"})
	n, err = r.ZAdd(ctx, k("z"), goredis.Z{Score: 1.5, Member: "one"}).Result()
	c.eq("ZADD", n, err, int64(1))
	z, err := r.ZRangeWithScores(ctx, k("z"), 0, -1).Result()
	c.eq("ZRANGE", z, err, []goredis.Z{{Score: 1.5, Member: "one"}})
	s, err = r.XAdd(ctx, &goredis.XAddArgs{Stream: k("x"), ID: "1-1", Values: []string{"f", "v"}}).Result()
	c.eq("XADD", s, err, "1-1")
	x, err := r.XRange(ctx, k("x"), "-", "+").Result()
	c.eq("XRANGE", x, err, []goredis.XMessage{{ID: "1-1", Values: map[string]any{"f": "v"}}})
	err = r.Incr(ctx, k("l")).Err()
	c.eq("WRONGTYPE", err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE"), nil, true)

	goRedisPipeline(t, r, prefix)
	goRedisManyKeys(t, r, prefix)

	s, err = r.Set(ctx, k("big"), bigValue, 0).Result()
	c.eq("SET big", s, err, "OK")
	s, err = r.Get(ctx, k("big")).Result()
	c.eq("GET big", s == bigValue, err, true)
	s, err = r.Set(ctx, k(binaryKey), binaryKey, 0).Result()
	c.eq("SET binary", s, err, "OK")
	s, err = r.Get(ctx, k(binaryKey)).Result()
	c.eq("GET binary", s, err, binaryKey)

	checkGoRedisLog(t)
	if e.restart == nil {
		return
	}
	e.restart()
	// The pool's old connections are dead; go-redis tries again on a new one by itself.
	s, err = r.Get(ctx, k("s")).Result()
	c.eq("GET after a restart", s, err, "v")
	s, err = r.ClientGetName(ctx).Result()
	c.eq("CLIENT GETNAME after a restart", s, err, "go-client")
	goRedisLog.Lock()
	goRedisLog.lines = nil // what it said about the broken connections
	goRedisLog.Unlock()
}

func checkGoRedisLog(t *testing.T) {
	t.Helper()
	goRedisLog.Lock()
	defer goRedisLog.Unlock()
	if len(goRedisLog.lines) > 0 {
		t.Errorf("go-redis logged %q", goRedisLog.lines)
	}
}

func goRedisPipeline(t *testing.T, r *goredis.Client, prefix string) {
	ctx, c := context.Background(), checker{t}
	pipe := r.Pipeline()
	for i := range 500 {
		key := fmt.Sprintf("%spipe:%d", prefix, i)
		pipe.Set(ctx, key, i, 0)
		pipe.Get(ctx, key)
	}
	replies, err := pipe.Exec(ctx)
	c.eq("a pipeline of 1000", len(replies), err, 1000)
	for i, reply := range replies {
		if get, ok := reply.(*goredis.StringCmd); ok {
			c.eq("GET in a pipeline", get.Val(), get.Err(), fmt.Sprint(i/2))
		}
	}
}

func goRedisManyKeys(t *testing.T, r *goredis.Client, prefix string) {
	ctx, c := context.Background(), checker{t}
	var keys, pairs []string
	var values []any
	for i := range 20 {
		key := fmt.Sprintf("%smulti:%d", prefix, i)
		keys, pairs, values = append(keys, key), append(pairs, key, fmt.Sprint(i)), append(values, fmt.Sprint(i))
	}
	s, err := r.MSet(ctx, pairs).Result()
	c.eq("MSET", s, err, "OK")
	got, err := r.MGet(ctx, append(keys, prefix+"none")...).Result()
	c.eq("MGET", got, err, append(values, nil))
	n, err := r.Exists(ctx, keys...).Result()
	c.eq("EXISTS", n, err, int64(20))
	n, err = r.Del(ctx, keys...).Result()
	c.eq("DEL", n, err, int64(20))
}

func runValkeyGo(t *testing.T, e endpoint, prefix string, resp2 bool) {
	ctx, k, c := context.Background(), func(s string) string { return prefix + s }, checker{t}
	r, err := valkey.NewClient(valkey.ClientOption{
		InitAddress: []string{e.addr}, ForceSingleClient: true, DisableCache: true, AlwaysRESP2: resp2, ClientName: "go-client",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	do := func(cmd valkey.Completed) valkey.ValkeyResult { return r.Do(ctx, cmd) }

	s, err := do(r.B().Ping().Build()).ToString()
	c.eq("PING", s, err, "PONG")
	s, err = do(r.B().Info().Section("server").Build()).ToString()
	c.eq("INFO", serverMode(s), err, "standalone")
	s, err = do(r.B().Set().Key(k("s")).Value("v").ExSeconds(60).Build()).ToString()
	c.eq("SET", s, err, "OK")
	s, err = do(r.B().Get().Key(k("s")).Build()).ToString()
	c.eq("GET", s, err, "v")
	err = do(r.B().Get().Key(k("none")).Build()).Error()
	c.eq("GET of nothing", valkey.IsValkeyNil(err), nil, true)
	n, err := do(r.B().Hset().Key(k("h")).FieldValue().FieldValue("a", "1").FieldValue("b", "two").Build()).AsInt64()
	c.eq("HSET", n, err, int64(2))
	m, err := do(r.B().Hgetall().Key(k("h")).Build()).AsStrMap()
	c.eq("HGETALL", m, err, map[string]string{"a": "1", "b": "two"})
	n, err = do(r.B().Rpush().Key(k("l")).Element("a", "b").Build()).AsInt64()
	c.eq("RPUSH", n, err, int64(2))
	list, err := do(r.B().Lrange().Key(k("l")).Start(0).Stop(-1).Build()).AsStrSlice()
	c.eq("LRANGE", list, err, []string{"a", "b"})
	n, err = do(r.B().Zadd().Key(k("z")).ScoreMember().ScoreMember(1.5, "one").Build()).AsInt64()
	c.eq("ZADD", n, err, int64(1))
	z, err := do(r.B().Zrange().Key(k("z")).Min("0").Max("-1").Withscores().Build()).AsZScores()
	c.eq("ZRANGE", z, err, []valkey.ZScore{{Member: "one", Score: 1.5}})
	s, err = do(r.B().Xadd().Key(k("x")).Id("1-1").FieldValue().FieldValue("f", "v").Build()).ToString()
	c.eq("XADD", s, err, "1-1")
	x, err := do(r.B().Xrange().Key(k("x")).Start("-").End("+").Build()).AsXRange()
	c.eq("XRANGE", x, err, []valkey.XRangeEntry{{ID: "1-1", FieldValues: map[string]string{"f": "v"}}})
	err = do(r.B().Incr().Key(k("l")).Build()).Error()
	c.eq("WRONGTYPE", err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE"), nil, true)

	valkeyGoMany(t, r, prefix)

	s, err = do(r.B().Set().Key(k("big")).Value(bigValue).Build()).ToString()
	c.eq("SET big", s, err, "OK")
	s, err = do(r.B().Get().Key(k("big")).Build()).ToString()
	c.eq("GET big", s == bigValue, err, true)
	s, err = do(r.B().Set().Key(k(binaryKey)).Value(binaryKey).Build()).ToString()
	c.eq("SET binary", s, err, "OK")
	s, err = do(r.B().Get().Key(k(binaryKey)).Build()).ToString()
	c.eq("GET binary", s, err, binaryKey)

	if e.restart == nil {
		return
	}
	e.restart()
	s, err = do(r.B().Get().Key(k("s")).Build()).ToString()
	c.eq("GET after a restart", s, err, "v")
}

func valkeyGoMany(t *testing.T, r valkey.Client, prefix string) {
	ctx, c := context.Background(), checker{t}
	var cmds valkey.Commands
	for i := range 500 {
		key := fmt.Sprintf("%spipe:%d", prefix, i)
		cmds = append(cmds, r.B().Set().Key(key).Value(fmt.Sprint(i)).Build(), r.B().Get().Key(key).Build())
	}
	for i, reply := range r.DoMulti(ctx, cmds...) {
		s, err := reply.ToString()
		if i%2 == 1 {
			c.eq("GET in a pipeline", s, err, fmt.Sprint(i/2))
			continue
		}
		c.eq("SET in a pipeline", s, err, "OK")
	}
	var keys []string
	mset := r.B().Mset().KeyValue()
	for i := range 20 {
		keys = append(keys, fmt.Sprintf("%smulti:%d", prefix, i))
		mset = mset.KeyValue(keys[i], fmt.Sprint(i))
	}
	s, err := r.Do(ctx, mset.Build()).ToString()
	c.eq("MSET", s, err, "OK")
	got, err := r.Do(ctx, r.B().Mget().Key(keys...).Build()).AsStrSlice()
	c.eq("MGET", len(got) == 20 && got[19] == "19", err, true)
	n, err := r.Do(ctx, r.B().Del().Key(keys...).Build()).AsInt64()
	c.eq("DEL", n, err, int64(20))
}

func runRedigo(t *testing.T, e endpoint, prefix string) {
	k, c := func(s string) string { return prefix + s }, checker{t}
	pool := &redis.Pool{MaxIdle: 2, Dial: func() (redis.Conn, error) {
		return redis.Dial("tcp", e.addr, redis.DialClientName("go-client"), redis.DialReadTimeout(10*time.Second))
	}, TestOnBorrow: func(c redis.Conn, _ time.Time) error { _, err := c.Do("PING"); return err }}
	defer func() { _ = pool.Close() }()
	r := pool.Get()
	s, err := redis.String(r.Do("SET", k("s"), "v", "EX", 60))
	c.eq("SET", s, err, "OK")
	s, err = redis.String(r.Do("GET", k("s")))
	c.eq("GET", s, err, "v")
	_, err = redis.String(r.Do("GET", k("none")))
	c.eq("GET of nothing", errors.Is(err, redis.ErrNil), nil, true)
	s, err = redis.String(r.Do("CLIENT", "GETNAME"))
	c.eq("CLIENT GETNAME", s, err, "go-client")
	n, err := redis.Int(r.Do("HSET", k("h"), "a", 1, "b", "two"))
	c.eq("HSET", n, err, 2)
	m, err := redis.StringMap(r.Do("HGETALL", k("h")))
	c.eq("HGETALL", m, err, map[string]string{"a": "1", "b": "two"})
	n, err = redis.Int(r.Do("RPUSH", k("l"), "a", "b"))
	c.eq("RPUSH", n, err, 2)
	list, err := redis.Strings(r.Do("LRANGE", k("l"), 0, -1))
	c.eq("LRANGE", list, err, []string{"a", "b"})
	_, err = r.Do("INCR", k("l"))
	c.eq("WRONGTYPE", err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE"), nil, true)

	for i := range 500 {
		key := fmt.Sprintf("%spipe:%d", prefix, i)
		c.eq("Send", nil, errors.Join(r.Send("SET", key, i), r.Send("GET", key)), nil)
	}
	c.eq("Flush", nil, r.Flush(), nil)
	for i := range 500 {
		s, err = redis.String(r.Receive())
		c.eq("SET in a pipeline", s, err, "OK")
		s, err = redis.String(r.Receive())
		c.eq("GET in a pipeline", s, err, fmt.Sprint(i))
	}
	var pairs, keys []any
	for i := range 20 {
		pairs, keys = append(pairs, fmt.Sprintf("%smulti:%d", prefix, i), i), append(keys, fmt.Sprintf("%smulti:%d", prefix, i))
	}
	s, err = redis.String(r.Do("MSET", pairs...))
	c.eq("MSET", s, err, "OK")
	list, err = redis.Strings(r.Do("MGET", keys...))
	c.eq("MGET", len(list) == 20 && list[19] == "19", err, true)
	n, err = redis.Int(r.Do("DEL", keys...))
	c.eq("DEL", n, err, 20)
	s, err = redis.String(r.Do("SET", k(binaryKey), bigValue))
	c.eq("SET big", s, err, "OK")
	s, err = redis.String(r.Do("GET", k(binaryKey)))
	c.eq("GET big", s == bigValue, err, true)
	c.eq("Close", nil, r.Close(), nil)
	if e.restart == nil {
		return
	}
	e.restart()
	r = pool.Get()
	defer func() { _ = r.Close() }()
	s, err = redis.String(r.Do("GET", k("s")))
	c.eq("GET after a restart", s, err, "v")
}
