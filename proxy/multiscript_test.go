package proxy

import (
	"fmt"
	"testing"

	"slotproxy/internal/testcluster"
)

func TestATransactionRunsAScriptThatCameAfterItWasQueued(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c, d := connect(t, addr), connect(t, addr)
	for i := range 6 { // on all nodes
		body, key := fmt.Sprintf("return %d", i), fmt.Sprint("k", i)
		c.cmd("MULTI")
		c.cmd("EVALSHA", sha(body), "1", key)
		c.cmd("EVALSHA", sha("nobody's"), "1", key)
		c.want("+OK", "+QUEUED", "+QUEUED")
		d.cmd("EVAL", body, "1", "elsewhere")
		d.want(fmt.Sprint(":", i))
		c.cmd("EXEC")
		c.want(fmt.Sprintf("*2\r\n:%d\r\n-NOSCRIPT", i))
	}
}

func TestATransactionDoesNotRunAScriptThatWasForgottenAfterItWasQueued(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c, d := connect(t, addr), connect(t, addr)
	for i := range 6 { // on all nodes
		body, key := fmt.Sprintf("return %d", i), fmt.Sprint("k", i)
		d.cmd("EVAL", body, "1", "elsewhere")
		c.cmd("MULTI")
		c.cmd("EVALSHA", sha(body), "1", key)
		d.want(fmt.Sprint(":", i))
		c.want("+OK", "+QUEUED")
		d.cmd("SCRIPT", "FLUSH")
		d.want("+OK")
		c.cmd("EXEC")
		c.want("*1\r\n-NOSCRIPT")
		c.cmd("MULTI")
		c.cmd("EVALSHA", sha(body), "1", key)
		c.want("+OK", "+QUEUED")
		d.cmd("EVAL", body, "1", "elsewhere") // forgotten, and brought again
		d.want(fmt.Sprint(":", i))
		c.cmd("EXEC")
		c.want(fmt.Sprintf("*1\r\n:%d", i))
	}
}

func TestAScriptThatDoesNotCompileInATransactionIsNotKnown(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	const bad, good = "return 'x' syntax error", "return 'good'"
	for _, command := range [][]string{{"MULTI"}, {"SET", "k", "v"}, {"EVAL", bad, "1", "k"}, {"EVAL", good, "1", "k"}, {"EXEC"}} {
		c.cmd(command...)
	}
	c.want("+OK", "+QUEUED", "+QUEUED", "+QUEUED", "*3\r\n+OK\r\n-ERR Error compiling script")
	c.cmd("SCRIPT", "EXISTS", sha(bad), sha(good))
	c.want("*2\r\n:0\r\n:1\r\n")
}
