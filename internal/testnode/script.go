package testnode

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// rule is one line of a node's script.
type rule struct {
	pattern []string
	actions []Action
	once    bool
}

// Action is something a node does on a connection instead of its default answer. An error ends the connection.
type Action func(*session) error

// errHangUp ends a connection on purpose.
var errHangUp = errors.New("told to hang up")

// On tells what to do with the next command that matches pattern; several calls for one pattern are used up in turn. A pattern is
// a command with spaces between its arguments: "*" stands for any one argument, "..." at the end for any number of them; the
// command name and sub-commands match in any case. Rules go before Every, Every before the defaults.
func (n *Node) On(pattern string, actions ...Action) { n.add(pattern, true, actions) }

// Every is On for all matching commands from now on; a later Every goes before an earlier one.
func (n *Node) Every(pattern string, actions ...Action) { n.add(pattern, false, actions) }

func (n *Node) add(pattern string, once bool, actions []Action) {
	r := &rule{pattern: strings.Fields(pattern), actions: actions, once: once}
	n.mu.Lock()
	defer n.mu.Unlock()
	first := 0 // of the lasting rules, which follow all single ones
	for first < len(n.rules) && n.rules[first].once {
		first++
	}
	n.rules = append(n.rules[:first:first], append([]*rule{r}, n.rules[first:]...)...)
}

// Unused are the patterns of single rules that no command has met.
func (n *Node) Unused() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for _, r := range n.rules {
		if r.once {
			out = append(out, strings.Join(r.pattern, " "))
		}
	}
	return out
}

func matches(pattern, args []string) bool {
	for i, p := range pattern {
		if p == "..." && i == len(pattern)-1 {
			return true
		}
		if i >= len(args) || p != "*" && p != args[i] && !(i == 0 && strings.EqualFold(p, args[i])) &&
			!(i == 1 && isContainer(args[0]) && strings.EqualFold(p, args[i])) {
			return false
		}
	}
	return len(pattern) == len(args)
}

func isContainer(name string) bool {
	switch strings.ToUpper(name) {
	case "CLUSTER", "CLIENT", "CONFIG", "COMMAND", "SCRIPT", "FUNCTION":
		return true
	}
	return false
}

// Raw answers these bytes.
func Raw(reply string) Action {
	return func(s *session) error { return s.write(reply) }
}

// Error answers an error reply.
func Error(text string) Action { return Raw("-" + text + "\r\n") }

// Bulk answers a bulk string.
func Bulk(text string) Action { return Raw(bulk(text)) }

// Moved answers -MOVED slot addr.
func Moved(slot int, addr string) Action { return Error(fmt.Sprintf("MOVED %d %s", slot, addr)) }

// Ask answers -ASK slot addr.
func Ask(slot int, addr string) Action { return Error(fmt.Sprintf("ASK %d %s", slot, addr)) }

// Pieces answers each part with a write of its own; between them the part before had time to arrive alone.
func Pieces(parts ...string) Action {
	return func(s *session) error {
		for _, p := range parts {
			if err := s.write(p); err != nil {
				return err
			}
			time.Sleep(2 * time.Millisecond) // loopback delivers at once; this only keeps the kernel from joining them
		}
		return nil
	}
}

// Cut answers the first n bytes of reply and closes the connection in order (FIN).
func Cut(n int, reply string) Action {
	return func(s *session) error {
		if err := s.write(reply[:n]); err != nil {
			return err
		}
		return errHangUp
	}
}

// Close closes the connection in order, without an answer.
func Close() Action { return func(*session) error { return errHangUp } }

// Reset closes the connection with RST, without an answer.
func Reset() Action {
	return func(s *session) error {
		if tc, ok := s.conn.(*net.TCPConn); ok {
			if err := tc.SetLinger(0); err != nil {
				return err
			}
		}
		return errHangUp
	}
}

// Silence gives no answer and goes on with the next command.
func Silence() Action { return func(*session) error { return nil } }

// Until waits for the channel to be closed, or for the connection to be closed by Stop or Drop; commands behind it on the same
// connection wait too, as in a server.
func Until(c <-chan struct{}) Action {
	return func(s *session) error {
		select {
		case <-c:
			return nil
		case <-s.closed:
			return errHangUp
		}
	}
}

// Do calls f, for instance to change the slot map at the very moment a command arrives.
func Do(f func()) Action {
	return func(*session) error { f(); return nil }
}

// Answer makes the reply from the command.
func Answer(f func(Command) string) Action {
	return func(s *session) error { return s.write(f(s.cmd)) }
}

// Default is the answer that the node would give without a script; use it behind Until or Do.
func Default() Action {
	return func(s *session) error { return s.defaultAnswer() }
}
