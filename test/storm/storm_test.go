package storm

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"slotproxy/internal/testnode"
)

// memory is just enough of a server for the classes counter, pair and shared; lie changes what it answers.
type memory struct {
	mu   sync.Mutex
	data map[string]string
	n    int
	lie  func(n int, c testnode.Command, m *memory, honest string) string
}

func (m *memory) answer(c testnode.Command) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n++
	honest := m.honest(c.Args)
	if m.lie == nil {
		return honest
	}
	return m.lie(m.n, c, m, honest)
}

func (m *memory) honest(a []string) string {
	bulk := func(s string) string { return "$" + strconv.Itoa(len(s)) + "\r\n" + s + "\r\n" }
	switch a[0] {
	case "PING", "ECHO":
		return bulk(a[1])
	case "SET":
		m.data[a[1]] = a[2]
		return "+OK\r\n"
	case "GET":
		return bulk(m.data[a[1]])
	case "APPEND":
		m.data[a[1]] += a[2]
		return ":" + strconv.Itoa(len(m.data[a[1]])) + "\r\n"
	case "INCR":
		i, _ := strconv.Atoi(m.data[a[1]])
		m.data[a[1]] = strconv.Itoa(i + 1)
		return ":" + strconv.Itoa(i+1) + "\r\n"
	case "DEL":
		delete(m.data, a[1])
		return ":1\r\n"
	}
	return "-ERR unknown command\r\n"
}

// late lies about the n-th command and later ones, once a name matches.
func late(name string, f func(m *memory, c testnode.Command, honest string) string) func(int, testnode.Command, *memory, string) string {
	told := false
	return func(n int, c testnode.Command, m *memory, honest string) string {
		if told || n < 3000 || c.Args[0] != name {
			return honest
		}
		told = true
		return f(m, c, honest)
	}
}

func TestAStormFindsEveryLie(t *testing.T) {
	for name, c := range map[string]struct {
		lie     func(int, testnode.Command, *memory, string) string
		classes []string
		error   bool // counted as an error and not as a violation
	}{
		"no lie": {classes: []string{"counter", "pair", "shared"}},
		"an INCR done twice": {classes: []string{"counter"}, lie: late("INCR", func(m *memory, c testnode.Command, honest string) string {
			return m.honest(c.Args)
		})},
		"an INCR lost": {classes: []string{"shared"}, lie: late("INCR", func(m *memory, c testnode.Command, honest string) string {
			i, _ := strconv.Atoi(m.data[c.Args[1]])
			m.data[c.Args[1]] = strconv.Itoa(i - 1)
			return honest
		})},
		"a GET that overtook its SET": {classes: []string{"pair"}, lie: late("GET", func(*memory, testnode.Command, string) string {
			return "$5\r\nolder\r\n"
		})},
		"the reply of somebody else": {classes: []string{"counter"}, lie: late("PING", func(*memory, testnode.Command, string) string {
			return "$5\r\nother\r\n"
		})},
		"two replies for one command": {classes: []string{"counter"}, lie: late("INCR", func(_ *memory, _ testnode.Command, honest string) string {
			return honest + honest
		})},
		"a value that vanished": {classes: []string{"pair"}, lie: late("GET", func(*memory, testnode.Command, string) string {
			return "$-1\r\n"
		})},
		"an error": {classes: []string{"pair"}, error: true, lie: late("SET", func(*memory, testnode.Command, string) string {
			return "-TRYAGAIN not yet\r\n"
		})},
	} {
		t.Run(name, func(t *testing.T) {
			n := testnode.New(t)
			m := &memory{data: map[string]string{}, lie: c.lie}
			for _, command := range strings.Fields("PING ECHO SET GET APPEND INCR DEL") {
				n.Every(command+" ...", testnode.Answer(m.answer))
			}
			ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
			defer cancel()
			r, err := Run(ctx, Options{
				Dial:    func() (net.Conn, error) { return net.Dial("tcp", n.Addr()) },
				Classes: c.classes, Clients: 2, Ballast: -1,
			})
			if err != nil {
				t.Fatal(err)
			}
			if faulty := r.Errors()+r.Violations() > 0; faulty != (c.lie != nil) {
				t.Errorf("found %d errors and %d violations\n%s", r.Errors(), r.Violations(), r)
			}
			if c.error && (r.Errors() == 0 || r.Violations() != 0) {
				t.Errorf("got %d errors and %d violations, want errors only\n%s", r.Errors(), r.Violations(), r)
			}
		})
	}
}

func TestTagsLieInTheirSlots(t *testing.T) {
	if got := Slot("123456789"); got != 0x31c3 {
		t.Fatalf("Slot is %#x, want CRC16-XMODEM's check value 0x31c3", got)
	}
	for _, slot := range []uint16{0, 1, 199, 8191, 16383} {
		if got := Slot(Tag(slot)); got != slot {
			t.Errorf("Tag(%d) lies in slot %d", slot, got)
		}
	}
}
