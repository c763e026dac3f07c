package proxy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"slotproxy/resp"
)

// clientTest says whether a client is meant.
type clientTest func(c *ClientInfo) bool

// clientFilter is what CLIENT LIST and CLIENT KILL select by. A client must pass all tests; of an option that is given
// twice the last counts, as in the server.
type clientFilter struct {
	tests  map[string]clientTest // by option
	ids    []uint64              // of the option ID, which adds up
	not    []uint64              // of NOT-ID
	users  []string              // of USER and NOT-USER
	skipMe bool
	text   string // what is wrong with the arguments; empty: nothing
}

func (f *clientFilter) matches(c *ClientInfo, me uint64) bool {
	if f.skipMe && c.ID == me || f.ids != nil && !slices.Contains(f.ids, c.ID) || slices.Contains(f.not, c.ID) {
		return false
	}
	for _, passes := range f.tests {
		if !passes(c) {
			return false
		}
	}
	return true
}

func (f *clientFilter) set(option string, test clientTest) { f.tests[option] = test }

// clientOption reads the value of an option and returns its test, or what is wrong with the value. not is "NOT-" for the
// opposite of the option, for the words of errors.
type clientOption func(not, value string, r release) (clientTest, string)

// clientOptions are the options with one value. Those of the first group are older than the others.
var (
	clientOptions = map[string]clientOption{
		"addr":   equals(func(c *ClientInfo) string { return c.Addr }),
		"laddr":  equals(func(c *ClientInfo) string { return c.Local }),
		"user":   equals(func(c *ClientInfo) string { return c.User }),
		"type":   typeOption,
		"maxage": atLeast("maxage", func(c *ClientInfo) time.Duration { return c.Age }),
	}
	clientOptions9 = map[string]clientOption{
		"name":     named(func(c *ClientInfo) string { return c.Name }),
		"lib-name": named(func(c *ClientInfo) string { return c.LibName }),
		"lib-ver":  named(func(c *ClientInfo) string { return c.LibVer }),
		"ip":       equals(clientIP),
		"idle":     atLeast("idle", func(c *ClientInfo) time.Duration { return c.Idle }),
		"flags":    lettersOption("flags", "ABEIMNOPRSTUbcdeirtux", func(c *ClientInfo) string { return c.Flags }),
		"capa":     lettersOption("capa", "r", func(c *ClientInfo) string { return c.Capa }),
		"db":       dbOption,
	}
)

func equals(field func(*ClientInfo) string) clientOption {
	return func(_, value string, _ release) (clientTest, string) {
		return func(c *ClientInfo) bool { return field(c) == value }, ""
	}
}

// named is equals for what a client may lack: no value finds those.
func named(field func(*ClientInfo) string) clientOption {
	return func(_, value string, _ release) (clientTest, string) {
		return func(c *ClientInfo) bool { return value != "" && field(c) == value }, ""
	}
}

func clientIP(c *ClientInfo) string {
	host := c.Addr[:max(strings.LastIndexByte(c.Addr, ':'), 0)]
	return strings.Trim(host, "[]")
}

func atLeast(option string, field func(*ClientInfo) time.Duration) clientOption {
	return func(_, value string, _ release) (clientTest, string) {
		n, ok := resp.ParseInt([]byte(value))
		if !ok {
			return nil, notInteger(option)
		}
		if n <= 0 {
			return nil, notPositive(option)
		}
		return func(c *ClientInfo) bool { return int64(field(c)/time.Second) >= n }, ""
	}
}

func lettersOption(option, known string, field func(*ClientInfo) string) clientOption {
	return func(not, value string, _ release) (clientTest, string) {
		for _, letter := range value {
			if !strings.ContainsRune(known, letter) {
				return nil, unknownLetters(not, option, value)
			}
		}
		return func(c *ClientInfo) bool {
			for _, letter := range value {
				if !strings.ContainsRune(field(c), letter) {
					return false
				}
			}
			return true
		}, ""
	}
}

