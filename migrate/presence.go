package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
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
	own      *ownIDs              // immutable; of the whole process, since a connection may outlive its presence on a node
	log      *slog.Logger         // immutable

	mu     sync.Mutex
	posts  map[string]*post // guarded by mu: by node id
	looked time.Time        // guarded by mu: last good look at any node
	lost   error            // guarded by mu: another coordinator goes before us, for good
}

// post is the connection to one primary.
type post struct {
	node string        // its id; immutable
	turn chan struct{} // one token: whoever has it owns addr, session and size

	addr    string
	session engine.Session // nil: none
	size    int            // of the last CLIENT LIST

	// Guarded by presence.mu.
	id     int64     // of our connection
	shown  time.Time // since when, at the earliest, nobody has heard of us there
	looked time.Time // last good look
	rivals []rival   // as of that look
	others string    // who else moves slots, "" for nobody
}

// presenceName names a coordinator. Two processes that have copies of one folder may have the same.
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
	return &presence{nodes: c.cfg.Nodes, topology: c.cfg.Topology, name: c.name, own: c.own, log: c.log, posts: map[string]*post{}}
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
			return p.atWork(name)
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
		o = &post{node: n.ID, turn: make(chan struct{}, 1)}
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
	o.id, o.rivals, o.others, o.looked, o.shown = 0, nil, "", time.Time{}, time.Time{}
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
	began := time.Now()
	s, err := p.nodes.Session(ctx, addr)
	if err != nil {
		return fmt.Errorf("ERR Cannot connect to %s: %w", addr, err)
	}
	// The id is ours before the node shows the name: when the reply to SETNAME is lost, the node may show it for a while,
	// and it must not be taken for a rival.
	var id int64
	reply, err := askOne(ctx, s, "CLIENT", "ID")
	if err == nil {
		id, _ = reply.(int64)
		p.own.add(o.node, id)
		_, err = askOne(ctx, s, "CLIENT", "SETNAME", p.name)
	}
	if err != nil {
		s.Close()
		return fmt.Errorf("ERR Cannot show the coordinator to %s: %w", addr, err)
	}
	o.session = s
	p.mu.Lock()
	defer p.mu.Unlock()
	o.id, o.shown = id, began
	return nil
}

// askOne sends one command. An error of the server is an error.
func askOne(ctx context.Context, s engine.Session, command ...string) (any, error) {
	replies, err := s.Do(ctx, command)
	if err == nil {
		err = firstError(replies)
	}
	if err != nil {
		return nil, err
	}
	return replies[0], nil
}

// yield gives up our place in the line at a node that has not heard of us for so long that others may have begun without
// us. A word on the old connection would bring the place back.
func (p *presence) yield(o *post) {
	p.mu.Lock()
	faded := o.session != nil && ago(o.shown) > goodFor
	p.mu.Unlock()
	if faded {
		p.hangUp(o)
	}
}

// ago is how long ago t was by whichever clock says more: the monotonic one may stand still with a machine that is
// suspended, and the other one may be set back.
func ago(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

// look reads who is connected.
func (p *presence) look(ctx context.Context, o *post, addr string) error {
	p.yield(o)
	if err := p.open(ctx, o, addr); err != nil {
		return err
	}
	began := time.Now()
	reply, err := askOne(ctx, o.session, "CLIENT", "LIST", "TYPE", "NORMAL")
	if err != nil {
		p.hangUp(o)
		return fmt.Errorf("ERR Cannot see the clients of %s: %w", addr, err)
	}
	text, _ := reply.(string)
	o.size = len(text)
	rivals, others := p.read(text, o.node, addr)
	p.mu.Lock()
	defer p.mu.Unlock()
	o.looked, o.shown, o.rivals, o.others = began, began, rivals, others
	if began.After(p.looked) {
		p.looked = began
	}
	return nil
}

// beat shows that we are here, and looks unless that is dear and was done a moment ago.
func (p *presence) beat(ctx context.Context, o *post, addr string) error {
	if o.session == nil || o.size < bigList || p.age(o) >= goodFor/2 {
		return p.look(ctx, o, addr) // a look of less than goodFor ago has been heard
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
	return ago(o.looked)
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
		if err := p.verdict(); err != nil {
			foreign(err.Error())
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
			if p.old(id) { // stopped within the look
				return fmt.Errorf("ERR the look at %s took too long", t.Nodes[at].Addr)
			}
		}
	}
	return p.verdict()
}

func (p *presence) old(node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.posts[node]
	return o == nil || ago(o.looked) > goodFor
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
