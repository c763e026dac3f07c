package test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/test/storm"
)

const (
	// movedSlots go to and fro during a storm; valkey-cli takes the lowest slots of a node, so these are always the same.
	movedSlots = 200
	// faultLimit is how long a storm may take to find a build that is broken on purpose.
	faultLimit = 20 * time.Second
)

func stormOptions(addr string) storm.Options {
	return storm.Options{Dial: func() (net.Conn, error) { return net.DialTimeout("tcp", addr, 5*time.Second) }}
}

func TestStormPassesAgainstABareServer(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		report, err := storm.Run(ctx, stormOptions(sharedServer(t, v).Addr))
		checkStorm(t, report, err)
	})
}

func TestStormSeesNoErrorAndNoDisorderWhileSlotsMove(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		cluster := sharedCluster(t, v)
		p := startProxy(t, cluster.Addrs()[:1])
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		moves := startMover(t, cluster, movedSlots, seconds(t, "SLOTPROXY_STORM_SECONDS", 15), cancel)
		report, err := storm.Run(ctx, stormOptions(p.addr))
		cancel()
		moved := moves.wait(t)
		t.Logf("%s: %d slots moved in %d reshards", v, moved, moves.count)
		checkStorm(t, report, err)
	})
}

// The test of the test: builds that are wrong on purpose must be found, or a green storm proves nothing. A build without ASKING
// runs in a circle until the slot is handed over; with a budget shorter than a slot stays open that becomes an error. Commands with
// several keys may then fail in the right build too, so they stay out, and the right build must pass under the same conditions.
func TestStormFindsABuildThatIsWrongOnPurpose(t *testing.T) {
	for _, tag := range []string{"right", "fault_noasking", "fault_noorder"} {
		t.Run(tag, func(t *testing.T) {
			bin := ""
			if tag != "right" {
				var err error
				if bin, err = build("slotproxy-"+tag, "-tags", tag); err != nil {
					t.Fatal(err)
				}
			}
			cluster := sharedCluster(t, testcluster.NeedNewest(t))
			p := startProxyWith(t, proxyOptions{Seeds: cluster.Addrs()[:1], Bin: bin, Args: []string{"--redirect-budget", "500ms"}})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			limit := faultLimit
			if tag == "right" {
				limit = time.Second // one round of moves, which takes longer
			}
			moves := startMover(t, cluster, movedSlots, limit, cancel)
			opt := stormOptions(p.addr)
			opt.Classes = []string{"counter", "pair", "list", "shared"}
			var found atomic.Bool
			opt.OnFault = func() { found.Store(true); cancel(); moves.stop() }
			start := time.Now()
			report, err := storm.Run(ctx, opt)
			moves.wait(t)
			switch {
			case err != nil:
				t.Fatal(err)
			case tag == "right":
				checkStorm(t, report, err)
			case !found.Load():
				t.Fatalf("%s went unnoticed for %v\n%s", tag, faultLimit, report)
			default:
				t.Logf("found after %v: %s", time.Since(start).Round(time.Millisecond), report.Samples[0])
			}
		})
	}
}

func checkStorm(t *testing.T, r storm.Report, err error) {
	t.Helper()
	t.Logf("\n%s", r)
	if err != nil {
		t.Fatal(err)
	}
	if r.Errors() != 0 || r.Violations() != 0 {
		t.Errorf("got %d errors and %d violations in %d replies, want none", r.Errors(), r.Violations(), r.Ops())
	}
	for _, c := range r.Classes {
		if c.Latency != nil && c.Ops == 0 {
			t.Errorf("class %s did nothing", c.Name)
		}
	}
}
