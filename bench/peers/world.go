//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"slotproxy/internal/testcluster"
)

// peer is one running proxy.
type peer struct {
	name string
	addr string
	http string // of slotproxy: where its profiles are; empty: nowhere
	cmd  *exec.Cmd
}

// world is everything that runs during a comparison; stop ends it.
type world struct {
	dir     string
	cluster *testcluster.Cluster
	alone   []*testcluster.Node // three servers that are no cluster
	peers   []*peer
}

// startWorld returns what it could start even when it fails, to be stopped.
func startWorld(ctx context.Context, s settings) (w *world, err error) {
	w = &world{}
	if w.dir, err = os.MkdirTemp("", "slotproxy-peers-"); err != nil {
		return w, err
	}
	version := testcluster.Version(s.version)
	if w.cluster, err = testcluster.Start(ctx, testcluster.Options{Version: version, NodeTimeout: time.Minute}); err != nil {
		return w, err
	}
	var addrs []string
	for range 3 {
		n, err := testcluster.Standalone(ctx, testcluster.Options{Version: version})
		if err != nil {
			return w, err
		}
		w.alone = append(w.alone, n)
		addrs = append(addrs, n.Addr)
	}
	for _, start := range []func() error{
		func() error { return w.haproxy(addrs[0]) },
		func() error { return w.twemproxy(addrs) },
		func() error { return w.floor(s.floor, addrs[0]) },
		func() error { return w.echo(s) },
		func() error { return w.slotproxy("slotproxy", s.bin, 1) },
		func() error { return w.slotproxy("slotproxy", s.bin, 2) },
		func() error {
			if s.against == "" {
				return nil
			}
			return w.slotproxy("against", s.against, 1)
		},
	} {
		if err := start(); err != nil {
			return w, err
		}
	}
	return w, nil
}

func (w *world) stop() {
	for _, p := range w.peers {
		_ = p.cmd.Process.Kill() // the one error is that it has ended
		_ = p.cmd.Wait()
	}
	for _, n := range w.alone {
		n.Stop()
	}
	if w.cluster != nil {
		w.cluster.Stop()
	}
	if w.dir != "" {
		_ = os.RemoveAll(w.dir)
	}
}

func (w *world) haproxy(backend string) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	config := fmt.Sprintf(`global
  maxconn 1000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen peers
  bind %s
  server one %s
`, addr, backend)
	file := filepath.Join(w.dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	return w.start("haproxy", addr, "haproxy", "-db", "-q", "-f", file)
}

func (w *world) twemproxy(backends []string) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	stats, err := freeAddr()
	if err != nil {
		return err
	}
	servers := ""
	for _, b := range backends {
		servers += "   - " + b + ":1\n"
	}
	config := fmt.Sprintf("peers:\n  listen: %s\n  redis: true\n  hash: fnv1a_64\n  distribution: ketama\n  servers:\n%s", addr, servers)
	file := filepath.Join(w.dir, "nutcracker.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(stats) // our own listener gave it
	return w.start("twemproxy", addr, "nutcracker", "-c", file, "-s", port, "-a", "127.0.0.1", "-o", filepath.Join(w.dir, "nutcracker.log"))
}

// echo answers every GET at once without looking at it, with the loop of slotproxy: the client's side alone.
func (w *world) echo(s settings) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	l := newLoad(addr, "GET", 1, 1, s)
	request := len(kinds["GET"].append(l, nil, appendKey(nil, 0)))
	return w.start("echo", addr, s.floor, "-listen", addr, "-request", fmt.Sprint(request), "-reply", fmt.Sprint(l.replies))
}

// floor copies bytes to one server as haproxy does, with the loop of slotproxy: what any proxy in Go pays before it does something.
func (w *world) floor(bin, backend string) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	return w.start("floor", addr, bin, "-listen", addr, "-forward", backend)
}

func (w *world) slotproxy(name, bin string, loops int) error {
	var addrs [3]string
	for i := range addrs {
		var err error
		if addrs[i], err = freeAddr(); err != nil {
			return err
		}
	}
	err := w.start(fmt.Sprintf("%s %d", name, loops), addrs[0], bin, "serve", "--cluster", strings.Join(w.cluster.Addrs(), ","),
		"--listen", addrs[0], "--admin", addrs[1], "--http", addrs[2], "--pprof", "--loops", fmt.Sprint(loops))
	w.peers[len(w.peers)-1].http = addrs[2]
	return err
}

// start runs a proxy and waits until a command goes through it.
func (w *world) start(name, addr, program string, args ...string) error {
	log, err := os.Create(filepath.Join(w.dir, strings.ReplaceAll(name, " ", "")+".out"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own copy
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C must not end it in the middle of a measurement
	if err := cmd.Start(); err != nil {
		return err
	}
	w.peers = append(w.peers, &peer{name: name, addr: addr, cmd: cmd})
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := ask(addr)
		if err == nil {
			return nil
		}
		if time.Now().After(until) {
			out, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%s does not serve: %w\n%s", name, err, out)
		}
	}
}

// ask sends one GET, which every proxy understands (twemproxy refuses PING of some clients).
func ask(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := c.Write(appendCommand(nil, []byte("GET"), appendKey(nil, 0))); err != nil {
		return err
	}
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if err != nil {
		return err
	}
	if buf[0] != '$' && buf[0] != 'x' { // x: the echo's
		return fmt.Errorf("GET: %q", buf[:n])
	}
	return nil
}

func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String(), nil
}
