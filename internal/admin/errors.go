package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// The sentences that users of the console may read, worded as Valkey words them
// where Valkey has them.
const (
	errTextNoAuth     = "NOAUTH Authentication required."
	errTextHelloAuth  = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
	errTextWrongPass  = "WRONGPASS invalid username-password pair or user is disabled."
	errTextNoPassword = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
	errTextAuthRate   = "ERR too many failed authentications, try again later"
	errTextNoProto    = "NOPROTO unsupported protocol version"
	errTextProto      = "ERR Protocol version is not an integer or out of range"
	errTextMaxClients = "ERR max number of clients reached"
	errTextSyntax     = "ERR syntax error"
	errTextInteger    = "ERR value is not an integer or out of range"
	errTextFloat      = "ERR value is not a valid float"
	errTextSlot       = "ERR Invalid or out of range slot"
	errTextBusy       = "ERR too many commands are waiting for nodes, try again later"
	errTextNoAnswer   = "ERR the cluster did not answer in time"
	errTextInternal   = "ERR internal error, the proxy's log has the details"
)

// maxEcho bounds how much of a client's words an error repeats, as in the server.
const maxEcho = 128

func echo(s string) string { return s[:min(len(s), maxEcho)] }

func unknownCommand(args []string) string {
	var b strings.Builder
	b.WriteString("ERR unknown command '" + echo(args[0]) + "', with args beginning with: ")
	room := maxEcho
	for _, a := range args[1:] {
		if room <= 0 {
			break
		}
		a = a[:min(len(a), room)]
		b.WriteString("'" + a + "' ")
		room -= len(a) + len("'' ")
	}
	return b.String()
}

// unknownSub and wrongArity take a command's name as the server writes it: container|name.
func unknownSub(container, sub string) string {
	return "ERR unknown subcommand '" + echo(sub) + "'. Try " + strings.ToUpper(container) + " HELP."
}

func wrongArity(name string) string {
	return "ERR wrong number of arguments for '" + name + "' command"
}

// noPermission begins as Valkey's does.
func noPermission(name string, has, needs role) string {
	return "NOPERM User " + has.String() + " has no permissions to run the '" + name + "' command, it is for the user " + needs.String()
}

// forAdminPort refuses a client of the data port. It begins as the proxy's own errors there do.
func forAdminPort(command, address string, looks bool) string {
	switch text := "PROXYUNSUPPORTED " + command + " is for the admin port"; {
	case address == "":
		return text + ", which this proxy does not have"
	case looks:
		return text + ", " + address + "; proxy_commands: read allows it here"
	default:
		return text + ", " + address
	}
}

func outOfRange(least, most int64) string {
	return fmt.Sprintf("ERR value is out of range, value must between %d and %d", least, most)
}

func slotOrder(first, last uint16) string {
	return fmt.Sprintf("ERR start slot number %d is greater than end slot number %d", first, last)
}

// textOf words an error of the coordinator. Its errors begin with a code; others are of those it called.
func textOf(err error) string {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return errTextNoAnswer + ": " + err.Error()
	}
	text := err.Error()
	if code, _, _ := strings.Cut(text, " "); code != "" && strings.ToUpper(code) == code && code[0] >= 'A' && code[0] <= 'Z' {
		return text
	}
	return "ERR " + text
}
