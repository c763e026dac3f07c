package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
)

// Fields of a profile (pprof's profile.proto) that name the file that was run.
const (
	mappingField = 3
	stringField  = 6
)

var errNoProfile = errors.New("this is no profile")

// strip takes out of a profile where on the machine its program lay: the mappings, and their names in the table of strings.
// What the compiler wants to know is in the functions.
func strip(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	in, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	var out []byte
	for len(in) > 0 {
		n, field, text, ok := nextField(in)
		switch {
		case !ok:
			return nil, errNoProfile
		case field == mappingField:
		case field == stringField && bytes.HasPrefix(text, []byte("/")):
			out = append(out, stringField<<3|2, 0) // an empty one: the others keep their numbers
		default:
			out = append(out, in[:n]...)
		}
		in = in[n:]
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(out); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// nextField reads one field of a message: how long it is with its tag, its number, and its bytes when it has some.
func nextField(in []byte) (length, field int, body []byte, ok bool) {
	tag, n := binary.Uvarint(in)
	v, m := binary.Uvarint(in[max(n, 0):])
	if n <= 0 || m <= 0 {
		return 0, 0, nil, false
	}
	switch tag & 7 {
	case 0:
		return n + m, int(tag >> 3), nil, true
	case 2:
		if v > uint64(len(in)-n-m) {
			return 0, 0, nil, false
		}
		end := n + m + int(v)
		return end, int(tag >> 3), in[n+m : end], true
	}
	return 0, 0, nil, false
}
