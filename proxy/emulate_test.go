package proxy

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/router"
)

// emulating is the configuration of these tests.
var emulating = Config{Loops: 1, EmulateCrossSlot: true}

// faceOf is what the proxy learns of servers of a version.
func faceOf(v testcluster.Version) func() ServerFace {
	name, number, _ := strings.Cut(string(v), "-")
	return func() ServerFace { return ServerFace{Name: name, Version: number + ".0"} }
}

// reply sends one command, words separated by blanks, and returns what comes back.
func (c *client) reply(line string) string {
	c.t.Helper()
	c.send(line)
	return c.next()
}

func (c *client) next() string {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	got, err := readReply(c.r)
	if err != nil {
		c.t.Fatalf("reading a reply: %v", err)
	}
	return got
}

// asSet puts the members of a set into one order: a server does not promise any.
func asSet(reply string) string {
	list := pieces([]byte(reply))
	slices.SortFunc(list, func(a, b []byte) int { return strings.Compare(string(a), string(b)) })
	return fmt.Sprintf("%c%d %q", reply[0], len(list), list)
}

// The keys a, b, c ... lie in different slots, on all three nodes.
var emulationData = []string{
	"SADD a 1 2 3 4", "SADD b 3 4 5", "SADD c x y z 3", "SADD one only",
	"ZADD za 1 m1 2.5 m2 0.1 m3 3 only", "ZADD zb 10 m1 0.2 m2 -7 m4 1e300 big", "ZADD zc inf m1 -0.0000012345 m3 12345678.12345678 m9",
	"SET sa ohmytext", "SET sb mynewtext", "SET sc x", "SET num 17",
	"PFADD ha a b c d e f", "PFADD hb e f g h i", "PFADD hc",
	"RPUSH la 1 2 3", "RPUSH lb a b", "HSET h f v",
	"XADD xa 1-1 f v", "XADD xa 2-1 f v", "XADD xb 5-5 g w", "GEOADD g 13.36 38.11 Palermo 15.08 37.50 Catania",
	"SETEX ttl 1000 v",
}

