package proxy

import (
	"container/list"
	"crypto/sha1"
	"encoding/hex"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"slotproxy/resp"
)

// One server remembers a script that any client has run or loaded; a node of a cluster knows only those that came to it.
// So the proxy remembers them, and loads a script where it is wanted (see load), before the command that names it: a
// NOSCRIPT could come too late, inside the reply of EXEC or behind later commands of the client.

const (
	// maxScripts and maxScriptBytes bound what is remembered: an application has tens or hundreds of scripts of some
	// kilobytes; one that makes a new script for each call fills it with what nobody will ask for again.
	maxScripts     = 10000
	maxScriptBytes = 64 << 20
	// maxScript is the longest script that is remembered: one of them cannot push out all others.
	maxScript = 1 << 20
	// maxLoaded bounds what is remembered of one connection. Behind it everything is loaded once more.
	maxLoaded = 1024
	// maxBodies bounds a loop's list of scripts that are remembered already. Behind it all are looked up once more.
	maxBodies = 4096
)

// shaSize is the length of a script's name: a SHA-1 in hex digits.
const shaSize = 2 * sha1.Size

// code is a script that the proxy can load on a node. Immutable, but for at, which its registry owns, and gone.
type code struct {
	id     uint64 // another one when it has been forgotten and learned again
	sha    string
	load   []byte      // SCRIPT LOAD with its text
	exists []byte      // SCRIPT EXISTS with its name
	alone  []*code     // itself: what an EVALSHA uses
	kept   bool        // came by SCRIPT LOAD, which a server never forgets by itself
	gone   atomic.Bool // forgotten because the servers have; what only had no room any more can still be loaded
	at     *list.Element
}

// scripts is the registry, shared by the loops.
type scripts struct {
	changes atomic.Uint64 // counts what was forgotten

	mu     sync.Mutex
	bySHA  map[string]*code
	kept   list.List // by SCRIPT LOAD, used last in front
	run    list.List // by EVAL, used last in front; forgotten first
	size   int
	lastID uint64
}

// add remembers a script.
func (x *scripts) add(body []byte, kept bool) {
	if len(body) > maxScript {
		return
	}
	sum := sha1.Sum(body)
	sha := hex.EncodeToString(sum[:])
	x.mu.Lock()
	defer x.mu.Unlock()
	if c := x.bySHA[sha]; c != nil {
		if !kept || c.kept {
			return
		}
		x.removeLocked(c)
	}
	x.lastID++
	c := &code{
		id: x.lastID, sha: sha, kept: kept,
		load:   resp.AppendCommand(nil, []byte("SCRIPT"), []byte("LOAD"), body),
		exists: resp.AppendCommandStrings(nil, "SCRIPT", "EXISTS", sha),
	}
	c.alone = []*code{c}
	if x.bySHA == nil {
		x.bySHA = map[string]*code{}
	}
	x.bySHA[sha] = c
	x.size += len(c.load)
	c.at = x.listLocked(c).PushFront(c)
	for len(x.bySHA) > maxScripts || x.size > maxScriptBytes {
		last := x.run.Back()
		if last == nil {
			last = x.kept.Back()
		}
		x.removeLocked(last.Value.(*code))
		x.changes.Add(1)
	}
}

func (x *scripts) listLocked(c *code) *list.List {
	if c.kept {
		return &x.kept
	}
	return &x.run
}

func (x *scripts) removeLocked(c *code) {
	delete(x.bySHA, c.sha)
	x.size -= len(c.load)
	x.listLocked(c).Remove(c.at)
}

// find returns the script of this name, nil when it is not known. As in a server, the case of the digits does not count.
func (x *scripts) find(name []byte) *code {
	if len(name) != shaSize {
		return nil
	}
	var sha [shaSize]byte
	for i, b := range name {
		if 'A' <= b && b <= 'Z' {
			b |= 0x20
		}
		sha[i] = b
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.bySHA[string(sha[:])]
	if c != nil {
		x.listLocked(c).MoveToFront(c.at)
	}
	return c
}

// remove drops one script.
func (x *scripts) remove(body []byte) {
	sum := sha1.Sum(body)
	x.mu.Lock()
	defer x.mu.Unlock()
	if c := x.bySHA[hex.EncodeToString(sum[:])]; c != nil {
		x.removeLocked(c)
		c.gone.Store(true)
		x.changes.Add(1)
	}
}

// forget drops all of them.
func (x *scripts) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range x.bySHA {
		c.gone.Store(true)
	}
	x.bySHA, x.size = nil, 0
	x.kept.Init()
	x.run.Init()
	x.changes.Add(1)
}

// bodies is a loop's list of scripts that are remembered already, by a hash that is cheaper than the registry's.
type bodies struct {
	known   map[uint64]struct{}
	changes uint64 // of the registry when it was begun
}

var bodySeed = maphash.MakeSeed()

// handyCodes are the scripts that a loop has lately been asked for by name, so that it need not lock the registry for each
// command. The names are digests: their digits are as good as a hash.
type handyCodes struct {
	at      [64]handyCode
	changes uint64 // of the registry when the first was put here
}

type handyCode struct {
	code  *code
	until int64 // loop time from which the registry has to hear again that somebody uses it
}

// tellAgain is how long the registry need not hear that a script is used: nothing compared with the time in which
// maxScripts others are.
const tellAgain = int64(1e9)

// find returns the script of this name, nil when it is not known.
func (l *loop) find(name []byte) *code {
	if len(name) != shaSize {
		return nil
	}
	h := &l.handy
	if n := l.p.scripts.changes.Load(); n != h.changes {
		*h = handyCodes{changes: n}
	}
	place := &h.at[(uint(name[0])*16+uint(name[1]))%uint(len(h.at))]
	if l.now < place.until && string(name) == place.code.sha {
		return place.code
	}
	x := l.p.scripts.find(name)
	if x != nil {
		*place = handyCode{code: x, until: l.now + tellAgain}
	}
	return x
}

// learn remembers the script of an EVAL. Only the first of a script costs a SHA-1.
func (l *loop) learn(body []byte) {
	if len(body) > maxScript {
		return
	}
	b := &l.bodies
	if n := l.p.scripts.changes.Load(); b.known == nil || n != b.changes || len(b.known) >= maxBodies {
		b.known, b.changes = map[uint64]struct{}{}, n
	}
	h := maphash.Bytes(bodySeed, body)
	if _, known := b.known[h]; known {
		return
	}
	b.known[h] = struct{}{}
	l.p.scripts.add(body, false)
}

// load makes sure that the node has a script before the next command on this connection. What it answers does not matter
// here: if the script is still missing, the command that names it will say so.
func (c *nodeConn) load(x *code) {
	if c.loadedLast == x.id {
		return
	}
	if _, done := c.loaded[x.id]; done {
		c.loadedLast = x.id
		return
	}
	if c.loaded == nil || len(c.loaded) >= maxLoaded {
		c.loaded = map[uint64]struct{}{}
	}
	c.loaded[x.id] = struct{}{}
	c.l.ask(c, x.load, func(_ *loop, _ *request, reply []byte) {
		if len(reply) == 0 || reply[0] == '-' {
			c.unload(x)
		}
	})
}

// unload notes that the node does not have the script.
func (c *nodeConn) unload(x *code) {
	delete(c.loaded, x.id)
	c.loadedLast = 0
}
