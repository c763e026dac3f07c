// Move compares ways to move slots on one machine: the engine of this project, the server's own command line client, and a
// bare loop of the same commands without any check, which is the best that the commands allow.
//
//	go run ./bench/move -version valkey-8.1 -slots 1024 -keys 122
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"slotproxy/internal/cluster"
	"slotproxy/internal/testcluster"
	"slotproxy/router"
	"slotproxy/test/storm"
)

// options are what is measured.
type options struct {
	version  string
	slots    int
	keys     int
	bytes    int
	unit     int
	batch    int
	ways     string
	rounds   int
	replicas int
	whole    bool
	storm    string
}

func main() {
	var o options
	flag.StringVar(&o.version, "version", "valkey-8.1", "server")
	flag.IntVar(&o.slots, "slots", 1024, "slots to move, a third from each of three primaries to an empty one")
	flag.IntVar(&o.keys, "keys", 122, "keys in each slot: 122 as of 2 million in a cluster")
	flag.IntVar(&o.bytes, "bytes", 100, "bytes of a value")
	flag.IntVar(&o.unit, "unit", 64, "slots of one unit of the engine")
	flag.IntVar(&o.batch, "batch", 512, "keys of one MIGRATE of the loop")
	flag.StringVar(&o.ways, "ways", "loop,engine,cli", "in this order")
	flag.IntVar(&o.rounds, "rounds", 1, "how often")
	flag.IntVar(&o.replicas, "replicas", 0, "of each of the three primaries")
	flag.BoolVar(&o.whole, "whole", false, "fill all slots of the cluster, not only those that move")
	flag.StringVar(&o.storm, "storm", "", "a slotproxy to run before the cluster, with a storm of clients through it; ways: proxy,cli")
	flag.Parse()
	for range o.rounds {
		for way := range strings.SplitSeq(o.ways, ",") {
			took, err := measure(&o, way)
			if err != nil {
				log.Fatalf("%s: %v", way, err)
			}
			fmt.Fprintf(os.Stdout, "%s %s: %d slots, %d keys in %v: %.0f keys/s\n", o.version, way, o.slots, o.slots*o.keys,
				took.Round(time.Millisecond), float64(o.slots*o.keys)/took.Seconds())
		}
	}
}

// world is a filled cluster.
type world struct {
	*options
	cl    *testcluster.Cluster
	src   *cluster.Source
	table *router.Table
	move  [3][]uint16 // by source
}

func measure(o *options, way string) (time.Duration, error) {
	ctx := context.Background()
	cl, err := testcluster.Start(ctx, testcluster.Options{Version: testcluster.Version(o.version), Empty: 1, Replicas: o.replicas})
	if err != nil {
		return 0, err
	}
	defer cl.Stop()
	w := &world{options: o, cl: cl, src: cluster.NewSource(cluster.Config{Timeout: 30 * time.Second})}
	defer w.src.Close()
	if err := w.fill(ctx); err != nil {
		return 0, err
	}
	var x *weather
	if o.storm != "" {
		x, err = w.start(o.storm)
		defer x.stop()
		if err != nil {
			return 0, err
		}
	}
	began := time.Now()
	switch way {
	case "proxy":
		err = w.proxied(x)
	case "loop":
		err = w.each(w.loop)
	case "engine", "atomic":
		err = w.engine(way)
	case "bareatomic":
		err = w.each(w.bareAtomic)
	case "cli":
		err = w.cli(ctx)
	default:
		err = fmt.Errorf("no way %q", way)
	}
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	n, err := cl.Nodes[3].Do("DBSIZE")
	if err == nil && x == nil && n != int64(o.slots*o.keys) {
		err = fmt.Errorf("the target has %v keys", n)
	}
	return took, err
}

// fill writes keys into the slots that move, the first ones of each primary, or into all, and makes the table.
func (w *world) fill(ctx context.Context) error {
	raw, err := w.src.Nodes(ctx, w.cl.Addrs()[0])
	if err != nil {
		return err
	}
	v, err := router.ParseNodes(raw, w.cl.Addrs()[0])
	if err != nil {
		return err
	}
	w.table = &router.Table{Version: 1}
	for i := range v.Nodes {
		w.table.Nodes = append(w.table.Nodes, v.Nodes[i].Node)
	}
	for s := range uint16(router.Slots) {
		w.table.Owner[s] = int16(w.table.ByID(v.Owner(s).ID))
	}
	for at := range w.move {
		id := w.cl.Nodes[at].ID
		for s := uint16(0); len(w.move[at]) < (w.slots+2-at)/3; s++ { // the client takes the lowest ones, too
			if w.table.Node(s).ID == id {
				w.move[at] = append(w.move[at], s)
			}
		}
	}
	value := strings.Repeat("x", w.bytes)
	for at := range w.move {
		for s := range uint16(router.Slots) {
			if w.table.Node(s).ID != w.cl.Nodes[at].ID || !w.whole && !slices.Contains(w.move[at], s) {
				continue
			}
			commands := make([][]string, w.keys)
			for k := range commands {
				commands[k] = []string{"SET", "{" + storm.Tag(s) + "}" + strconv.Itoa(k), value}
			}
			if _, err := w.src.Do(ctx, w.cl.Nodes[at].Addr, commands...); err != nil {
				return err
			}
		}
	}
	return nil
}

// each runs a way for all three sources at once.
func (w *world) each(f func(at int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for at := range errs {
		wg.Go(func() { errs[at] = f(at) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// loop is the bare commands.
func (w *world) loop(at int) error {
	from, to := w.cl.Nodes[at], w.cl.Nodes[3]
	for _, s := range w.move[at] {
		n := strconv.Itoa(int(s))
		if err := do(to, "CLUSTER", "SETSLOT", n, "IMPORTING", from.ID); err != nil {
			return err
		}
		if err := do(from, "CLUSTER", "SETSLOT", n, "MIGRATING", to.ID); err != nil {
			return err
		}
		for {
			keys, err := from.Do("CLUSTER", "GETKEYSINSLOT", n, strconv.Itoa(w.batch))
			if err != nil {
				return err
			}
			all := keys.([]any)
			if len(all) == 0 {
				break
			}
			c := []string{"MIGRATE", to.Host, strconv.Itoa(to.Port), "", "0", "5000", "KEYS"}
			for _, k := range all {
				c = append(c, k.(string))
			}
			if err := do(from, c...); err != nil {
				return err
			}
		}
		if err := do(to, "CLUSTER", "SETSLOT", n, "NODE", to.ID); err != nil {
			return err
		}
		if err := do(from, "CLUSTER", "SETSLOT", n, "NODE", to.ID); err != nil {
			return err
		}
	}
	return nil
}

func do(n *testcluster.Node, args ...string) error {
	_, err := n.Do(args...)
	return err
}

func (w *world) cli(ctx context.Context) error {
	for at := range 3 {
		n, err := w.cl.Reshard(ctx, w.cl.Nodes[at], w.cl.Nodes[3], len(w.move[at]))
		if err != nil {
			return err
		}
		_ = n
	}
	return nil
}