// emulationReads change nothing, so that each is compared by itself.
var emulationReads = []string{
	"SUNION a b c", "SUNION a a b", "SUNION nothing no", "SUNION a nothing", "SUNION a sa", "SUNION nothing b h",
	"SINTER a b", "SINTER a b c", "SINTER a nothing", "SINTER nothing sa", "SINTER one c", "SINTER a b a",
	"SDIFF a b", "SDIFF b a c", "SDIFF a nothing", "SDIFF nothing a", "SDIFF a b a", "SDIFF nothing sa",
	"SINTERCARD 2 a b", "SINTERCARD 3 a b c LIMIT 1", "SINTERCARD 2 a b LIMIT 0", "SINTERCARD 2 a b LIMIT -1",
	"SINTERCARD 2 a b LIMIT x", "SINTERCARD 2 a b FOO", "SINTERCARD 2 a b LIMIT", "SINTERCARD 2 sa b LIMIT -1", "SINTERCARD 2 a sa",
	"ZUNION 2 za zb", "ZUNION 2 za zb WITHSCORES", "ZUNION 3 za zb zc WITHSCORES", "ZUNION 3 zc zb za WITHSCORES WEIGHTS 1 2 0.1",
	"ZUNION 2 za zb AGGREGATE MIN WITHSCORES", "ZUNION 2 za zb AGGREGATE MAX WEIGHTS 2 -1 WITHSCORES", "ZUNION 2 za a WITHSCORES",
	"ZUNION 2 a b WITHSCORES WEIGHTS 0.1 0.2", "ZUNION 2 zc zb WEIGHTS 0 1 WITHSCORES", "ZUNION 2 zc za WEIGHTS -inf -1 WITHSCORES",
	"ZUNION 2 za nothing WITHSCORES", "ZUNION 2 nothing no WITHSCORES", "ZUNION 2 za sa", "ZUNION 2 za sa FOO", "ZUNION 2 za zb FOO",
	"ZUNION 2 za zb WEIGHTS 1", "ZUNION 2 za zb WEIGHTS 1 x", "ZUNION 2 za zb WEIGHTS 1 nan", "ZUNION 2 za zb AGGREGATE AVG", "ZUNION 2 za zb AGGREGATE", "ZUNION 2 za zb LIMIT 1",
	"ZUNION 2 za zb WEIGHTS 1e17 1e-9 WITHSCORES", "ZUNION 2 za zb WEIGHTS 123456789 0.00001 WITHSCORES",
	"ZUNION 2 za zb WEIGHTS 3e20 1e25 WITHSCORES", "ZUNION 2 za zb WEIGHTS 0.333 -1.5e-8 WITHSCORES",
	"ZINTER 2 za zb", "ZINTER 2 za zb WITHSCORES", "ZINTER 3 za zb zc WITHSCORES", "ZINTER 2 za nothing WITHSCORES", "ZINTER 2 za c WITHSCORES",
	"ZINTER 2 za one WEIGHTS 2 3 WITHSCORES", "ZINTER 2 za zc AGGREGATE MIN WEIGHTS 1 0 WITHSCORES", "ZINTER 2 a b WITHSCORES", "ZINTER 2 za la",
	"ZDIFF 2 za zb", "ZDIFF 2 za zb WITHSCORES", "ZDIFF 3 za zb one WITHSCORES", "ZDIFF 2 nothing za WITHSCORES", "ZDIFF 2 za nothing WITHSCORES",
	"ZDIFF 2 za zb WEIGHTS 1 2", "ZDIFF 2 zc zb WITHSCORES", "ZDIFF 2 a b WITHSCORES",
	"ZINTERCARD 2 za zb", "ZINTERCARD 2 za zb LIMIT 1", "ZINTERCARD 2 za zb LIMIT -1", "ZINTERCARD 2 za zb LIMIT", "ZINTERCARD 2 za zb WITHSCORES", "ZINTERCARD 2 za nothing",
	"PFCOUNT ha hb", "PFCOUNT ha hb hc nothing", "PFCOUNT nothing no", "PFCOUNT ha sa", "PFCOUNT ha la", "PFCOUNT ha ha hb",
	"LCS sa sb", "LCS sa sb LEN", "LCS sa sb IDX", "LCS sa sb IDX MINMATCHLEN 4", "LCS sa sb IDX MINMATCHLEN 4 WITHMATCHLEN", "LCS sa sb IDX WITHMATCHLEN MINMATCHLEN -1",
	"LCS sa nothing", "LCS sa nothing IDX", "LCS nothing no", "LCS sa la", "LCS sa sb LEN IDX", "LCS sa sb FOO", "LCS sa sb MINMATCHLEN x", "LCS sa sb MINMATCHLEN", "LCS sa num IDX", "LCS sa la FOO",
	"XREAD STREAMS xa xb 0 0", "XREAD COUNT 1 STREAMS xa xb 0 0", "XREAD STREAMS xa xb 2-1 5-5", "XREAD STREAMS xa xb nothing 1-1 0 0", "XREAD STREAMS xa xb $ 0",
	"XREAD STREAMS xa la 0 0", "XREAD STREAMS xa xb 0 foo", "XREAD COUNT x STREAMS xa xb 0 0", "XREAD STREAMS xb xa 0 0",
}

