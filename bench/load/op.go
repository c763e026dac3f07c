package load

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Op is one kind of operation of a load: a command, or several that belong together, such as a MULTI block. It counts as one.
type Op struct {
	Name   string
	Weight int // its share of all operations

	// Commands are words separated by spaces. Words that stand for something: {key}, {value}, {keys} (Keys of them) and {pairs} (Keys
	// keys, each with a value). All {key} of an operation are the same key.
	Commands []string
	Keys     int // for {keys} and {pairs}; 0 means 1
}

// The operations that a load is usually made of.
func Get(weight int) Op { return Op{"GET", weight, []string{"GET {key}"}, 1} }

// Set writes a value.
func Set(weight int) Op { return Op{"SET", weight, []string{"SET {key} {value}"}, 1} }

// MGet reads n keys, of any slots.
func MGet(weight, n int) Op {
	return Op{"MGET" + strconv.Itoa(n), weight, []string{"MGET {keys}"}, n}
}

// MSet writes n keys, of any slots.
func MSet(weight, n int) Op {
	return Op{"MSET" + strconv.Itoa(n), weight, []string{"MSET {pairs}"}, n}
}

// Multi is a block of four commands on one key.
func Multi(weight int) Op {
	return Op{"MULTI", weight, []string{"MULTI", "SET {key} {value}", "GET {key}", "EXEC"}, 1}
}

// Publish sends a value to a channel that is named as a key is.
func Publish(weight int) Op { return Op{"PUBLISH", weight, []string{"PUBLISH {key} {value}"}, 1} }

// Bounds of an operation.
const (
	maxOps      = 32      // each costs a histogram a thread and phase, of a quarter of a megabyte
	maxCommands = 64      // far more than a MULTI block has
	maxOpKeys   = 100_000 // a command of some megabytes
)

// kind is an Op made ready to be written.
type kind struct {
	name     string
	keys     int
	many     bool // it may be split by slots
	commands []template
}

// template is a command with gaps.
type template struct {
	fixed  int // words of the command but for {keys} and {pairs}
	gap    byte
	pieces []piece
}

// piece is text as it goes over the wire, and what comes behind it.
type piece struct {
	text []byte
	gap  byte
}

// Gaps of a template.
const (
	gapNone = iota
	gapKey
	gapValue
	gapKeys
	gapPairs
)

var gaps = map[string]byte{"{key}": gapKey, "{value}": gapValue, "{keys}": gapKeys, "{pairs}": gapPairs}

func newKind(o Op) (kind, error) {
	k := kind{name: o.Name, keys: max(o.Keys, 1)}
	if o.Name == "" || strings.ContainsAny(o.Name, ", \r\n") {
		return k, fmt.Errorf("an operation wants a name without spaces and commas, not %q", o.Name)
	}
	if len(o.Commands) == 0 || len(o.Commands) > maxCommands {
		return k, fmt.Errorf("%s: 1 to %d commands, not %d", o.Name, maxCommands, len(o.Commands))
	}
	if k.keys > maxOpKeys {
		return k, fmt.Errorf("%s: at most %d keys, not %d", o.Name, maxOpKeys, k.keys)
	}
	for _, text := range o.Commands {
		t, err := newTemplate(text)
		if err != nil {
			return k, fmt.Errorf("%s: %w", o.Name, err)
		}
		k.commands = append(k.commands, t)
		k.many = k.many || t.gap != gapNone
	}
	if k.many && len(k.commands) > 1 {
		return k, fmt.Errorf("%s: {keys} and {pairs} are for operations of one command: several can not be split by slots", o.Name)
	}
	if !k.many {
		k.keys = 1
	}
	return k, nil
}

func newTemplate(text string) (template, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return template{}, errors.New("a command without words")
	}
	if _, is := gaps[words[0]]; is {
		return template{}, fmt.Errorf("%q: a command begins with its name", text)
	}
	t := template{fixed: len(words)}
	var literal []byte
	for _, w := range words {
		gap, is := gaps[w]
		if !is {
			literal = appendBulk(literal, w)
			continue
		}
		if gap == gapKeys || gap == gapPairs {
			if t.gap != gapNone {
				return t, fmt.Errorf("%q: one of {keys} and {pairs}, once", text)
			}
			t.gap, t.fixed = gap, t.fixed-1
		}
		t.pieces = append(t.pieces, piece{literal, gap})
		literal = nil
	}
	t.pieces = append(t.pieces, piece{text: literal})
	return t, nil
}

func appendBulk(dst []byte, s string) []byte {
	dst = append(dst, '$')
	dst = strconv.AppendInt(dst, int64(len(s)), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, s...)
	return append(dst, "\r\n"...)
}

// located is a key, by its number, and its slot.
type located struct {
	key  int
	slot uint16
}

// writer makes commands. It is a thread's.
type writer struct {
	prefix  string
	payload []byte // as long as the longest value
}

// append writes an operation on these keys, with values of this size.
func (w *writer) append(dst []byte, k *kind, keys []located, size int) []byte {
	for i := range k.commands {
		t := &k.commands[i]
		words := t.fixed
		switch t.gap {
		case gapKeys:
			words += len(keys)
		case gapPairs:
			words += 2 * len(keys)
		}
		dst = append(dst, '*')
		dst = strconv.AppendInt(dst, int64(words), 10)
		dst = append(dst, "\r\n"...)
		for _, p := range t.pieces {
			dst = append(dst, p.text...)
			dst = w.fill(dst, p.gap, keys, size)
		}
	}
	return dst
}

func (w *writer) fill(dst []byte, gap byte, keys []located, size int) []byte {
	switch gap {
	case gapKey:
		return w.key(dst, keys[0].key)
	case gapValue:
		return w.value(dst, size)
	case gapKeys:
		for _, k := range keys {
			dst = w.key(dst, k.key)
		}
	case gapPairs:
		for _, k := range keys {
			dst = w.value(w.key(dst, k.key), size)
		}
	}
	return dst
}

func (w *writer) key(dst []byte, number int) []byte {
	dst = append(dst, '$')
	dst = strconv.AppendInt(dst, int64(len(w.prefix)+keyDigits), 10)
	dst = append(dst, "\r\n"...)
	dst = w.name(dst, number)
	return append(dst, "\r\n"...)
}

// keyDigits is the same for all keys, so that all are as long, as those of valkey-benchmark are.
const keyDigits = 12

// name is a key without what the protocol puts around it.
func (w *writer) name(dst []byte, number int) []byte {
	dst = append(dst, w.prefix...)
	at := len(dst)
	dst = slices.Grow(dst, keyDigits)[:at+keyDigits]
	for i := at + keyDigits - 1; i >= at; i-- {
		dst[i] = byte('0' + number%10)
		number /= 10
	}
	return dst
}

func (w *writer) value(dst []byte, size int) []byte {
	dst = append(dst, '$')
	dst = strconv.AppendInt(dst, int64(size), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, w.payload[:size]...)
	return append(dst, "\r\n"...)
}
