package test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

const (
	// readLimit is how long a person waits for what they expect to read: a plan asks every node, and this machine is busy.
	readLimit = 30 * time.Second
	// ctrlC is what the key sends; the terminal makes SIGINT of it.
	ctrlC = "\x03"
)

// terminal is a command of slotproxy with a person before it.
type terminal struct {
	t      *testing.T
	cmd    *exec.Cmd
	keys   *os.File // what is written to it is typed, what is read from it is shown
	screen *logBuffer
	read   int           // of the screen, by see
	ended  chan struct{} // closed when the command has ended and all of its screen is there
}

// openTerminal starts a command in a terminal of 120 columns.
func openTerminal(t *testing.T, env []string, args ...string) *terminal {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	w := &terminal{t: t, cmd: exec.Command(bin, args...), screen: &logBuffer{}, ended: make(chan struct{})}
	w.cmd.Env = append(os.Environ(), env...)
	if w.keys, err = pty.StartWithSize(w.cmd, &pty.Winsize{Rows: 50, Cols: 120}); err != nil {
		t.Fatal(err)
	}
	go w.show()
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill() // the one error is that it has ended
		<-w.ended
		_ = w.keys.Close()
	})
	return w
}

func (w *terminal) show() {
	defer close(w.ended)
	_, _ = io.Copy(w.screen, w.keys) // ends with an error when the last process lets go of the terminal
	_ = w.cmd.Wait()                 // how it ended is in ProcessState
}

// see waits until the screen has shown a match behind the one before, and returns all between the two.
func (w *terminal) see(pattern string) string {
	w.t.Helper()
	re := regexp.MustCompile(pattern)
	var between string
	eventually(w.t, readLimit, func() error {
		text := w.screen.String()
		at := re.FindStringIndex(text[w.read:])
		if at == nil {
			return errors.New("nothing matches " + pattern + " in\n" + text[w.read:])
		}
		between = text[w.read : w.read+at[0]]
		w.read += at[1]
		return nil
	})
	return between
}

// asked waits for a question as it is, and returns what stands before it.
func (w *terminal) asked(question string) string {
	w.t.Helper()
	return w.see(regexp.QuoteMeta(question))
}

// answer waits for a question and types a line.
func (w *terminal) answer(question, line string) {
	w.t.Helper()
	w.asked(question)
	w.press(line + "\n")
}

func (w *terminal) press(keys string) {
	w.t.Helper()
	if _, err := w.keys.WriteString(keys); err != nil {
		w.t.Fatalf("type %q: %v", keys, err)
	}
}

// end waits for the command's end, and wants this exit code; of one that a signal has ended, the code that a shell makes of it.
func (w *terminal) end(code int) {
	w.t.Helper()
	select {
	case <-w.ended:
	case <-time.After(jobLimit):
		w.t.Fatalf("%v does not end; its screen:\n%s", w.cmd.Args[1:], w.screen)
	}
	got := w.cmd.ProcessState.ExitCode()
	if s, ok := w.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		got = 128 + int(s.Signal())
	}
	if got != code {
		w.t.Fatalf("%v: %v, want exit code %d; its screen:\n%s", w.cmd.Args[1:], w.cmd.ProcessState, code, w.screen)
	}
	if strings.Contains(w.screen.String(), "goroutine ") {
		w.t.Errorf("%v shows a stack:\n%s", w.cmd.Args[1:], w.screen)
	}
}
