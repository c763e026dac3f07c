package proxy

import (
	"bufio"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slotproxy/internal/cluster"
	"slotproxy/internal/testcluster"
	"slotproxy/resp"
	"slotproxy/router"
)

func TestAClientRunsAsTheUserItLoggedInAs(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{Password: "secret"})
	for _, n := range cl.Nodes {
		if _, err := n.Do("ACL", "SETUSER", "reader", "on", ">r", "~r:*", "+get", "+ping", "+hello", "+auth"); err != nil {
			t.Fatal(err)
		}
	}
	required := func() bool { return true }
	_, addr := serveAs(t, Config{AuthRequired: required}, cluster.Config{Password: "secret"}, cl.Addrs()...)
	c := connect(t, addr)
	c.send("GET a", "PING", "HELLO 3", "AUTH wrong", "AUTH secret", "SET r:a 1", "GET r:a")
	c.want("-NOAUTH", "-NOAUTH", "-NOAUTH HELLO", "-WRONGPASS", "+OK", "+OK", "$1\r\n1")
	other := connect(t, addr)
	other.send("AUTH reader r", "GET r:a", "SET r:a 2", "GET x", "HELLO 3 AUTH default secret", "SET r:a 3", "RESET", "GET r:a")
	other.want("+OK", "$1\r\n1", "-NOPERM", "-NOPERM", "%7", "+OK", "+RESET", "-NOAUTH")
	c.send("GET r:a", "AUTH reader wrong", "SET r:a 4")
	c.want("$1\r\n3", "-WRONGPASS", "+OK")
}

func TestTooManyWrongPasswordsEndTheConnection(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{Password: "secret"})
	_, addr := serveAs(t, Config{AuthRequired: func() bool { return true }}, cluster.Config{Password: "secret"}, cl.Addrs()...)
	c := connect(t, addr)
	for range 5 {
		c.send("AUTH wrong")
		c.want("-WRONGPASS")
	}
	if _, err := readReply(c.r); err == nil {
		t.Fatal("the connection is still open after five wrong passwords")
	}
}

func TestDatabasesExistWhereTheClusterHasThem(t *testing.T) {
	for _, tc := range []struct {
		name    string
		args    []string
		select1 string
	}{
		{"a cluster with one database", nil, "-ERR DB index is out of range"},
		{"a cluster with sixteen", []string{"--cluster-databases", "16"}, "+OK"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Args: tc.args})
			_, addr := serve(t, Config{}, cl.Addrs()...)
			c := connect(t, addr)
			c.send("SET a zero", "SELECT 1")
			c.want("+OK", tc.select1)
			if tc.select1 == "+OK" {
				c.send("GET a", "SET a one", "SELECT 0", "GET a", "SELECT 1", "GET a")
				c.want("$-1", "+OK", "+OK", "$4\r\nzero", "+OK", "$3\r\none")
			}
			c.send("SELECT -1", "SELECT x", "SELECT 999999999")
			c.want("-ERR DB index is out of range", "-ERR value is not an integer", "-ERR DB index is out of range")
		})
	}
}

func TestTLSOnBothSidesBehavesAsPlainSockets(t *testing.T) {
	files, err := testcluster.NewTLSFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cl := testcluster.ForTest(t, testcluster.Options{TLS: files})
	nodes, err := files.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Node: NodeDial{TLS: nodes}, Listeners: []Listener{{
		Network: "tcp", Address: "127.0.0.1:0",
		TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
	}}}
	_, addr := serveAs(t, cfg, cluster.Config{TLS: nodes}, cl.Addrs()...)
	nc, err := tls.Dial("tcp", addr, nodes)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	exercise(t, &client{t: t, Conn: nc, r: bufio.NewReader(nc)})
}

func TestAUnixSocketIsAListenerToo(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	path := filepath.Join(t.TempDir(), "s")
	serve(t, Config{Listeners: []Listener{{Network: "unix", Address: path, Mode: 0o600}}}, cl.Addrs()...)
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	exercise(t, &client{t: t, Conn: nc, r: bufio.NewReader(nc)})
}

// exercise sends small, many and large commands over one connection.
func exercise(t *testing.T, c *client) {
	t.Helper()
	big := strings.Repeat("0123456789", 300<<10)
	c.send("SET big "+big, "GET big", "MSET a 1 b 2 c 3", "MGET c b a", "DEL a b c big")
	c.want("+OK", string(resp.AppendBulkString(nil, big)), "+OK", "*3\r\n$1\r\n3\r\n$1\r\n2\r\n$1\r\n1\r\n", ":4")
	var lines, replies []string
	for range 2000 {
		lines, replies = append(lines, "INCR n"), append(replies, ":")
	}
	go c.send(lines...)
	c.want(replies...)
	c.send("GET n", "QUIT")
	c.want("$4\r\n2000", "+OK")
	if _, err := readReply(c.r); err == nil {
		t.Fatal("the connection is open after QUIT")
	}
}

func TestAFileThatIsNoSocketIsNotRemovedForAListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Keeper: router.NewKeeper(nil, router.KeeperConfig{}), Listeners: []Listener{{Network: "unix", Address: path}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Listen(); err == nil {
		t.Fatal("a listener on an ordinary file was accepted")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "data" {
		t.Fatalf("the file now holds %q, %v", b, err)
	}
}
