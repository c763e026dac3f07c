//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// adapter describes a proxy that this suite does not know. In start and files stand {port} (where it listens, on 127.0.0.1), {dir} (a
// folder of its own, where files are put), {node} (the first server) and {nodes} (all, with commas between them). A line of a file with
// {each} is repeated for each server.
type adapter struct {
	Name    string            `yaml:"name"`
	Kind    kind              `yaml:"kind"` // cluster, servers or one
	Start   []string          `yaml:"start"`
	Version []string          `yaml:"version"` // command that tells it
	Files   map[string]string `yaml:"files"`   // by name
	Not     []string          `yaml:"not"`     // commands (MULTI) and cases (GET:100) that it cannot do
	PerConn int               `yaml:"descriptors"`
}

// maxAdapter bounds a file: one of a proxy with its whole configuration has a few KiB.
const maxAdapter = 1 << 20

func readAdapter(file string) (*adapter, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxAdapter {
		return nil, fmt.Errorf("%s: more than %d bytes", file, maxAdapter)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	a, err := parseAdapter(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return a, nil
}

func parseAdapter(text []byte) (*adapter, error) {
	a := &adapter{PerConn: 1}
	if err := yaml.UnmarshalWithOptions(text, a, yaml.Strict()); err != nil {
		return nil, err
	}
	switch {
	case a.Name == "" || strings.ContainsAny(a.Name, ",|\r\n"):
		return nil, fmt.Errorf("name: one without commas, not %q", a.Name)
	case !slices.Contains([]kind{kindCluster, kindServers, kindOne}, a.Kind):
		return nil, fmt.Errorf("kind: what is behind the proxy, cluster, servers or one, not %q", a.Kind)
	case len(a.Start) == 0:
		return nil, errors.New("start: the program and its arguments are missing")
	case a.PerConn < 1 || a.PerConn > 10:
		return nil, fmt.Errorf("descriptors: 1 to 10 for each client, not %d", a.PerConn)
	}
	placed := strings.Join(a.Start, " ")
	for name, body := range a.Files {
		if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
			return nil, fmt.Errorf("files: %q is no file name", name)
		}
		placed += body
	}
	if !strings.Contains(placed, "{port}") {
		return nil, errors.New("neither start nor files say {port}, where it is to listen")
	}
	for _, n := range a.Not {
		if _, known := ops[n]; known {
			continue
		}
		if _, err := parseCase(n); err != nil {
			return nil, fmt.Errorf("not: %q is neither a command nor a case: %w", n, err)
		}
	}
	return a, nil
}

func (a *adapter) contender() *contender {
	c := &contender{name: a.Name, kind: a.Kind, files: a.PerConn, program: a.Start[0], about: a.Version}
	for _, n := range a.Not {
		if at, err := parseCase(n); err == nil {
			n = at.String()
		}
		c.not = append(c.not, n)
	}
	c.start = func(w *world, ctx context.Context, on kind, _ loadCase) (*proxy, error) { return a.launch(ctx, w, on) }
	return c
}

func (a *adapter) launch(ctx context.Context, w *world, on kind) (*proxy, error) {
	nodes, err := w.backends(ctx, on)
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	dir, err := w.folder(a.Name)
	if err != nil {
		return nil, err
	}
	fill := a.filler(addr, dir, nodes)
	for name, body := range a.Files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fill(body)), 0o600); err != nil {
			return nil, err
		}
	}
	args := make([]string, len(a.Start))
	for i, word := range a.Start {
		args[i] = fill(word)
	}
	return w.launch(ctx, a.Name, addr, args...)
}

// filler puts values where their names stand.
func (a *adapter) filler(addr, dir string, nodes []string) func(string) string {
	_, port, _ := net.SplitHostPort(addr) // our own listener gave it
	names := strings.NewReplacer("{port}", port, "{dir}", dir, "{node}", nodes[0], "{nodes}", strings.Join(nodes, ","))
	return func(text string) string {
		var out strings.Builder
		for line := range strings.Lines(text) {
			if !strings.Contains(line, "{each}") {
				out.WriteString(names.Replace(line))
				continue
			}
			for _, n := range nodes {
				out.WriteString(names.Replace(strings.ReplaceAll(line, "{each}", n)))
			}
		}
		return out.String()
	}
}
