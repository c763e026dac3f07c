package differ

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"slotproxy/test/wire"
)

// normal makes replies comparable that no two servers give alike. A command that is not here is compared byte for byte. The list is
// reviewed: an entry needs a reason that has nothing to do with a proxy, or one that docs/commands.md names.
var normal = map[string]struct {
	how func(args []string, v wire.Value) wire.Value
	why string
}{
	"SMEMBERS":        {unordered, "in the order of a hash table with a random seed"},
	"SINTER":          {unordered, "as above"},
	"SUNION":          {unordered, "as above"},
	"SDIFF":           {unordered, "as above"},
	"SPOP":            {unordered, "as above; only whole sets are popped"},
	"HKEYS":           {unordered, "as above"},
	"HVALS":           {unordered, "as above"},
	"HGETALL":         {unorderedPairs, "as above"},
	"KEYS":            {unordered, "as above"},
	"COMMAND":         {wholeCommand, "as above"},
	"PUBSUB":          {unordered, "as above"},
	"FUNCTION LIST":   {unordered, "as above"},
	"SRANDMEMBER":     {shape, "random"},
	"HRANDFIELD":      {shape, "random"},
	"ZRANDMEMBER":     {shape, "random"},
	"RANDOMKEY":       {shape, "random"},
	"DUMP":            {shape, "a hash table is dumped in its random order"},
	"MEMORY USAGE":    {shape, "depends on the allocator and on what a node keeps for each key"},
	"OBJECT IDLETIME": {shape, "time"},
	"TTL":             {nearly(10_000), "time passes"},
	"PTTL":            {nearly(10_000_000), "time passes"},
	"HTTL":            {nearly(10_000), "time passes"},
	"HPTTL":           {nearly(10_000_000), "time passes"},
	"EXPIRETIME":      {nearly(math.MaxInt32), "time"},
	"PEXPIRETIME":     {nearly(math.MaxInt64 / 4), "time"},
	"HEXPIRETIME":     {nearly(math.MaxInt32), "time"},
	"HPEXPIRETIME":    {nearly(math.MaxInt64 / 4), "time"},
	"XPENDING":        {idle, "time since the delivery"},
	"XINFO":           {idle, "time since the last use"},
	"HELLO":           {hello, "the connection's id, and the modules: 9.1 lists its Lua engine there"},
	"ROLE":            {shape, "the replication offset"},
}

// normalise returns the reply as it is compared.
func normalise(args []string, v wire.Value) wire.Value {
	name := strings.ToUpper(args[0])
	n, ok := normal[name]
	if !ok && len(args) > 1 {
		n, ok = normal[name+" "+strings.ToUpper(args[1])]
	}
	if !ok || v.IsError() {
		return v
	}
	return n.how(args, v)
}

// encode gives a value's bytes back.
func encode(b []byte, v wire.Value) []byte {
	b = append(b, v.Kind)
	switch v.Kind {
	case '$', '=', '!':
		if v.Null {
			return append(b, "-1\r\n"...)
		}
		b = strconv.AppendInt(b, int64(len(v.Text)), 10)
		b = append(append(b, "\r\n"...), v.Text...)
	case '*', '~', '>', '%':
		if v.Null {
			return append(b, "-1\r\n"...)
		}
		n := len(v.Elems)
		if v.Kind == '%' {
			n /= 2
		}
		b = append(strconv.AppendInt(b, int64(n), 10), "\r\n"...)
		for _, e := range v.Elems {
			b = encode(b, e)
		}
		return b
	default:
		b = append(b, v.Text...)
	}
	return append(b, "\r\n"...)
}

func unordered(_ []string, v wire.Value) wire.Value { return sorted(v, 1) }

func unorderedPairs(_ []string, v wire.Value) wire.Value { return sorted(v, 2) }

// wholeCommand: the sub-commands keep an order.
func wholeCommand(args []string, v wire.Value) wire.Value {
	if len(args) > 1 {
		return v
	}
	return unordered(args, v)
}

// sorted orders the elements, so many together, at every depth.
func sorted(v wire.Value, together int) wire.Value {
	if len(v.Elems) == 0 || len(v.Elems)%together != 0 {
		return v
	}
	if v.Kind == '%' {
		together = 2
	}
	var parts []string
	for group := range slices.Chunk(v.Elems, together) {
		var b []byte
		for _, e := range group {
			b = encode(b, sorted(e, 1))
		}
		parts = append(parts, string(b))
	}
	slices.Sort(parts)
	return raw(v.Kind, strings.Join(parts, ""), len(v.Elems))
}

// raw is an aggregate of which the elements are encoded already.
func raw(kind byte, elems string, n int) wire.Value {
	return wire.Value{Kind: '+', Text: string(kind) + strconv.Itoa(n) + " " + elems}
}

// shape keeps types and sizes of aggregates.
func shape(_ []string, v wire.Value) wire.Value {
	for i, e := range v.Elems {
		v.Elems[i] = shape(nil, e)
	}
	if !v.Null {
		v.Text = ""
	}
	return v
}

// nearly rounds positive numbers, alone or in an array.
func nearly(to int64) func([]string, wire.Value) wire.Value {
	var round func(_ []string, v wire.Value) wire.Value
	round = func(_ []string, v wire.Value) wire.Value {
		if v.Kind == ':' && v.Int > 0 {
			v.Text = "about " + strconv.FormatInt((v.Int+to/2)/to, 10)
		}
		for i, e := range v.Elems {
			v.Elems[i] = round(nil, e)
		}
		return v
	}
	return round
}

// idle hides the numbers that count milliseconds: behind their names, and in the third place of XPENDING's entries.
func idle(_ []string, v wire.Value) wire.Value {
	for i, e := range v.Elems {
		named := i > 0 && slices.Contains([]string{"idle", "inactive", "seen-time", "active-time"}, v.Elems[i-1].Text)
		pending := i == 2 && len(v.Elems) == 4 && v.Elems[3].Kind == ':'
		if e.Kind == ':' && (named || pending) {
			v.Elems[i].Text = "N"
			continue
		}
		v.Elems[i] = idle(nil, e)
	}
	return v
}

func hello(_ []string, v wire.Value) wire.Value {
	for i, e := range v.Elems {
		if e.Kind == ':' && i > 0 && v.Elems[i-1].Text == "id" {
			v.Elems[i].Text = "N"
		}
		if e.Text == "modules" {
			v.Elems = v.Elems[:i]
			break
		}
	}
	return v
}
