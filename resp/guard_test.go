package resp

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// script is a net.Conn that reads from a reader and keeps what is written.
type script struct {
	net.Conn // nil: what is not below is not used
	in       io.Reader
	out      strings.Builder
	deadline time.Time
}

func (s *script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error) { return s.out.Write(p) }
func (s *script) SetWriteDeadline(t time.Time) error {
	s.deadline = t
	return nil
}

func TestGuardPassesOnCheckedCommandsOnly(t *testing.T) {
	const (
		ping = "*1\r\n$4\r\nPING\r\n"
		info = "*2\r\n$5\r\nPROXY\r\n$4\r\nINFO\r\n"
	)
	long := string(AppendCommandStrings(nil, "PROXY", "HELP", strings.Repeat("x", 3000)))
	tests := []struct{ name, in, want, told string }{
		{"nothing", "", "", ""},
		{"a command", info, info, ""},
		{"a pipeline", info + ping + info, info + ping + info, ""},
		{"a long pipeline", strings.Repeat(long, 50), strings.Repeat(long, 50), ""},
		{"a line becomes an array", "PROXY INFO\r\n\"PING\"\n", info + ping, ""},
		{"empty requests are left out", "\r\n*0\r\n*-1\r\n" + ping + "\n", ping, ""},
		{"half a command is not passed on", ping + info[:len(info)-1], ping, ""},
		{"what panics redcon", "*1\r\n$9223372036854775800\r\n", "", "-ERR Protocol error: invalid bulk length\r\n"},
		{"what spins redcon", "*20000000\r\n", "", "-ERR Protocol error: invalid multibulk length\r\n"},
		{"an error behind commands", ping + info + "*x\r\n" + ping, ping + info, "-ERR Protocol error: invalid multibulk length\r\n"},
		{"an argument over the limit", "*1\r\n$1048577\r\n", "", "-ERR Protocol error: invalid bulk length\r\n"},
		{"a browser is not answered", "POST / HTTP/1.1\r\nHost: x\r\n\r\n", "", ""},
		{"a request over the limit is not answered", "*4\r\n" + strings.Repeat("$400000\r\n"+strings.Repeat("x", 400000)+"\r\n", 3), "", ""},
	}
	readers := map[string]func(io.Reader) io.Reader{
		"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader,
		"in halves": iotest.HalfReader, "with the end at once": iotest.DataErrReader,
	}
	for _, tt := range tests {
		for how, reader := range readers {
			t.Run(tt.name+" "+how, func(t *testing.T) {
				conn := &script{in: reader(strings.NewReader(tt.in))}
				got, err := io.ReadAll(NewGuard(conn, nil))
				if string(got) != tt.want {
					t.Errorf("got %.200q, want %.200q", got, tt.want)
				}
				if conn.out.String() != tt.told {
					t.Errorf("the client is told %q, want %q", conn.out.String(), tt.told)
				}
				var broken *ProtocolError
				if errors.As(err, &broken) != (tt.told != "" || strings.Contains(tt.name, "not answered")) {
					t.Errorf("got error %v", err)
				}
				if (tt.told != "") == conn.deadline.IsZero() {
					t.Errorf("write deadline %v", conn.deadline)
				}
			})
		}
	}
}

func TestGuardAnswersAnErrorOnceAndAfterTheCommandsBefore(t *testing.T) {
	conn := &script{in: strings.NewReader("PING\r\n*x\r\n")}
	g := NewGuard(conn, nil)
	buf := make([]byte, 100)
	if n, err := g.Read(buf); string(buf[:n]) != "*1\r\n$4\r\nPING\r\n" || err != nil || conn.out.Len() > 0 {
		t.Fatalf("first Read = %q, %v, told %q", buf[:n], err, conn.out.String())
	}
	for range 3 {
		n, err := g.Read(buf)
		if n != 0 || !errors.Is(err, errCount) || strings.Count(conn.out.String(), "-ERR") != 1 {
			t.Fatalf("Read = %d, %v, told %q", n, err, conn.out.String())
		}
	}
}

func TestGuardReturnsAsMuchAsThereIsRoomFor(t *testing.T) {
	g := NewGuard(&script{in: strings.NewReader("PING\r\n")}, &AfterAuth)
	if n, err := g.Read(nil); n != 0 || err != nil {
		t.Fatalf("Read without room = %d, %v", n, err)
	}
	got, err := io.ReadAll(iotest.OneByteReader(g))
	if string(got) != "*1\r\n$4\r\nPING\r\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// steps is a reader that returns one string or error after the other.
type steps []any

func (s *steps) Read(p []byte) (int, error) {
	if len(*s) == 0 {
		return 0, io.EOF
	}
	step := (*s)[0]
	*s = (*s)[1:]
	if err, ok := step.(error); ok {
		return 0, err
	}
	return copy(p, step.(string)), nil
}

func TestGuardGoesOnAfterADeadline(t *testing.T) {
	g := NewGuard(&script{in: &steps{"*1\r\n$4\r\nPI", os.ErrDeadlineExceeded, "NG\r\n"}}, nil)
	buf := make([]byte, 100)
	if n, err := g.Read(buf); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Read = %d, %v, want the deadline", n, err)
	}
	if n, err := g.Read(buf); string(buf[:n]) != "*1\r\n$4\r\nPING\r\n" || err != nil {
		t.Fatalf("Read = %q, %v", buf[:n], err)
	}
	for range 2 {
		if n, err := g.Read(buf); n != 0 || !errors.Is(err, io.EOF) {
			t.Fatalf("Read = %d, %v, want EOF", n, err)
		}
	}
}

func TestGuardLetsGoOfLongCommands(t *testing.T) {
	long := AppendCommandStrings(nil, "ECHO", strings.Repeat("x", 1<<20))
	g := NewGuard(&script{in: io.MultiReader(strings.NewReader(string(long)), strings.NewReader("PING\n"))}, &AfterAuth).(*guard)
	if _, err := io.ReadAll(g); err != nil {
		t.Fatal(err)
	}
	if cap(g.in) > guardKeep || cap(g.out) > guardKeep {
		t.Errorf("keeps %d bytes of input and %d of output", cap(g.in), cap(g.out))
	}
}
