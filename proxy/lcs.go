package proxy

import (
	"bytes"

	"slotproxy/resp"
)

// lcsOption is what stands behind the keys of LCS.
type lcsOption struct {
	length, matches, withLength bool
	least                       int // matches that are shorter are left out
}

// lcsOptions reads them, or gives the error that a server gives.
func lcsOptions(args [][]byte) (o lcsOption, text string) {
	for i := 0; i < len(args); i++ {
		switch string(bytes.ToLower(args[i])) {
		case "idx":
			o.matches = true
		case "len":
			o.length = true
		case "withmatchlen":
			o.withLength = true
		case "minmatchlen":
			if i++; i == len(args) {
				return o, errTextSyntax
			}
			n, ok := resp.ParseInt(args[i])
			if !ok {
				return o, errTextNotInteger
			}
			o.least = int(max(n, 0))
		default:
			return o, errTextSyntax
		}
	}
	if o.matches && o.length {
		return o, errTextLCSBoth
	}
	return o, ""
}

// match is a run of equal bytes: where it begins in a and in b.
type match struct{ a, b, length int }

// lcs answers LCS for two texts. The table has a number for each pair of places; whoever calls bounds it.
func lcs(a, b []byte, o lcsOption, proto int) []byte {
	table := lcsTable(a, b)
	total := int64(table[len(table)-1])
	if o.length {
		return resp.AppendInt(nil, total)
	}
	text, matches := lcsWalk(a, b, table)
	if !o.matches {
		return resp.AppendBulk(nil, text)
	}
	n, body := 0, []byte(nil)
	for _, m := range matches {
		if m.length < o.least {
			continue
		}
		n++
		body = m.append(body, o.withLength)
	}
	out := resp.AppendBulkString(resp.AppendMap(nil, 2, proto), "matches")
	out = append(resp.AppendArray(out, n), body...)
	return resp.AppendInt(resp.AppendBulkString(out, "len"), total)
}

func (m match) append(dst []byte, withLength bool) []byte {
	n := 2
	if withLength {
		n = 3
	}
	dst = resp.AppendArray(dst, n)
	for _, from := range [2]int{m.a, m.b} {
		dst = resp.AppendArray(dst, 2)
		dst = resp.AppendInt(dst, int64(from))
		dst = resp.AppendInt(dst, int64(from+m.length-1))
	}
	if withLength {
		dst = resp.AppendInt(dst, int64(m.length))
	}
	return dst
}

// lcsTable has at i*(len(b)+1)+j the length for the first i bytes of a and the first j of b.
func lcsTable(a, b []byte) []uint32 {
	width := len(b) + 1
	table := make([]uint32, (len(a)+1)*width)
	for i := 1; i <= len(a); i++ {
		above, row := table[(i-1)*width:i*width], table[i*width:(i+1)*width]
		for j := 1; j <= len(b); j++ {
			if a[i-1] == b[j-1] {
				row[j] = above[j-1] + 1
			} else {
				row[j] = max(above[j], row[j-1])
			}
		}
	}
	return table
}

// lcsWalk goes from the end of both texts to their beginning, as the server does: of several longest ones, and of several
// ways to cut it into matches, it finds the same.
func lcsWalk(a, b []byte, table []uint32) (text []byte, matches []match) {
	width := len(b) + 1
	at := table[len(table)-1]
	text = make([]byte, at)
	var run match
	for i, j := len(a), len(b); i > 0 && j > 0; {
		if a[i-1] == b[j-1] {
			at--
			text[at] = a[i-1]
			i, j = i-1, j-1
			run = match{i, j, run.length + 1}
			continue
		}
		if run.length > 0 {
			matches = append(matches, run)
			run.length = 0
		}
		if table[(i-1)*width+j] > table[i*width+j-1] {
			i--
		} else {
			j--
		}
	}
	if run.length > 0 {
		matches = append(matches, run)
	}
	return text, matches
}
