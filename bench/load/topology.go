package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"slotproxy/resp"
	"slotproxy/router"
)

// askTime bounds one question to a node: nodes are near.
const askTime = 5 * time.Second

// Ask sends one command to a server of the target, over a connection of its own, and returns the text that it answers. An error reply
// is an error.
func Ask(ctx context.Context, t *Target, addr string, words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("dial %s: %w", addr, err)
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if t.TLS != nil {
		conn = tls.Client(conn, tlsFor(t.TLS, addr))
	}
	out := t.greeting()
	expected := 1
	if len(out) > 0 {
		expected++
	}
	if _, err := conn.Write(resp.AppendCommandStrings(out, words...)); err != nil {
		return "", fmt.Errorf("%s: %w", addr, err)
	}
	in := bufio.NewReader(conn)
	var text string
	for range expected {
		if text, err = readText(in); err != nil {
			return "", fmt.Errorf("%s: %w", addr, err)
		}
	}
	return text, nil
}

// greeting is what a connection begins with, nothing when no login and no other protocol is wanted.
func (t *Target) greeting() []byte {
	user := t.User
	if user == "" {
		user = "default"
	}
	switch {
	case t.RESP == 3 && t.Password != "":
		return resp.AppendCommandStrings(nil, "HELLO", "3", "AUTH", user, t.Password)
	case t.RESP == 3:
		return resp.AppendCommandStrings(nil, "HELLO", "3")
	case t.Password != "" && t.User == "":
		return resp.AppendCommandStrings(nil, "AUTH", t.Password)
	case t.Password != "":
		return resp.AppendCommandStrings(nil, "AUTH", user, t.Password)
	}
	return nil
}

// tlsFor completes a configuration with the name of the server.
func tlsFor(c *tls.Config, addr string) *tls.Config {
	if c.ServerName != "" {
		return c
	}
	c = c.Clone()
	c.ServerName, _, _ = net.SplitHostPort(addr) // addresses have been checked
	return c
}

// maxText bounds an answer to Ask: CLUSTER NODES of a thousand nodes in pieces has some megabytes.
const maxText = 16 << 20

// readText reads one reply, and returns the text of a string, "" for anything else. A reply ends with a line, so nothing of the next one
// is read.
func readText(in *bufio.Reader) (string, error) {
	var f resp.Framer
	var all []byte
	for fed := 0; len(all) < maxText; {
		line, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
		all = append(all, line...)
		n, done, err := f.Feed(all[fed:])
		if err != nil {
			return "", err
		}
		if fed += n; done {
			return textOf(all)
		}
	}
	return "", errors.New("the answer is too long")
}

// textOf takes the protocol off a reply.
func textOf(reply []byte) (string, error) {
	text := strings.TrimSuffix(string(reply), "\r\n")
	switch text[0] {
	case '-':
		return "", errors.New(text[1:])
	case '+':
		return text[1:], nil
	case '$', '=':
		head, body, ok := strings.Cut(text, "\r\n")
		if !ok {
			return "", nil
		}
		if head[0] == '=' {
			body = body[min(len(body), len("txt:")):]
		}
		return body, nil
	}
	return "", nil
}

// table says who owns which slot. It never changes.
type table struct {
	addrs []string
	owner [router.Slots]int16 // index into addrs, -1 for nobody
}

// oneServer is the table of a server that owns all slots.
func oneServer(addr string) *table { return &table{addrs: []string{addr}} }

// lookUp asks these nodes, one after the other, for the slots of their cluster.
func lookUp(ctx context.Context, t *Target, nodes []string) (*table, error) {
	var errs []error
	for _, addr := range nodes {
		text, err := Ask(ctx, t, addr, "CLUSTER", "NODES")
		if err == nil {
			var tab *table
			if tab, err = newTable(text, addr); err == nil {
				return tab, nil
			}
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("no node tells the slots: %w", errors.Join(errs...))
}

func newTable(text, asked string) (*table, error) {
	view, err := router.ParseNodes([]byte(text), asked)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", asked, err)
	}
	cluster, err := router.Build([]*router.View{view})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", asked, err)
	}
	t := &table{}
	at := make([]int16, len(cluster.Nodes))
	for i := range cluster.Nodes {
		at[i] = -1
		if n := &cluster.Nodes[i]; n.Slots > 0 {
			at[i] = int16(len(t.addrs))
			t.addrs = append(t.addrs, n.Addr)
		}
	}
	if len(t.addrs) == 0 {
		return nil, fmt.Errorf("%s: no node has slots", asked)
	}
	for slot, owner := range cluster.Owner {
		t.owner[slot] = -1
		if owner >= 0 {
			t.owner[slot] = at[owner]
		}
	}
	return t, nil
}

// Nodes are the addresses of the nodes of a target that own slots, in no order that matters.
func Nodes(ctx context.Context, t *Target) ([]string, error) {
	tab, err := lookUp(ctx, t, t.Seeds)
	if err != nil {
		return nil, err
	}
	return tab.addrs, nil
}
