package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/test/storm"
	"slotproxy/test/wire"
)

// weather is a proxy before the cluster, and clients of all kinds that work through it while slots move.
type weather struct {
	proxy *exec.Cmd
	addr  string
	admin string
	dir   string // of the proxy's journal
	end   context.CancelFunc
	told  chan storm.Report
}

// calm is how long clients work before slots move: the proxy compares with what they had in the last ten seconds.
const calm = 12 * time.Second

// moveLimit is for the largest measurement, all slots of a full cluster.
const moveLimit = time.Hour

// start begins with both, and returns when the clients are at work. What it returns is to be stopped, even with an error.
func (w *world) start(bin string) (*weather, error) {
	x := &weather{end: func() {}}
	ports, err := testcluster.FreeAddrs(3)
	if err != nil {
		return x, err
	}
	if x.dir, err = os.MkdirTemp("", "slotproxy-move-"); err != nil {
		return x, err
	}
	x.addr, x.admin = ports[0], ports[1]
	x.proxy = exec.Command(bin, "serve", "--cluster", w.cl.Addrs()[0], "--listen", x.addr, "--admin", x.admin, "--http", ports[2],
		"--state-dir", x.dir, "--log-level", "error")
	x.proxy.Stderr = os.Stderr
	if err := x.proxy.Start(); err != nil {
		return x, err
	}
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := wire.Ask(x.addr, "GET", "x"); err == nil {
			break
		} else if time.Now().After(until) {
			return x, fmt.Errorf("the proxy does not serve: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	x.end, x.told = cancel, make(chan storm.Report, 1)
	begun := make(chan struct{})
	go x.blow(ctx, w.hot(), begun)
	select {
	case <-begun:
		time.Sleep(calm)
		return x, nil
	case r := <-x.told:
		return x, fmt.Errorf("the storm ended at once: %s", r)
	}
}

func (x *weather) blow(ctx context.Context, hot []uint16, begun chan struct{}) {
	r, err := storm.Run(ctx, storm.Options{
		Dial: func() (net.Conn, error) { return net.DialTimeout("tcp", x.addr, 5*time.Second) },
		Hot:  hot, OnStart: func() { close(begun) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
	}
	x.told <- r
}

// hot are the slots that move.
func (w *world) hot() (all []uint16) {
	for _, slots := range w.move {
		all = append(all, slots...)
	}
	return all
}

// stop ends the clients and then the proxy, and tells how the clients fared.
func (x *weather) stop() {
	x.end()
	if x.told != nil {
		r := <-x.told
		fmt.Printf("  %d replies to clients, %d errors, %d violations\n", r.Ops(), r.Errors(), r.Violations())
	}
	if x.proxy != nil && x.proxy.Process != nil {
		_ = x.proxy.Process.Kill() // the one error is that it has ended
		_ = x.proxy.Wait()
	}
	if x.dir != "" {
		_ = os.RemoveAll(x.dir)
	}
}

// proxied moves the slots by the proxy's coordinator.
func (w *world) proxied(x *weather) error {
	if x == nil {
		return errors.New("this way needs -storm")
	}
	_, err := wire.Job(x.admin, moveLimit, "RESHARD", "FROM", "ALL", "TO", w.cl.Nodes[3].Addr, "SLOTS", strconv.Itoa(w.slots))
	return err
}