// emulationWrites are done one after the other on both sides, and afterwards every key is compared.
var emulationWrites = []string{
	"SUNIONSTORE d1 a b c", "SINTERSTORE d2 a b", "SDIFFSTORE d3 a b", "SINTERSTORE d1 a nothing", "SUNIONSTORE sa a b", "SUNIONSTORE d4 a la", "SUNIONSTORE a a b", "SDIFFSTORE d1 nothing a",
	"ZUNIONSTORE d5 2 za zb WEIGHTS 0.1 3 AGGREGATE MAX", "ZINTERSTORE d6 2 za zb", "ZDIFFSTORE d7 2 za zb", "ZUNIONSTORE d8 2 za a", "ZUNIONSTORE d9 2 za sb", "ZUNIONSTORE d9 2 za zb WEIGHTS x y",
	"ZRANGESTORE e1 za 0 1", "ZRANGESTORE e2 za 0 5 BYSCORE LIMIT 1 1", "ZRANGESTORE e3 za - + BYLEX", "ZRANGESTORE e4 nothing 0 -1", "ZRANGESTORE e4 a 0 -1", "ZRANGESTORE e4 za x y",
	"GEOSEARCHSTORE e5 g FROMLONLAT 15 37 BYRADIUS 200 km ASC", "GEOSEARCHSTORE e6 g FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST", "GEORADIUS g 15 37 200 km STORE e7", "GEORADIUSBYMEMBER g Palermo 500 km STOREDIST e8",
	"GEORADIUS g 15 37 200 km STORE lost STORE e9", "GEORADIUS g 15 37 200 km STOREDIST lost STORE e9", "GEORADIUSBYMEMBER g Palermo 500 km STORE e9 STOREDIST g",
	"BITOP AND f1 sa sb", "BITOP OR f2 sa sb nothing", "BITOP XOR f3 sa num", "BITOP NOT f4 sb", "BITOP AND f5 nothing no", "BITOP AND f6 sb la", "BITOP FOO f6 sb sc",
	"PFMERGE p1 ha hb", "PFMERGE p2 nothing hc", "PFMERGE p3 ha sb", "PFMERGE ha hb", "PFCOUNT p1 p2 ha",
	"SORT la STORE s1", "SORT la DESC LIMIT 0 2 STORE s2", "SORT lb STORE s3", "SORT lb ALPHA STORE s4", "SORT nothing STORE s4", "SORT sb STORE s5",
	"MSETNX k1 1 k2 2 k3 3", "MSETNX k3 9 k4 9", "MSETNX k5 1 k6 2 k5 3", "MSETNX k7 1 k8",
	"RENAME k1 r1", "RENAME k1 r2", "RENAME ttl r3", "RENAME za r1", "RENAMENX k2 r1", "RENAMENX k2 r4", "RENAMENX nothing r5", "RENAME h r6", "RENAME nothing no",
	"COPY r3 c1", "COPY r3 c1", "COPY r1 c1 REPLACE", "COPY nothing c2", "COPY r1 c2 FOO", "COPY r1 c2 DB", "COPY xa c3", "COPY c3 c4 REPLACE REPLACE",
	"SMOVE b t1 3", "SMOVE b t1 3", "SMOVE b c x", "SMOVE b c 4", "SMOVE b sb 5", "SMOVE nothing sb 5", "SMOVE sb b 5", "SMOVE one t2 only", "SMOVE b sb nope",
	"LMOVE la u1 LEFT RIGHT", "LMOVE la u1 RIGHT LEFT", "LMOVE la u1 LEFT FOO", "LMOVE nothing u1 LEFT LEFT", "LMOVE la sb LEFT LEFT", "LMOVE sb la LEFT LEFT", "LMOVE nothing sb LEFT LEFT", "RPOPLPUSH lb u2", "RPOPLPUSH nothing u2", "RPOPLPUSH lb sb", "LMOVE la u1 LEFT LEFT", "RPOPLPUSH la u1",
	"LMPOP 3 nothing lb u1 LEFT", "LMPOP 2 nothing no LEFT", "LMPOP 3 nothing u1 la RIGHT COUNT 5", "LMPOP 2 nothing u2 FOO", "LMPOP 2 sb lb LEFT", "LMPOP 2 nothing sb LEFT COUNT 0",
	"ZMPOP 2 nothing zb MIN", "ZMPOP 3 nothing no zc MAX COUNT 2", "ZMPOP 2 nothing no MIN", "ZMPOP 2 nothing la MIN", "ZMPOP 2 nothing zb FOO",
}

func TestCommandsInSeveralSlotsAnswerAsOneServer(t *testing.T) {
	for _, v := range testcluster.Need(t) {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			one := testcluster.StandaloneForTest(t, testcluster.Options{Version: v})
			cfg := emulating
			cfg.Info = faceOf(v)
			p, addr := serve(t, cfg, cl.Addrs()...)
			got, want := connect(t, addr), connect(t, one.Addr)
			for _, proto := range []string{"2", "3"} {
				t.Run("RESP"+proto, func(t *testing.T) { compareEmulated(t, got, want, proto) })
			}
			accounted(t, p)
		})
	}
}

// compareEmulated says everything to both and compares what they say.
func compareEmulated(t *testing.T, got, want *client, proto string) {
	same := func(line string) {
		t.Helper()
		g, w := got.reply(line), want.reply(line)
		if f := strings.Fields(line); f[0] == "SUNION" || f[0] == "SINTER" || f[0] == "SDIFF" || f[0] == "SMEMBERS" {
			g, w = asSet(g), asSet(w)
		}
		if g != w {
			t.Errorf("%s: got %q, want %q", line, g, w)
		}
	}
	for _, c := range []*client{got, want} {
		c.reply("HELLO " + proto)
		c.reply("FLUSHALL")
	}
	for _, lines := range [][]string{emulationData, emulationReads, emulationWrites} {
		for _, line := range lines {
			same(line)
		}
	}
	compareKeys(t, same, want)
}

