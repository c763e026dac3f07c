package test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
)

// quiet is how long an endpoint must say nothing before its verdict counts as complete.
const quiet = 400 * time.Millisecond

// verdict is what an endpoint makes of some bytes: what it answers, and whether it hangs up.
type verdict struct {
	reply  string
	closed bool
}

func (v verdict) String() string {
	end := "stays open"
	if v.closed {
		end = "closed"
	}
	return fmt.Sprintf("%q, %s", v.reply[:min(len(v.reply), 300)], end)
}

// judge sends frame in pieces of the given size (0: in one write) and waits for the verdict.
func judge(addr string, before, frame string, piece int) (verdict, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return verdict{}, err
	}
	defer func() { _ = c.Close() }()
	if piece == 0 {
		piece = len(before) + len(frame)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		rest := before + frame
		for len(rest) > 0 {
			n := min(piece, len(rest))
			if _, err := io.WriteString(c, rest[:n]); err != nil {
				return // it hung up already: the reading side tells
			}
			rest = rest[n:]
		}
	}()
	defer func() { <-sent }()
	var v verdict
	buf := make([]byte, 64<<10)
	for {
		_ = c.SetReadDeadline(time.Now().Add(quiet)) // a dead socket shows in Read
		n, err := c.Read(buf)
		v.reply += string(buf[:n])
		var timeout net.Error
		switch {
		case err == nil:
		case errors.As(err, &timeout) && timeout.Timeout():
			return v, nil
		default:
			v.closed = true
			return v, nil
		}
	}
}

// sameHangUp says that both hung up without a word about the cause, as at POST and Host:. Whether replies to commands before that were
// still flushed is a matter of timing, in the server as well.
func sameHangUp(a, b verdict) bool {
	if !a.closed || !b.closed || strings.Contains(a.reply+b.reply, "Protocol error") {
		return false
	}
	return strings.HasPrefix(a.reply, b.reply) || strings.HasPrefix(b.reply, a.reply)
}

// stricter are frames for which the proxy's documented limits (arguments: 1 Mi) are tighter than the server's.
var stricter = map[string]bool{
	"*1048577\r\n":    true,
	"*20000000\r\n":   true,
	"*2147483647\r\n": true,
}

// quirks are frames about which the four servers disagree among themselves, all of them inline commands.
var quirks = map[string]string{
	"ECHO \"a\\\"\n":           "9.1 takes an escaped quote at the very end of a line for the closing one, the others do not",
	"\xff\xf4\xff\xfd\x06\r\n": "8.1 and 9.1 drop the byte 255 in inline commands, the others do not",
}

// hostileFrames are those of resp/testdata and some more that only make sense with a server behind.
func hostileFrames(t *testing.T) []string {
	t.Helper()
	var out []string
	lines := bufio.NewScanner(bytes.NewReader(read(t, "../resp/testdata/hostile.txt")))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := strconv.Unquote(line)
		if err != nil {
			t.Fatalf("hostile.txt:%d: %v", n, err)
		}
		if !stricter[s] && quirks[s] == "" {
			out = append(out, s)
		}
	}
	return append(out,
		"SET h1 'a b'\r\nGET h1\r\n",
		"set h2 \"\\x41\\n\\\" \"\r\nget h2\r\n",
		"*3\r\n$3\r\nSET\r\n$2\r\nh3\r\n$0\r\n\r\n*2\r\n$3\r\nGET\r\n$2\r\nh3\r\n",
		"*1\r\n$4\r\nQUIT\r\n*1\r\n$4\r\nPING\r\n",
		"*0\r\n*-1\r\n\r\n\n*1\r\n$4\r\nPING\r\n",
		"*1\r\n$0\r\n\r\n",
		"*1\r\n$"+strconv.Itoa(len(longName))+"\r\n"+longName+"\r\n",
		"*2\r\n$7\r\nno\r\nno \r\n$3\r\na\r\n\r\n",
		strings.Repeat("a ", 1000)+"\r\n",
		strings.Repeat("x", 70<<10),
		strings.Repeat("x", 60<<10)+"\r\n",
		"*1\r\n$"+strings.Repeat("1", 70<<10),
		"*"+strings.Repeat("0", 70<<10),
		strings.Repeat("\r\n", 5000)+"PING\r\n",
		strings.Repeat("*1\r\n$4\r\nPING\r\n", 300)+"*x\r\n",
		"PING\r\n"+strings.Repeat("PING ", 3)+"\r\n",
	)
}

var longName = strings.Repeat("N", 5000)

// forAll runs f for every frame, a bounded number at once, because most of each verdict is waiting.
func forAll(frames []string, f func(frame string)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, 64)
	for _, frame := range frames {
		slots <- struct{}{}
		wg.Go(func() {
			f(frame)
			<-slots
		})
	}
	wg.Wait()
}

