package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"slotproxy/migrate/engine"
	"slotproxy/router"
)

const (
	presencePrefix = "slotproxy-coord:"
	// ourPrefix begins the names of all connections of any proxy. Those that move slots have a presence beside them.
	ourPrefix = "slotproxy-"

	presenceBeat = time.Second
	// goodFor is how long a look at a node counts. A coordinator that cannot look stops for longer than another one waits
	// before it begins.
	goodFor = 3 * time.Second
	// aliveFor is the idle time up to which a connection stands for somebody who is at work: a presence is pinged each
	// second, and whoever moves keys with MIGRATE is heard within its timeout.
	aliveFor = 15 * time.Second
	// rivalLimit is the wait for another coordinator, which has lost, to go.
	rivalLimit = 10 * time.Second
	// askLimit bounds one question: below goodFor, so that a frozen node does not use it up for the others.
	askLimit = 2 * time.Second
	// bigList is a CLIENT LIST of some thousand clients, which takes a node some milliseconds to write.
	bigList = 1 << 20
)

// errForeign says that somebody else moves slots.
var errForeign = errors.New("FOREIGN_COORDINATOR")

// presence shows other coordinators that we are at work, and looks for them. There is no key in the cluster for it: its
// slots belong to clients. One named connection stays open to each primary, and CLIENT LIST there shows everybody's.
//
// Of two, the one with the smaller connection id wins: at the primary with the smallest node id of those where both are
// seen, who came first.
type presence struct {
	nodes    engine.Nodes         // immutable
	topology func() *router.Table // immutable
	name     string               // immutable
	log      *slog.Logger         // immutable

	mu    sync.Mutex
	posts map[string]*post // guarded by mu: by node id
}

// post is the connection to one primary.
type post struct {
	turn chan struct{} // one token: whoever has it owns addr, session and size

	addr    string
	session engine.Session // nil: none
	size    int            // of the last CLIENT LIST

	// Guarded by presence.mu.
	id     int64     // of our connection
	looked time.Time // last good look
	rivals []rival   // as of that look
	others string    // who else moves slots, "" for nobody
}

// rival is another coordinator as one node shows it.
type rival struct {
	name string
	id   int64
}

// presenceName names a coordinator: what begins alike with a smaller number behind it is gone.
func presenceName(instance string, fence uint64) string {
	return fmt.Sprintf("%s%s:%d", presencePrefix, plainName(instance), fence)
}

// plainName keeps what CLIENT SETNAME takes and the parts of a name apart.
func plainName(s string) string {
	keep := func(r rune) rune {
		if r > ' ' && r < 0x7f && r != ':' {
			return r
		}
		return '_'
	}
	return strings.Map(keep, s)
}

func newPresence(c *Coordinator) *presence {
	return &presence{nodes: c.cfg.Nodes, topology: c.cfg.Topology, name: c.name, log: c.log, posts: map[string]*post{}}
}

// enter shows us on all primaries and makes sure that nobody else is at work. An error has left no connection behind.
func (p *presence) enter(ctx context.Context) error {
	err := p.tryEnter(ctx)
	if err != nil {
		p.leave()
	}
	return err
}

func (p *presence) tryEnter(ctx context.Context) error {
	deadline := time.Now().Add(rivalLimit)
	// First all connections, then all looks: of two who begin together at least the later one sees the other.
	if err := p.each(ctx, p.open); err != nil {
		return err
	}
	for lost := false; ; {
		if err := p.each(ctx, p.look); err != nil {
			return err
		}
		name, won, others := p.judge()
		switch {
		case others != "":
			return fmt.Errorf("%w %s", errForeign, others)
		case name == "":
			return nil
		case !won && lost || time.Now().After(deadline):
			return fmt.Errorf("%w %s is at work on this cluster", errForeign, name)
		}
		// The first look may have come before the other had shown itself everywhere. Two that judge by different nodes could both go.
		lost = !won
		if err := sleep(ctx, presenceBeat/4); err != nil {
			return err
		}
	}
}

