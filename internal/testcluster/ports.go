package testcluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"sync"
)

// Data ports and, 10000 above them as every tool expects, bus ports. Both ranges lie below 32768, where Linux begins
// to take ports for outgoing connections and for listeners on port 0, so nothing takes a node's port while the
// node is down.
const (
	firstPort = 12000
	lastPort  = 22000
	busOffset = 10000
)

// ports hands out ports that no other cluster of this or another process on this machine uses.
var ports = portSet{taken: make(map[int]net.Listener)}

type portSet struct {
	mu sync.Mutex
	// taken maps a data port to the mark that keeps other processes from it; the mark is nil where there is none.
	taken map[int]net.Listener
}

// take reserves a port that is free now. The server may still find it in use, when a stranger was faster: take another.
func (p *portSet) take(host string) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	span := lastPort - firstPort
	start := rand.IntN(span)
	for i := range span {
		port := firstPort + (start+i)%span
		if _, ok := p.taken[port]; ok || !listens(host, port) || !listens(host, port+busOffset) {
			continue
		}
		mark, err := markPort(port)
		if err != nil {
			continue
		}
		p.taken[port] = mark
		return port, nil
	}
	return 0, fmt.Errorf("no free port between %d and %d on %s", firstPort, lastPort, host)
}

func (p *portSet) release(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if mark := p.taken[port]; mark != nil {
		_ = mark.Close()
	}
	delete(p.taken, port)
}

// markPort claims the port among the test processes of this machine, also while its node is down. An abstract
// socket leaves no file and ends with the process; only Linux has them.
func markPort(port int) (net.Listener, error) {
	if runtime.GOOS != "linux" {
		return nil, nil
	}
	return net.Listen("unix", "@slotproxy-testcluster-"+strconv.Itoa(port))
}

func listens(host string, port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
