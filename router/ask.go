package router

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// How many nodes are asked. Three views are enough to see a stale one; the rest only when they contradict what we know.
const (
	askUsually = 3
	askAtMost  = 8 // of the first round, with those that hints name
	askMore    = 32
)

// candidates chooses whom to ask first: nodes that hints speak of, replicas of a primary in trouble (one of them will know
// first that it took over), then primaries in turn, and seeds where that is not enough.
func (k *Keeper) candidates(t *Table, doubts *hints) []string {
	list := askList{keeper: k, max: askAtMost}
	if t == nil {
		list.max = askMore
		list.seeds()
		return list.addrs
	}
	for _, addr := range doubts.ask {
		list.node(t, t.ByAddr(addr))
	}
	for _, slot := range doubts.slots {
		list.node(t, int(t.Owner[slot]))
	}
	for slot := range t.Open { // in random order, so that each has its turn
		list.node(t, int(t.Owner[slot]))
	}
	for _, addr := range k.lost {
		at := t.ByAddr(addr)
		list.replicas(t, at)
		list.node(t, at)
	}
	for i := range t.Nodes {
		if t.Nodes[i].Failed && t.Nodes[i].Slots > 0 {
			list.replicas(t, i)
		}
	}
	primaries := t.Primaries()
	k.turn++
	for i := range primaries {
		if len(list.addrs) >= askUsually {
			break
		}
		list.node(t, primaries[(i+k.turn)%len(primaries)])
	}
	if len(list.addrs) < askUsually {
		list.seeds()
	}
	return list.addrs
}

// others chooses more nodes of both tables, next may be nil, and the seeds.
func (k *Keeper) others(old, next *Table, asked []string) []string {
	list := askList{keeper: k, addrs: asked, max: len(asked) + askMore, patient: true}
	for _, t := range []*Table{old, next} {
		if t == nil {
			continue
		}
		for i := range t.Nodes {
			if t.Nodes[i].Primary {
				list.node(t, i)
			}
		}
	}
	list.seeds()
	return list.addrs[len(asked):]
}

// askList collects addresses, each once, without those that were silent a moment ago.
type askList struct {
	keeper  *Keeper
	addrs   []string
	max     int
	patient bool // takes silent nodes too
}

func (l *askList) node(t *Table, at int) {
	if at >= 0 {
		l.add(t.Nodes[at].Addr)
	}
}

// replicas adds two replicas of a node. More would know no more.
func (l *askList) replicas(t *Table, at int) {
	if at < 0 {
		return
	}
	left := 2
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if left > 0 && n.PrimaryID == t.Nodes[at].ID && !n.Failed {
			l.add(n.Addr)
			left--
		}
	}
}

func (l *askList) seeds() {
	for _, addr := range l.keeper.cfg.Seeds {
		l.add(addr)
	}
}

func (l *askList) add(addr string) {
	if len(l.addrs) >= l.max || !l.patient && l.keeper.isSilent(addr) {
		return
	}
	for _, have := range l.addrs {
		if have == addr {
			return
		}
	}
	l.addrs = append(l.addrs, addr)
}

// isSilent tells whether a node did not answer within the last interval. Such a one is left alone for that time, so that a
// frozen node does not slow down every refresh.
func (k *Keeper) isSilent(addr string) bool {
	since, silent := k.silent[addr]
	return silent && time.Since(since) < k.cfg.Interval
}

// answer is what came of asking one node.
type answer struct {
	addr string
	view *View
	err  error
}

// ask asks nodes at the same time and returns the views of those that answer within the timeout, and within grace of the
// first one that does.
func (k *Keeper) ask(ctx context.Context, addrs []string, grace time.Duration) []*View {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	answers := make(chan answer, len(addrs)) // askNode to here; as many places as senders, so that none waits
	waiting := make(map[string]bool, len(addrs))
	for _, addr := range addrs {
		if k.setBusy(addr) {
			waiting[addr] = true
			k.asking.Go(func() { k.askNode(ctx, addr, answers) })
		}
	}
	var views []*View
	var late <-chan time.Time
	for len(waiting) > 0 {
		select {
		case a := <-answers:
			delete(waiting, a.addr)
			if a.err != nil {
				k.setSilent(a.addr, a.err)
				continue
			}
			k.setHeard(a.addr)
			views = append(views, a.view)
			if late == nil {
				late = time.After(grace)
			}
		case <-late:
			k.allSilent(waiting)
			return views
		case <-ctx.Done():
			k.allSilent(waiting)
			return views
		}
	}
	return views
}

// askNode asks one node. It runs in a goroutine of its own.
func (k *Keeper) askNode(ctx context.Context, addr string, answers chan<- answer) {
	a := answer{addr: addr}
	raw, err := k.src.Nodes(ctx, addr)
	if err == nil {
		a.view, err = ParseNodes(raw, addr)
	}
	a.err = err
	k.mu.Lock()
	delete(k.busy, addr)
	k.mu.Unlock()
	answers <- a
}

// setBusy tells whether the node may be asked: the last question to it is answered or given up.
func (k *Keeper) setBusy(addr string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.busy[addr] {
		return false
	}
	k.busy[addr] = true
	return true
}

// setSilent remembers a node that did not answer. The map holds no more than were asked lately: entries are dropped when
// they are of no use any more.
func (k *Keeper) setSilent(addr string, err error) {
	for old, since := range k.silent {
		if time.Since(since) >= k.cfg.Interval {
			delete(k.silent, old)
		}
	}
	k.silent[addr] = time.Now()
	k.refusal = err
	k.log.Debug("node did not say what it knows", "node", addr, "err", err)
}

func (k *Keeper) setHeard(addr string) {
	delete(k.silent, addr)
	k.lost = slices.DeleteFunc(k.lost, func(lost string) bool { return lost == addr })
}

func (k *Keeper) allSilent(waiting map[string]bool) {
	for addr := range waiting {
		k.setSilent(addr, fmt.Errorf("%s: %w", addr, context.DeadlineExceeded))
	}
}
