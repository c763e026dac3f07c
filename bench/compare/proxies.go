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
	"time"

	"slotproxy/bench/load"
	"slotproxy/internal/testcluster"
	"slotproxy/resp"
)

// proxy is a contender that runs. The zero value is no process: the cluster itself.
type proxy struct {
	addr    string
	tlsAddr string // "" for none
	http    string // of slotproxy: where its profiles are; "" for none
	cmd     *exec.Cmd
	ended   chan struct{} // closed by reap
}

// reap waits for the end of the process, which may come too early.
func (p *proxy) reap() {
	_ = p.cmd.Wait() // its log tells more
	close(p.ended)
}

func (p *proxy) stop() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill() // the one error is that it has ended
		<-p.ended
	}
}

// pid is 0 for no process.
func (p *proxy) pid() int {
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// startTime bounds how long a proxy may need until a command goes through it.
const startTime = 20 * time.Second

// launch runs a proxy and waits until a command goes through it.
func (w *world) launch(ctx context.Context, name, addr string, command ...string) (*proxy, error) {
	log, err := os.Create(filepath.Join(w.dir, strings.ReplaceAll(name, " ", "")+".out"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own copy
	command = onCores(w.cores.proxies, command)
	p := &proxy{addr: addr, cmd: exec.Command(command[0], command[1:]...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := testcluster.StartProcess(p.cmd); err != nil {
		return nil, err
	}
	go p.reap()
	if err := w.await(ctx, name, p); err != nil {
		p.stop()
		words, _ := os.ReadFile(log.Name())
		const last = 2000 // bytes: enough to see why
		return nil, fmt.Errorf("%s does not serve: %w\n%s", name, err, words[max(0, len(words)-last):])
	}
	return p, nil
}

// firstKey is what the load generator puts behind a prefix.
const firstKey = "000000000000"

// await asks until there is an answer. Every proxy understands GET, and the echo PING.
func (w *world) await(ctx context.Context, name string, p *proxy) error {
	words := []string{"GET", prefix(0) + firstKey}
	if name == echo {
		words = []string{"PING"}
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(startTime); ; {
		_, err := load.Ask(ctx, &load.Target{}, p.addr, words...)
		if err == nil || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ended:
			return fmt.Errorf("it has ended: %v", p.cmd.ProcessState)
		case <-tick.C:
		}
	}
}

// noProxy is the cluster itself.
func (w *world) noProxy(ctx context.Context, on kind, _ loadCase) (*proxy, error) {
	_, err := w.nodes(ctx, on)
	return &proxy{}, err
}

func (w *world) slotproxy(ctx context.Context, on kind, name, bin string, loops int) (*proxy, error) {
	nodes, err := w.backends(ctx, on)
	if err != nil {
		return nil, err
	}
	addrs, err := testcluster.FreeAddrs(4)
	if err != nil {
		return nil, err
	}
	p, err := w.launch(ctx, name, addrs[0], bin, "serve", "--cluster", strings.Join(nodes, ","), "--listen", addrs[0], "--listen-tls", addrs[1],
		"--tls-cert", w.certs.Cert, "--tls-key", w.certs.Key, "--admin", addrs[2], "--http", addrs[3], "--pprof", "--loops", fmt.Sprint(loops))
	if err != nil {
		return nil, err
	}
	p.tlsAddr, p.http = addrs[1], addrs[3]
	return p, nil
}

// haproxy copies bytes to one server, as it cannot choose.
func (w *world) haproxy(ctx context.Context, on kind, _ loadCase) (*proxy, error) {
	nodes, err := w.backends(ctx, on)
	if err != nil {
		return nil, err
	}
	addrs, err := testcluster.FreeAddrs(2)
	if err != nil {
		return nil, err
	}
	pem, err := w.joined()
	if err != nil {
		return nil, err
	}
	// More connections than it has descriptors for, two each, and it does not start.
	config := fmt.Sprintf(`global
  maxconn %d
defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen compare
  bind %s
  bind %s ssl crt %s
  server one %s
`, min(10_000, (w.files-spareFiles)/2), addrs[0], addrs[1], pem, nodes[0])
	file := filepath.Join(w.dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	p, err := w.launch(ctx, haproxy, addrs[0], "haproxy", "-db", "-q", "-f", file)
	if err != nil {
		return nil, err
	}
	p.tlsAddr = addrs[1]
	return p, nil
}

// twemproxy divides the keys among servers that are no cluster.
func (w *world) twemproxy(ctx context.Context, on kind, _ loadCase) (*proxy, error) {
	nodes, err := w.backends(ctx, on)
	if err != nil {
		return nil, err
	}
	addrs, err := testcluster.FreeAddrs(2)
	if err != nil {
		return nil, err
	}
	servers := ""
	for _, n := range nodes {
		servers += "   - " + n + ":1\n"
	}
	config := fmt.Sprintf("compare:\n  listen: %s\n  redis: true\n  hash: fnv1a_64\n  distribution: ketama\n  servers:\n%s", addrs[0], servers)
	file := filepath.Join(w.dir, "nutcracker.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addrs[1]) // our own listener gave it
	return w.launch(ctx, twem, addrs[0], "nutcracker", "-c", file, "-s", port, "-a", "127.0.0.1", "-o", filepath.Join(w.dir, "nutcracker.log"))
}

// forward copies bytes to one server as haproxy does, with the loop of slotproxy: what any proxy in Go pays before it does something.
func (w *world) forward(ctx context.Context, on kind, _ loadCase) (*proxy, error) {
	nodes, err := w.backends(ctx, on)
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	return w.launch(ctx, forward, addr, w.settings.floor, "-listen", addr, "-forward", nodes[0])
}

// echo answers every request at once without looking at it, with the loop of slotproxy: the client's side alone.
func (w *world) echo(ctx context.Context, _ kind, at loadCase) (*proxy, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	words, value := []string{at.op, prefix(at.size) + firstKey}, at.size
	if at.op == "SET" {
		words, value = append(words, strings.Repeat("x", at.size)), 0
	}
	request := len(resp.AppendCommandStrings(nil, words...))
	return w.launch(ctx, echo, addr, w.settings.floor, "-listen", addr, "-request", fmt.Sprint(request), "-value", fmt.Sprint(value))
}
