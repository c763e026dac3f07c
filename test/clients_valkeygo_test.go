package test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"
)

func newValkeyGo(t *testing.T, addr string, resp2 bool) valkey.Client {
	t.Helper()
	r, err := valkey.NewClient(valkey.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true, AlwaysRESP2: resp2, DisableCache: resp2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func runValkeyGoFamilies(t *testing.T, addr, prefix string, resp2 bool) {
	r := newValkeyGo(t, addr, resp2)
	valkeyGoTransactions(t, r, prefix)
	valkeyGoBlocking(t, r, prefix)
	valkeyGoPubSub(t, r, prefix)
	valkeyGoScripts(t, r, prefix)
	if !resp2 { // caching needs RESP3's pushes
		valkeyGoCache(t, r, newValkeyGo(t, addr, false), prefix)
	}
}

func valkeyGoTransactions(t *testing.T, r valkey.Client, prefix string) {
	ctx, key, c := bounded(t), prefix+"tx", checker{t}
	replies := r.DoMulti(ctx, r.B().Multi().Build(), r.B().Set().Key(key).Value("1").Build(), r.B().Incr().Key(key).Build(), r.B().Exec().Build())
	got, err := replies[3].ToArray()
	if len(got) == 2 {
		n, err := got[1].AsInt64()
		c.eq("INCR in a transaction", n, err, int64(2))
	}
	c.eq("EXEC", len(got), err, 2)

	const workers, rounds = 4, 10
	watched := prefix + "watched"
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				c.eq("Dedicated", nil, valkeyGoIncrement(ctx, r, watched), nil)
			}
		})
	}
	wg.Wait()
	n, err := r.Do(ctx, r.B().Get().Key(watched).Build()).AsInt64()
	c.eq("increments by WATCH", n, err, int64(workers*rounds))
}

// valkeyGoIncrement is the optimistic lock of valkey-go's documentation.
func valkeyGoIncrement(ctx context.Context, r valkey.Client, key string) error {
	for {
		err := r.Dedicated(func(d valkey.DedicatedClient) error {
			if err := d.Do(ctx, d.B().Watch().Key(key).Build()).Error(); err != nil {
				return err
			}
			n, err := d.Do(ctx, d.B().Get().Key(key).Build()).AsInt64()
			if err != nil && !valkey.IsValkeyNil(err) {
				return err
			}
			replies := d.DoMulti(ctx, d.B().Multi().Build(), d.B().Set().Key(key).Value(strconv.FormatInt(n+1, 10)).Build(), d.B().Exec().Build())
			return replies[2].Error()
		})
		if !valkey.IsValkeyNil(err) {
			return err
		}
	}
}

func valkeyGoBlocking(t *testing.T, r valkey.Client, prefix string) {
	ctx, k, c := bounded(t), func(s string) string { return prefix + s }, checker{t}
	pushed := soon(func() error { return r.Do(ctx, r.B().Rpush().Key(k("bl")).Element("a", "b").Build()).Error() })
	list, err := r.Do(ctx, r.B().Blpop().Key(k("bl:none"), k("bl")).Timeout(5).Build()).AsStrSlice()
	c.eq("BLPOP", list, errors.Join(err, pushed()), []string{k("bl"), "a"})
	s, err := r.Do(ctx, r.B().Blmove().Source(k("bl")).Destination(k("bl2")).Left().Right().Timeout(1).Build()).ToString()
	c.eq("BLMOVE", s, err, "b")
	err = r.Do(ctx, r.B().Blpop().Key(k("bl")).Timeout(0.05).Build()).Error()
	c.eq("BLPOP of nothing", valkey.IsValkeyNil(err), nil, true)
	pushed = soon(func() error {
		return r.Do(ctx, r.B().Xadd().Key(k("bx")).Id("1-1").FieldValue().FieldValue("f", "v").Build()).Error()
	})
	x, err := r.Do(ctx, r.B().Xread().Block(5000).Streams().Key(k("bx")).Id("$").Build()).AsXRead()
	want := map[string][]valkey.XRangeEntry{k("bx"): {{ID: "1-1", FieldValues: map[string]string{"f": "v"}}}}
	c.eq("XREAD", x, errors.Join(err, pushed()), want)
}

