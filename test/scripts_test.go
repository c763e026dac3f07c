package test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
)

// scripts are the JavaScript libraries: script, package in clients/package.json, protocol, the oldest Node that runs it.
var scripts = []struct {
	script, pkg string
	protocol    int
	node        int
}{
	{"ioredis", "ioredis", 2, 20},
	{"ioredis", "ioredis", 3, 20},
	{"ioredis", "ioredis5", 2, 18},
	{"node-redis", "redis", 2, 20},
	{"node-redis", "redis", 3, 20},
	{"node-redis", "redis5", 3, 18},
}

// runScripts runs the scenarios of clients/ against an endpoint; kind is the end of their names before .mjs. A machine without Node
// skips them.
func runScripts(t *testing.T, kind string, e endpoint) {
	t.Helper()
	for _, s := range scripts {
		t.Run(fmt.Sprintf("%s RESP%d", s.pkg, s.protocol), func(t *testing.T) {
			folder, major := nodeModules(t)
			if major < s.node {
				t.Logf("NOT RUN: %s needs Node %d, this is %d; its older release runs", s.pkg, s.node, major)
				return
			}
			runScript(t, e, folder, s.script+kind+".mjs", s.pkg, strconv.Itoa(s.protocol))
		})
	}
}

// scriptReport is the last line of a scenario.
type scriptReport struct {
	Event, Client, Version string
	Protocol, Checks       int
	Errors                 []string
}

func runScript(t *testing.T, e endpoint, folder, script, pkg, protocol string, more ...string) {
	t.Helper()
	host, port, err := net.SplitHostPort(e.addr)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", append([]string{script, pkg, host, port, protocol}, more...)...)
	cmd.Dir = folder
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := testcluster.StartProcess(cmd); err != nil {
		t.Fatal(err)
	}
	hung := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer hung.Stop()
	report := followScript(t, e, stdin, bufio.NewScanner(stdout))
	if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
		t.Errorf("node: %v %s", err, stderr.String())
	}
	if report.Checks == 0 || len(report.Errors) > 0 {
		t.Errorf("%s %s: %d checks, errors:\n  %s", report.Client, report.Version, report.Checks, strings.Join(report.Errors, "\n  "))
	}
	t.Logf("%s %s, RESP%d: %d checks", report.Client, report.Version, report.Protocol, report.Checks)
}

// followScript answers the scenario's wish for a restart and returns its report.
func followScript(t *testing.T, e endpoint, stdin io.Writer, lines *bufio.Scanner) (report scriptReport) {
	t.Helper()
	for lines.Scan() {
		if err := json.Unmarshal(lines.Bytes(), &report); err != nil {
			t.Errorf("not a report: %q", lines.Text())
			continue
		}
		if report.Event == "restart" {
			if e.restart != nil {
				e.restart()
			}
			if _, err := io.WriteString(stdin, "done\n"); err != nil {
				t.Error(err)
			}
		}
	}
	return report
}

// nodeModules installs clients/package-lock.json once per machine and content, outside of the repository, and copies the scenarios
// beside it.
func nodeModules(t *testing.T) (folder string, major int) {
	t.Helper()
	version, err := exec.Command("node", "--version").Output()
	if err != nil {
		t.Fatalf("no Node on this machine (Debian: nodejs, npm): %v", err)
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Fatal("no npm on this machine (Debian: npm)")
	}
	major, _ = strconv.Atoi(strings.TrimPrefix(strings.SplitN(string(version), ".", 2)[0], "v"))
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(read(t, "clients/package-lock.json"))
	folder = filepath.Join(cache, "slotproxy", "clients", fmt.Sprintf("%x", sum[:8]))
	if _, err := os.Stat(filepath.Join(folder, "installed")); err != nil {
		install(t, folder)
	}
	// The scenarios change more often than the lock; a copy of this run's own keeps two runs from disturbing each other.
	own := filepath.Join(scratch, "clients")
	if err := os.MkdirAll(own, 0o700); err != nil {
		t.Fatal(err)
	}
	scenarios, _ := filepath.Glob("clients/*.mjs")
	for _, f := range scenarios {
		write(t, filepath.Join(own, filepath.Base(f)), read(t, f))
	}
	if err := os.Symlink(filepath.Join(folder, "node_modules"), filepath.Join(own, "node_modules")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	return own, major
}

func install(t *testing.T, folder string) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"package.json", "package-lock.json", ".npmrc"} {
		write(t, filepath.Join(folder, f), read(t, filepath.Join("clients", f)))
	}
	cmd := exec.Command("npm", "ci", "--no-fund", "--no-audit", "--ignore-scripts")
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	write(t, filepath.Join(folder, "installed"), nil)
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
