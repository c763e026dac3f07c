package proxy

import (
	"bytes"

	"slotproxy/resp"
)

// giveBack makes the command that puts back what a blocking command has popped; nil when that is nothing, or when the
// node has put it somewhere itself.
func giveBack(name string, command, reply []byte) []byte {
	if len(reply) == 0 || reply[0] != '*' {
		return nil
	}
	v := elements(reply)
	switch {
	case len(v) == 2 && name == "blpop":
		return resp.AppendCommand(nil, []byte("LPUSH"), v[0], v[1])
	case len(v) == 2 && name == "brpop":
		return resp.AppendCommand(nil, []byte("RPUSH"), v[0], v[1])
	case len(v) == 3 && (name == "bzpopmin" || name == "bzpopmax"):
		return resp.AppendCommand(nil, []byte("ZADD"), v[0], []byte("NX"), v[2], v[1])
	case name == "blmpop":
		return giveBackList(command, reply)
	case name == "bzmpop":
		return giveBackScores(reply)
	}
	return nil
}

// giveBackList is for BLMPOP: the last popped goes back first.
func giveBackList(command, reply []byte) []byte {
	key, list, ok := keyAndList(reply)
	if !ok {
		return nil
	}
	push := []byte("LPUSH")
	var p resp.Parser
	if n, err := p.Next(command, &resp.AfterAuth); err == nil && n > 0 && popsRight(p.Args) {
		push = []byte("RPUSH")
	}
	args := [][]byte{push, key}
	popped := elements(list)
	for i := len(popped) - 1; i >= 0; i-- {
		args = append(args, popped[i])
	}
	return resp.AppendCommand(nil, args...)
}

// popsRight looks for the side behind the keys of BLMPOP timeout numkeys key... LEFT|RIGHT.
func popsRight(args [][]byte) bool {
	n, ok := resp.ParseInt(args[2])
	at := int(n) + 3
	return ok && n > 0 && at < len(args) && bytes.EqualFold(args[at], []byte("right"))
}

func giveBackScores(reply []byte) []byte {
	key, list, ok := keyAndList(reply)
	if !ok {
		return nil
	}
	args := [][]byte{[]byte("ZADD"), key, []byte("NX")}
	_, count, at, _ := resp.AggHeader(list)
	for range count {
		n, err := resp.Skip(list[at:])
		if err != nil || n == 0 {
			return nil
		}
		pair := elements(list[at : at+n])
		if len(pair) != 2 {
			return nil
		}
		args = append(args, pair[1], pair[0])
		at += n
	}
	return resp.AppendCommand(nil, args...)
}

// keyAndList takes a reply of a key and an array apart.
func keyAndList(reply []byte) (key, list []byte, ok bool) {
	_, count, at, ok := resp.AggHeader(reply)
	if !ok || count != 2 {
		return nil, nil, false
	}
	n, err := resp.Skip(reply[at:])
	if err != nil || n == 0 || at+n >= len(reply) {
		return nil, nil, false
	}
	return scalar(reply[at : at+n]), reply[at+n:], true
}

// elements are the texts of an array's values, nil for one that is not an array of plain values.
func elements(reply []byte) [][]byte {
	_, count, at, ok := resp.AggHeader(reply)
	if !ok || count < 0 {
		return nil
	}
	var all [][]byte
	for range count {
		n, err := resp.Skip(reply[at:])
		if err != nil || n == 0 {
			return nil
		}
		all = append(all, scalar(reply[at:at+n]))
		at += n
	}
	return all
}

// scalar is the text of a plain value: string, status, number.
func scalar(value []byte) []byte {
	end := bytes.IndexByte(value, '\r')
	if end < 0 {
		return nil
	}
	if value[0] != '$' {
		return value[1:end]
	}
	if len(value) < end+4 {
		return nil
	}
	return value[end+2 : len(value)-2]
}
