package test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
)

// network lies between the nodes of a cluster, and between them and everybody else, and can be cut. Each node says that it lives at
// an address of this process, which hands everything on to where it really listens:
//
//	node 0, from 127.0.1.1 --+
//	node 1, from 127.0.1.2 --+--> 127.0.2.3 (port and bus port) --> 127.0.0.1, node 2
//	proxy and clients -------+
//
// What is sent over a cut is not lost: as after a real one, it arrives when the cut is healed, unless nobody waits for it any
// more. A connection that is begun over a cut stays silent, and is closed by the healing.
type network struct {
	wg sync.WaitGroup // everything that serve and carry have started

	mu      sync.Mutex
	cluster *testcluster.Cluster // nil until it has formed
	fronts  map[int]*front       // by node
	away    map[int]bool         // nodes that are cut off from the others
	reach   reach                // of the cut
	healed  chan struct{}        // closed, and made anew, by heal
	conns   map[net.Conn]bool    // all that are open
	closed  bool
}

// reach is what a cut takes away.
type reach int

const (
	everything reach = iota // the node is alone
	fromNodes               // the proxy and clients still find it
	gossip                  // only what nodes tell each other of the cluster
)

// front is the address of one node.
type front struct {
	port      int
	listeners []net.Listener
}

const (
	// outside is everybody who is no node.
	outside = -1
	// busAbove is where a node's bus port lies.
	busAbove = 10000
	// frontBuffer is what is read at one time; what a cut holds back lies in the sockets.
	frontBuffer = 32 << 10
)

// newNetwork must come before the cluster, which it outlives.
func newNetwork(t *testing.T) *network {
	n := &network{fronts: map[int]*front{}, away: map[int]bool{}, healed: make(chan struct{}), conns: map[net.Conn]bool{}}
	t.Cleanup(n.close)
	return n
}

func (n *network) close() {
	n.mu.Lock()
	n.closed = true
	for _, r := range n.fronts {
		r.close()
	}
	for c := range n.conns {
		_ = c.Close()
	}
	n.healLocked()
	n.mu.Unlock()
	n.wg.Wait()
}

func (r *front) close() {
	for _, ln := range r.listeners {
		_ = ln.Close()
	}
}

// nodeArgs is for testcluster.Options. A node that is started again keeps its front.
func (n *network) nodeArgs(i, port int) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.fronts[i]; r == nil || r.port != port {
		if r != nil {
			r.close()
		}
		n.fronts[i] = n.openLocked(i, port)
	}
	return []string{"--bind-source-addr", fmt.Sprintf("127.0.1.%d", i+1), "--cluster-announce-ip", fmt.Sprintf("127.0.2.%d", i+1)}
}

// openLocked listens where a node says that it is. What cannot be listened at fails the forming of the cluster.
func (n *network) openLocked(i, port int) *front {
	r := &front{port: port}
	for _, p := range []int{port, port + busAbove} {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.2.%d:%d", i+1, p))
		if err != nil {
			continue
		}
		r.listeners = append(r.listeners, ln)
		n.wg.Go(func() { n.serve(ln, way{to: i, port: p, bus: p != port}) })
	}
	return r
}

// address is where a node is for others.
func (n *network) address(node *testcluster.Node) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fmt.Sprintf("127.0.2.%d:%d", n.indexLocked(node)+1, node.Port)
}

func (n *network) indexLocked(node *testcluster.Node) int {
	for i, m := range n.cluster.Nodes {
		if m == node {
			return i
		}
	}
	return outside
}

// cut lasts until heal. There is one reach for all cuts of a time.
func (n *network) cut(node *testcluster.Node, what reach) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.away[n.indexLocked(node)], n.reach = true, what
}

func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.healLocked()
}

func (n *network) healLocked() {
	clear(n.away)
	close(n.healed)
	n.healed = make(chan struct{})
}

// way is a connection to a node, whichever way bytes go on it.
type way struct {
	from, to int
	port     int // of the node
	bus      bool
}

// passage is nil when bytes may go on this way, else what is closed when they may.
func (n *network) passage(w way) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed, w.from == w.to, !n.away[w.from] && !n.away[w.to]:
		return nil
	case w.from == outside && n.reach != everything, !w.bus && n.reach == gossip:
		return nil
	}
	return n.healed
}

func (n *network) serve(ln net.Listener, w way) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return // it is closed
		}
		n.wg.Go(func() { n.carry(c, w) })
	}
}

// keep is false when the network is closed.
func (n *network) keep(c net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.conns[c] = true
	}
	return !n.closed
}

