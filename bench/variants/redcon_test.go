package variants

import (
	"bufio"
	"net"

	"github.com/tidwall/redcon"

	"slotproxy/resp"
)

// redcon reads the clients; commands and replies go through channels to and from the goroutines of the nodes.

// handOff is a command on its way to a node. Its bytes are redcon's until the reply has been taken.
type handOff struct {
	request []byte
	reply   chan []byte // of one, so that the node's reader never waits
}

// partner is a node behind channels: a goroutine writes, another reads.
type partner struct {
	conn net.Conn
	in   chan handOff // from redcon's goroutines to write
	sent chan handOff // from write to read, oldest first
}

// Bounds of the channels: more than the clients of the benchmark have under way (50 with a pipeline of 16), so that no sender waits.
const handOffs = 1024

func serveRedcon(ln net.Listener, slots func(key []byte) int, addrs []string) error {
	front := &redconFront{slots: slots}
	for _, addr := range addrs {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		n := &partner{conn: conn, in: make(chan handOff, handOffs), sent: make(chan handOff, handOffs)}
		front.nodes = append(front.nodes, n)
		go n.write()
		go n.read()
	}
	return redcon.Serve(ln, front.handle, nil, nil)
}

type redconFront struct {
	slots func(key []byte) int
	nodes []*partner
}

// handle passes on all that has come before it waits for the first reply.
func (f *redconFront) handle(conn redcon.Conn, first redcon.Command) {
	free, _ := conn.Context().([]chan []byte)
	commands := append(conn.ReadPipeline(), redcon.Command{})
	copy(commands[1:], commands)
	commands[0] = first
	for len(free) < len(commands) {
		free = append(free, make(chan []byte, 1))
	}
	conn.SetContext(free)
	for i, c := range commands {
		if len(c.Args) != 2 {
			free[i] <- pong
			continue
		}
		f.nodes[f.slots(c.Args[1])].in <- handOff{c.Raw, free[i]}
	}
	for i := range commands {
		conn.WriteRaw(<-free[i])
	}
}

func (n *partner) write() {
	w := bufio.NewWriterSize(n.conn, readSize)
	for h := range n.in {
		n.sent <- h
		_, _ = w.Write(h.request) // the reader sees the end
		if len(n.in) == 0 {
			_ = w.Flush()
		}
	}
}

func (n *partner) read() {
	in, kept := make([]byte, readSize), 0
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
			(<-n.sent).reply <- append([]byte(nil), rest[:size]...)
			rest = rest[size:]
		}
		kept = copy(in, rest)
	}
}
