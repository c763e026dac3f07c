package testcluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// When set, this test binary is the parent that TestServersDieWithTheirParent kills.
const parentEnv = "SLOTPROXY_TESTCLUSTER_PARENT"

func TestServersDieWithTheirParent(t *testing.T) {
	v := NeedNewest(t)
	if os.Getenv(parentEnv) != "" {
		beParent(v)
	}
	parent := exec.Command(os.Args[0], "-test.run=^TestServersDieWithTheirParent$")
	parent.Env = append(os.Environ(), parentEnv+"="+t.TempDir())
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = parent.Process.Kill()
	_ = parent.Wait()
	if err != nil {
		t.Fatalf("the parent did not tell its server's pid: %v", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if err := gone(pid); err != nil {
			return fmt.Errorf("server %d outlives its parent: %w", pid, err)
		}
		return nil
	})
}

// beParent starts a server, tells its pid, and waits to be killed.
func beParent(v Version) {
	n, err := Standalone(context.Background(), Options{Version: v, Dir: os.Getenv(parentEnv)})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(n.Pid())
	select {}
}

// gone is nil when the process is gone, or dead and not yet collected by init.
func gone(pid int) error {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && strings.Contains(string(stat), ") Z ") {
		return nil
	}
	return errors.Join(errors.New("it runs"), err)
}