// each asks all working primaries at the same time, and returns the errors.
func (p *presence) each(ctx context.Context, ask func(context.Context, *post, string) error) error {
	t := p.topology()
	if t == nil {
		return errNoTable
	}
	primaries := t.Primaries()
	errs := make([]error, len(primaries))
	var asking sync.WaitGroup
	for i, at := range primaries {
		n := &t.Nodes[at]
		asking.Go(func() { errs[i] = p.ask(ctx, n, ask) })
	}
	asking.Wait()
	p.forget(t)
	return errors.Join(errs...)
}

// ask does something with the post at a node, when nobody else does.
func (p *presence) ask(ctx context.Context, n *router.Node, do func(context.Context, *post, string) error) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	p.mu.Lock()
	o := p.posts[n.ID]
	if o == nil {
		o = &post{turn: make(chan struct{}, 1)}
		p.posts[n.ID] = o
	}
	p.mu.Unlock()
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("ERR %s does not answer", n.Addr)
	}
	defer o.pass()
	return do(ctx, o, n.Addr)
}

func (o *post) pass() { <-o.turn }

// forget leaves nodes that are no primaries any more.
func (p *presence) forget(t *router.Table) {
	p.mu.Lock()
	var gone []*post
	for id, o := range p.posts {
		if at := t.ByID(id); at < 0 || !t.Nodes[at].Primary {
			gone = append(gone, o)
			delete(p.posts, id)
		}
	}
	p.mu.Unlock()
	for _, o := range gone {
		p.close(o)
	}
}

// close ends a connection, when whoever uses it is done.
func (p *presence) close(o *post) {
	o.turn <- struct{}{}
	p.hangUp(o)
	o.pass()
}

// hangUp ends a connection. The caller has the turn.
func (p *presence) hangUp(o *post) {
	if o.session != nil {
		o.session.Close()
		o.session = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	o.id, o.rivals, o.others, o.looked = 0, nil, "", time.Time{}
}

// open connects and shows our name.
func (p *presence) open(ctx context.Context, o *post, addr string) error {
	if o.addr != addr {
		p.hangUp(o)
		o.addr = addr
	}
	if o.session != nil {
		return nil
	}
	s, err := p.nodes.Session(ctx, addr)
	if err != nil {
		return fmt.Errorf("ERR Cannot connect to %s: %w", addr, err)
	}
	replies, err := s.Do(ctx, []string{"CLIENT", "SETNAME", p.name}, []string{"CLIENT", "ID"})
	if err == nil {
		err = firstError(replies)
	}
	if err != nil {
		s.Close()
		return fmt.Errorf("ERR Cannot show the coordinator to %s: %w", addr, err)
	}
	o.session = s
	p.mu.Lock()
	defer p.mu.Unlock()
	o.id, _ = replies[1].(int64)
	return nil
}

// look reads who is connected.
func (p *presence) look(ctx context.Context, o *post, addr string) error {
	if err := p.open(ctx, o, addr); err != nil {
		return err
	}
	began := time.Now()
	replies, err := o.session.Do(ctx, []string{"CLIENT", "LIST", "TYPE", "NORMAL"})
	if err == nil {
		err = firstError(replies)
	}
	if err != nil {
		p.hangUp(o)
		return fmt.Errorf("ERR Cannot see the clients of %s: %w", addr, err)
	}
	text, _ := replies[0].(string)
	o.size = len(text)
	rivals, others := p.read(text, addr)
	p.mu.Lock()
	defer p.mu.Unlock()
	o.looked, o.rivals, o.others = began, rivals, others
	return nil
}

// beat shows that we are here, and looks unless that is dear and was done a moment ago.
func (p *presence) beat(ctx context.Context, o *post, addr string) error {
	if o.session == nil || o.size < bigList || p.age(o) >= goodFor/2 {
		return p.look(ctx, o, addr)
	}
	if _, err := o.session.Do(ctx, []string{"PING"}); err != nil {
		p.hangUp(o)
		return fmt.Errorf("ERR %s does not answer: %w", addr, err)
	}
	return nil
}

func (p *presence) age(o *post) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(o.looked)
}

// firstError is the first error among replies.
func firstError(replies []any) error {
	for _, r := range replies {
		if e, ok := r.(engine.ServerError); ok {
			return e
		}
	}
	return nil
}

