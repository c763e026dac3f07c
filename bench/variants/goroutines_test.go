package variants

import (
	"net"
	"sync"

	"slotproxy/resp"
)

// A goroutine reads each client and writes to nodes; a goroutine reads each node and writes to clients.

// sharedNode is written by whoever has a command for it.
type sharedNode struct {
	conn net.Conn

	mu   sync.Mutex
	out  []byte
	sent []*promise // oldest first
}

// patient is a client whose replies may come in another order than it wants them.
type patient struct {
	conn net.Conn

	mu      sync.Mutex
	waiting []*promise // oldest first
	out     []byte
}

// promise is a reply to come. reply is guarded by the patient's mu; nil: not there yet.
type promise struct {
	to    *patient
	reply []byte
}

func serveGoroutines(ln net.Listener, slots func(key []byte) int, addrs []string) error {
	var nodes []*sharedNode
	for _, addr := range addrs {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		n := &sharedNode{conn: conn}
		nodes = append(nodes, n)
		go n.read()
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go (&patient{conn: conn}).read(slots, nodes)
	}
}

func (p *patient) read(slots func(key []byte) int, nodes []*sharedNode) {
	defer func() { _ = p.conn.Close() }()
	var parser resp.Parser
	in, kept := make([]byte, readSize), 0
	dirty := make([]bool, len(nodes))
	for {
		n, err := p.conn.Read(in[kept:])
		if err != nil {
			return
		}
		rest := in[:kept+n]
		for {
			size, err := parser.Next(rest, &resp.AfterAuth)
			if err != nil {
				return
			}
			if size == 0 {
				break
			}
			if to := p.ask(nodes, slots, parser.Args, rest[:size]); to >= 0 {
				dirty[to] = true
			}
			rest = rest[size:]
		}
		kept = copy(in, rest)
		for i, touched := range dirty {
			if dirty[i] = false; touched {
				nodes[i].flush()
			}
		}
		p.deliver()
	}
}

// ask queues a command and returns which node is to be flushed, -1 for none.
func (p *patient) ask(nodes []*sharedNode, slots func(key []byte) int, args [][]byte, request []byte) int {
	r := &promise{to: p}
	if len(args) != 2 {
		r.reply = pong
	}
	p.mu.Lock()
	p.waiting = append(p.waiting, r)
	p.mu.Unlock()
	if len(args) != 2 {
		return -1
	}
	to := slots(args[1])
	n := nodes[to]
	n.mu.Lock()
	n.out, n.sent = append(n.out, request...), append(n.sent, r)
	n.mu.Unlock()
	return to
}

// flush writes under the lock, so that what was queued first is written first.
func (n *sharedNode) flush() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.out) > 0 {
		_, _ = n.conn.Write(n.out) // its reader sees the end
		n.out = n.out[:0]
	}
}

func (n *sharedNode) read() {
	in, kept := make([]byte, readSize), 0
	touched := map[*patient]bool{}
	for {
		size, err := n.conn.Read(in[kept:])
		if err != nil {
			return
		}
		rest := in[:kept+size]
		for {
			size, err := resp.Skip(rest)
			if err != nil {
				return
			}
			if size == 0 {
				break
			}
			n.mu.Lock()
			r := n.sent[0]
			n.sent = n.sent[1:]
			n.mu.Unlock()
			r.to.mu.Lock()
			r.reply = append([]byte(nil), rest[:size]...)
			r.to.mu.Unlock()
			touched[r.to] = true
			rest = rest[size:]
		}
		kept = copy(in, rest)
		for p := range touched {
			p.deliver()
		}
		clear(touched)
	}
}

// deliver writes the replies that nothing older keeps waiting.
func (p *patient) deliver() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.waiting) > 0 && p.waiting[0].reply != nil {
		p.out = append(p.out, p.waiting[0].reply...)
		p.waiting = p.waiting[1:]
	}
	if len(p.out) > 0 {
		_, _ = p.conn.Write(p.out) // its reader sees the end
		p.out = p.out[:0]
	}
}
