package differ

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"slotproxy/test/wire"
)

// Side is one of the two that are compared.
type Side struct {
	Addr  string   // where clients connect
	Nodes []string // the servers behind it, which say how many clients they block; the server itself if it is bare
}

// side is a Side in use.
type side struct {
	Side
	patience time.Duration
	control  *wire.Conn // for what is done between sequences
	nodes    []*wire.Conn
	clients  map[int]*client // of this sequence
}

func open(s Side, patience time.Duration) (*side, error) {
	control, err := wire.Dial("tcp", s.Addr)
	if err != nil {
		return nil, err
	}
	o := &side{Side: s, patience: patience, control: control, clients: map[int]*client{}}
	for _, addr := range s.Nodes {
		n, err := wire.Dial("tcp", addr)
		if err != nil {
			o.shut()
			return nil, err
		}
		o.nodes = append(o.nodes, n)
	}
	return o, nil
}

func (s *side) shut() {
	s.hangUp()
	for _, c := range append(s.nodes, s.control) {
		_ = c.Close() // nothing is lost with it
	}
}

func (s *side) hangUp() {
	for _, c := range s.clients {
		c.close()
	}
	clear(s.clients)
}

func (s *side) client(i int) (*client, error) {
	if c := s.clients[i]; c != nil {
		return c, nil
	}
	c, err := dial(s.Addr)
	if err == nil {
		s.clients[i] = c
	}
	return c, err
}

// clean removes what a sequence may have left. Commands that the version does not have are as good as done.
func (s *side) clean(commands [][]string) error {
	for _, args := range commands {
		s.control.Append(args...)
	}
	if err := s.control.Flush(); err != nil {
		return err
	}
	for _, args := range commands {
		if _, err := s.control.Read(); err != nil {
			return fmt.Errorf("%s at %s: %w", args[0], s.Addr, err)
		}
	}
	return nil
}

// blocked is the number of clients that wait at the servers of this side.
func (s *side) blocked() (n int, err error) {
	for _, c := range s.nodes {
		v, err := c.Do("INFO", "clients")
		if err != nil {
			return 0, err
		}
		_, rest, _ := strings.Cut(v.Text, "blocked_clients:")
		digits, _, _ := strings.Cut(rest, "\r\n")
		count, err := strconv.Atoi(digits)
		if err != nil {
			return 0, fmt.Errorf("INFO clients: %w", err)
		}
		n += count
	}
	return n, nil
}

var errStillBlocked = errors.New("clients that went away still wait at the servers")

// settle waits until no client waits any more.
func (s *side) settle() error {
	for start := time.Now(); ; time.Sleep(pause) {
		n, err := s.blocked()
		if n == 0 || err != nil {
			return err
		}
		if time.Since(start) > s.patience {
			return errStillBlocked
		}
	}
}

// pause is between two questions to a server.
const pause = 200 * time.Microsecond

// waiting are the clients whose step blocks, in order.
func (s *side) waiting() (out []int) {
	for i, c := range s.clients {
		if c.waits {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return out
}
