package test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	goredis "github.com/redis/go-redis/v9"

	"slotproxy/internal/testcluster"
)

// families are the same libraries with what needs more than one reply to a command: transactions, blocking calls, pub/sub, scripts and
// functions, caching. Keys of one scenario lie under one hash tag, as applications for clusters have them.
var families = []struct {
	name string
	run  func(t *testing.T, addr, prefix string)
}{
	{"go-redis RESP2", func(t *testing.T, addr, prefix string) { runGoRedisFamilies(t, addr, prefix, 2) }},
	{"go-redis RESP3", func(t *testing.T, addr, prefix string) { runGoRedisFamilies(t, addr, prefix, 3) }},
	{"valkey-go RESP2", func(t *testing.T, addr, prefix string) { runValkeyGoFamilies(t, addr, prefix, true) }},
	{"valkey-go RESP3", func(t *testing.T, addr, prefix string) { runValkeyGoFamilies(t, addr, prefix, false) }},
	{"redigo", runRedigoFamilies},
}

func TestClientLibrariesUseEveryFamilyWithABareServer(t *testing.T) {
	server := sharedServer(t, testcluster.NeedNewest(t))
	want(t, dialAddr(t, server.Addr), "+OK", "FLUSHALL")
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) { f.run(t, server.Addr, "{"+f.name+"}") })
	}
	runScripts(t, "-families", endpoint{addr: server.Addr})
}

func TestClientLibrariesUseEveryFamilyThroughTheProxy(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		p := startProxy(t, sharedCluster(t, v).Addrs()[:1])
		want(t, p.dial(t), "+OK", "FLUSHALL")
		for _, f := range families {
			t.Run(f.name, func(t *testing.T) { f.run(t, p.addr, "{"+f.name+"}") })
		}
		if v == testcluster.NeedNewest(t) {
			runScripts(t, "-families", endpoint{addr: p.addr})
		}
	})
}

// bounded ends what a broken endpoint would leave waiting.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// addUp is a script whose value depends on a key and an argument.
const addUp = `return redis.call('INCRBY', KEYS[1], ARGV[1])`

// library has one function of each kind; %s makes its name the scenario's own.
const library = "#!lua name=%s\n" +
	"redis.register_function('%s_add', function(keys, args) return redis.call('INCRBY', keys[1], args[1]) end)\n" +
	"redis.register_function{function_name='%s_get', callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}\n"

// librarySource is library under a name that has nothing but letters and digits.
func librarySource(prefix string) (name, source string) {
	name = "lib"
	for _, r := range prefix {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			name += string(r)
		}
	}
	return name, fmt.Sprintf(library, name, name, name)
}

func runGoRedisFamilies(t *testing.T, addr, prefix string, proto int) {
	goredis.SetLogger(goRedisLogger{})
	r := goredis.NewClient(&goredis.Options{Addr: addr, Protocol: proto, PoolSize: 8})
	defer func() { _ = r.Close() }()
	goRedisTransactions(t, r, prefix)
	goRedisBlocking(t, r, prefix)
	goRedisPubSub(t, r, prefix)
	goRedisScripts(t, r, prefix)
	checkGoRedisLog(t)
}

func goRedisTransactions(t *testing.T, r *goredis.Client, prefix string) {
	ctx, k, c := bounded(t), func(s string) string { return prefix + s }, checker{t}
	replies, err := r.TxPipelined(ctx, func(p goredis.Pipeliner) error {
		p.Set(ctx, k("tx"), "1", 0)
		p.IncrBy(ctx, k("tx"), 41)
		p.Get(ctx, k("tx"))
		return nil
	})
	c.eq("TxPipelined", len(replies), err, 3)
	c.eq("GET in a transaction", replies[2].(*goredis.StringCmd).Val(), replies[2].Err(), "42")
	_, err = r.TxPipelined(ctx, func(p goredis.Pipeliner) error {
		p.LPush(ctx, k("tx"), "x")
		p.Incr(ctx, k("tx"))
		return nil
	})
	c.eq("a failure in a transaction", err != nil && goredis.HasErrorPrefix(err, "WRONGTYPE"), nil, true)
	n, err := r.Get(ctx, k("tx")).Int()
	c.eq("the rest of it", n, err, 43)

	const workers, rounds = 4, 10
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				c.eq("Watch", nil, goRedisIncrement(ctx, r, k("watched")), nil)
			}
		})
	}
	wg.Wait()
	n, err = r.Get(ctx, k("watched")).Int()
	c.eq("increments by WATCH", n, err, workers*rounds)
}

