package variants

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"slotproxy/bench/load"
	"slotproxy/internal/testcluster"
	"slotproxy/resp"
	"slotproxy/router"
)

// readSize is that of the proxy's loops.
const readSize = 64 << 10

var pong = []byte("+PONG\r\n") // to all that is no GET: the load begins with a PING

// What a variant's process is told: which one it is, and the nodes with their first slots, in order.
const (
	variantSetting = "SLOTPROXY_VARIANT"
	nodesSetting   = "SLOTPROXY_VARIANT_NODES"
)

var rejected = map[string]func(ln net.Listener, slots func(key []byte) int, addrs []string) error{
	"goroutines": serveGoroutines,
	"redcon":     serveRedcon,
}

const chosen = "loops"

// TestMain is the process of a variant, when it is told to be one.
func TestMain(m *testing.M) {
	name := os.Getenv(variantSetting)
	if name == "" {
		os.Exit(m.Run())
	}
	err := beVariant(name)
	fmt.Fprintln(os.Stderr, name, err)
	os.Exit(1)
}

func beVariant(name string) error {
	var owner [testcluster.Slots]int
	var addrs []string
	for i, text := range strings.Split(os.Getenv(nodesSetting), ",") {
		addr, from, _ := strings.Cut(text, "=")
		first, err := strconv.Atoi(from)
		if err != nil {
			return err
		}
		for slot := first; slot < len(owner); slot++ {
			owner[slot] = i
		}
		addrs = append(addrs, addr)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	return rejected[name](ln, func(key []byte) int { return owner[router.Slot(key)] }, addrs)
}

// process is a proxy that runs.
type process struct {
	addr string
	pid  int
}

// startAll starts a cluster with keys in it, and every variant before it.
func startAll(tb testing.TB, keys load.Config) map[string]process {
	tb.Helper()
	cluster := testcluster.ForTest(tb, testcluster.Options{Version: testcluster.NeedNewest(tb)})
	keys.Target.Seeds = cluster.Addrs()
	if err := load.Fill(context.Background(), keys); err != nil {
		tb.Fatal(err)
	}
	owners, err := cluster.Owners()
	if err != nil {
		tb.Fatal(err)
	}
	var nodes []string
	for slot, n := range owners {
		if slot == 0 || owners[slot-1] != n {
			nodes = append(nodes, fmt.Sprintf("%s=%d", n.Addr, slot))
		}
	}
	all := map[string]process{chosen: startChosen(tb, cluster.Addrs())}
	for name := range rejected {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), variantSetting+"="+name, nodesSetting+"="+strings.Join(nodes, ","))
		said, err := cmd.StdoutPipe()
		if err != nil {
			tb.Fatal(err)
		}
		start(tb, cmd)
		addr, err := bufio.NewReader(said).ReadString('\n')
		if err != nil {
			tb.Fatalf("%s: %v", name, err)
		}
		all[name] = process{strings.TrimSpace(addr), cmd.Process.Pid}
	}
	return all
}

func startChosen(tb testing.TB, nodes []string) process {
	tb.Helper()
	bin := filepath.Join(tb.TempDir(), "slotproxy")
	if text, err := exec.Command("go", "build", "-pgo=off", "-o", bin, "../../cmd/slotproxy").CombinedOutput(); err != nil {
		tb.Fatalf("%v\n%s", err, text)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close() // slotproxy takes it
	cmd := exec.Command(bin, "serve", "--cluster", strings.Join(nodes, ","), "--listen", addr, "--admin", "", "--http", "", "--loops", "1", "--log-level", "warn")
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+tb.TempDir())
	start(tb, cmd)
	const patience = 20 * time.Second // on a busy machine
	for until := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if _, err = load.Ask(context.Background(), &load.Target{}, addr, "GET", "any"); err == nil {
			return process{addr, cmd.Process.Pid}
		}
		if time.Now().After(until) {
			tb.Fatalf("slotproxy does not serve: %v", err)
		}
	}
}

func start(tb testing.TB, cmd *exec.Cmd) {
	tb.Helper()
	cmd.Stderr = os.Stderr
	if err := testcluster.StartProcess(cmd); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill() // the one error is that it has ended
		_ = cmd.Wait()
	})
}

// keySpace has keys of 16 bytes and values of 64, as bench/compare has.
func keySpace() load.Config { return load.Config{Prefix: "vari", Keys: 10_000} }

func TestEachVariantAnswersInOrder(t *testing.T) {
	all := startAll(t, keySpace())
	for name, p := range all {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", p.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			// Every second key exists. They are of all nodes, and a PING is of none.
			var request []byte
			want := ""
			for i := range 200 {
				key := fmt.Sprintf("vari%012d", i)
				if i%2 == 1 {
					key, want = "no "+key, want+"$"
				} else {
					want += "v"
				}
				request = resp.AppendCommandStrings(request, "GET", key)
				if i%10 == 0 {
					request, want = resp.AppendCommandStrings(request, "PING"), want+"+"
				}
			}
			if _, err := c.Write(request); err != nil {
				t.Fatal(err)
			}
			got := ""
			for in := bufio.NewReader(c); len(got) < len(want); {
				line, err := in.ReadString('\n')
				if err != nil {
					t.Fatalf("after %q: %v", got, err)
				}
				switch {
				case line == "$64\r\n":
				case len(line) == 66:
					got += "v"
				default:
					got += line[:1]
				}
			}
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	all := startAll(b, keySpace())
	for _, pipeline := range []int{1, 16} {
		for _, name := range []string{chosen, "goroutines", "redcon"} {
			b.Run(fmt.Sprintf("pipeline=%d/%s", pipeline, name), func(b *testing.B) {
				cfg := keySpace()
				cfg.Target.Addr = all[name].addr
				cfg.Pipeline, cfg.Count, cfg.Ops, cfg.Begin = pipeline, b.N, []load.Op{load.Get(1)}, "all"
				cfg.Processes = []load.Process{{Name: name, Role: load.Proxy, PID: all[name].pid}}
				run, err := load.Start(b.Context(), cfg)
				if err != nil {
					b.Fatal(err)
				}
				b.ResetTimer() // without connecting
				<-run.Done()
				b.StopTimer()
				phase := &run.Stop().Phases[0]
				if o := phase.All(); o.Failed > 0 || o.Missing > 0 || o.Count != int64(b.N) {
					b.Fatalf("%d of %d answered, %d failed, %d without a value: %v", o.Count, b.N, o.Failed, o.Missing, phase.Errors)
				}
				used, known := phase.CPUPerOp(load.Proxy)
				if !known {
					b.Fatal("its processor time is not known")
				}
				b.ReportMetric(float64(used.Nanoseconds())/1000, "proxy-us/command")
			})
		}
	}
}
