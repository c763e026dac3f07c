package resp

import (
	"bytes"
	"net"
	"strconv"
)

// ErrorKind is what an error of a node means for a proxy.
type ErrorKind uint8

// The kinds of errors. Unless said otherwise the command was not executed.
const (
	Other       ErrorKind = iota // the client's affair: pass it on; may have been executed in part (scripts)
	Moved                        // the slot lives elsewhere
	Ask                          // the slot is moving: this command elsewhere, the next one may be here
	TryAgain                     // the slot is moving and the keys are on both sides
	ClusterDown                  // the node sees no healthy cluster, or no owner of the slot
	CrossSlot                    // the keys are in several slots
	Loading                      // the node reads its data from disk
	MasterDown                   // a replica without its primary
	ReadOnly                     // a write to a replica
	NoScript                     // the script is not in this node's cache
	Busy                         // a script blocks the node
	NoAuth                       // the connection has to log in
	WrongPass                    // the login failed
	NoPerm                       // the user may not do this
	NoProto                      // the node does not speak this protocol version
	NoReplicas                   // too few replicas for a write
	Misconf                      // the node cannot persist and takes no writes
	OOM                          // the node is out of memory for writes
	Unblocked                    // a blocking command was ended, its slot may have moved
	ExecAbort                    // a transaction was refused as a whole
)

// Classify looks at the line of an error, which begins with '-'. Only the code
// counts, that is the word up to the first space or the line's end, spelled
// exactly: what follows may hold anything, also text of a client's.
func Classify(line []byte) ErrorKind {
	if len(line) == 0 || line[0] != '-' {
		return Other
	}
	code := line[1:min(len(line), 1+longestCode+1)]
	for i, c := range code {
		if c == ' ' || c == '\r' || c == '\n' {
			code = code[:i]
			break
		}
	}
	switch string(code) {
	case "MOVED":
		return Moved
	case "ASK":
		return Ask
	case "TRYAGAIN":
		return TryAgain
	case "CLUSTERDOWN":
		return ClusterDown
	case "CROSSSLOT":
		return CrossSlot
	case "LOADING":
		return Loading
	case "MASTERDOWN":
		return MasterDown
	case "READONLY":
		return ReadOnly
	case "NOSCRIPT":
		return NoScript
	case "BUSY":
		return Busy
	case "NOAUTH":
		return NoAuth
	case "WRONGPASS":
		return WrongPass
	case "NOPERM":
		return NoPerm
	case "NOPROTO":
		return NoProto
	case "NOREPLICAS":
		return NoReplicas
	case "MISCONF":
		return Misconf
	case "OOM":
		return OOM
	case "UNBLOCKED":
		return Unblocked
	case "EXECABORT":
		return ExecAbort
	}
	return Other
}

// longestCode is the length of CLUSTERDOWN.
const longestCode = 11

// Redirect is where a MOVED or ASK points to.
type Redirect struct {
	Slot uint16
	Host string // "": the node that said it; "?": it does not know
	Port uint16
}

// Addr is the address to dial, if Host is one.
func (r Redirect) Addr() string {
	return net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port)))
}

const (
	slots   = 16384
	maxHost = 255 // the longest name in DNS has 253 bytes
)

// ParseRedirect reads "-MOVED 7 10.0.0.1:6379" or "-ASK ...", with or without the
// line's end. It is strict: the line may have been made by a script or a stranger.
// IPv6 addresses may be in brackets; the last colon is before the port. It
// allocates nothing but Host.
func ParseRedirect(line []byte) (Redirect, bool) {
	var rest []byte
	switch Classify(line) {
	case Moved:
		rest = line[len("-MOVED"):]
	case Ask:
		rest = line[len("-ASK"):]
	default:
		return Redirect{}, false
	}
	rest = bytes.TrimSuffix(rest, []byte("\r\n"))
	if len(rest) == 0 || rest[0] != ' ' {
		return Redirect{}, false
	}
	slotText, addr, found := bytes.Cut(rest[1:], []byte(" "))
	slot, ok := ParseInt(slotText)
	if !found || !ok || slot < 0 || slot >= slots {
		return Redirect{}, false
	}
	colon := bytes.LastIndexByte(addr, ':')
	if colon < 0 {
		return Redirect{}, false
	}
	port, ok := ParseInt(addr[colon+1:])
	if !ok || port < 1 || port > 65535 {
		return Redirect{}, false
	}
	host, ok := redirectHost(addr[:colon])
	if !ok {
		return Redirect{}, false
	}
	return Redirect{Slot: uint16(slot), Host: string(host), Port: uint16(port)}, true
}

// redirectHost checks a host and takes the brackets off an IPv6 address.
func redirectHost(h []byte) ([]byte, bool) {
	if len(h) > maxHost+2 {
		return nil, false
	}
	if len(h) > 0 && h[0] == '[' {
		if len(h) < 3 || h[len(h)-1] != ']' {
			return nil, false
		}
		h = h[1 : len(h)-1]
	}
	if len(h) > maxHost {
		return nil, false
	}
	for _, c := range h {
		if c <= ' ' || c >= 0x7f || c == '[' || c == ']' {
			return nil, false
		}
	}
	return h, true
}