// goRedisIncrement is the optimistic lock of go-redis's documentation.
func goRedisIncrement(ctx context.Context, r *goredis.Client, key string) error {
	for {
		err := r.Watch(ctx, func(tx *goredis.Tx) error {
			n, err := tx.Get(ctx, key).Int()
			if err != nil && !errors.Is(err, goredis.Nil) {
				return err
			}
			_, err = tx.TxPipelined(ctx, func(p goredis.Pipeliner) error { return p.Set(ctx, key, n+1, 0).Err() })
			return err
		}, key)
		if !errors.Is(err, goredis.TxFailedErr) {
			return err
		}
	}
}

// soon runs f when a blocking call that follows has surely begun to wait.
func soon(f func() error) (wait func() error) {
	done := make(chan error, 1)
	time.AfterFunc(50*time.Millisecond, func() { done <- f() })
	return func() error { return <-done }
}

func goRedisBlocking(t *testing.T, r *goredis.Client, prefix string) {
	ctx, k, c := bounded(t), func(s string) string { return prefix + s }, checker{t}
	pushed := soon(func() error { return r.RPush(ctx, k("bl"), "a", "b").Err() })
	list, err := r.BLPop(ctx, 5*time.Second, k("bl:none"), k("bl")).Result()
	c.eq("BLPop", list, errors.Join(err, pushed()), []string{k("bl"), "a"})
	s, err := r.BLMove(ctx, k("bl"), k("bl2"), "LEFT", "RIGHT", time.Second).Result()
	c.eq("BLMove", s, err, "b")
	_, err = r.BLPop(ctx, time.Second, k("bl")).Result()
	c.eq("BLPop of nothing", errors.Is(err, goredis.Nil), nil, true)
	key, list, err := r.BLMPop(ctx, time.Second, "left", 2, k("bl"), k("bl2")).Result()
	c.eq("BLMPop", append(list, key), err, []string{"b", k("bl2")})
	pushed = soon(func() error { return r.ZAdd(ctx, k("bz"), goredis.Z{Score: 2, Member: "m"}).Err() })
	z, err := r.BZPopMin(ctx, 5*time.Second, k("bz")).Result()
	c.eq("BZPopMin", z, errors.Join(err, pushed()), &goredis.ZWithKey{Z: goredis.Z{Score: 2, Member: "m"}, Key: k("bz")})

	entry := goredis.XMessage{ID: "5-1", Values: map[string]any{"f": "v"}}
	pushed = soon(func() error {
		return r.XAdd(ctx, &goredis.XAddArgs{Stream: k("bx"), ID: "5-1", Values: []string{"f", "v"}}).Err()
	})
	x, err := r.XRead(ctx, &goredis.XReadArgs{Streams: []string{k("bx"), "$"}, Block: 5 * time.Second}).Result()
	c.eq("XRead", x, errors.Join(err, pushed()), []goredis.XStream{{Stream: k("bx"), Messages: []goredis.XMessage{entry}}})
	s, err = r.XGroupCreate(ctx, k("bx"), "g", "$").Result()
	c.eq("XGroupCreate", s, err, "OK")
	entry.ID = "6-1"
	pushed = soon(func() error {
		return r.XAdd(ctx, &goredis.XAddArgs{Stream: k("bx"), ID: "6-1", Values: []string{"f", "v"}}).Err()
	})
	x, err = r.XReadGroup(ctx, &goredis.XReadGroupArgs{Group: "g", Consumer: "c", Streams: []string{k("bx"), ">"}, Block: 5 * time.Second}).Result()
	c.eq("XReadGroup", x, errors.Join(err, pushed()), []goredis.XStream{{Stream: k("bx"), Messages: []goredis.XMessage{entry}}})
	n, err := r.XAck(ctx, k("bx"), "g", "6-1").Result()
	c.eq("XAck", n, err, int64(1))
}

