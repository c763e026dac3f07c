package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"slotproxy/internal/config"
)

// settingFlags are the flags of a command that takes settings: one for each row of the setting table, and --config.
type settingFlags struct {
	given map[string][]string // by setting key, as config.Sources wants it
	file  string
}

// fileVariable names the configuration file when --config does not.
const fileVariable = "SLOTPROXY_CONFIG"

// addSettings gives cmd a flag for each setting but those in without.
func addSettings(cmd *cobra.Command, without ...string) *settingFlags {
	f := &settingFlags{given: make(map[string][]string)}
	flags := cmd.Flags()
	flags.SortFlags = false // the table's order says more than the alphabet
	flags.StringVarP(&f.file, "config", "c", "", "Configuration file, also by "+fileVariable+".")
	for _, s := range config.Settings() {
		if !contains(without, s.Key) {
			f.add(flags, s)
		}
	}
	return f
}

// add makes the flag of one setting.
func (f *settingFlags) add(flags *pflag.FlagSet, s config.Setting) {
	help := s.Help
	if s.Default != "" {
		help += " Default " + s.Default + "."
	}
	flag := flags.VarPF(&rawFlag{f.given, s.Key, kindOf(s)}, s.Flag, "", help)
	if s.Bool {
		flag.NoOptDefVal = "true"
	}
}

func contains(list []string, word string) bool {
	for _, w := range list {
		if w == word {
			return true
		}
	}
	return false
}

// kindOf is the word for a value in --help.
func kindOf(s config.Setting) string {
	if s.Bool {
		return "bool"
	}
	if strings.Contains(s.Type, ", ") { // the words of an enum
		return strings.ReplaceAll(s.Type, ", ", "|")
	}
	return strings.Fields(strings.TrimPrefix(s.Type, "list of "))[0]
}

// sources are the sources of configuration of this process. extra has more flags, as if they were given first.
func (f *settingFlags) sources(extra map[string]string) config.Sources {
	file := f.file
	if file == "" {
		file = os.Getenv(fileVariable)
	}
	flags := make(map[string][]string, len(f.given))
	for key, value := range extra {
		flags[key] = []string{value}
	}
	for key, values := range f.given {
		flags[key] = values
	}
	return config.Sources{File: file, Env: os.Environ(), Flags: flags}
}

// rawFlag collects a flag's values as they are given. The setting table judges them, with those of the other sources.
type rawFlag struct {
	given map[string][]string
	key   string
	kind  string
}

func (r *rawFlag) String() string { return "" }
func (r *rawFlag) Type() string   { return r.kind }

func (r *rawFlag) Set(text string) error {
	r.given[r.key] = append(r.given[r.key], text)
	return nil
}