func TestHostileInputGetsTheServersVerdict(t *testing.T) {
	newest := testcluster.NeedNewest(t)
	server := sharedServer(t, newest)
	p := startProxy(t, sharedCluster(t, newest).Addrs()[:1])
	ping := "*1\r\n$4\r\nPING\r\n"
	frames := hostileFrames(t)
	bystander := watchBystander(t, p.addr)
	for name, c := range map[string]struct {
		before string
		piece  int
	}{
		"on a fresh connection":      {},
		"behind other commands":      {before: "*3\r\n$3\r\nSET\r\n$2\r\nhk\r\n$1\r\nv\r\n" + ping},
		"one byte at a time":         {piece: 1},
		"in pieces of three, behind": {before: ping, piece: 3},
	} {
		t.Run(name, func(t *testing.T) {
			forAll(frames, func(frame string) {
				if c.piece > 0 && len(frame) > 2000 {
					return // the same bytes come whole; a write per byte would take seconds
				}
				want, err := judge(server.Addr, c.before, frame, c.piece)
				if err != nil {
					t.Errorf("server: %v", err)
					return
				}
				got, err := judge(p.addr, c.before, frame, c.piece)
				if err != nil {
					t.Errorf("proxy: %v", err)
					return
				}
				if got != want && !sameHangUp(got, want) {
					t.Errorf("%s: got %s, want %s", brief(frame), got, want)
				}
			})
		})
	}
	bystander.check(t)
	checkIdle(t, p)
}

func TestLimitsTighterThanTheServersAreSaid(t *testing.T) {
	p := startProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs()[:1])
	for frame := range stricter {
		got, err := judge(p.addr, "", frame, 0)
		if err != nil || !got.closed || !strings.HasPrefix(got.reply, "-ERR Protocol error: invalid multibulk length") {
			t.Errorf("%q: got %s %v, want the server's words for a length out of range, closed", frame, got, err)
		}
	}
}

func TestRandomBytesHurtNobody(t *testing.T) {
	p := startProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs()[:1])
	bystander := watchBystander(t, p.addr)
	var seeds []string
	for i := range 200 {
		seeds = append(seeds, strconv.Itoa(i))
	}
	forAll(seeds, func(seed string) {
		n, _ := strconv.Atoi(seed)
		_, err := judge(p.addr, "", randomFrame(uint64(n)), 1+n%500)
		if err != nil {
			t.Errorf("seed %s: %v", seed, err)
		}
	})
	bystander.check(t)
	checkIdle(t, p)
}

// randomFrame mixes pure noise with pieces of RESP, which come further into a parser.
func randomFrame(seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 99))
	words := []string{"*", "$", "\r\n", "\r", "\n", "3", "-1", "0", "1", "GET", "SET", "k", ":", "PING", "\"", "'", "\\x", "%", "~", "\x00"}
	var b strings.Builder
	for b.Len() < 8<<10 {
		if seed%2 == 0 {
			b.WriteByte(byte(r.Uint32()))
			continue
		}
		b.WriteString(words[r.IntN(len(words))])
	}
	return b.String()
}

func TestHalfFramesAndTricklesHoldUpNobody(t *testing.T) {
	const trickles = 300
	p := startProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs()[:1])
	bystander := watchBystander(t, p.addr)
	before := cpuTime(t, p)
	start := time.Now()
	var wg sync.WaitGroup
	for i := range trickles {
		c, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer func() { _ = c.Close() }()
			frame := "*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$1000\r\nabc"
			for _, b := range []byte(frame)[:10+i%(len(frame)-10)] {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	if share := float64(cpuTime(t, p)-before) / float64(time.Since(start)); share > 0.5 {
		t.Errorf("the proxy used %.0f %% of a core for %d trickling clients", 100*share, trickles)
	}
	want(t, p.dial(t), ":0", "EXISTS", "half")
	bystander.check(t)
	checkIdle(t, p)
}

func TestAMillionArgumentsAreOneCommand(t *testing.T) {
	const keys = 1<<20 - 1 // with the name it is the limit
	p := startProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs()[:1])
	bystander := watchBystander(t, p.addr)
	c := p.dial(t)
	args := make([]string, 1, keys+1)
	for i := range keys {
		args = append(args, "m"+strconv.Itoa(i))
	}
	for name, reply := range map[string]string{"DEL": ":0", "EXISTS": ":0"} {
		args[0] = name
		if v := do(t, c, args...); v.String() != reply {
			t.Errorf("%s of %d keys: got %s, want %s", name, keys, v, reply)
		}
	}
	args[0] = "MGET"
	if v := do(t, c, args...); len(v.Elems) != keys {
		t.Errorf("MGET of %d keys: got %d elements", keys, len(v.Elems))
	}
	args = append(args, "one too many")
	if v, err := c.Do(args...); err == nil && !v.IsError() {
		t.Errorf("%d arguments: got a reply of type %c", len(args), v.Kind)
	}
	bystander.checkWithin(t, 5*time.Second) // splitting a million keys takes its time
}

