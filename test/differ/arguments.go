package differ

import (
	"strconv"
	"strings"
)

// Sizes at which the proxy changes its ways: payloads of 16 KiB are queued by reference, replies above 64 KiB passed on in pieces.
const (
	bigValue  = 20_000
	hugeValue = 100_000
)

// arguments are the kinds of arguments. Each is sometimes wrong, as its sort of argument goes wrong.
var arguments = map[string]func(*generator) string{
	"val":    (*generator).value,
	"field":  func(g *generator) string { return g.one("f1", "f2", "f3", "f4", "f5", "", "7") },
	"member": func(g *generator) string { return g.one("a", "b", "c", "d", "e", "f", "g", "1", "2", "30", "") },
	"num":    func(g *generator) string { return strconv.Itoa(g.IntN(40) - 10) },
	"int":    (*generator).integer,
	"float": func(g *generator) string {
		return g.orWrong(g.one("0.5", "-1.25", "3", "1e3", "10.75"), "inf", "nan", "abc")
	},
	"index": func(g *generator) string { return g.orWrong(strconv.Itoa(g.IntN(9)-4), "abc", "99", "-99") },
	"count": func(g *generator) string { return g.orWrong(strconv.Itoa(1+g.IntN(4)), "0", "-1", "abc") },
	"ttl": func(g *generator) string {
		return g.orWrong(g.one("100000", "300000"), "0", "-1", "abc", "9223372036854775807")
	},
	"pttl": func(g *generator) string { return g.orWrong(g.one("100000000", "300000000"), "0", "-1", "1.5") },
	"at":   func(g *generator) string { return g.orWrong(g.one("9999990000", "8888880000"), "1", "-1", "abc") },
	"pat":  func(g *generator) string { return g.orWrong(g.one("9999990000000", "8888880000000"), "1", "-1", "abc") },
	"score": func(g *generator) string {
		return g.orWrong(g.one("0", "1", "2", "2.5", "-1", "1e10", "inf"), "nan", "abc")
	},
	"min":     func(g *generator) string { return g.orWrong(g.one("-inf", "0", "(1", "-1"), "(", "abc") },
	"max":     func(g *generator) string { return g.orWrong(g.one("+inf", "5", "(2.5", "1"), "nan") },
	"lexmin":  func(g *generator) string { return g.orWrong(g.one("-", "[a", "(b"), "a") },
	"lexmax":  func(g *generator) string { return g.orWrong(g.one("+", "[e", "(d"), "z") },
	"offset":  func(g *generator) string { return g.orWrong(strconv.Itoa(g.IntN(100)), "-1", "abc", "4294967296") },
	"bit":     func(g *generator) string { return g.orWrong(g.one("0", "1"), "2") },
	"bittype": func(g *generator) string { return g.orWrong(g.one("u4", "i8", "u16", "i5"), "u64", "x8") },
	"id":      (*generator).streamID,
	"oldid":   func(g *generator) string { return strconv.Itoa(max(1, g.id-g.IntN(6))) + "-1" },
	"place":   func(g *generator) string { return g.one("Palermo", "Catania", "Roma", "Napoli", "Bari") },
	"lon": func(g *generator) string {
		return g.orWrong(g.one("13.361389", "15.087269", "12.5", "14.25"), "999", "abc")
	},
	"lat":     func(g *generator) string { return g.orWrong(g.one("38.115556", "37.502669", "41.9", "40.8"), "-99") },
	"unit":    func(g *generator) string { return g.orWrong(g.one("m", "km", "mi", "ft"), "parsec") },
	"radius":  func(g *generator) string { return g.orWrong(g.one("100", "500", "100000"), "-1", "far") },
	"group":   func(g *generator) string { return g.one("grp", "grp", "grp2") },
	"worker":  func(g *generator) string { return g.one("alice", "bob") },
	"glob":    func(g *generator) string { return g.one("*", "*1", "*[hl]?", "nothing", "{"+g.tag+"}*") },
	"script":  func(g *generator) string { return g.one(scripts...) },
	"sha":     func(g *generator) string { return sha1Hex(g.one(scripts...)) },
	"library": func(g *generator) string { return g.orWrong(library, strings.Replace(library, "lua", "cobol", 1)) },
	"channel": func(g *generator) string { return g.one("news", "sport", "weather") },
	"shard":   func(g *generator) string { return "{" + g.tag + "}" + g.one("c1", "c2") },
	"wait":    func(g *generator) string { return g.one("0.01", "0.02") },
	"waitms":  func(g *generator) string { return g.one("10", "20") },
	"unknown": func(g *generator) string {
		return g.one("NOSUCHCOMMAND", "GETT", "a b", "x\r\ny", strings.Repeat("long", 50))
	},
	"dump": func(*generator) string { return lastDump },
}

// lastDump stands for what the client's last DUMP was answered with: each side has its own.
const lastDump = "\x00the last DUMP\x00"

// orWrong is right most of the time.
func (g *generator) orWrong(right string, wrong ...string) string {
	if g.chance(4) {
		return g.one(wrong...)
	}
	return right
}

func (g *generator) integer() string {
	return g.orWrong(strconv.Itoa(g.IntN(20)-5), "abc", "", "9223372036854775807", "1.5", " 1")
}

func (g *generator) value() string {
	switch n := g.IntN(1000); {
	case n < 2:
		return strings.Repeat("H", hugeValue)
	case n < 6:
		return strings.Repeat("B", bigValue)
	case n < 250:
		return strconv.Itoa(g.IntN(100) - 20)
	case n < 300:
		return strings.Repeat("m", 100) // above the limit of the small encodings
	}
	return g.one("", "a", "b", "hello", "3.5", "\x00\xff\r\n", "-ERR no error\r\n", "with space", "ohmytext", "mynewtext")
}

// streamID grows, as XADD wants it, or goes back now and then.
func (g *generator) streamID() string {
	if g.chance(5) {
		return g.one("0-0", "1-1", "abc", "0-*")
	}
	g.id++
	return strconv.Itoa(g.id) + "-1"
}