func (n *network) drop(c net.Conn) {
	_ = c.Close()
	n.mu.Lock()
	delete(n.conns, c)
	n.mu.Unlock()
}

// carry is the life of one connection to a node.
func (n *network) carry(c net.Conn, w way) {
	defer n.drop(c)
	if !n.keep(c) {
		return
	}
	w.from = n.peer(c)
	if wait := n.passage(w); wait != nil {
		<-wait
		return
	}
	node, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(w.port)))
	if err != nil {
		return
	}
	defer n.drop(node)
	if !n.keep(node) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { n.pump(c, node, w) })
	n.pump(node, c, w)
	back.Wait()
}

// pump hands on what comes from src, and its end.
func (n *network) pump(dst, src net.Conn, w way) {
	b := make([]byte, frontBuffer)
	for {
		count, err := src.Read(b)
		for wait := n.passage(w); wait != nil; wait = n.passage(w) {
			<-wait
		}
		if count > 0 {
			if _, err := dst.Write(b[:count]); err != nil {
				_ = src.Close()
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			_ = dst.(*net.TCPConn).CloseWrite()
			return
		case err != nil:
			_ = dst.Close()
			return
		}
	}
}

// peer is who has connected. Nodes tell by their address, but for MIGRATE, whose connections the kernel gives an address; so the
// owner of the others is looked for.
func (n *network) peer(c net.Conn) int {
	remote := c.RemoteAddr().(*net.TCPAddr)
	if ip := remote.IP.To4(); ip[2] == 1 {
		return int(ip[3]) - 1
	}
	n.mu.Lock()
	cluster := n.cluster
	n.mu.Unlock()
	if cluster == nil {
		return outside
	}
	link := "socket:[" + inodeOf(remote, c.LocalAddr().(*net.TCPAddr)) + "]"
	for i, node := range cluster.Nodes {
		folder := fmt.Sprintf("/proc/%d/fd/", node.Pid())
		open, _ := os.ReadDir(folder) // one that has ended has none
		for _, fd := range open {
			if to, err := os.Readlink(folder + fd.Name()); err == nil && to == link {
				return i
			}
		}
	}
	return outside
}

// inodeOf is the kernel's number of the socket at the local side.
func inodeOf(local, remote *net.TCPAddr) string {
	file, err := os.Open("/proc/net/tcp")
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	ends := kernelAddr(local) + " " + kernelAddr(remote) + " "
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if _, rest, ok := strings.Cut(lines.Text(), ends); ok {
			if f := strings.Fields(rest); len(f) > 6 {
				return f[6]
			}
		}
	}
	return ""
}

// kernelAddr writes an address as /proc/net/tcp does on a little-endian machine.
func kernelAddr(a *net.TCPAddr) string {
	ip := a.IP.To4()
	return fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], a.Port)
}

func TestANetworkHoldsBackWhatIsSentOverACut(t *testing.T) {
	n := newNetwork(t)
	cluster := testcluster.ForTest(t, testcluster.Options{NodeArgs: n.nodeArgs})
	n.join(cluster)
	far := cluster.Nodes[1]
	early, late := dialAddr(t, n.address(far)), dialAddr(t, n.address(cluster.Nodes[0]))
	want(t, early, "+PONG", "PING")
	n.cut(far, everything)
	early.Append("SET", keyIn(8000, "cut"), "v")
	if err := early.Flush(); err != nil {
		t.Fatal(err)
	}
	silent := dialAddr(t, n.address(far))
	silent.Timeout = 300 * time.Millisecond
	if v, err := silent.Do("PING"); err == nil {
		t.Errorf("over a cut: got %s, want silence", v)
	}
	want(t, late, "+PONG", "PING")
	if _, err := cluster.Do(far, "PING"); err != nil { // the test itself comes another way
		t.Error(err)
	}
	// MIGRATE has no address of its node, and must not slip through.
	if _, err := cluster.Do(far, "SET", keyIn(8000, "stays"), "v"); err != nil {
		t.Fatal(err)
	}
	_, err := cluster.Do(far, "MIGRATE", "127.0.2.1", strconv.Itoa(cluster.Nodes[0].Port), keyIn(8000, "stays"), "0", "300")
	if err == nil || !strings.Contains(err.Error(), "IOERR") {
		t.Errorf("MIGRATE over a cut: %v, want IOERR", err)
	}
	n.heal()
	if v, err := early.Read(); err != nil || v.String() != "+OK" {
		t.Errorf("what was sent over the cut: %v %v, want +OK when it is healed", v, err)
	}
}

// join tells the network who its nodes are.
func (n *network) join(c *testcluster.Cluster) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cluster = c
}