// compareKeys compares what is in all keys.
func compareKeys(t *testing.T, same func(line string), want *client) {
	t.Helper()
	same("DBSIZE")
	dump := map[string]string{"string": "GET %s", "set": "SMEMBERS %s", "zset": "ZRANGE %s 0 -1 WITHSCORES", "list": "LRANGE %s 0 -1",
		"hash": "HGETALL %s", "stream": "XRANGE %s - +"}
	keys := elements([]byte(want.reply("KEYS *")))
	if len(keys) < 40 {
		t.Fatalf("%d keys, want more", len(keys))
	}
	for _, k := range keys {
		kind := strings.TrimSpace(want.reply("TYPE " + string(k)))[1:]
		same("TYPE " + string(k))
		same(fmt.Sprintf(dump[kind], k))
		if kind != "stream" && kind != "set" {
			same("OBJECT ENCODING " + string(k))
		}
	}
}

// accounted checks that nothing is held when nothing is under way.
func accounted(t *testing.T, p *Proxy) {
	t.Helper()
	var mu sync.Mutex // the loops answer at once
	var wrong string
	for range 400 {
		wrong = ""
		p.ask(time.Second, func(l *loop) {
			mu.Lock()
			defer mu.Unlock()
			inFlight, unsent := int32(0), 0
			for i := range l.slots {
				inFlight += l.slots[i].inFlight + l.cares[i].multi
			}
			users := 0
			for _, s := range l.sessions {
				unsent += s.unsent + s.held + s.queued
				users++
			}
			for _, f := range l.profiles {
				users -= f.sessions
			}
			if l.pool.used != 0 || l.stats.InFlight != 0 || inFlight != 0 || l.wide != 0 || len(l.waiting) != 0 || unsent != 0 || users != 0 {
				wrong = fmt.Sprintf("pool %d, in flight %d, in slots %d, wide %d, waiting %d, of clients %d, users of profiles %d too few",
					l.pool.used, l.stats.InFlight, inFlight, l.wide, len(l.waiting), unsent, users)
			}
		})
		if wrong == "" {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error(wrong)
}

func TestEmulatorsAreThoseOfThePolicyTable(t *testing.T) {
	n := 0
	for _, r := range router.Builtin().Rules() {
		if r.Emulated == "" {
			continue
		}
		n++
		if emulators[r.Name] == nil {
			t.Errorf("%s is emulated by the table, and not here", r.Name)
		}
	}
	if n != len(emulators) {
		t.Errorf("%d commands have an emulator, %d say so in the table", len(emulators), n)
	}
}

func TestKeysInSeveralSlotsAreRefusedByDefault(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	c.send("SUNION a b", "RENAME a b", "MSETNX a 1 b 2", "LMPOP 2 a b LEFT", "XREAD STREAMS a b 0 0")
	c.want("-CROSSSLOT", "-CROSSSLOT", "-CROSSSLOT", "-CROSSSLOT", "-CROSSSLOT")
}

func TestEmulatedCommandsKeepTheirPlaceInAPipeline(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, emulating, cl.Addrs()...)
	c := connect(t, addr)
	for i := range 50 {
		x := fmt.Sprint(i)
		c.send("SADD a "+x, "SADD b "+x, "SUNIONSTORE c a b", "SCARD c", "SET k "+x, "RENAME k n", "GET n", "GET k", "SMOVE a d "+x, "SREM b "+x, "MULTI", "SUNION a b", "EXEC", "BLPOP a b 1")
		c.want(":1", ":1", ":1", ":1", "+OK", "+OK", fmt.Sprintf("$%d\r\n%s\r\n", len(x), x), "$-1", ":1", ":1", "+OK", "-CROSSSLOT", "-EXECABORT", "-CROSSSLOT")
	}
	accounted(t, p)
}

func TestLargeSetsInSeveralSlotsAreCombined(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, emulating, cl.Addrs()...)
	c := connect(t, addr)
	for from := range 10 {
		a, b, z := "SADD a", "SADD b", "ZADD z"
		for i := range 1000 {
			n := from*1000 + i
			a += fmt.Sprint(" member", n)
			b += fmt.Sprint(" member", n+5000)
			z += fmt.Sprint(" ", n, " member", n)
		}
		c.send(a, b, z)
		c.want(":1000", ":1000", ":1000")
	}
	if n := len(pieces([]byte(c.reply("SUNION a b")))); n != 15000 {
		t.Errorf("SUNION has %d members, want 15000", n)
	}
	c.send("SINTERCARD 2 a b", "SINTERSTORE c a b", "SDIFFSTORE c a b", "ZUNIONSTORE y 2 z b", "ZCARD y", "ZINTERCARD 2 z b", "RENAME y w", "ZCARD w", "EXISTS y")
	c.want(":5000", ":5000", ":5000", ":15000", ":15000", ":5000", "+OK", ":15000", ":0")
	accounted(t, p)
}

