package proxy

import (
	"strings"
	"testing"

	"slotproxy/internal/testnode"
	"slotproxy/router"
)

// The reply of COMMAND for one command with its first argument as key.
func moduleCommand(name, flags string) string {
	spec := "*6\r\n$5\r\nflags\r\n*1\r\n+RO\r\n$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:1\r\n" +
		"$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n"
	return "*10\r\n$" + itoa(len(name)) + "\r\n" + name + "\r\n:-2\r\n*2\r\n+" + strings.Join(strings.Fields(flags), "\r\n+") +
		"\r\n:1\r\n:1\r\n:1\r\n*0\r\n*0\r\n*1\r\n" + spec + "*0\r\n"
}

func TestCommandsOfModulesGoToTheNodeOfTheirKeys(t *testing.T) {
	reply := "*2\r\n" + moduleCommand("json.get", "readonly module") + moduleCommand("json.set", "write module")
	commands, err := router.Builtin().With([]byte(reply))
	if err != nil {
		t.Fatal(err)
	}
	s := script(t, Config{Loops: 1, Commands: func() *router.Commands { return commands }})
	for _, command := range []string{"JSON.SET ...", "JSON.GET ..."} {
		s.owner.Every(command, testnode.Moved(s.slot, s.next.Addr()))
	}
	s.next.On("JSON.SET ...", testnode.Raw("+OK\r\n"))
	s.next.On("JSON.GET ...", testnode.Bulk("1"))
	s.send("JSON.SET {t}a $ 1", "json.get {t}a", "JSON.GET", "JSON.DEL {t}a")
	s.want("+OK", "$1\r\n1", "-ERR wrong number of arguments for 'json.get' command", "-ERR unknown command 'JSON.DEL'")
	if got := arrivals(s.next, "JSON.SET", "json.get"); got != "JSON.SET {t}a $ 1, json.get {t}a" {
		t.Errorf("the new owner saw %q", got)
	}
}