func goRedisPubSub(t *testing.T, r *goredis.Client, prefix string) {
	ctx, k, c := bounded(t), func(s string) string { return prefix + s }, checker{t}
	type publish func(ctx context.Context, channel string, message any) *goredis.IntCmd
	for _, kind := range []struct {
		name    string
		open    func(context.Context, ...string) *goredis.PubSub
		glob    string
		publish publish
	}{{"Subscribe", r.Subscribe, "", r.Publish}, {"PSubscribe", r.PSubscribe, "*", r.Publish}, {"SSubscribe", r.SSubscribe, "", r.SPublish}} {
		channels := []string{k(kind.name + "1"), k(kind.name + "2")}
		sub := kind.open(ctx, channels[0]+kind.glob, channels[1]+kind.glob)
		for range channels {
			_, err := sub.ReceiveTimeout(ctx, 5*time.Second) // the confirmation
			c.eq(kind.name, nil, err, nil)
		}
		c.eq(kind.name+": Ping", nil, sub.Ping(ctx, "hello"), nil)
		pong, err := sub.ReceiveTimeout(ctx, 5*time.Second)
		c.eq(kind.name+": pong", fmt.Sprint(pong), err, "Pong<hello>")
		messages := sub.Channel()
		for i := range 100 {
			n, err := kind.publish(ctx, channels[i%2], i).Result()
			c.eq("publish", n, err, int64(1))
		}
		for i := range 100 {
			select {
			case m := <-messages:
				c.eq(kind.name, m.Channel+":"+m.Payload, nil, channels[i%2]+":"+strconv.Itoa(i))
			case <-time.After(5 * time.Second):
				t.Fatalf("%s: message %d did not come", kind.name, i)
			}
		}
		c.eq(kind.name+": Close", nil, sub.Close(), nil)
	}
	sub := r.Subscribe(ctx, k("count"))
	_, err := sub.ReceiveTimeout(ctx, 5*time.Second)
	c.eq("Subscribe", nil, err, nil)
	m, err := r.PubSubNumSub(ctx, k("count"), k("none")).Result()
	c.eq("PubSubNumSub", m, err, map[string]int64{k("count"): 1, k("none"): 0})
	list, err := r.PubSubChannels(ctx, k("count*")).Result()
	c.eq("PubSubChannels", list, err, []string{k("count")})
	c.eq("Close", nil, sub.Close(), nil)
}

func goRedisScripts(t *testing.T, r *goredis.Client, prefix string) {
	ctx, k, c := bounded(t), func(s string) string { return prefix + s }, checker{t}
	script := goredis.NewScript(addUp + " -- " + prefix)
	for i := range 3 {
		n, err := script.Run(ctx, r, []string{k("script")}, 2).Int()
		c.eq("Script.Run", n, err, 2*(i+1))
		if i == 1 {
			s, err := r.ScriptFlush(ctx).Result()
			c.eq("ScriptFlush", s, err, "OK")
		}
	}
	there, err := script.Exists(ctx, r).Result()
	c.eq("Script.Exists", there, err, []bool{true})
	pipe := r.Pipeline() // without a fall-back, as the script is loaded
	for range 10 {
		script.EvalSha(ctx, pipe, []string{k("script")}, 1)
	}
	replies, err := pipe.Exec(ctx)
	c.eq("EVALSHA in a pipeline", len(replies), err, 10)
	s, err := r.EvalRO(ctx, "return redis.call('GET', KEYS[1])", []string{k("script")}).Text()
	c.eq("EvalRO", s, err, "16")
	err = r.Eval(ctx, "return redis.error_reply('MOVED 1 127.0.0.1:1')", nil).Err()
	c.eq("an error of a script", fmt.Sprint(err), nil, "MOVED 1 127.0.0.1:1")

	name, source := librarySource(prefix)
	s, err = r.FunctionLoadReplace(ctx, source).Result()
	c.eq("FunctionLoadReplace", s, err, name)
	n, err := r.FCall(ctx, name+"_add", []string{k("fn")}, 3).Int()
	c.eq("FCall", n, err, 3)
	s, err = r.FCallRO(ctx, name+"_get", []string{k("fn")}).Text()
	c.eq("FCallRO", s, err, "3")
	libs, err := r.FunctionList(ctx, goredis.FunctionListQuery{LibraryNamePattern: name}).Result()
	c.eq("FunctionList", len(libs), err, 1)
	s, err = r.FunctionDelete(ctx, name).Result()
	c.eq("FunctionDelete", s, err, "OK")

	found, it := 0, r.Scan(ctx, 0, k("s*"), 10).Iterator()
	for it.Next(ctx) {
		found++
	}
	c.eq("Scan", found, it.Err(), 1)
}

