package testnode

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long Wait waits: above every time-out of a proxy under test, below go test's own.
const patience = 15 * time.Second

// Command is one command that a node received.
type Command struct {
	Conn   int // connections of a node are numbered from 1 in the order they were accepted
	Args   []string
	Asking bool // the command before it on the same connection was ASKING
	DB     string
	Proto  int    // 3 after HELLO 3
	User   string // of the last AUTH or HELLO AUTH on this connection
}

// String is the command as one would type it.
func (c Command) String() string { return strings.Join(c.Args, " ") }

// Node is one scripted node, listening on a loopback port of its own.
type Node struct {
	id    string // 40 hex digits
	set   *Set
	index int

	mu      sync.Mutex
	host    string
	port    int
	ln      net.Listener // nil while stopped
	rules   []*rule
	seen    []Command
	conns   map[int]*session
	dials   int
	changed chan struct{} // closed and replaced whenever seen, conns or dials change

	wg sync.WaitGroup
}

// New is a node outside of any set: the place where a forged MOVED points to.
func New(tb testing.TB) *Node {
	tb.Helper()
	return newNode(tb, nil, 0, "127.0.0.1")
}

func newNode(tb testing.TB, set *Set, index int, host string) *Node {
	tb.Helper()
	n := &Node{
		id:  strings.Repeat(strconv.FormatInt(int64(index%10), 10), 8) + fmt.Sprintf("%032x", index+1),
		set: set, index: index, host: host, conns: map[int]*session{}, changed: make(chan struct{}),
	}
	if err := n.listen(); err != nil {
		tb.Fatalf("testnode: %v", err)
	}
	tb.Cleanup(func() {
		n.Stop()
		n.wg.Wait()
	})
	return n
}

func (n *Node) listen() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	ln, err := net.Listen("tcp", net.JoinHostPort(n.host, strconv.Itoa(n.port)))
	if err != nil {
		return err
	}
	n.ln, n.port = ln, ln.Addr().(*net.TCPAddr).Port
	n.wg.Add(1)
	go n.accept(ln)
	return nil
}

func (n *Node) accept(ln net.Listener) {
	defer n.wg.Done()
	for {
		nc, err := ln.Accept()
		if err != nil {
			return // Stop closed the listener
		}
		n.mu.Lock()
		n.dials++
		s := newSession(n, n.dials, nc)
		n.conns[s.id] = s
		n.wg.Add(1)
		n.notifyLocked()
		n.mu.Unlock()
		go s.serve()
	}
}

// ID is the node's id in CLUSTER NODES.
func (n *Node) ID() string { return n.id }

// Port is the port it listens on.
func (n *Node) Port() int { return n.port }

// Addr is where it listens.
func (n *Node) Addr() string { return net.JoinHostPort(n.host, strconv.Itoa(n.port)) }

// Stop refuses new connections and closes the open ones, as a process that died. Start undoes it.
func (n *Node) Stop() {
	n.mu.Lock()
	ln := n.ln
	n.ln = nil
	n.mu.Unlock()
	if ln != nil {
		_ = ln.Close()
	}
	n.Drop()
}

// Start listens again on the same port.
func (n *Node) Start(tb testing.TB) {
	tb.Helper()
	if err := n.listen(); err != nil {
		tb.Fatalf("testnode: %v", err)
	}
}

// Drop closes every open connection of the node; new ones are accepted.
func (n *Node) Drop() {
	n.mu.Lock()
	open := make([]*session, 0, len(n.conns))
	for _, s := range n.conns {
		open = append(open, s)
	}
	n.mu.Unlock()
	for _, s := range open {
		s.close()
	}
}

// Dials is the number of connections accepted so far.
func (n *Node) Dials() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

// Open is the number of connections open now.
func (n *Node) Open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns)
}

// Seen returns the commands that matched pattern so far, in the order in which the node read them.
func (n *Node) Seen(pattern string) []Command {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.seenLocked(strings.Fields(pattern))
}

func (n *Node) seenLocked(pattern []string) []Command {
	var out []Command
	for _, c := range n.seen {
		if matches(pattern, c.Args) {
			out = append(out, c)
		}
	}
	return out
}

// Forget empties the record of commands.
func (n *Node) Forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = nil
}

// Wait returns when at least count commands matched pattern; the test fails when they do not come.
func (n *Node) Wait(tb testing.TB, pattern string, count int) []Command {
	tb.Helper()
	fields := strings.Fields(pattern)
	deadline := time.After(patience)
	for {
		n.mu.Lock()
		got, changed := n.seenLocked(fields), n.changed
		n.mu.Unlock()
		if len(got) >= count {
			return got
		}
		select {
		case <-changed:
		case <-deadline:
			tb.Fatalf("testnode %s: got %d commands like %q, want %d; all: %v", n.Addr(), len(got), pattern, count, n.Seen("..."))
		}
	}
}

// notifyLocked wakes every Wait.
func (n *Node) notifyLocked() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// record notes a command and finds what to do with it: the first rule that matches, or nil.
func (n *Node) record(c Command) []Action {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, c)
	n.notifyLocked()
	for i, r := range n.rules {
		if !matches(r.pattern, c.Args) {
			continue
		}
		if r.once {
			n.rules = append(n.rules[:i:i], n.rules[i+1:]...)
		}
		return r.actions
	}
	return nil
}

func (n *Node) gone(s *session) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, s.id)
	n.notifyLocked()
}
