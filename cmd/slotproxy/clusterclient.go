package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"slotproxy/resp"
)

const (
	// answerTime bounds the wait for one answer of the admin port. It ends its own slow commands after five minutes.
	answerTime = 6 * time.Minute
	// dialTime bounds connecting: the admin port is near.
	dialTime = 5 * time.Second
	// maxBulk, maxItems and maxDepth bound an answer, so that whatever listens there cannot fill the memory. The largest
	// is a plan: half a megabyte.
	maxBulk  = 64 << 20
	maxItems = 1 << 20
	maxDepth = 8
)

// serverError is an error that the admin port answered, without its '-'.
type serverError string

func (e serverError) Error() string { return string(e) }

func (e serverError) is(code string) bool { return strings.HasPrefix(string(e), code+" ") }

// dict is a map in the order of its reply.
type dict struct {
	keys   []string
	values []any
}

// MarshalJSON keeps the order.
func (d *dict) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, key := range d.keys {
		if i > 0 {
			b = append(b, ',')
		}
		for j, part := range []any{key, d.values[i]} {
			text, err := json.Marshal(part)
			if err != nil {
				return nil, err
			}
			if j > 0 {
				b = append(b, ':')
			}
			b = append(b, text...)
		}
	}
	return append(b, '}'), nil
}

// adminClient speaks RESP3 to an admin port. Not safe for concurrent use.
type adminClient struct {
	conn net.Conn
	in   *bufio.Reader
}

// dialAdmin connects to host:port or unix:/path.
func dialAdmin(ctx context.Context, address string) (*adminClient, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("no admin port: %w", err)
	}
	return &adminClient{conn: conn, in: bufio.NewReader(conn)}, nil
}

func (c *adminClient) close() { _ = c.conn.Close() }

// hello logs in, unless the password is empty, and asks for RESP3.
func (c *adminClient) hello(ctx context.Context, user, password string) error {
	words := []string{"HELLO", "3"}
	if password != "" {
		words = append(words, "AUTH", user, password)
	}
	_, err := c.do(ctx, words...)
	return err
}

// do sends a command and returns its answer: string, int64, bool, nil, []any or *dict. An answer that is an error is a
// serverError; after another error the client is of no use. When ctx ends, so does the connection.
func (c *adminClient) do(ctx context.Context, words ...string) (any, error) {
	if err := c.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, c.close)()
	if _, err := c.conn.Write(resp.AppendCommandStrings(nil, words...)); err != nil {
		return nil, c.lost(ctx, err)
	}
	v, err := c.read(0)
	var said serverError
	if err != nil && !errors.As(err, &said) {
		err = c.lost(ctx, err)
	}
	return v, err
}

func (c *adminClient) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("the admin port is gone: %w", err)
}

func (c *adminClient) read(depth int) (any, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	line = bytes.TrimSuffix(line, []byte("\r\n"))
	if len(line) == 0 || depth > maxDepth {
		return nil, errors.New("what answers is no admin port")
	}
	kind, text := line[0], string(line[1:])
	switch kind {
	case '+':
		return text, nil
	case '-':
		return nil, serverError(text)
	case ':':
		return strconv.ParseInt(text, 10, 64)
	case '#':
		return text == "t", nil
	case '_':
		return nil, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return nil, errors.New("what answers is no admin port")
	}
	switch kind {
	case '$', '=':
		return c.bulk(n, kind == '=')
	case '*', '~':
		return c.items(n, depth)
	case '%':
		return c.pairs(n, depth)
	}
	return nil, errors.New("what answers is no admin port")
}

func (c *adminClient) bulk(n int, verbatim bool) (any, error) {
	if n > maxBulk {
		return nil, errors.New("an answer is too long")
	}
	b := make([]byte, n+len("\r\n"))
	if _, err := io.ReadFull(c.in, b); err != nil {
		return nil, err
	}
	b = b[:n]
	if verbatim && n >= len("txt:") {
		b = b[len("txt:"):]
	}
	return string(b), nil
}

func (c *adminClient) items(n, depth int) ([]any, error) {
	if n > maxItems {
		return nil, errors.New("an answer is too long")
	}
	list := []any{}
	for range n {
		v, err := c.read(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (c *adminClient) pairs(n, depth int) (*dict, error) {
	list, err := c.items(2*n, depth)
	if err != nil {
		return nil, err
	}
	d := &dict{}
	for i := 0; i < len(list); i += 2 {
		key, ok := list[i].(string)
		if !ok {
			return nil, errors.New("what answers is no admin port")
		}
		d.keys, d.values = append(d.keys, key), append(d.values, list[i+1])
	}
	return d, nil
}

// decode fills a struct whose JSON names are those of an answer.
func decode(answer, into any) error {
	text, err := json.Marshal(answer)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("the admin port answered something else than expected: %w", err)
	}
	return nil
}
