package migrate

import (
	"context"
	"errors"
	"strings"
	"time"

	"slotproxy/migrate/engine"
)

// guard is the nodes for whoever changes the cluster: nothing that changes it is sent by a process that was stopped since
// its last look, or when another coordinator goes before us. A step that was under way when the process was stopped does
// not go on as if nothing had been.
type guard struct {
	engine.Nodes           // immutable
	presence     *presence // immutable
}

func (g guard) Do(ctx context.Context, addr string, commands ...[]string) ([]any, error) {
	if err := g.allow(ctx, commands); err != nil {
		return nil, err
	}
	return g.Nodes.Do(ctx, addr, commands...)
}

func (g guard) Session(ctx context.Context, addr string) (engine.Session, error) {
	s, err := g.Nodes.Session(ctx, addr)
	if err != nil {
		return nil, err
	}
	return guardedSession{s, g}, nil
}

type guardedSession struct {
	engine.Session
	guard guard
}

func (s guardedSession) Do(ctx context.Context, commands ...[]string) ([]any, error) {
	if err := s.guard.allow(ctx, commands); err != nil {
		return nil, err
	}
	return s.Session.Do(ctx, commands...)
}

func (g guard) allow(ctx context.Context, commands [][]string) error {
	for _, c := range commands {
		if risky(c) {
			return g.presence.awake(ctx)
		}
	}
	return nil
}

// harmless are the subcommands of CLUSTER that change nothing. New ones are not among them until somebody has thought of it.
var harmless = map[string]bool{
	"NODES": true, "INFO": true, "MYID": true, "MYSHARDID": true, "SLOTS": true, "SHARDS": true, "LINKS": true, "KEYSLOT": true,
	"COUNTKEYSINSLOT": true, "GETKEYSINSLOT": true, "SLOT-STATS": true, "GETSLOTMIGRATIONS": true, "REPLICAS": true,
	"COUNT-FAILURE-REPORTS": true,
}

// risky tells which commands change whose slots or keys are where.
func risky(c []string) bool {
	switch strings.ToUpper(c[0]) {
	case "MIGRATE", "RESTORE", "UNLINK", "DEL":
		return true
	case "CLUSTER":
		return len(c) < 2 || !harmless[strings.ToUpper(c[1])]
	}
	return false
}

// awake makes sure that somebody else has not begun while this process was stopped: others take whoever is silent for gone.
func (p *presence) awake(ctx context.Context) error {
	if p.slept() {
		err := p.each(ctx, p.look)
		if p.slept() {
			return errors.Join(errors.New("ERR nobody can be asked who else is at work"), err)
		}
		if err := p.verdict(); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// slept tells whether no node was looked at for longer than a look counts.
func (p *presence) slept() bool { return ago(p.newest()) > goodFor }

// newest is when the last good look at any node was.
func (p *presence) newest() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.looked
}