func valkeyGoPubSub(t *testing.T, r valkey.Client, prefix string) {
	for _, kind := range []struct {
		name                   string
		subscribe, unsubscribe func(string) valkey.Completed
		publish                func(channel, message string) valkey.Completed
	}{{
		name:        "subscribe",
		subscribe:   func(ch string) valkey.Completed { return r.B().Subscribe().Channel(ch).Build() },
		unsubscribe: func(ch string) valkey.Completed { return r.B().Unsubscribe().Channel(ch).Build() },
		publish:     func(ch, m string) valkey.Completed { return r.B().Publish().Channel(ch).Message(m).Build() },
	}, {
		name:        "psubscribe",
		subscribe:   func(ch string) valkey.Completed { return r.B().Psubscribe().Pattern(ch + "*").Build() },
		unsubscribe: func(ch string) valkey.Completed { return r.B().Punsubscribe().Pattern(ch + "*").Build() },
		publish:     func(ch, m string) valkey.Completed { return r.B().Publish().Channel(ch).Message(m).Build() },
	}, {
		name:        "ssubscribe",
		subscribe:   func(ch string) valkey.Completed { return r.B().Ssubscribe().Channel(ch).Build() },
		unsubscribe: func(ch string) valkey.Completed { return r.B().Sunsubscribe().Channel(ch).Build() },
		publish:     func(ch, m string) valkey.Completed { return r.B().Spublish().Channel(ch).Message(m).Build() },
	}} {
		const most = 100
		channel, c := prefix+kind.name, checker{t}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		subscribed, got := make(chan struct{}), make(chan string, 2*most)
		hooked := valkey.WithOnSubscriptionHook(ctx, func(s valkey.PubSubSubscription) {
			if s.Kind == kind.name {
				close(subscribed)
			}
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			c.eq(kind.name, nil, r.Receive(hooked, kind.subscribe(channel), func(m valkey.PubSubMessage) { got <- m.Channel + m.Message }), nil)
		})
		select {
		case <-subscribed:
		case <-ctx.Done():
			t.Errorf("%s: no confirmation", kind.name)
			wg.Wait()
			cancel()
			continue
		}
		for i := range most {
			n, err := r.Do(ctx, kind.publish(channel, strconv.Itoa(i))).AsInt64()
			c.eq("publish", n, err, int64(1))
		}
		for i := 0; i < most && ctx.Err() == nil; i++ {
			select {
			case m := <-got:
				c.eq(kind.name, m, nil, channel+strconv.Itoa(i))
			case <-ctx.Done():
				t.Errorf("%s: message %d did not come", kind.name, i)
			}
		}
		c.eq("un"+kind.name, nil, r.Do(ctx, kind.unsubscribe(channel)).Error(), nil)
		wg.Wait() // Receive ends with the subscription
		cancel()
	}
}

func valkeyGoScripts(t *testing.T, r valkey.Client, prefix string) {
	ctx, k, c := bounded(t), func(s string) string { return prefix + s }, checker{t}
	script := valkey.NewLuaScript(addUp + " -- " + prefix)
	for i := range 3 {
		n, err := script.Exec(ctx, r, []string{k("script")}, []string{"2"}).AsInt64()
		c.eq("Lua.Exec", n, err, int64(2*(i+1)))
		if i == 1 {
			c.eq("SCRIPT FLUSH", nil, r.Do(ctx, r.B().ScriptFlush().Build()).Error(), nil)
		}
	}
	var many []valkey.LuaExec
	for range 10 {
		many = append(many, valkey.LuaExec{Keys: []string{k("script")}, Args: []string{"1"}})
	}
	for i, reply := range script.ExecMulti(ctx, r, many...) {
		n, err := reply.AsInt64()
		c.eq("Lua.ExecMulti", n, err, int64(7+i))
	}
	name, source := librarySource(prefix)
	s, err := r.Do(ctx, r.B().FunctionLoad().Replace().FunctionCode(source).Build()).ToString()
	c.eq("FUNCTION LOAD", s, err, name)
	n, err := r.Do(ctx, r.B().Fcall().Function(name+"_add").Numkeys(1).Key(k("fn")).Arg("3").Build()).AsInt64()
	c.eq("FCALL", n, err, int64(3))
	s, err = r.Do(ctx, r.B().FunctionDelete().LibraryName(name).Build()).ToString()
	c.eq("FUNCTION DELETE", s, err, "OK")
}

// valkeyGoCache reads through the client's own cache, which CLIENT TRACKING OPTIN keeps true while another client writes.
func valkeyGoCache(t *testing.T, r, writer valkey.Client, prefix string) {
	ctx, k, c := bounded(t), func(s string) string { return prefix + s }, checker{t}
	get := func(key string) valkey.ValkeyResult {
		return r.DoCache(ctx, r.B().Get().Key(key).Cache(), time.Minute)
	}
	for round := range 20 {
		value := strconv.Itoa(round)
		key := k("cached" + strconv.Itoa(round%4))
		c.eq("SET", nil, writer.Do(ctx, writer.B().Set().Key(key).Value(value).Build()).Error(), nil)
		eventually(t, 5*time.Second, func() error { // the invalidation is on its way
			s, err := get(key).ToString()
			if err != nil || s != value {
				return fmt.Errorf("DoCache: got %q (%v), want %q", s, err, value)
			}
			return nil
		})
		again := get(key)
		s, err := again.ToString()
		c.eq("a cached GET", s, err, value)
		c.eq("it came from the cache", again.IsCacheHit(), nil, true)
	}
	keys := []string{k("cached0"), k("cached1"), k("none")}
	for range 2 {
		m, err := valkey.MGetCache(r, ctx, time.Minute, keys)
		cached := m[keys[1]]
		s, textErr := cached.ToString()
		c.eq("MGetCache", s, errors.Join(err, textErr), "17")
	}
	c.eq("FLUSHALL", nil, writer.Do(ctx, writer.B().Flushall().Build()).Error(), nil)
	eventually(t, 5*time.Second, func() error {
		if err := get(keys[0]).Error(); !valkey.IsValkeyNil(err) {
			return fmt.Errorf("a key that FLUSHALL removed: %v", err)
		}
		return nil
	})
}