func runRedigoFamilies(t *testing.T, addr, prefix string) {
	k, c := func(s string) string { return prefix + s }, checker{t}
	dial := func() redis.Conn {
		conn, err := redis.Dial("tcp", addr, redis.DialReadTimeout(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	r, other := dial(), dial()
	c.eq("Send", nil, errors.Join(r.Send("MULTI"), r.Send("SET", k("tx"), 1), r.Send("INCR", k("tx"))), nil)
	ints, err := redis.Values(r.Do("EXEC"))
	c.eq("EXEC", ints, err, []any{"OK", int64(2)})
	_, err = r.Do("WATCH", k("tx"))
	c.eq("WATCH", nil, err, nil)
	_, err = other.Do("INCR", k("tx"))
	c.eq("INCR by another", nil, err, nil)
	c.eq("Send", nil, errors.Join(r.Send("MULTI"), r.Send("SET", k("tx"), "lost")), nil)
	reply, err := r.Do("EXEC")
	c.eq("EXEC after a change", reply, err, nil)

	pushed := soon(func() error { _, err := other.Do("RPUSH", k("bl"), "a"); return err })
	list, err := redis.Strings(r.Do("BLPOP", k("bl"), 5))
	c.eq("BLPOP", list, errors.Join(err, pushed()), []string{k("bl"), "a"})
	pushed = soon(func() error { _, err := other.Do("XADD", k("bx"), "1-1", "f", "v"); return err })
	x, err := redis.Values(r.Do("XREAD", "BLOCK", 5000, "STREAMS", k("bx"), "$"))
	c.eq("XREAD", len(x), errors.Join(err, pushed()), 1)

	script := redis.NewScript(1, addUp+" -- "+prefix)
	for i := range 2 {
		n, err := redis.Int(script.Do(r, k("script"), 2))
		c.eq("Script.Do", n, err, 2*(i+1))
	}

	sub := redis.PubSubConn{Conn: dial()}
	c.eq("Subscribe", nil, errors.Join(sub.Subscribe(k("ch")), sub.PSubscribe(k("p*"))), nil)
	c.eq("subscribed", sub.Receive(), nil, any(redis.Subscription{Kind: "subscribe", Channel: k("ch"), Count: 1}))
	c.eq("subscribed", sub.Receive(), nil, any(redis.Subscription{Kind: "psubscribe", Channel: k("p*"), Count: 2}))
	n, err := redis.Int(r.Do("PUBLISH", k("ch"), "m"))
	c.eq("PUBLISH", n, err, 1)
	c.eq("message", sub.Receive(), nil, any(redis.Message{Channel: k("ch"), Data: []byte("m")}))
	n, err = redis.Int(r.Do("PUBLISH", k("pq"), "m"))
	c.eq("PUBLISH", n, err, 1)
	c.eq("message of a pattern", sub.Receive(), nil, any(redis.Message{Channel: k("pq"), Pattern: k("p*"), Data: []byte("m")}))
	c.eq("Ping", nil, sub.Ping("hello"), nil)
	c.eq("pong", sub.Receive(), nil, any(redis.Pong{Data: "hello"}))
	c.eq("Unsubscribe", nil, errors.Join(sub.Unsubscribe(), sub.PUnsubscribe()), nil)
	c.eq("unsubscribed", sub.Receive(), nil, any(redis.Subscription{Kind: "unsubscribe", Channel: k("ch"), Count: 1}))
	c.eq("unsubscribed", sub.Receive(), nil, any(redis.Subscription{Kind: "punsubscribe", Channel: k("p*"), Count: 0}))
	s, err := redis.String(sub.Conn.Do("PING"))
	c.eq("PING after that", s, err, "PONG")
}
