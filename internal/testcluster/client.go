package testcluster

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// ErrorReply is an error that the server answered, without the leading '-'.
type ErrorReply string

func (e ErrorReply) Error() string { return string(e) }

// Deadline for one command. A frozen node must not hang a test; the slowest command used here, MIGRATE apart, takes
// far less.
const commandTimeout = 10 * time.Second

// client is one RESP2 connection, used by one goroutine at a time.
type client struct {
	conn net.Conn
	in   *bufio.Reader
}

func dial(addr, password string, config *tls.Config, timeout time.Duration) (*client, error) {
	dialer := &net.Dialer{Timeout: timeout}
	var conn net.Conn
	var err error
	if config != nil {
		conn, err = tls.DialWithDialer(dialer, "tcp", addr, config)
	} else {
		conn, err = dialer.Dial("tcp", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	c := &client{conn: conn, in: bufio.NewReader(conn)}
	if password == "" {
		return c, nil
	}
	if _, err := c.do(timeout, "AUTH", password); err != nil {
		c.close()
		return nil, fmt.Errorf("authenticate at %s: %w", addr, err)
	}
	return c, nil
}

func (c *client) close() { _ = c.conn.Close() }

// do sends one command and reads its reply: string, int64, nil, []any or, as the error, ErrorReply. After any other
// error the connection is of no further use.
func (c *client) do(timeout time.Duration, args ...string) (any, error) {
	if err := c.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	out := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, arg := range args {
		out = fmt.Appendf(out, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := c.conn.Write(out); err != nil {
		return nil, err
	}
	value, err := readReply(c.in)
	if err != nil {
		return nil, err
	}
	if e, ok := value.(ErrorReply); ok {
		return nil, e
	}
	return value, nil
}

// readReply trusts its server, so it bounds nothing. An error inside an array stays a value of it.
func readReply(in *bufio.Reader) (any, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 {
		return nil, fmt.Errorf("not a RESP line: %q", line)
	}
	text := line[1 : len(line)-2]
	switch line[0] {
	case '+':
		return text, nil
	case '-':
		return ErrorReply(text), nil
	case ':':
		return strconv.ParseInt(text, 10, 64)
	case '$':
		return readBulk(in, text)
	case '*':
		return readArray(in, text)
	}
	return nil, fmt.Errorf("not a RESP2 reply: %q", line)
}

func readBulk(in *bufio.Reader, size string) (any, error) {
	n, err := strconv.Atoi(size)
	if err != nil || n < 0 {
		return nil, err
	}
	payload := make([]byte, n+2)
	if _, err := io.ReadFull(in, payload); err != nil {
		return nil, err
	}
	return string(payload[:n]), nil
}

func readArray(in *bufio.Reader, size string) (any, error) {
	n, err := strconv.Atoi(size)
	if err != nil || n < 0 {
		return nil, err
	}
	values := make([]any, n)
	for i := range values {
		if values[i], err = readReply(in); err != nil {
			return nil, err
		}
	}
	return values, nil
}
