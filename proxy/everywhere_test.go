package proxy

import (
	"testing"

	"slotproxy/internal/testcluster"
)

func TestWhatBelongsToOneNodeIsNotSetOnAll(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	for _, refused := range []string{"port 1", "PORT 1", "tls-port 1", "bind 127.0.0.9", "dir /", "dbfilename one.rdb",
		"cluster-announce-ip 10.9.9.9", "cluster-announce-bus-port 1", "replica-announce-port 1", "maxmemory 64mb port 1"} {
		c.send("CONFIG SET " + refused)
		c.want("-PROXYUNSUPPORTED CONFIG SET ")
	}
	c.send("CONFIG GET maxmemory", "CONFIG SET maxmemory 64mb", "CONFIG GET maxmemory", "CONFIG SET maxmemory 0", "CONFIG SET port")
	c.want("*2\r\n$9\r\nmaxmemory\r\n$1\r\n0", "+OK", "*2\r\n$9\r\nmaxmemory\r\n$8\r\n67108864", "+OK", "-ERR wrong number of arguments")
}
