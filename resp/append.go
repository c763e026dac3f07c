package resp

import (
	"math"
	"strconv"
)

// The appenders write RESP behind dst and return the extended slice, as append
// does. proto is the protocol of the reader, 2 or 3.

// AppendCommand writes a request in its canonical form.
func AppendCommand(dst []byte, args ...[]byte) []byte {
	dst = appendHeader(dst, '*', int64(len(args)))
	for _, a := range args {
		dst = AppendBulk(dst, a)
	}
	return dst
}

// AppendCommandStrings writes a request in its canonical form.
func AppendCommandStrings(dst []byte, args ...string) []byte {
	dst = appendHeader(dst, '*', int64(len(args)))
	for _, a := range args {
		dst = AppendBulkString(dst, a)
	}
	return dst
}

// AppendArray writes the header of an array; n elements must follow.
func AppendArray(dst []byte, n int) []byte { return appendHeader(dst, '*', int64(n)) }

// AppendMap writes the header of a map; n keys, each with its value, must follow.
// RESP2 has an array of both.
func AppendMap(dst []byte, n, proto int) []byte {
	if proto < 3 {
		return appendHeader(dst, '*', 2*int64(n))
	}
	return appendHeader(dst, '%', int64(n))
}

// AppendSet writes the header of a set, in RESP2 of an array; n elements must follow.
func AppendSet(dst []byte, n, proto int) []byte {
	if proto < 3 {
		return appendHeader(dst, '*', int64(n))
	}
	return appendHeader(dst, '~', int64(n))
}

// AppendPush writes the header of a message that answers no request, in RESP2 of
// an array; n elements must follow.
func AppendPush(dst []byte, n, proto int) []byte {
	if proto < 3 {
		return appendHeader(dst, '*', int64(n))
	}
	return appendHeader(dst, '>', int64(n))
}

// AppendBulk writes a string. nil is the empty string, see AppendNull.
func AppendBulk(dst, b []byte) []byte {
	dst = appendHeader(dst, '$', int64(len(b)))
	dst = append(dst, b...)
	return append(dst, '\r', '\n')
}

// AppendBulkString writes a string.
func AppendBulkString(dst []byte, s string) []byte {
	dst = appendHeader(dst, '$', int64(len(s)))
	dst = append(dst, s...)
	return append(dst, '\r', '\n')
}

// AppendVerbatim writes a text for people (INFO); in RESP2 it is a string.
func AppendVerbatim(dst []byte, s string, proto int) []byte {
	if proto < 3 {
		return AppendBulkString(dst, s)
	}
	dst = appendHeader(dst, '=', int64(len(s))+4)
	dst = append(dst, "txt:"...)
	dst = append(dst, s...)
	return append(dst, '\r', '\n')
}

// AppendSimple writes a status ("OK"). Line ends in s become spaces.
func AppendSimple(dst []byte, s string) []byte { return appendLine(dst, '+', s) }

// AppendError writes an error, s beginning with its code ("ERR ..."). Line ends in
// s become spaces: what a client sent may be part of it and must not make a reply
// of its own.
func AppendError(dst []byte, s string) []byte { return appendLine(dst, '-', s) }

// AppendInt writes an integer.
func AppendInt(dst []byte, n int64) []byte { return appendHeader(dst, ':', n) }

// AppendNull writes the null that stands for a missing string.
func AppendNull(dst []byte, proto int) []byte {
	if proto < 3 {
		return append(dst, "$-1\r\n"...)
	}
	return append(dst, "_\r\n"...)
}

// AppendNullArray writes the null that stands for a missing array.
func AppendNullArray(dst []byte, proto int) []byte {
	if proto < 3 {
		return append(dst, "*-1\r\n"...)
	}
	return append(dst, "_\r\n"...)
}

// AppendBool writes a truth value; in RESP2 it is 1 or 0.
func AppendBool(dst []byte, b bool, proto int) []byte {
	switch {
	case proto < 3 && b:
		return append(dst, ":1\r\n"...)
	case proto < 3:
		return append(dst, ":0\r\n"...)
	case b:
		return append(dst, "#t\r\n"...)
	}
	return append(dst, "#f\r\n"...)
}

// AppendDouble writes a floating point number; in RESP2 it is a string.
func AppendDouble(dst []byte, f float64, proto int) []byte {
	var room [32]byte // the longest float64 has 24 bytes
	text := appendFloat(room[:0], f)
	if proto < 3 {
		return AppendBulk(dst, text)
	}
	dst = append(dst, ',')
	dst = append(dst, text...)
	return append(dst, '\r', '\n')
}

func appendFloat(dst []byte, f float64) []byte {
	switch a := math.Abs(f); {
	case math.IsNaN(f):
		return append(dst, "nan"...)
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	case a != 0 && (a < 1e-6 || a >= 1e21): // outside, plain digits get long
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

func appendHeader(dst []byte, kind byte, n int64) []byte {
	if n >= 0 && n <= 9 {
		return append(dst, kind, '0'+byte(n), '\r', '\n')
	}
	dst = append(dst, kind)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, '\r', '\n')
}

func appendLine(dst []byte, kind byte, s string) []byte {
	dst = append(dst, kind)
	start := len(dst)
	dst = append(dst, s...)
	for i, c := range dst[start:] {
		if c == '\r' || c == '\n' {
			dst[start+i] = ' '
		}
	}
	return append(dst, '\r', '\n')
}
