package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// rival is another coordinator as one node shows it.
type rival struct {
	name string
	id   int64
}

// ownIDs are the ids of the connections with which this process has shown itself. A name says less: a folder may be copied.
type ownIDs struct {
	mu sync.Mutex
	at map[string][]int64 // guarded by mu: by node id, the newest last
}

// ownMost bounds the ids of a node: of all but the newest the node only has to notice that they are closed.
const ownMost = 16

func newOwnIDs() *ownIDs { return &ownIDs{at: map[string][]int64{}} }

func (o *ownIDs) add(node string, id int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := o.at[node]
	if n := len(list); n > 0 && list[n-1] > id {
		list = nil // the node has begun to count anew
	}
	if len(list) >= ownMost {
		list = slices.Delete(list, 0, 1)
	}
	o.at[node] = append(list, id)
}

func (o *ownIDs) has(node string, id int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Contains(o.at[node], id)
}

// movers are commands that only those send who move slots.
var movers = map[string]bool{"cluster|setslot": true, "migrate": true, "cluster|migrateslots": true}

// read finds others in the reply of a node to CLIENT LIST.
func (p *presence) read(text, node, addr string) (rivals []rival, others string) {
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
			if name != p.name || !p.own.has(node, id) {
				rivals = append(rivals, rival{name: name, id: id})
			}
		case strings.HasPrefix(name, ourPrefix):
		case movers[cmd] && others == "":
			others = fmt.Sprintf("client %s of node %s sends %s", from, addr, strings.ToUpper(strings.ReplaceAll(cmd, "|", " ")))
		}
	}
	return rivals, others
}

// atWork is the error that names a coordinator that goes before us.
func (p *presence) atWork(name string) error {
	if p.name[:strings.LastIndexByte(p.name, ':')] != name[:strings.LastIndexByte(name, ':')] {
		return fmt.Errorf("%w %s is at work on this cluster", errForeign, name)
	}
	return fmt.Errorf("%w %s is at work on this cluster: a proxy with a copy of this one's state_dir, or this one before its restart, which counts for %s",
		errForeign, name, aliveFor)
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

// verdict is why we may not go on, as far as the last looks tell. Who goes before us once does so for good: what it has
// begun since we have not seen.
func (p *presence) verdict() error {
	name, won, others := p.judge()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost == nil && name != "" && !won {
		p.lost = p.atWork(name)
	}
	if others != "" && p.lost == nil {
		return fmt.Errorf("%w %s", errForeign, others)
	}
	return p.lost
}
