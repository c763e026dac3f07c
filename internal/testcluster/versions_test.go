package testcluster

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// install writes a fake server that prints the line which a real one prints for --version.
func install(t *testing.T, file, prints string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("#!/bin/sh\necho '"+prints+"'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestServersAreFoundInTheFolderAndOnThePath(t *testing.T) {
	for _, row := range []struct {
		name   string
		folder []string
		path   map[string]string
		want   []Version
	}{
		{name: "nothing at all"},
		{
			name:   "the newest first, Valkey before Redis",
			folder: []string{"redis-7.0", "valkey-8.1", "valkey-10.0", "valkey-9.1"},
			want:   []Version{"valkey-10.0", "valkey-9.1", "valkey-8.1", "redis-7.0"},
		},
		{name: "other folders are left alone", folder: []string{".work.x", "notes", "valkey-"}},
		{
			name: "what is on the path counts",
			path: map[string]string{"redis-server": "Redis server v=7.2.5 sha=0:0 malloc=libc bits=64 build=1"},
			want: []Version{"redis-7.2"},
		},
		{
			name: "a server called redis that is Valkey",
			path: map[string]string{"redis-server": "Valkey server v=8.0.1 sha=0:0 malloc=libc bits=64 build=1"},
			want: []Version{"valkey-8.0"},
		},
		{
			name: "too old",
			path: map[string]string{"redis-server": "Redis server v=6.2.5 sha=0:0 malloc=libc bits=64 build=1"},
		},
		{
			name:   "the same version in both places counts once",
			folder: []string{"redis-7.0"},
			path:   map[string]string{"redis-server": "Redis server v=7.0.15 sha=0:0 malloc=libc bits=64 build=1"},
			want:   []Version{"redis-7.0"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir, bin := t.TempDir(), t.TempDir()
			for _, name := range row.folder {
				install(t, filepath.Join(dir, name, "server"), "")
			}
			for name, prints := range row.path {
				install(t, filepath.Join(bin, name), prints)
			}
			t.Setenv("SLOTPROXY_SERVERS", dir)
			t.Setenv("PATH", bin)
			var got []Version
			for _, p := range findPrograms() {
				got = append(got, p.version)
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

// verdict records what Need says instead of ending the test.
type verdict struct {
	TB
	said string
}

func (v *verdict) Helper()               {}
func (v *verdict) Fatalf(string, ...any) { v.said = "failed"; panic(v) }
func (v *verdict) Skipf(string, ...any)  { v.said = "skipped"; panic(v) }

func TestMissingServersFailWhereTheyAreRequired(t *testing.T) {
	found := discover
	t.Cleanup(func() { discover = found })
	some := []programs{{version: "valkey-9.1"}}
	for _, row := range []struct {
		name, ci, require, want string
		found                   []programs
	}{
		{name: "none, at a developer's", want: "skipped"},
		{name: "none, in CI", ci: "true", want: "failed"},
		{name: "one of four, in CI", ci: "true", found: some, want: "failed"},
		{name: "one of four, required", require: "1", found: some, want: "failed"},
		{name: "one of four, at a developer's", found: some, want: ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Setenv("CI", row.ci)
			t.Setenv("SLOTPROXY_REQUIRE_SERVERS", row.require)
			discover = func() []programs { return row.found }
			v := &verdict{}
			func() {
				defer func() {
					if r := recover(); r != nil && r != any(v) {
						panic(r)
					}
				}()
				Need(v)
			}()
			if v.said != row.want {
				t.Errorf("got %q, want %q", v.said, row.want)
			}
		})
	}
}
