package test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/test/wire"
)

// scribes append numbers to lists in slots that move, each number once, and remember what they were told of each: written, surely not
// written, or not known. Some go through the proxy, the others to the nodes themselves as cluster clients do. They go on
// through the end of any process.
type scribes struct {
	cluster *testcluster.Cluster
	address func(*testcluster.Node) string // where clients find a node
	proxy   atomic.Pointer[string]         // address of the proxy; nil while there is none
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	list    []*scribe
	still   []string // keys written before anything moved, of the value "still"

	// Valid after finish.
	acked, unknown, refused int
	lost                    []time.Time // when each write that is gone was acknowledged
	lostStill               int
}

const (
	proxyScribes, directScribes = 6, 4
	// listsEach is in how many of the moving slots a scribe writes.
	listsEach = 12
	// stillEach is how many keys lie in each moving slot from the beginning.
	stillEach = 20
	// think keeps the lists short enough to move at once.
	think = 3 * time.Millisecond
)

// outcome is what a scribe was told of a write.
type outcome int

const (
	notWritten outcome = iota
	written
	notKnown
)

type scribe struct {
	of     *scribes
	direct bool
	lists  []string

	// Owned by run, then by finish.
	conn     *wire.Conn // through the proxy
	nodes    map[string]*wire.Conn
	owner    map[string]string // by list: the address of its node, as MOVED said
	next     int               // of the nodes to ask when that is not known
	acked    []map[int]time.Time
	unknown  []map[int]bool
	refused  int
	problems []string
}

// startScribes writes the keys that stay as they are, and begins to append. addr is the proxy's.
func startScribes(t *testing.T, c *testcluster.Cluster, address func(*testcluster.Node) string, addr string, slots []uint16) *scribes {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &scribes{cluster: c, address: address, cancel: cancel}
	s.proxy.Store(&addr)
	s.fill(t, slots)
	for i := range proxyScribes + directScribes {
		sc := &scribe{of: s, direct: i >= proxyScribes, nodes: map[string]*wire.Conn{}, owner: map[string]string{}}
		for k := range listsEach {
			slot := slots[(i+k*len(slots)/listsEach)%len(slots)]
			sc.lists = append(sc.lists, keyIn(int(slot), fmt.Sprintf("list:%d", i)))
			sc.acked, sc.unknown = append(sc.acked, map[int]time.Time{}), append(sc.unknown, map[int]bool{})
		}
		s.list = append(s.list, sc)
		s.wg.Go(func() { sc.run(ctx) })
	}
	t.Cleanup(func() { cancel(); s.wg.Wait() })
	return s
}

