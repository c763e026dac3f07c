package testcluster

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Version names a server by maker and release, for example "valkey-9.1" or "redis-7.0".
type Version string

// Wanted are the versions that slotproxy promises to work with; scripts/servers.sh brings exactly these.
var Wanted = []Version{"valkey-9.1", "valkey-8.1", "valkey-8.0", "redis-7.0"}

// ErrNoServer says that no version, or not the one asked for, is on this machine.
var ErrNoServer = errors.New("no valkey-server or redis-server found; run scripts/servers.sh, or put one on the PATH")

// programs are the three executables of one version. cli and benchmark are empty when the machine has only the server.
type programs struct {
	version                Version
	server, cli, benchmark string
}

// discover looks once: a process that brings servers itself does so before it starts any.
var discover = sync.OnceValue(findPrograms)

// Versions are the servers found on this machine, the newest first, Valkey before Redis.
func Versions() []Version {
	var found []Version
	for _, p := range discover() {
		found = append(found, p.version)
	}
	return found
}

// Newest is the first of Versions.
func Newest() (Version, error) {
	found := Versions()
	if len(found) == 0 {
		return "", ErrNoServer
	}
	return found[0], nil
}

// Major is the first number of the version, 9 for "valkey-9.1".
func (v Version) Major() int {
	_, numbers := v.parts()
	return numbers[0]
}

// Valkey tells whether the server is Valkey rather than Redis.
func (v Version) Valkey() bool { return strings.HasPrefix(string(v), "valkey-") }

// parts splits "valkey-9.1" into "valkey" and 9, 1. A name of another form has zeros.
func (v Version) parts() (maker string, numbers [2]int) {
	maker, release, _ := strings.Cut(string(v), "-")
	major, minor, _ := strings.Cut(release, ".")
	numbers[0], _ = strconv.Atoi(major)
	numbers[1], _ = strconv.Atoi(minor)
	return maker, numbers
}

func (v Version) programs() (programs, error) {
	for _, p := range discover() {
		if p.version == v {
			return p, nil
		}
	}
	return programs{}, fmt.Errorf("%s: %w", v, ErrNoServer)
}

func findPrograms() []programs {
	found := inFolder(folder())
	for _, maker := range []string{"valkey", "redis"} {
		p, ok := onPath(maker)
		known := slices.ContainsFunc(found, func(q programs) bool { return q.version == p.version })
		if ok && !known {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b programs) int {
		makerA, numbersA := a.version.parts()
		makerB, numbersB := b.version.parts()
		return cmp.Or(cmp.Compare(makerB, makerA), slices.Compare(numbersB[:], numbersA[:]))
	})
	return found
}

// folder is where scripts/servers.sh unpacks, found by the same rules.
func folder() string {
	if dir := os.Getenv("SLOTPROXY_SERVERS"); dir != "" {
		return dir
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	return filepath.Join(cache, "slotproxy", "servers")
}

var versionName = regexp.MustCompile(`^(valkey|redis)-[0-9]+\.[0-9]+$`)

func inFolder(dir string) []programs {
	var found []programs
	entries, _ := os.ReadDir(dir) // a folder that is not there holds no servers
	for _, entry := range entries {
		server := filepath.Join(dir, entry.Name(), "server")
		if _, err := os.Stat(server); err != nil || !versionName.MatchString(entry.Name()) {
			continue
		}
		found = append(found, programs{
			version:   Version(entry.Name()),
			server:    server,
			cli:       filepath.Join(dir, entry.Name(), "cli"),
			benchmark: filepath.Join(dir, entry.Name(), "benchmark"),
		})
	}
	return found
}

// versionLine takes maker and release from "Server v=7.0.15 sha=..." or "Valkey server v=9.1.2 sha=...".
var versionLine = regexp.MustCompile(` v=([0-9]+\.[0-9]+)\.`)

func onPath(maker string) (programs, bool) {
	server, err := exec.LookPath(maker + "-server")
	if err != nil {
		return programs{}, false
	}
	out, err := exec.Command(server, "--version").Output()
	if err != nil {
		return programs{}, false
	}
	match := versionLine.FindSubmatch(out)
	if match == nil {
		return programs{}, false
	}
	// A package may leave redis-server as a link to Valkey: what it prints counts, not how it is called.
	if strings.HasPrefix(string(out), "Valkey") {
		maker = "valkey"
	}
	p := programs{version: Version(maker + "-" + string(match[1])), server: server}
	p.cli, _ = exec.LookPath(maker + "-cli")
	p.benchmark, _ = exec.LookPath(maker + "-benchmark")
	return p, p.version.Major() >= oldestMajor
}

// CLUSTER ADDSLOTSRANGE and cluster-port came with 7.0; slotproxy supports nothing older either.
const oldestMajor = 7
