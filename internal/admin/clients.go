package admin

import (
	"context"
	"strings"
)

// Clients of the data port may run PROXY, too, as far as a setting lets them: what only looks.

// maxSlowClients is less than maxSlow: whoever repairs the cluster does not wait for clients of the data port.
const maxSlowClients = 1

// consoleForClients has the part of the table that only looks.
func consoleForClients(c console) console {
	var looks []command
	for _, cmd := range c.commands {
		if cmd.role == viewer {
			looks = append(looks, cmd)
		}
	}
	c.commands, c.slow = looks, make(chan struct{}, maxSlowClients)
	return c
}

// RefuseClient says why a command is not for clients of the data port, or returns "" when it is. name are one or two words
// behind PROXY, address is that of the admin port, empty where there is none, and looking says whether clients may look. It
// never waits.
func RefuseClient(name []string, address string, looking bool) string {
	var all console
	all.commands = commands
	cmd, _ := all.find(name)
	help := len(name) > 0 && strings.EqualFold(name[0], "help")
	looks := help || cmd != nil && cmd.role == viewer
	switch {
	case looking && looks:
		return ""
	case looking && cmd == nil:
		return all.unknown(name)
	case cmd == nil:
		return forAdminPort("PROXY", address, false)
	}
	return forAdminPort("PROXY "+strings.ToUpper(cmd.name), address, looks)
}

// AnswerClient runs a command that RefuseClient has let pass, for the client with this address, and returns the reply in a
// protocol, 2 or 3.
func (s *Server) AnswerClient(ctx context.Context, args []string, client string, proto int) (out []byte) {
	defer s.survive(0, &out)
	r := &reply{proto: proto}
	s.forClients.run(ctx, args, caller{role: viewer, name: "client@" + client}, r)
	return r.b
}