func (s *scribes) fill(t *testing.T, slots []uint16) {
	t.Helper()
	c := dialAddr(t, *s.proxy.Load())
	for i, slot := range slots {
		n := stillEach
		if i == len(slots)/2 {
			n = heavyKeys
		}
		for k := range n {
			key := keyIn(int(slot), "still:"+strconv.Itoa(k))
			s.still = append(s.still, key)
			c.Append("SET", key, "still")
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		for range n {
			if v, err := c.Read(); err != nil || v.String() != "+OK" {
				t.Fatalf("fill slot %d: %s %v", slot, v, err)
			}
		}
	}
}

func (s *scribe) run(ctx context.Context) {
	defer s.hangUp()
	for n := 0; ctx.Err() == nil; n++ {
		at := n % len(s.lists)
		write := s.throughProxy
		if s.direct {
			write = s.toNode
		}
		switch write(ctx, s.lists[at], strconv.Itoa(n)) {
		case written:
			s.acked[at][n] = time.Now()
		case notKnown:
			s.unknown[at][n] = true
		}
		time.Sleep(think)
	}
}

func (s *scribe) hangUp() {
	for _, c := range s.nodes {
		_ = c.Close()
	}
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

// throughProxy waits for a proxy and appends once.
func (s *scribe) throughProxy(ctx context.Context, list, value string) outcome {
	for s.conn == nil {
		if ctx.Err() != nil {
			return notWritten
		}
		if addr := s.of.proxy.Load(); addr != nil {
			if c, err := wire.Dial("tcp", *addr); err == nil {
				s.conn = c
				break
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	v, err := s.conn.Do("RPUSH", list, value)
	switch {
	case err != nil:
		_ = s.conn.Close()
		s.conn = nil
		return notKnown
	case v.Kind == ':':
		return written
	case strings.HasPrefix(v.String(), unknownPrefix), strings.HasPrefix(v.String(), timeoutPrefix):
		return notKnown
	}
	s.refused++
	s.problem("RPUSH through the proxy: %s", v)
	return notWritten
}

// directLimit is how long a node is waited for: a frozen one answers when it goes on.
const directLimit = 2 * time.Second

// toNode appends once as a cluster client does; what a node answers instead of appending is followed for as long as it takes.
func (s *scribe) toNode(ctx context.Context, list, value string) outcome {
	asking := ""
	for ctx.Err() == nil {
		addr := s.owner[list]
		if asking != "" {
			addr = asking
		}
		c := s.node(addr)
		if c == nil {
			delete(s.owner, list)
			asking = ""
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if asking != "" {
			c.Append("ASKING")
		}
		c.Append("RPUSH", list, value)
		v, err := wire.Value{}, c.Flush()
		if err == nil && asking != "" {
			_, err = c.Read()
		}
		if err == nil {
			v, err = c.Read()
		}
		asking = ""
		if err != nil {
			_ = c.Close()
			delete(s.nodes, c.RemoteAddr().String())
			delete(s.owner, list)
			return notKnown
		}
		if v.Kind == ':' {
			return written
		}
		word, rest, _ := strings.Cut(v.Text, " ")
		_, to, _ := strings.Cut(rest, " ")
		switch word {
		case "MOVED":
			s.owner[list] = to
		case "ASK":
			asking = to
		case "TRYAGAIN", "CLUSTERDOWN", "READONLY", "LOADING", "MASTERDOWN":
			delete(s.owner, list)
			time.Sleep(5 * time.Millisecond)
		default:
			s.problem("RPUSH to %s: %s", c.RemoteAddr(), v)
			return notWritten
		}
	}
	return notWritten
}

// node is a connection to a node, to any when addr is empty; nil when it cannot be reached now.
func (s *scribe) node(addr string) *wire.Conn {
	if addr == "" {
		s.next++
		addr = s.of.address(s.of.cluster.Nodes[s.next%len(s.of.cluster.Nodes)])
	}
	at := slices.IndexFunc(s.of.cluster.Nodes, func(n *testcluster.Node) bool { return s.of.address(n) == addr })
	if at < 0 || !s.of.cluster.Nodes[at].Alive() {
		return nil
	}
	if c := s.nodes[addr]; c != nil {
		return c
	}
	c, err := wire.Dial("tcp", addr)
	if err != nil {
		return nil
	}
	c.Timeout = directLimit
	s.nodes[addr] = c
	return c
}

func (s *scribe) problem(format string, args ...any) {
	if len(s.problems) < 3 {
		s.problems = append(s.problems, fmt.Sprintf(format, args...))
	}
}

// finish ends the writing and compares what was acknowledged with what is there. A write that is there twice, or that nobody
// made, fails the test at once; those that are gone are listed for the caller.
func (s *scribes) finish(t *testing.T) {
	t.Helper()
	s.cancel()
	s.wg.Wait()
	c := dialAddr(t, *s.proxy.Load())
	for i, sc := range s.list {
		for at, list := range sc.lists {
			s.compare(t, fmt.Sprintf("scribe %d, %s", i, list), do(t, c, "LRANGE", list, "0", "-1").Strings(), sc.acked[at], sc.unknown[at])
		}
		s.refused += sc.refused
	}
	for keys := range slices.Chunk(s.still, 500) {
		for _, key := range keys {
			c.Append("GET", key)
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			switch v, err := c.Read(); {
			case err != nil:
				t.Fatal(err)
			case v.Null:
				s.lostStill++
			case v.Text != "still":
				t.Errorf("%s: got %s", key, v)
			}
		}
	}
}

func (s *scribes) compare(t *testing.T, who string, there []string, acked map[int]time.Time, unknown map[int]bool) {
	t.Helper()
	present, last := map[int]bool{}, -1
	for _, text := range there {
		n, err := strconv.Atoi(text)
		_, known := acked[n]
		switch {
		case err != nil || !known && !unknown[n]:
			t.Errorf("%s: %s is there, but was never written", who, text)
		case present[n]:
			t.Errorf("%s: %d was written twice", who, n)
		case known && n < last: // of unknown outcome is what may have come late
			t.Errorf("%s: %d comes after %d", who, n, last)
		case known:
			last = n
		}
		present[n] = true
	}
	for n, at := range acked {
		if !present[n] {
			s.lost = append(s.lost, at)
		}
	}
	s.acked += len(acked)
	s.unknown += len(unknown)
}

// wantAll fails the test unless everything acknowledged is there, and no client of the proxy was refused.
func (s *scribes) wantAll(t *testing.T) {
	t.Helper()
	if len(s.lost) > 0 || s.lostStill > 0 {
		t.Errorf("%d of %d acknowledged writes and %d of %d older keys are gone", len(s.lost), s.acked, s.lostStill, len(s.still))
	}
	for i, sc := range s.list {
		for _, p := range sc.problems {
			t.Errorf("scribe %d: %s", i, p)
		}
	}
	if s.acked == 0 {
		t.Error("nothing was written")
	}
	t.Logf("%d writes acknowledged, %d of unknown outcome", s.acked, s.unknown)
}
