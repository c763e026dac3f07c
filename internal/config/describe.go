package config

import (
	"fmt"
	"io"
	"iter"
	"path"
	"strconv"
	"strings"
)

// settings goes through the table.
func settings() iter.Seq[*setting] {
	return func(yield func(*setting) bool) {
		for _, g := range table {
			for i := range g.settings {
				if !yield(&g.settings[i]) {
					return
				}
			}
		}
	}
}

func find(key string) *setting {
	for s := range settings() {
		if s.key == key {
			return s
		}
	}
	return nil
}

func keys() []string {
	var all []string
	for s := range settings() {
		all = append(all, s.key)
	}
	return all
}

// Setting is what others need to know of a row: to make a flag, or to explain it.
type Setting struct {
	Key, Flag, Env   string
	Default          string
	Type, Help       string
	Bool, List, Live bool
}

// Settings is the table, in its order.
func Settings() []Setting {
	var all []Setting
	for s := range settings() {
		v := s.at(new(Config))
		_, isBool := v.(boolValue)
		all = append(all, Setting{
			Key: s.key, Flag: s.flag(), Env: s.env(), Default: s.def, Type: v.what(), Help: s.help,
			Bool: isBool, List: v.shape() != scalar, Live: s.live,
		})
	}
	return all
}

// Pair is a setting and its value in effect, as text; secrets are masked.
type Pair struct{ Key, Value string }

// Get lists the settings whose keys match a pattern with * ? and [ ]. A pattern that cannot be read matches nothing.
func (c *Config) Get(pattern string) []Pair {
	var pairs []Pair
	for s := range settings() {
		if ok, err := path.Match(pattern, s.key); ok && err == nil {
			pairs = append(pairs, Pair{s.key, s.at(c).text()})
		}
	}
	return pairs
}

// Origin says where the value of a setting comes from: "file:line:col", a flag, a variable, or "default".
func (c *Config) Origin(key string) string {
	if o := c.origins[key]; o != "" {
		return o
	}
	return "default"
}

// Changes lists the settings that differ between two configurations: those that SIGHUP takes over, and those that
// need a restart.
func Changes(old, next *Config) (live, restart []string) {
	for s := range settings() {
		if same(s.at(old), s.at(next)) {
			continue
		}
		if s.live {
			live = append(live, s.key)
		} else {
			restart = append(restart, s.key)
		}
	}
	return live, restart
}

func same(a, b value) bool {
	if x, ok := a.(secretValue); ok {
		return *x.p == *b.(secretValue).p
	}
	return a.text() == b.text()
}

// WriteEffective writes the configuration as YAML, each line with where it comes from. Secrets are masked, so it is for
// reading and not for loading.
func (c *Config) WriteEffective(w io.Writer) error {
	for s := range settings() {
		if _, err := fmt.Fprintf(w, "%s: %s # %s\n", s.key, yamlText(s.at(c)), c.Origin(s.key)); err != nil {
			return err
		}
	}
	return nil
}

// sampleCluster stands for the one setting without a default, so that the sample file can be loaded.
const sampleCluster = "127.0.0.1:7000"

// WriteSample writes configs/slotproxy.yaml: every setting, its default, its reason. What is empty by default is
// commented out.
func WriteSample(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Every setting of slotproxy with its default and the reason for it. Generated from the table in\n" +
		"# internal/config/settings.go by \"go test ./internal/config -update\"; copy it and keep the lines that you change.\n#\n" +
		"# Each setting is also a flag (--max-clients) and a variable (SLOTPROXY_MAX_CLIENTS); flags win over variables,\n" +
		"# variables over this file. Durations need a unit (ms, s, m, h), sizes too (B, KiB, MiB, GiB). Settings marked\n" +
		"# [reload] are taken over on SIGHUP, the others need a restart.\n#\n" +
		"# Check a file with: slotproxy config check FILE\n")
	c := Default()
	c.Cluster.Seeds = []string{sampleCluster}
	for _, g := range table {
		fmt.Fprintf(&b, "\n# ---- %s ----\n", g.title)
		for i := range g.settings {
			sample(&b, c, &g.settings[i])
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func sample(b *strings.Builder, c *Config, s *setting) {
	v := s.at(c)
	// Automatic values differ from machine to machine; the sample shows what stands for them.
	if v.shape() == scalar {
		_ = v.set([]string{s.def}) // it was set before, by Default
	}
	b.WriteString("\n")
	mark := ""
	if s.live {
		mark = " [reload]"
	}
	comment(b, s.help+mark)
	comment(b, s.why)
	comment(b, "Type: "+v.what()+".")
	if empty(v) {
		b.WriteString("#")
	}
	fmt.Fprintf(b, "%s: %s\n", s.key, yamlText(v))
}

// comment writes text as comment lines of at most about 118 columns.
func comment(b *strings.Builder, text string) {
	const width = 116
	for len(text) > width {
		i := strings.LastIndexByte(text[:width], ' ')
		fmt.Fprintf(b, "# %s\n", text[:i])
		text = text[i+1:]
	}
	if text != "" {
		fmt.Fprintf(b, "# %s\n", text)
	}
}

func empty(v value) bool { return v.text() == "" }

// yamlText writes a value as YAML.
func yamlText(v value) string {
	switch v.shape() {
	case list:
		var items []string
		for _, item := range v.items() {
			items = append(items, strconv.Quote(item))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case mapping:
		var items []string
		for _, item := range v.items() {
			from, to, _ := strings.Cut(item, "=")
			items = append(items, strconv.Quote(from)+": "+strconv.Quote(to))
		}
		return "{" + strings.Join(items, ", ") + "}"
	}
	switch v.(type) {
	case stringValue, secretValue:
		return strconv.Quote(v.text())
	}
	return v.text()
}

// WriteDoc writes docs/configuration.md.
func WriteDoc(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Configuration\n\n" +
		"Generated from the table in `internal/config/settings.go` by `go test ./internal/config -update`; do not edit.\n\n" +
		"`slotproxy serve --cluster 127.0.0.1:7000` needs no file. Each setting is a YAML key (`max_clients: 5000`), a flag\n" +
		"(`--max-clients 5000`) and a variable (`SLOTPROXY_MAX_CLIENTS=5000`). A flag wins over a variable, a variable over the\n" +
		"file (`--config FILE` or `SLOTPROXY_CONFIG`), the file over the default. Lists are YAML lists, or separated by commas.\n\n" +
		"`slotproxy config check FILE` finds mistakes, each with its place; `slotproxy config print --effective` shows every value\n" +
		"and where it comes from; `configs/slotproxy.yaml` is a full file. SIGHUP reads file and certificates again and takes over\n" +
		"the settings marked *reload*; if anything is wrong the old configuration stays, and the log says why.\n")
	for _, g := range table {
		fmt.Fprintf(&b, "\n## %s\n\n| key | type | default | | what and why |\n| --- | --- | --- | --- | --- |\n", g.title)
		for _, s := range g.settings {
			mark, def := "", "-"
			if s.live {
				mark = "reload"
			}
			if s.def != "" {
				def = "`" + s.def + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", s.key, s.at(new(Config)).what(), def, mark,
				strings.TrimSpace(s.help+" "+s.why))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