// movers are commands that only those send who move slots.
var movers = map[string]bool{"cluster|setslot": true, "migrate": true, "cluster|migrateslots": true}

// read finds others in the reply of a node to CLIENT LIST.
func (p *presence) read(text, addr string) (rivals []rival, others string) {
	for line := range strings.Lines(text) {
		var id, idle int64
		var name, cmd, from string
		for field := range strings.FieldsSeq(line) {
			key, value, _ := strings.Cut(field, "=")
			switch key {
			case "id":
				id, _ = strconv.ParseInt(value, 10, 64)
			case "idle":
				idle, _ = strconv.ParseInt(value, 10, 64)
			case "name":
				name = value
			case "cmd":
				cmd = value
			case "addr":
				from = value
			}
		}
		if time.Duration(idle)*time.Second >= aliveFor {
			continue
		}
		switch {
		case strings.HasPrefix(name, presencePrefix):
			if !p.mine(name) {
				rivals = append(rivals, rival{name: name, id: id})
			}
		case strings.HasPrefix(name, ourPrefix):
		case movers[cmd] && others == "":
			others = fmt.Sprintf("client %s of node %s sends %s", from, addr, strings.ToUpper(strings.ReplaceAll(cmd, "|", " ")))
		}
	}
	return rivals, others
}

// mine tells that a name is ours: this coordinator's, or one's that had our folder before and so has ended.
func (p *presence) mine(name string) bool {
	cut := strings.LastIndexByte(p.name, ':') + 1
	number, ok := strings.CutPrefix(name, p.name[:cut])
	if !ok {
		return false
	}
	theirs, err := strconv.ParseUint(number, 10, 64)
	ours, _ := strconv.ParseUint(p.name[cut:], 10, 64)
	return err == nil && theirs <= ours
}

// judge finds another coordinator in the last looks, and whether we go before it.
func (p *presence) judge() (name string, won bool, others string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := make([]string, 0, len(p.posts))
	for id := range p.posts {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		o := p.posts[id]
		if others == "" {
			others = o.others
		}
		if name == "" && len(o.rivals) > 0 && o.id != 0 {
			first := slices.MinFunc(o.rivals, func(a, b rival) int { return cmp.Compare(a.id, b.id) })
			name, won = first.name, o.id < first.id
		}
	}
	return name, won, others
}

// run keeps looking until ctx ends or somebody else is at work, which it tells once. It closes done at its end.
func (p *presence) run(ctx context.Context, foreign func(reason string), done chan<- struct{}) {
	defer close(done)
	beat := time.NewTicker(presenceBeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
		if err := p.each(ctx, p.beat); err != nil && ctx.Err() == nil {
			p.log.Debug("presence cannot be shown everywhere", "err", err)
		}
		name, won, others := p.judge()
		switch {
		case others != "":
			foreign(errForeign.Error() + " " + others)
			return
		case name != "" && !won:
			foreign(errForeign.Error() + " " + name + " is at work on this cluster")
			return
		}
	}
}

// fresh tells whether it was seen a moment ago that nobody else is at work on these two nodes. If not, it looks.
func (p *presence) fresh(ctx context.Context, source, target string) error {
	t := p.topology()
	if t == nil {
		return errNoTable
	}
	for _, id := range []string{source, target} {
		at := t.ByID(id)
		if at < 0 || !t.Nodes[at].Primary {
			continue // the step itself will say so
		}
		if p.old(id) {
			if err := p.ask(ctx, &t.Nodes[at], p.look); err != nil {
				return err
			}
		}
	}
	if name, won, others := p.judge(); others != "" {
		return fmt.Errorf("%w %s", errForeign, others)
	} else if name != "" && !won {
		return fmt.Errorf("%w %s is at work on this cluster", errForeign, name)
	}
	return nil
}

func (p *presence) old(node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.posts[node]
	return o == nil || time.Since(o.looked) > goodFor
}

// leave closes all connections.
func (p *presence) leave() {
	p.mu.Lock()
	all := slices.Collect(maps.Values(p.posts))
	clear(p.posts)
	p.mu.Unlock()
	for _, o := range all {
		p.close(o)
	}
}
