package differ

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// A template is what a command may look like, in words separated by spaces:
//
//	SET             itself
//	<val>           an argument of that kind (arguments)
//	[ A | B <int> ] one of these, or nothing
//	( A | B )       one of these
//	{ A <int> }     one to four times
//	#{ <key> }      the same, with the number of times before it
type template struct {
	text string
	root sequence
}

// node is a part of a template.
type node interface {
	emit(g *generator, out []string) []string
}

type (
	word     string
	argument func(*generator) string
	sequence []node
	choice   []sequence
	optional choice
	repeated sequence
	counted  sequence
)

func (w word) emit(_ *generator, out []string) []string     { return append(out, string(w)) }
func (a argument) emit(g *generator, out []string) []string { return append(out, a(g)) }

func (s sequence) emit(g *generator, out []string) []string {
	for _, n := range s {
		out = n.emit(g, out)
	}
	return out
}

func (c choice) emit(g *generator, out []string) []string { return c[g.IntN(len(c))].emit(g, out) }

func (o optional) emit(g *generator, out []string) []string {
	if g.chance(50) {
		return out
	}
	return choice(o).emit(g, out)
}

func (r repeated) emit(g *generator, out []string) []string {
	for range 1 + g.IntN(4) {
		out = sequence(r).emit(g, out)
	}
	return out
}

func (c counted) emit(g *generator, out []string) []string {
	n := 1 + g.IntN(3)
	count := strconv.Itoa(n)
	if g.chance(2) {
		// The last ones are numbers for who looks for the keys, but not for who runs the command.
		count = g.one("0", "-1", "99", "abc", " 1", "01", "+1", "1x", "4294967297")
	}
	out = append(out, count)
	for range n {
		out = sequence(c).emit(g, out)
	}
	return out
}

// parse panics on a wrong template: the table is part of the program.
func parse(text string) template {
	words := strings.Fields(text)
	alternatives, rest := parseAlternatives(text, words)
	if len(rest) > 0 || len(alternatives) != 1 {
		panic(fmt.Sprintf("template %q: %q is left", text, rest))
	}
	return template{text: text, root: alternatives[0]}
}

var closing = map[string]string{"[": "]", "(": ")", "{": "}", "#{": "}"}

// parseAlternatives stops at the end or before a closing bracket.
func parseAlternatives(text string, words []string) (choice, []string) {
	found := choice{nil}
	last := func(n node) { found[len(found)-1] = append(found[len(found)-1], n) }
	for len(words) > 0 {
		w := words[0]
		end, opens := closing[w]
		switch {
		case w == "]" || w == ")" || w == "}":
			return found, words
		case w == "|":
			found, words = append(found, nil), words[1:]
		case opens:
			inner, rest := parseAlternatives(text, words[1:])
			if len(rest) == 0 || rest[0] != end {
				panic(fmt.Sprintf("template %q: no %s", text, end))
			}
			last(group(w, inner))
			words = rest[1:]
		default:
			last(parseWord(text, w))
			words = words[1:]
		}
	}
	return found, nil
}

func group(open string, inner choice) node {
	switch open {
	case "[":
		return optional(inner)
	case "{":
		return repeated{inner}
	case "#{":
		return counted{inner}
	}
	return inner
}

func parseWord(text, w string) node {
	if len(w) < 3 || w[0] != '<' || w[len(w)-1] != '>' {
		return word(w)
	}
	name := w[1 : len(w)-1]
	if a, ok := arguments[name]; ok {
		return argument(a)
	}
	base, anywhere := strings.CutSuffix(name, "!")
	if _, ok := keyNames[base]; !ok {
		panic(fmt.Sprintf("template %q: no argument %s", text, w))
	}
	return argument(func(g *generator) string { return g.key(base, anywhere) })
}

// keyNames are the kinds of keys and the first letter of their names. A key with "!" behind its kind has any tag.
var keyNames = map[string]string{
	"str": "s", "bits": "b", "hash": "h", "list": "l", "set": "t", "zset": "z", "geo": "g", "hll": "p", "stream": "x", "any": "",
	"lex": "y", // all scores are 0, or what the commands on ranges of members do is undefined
}

// keyLetters are those of keyNames in a fixed order, or a seed would not give the same sequence again. The last is not for others.
const keyLetters = "sbhltzgpxy"

// keysOfAKind is the most of a kind and a tag: few, so that commands meet.
const keysOfAKind = 3

func newGenerator(r *rand.Rand, tags []string) *generator {
	g := &generator{Rand: r, keys: 1 + r.IntN(keysOfAKind)}
	for _, i := range r.Perm(len(tags))[:1+r.IntN(len(tags))] {
		g.tags = append(g.tags, tags[i])
	}
	g.tag = g.tags[0]
	return g
}

// generator makes random choices. Everything random comes from it.
type generator struct {
	*rand.Rand
	tags []string
	tag  string // of the keys of the command being made
	keys int    // of a kind and a tag
	id   int    // the last stream id
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g *generator) one(of ...string) string { return of[g.IntN(len(of))] }

func (g *generator) key(kind string, anywhere bool) string {
	tag, letter := g.tag, keyNames[kind]
	if anywhere {
		tag = g.one(g.tags...)
	}
	if letter == "" || letter != "y" && g.chance(5) { // the wrong type now and then
		letter = string(keyLetters[g.IntN(len(keyLetters)-1)])
	}
	return keyOf(tag, letter[0], g.IntN(g.keys))
}

func keyOf(tag string, letter byte, i int) string {
	return "{" + tag + "}" + string(letter) + strconv.Itoa(i+1)
}

// allKeys are all that a generator uses.
func allKeys(tags []string) []string {
	var keys []string
	for _, tag := range tags {
		for i := range len(keyLetters) * keysOfAKind {
			keys = append(keys, keyOf(tag, keyLetters[i/keysOfAKind], i%keysOfAKind))
		}
	}
	return keys
}

// whole are commands that keep the number of their arguments, and why.
var whole = map[string]string{
	"SPOP":  "without its number it is random",
	"BLPOP": "an argument behind the timeout makes it a key of another slot", "BRPOP": "as above", "BZPOPMIN": "as above", "BZPOPMAX": "as above",
	"HELLO": "Redis 7.0 sets the name even when an argument behind it is wrong",
}

// command makes one from a template: rarely with too few or too many arguments, or in other letters.
func (g *generator) command(t template) []string {
	args := t.root.emit(g, nil)
	switch {
	case whole[args[0]] != "":
	case g.chance(2):
		args = args[:1+g.IntN(len(args))]
	case g.chance(2):
		args = append(args, "{"+g.tag+"}more") // if it is taken for a key, it is one of the same slot
	}
	if g.chance(5) {
		args[0] = strings.ToLower(args[0])
	}
	return args
}
