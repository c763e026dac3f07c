package test

import (
	"fmt"
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
)

const canary = "canary-password"

func TestAPasswordIsCheckedByTheNodesInTheServersWords(t *testing.T) {
	version := testcluster.NeedNewest(t)
	cluster := testcluster.ForTest(t, testcluster.Options{Version: version, Password: canary})
	server := testcluster.StandaloneForTest(t, testcluster.Options{Version: version, Password: canary})
	p := startProxy(t, cluster.Addrs(), "--cluster-password", canary)

	t.Run("before the login", func(t *testing.T) {
		forAll([]string{
			"GET k\r\n", "PING\r\n", "SET k v\r\n", "HELLO 3\r\n", "CLIENT ID\r\n", "COMMAND COUNT\r\n", "INFO\r\n", "ECHO x\r\n",
			"AUTH wrong\r\n", "AUTH default wrong\r\n", "HELLO 3 AUTH default wrong\r\n", "HELLO 2 AUTH nobody " + canary + "\r\n",
			"*10\r\n" + strings.Repeat("$3\r\nDEL\r\n", 10),
			"*11\r\n" + strings.Repeat("$1\r\na\r\n", 11),
			"*1000000\r\n",
			"*2\r\n$4\r\nAUTH\r\n$16384\r\n" + strings.Repeat("a", 16384) + "\r\n",
			"*2\r\n$4\r\nAUTH\r\n$16385\r\n",
			"*2\r\n$4\r\nECHO\r\n$536870912\r\n",
			"QUIT\r\n",
			"RESET\r\nGET k\r\n",
		}, func(frame string) {
			want, err := judge(server.Addr, "", frame, 0)
			if err != nil {
				t.Error(err)
				return
			}
			got, err := judge(p.addr, "", frame, 0)
			if err != nil || got != want {
				t.Errorf("%s: got %s %v, want %s", brief(frame), got, err, want)
			}
		})
	})

	t.Run("after the login", func(t *testing.T) {
		for name, login := range map[string][]string{
			"AUTH password":        {"AUTH", canary},
			"AUTH user password":   {"AUTH", "default", canary},
			"HELLO 2 AUTH":         {"HELLO", "2", "AUTH", "default", canary},
			"HELLO 3 AUTH SETNAME": {"HELLO", "3", "AUTH", "default", canary, "SETNAME", "me"},
		} {
			c := p.dial(t)
			wantPrefix(t, c, "-NOAUTH", "GET", "k")
			if v := do(t, c, login...); v.IsError() {
				t.Errorf("%s: %s", name, v)
			}
			want(t, c, "+OK", "SET", "k", "v")
			want(t, c, `"v"`, "GET", "k")
			want(t, c, ":1", "DEL", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k") // more than ten arguments
			wantPrefix(t, c, "-WRONGPASS", "AUTH", "wrong")
			want(t, c, "+RESET", "RESET")
			wantPrefix(t, c, "-NOAUTH", "GET", "k")
		}
	})

	t.Run("guessing ends the connection", func(t *testing.T) {
		c := p.dial(t)
		for i := 1; ; i++ {
			v, err := c.Do("AUTH", fmt.Sprint("guess", i))
			if err != nil {
				break
			}
			if i > 20 || !strings.HasPrefix(v.String(), "-WRONGPASS") {
				t.Fatalf("guess %d: got %s", i, v)
			}
		}
	})

	if _, text, _ := p.get("/metrics"); strings.Contains(text+p.log.String(), canary) {
		t.Error("the password is in the metrics or in the log")
	}
}
