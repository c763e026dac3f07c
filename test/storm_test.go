package test

import (
	"cmp"
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
	eachVersion(t, func(t *testing.T, v testcluster.Version) { stormWhile(t, v, newMover) })
}

func TestStormSeesNoErrorAndNoDisorderWhileNodesMoveSlotsThemselves(t *testing.T) {
	stormWhile(t, testcluster.NeedNewest(t), newAtomicMover)
}

func stormWhile(t *testing.T, v testcluster.Version, mover func(*testing.T, *testcluster.Cluster, int, time.Duration, func()) *mover) {
	t.Helper()
	stormClasses(t, v, mover, seconds(t, "SLOTPROXY_STORM_SECONDS", 15), nil)
}

// stormClasses is stormWhile for some classes, nil for all.
func stormClasses(t *testing.T, v testcluster.Version, mover func(*testing.T, *testcluster.Cluster, int, time.Duration, func()) *mover, d time.Duration, classes []string) {
	t.Helper()
	cluster := sharedCluster(t, v)
	p := startProxy(t, cluster.Addrs()[:1])
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	moves := mover(t, cluster, movedSlots, d, cancel)
	opt := stormOptions(p.addr)
	opt.Classes = classes
	opt.OnStart = moves.start
	report, err := storm.Run(ctx, opt)
	checkStorm(t, report, err)
	t.Logf("%s: %d slots moved in %d moves", v, moves.wait(t), moves.count)
}

// The test of the test: builds that are wrong on purpose must be found, or a green storm proves nothing. A build without ASKING
// runs in a circle until the slot is handed over; with a budget shorter than a slot stays open that becomes an error. Commands with
// several keys may then fail in the right build too, so they stay out, and the right build must pass under the same conditions.
func TestStormFindsABuildThatIsWrongOnPurpose(t *testing.T) {
	short, single := []string{"--redirect-budget", "500ms"}, []string{"counter", "pair", "list", "shared"}
	for _, c := range []struct {
		tag           string
		args, classes []string
	}{{"fault_noorder", nil, nil}, {"fault_noasking", short, single}, {"", short, single}} {
		t.Run(cmp.Or(c.tag, "right"), func(t *testing.T) {
			o := proxyOptions{Seeds: sharedCluster(t, testcluster.NeedNewest(t)).Addrs()[:1], Args: c.args}
			if c.tag != "" {
				var err error
				if o.Bin, err = build("slotproxy-"+c.tag, "-tags", c.tag); err != nil {
					t.Fatal(err)
				}
			}
			report, found := stormUntilFault(t, startProxyWith(t, o), c.classes, c.tag == "")
			switch {
			case c.tag == "":
				checkStorm(t, report, nil)
			case found == 0:
				t.Fatalf("%s went unnoticed for %v\n%s", c.tag, faultLimit, report)
			default:
				t.Logf("found after %v: %s", found.Round(time.Millisecond), report.Samples[0])
			}
		})
	}
}

// stormUntilFault storms while slots move until the first error or violation, and tells when that was; a build that is right runs for
// one round of moves.
func stormUntilFault(t *testing.T, p *proxy, classes []string, right bool) (r storm.Report, found time.Duration) {
	t.Helper()
	limit := faultLimit
	if right {
		limit = time.Second // one round takes longer
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	moves := newMover(t, sharedCluster(t, testcluster.NeedNewest(t)), movedSlots, limit, cancel)
	opt := stormOptions(p.addr)
	opt.Classes = classes
	opt.OnStart = moves.start
	var first atomic.Int64
	start := time.Now()
	opt.OnFault = func() { first.CompareAndSwap(0, int64(time.Since(start))); cancel(); moves.stop() }
	r, err := storm.Run(ctx, opt)
	if err != nil && first.Load() == 0 { // what is broken on purpose may break the last look at the data as well
		t.Fatal(err)
	}
	moves.wait(t)
	return r, time.Duration(first.Load())
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