func TestWhatIsFetchedForOneCommandIsBounded(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	cfg := emulating
	cfg.Limits.EmulateBytes = 1 << 20
	p, addr := serve(t, cfg, cl.Addrs()...)
	c := connect(t, addr)
	c.send("SET a "+strings.Repeat("a", 900<<10), "SET b "+strings.Repeat("b", 900<<10), "SET c "+strings.Repeat("c", 5000), "SET d "+strings.Repeat("c", 5000))
	c.want("+OK", "+OK", "+OK", "+OK")
	// Random text does not get smaller in a dump.
	big := strings.Builder{}
	for i := range 4 << 20 / 20 {
		fmt.Fprintf(&big, "%020x", uint64(i)*0x9e3779b97f4a7c15)
	}
	c.send("SET e "+big.String(), "LCS a b", "RENAME e f", "EXISTS e f", "LCS c d LEN", "MSETNX x "+big.String()+" y 1", "EXISTS x y", "LCS c nothing LEN", "PING")
	c.want("+OK", "-PROXYLIMIT", "-PROXYLIMIT", ":1", "-PROXYLIMIT", "-PROXYLIMIT", ":0", ":0", "+PONG")
	// Many keys, each of which comes in one piece.
	line := "SUNION"
	for i := range 40 {
		c.send(fmt.Sprint("SADD s", i, " ", strings.Repeat(fmt.Sprint(i%10), 40<<10)))
		c.want(":1")
		line += fmt.Sprint(" s", i)
	}
	c.send(line, "PING")
	c.want("-PROXYLIMIT", "+PONG")
	accounted(t, p)
}

func TestAClientThatLeavesInTheMiddleLosesNothing(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, emulating, cl.Addrs()...)
	c := connect(t, addr)
	for i := range 60 {
		c.send(fmt.Sprintf("SET old%d v", i), fmt.Sprintf("RPUSH from%d e", i), fmt.Sprintf("SADD set%d m", i))
		c.want("+OK", ":1", ":1")
		for _, line := range []string{"RENAME old%d new%d", "LMOVE from%d to%d LEFT LEFT", "SMOVE set%d tes%d m"} {
			d := connect(t, addr)
			d.send(fmt.Sprintf(line, i, i))
			time.Sleep(time.Duration(i) * 20 * time.Microsecond) // leave at different steps
			d.leave()
		}
	}
	until(t, func() bool { return p.Snapshot().InFlight == 0 })
	accounted(t, p)
	for i := range 60 {
		c.send(fmt.Sprintf("EXISTS old%d new%d", i, i), fmt.Sprintf("EXISTS from%d to%d", i, i), fmt.Sprintf("EXISTS set%d tes%d", i, i))
		c.want(":1\r\n", ":1\r\n", ":1\r\n")
	}
}

func TestAUserWithoutMULTIIsToldSoAndNothingIsDone(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, emulating, cl.Addrs()...)
	c := connect(t, addr)
	c.send("ACL SETUSER u on >p ~* +@all -multi", "ACL SETUSER w on >p ~app:* +@all", "SADD a 1", "SADD b 2", "SADD app:a 1", "SADD app:b 2")
	c.want("+OK", "+OK", ":1", ":1", ":1", ":1")
	c.send("AUTH u p", "SUNIONSTORE d a b", "RENAME a d", "EXISTS a d", "SUNION a b", "MULTI")
	c.want("+OK", "-NOPERM", "-NOPERM", ":1", "*2", "-NOPERM")
	c.send("AUTH w p", "SUNIONSTORE app:d app:a app:b", "RENAME app:a app:e", "SUNION a b", "SMOVE app:b x 2", "SUNIONSTORE app:d app:b a", "SUNIONSTORE d app:b app:e", "SCARD app:d")
	c.want("+OK", ":2", "+OK", "-NOPERM", "-NOPERM", "-NOPERM", "-NOPERM", ":2")
	for _, n := range cl.Nodes { // behind the proxy's back, which still trusts
		if _, err := cl.Do(n, "ACL", "SETUSER", "w", "-multi"); err != nil {
			t.Fatal(err)
		}
	}
	c.send("SUNIONSTORE app:d app:b app:e", "PING")
	c.want("-PROXYUNKNOWN outcome unknown: the node refused MULTI", "+PONG") // it has run the commands one by one
	c.send("SUNIONSTORE app:d app:b app:e")
	c.want("-NOPERM")
	accounted(t, p)
}
