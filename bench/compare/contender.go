//go:build linux

package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// kind is what stands behind a contender.
type kind string

const (
	kindDirect  kind = "direct"  // it is the cluster itself
	kindCluster kind = "cluster" // a cluster
	kindServers kind = "servers" // several servers that are no cluster, among which it divides the keys
	kindOne     kind = "one"     // one server
	kindMember  kind = "member"  // one node of a cluster
	kindNothing kind = "nothing" // it answers itself
)

// contender is one way to be answered.
type contender struct {
	name    string
	kind    kind
	tls     bool                                                                      // clients may use TLS
	files   int                                                                       // descriptors for each client
	not     []string                                                                  // commands and cases that it cannot do
	program string                                                                    // "" for none
	about   []string                                                                  // command that tells its version, may be nil
	start   func(w *world, ctx context.Context, on kind, at loadCase) (*proxy, error) // a method expression
}

// contenders are all that there may be.
func contenders(s *settings) []*contender {
	slot := func(name, bin string, loops int) *contender {
		return &contender{name: name, kind: kindCluster, tls: true, files: 1, program: bin, about: []string{bin, "--version"},
			start: func(w *world, ctx context.Context, on kind, _ loadCase) (*proxy, error) {
				return w.slotproxy(ctx, on, name, bin, loops)
			}}
	}
	list := []*contender{
		{name: direct, kind: kindDirect, start: (*world).noProxy},
		slot(judged, s.bin, 1), slot(twoLoops, s.bin, 2),
		{name: twem, kind: kindServers, files: 1, not: []string{"MULTI", "PUBLISH"}, program: "nutcracker", about: []string{"nutcracker", "-V"},
			start: (*world).twemproxy},
		{name: haproxy, kind: kindOne, tls: true, files: 2, program: "haproxy", about: []string{"haproxy", "-v"}, start: (*world).haproxy},
		{name: forward, kind: kindOne, files: 2, program: s.floor, start: (*world).forward},
		{name: echo, kind: kindNothing, files: 1, not: []string{"MGET", "MSET", "MULTI", "EVALSHA", "PUBLISH", mixed}, program: s.floor,
			start: (*world).echo},
	}
	if s.against != "" {
		list = append(list, slot(against, s.against, 1))
	}
	for _, a := range s.adapters {
		list = append(list, a.contender())
	}
	return list
}

// behind is what stands behind a contender in a case. What is published goes to all nodes of a cluster, which costs them six times as much
// as a server that is alone; one that is to be compared with a cluster has one of its nodes there.
func (c *contender) behind(at loadCase) kind {
	if c.kind == kindOne && at.op == "PUBLISH" {
		return kindMember
	}
	return c.kind
}

// fits tells whether a case means something for a contender: what a case varies must be there to vary.
func (c *contender) fits(at loadCase) bool {
	switch {
	case at.tls && !c.tls, at.nodes != defaultNodes && (c.kind == kindOne || c.kind == kindNothing),
		at.keys != defaultKeys && c.kind != kindDirect && c.kind != kindCluster:
		return false
	}
	return !slices.ContainsFunc(c.not, func(n string) bool { return n == at.op || n == at.String() })
}

// spareFiles are descriptors of a process that are no clients: nodes, logs, listeners.
const spareFiles = 200

// bindAbove is the number of connections above which clients of a cluster are bound to one node each: a user with thousands of clients
// has them on several machines, and one process has no descriptors for them all.
const bindAbove = 5000

func bound(at loadCase) bool { return at.clients*at.nodes > bindAbove }

// lacks is what this machine does not have for a case.
func (c *contender) lacks(at loadCase, files int) string {
	own := at.clients
	if c.kind == kindDirect && !bound(at) {
		own *= at.nodes
	}
	own += at.many
	if need := max(own, at.clients*c.files+at.many*c.files) + spareFiles; need > files {
		return fmt.Sprintf("%s with %d clients needs %d file descriptors, a process may have %d (ulimit -Hn)", c.name, at.clients, need, files)
	}
	if c.program == "" {
		return ""
	}
	if _, err := exec.LookPath(c.program); err != nil {
		return fmt.Sprintf("%s is left out: %v", c.name, err)
	}
	return ""
}

// version is the first line of what the program tells.
func (c *contender) version(ctx context.Context) string {
	if len(c.about) == 0 {
		return ""
	}
	text, err := exec.CommandContext(ctx, c.about[0], c.about[1:]...).CombinedOutput()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	line, _, _ = strings.Cut(line, " - ") // haproxy's link
	return strings.TrimPrefix(line, "This is ")
}