func dbOption(not, value string, _ release) (clientTest, string) {
	n, err := strconv.Atoi(value)
	switch {
	case err != nil:
		return nil, notInteger(not + "DB")
	case n < 0 || n >= serverDatabases:
		return nil, badFilterDB(not)
	}
	return func(c *ClientInfo) bool { return c.DB == n }, ""
}

// serverDatabases is how many databases a server has that nobody has configured.
const serverDatabases = 16

// typeOption knows the types of a server's clients. Nodes are no clients of the proxy.
func typeOption(_, value string, r release) (clientTest, string) {
	switch kind := strings.ToLower(value); {
	case kind == "normal" || kind == "pubsub":
		return func(c *ClientInfo) bool { return c.Pubsub == (kind == "pubsub") }, ""
	case kind == "master" || kind == "replica" || kind == "slave" || kind == "primary" && r.valkey(8, 0):
		return func(*ClientInfo) bool { return false }, ""
	}
	return nil, unknownClientType([]byte(value))
}

// listFilter reads the arguments of CLIENT LIST behind its name.
func listFilter(args [][]byte, r release) *clientFilter {
	f := &clientFilter{tests: map[string]clientTest{}}
	switch {
	case r.valkey(8, 1):
		f.read(args, r)
	case len(args) == 0:
	case len(args) == 2 && strings.EqualFold(string(args[0]), "type"):
		f.option("type", string(args[1]), r)
	case len(args) >= 2 && strings.EqualFold(string(args[0]), "id"):
		for _, a := range args[1:] {
			n, ok := resp.ParseInt(a)
			if !ok {
				f.text = errTextClientID
				break
			}
			f.ids = append(f.ids, uint64(n))
		}
	default:
		f.text = errTextSyntax
	}
	return f
}

// killFilter reads the arguments of CLIENT KILL in its form with options.
func killFilter(args [][]byte, r release) *clientFilter {
	f := &clientFilter{tests: map[string]clientTest{}, skipMe: true}
	f.read(args, r)
	return f
}

// read takes options until one is wrong.
func (f *clientFilter) read(args [][]byte, r release) {
	for len(args) > 0 && f.text == "" {
		option := strings.ToLower(string(args[0]))
		switch {
		case len(args) < 2:
			f.text = errTextSyntax
			return
		case option == "id":
			args = f.readIDs(&f.ids, args[1:], r)
			continue
		case option == "not-id" && r.valkey(9, 0):
			args = f.readIDs(&f.not, args[1:], r)
			continue
		}
		f.option(option, string(args[1]), r)
		args = args[2:]
	}
}

// readIDs takes the ids at the front of args, older servers just one, and returns the rest.
func (f *clientFilter) readIDs(ids *[]uint64, args [][]byte, r release) [][]byte {
	for i, a := range args {
		n, ok := resp.ParseInt(a)
		switch {
		case !ok && r.valkey(8, 1):
			if i == 0 {
				f.text = errTextSyntax
			}
			return args[i:]
		case !ok || n <= 0:
			f.text = errTextKillID
			return nil
		}
		*ids = append(*ids, uint64(n))
		if !r.valkey(8, 1) {
			return args[1:]
		}
	}
	return nil
}

func (f *clientFilter) option(option, value string, r release) {
	if option == "skipme" {
		switch strings.ToLower(value) {
		case "yes":
			f.skipMe = true
		case "no":
			f.skipMe = false
		default:
			f.text = errTextSyntax
		}
		return
	}
	name, not := option, ""
	if r.valkey(9, 0) && strings.HasPrefix(option, "not-") {
		name, not = option[len("not-"):], "NOT-"
	}
	read := clientOptions[name]
	if read == nil && r.valkey(9, 0) {
		read = clientOptions9[name]
	}
	if read == nil || name == "maxage" && (not != "" || !r.valkey(8, 0)) || name == "idle" && not != "" {
		f.text = errTextSyntax
		return
	}
	if name == "user" {
		f.users = append(f.users, value)
	}
	test, text := read(not, value, r)
	if text != "" {
		f.text = text
		return
	}
	if not != "" {
		f.set(option, func(c *ClientInfo) bool { return !test(c) })
		return
	}
	f.set(option, test)
}
