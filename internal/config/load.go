package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// Sources are where a configuration comes from.
type Sources struct {
	File  string              // path, empty for none
	Env   []string            // NAME=value, as os.Environ gives them
	Flags map[string][]string // by setting key: the values as given on the command line, in their order
}

// Load reads, merges and checks a configuration. The error joins every mistake that was found, each a *Problem with its
// place.
func Load(src Sources) (*Config, error) {
	entries, err := src.entries()
	if err != nil {
		return nil, err
	}
	c, err := assemble(entries)
	if err != nil {
		return nil, err
	}
	c.Warnings = mistyped(src.Env)
	if err := errors.Join(c.readSecrets(), c.check()); err != nil {
		return nil, err
	}
	c.Warnings = append(c.Warnings, c.doubts()...)
	c.resolve(src.variables())
	return c, nil
}

// Default is the configuration without any source. It is complete but for the cluster's address.
func Default() *Config {
	c, err := assemble(nil)
	if err != nil {
		panic("config: a default is wrong: " + err.Error()) // the tests run this
	}
	c.resolve(nil)
	return c
}

// entries lists what the sources say, weakest first.
func (src Sources) entries() ([]entry, error) {
	var all []entry
	if src.File != "" {
		text, err := readBounded(src.File, maxFile)
		if err != nil {
			return nil, &Problem{src.File, err.Error()}
		}
		if all, err = parseYAML(src.File, text); err != nil {
			return nil, err
		}
	}
	env := src.variables()
	for s := range settings() {
		if text, ok := env[s.env()]; ok {
			all = append(all, entry{s.key, s.split([]string{text}), s.env()})
		}
	}
	for s := range settings() {
		if texts, ok := src.Flags[s.key]; ok {
			all = append(all, entry{s.key, s.split(texts), "--" + s.flag()})
		}
	}
	return all, nil
}

func (src Sources) variables() map[string]string {
	env := make(map[string]string)
	for _, pair := range src.Env {
		if name, val, ok := strings.Cut(pair, "="); ok {
			env[name] = val
		}
	}
	return env
}

// split turns texts of flags or variables into the items of the setting. Of a scalar that is given twice the last counts.
func (s *setting) split(texts []string) []string {
	if s.at(new(Config)).shape() == scalar {
		return texts[len(texts)-1:]
	}
	return splitItems(strings.Join(texts, ","))
}

// assemble applies entries to the defaults, in their order.
func assemble(entries []entry) (*Config, error) {
	c := &Config{origins: make(map[string]string)}
	for s := range settings() {
		if err := s.at(c).set(s.split([]string{s.def})); err != nil {
			return nil, fmt.Errorf("default of %s: %w", s.key, err)
		}
	}
	var errs []error
	for _, e := range entries {
		if err := find(e.key).at(c).set(e.items); err != nil {
			errs = append(errs, &Problem{e.where, e.key + ": " + err.Error()})
			continue
		}
		c.origins[e.key] = e.where
	}
	return c, errors.Join(errs...)
}

// readSecrets replaces *_file settings by what the files hold.
func (c *Config) readSecrets() error {
	return errors.Join(
		c.readSecret("cluster_password", c.Cluster.passwordFile, &c.Cluster.Password),
		c.readSecret("admin_password", c.Admin.passwordFile, &c.Admin.Password),
		c.readSecret("admin_operator_password", c.Admin.operatorFile, &c.Admin.OperatorPassword),
		c.readSecret("admin_viewer_password", c.Admin.viewerFile, &c.Admin.ViewerPassword),
	)
}

// maxSecret bounds a password file; it is there to refuse a wrong file, not a long password.
const maxSecret = 4096

func (c *Config) readSecret(key, file string, secret *Secret) error {
	if file == "" {
		return nil
	}
	fileKey := key + "_file"
	if *secret != "" {
		return c.problem(fileKey, "%s is set as well, by %s", key, c.origins[key])
	}
	text, err := readBounded(file, maxSecret)
	if err != nil {
		return c.problem(fileKey, "%v", err)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if password == "" || strings.ContainsAny(password, "\n\r\x00") {
		return c.problem(fileKey, "%s does not hold one line with a password", file)
	}
	*secret = Secret(password)
	return nil
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		return nil, fmt.Errorf("%s is larger than %s", path, sizeText(most))
	}
	return text, err
}

// Reloaded is the configuration after a reload: old with the live settings of next. Whatever needs a restart keeps its
// value, so that what is shown is what is in effect.
func Reloaded(old, next *Config) *Config {
	c := *old
	c.Warnings, c.origins = next.Warnings, maps.Clone(old.origins)
	for s := range settings() {
		if !s.live {
			continue
		}
		copyValue(s.at(&c), s.at(next))
		delete(c.origins, s.key)
		if origin := next.origins[s.key]; origin != "" {
			c.origins[s.key] = origin
		}
	}
	return &c
}

// copyValue sets to what from is. Both passed the checks of set before.
func copyValue(to, from value) {
	if s, ok := from.(secretValue); ok {
		*to.(secretValue).p = *s.p
		return
	}
	items := from.items()
	if from.shape() == scalar {
		items = []string{from.text()}
	}
	if err := to.set(items); err != nil {
		panic("config: a value that was set cannot be set again: " + err.Error()) // the tests try every row
	}
}

// mistyped warns of variables that are nearly one of ours. Others are not looked at: Kubernetes sets SLOTPROXY_PORT and
// more for a service of that name.
func mistyped(env []string) []string {
	var names, warnings []string
	for s := range settings() {
		names = append(names, s.env())
	}
	const slip = 2
	for _, pair := range env {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(names, name) {
			continue
		}
		for _, known := range names {
			if editDistance(name, known) <= slip {
				warnings = append(warnings, fmt.Sprintf("variable %s is not known (did you mean %s?)", name, known))
				break
			}
		}
	}
	return warnings
}