func TestClientsThatNeverReadStayWithinTheLimits(t *testing.T) {
	const clients, replies, hard, budget = 20, 64, 8 << 20, 128 << 20
	for name, c := range map[string]struct {
		args []string
		most int // bytes by which the process may grow: the limit, as much again of garbage, and what sockets and replies in transit need
	}{
		"of each client": {[]string{"--output-low", "1MiB", "--output-hard", "8MiB"}, clients * hard * 5 / 2},
		"of the process": {[]string{"--buffer-budget", "128MiB"}, budget * 5 / 2},
	} {
		t.Run(name, func(t *testing.T) {
			p := startProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs()[:1], c.args...)
			setup := p.dial(t)
			want(t, setup, "+OK", "SET", "greedy", bigValue)
			bystander := watchBystander(t, p.addr)
			before := memory(t, p).rss
			gets := []byte(strings.Repeat("*2\r\n$3\r\nGET\r\n$6\r\ngreedy\r\n", replies))
			pings := []byte(strings.Repeat("PING\r\n", 1_000_000))
			for i := range clients {
				neverRead(t, p.addr, [][]byte{pings, gets, gets, gets}[i%4])
			}
			time.Sleep(3 * time.Second)
			if grown := memory(t, p).peak - before; grown > c.most {
				t.Errorf("%d clients that never read made the proxy grow by %d MiB, want at most %d", clients, grown>>20, c.most>>20)
			}
			// Their replies, a gigabyte, come over the connection that the bystander's command takes as well.
			bystander.checkWithin(t, 3*time.Second)
			checkIdle(t, p)
		})
	}
}

// neverRead opens a connection that writes body, as far as it is read or until it is cut, and reads nothing until the test ends.
func neverRead(t *testing.T, addr string, body []byte) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetWriteDeadline(time.Now().Add(2 * time.Second))
	go func() { _, _ = c.Write(body) }() // ends by its deadline at the latest
}

func TestAValueOf512MiBPasses(t *testing.T) {
	size := 512 << 20
	if free := available(t); free < 6<<30 {
		size = 64 << 20
		t.Logf("512 MiB need 6 GiB of free memory in all, there are %d MiB: a value of %d MiB is used", free>>20, size>>20)
	}
	p := startProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs()[:1])
	bystander := watchBystander(t, p.addr)
	c := p.dial(t)
	c.Timeout = time.Minute
	chunk := []byte(bigValue)
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintf(c.Conn, "*3\r\n$3\r\nSET\r\n$4\r\nhuge\r\n$%d\r\n", size); err != nil {
		t.Fatal(err)
	}
	for range size / len(chunk) {
		if _, err := c.Conn.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(c.Conn, "\r\n"); err != nil {
		t.Fatal(err)
	}
	wantReplies(t, c, "+OK")
	stored := memory(t, p)
	want(t, c, fmt.Sprintf(":%d", size), "STRLEN", "huge")
	send(t, c, []string{"GET", "huge"})
	if n := discardBulk(t, c.Conn); n != size {
		t.Errorf("got %d bytes back, want %d", n, size)
	}
	if peak := memory(t, p).peak; peak > stored.peak+(256<<20) {
		t.Errorf("reading the value made the proxy grow from %d to %d MiB: it is not forwarded as it comes", stored.peak>>20, peak>>20)
	}
	if stored.peak > 2<<30 {
		t.Errorf("storing the value took %d MiB", stored.peak>>20)
	}
	want(t, c, ":1", "DEL", "huge")
	got, err := judge(p.addr, "", fmt.Sprintf("*3\r\n$3\r\nSET\r\n$4\r\nhuge\r\n$%d\r\n", 512<<20+1), 0)
	if err != nil || got != (verdict{"-ERR Protocol error: invalid bulk length\r\n", true}) {
		t.Errorf("one byte more: got %s %v", got, err)
	}
	bystander.checkWithin(t, 5*time.Second) // the one node is busy with half a gigabyte
}

// discardBulk reads one bulk reply without keeping it, and checks its content in passing.
func discardBulk(t *testing.T, c net.Conn) (n int) {
	t.Helper()
	in := bufio.NewReaderSize(c, 1<<20)
	head, err := in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	size, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(head, "$")))
	if err != nil {
		t.Fatalf("header %q: %v", head, err)
	}
	buf := make([]byte, len(bigValue))
	for n < size {
		k, err := in.Read(buf[:min(len(buf), size-n)])
		if err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
		if strings.Trim(string(buf[:k]), "x") != "" {
			t.Fatalf("something else in the value after %d bytes", n)
		}
		n += k
	}
	if _, err := io.ReadFull(in, buf[:2]); err != nil || string(buf[:2]) != "\r\n" {
		t.Fatalf("the value ends with %q %v", buf[:2], err)
	}
	return n
}
