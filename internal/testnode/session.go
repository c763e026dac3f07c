package testnode

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
)

// session is one accepted connection. The goroutine of serve owns all fields but closed and once.
type session struct {
	node *Node
	id   int
	conn net.Conn
	in   *bufio.Reader
	cmd  Command // the one that is being answered; its DB, Proto and User carry over to the next
	last string  // name of the command before

	once   sync.Once
	closed chan struct{}
}

func newSession(n *Node, id int, nc net.Conn) *session {
	s := &session{node: n, id: id, conn: nc, in: bufio.NewReader(nc), closed: make(chan struct{})}
	s.cmd = Command{Conn: id, DB: "0", Proto: 2, User: "default"}
	return s
}

func (s *session) close() {
	s.once.Do(func() {
		close(s.closed)
		_ = s.conn.Close()
	})
}

func (s *session) serve() {
	defer s.node.wg.Done()
	defer s.node.gone(s)
	defer s.close()
	for {
		args, err := readCommand(s.in)
		if err != nil {
			return
		}
		if len(args) == 0 {
			continue
		}
		name := strings.ToUpper(args[0])
		s.cmd.Args, s.cmd.Asking = args, s.last == "ASKING"
		s.last = name
		s.track(name)
		if err := s.answer(s.node.record(s.cmd)); err != nil {
			return
		}
	}
}

func (s *session) answer(actions []Action) error {
	if actions == nil {
		return s.defaultAnswer()
	}
	for _, act := range actions {
		if err := act(s); err != nil {
			return err
		}
	}
	return nil
}

// track keeps what a connection is, so that a test can ask under which user, database and protocol a command came.
func (s *session) track(name string) {
	a := s.cmd.Args
	switch {
	case name == "SELECT" && len(a) == 2:
		s.cmd.DB = a[1]
	case name == "AUTH" && len(a) == 2:
		s.cmd.User = "default"
	case name == "AUTH" && len(a) == 3:
		s.cmd.User = a[1]
	case name == "HELLO" && len(a) > 1:
		s.cmd.Proto, _ = strconv.Atoi(a[1])
		for i := 2; i+2 < len(a); i++ {
			if strings.EqualFold(a[i], "AUTH") {
				s.cmd.User = a[i+1]
			}
		}
	}
}

func (s *session) write(text string) error {
	_, err := io.WriteString(s.conn, text)
	return err
}

// readCommand accepts what a client library sends and an inline PING; it bounds lengths only against typing errors in tests.
func readCommand(in *bufio.Reader) ([]string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if !strings.HasPrefix(line, "*") {
		return strings.Fields(line), nil
	}
	count, err := strconv.Atoi(line[1:])
	if err != nil || count > 1<<21 {
		return nil, fmt.Errorf("header %q: %w", line, errHangUp)
	}
	args := make([]string, 0, max(count, 0))
	for range count {
		arg, err := readBulk(in)
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
	}
	return args, nil
}

func readBulk(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	if len(line) < 4 || line[0] != '$' {
		return "", errors.New("bulk header expected")
	}
	n, err := strconv.Atoi(line[1 : len(line)-2])
	if err != nil || n < 0 || n > 1<<30 {
		return "", errors.New("bulk length expected")
	}
	buf := make([]byte, n+2)
	if _, err := io.ReadFull(in, buf); err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
