package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

func TestAProfileThatIsKeptNamesNoPlaceOnTheMachine(t *testing.T) {
	var b bytes.Buffer
	if err := pprof.StartCPUProfile(&b); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(300 * time.Millisecond); time.Now().Before(until); {
		_ = strings.Repeat("work", 100)
	}
	pprof.StopCPUProfile()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(program) // not its ending alone: the runtime has a function named gcTrigger.test
	before := text(t, b.Bytes())
	kept, err := strip(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	after := text(t, kept)
	if !strings.Contains(before, name) || strings.Contains(after, name) || !strings.Contains(after, "cpu") || len(after) < len(before)/10 {
		t.Errorf("%d bytes became %d", len(before), len(after))
	}
	if _, err := strip([]byte("no profile")); err == nil {
		t.Error("what is no profile is taken for one")
	}
}

func text(t *testing.T, packed []byte) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
