package proxy

import (
	"strconv"
	"strings"
	"time"

	"slotproxy/router"
)

// MONITOR shows the commands of this proxy's clients as the proxy takes them, in the words of a server. What a node does
// for others is not in it.

// localMonitor makes the client one that watches.
func localMonitor(s *session, _ [][]byte) {
	if !s.monitors {
		s.monitors = true
		s.l.monitors = append(s.l.monitors, s)
		s.l.p.monitors.Add(1)
	}
	s.sayOK()
}

// endMonitor ends the watching, for RESET or because the client has gone.
func (s *session) endMonitor() {
	if !s.monitors {
		return
	}
	s.monitors = false
	s.l.p.monitors.Add(-1)
	for i, m := range s.l.monitors {
		if m == s {
			s.l.monitors = append(s.l.monitors[:i], s.l.monitors[i+1:]...)
			return
		}
	}
}

// touchesKeys says that a client that watches may not send a command: servers take it for a replica.
func touchesKeys(rule *router.Rule) bool {
	return rule.Flags&(router.FlagReadonly|router.FlagWrite) != 0 || rule.Policy == router.Script || rule.Policy == router.Publish
}

// show hands the command that the parser holds to those who watch, in all loops.
func (s *session) show(rule *router.Rule) {
	if rule.Flags&router.FlagAdmin != 0 || rule.Flags&router.FlagSkipMonitor != 0 && rule.Policy != router.Script {
		return // a server shows scripts all the same: it skips them only to put them before what they call
	}
	line := s.monitorLine(rule, time.Now())
	for _, l := range s.l.p.loops {
		if l == s.l {
			l.watchers(line)
		} else {
			l.post(message{kind: msgCall, call: func(l *loop) { l.watchers(line) }})
		}
	}
}

// watchers pushes a line to the watching clients of this loop. One that does not read is cut off as any other.
func (l *loop) watchers(line []byte) {
	for i := len(l.monitors) - 1; i >= 0; i-- { // one that is cut off takes itself out
		l.monitors[i].push(line)
	}
}

// monitorLine is +seconds.micros [db client] "command" "argument" ...
func (s *session) monitorLine(rule *router.Rule, now time.Time) []byte {
	b := []byte{'+'}
	b = strconv.AppendInt(b, now.Unix(), 10)
	b = append(b, '.')
	micros := strconv.Itoa(1_000_000 + now.Nanosecond()/1000)
	b = append(b, micros[1:]...)
	b = append(b, " ["...)
	b = strconv.AppendInt(b, int64(s.profile.key.db), 10)
	b = append(b, ' ')
	if s.listener.cfg.Network == "unix" {
		b = append(b, "unix:"...)
		b = append(b, s.listener.cfg.Address...)
	} else {
		b = append(b, s.addr...)
	}
	b = append(b, ']')
	secret := secretsFrom(rule.Name, s.parser.Args)
	for i, a := range s.parser.Args {
		if i >= secret {
			a = redacted
		}
		b = append(b, ' ')
		b = appendQuoted(b, a)
	}
	return append(b, "\r\n"...)
}

var redacted = []byte("(redacted)")

// secretsFrom is the first argument that nobody else may see; all behind it are hidden as well.
func secretsFrom(name string, args [][]byte) int {
	switch name {
	case "auth":
		return 1
	case "hello", "migrate":
		for i, a := range args {
			if word := strings.ToLower(string(a)); i > 0 && (word == "auth" || word == "auth2") {
				return i + 1
			}
		}
	}
	return len(args)
}

// appendQuoted writes a string as servers do for people: in quotes, what cannot be read as an escape.
func appendQuoted(dst, text []byte) []byte {
	dst = append(dst, '"')
	for _, c := range text {
		switch c {
		case '\\', '"':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		case '\a':
			dst = append(dst, `\a`...)
		case '\b':
			dst = append(dst, `\b`...)
		default:
			if c >= ' ' && c < 0x7f {
				dst = append(dst, c)
			} else {
				dst = append(dst, '\\', 'x', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
			}
		}
	}
	return append(dst, '"')
}
