package testcluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// The repository's root, from this package's folder.
const root = "../.."

// composeFile is what docker-compose.yml may say. Reading is strict, so a misspelt or new key fails here first.
type composeFile struct {
	Node     composeService            `yaml:"x-node"`
	Services map[string]composeService `yaml:"services"`
}

type composeService struct {
	Image       string                       `yaml:"image"`
	Build       string                       `yaml:"build"`
	Command     []string                     `yaml:"command"`
	Environment map[string]string            `yaml:"environment"`
	Volumes     []string                     `yaml:"volumes"`
	Tmpfs       []string                     `yaml:"tmpfs"`
	Ports       []string                     `yaml:"ports"`
	Restart     string                       `yaml:"restart"`
	DependsOn   map[string]map[string]string `yaml:"depends_on"`
	Healthcheck struct {
		Test                       []string
		Interval, Timeout          string
		Retries                    int
		StartPeriod, StartInterval string
	} `yaml:"healthcheck"`
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file composeFile
	if err := yaml.UnmarshalWithOptions(text, &file, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestComposeNamesOnlyWhatIsThere(t *testing.T) {
	file := readCompose(t)
	for name, s := range file.Services {
		if (s.Image == "") == (s.Build == "") {
			t.Errorf("%s: image %q and build %q, want one of them", name, s.Image, s.Build)
		}
		for _, volume := range s.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if _, err := os.Stat(filepath.Join(root, source)); err != nil {
				t.Errorf("%s mounts a file that is not there: %v", name, err)
			}
		}
		for other := range s.DependsOn {
			if _, ok := file.Services[other]; !ok {
				t.Errorf("%s depends on %s, which is no service", name, other)
			}
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s opens port %s to the network", name, port)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(root, "Dockerfile")); err != nil {
		t.Error(err)
	}
}

func TestComposeUsesEveryNodeAndNoOther(t *testing.T) {
	file := readCompose(t)
	var nodes []string
	for name, s := range file.Services {
		if s.Healthcheck.Test == nil {
			continue
		}
		nodes = append(nodes, name+":6379")
		if s.Image != file.Node.Image || len(s.Command) == 0 {
			t.Errorf("%s does not take over x-node: %+v", name, s)
		}
	}
	create := file.Services["create"]
	primaries := strings.Fields(create.Environment["PRIMARIES"])
	all := append(slices.Clone(primaries), strings.Fields(create.Environment["EMPTY"])...)
	slices.Sort(nodes)
	slices.Sort(all)
	if !slices.Equal(nodes, all) {
		t.Errorf("create joins %v, want the nodes %v", all, nodes)
	}
	for _, node := range all {
		name, _, _ := strings.Cut(node, ":")
		if create.DependsOn[name]["condition"] != "service_healthy" {
			t.Errorf("create does not wait for %s", name)
		}
	}
	command := file.Services["slotproxy"].Command
	at := slices.Index(command, "--cluster")
	if at < 0 || command[at+1] != strings.Join(primaries, ",") {
		t.Errorf("slotproxy runs %v, want it to serve %v", command, primaries)
	}
}

// The script's loops have no containers here, but the same client and real nodes that know nothing of each other.
func TestComposeCreatesACluster(t *testing.T) {
	v := NeedNewest(t)
	c, err := newCluster(Options{Version: v, Primaries: 3, Empty: 1}, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.endTest(t) })
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	if err := c.launchAll(ctx, c.size()); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(c.CLI().Path, filepath.Join(bin, "valkey-cli")); err != nil {
		t.Fatal(err)
	}
	addrs := c.Addrs()
	for _, run := range []string{"first", "again"} {
		cmd := exec.CommandContext(ctx, "sh", filepath.Join(root, "configs", "compose-create.sh"))
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"),
			"PRIMARIES="+strings.Join(addrs[:3], " "), "EMPTY="+addrs[3])
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s run: %v\n%s", run, err, out)
		}
		created := strings.Contains(string(out), "Performing hash slots allocation")
		if created != (run == "first") {
			t.Fatalf("%s run: created a cluster: %v\n%s", run, created, out)
		}
	}
	for _, n := range c.Nodes {
		id, err := n.Do("CLUSTER", "MYID")
		if err != nil {
			t.Fatal(err)
		}
		n.ID = id.(string)
	}
	if err := c.WaitOK(ctx); err != nil {
		t.Fatal(err)
	}
	for slot, n := range owners(t, c) {
		if n == nil || n == c.Nodes[3] {
			t.Fatalf("slot %d belongs to %v", slot, n)
		}
	}
}

// The settings of the containers' nodes are ones that the server knows. Its paths and ports are the container's own.
func TestTheNodesOfComposeUnderstandTheirConfiguration(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "configs", "node-compose.conf"))
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" || name == "#" || slices.Contains([]string{"port", "bind", "dir"}, name) {
			continue
		}
		args = append(args, "--"+name, strings.Trim(value, `"`))
	}
	c, err := newCluster(Options{Version: NeedNewest(t), Primaries: 1, Args: args}, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.endTest(t) })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.launchAll(ctx, 1); err != nil {
		t.Fatal(fmt.Errorf("with %v: %w", args, err))
	}
}
